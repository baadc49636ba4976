"""Images of any kind to the tensors that the model takes, and from one size to another.

Which value is white follows from the type, one rule for files, arrays and tensors (`to_unit`):

    bool, mode "1"                  True is white
    8 bits (uint8; most modes)      255
    other whole numbers (uint16,    the largest number of 8, 10, 12, 14 or 16 bits, the fewest that hold the
    int32; "I;16", "I")             image's largest value: cameras and scanners store 12 bits in 16
    floats (also "F")               1 where no value is above 1; from 2 upwards as whole numbers

A warning says what was taken for white where that may be wrong: 10, 12 or 14 bits, more than 16, floats above 255; and
where a wider type ends below 64 of 255. Values below 0, NaN and floats that end between 1 and 2 are errors.
"""

from __future__ import annotations

import os
import struct
import warnings
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

_BITS = (8, 10, 12, 14, 16)    # in which cameras, scanners and microscopes store a value

# What cannot be opened, such as Apple's .heic without a plug-in of Pillow, is to be missed loudly.
PICTURE_ENDINGS = frozenset((".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".gif", ".webp", ".avif", ".tif", ".tiff",
                             ".ppm", ".heic", ".heif"))


def pictures_below(folder: str | Path) -> Iterator[str]:
    """The paths of the images of a folder and of those in it, in order. Text: there may be a million."""
    for inner, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (os.path.join(inner, name) for name in sorted(names)
                    if os.path.splitext(name)[1].lower() in PICTURE_ENDINGS and not name.startswith("."))


def load_image(path: str | Path) -> Image.Image:
    """An upright RGB image from a file: EXIF rotation applied; grey, palette, alpha converted.

    Transparent pixels turn white. Which value is white: see above. Raises ValueError for a missing, truncated
    or foreign file, and for values that no image has.
    """
    try:
        with Image.open(path) as file:
            return to_rgb(file)
    except FileNotFoundError:
        raise ValueError(f"there is no image at {path}") from None
    except IsADirectoryError:
        raise ValueError(f"{path} is a folder; give the path of one image") from None
    except (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} is no image that can be read, or it is cut off: {error}") from None


def to_rgb(image: Image.Image) -> Image.Image:
    """Upright, three channels of 8 bits, transparency on white. Raises ValueError for values that no image has."""
    sixteen_bits = any(";16" in str(tile[3]) for tile in getattr(image, "tile", ()))     # of a file not yet read
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):     # grey of more than 8 bits
        return _wide_grey(image)
    if sixteen_bits and (largest := max(high for _, high in image.convert("RGB").getextrema())) < 64:
        # Pillow reads the upper byte alone. What has all its 16 bits seldom stays below a quarter of white.
        warnings.warn(f"colours of 16 bits are read by their upper 8, of which this image has no more than {largest} "
                      "of 255; if it holds 8 to 14 bits, save it with 8 bits a colour", stacklevel=2)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def _wide_grey(image: Image.Image) -> Image.Image:
    """RGB of an image of mode "I;16", "I" or "F"."""
    values = np.array(image)
    values = values.astype(values.dtype.newbyteorder("="))
    grey = (to_unit(torch.from_numpy(values)) * 255).round().byte().numpy()
    if isinstance(clear := image.info.get("transparency"), int):      # the value of pixels that are transparent
        grey[values == clear] = 255
    return Image.fromarray(grey).convert("RGB")


def to_unit(values: Tensor) -> Tensor:
    """Values of any type as floats from 0, black, to 1, white, of the same shape; the rule stands above.

    Floats keep their precision, half becomes single. Raises ValueError for values that no image has.
    """
    if values.dtype in (torch.bool, torch.uint8):
        return values.float() if values.dtype == torch.bool else values.float().div_(255)
    kind = str(values.dtype).removeprefix("torch.")
    if values.is_complex():
        raise ValueError(f"expected whole numbers or floats, got {kind}")
    exact = torch.float64 if values.dtype.itemsize > 2 and values.dtype != torch.float32 else torch.float32
    numbers = values.to(exact)
    if numbers.numel() == 0:
        return numbers
    low, high = numbers.min().item(), numbers.max().item()
    floats = values.is_floating_point()
    slack = 1e-3 if floats else 0                                      # of rounding
    if not (low >= -slack and high < float("inf")) or (floats and 1 + slack < high < 2):   # also true for NaN
        raise ValueError(f"expected {kind} values {'from 0 to 1, or to 255' if floats else 'from 0 up'}, got {low:.6g} "
                         f"to {high:.6g}; bring them to that range, and do not normalise: the model does that itself")
    if floats and high <= 1 + slack:
        return numbers.clamp(0, 1)
    bits = next((bits for bits in _BITS if high < 2 ** bits), None)
    white = 2 ** bits - 1 if bits else high
    if not floats:
        white = min(white, torch.iinfo(values.dtype).max)
    sure = high == 0 or (64 <= high if bits == 8 else bits == 16 and not floats)
    if not sure:
        size, end = (f"at most {bits}", f"{white:g}") if bits else ("more than 16", "their largest")
        warnings.warn(f"{kind} values of {size} bits are taken as 0 to {end}, which is white; where that is wrong, "
                      "give uint8 from 0 to 255", stacklevel=2)
    return (numbers / white).to(torch.float32 if not floats else exact).clamp_(0, 1)


def to_batch(images: Tensor | np.ndarray | Image.Image | list) -> Tensor:
    """One image or many of one size to a float tensor (B, 3, H, W) with values from 0 to 1.

    Takes PIL images; arrays (H, W, 3) or (B, H, W, 3); tensors (3, H, W) or (B, 3, H, W); lists of these.
    Of any type: which value is white stands above.
    Raises ValueError for another shape, values that no image has, or images of several sizes.
    """
    if isinstance(images, (list, tuple)):
        if not images:
            raise ValueError("expected at least one image, got an empty list")
        batches = [to_batch(image) for image in images]
        sizes = sorted({tuple(b.shape[-2:]) for b in batches})
        if len(sizes) > 1:
            raise ValueError(f"the images of a batch need one size, got {sizes}; segment them one by one")
        return torch.cat(batches)
    if isinstance(images, Image.Image):
        images = np.array(to_rgb(images))
    if isinstance(images, np.ndarray):
        if images.ndim not in (3, 4) or images.shape[-1] != 3:
            raise ValueError(f"expected an array of shape (H, W, 3) or (B, H, W, 3), got {images.shape}")
        if images.dtype.kind not in "buif":
            raise ValueError(f"expected an array of numbers, got {images.dtype}")
        images = np.ascontiguousarray(images, images.dtype.newbyteorder("="))
        images = torch.from_numpy(images).movedim(-1, -3)
    if not isinstance(images, Tensor):
        raise ValueError(f"expected images as PIL images, arrays or tensors, got {type(images).__name__}")
    if images.ndim == 3:
        images = images[None]
    if images.ndim != 4 or images.shape[1] != 3 or 0 in images.shape:
        raise ValueError(f"expected a tensor of shape (3, H, W) or (B, 3, H, W), got {tuple(images.shape)}")
    return to_unit(images)


def normalize(images: Tensor) -> Tensor:
    """Values from 0 to 1, (B, 3, H, W), to zero mean and unit variance by ImageNet's statistics."""
    mean = torch.tensor(IMAGE_MEAN, dtype=images.dtype, device=images.device).view(3, 1, 1)
    std = torch.tensor(IMAGE_STD, dtype=images.dtype, device=images.device).view(3, 1, 1)
    return (images - mean) / std


def resize(images: Tensor, size: tuple[int, int], mode: str = "bilinear") -> Tensor:
    """Resize, anti-aliased on the way down, of values from 0 to 1; "bicubic" is sharper than "bilinear"."""
    if tuple(images.shape[-2:]) == tuple(size):
        return images
    return F.interpolate(images, size=size, mode=mode, align_corners=False, antialias=True).clamp(0, 1)


def enlarge(labels: Tensor, size: tuple[int, int]) -> Tensor:
    """A map (..., h, w) at another size (..., H, W), each pixel that of its place: for numbers that must not mix.

    What was enlarged and is brought back is what it was.
    """
    if tuple(labels.shape[-2:]) == tuple(size):
        return labels
    # The middle of each pixel decides.
    rows, columns = ((2 * torch.arange(new, device=labels.device) + 1) * old // (2 * new)
                     for old, new in zip(labels.shape[-2:], size))
    return labels[..., rows[:, None], columns]


def size_for(height: int, width: int, patch_size: int, short_side: int | None = None) -> tuple[int, int]:
    """The size at which an image enters the model: aspect ratio kept as well as patches allow.

    `short_side` scales the shorter side to that many pixels (None: as it is); then each side
    is rounded to the nearest multiple of the patch, at least one patch.
    """
    factor = 1.0 if short_side is None else short_side / min(height, width)
    return tuple(max(1, round(side * factor / patch_size)) * patch_size for side in (height, width))
