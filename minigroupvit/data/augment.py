"""Augmentation of training pictures, each part a switch: the paper's, and two cheap ones for colours.

    PAPER = Augmentation(crop=0.08, rand_augment=2, colour_jitter=0.4, erasing=0.25)

The values are those of the released training; torchvision's RandAugment, which always has the same
strength, is close to the one used there. Every picture of a step gets a row of random numbers that
comes from (seed, step) alone, in which each switch has columns of its own: a resumed run goes on
exactly as it would have, and a switch more or less leaves the others' draws alone. The work is done on
whole batches of uint8 pictures, on their device; only the crop goes picture by picture.

B pictures  H, W pixels  R random numbers a picture
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from itertools import permutations

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as vision

from ..images import IMAGE_MEAN
from .rand_augment import rand_augment
from .samples import Box

_TRIES = 10   # boxes drawn until one fits, as torchvision does
# Columns of the random numbers.
_CROP, _OPERATIONS, _JITTER = slice(0, 4 * _TRIES), slice(40, 56), slice(56, 59)
_PERMUTATION, _GREY, _ERASE, _ERASED_BOX = slice(59, 61), 61, 62, slice(63, 63 + 4 * _TRIES)
_NUMBERS = 63 + 4 * _TRIES


@dataclass(frozen=True)
class Augmentation:
    """What is done to a picture before the model sees it. The defaults only mirror it."""

    flip: bool = True                  # half of the pictures mirrored, left and right swapped in their captions
    crop: float = 1.0                  # smallest share of the area in a random crop; 1: the whole picture. Paper: 0.08
    rand_augment: int = 0              # RandAugment's operations a picture, at most 8. Paper: 2
    magnitude: int = 9                 # of RandAugment's operations, from 0 to 30
    colour_jitter: float = 0.0         # brightness, contrast, saturation each by a factor of 1 ± this. Paper: 0.4
    erasing: float = 0.0               # share of pictures that lose a rectangle. Paper: 0.25
    channel_permutation: float = 0.0   # share of pictures whose colour channels swap places at random
    greyscale: float = 0.0             # share of pictures that lose their colours

    def __post_init__(self) -> None:
        if not 0 < self.crop <= 1:
            raise ValueError(f"crop is {self.crop}; it is the smallest share of the area, above 0 and at most 1")
        for name in ("colour_jitter", "erasing", "channel_permutation", "greyscale"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be from 0 to 1")
        for name, most in (("rand_augment", 8), ("magnitude", 30)):
            value = getattr(self, name)
            if not isinstance(value, int) or not 0 <= value <= most:
                raise ValueError(f"{name} is {value!r}; it must be a whole number from 0 to {most}")


PAPER = Augmentation(crop=0.08, rand_augment=2, colour_jitter=0.4, erasing=0.25)
AUGMENTATIONS = {"none": Augmentation(flip=False), "flip": Augmentation(), "paper": PAPER}


def augmentation(text: str) -> Augmentation:
    """An augmentation from words: "paper", or "paper,erasing=0", or "crop=0.3,greyscale=0.2".

    Raises ValueError for an unknown name, field or value; the message has those there are.
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


def random_numbers(count: int, *key: int) -> Tensor:
    """The random numbers of `count` pictures, (B, R) in [0, 1): the same for the same key, such as (seed, step)."""
    seed = random.Random(f"augmentation {[int(k) for k in key]}").getrandbits(63)   # of a text: by its SHA-512
    return torch.rand(count, _NUMBERS, generator=torch.Generator().manual_seed(seed))


def _boxes(numbers: Tensor, heights: Tensor, widths: Tensor, share: tuple[float, float],
           ratio: tuple[float, float]) -> Tensor:
    """Boxes of a random share of the area and a random ratio of the sides: the first of ten that fits.

    numbers (B, 4 · tries) in [0, 1), heights and widths (B,) -> (B, 4) top, left, height, width. Where
    none fits, the whole picture.
    """
    area, shape, down, across = numbers.unflatten(1, (-1, 4)).unbind(-1)              # (B, tries) each
    area = (share[0] + area * (share[1] - share[0])) * (heights * widths)[:, None]
    shape = torch.exp(math.log(ratio[0]) + shape * math.log(ratio[1] / ratio[0]))     # width over height
    height, width = (area / shape).sqrt().round().clamp(min=1), (area * shape).sqrt().round().clamp(min=1)
    fits = (height <= heights[:, None]) & (width <= widths[:, None])
    first = fits.int().argmax(dim=1, keepdim=True)                                    # (B, 1)
    height, width, down, across = (x.gather(1, first).squeeze(1) for x in (height, width, down, across))
    any_fits = fits.any(dim=1)
    height, width = height.where(any_fits, heights), width.where(any_fits, widths)
    top, left = (down * (heights - height + 1)).floor(), (across * (widths - width + 1)).floor()
    return torch.stack([top, left, height, width], dim=1).long()


def crop_boxes(numbers: Tensor, sizes: list[tuple[int, int]], smallest: float) -> list[Box]:
    """A random box in each picture (height, width), as RandomResizedCrop draws it. numbers (B, R)."""
    heights, widths = torch.tensor(sizes, dtype=torch.float).unbind(1)
    boxes = _boxes(numbers[:, _CROP], heights, widths, (smallest, 1.0), (3 / 4, 4 / 3))
    return [tuple(box) for box in boxes.tolist()]


def augment(images: Tensor, numbers: Tensor, choice: Augmentation) -> Tensor:
    """Everything but flip and crop, on uint8 pictures (B, 3, H, W). numbers (B, R)."""
    if choice.rand_augment:
        for draw in numbers[:, _OPERATIONS].unflatten(1, (8, 2))[:, :choice.rand_augment].unbind(1):
            images = rand_augment(images, draw, choice.magnitude)
    if choice.colour_jitter:
        images = colour_jitter(images, 1 + choice.colour_jitter * (2 * numbers[:, _JITTER] - 1))
    if choice.channel_permutation:
        images = permute_channels(images, numbers[:, _PERMUTATION], choice.channel_permutation)
    if choice.greyscale:
        chosen = (numbers[:, _GREY] < choice.greyscale).to(images.device)
        images = torch.where(chosen.view(-1, 1, 1, 1), vision.rgb_to_grayscale(images, num_output_channels=3), images)
    if choice.erasing:
        images = erase(images, numbers[:, _ERASED_BOX], numbers[:, _ERASE] < choice.erasing)
    return images


def colour_jitter(images: Tensor, factors: Tensor) -> Tensor:
    """Brightness, contrast, saturation, in this order, each picture by factors of its own (B, 3).

    torchvision's arithmetic, whose functions take one factor for all pictures; it also draws the order.
    """
    brightness, contrast, saturation = factors.to(images.device, torch.float).view(-1, 3, 1, 1, 1).unbind(1)
    # In place, since these are the largest tensors outside of the model.
    x = images.float().mul_(brightness).clamp_(max=255)                               # (B, 3, H, W)
    mean = vision.rgb_to_grayscale(x).mean(dim=(1, 2, 3), keepdim=True)               # (B, 1, 1, 1)
    x.sub_(mean).mul_(contrast).add_(mean).clamp_(0, 255)
    grey = vision.rgb_to_grayscale(x)                                                 # (B, 1, H, W)
    x.sub_(grey).mul_(saturation).add_(grey).clamp_(0, 255)
    return x.round_().to(torch.uint8)


def permute_channels(images: Tensor, numbers: Tensor, share: float) -> Tensor:
    """A share of the pictures gets its channels in one of the six orders, the old one among them.

    What a caption says about colours is then untrue. numbers (B, 2).
    """
    orders = torch.tensor(list(permutations(range(3))), device=images.device)          # (6, 3)
    drawn = (numbers[:, 1] * 6).long().where(numbers[:, 0] < share, 0)                 # 0: as they are
    order = orders[drawn.to(images.device)]                                            # (B, 3)
    return images[torch.arange(len(images), device=images.device)[:, None], order]


def erase(images: Tensor, numbers: Tensor, chosen: Tensor) -> Tensor:
    """Fills a rectangle of 2 to 33 % of the area with the mean colour, zero once normalised. chosen (B,)."""
    B, _, H, W = images.shape
    size = torch.ones(B)
    top, left, height, width = _boxes(numbers, H * size, W * size, (0.02, 1 / 3), (0.3, 3.3)).to(images.device).T
    rows, columns = torch.arange(H, device=images.device), torch.arange(W, device=images.device)
    in_rows = (rows >= top[:, None]) & (rows < (top + height)[:, None])                # (B, H)
    in_columns = (columns >= left[:, None]) & (columns < (left + width)[:, None])      # (B, W)
    inside = in_rows[:, :, None] & in_columns[:, None, :] & chosen.to(images.device).view(-1, 1, 1)
    mean = torch.tensor(IMAGE_MEAN, device=images.device).mul(255).round().to(torch.uint8)
    return torch.where(inside[:, None], mean.view(3, 1, 1), images)
