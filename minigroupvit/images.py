"""Pictures of any kind to the tensors that the model takes, and back to a size it can take."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch import Tensor

# ImageNet's statistics, as in the released code (transformers' processor uses CLIP's).
IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)

# What cannot be opened, such as Apple's .heic without a plug-in of Pillow, is to be missed loudly.
PICTURE_ENDINGS = frozenset((".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".gif", ".webp", ".avif", ".tif", ".tiff",
                             ".ppm", ".heic", ".heif"))


def pictures_below(folder: str | Path) -> Iterator[str]:
    """The paths of the pictures of a folder and of those in it, in order. Text: there may be a million."""
    for inner, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (os.path.join(inner, name) for name in sorted(names)
                    if os.path.splitext(name)[1].lower() in PICTURE_ENDINGS and not name.startswith("."))


def load_image(path: str | Path) -> Image.Image:
    """An upright RGB picture from a file: EXIF rotation applied; grey, palette, alpha converted.

    Transparent pixels turn white. Raises ValueError for a missing, truncated or foreign file.
    """
    try:
        with Image.open(path) as file:
            file.load()
            return to_rgb(file)
    except FileNotFoundError:
        raise ValueError(f"there is no picture at {path}") from None
    except IsADirectoryError:
        raise ValueError(f"{path} is a folder; give the path of one picture") from None
    except (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} is no picture that can be read, or it is cut off: {error}") from None


def to_rgb(image: Image.Image) -> Image.Image:
    """Upright, three channels, transparency on white."""
    image = ImageOps.exif_transpose(image)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):     # 16 bits and more of grey
        values = np.asarray(image, dtype=np.float64)
        largest = values.max() if values.size else 0.0
        top = 255.0 if largest <= 255 else max(65535.0, largest)      # 8 bits in a wider file, or 16
        image = Image.fromarray((values.clip(0) / top * 255).astype(np.uint8))
    return image.convert("RGB")


def to_batch(images: Tensor | np.ndarray | Image.Image | list) -> Tensor:
    """One picture or many of one size to a float tensor (B, 3, H, W) with values from 0 to 1.

    Takes PIL pictures; uint8 arrays (H, W, 3) or (B, H, W, 3); tensors (3, H, W) or
    (B, 3, H, W), uint8 or floats from 0 to 1; lists of these.
    Raises ValueError for another shape, another range, NaN, or pictures of several sizes.
    """
    if isinstance(images, (list, tuple)):
        if not images:
            raise ValueError("expected at least one picture, got an empty list")
        batches = [to_batch(image) for image in images]
        sizes = sorted({tuple(b.shape[-2:]) for b in batches})
        if len(sizes) > 1:
            raise ValueError(f"the pictures of a batch need one size, got {sizes}; segment them one by one")
        return torch.cat(batches)
    if isinstance(images, Image.Image):
        images = np.array(to_rgb(images))
    if isinstance(images, np.ndarray):
        if images.ndim not in (3, 4) or images.shape[-1] != 3:
            raise ValueError(f"expected an array of shape (H, W, 3) or (B, H, W, 3), got {images.shape}")
        images = torch.from_numpy(np.ascontiguousarray(images)).movedim(-1, -3)
    if not isinstance(images, Tensor):
        raise ValueError(f"expected pictures as PIL images, arrays or tensors, got {type(images).__name__}")
    if images.ndim == 3:
        images = images[None]
    if images.ndim != 4 or images.shape[1] != 3 or 0 in images.shape:
        raise ValueError(f"expected a tensor of shape (3, H, W) or (B, 3, H, W), got {tuple(images.shape)}")
    if images.dtype == torch.uint8:
        return images.float() / 255
    if not images.is_floating_point():
        raise ValueError(f"expected uint8 (0 to 255) or floats (0 to 1), got {images.dtype}")
    low, high = images.min().item(), images.max().item()
    if not (low >= 0 and high <= 1):  # also true for NaN
        raise ValueError(
            f"expected floats from 0 to 1, got {low:.3g} to {high:.3g}; "
            "divide values up to 255 by 255, and do not normalise: the model does that itself")
    return images.float() if images.dtype in (torch.float16, torch.bfloat16) else images


def normalize(images: Tensor) -> Tensor:
    """Values from 0 to 1, (B, 3, H, W), to zero mean and unit variance by ImageNet's statistics."""
    mean = torch.tensor(IMAGE_MEAN, dtype=images.dtype, device=images.device).view(3, 1, 1)
    std = torch.tensor(IMAGE_STD, dtype=images.dtype, device=images.device).view(3, 1, 1)
    return (images - mean) / std


def resize(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear resize, anti-aliased on the way down, of values from 0 to 1."""
    if tuple(images.shape[-2:]) == tuple(size):
        return images
    return F.interpolate(images, size=size, mode="bilinear", align_corners=False, antialias=True).clamp(0, 1)


def size_for(height: int, width: int, patch_size: int, short_side: int | None = None) -> tuple[int, int]:
    """The size at which a picture enters the model: aspect ratio kept as well as patches allow.

    `short_side` scales the shorter side to that many pixels (None: as it is); then each side
    is rounded to the nearest multiple of the patch, at least one patch.
    """
    factor = 1.0 if short_side is None else short_side / min(height, width)
    return tuple(max(1, round(side * factor / patch_size)) * patch_size for side in (height, width))
