"""Augmentation of training images by torchvision: the paper's transforms, and two cheap ones for colours.

    PAPER = Augmentation(crop=0.08, rand_augment=2, colour_jitter=0.4, erasing=0.25)

The values are those of the released training; torchvision's RandAugment, whose strength is constant, is close to the
one used there. Every image is augmented with its own seed (`image_seeds`), so the result depends neither on the number
of workers and processes nor on the other images of the batch, and a resumed run continues exactly. Data sets on the
disk and streams augment images in their workers, so that a GPU does not wait for it.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import lru_cache

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

from ...images import IMAGE_MEAN
from .samples import fit


@dataclass(frozen=True)
class Augmentation:
    """The augmentation of training images. By default they are only mirrored."""

    flip: bool = True                  # half of the images mirrored, left and right swapped in their captions
    crop: float = 1.0                  # smallest share of the area in a random crop; 1: the whole image. Paper: 0.08
    rand_augment: int = 0              # RandAugment's operations per image. Paper: 2
    magnitude: int = 9                 # of RandAugment's operations, from 0 to 30
    colour_jitter: float = 0.0         # brightness, contrast, saturation each by a factor of 1 ± this. Paper: 0.4
    erasing: float = 0.0               # share of images that lose a rectangle. Paper: 0.25
    channel_permutation: float = 0.0   # share of images whose colour channels are permuted at random
    greyscale: float = 0.0             # share of images converted to greyscale

    def __post_init__(self) -> None:
        if not 0 < self.crop <= 1:
            raise ValueError(f"crop is {self.crop}; it is the smallest share of the area, above 0 and at most 1")
        for name in ("colour_jitter", "erasing", "channel_permutation", "greyscale"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be from 0 to 1")
        for name, most in (("rand_augment", 14), ("magnitude", 30)):     # RandAugment has 14 operations
            value = getattr(self, name)
            if not isinstance(value, int) or not 0 <= value <= most:
                raise ValueError(f"{name} is {value!r}; it must be a whole number from 0 to {most}")


PAPER = Augmentation(crop=0.08, rand_augment=2, colour_jitter=0.4, erasing=0.25)
AUGMENTATIONS = {"none": Augmentation(flip=False), "flip": Augmentation(), "paper": PAPER}


def augmentation(text: str) -> Augmentation:
    """An augmentation from a text: "paper", or "paper,erasing=0", or "crop=0.3,greyscale=0.2".

    Raises ValueError for an unknown name, field or value; the message lists those there are.
    """
    base, fields = AUGMENTATIONS["flip"], {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals:
            if name not in AUGMENTATIONS:
                raise ValueError(f"unknown augmentation {name!r}; there are {', '.join(AUGMENTATIONS)}")
            base = AUGMENTATIONS[name]
            continue
        kinds = {key: type(default) for key, default in vars(base).items()}
        if name not in kinds:
            raise ValueError(f"an augmentation has no {name!r}; it has {', '.join(kinds)}")
        try:
            fields[name] = int(value) if kinds[name] is int else kinds[name](float(value))
        except ValueError:
            raise ValueError(f"{name}={value}: expected a number") from None
    return Augmentation(**vars(base) | fields)


def image_seeds(count: int, *key: int) -> list[int]:
    """A seed for each of `count` images, always the same for the same key, such as (seed, step)."""
    draw = random.Random(f"augmentation {[int(k) for k in key]}")      # a text seeds by its SHA-512
    return [draw.getrandbits(63) for _ in range(count)]


def augment(image: Image.Image | Tensor, choice: Augmentation, seed: int, size: int | None = None) -> Tensor:
    """One augmented image, always the same for the same seed. Without the flip, which also changes the caption.

    Args:
        image: RGB, or uint8 (3, H, W).
        size: side S in pixels of the square that a PIL image or a crop is resized to; None: the image's height.

    Returns uint8 (3, S, S), or (3, H, W) for a tensor that is not cropped. torch's random state does not change.
    """
    size = size or (image.height if isinstance(image, Image.Image) else image.shape[-2])
    if choice.crop == 1 and isinstance(image, Image.Image):
        image = fit(image, size)
    transform = _transform(choice, size)
    if transform is None:
        return image
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed: it would also seed the GPU's generator, from which training draws its noise.
        torch.default_generator.manual_seed(seed)
        return transform(image)


@lru_cache
def _transform(choice: Augmentation, size: int) -> v2.Transform | None:
    """The transforms that are switched on, in their order; None if all are off."""
    transforms: list[v2.Transform] = []
    if choice.crop < 1:
        bicubic = v2.InterpolationMode.BICUBIC
        transforms += [v2.RandomResizedCrop(size, (choice.crop, 1.0), interpolation=bicubic), v2.PILToTensor()]
    if choice.rand_augment:
        transforms.append(v2.RandAugment(choice.rand_augment, choice.magnitude))
    if choice.colour_jitter:
        transforms.append(v2.ColorJitter(*[choice.colour_jitter] * 3))
    if choice.channel_permutation:
        transforms.append(v2.RandomApply([v2.RandomChannelPermutation()], choice.channel_permutation))
    if choice.greyscale:
        transforms.append(v2.RandomGrayscale(choice.greyscale))
    if choice.erasing:     # with the mean colour, which is 0 once it is normalised
        transforms.append(v2.RandomErasing(choice.erasing, value=[round(255 * mean) for mean in IMAGE_MEAN]))
    return v2.Compose(transforms) if transforms else None
