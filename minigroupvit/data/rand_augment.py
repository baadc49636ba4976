"""RandAugment (Cubuk et al., arXiv 1909.13719) on a batch, each picture with draws of its own.

torchvision's RandAugment draws once a call, so that a batch would get one operation for all its
pictures. Here each operation runs once, on those pictures that drew it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import Tensor
from torchvision.transforms.v2 import functional as vision


def _affine(images: Tensor, translate: tuple[int, int] = (0, 0), shear: tuple[float, float] = (0.0, 0.0),
            center: list[float] | None = None) -> Tensor:
    return vision.affine(images, 0.0, list(translate), 1.0, list(shear), center=center)


def _slope(shift: float) -> float:
    return math.degrees(math.atan(shift))


# Each takes uint8 pictures (B, 3, H, W) and a strength m from 0 to 1, or from -1 for those that have a direction.
# At 1: a shear of 0.3, a shift by 150 / 331 of the side, 30 degrees, a factor of 1.9 (or 0.1).
WITH_DIRECTION: dict[str, Callable[[Tensor, float], Tensor]] = {
    "shear_x": lambda x, m: _affine(x, shear=(_slope(0.3 * m), 0.0), center=[0, 0]),
    "shear_y": lambda x, m: _affine(x, shear=(0.0, _slope(0.3 * m)), center=[0, 0]),
    "translate_x": lambda x, m: _affine(x, translate=(int(150 / 331 * x.shape[-1] * m), 0)),
    "translate_y": lambda x, m: _affine(x, translate=(0, int(150 / 331 * x.shape[-2] * m))),
    "rotate": lambda x, m: vision.rotate(x, 30.0 * m),
    "brightness": lambda x, m: vision.adjust_brightness(x, 1 + 0.9 * m),
    "saturation": lambda x, m: vision.adjust_saturation(x, 1 + 0.9 * m),
    "contrast": lambda x, m: vision.adjust_contrast(x, 1 + 0.9 * m),
    "sharpness": lambda x, m: vision.adjust_sharpness(x, 1 + 0.9 * m),
}
WITHOUT_DIRECTION: dict[str, Callable[[Tensor, float], Tensor]] = {
    "identity": lambda x, m: x,
    "posterize": lambda x, m: vision.posterize(x, 8 - round(4 * m)),
    "solarize": lambda x, m: vision.solarize(x, 255 * (1 - m)),
    "autocontrast": lambda x, m: vision.autocontrast(x),
    "equalize": lambda x, m: vision.equalize(x),
}
OPERATIONS = WITH_DIRECTION | WITHOUT_DIRECTION


def rand_augment(images: Tensor, numbers: Tensor, magnitude: int) -> Tensor:
    """One of the 14 operations on each uint8 picture (B, 3, H, W).

    Args:
        numbers: (B, 2) in [0, 1): which operation, and for those that have one, which direction.
        magnitude: strength of the operations, from 0 to 30.
    """
    drawn = (numbers[:, 0] * len(OPERATIONS)).long().to(images.device)        # (B,)
    forwards = (numbers[:, 1] < 0.5).to(images.device)                        # (B,)
    result = images.clone()
    for number, (name, operation) in enumerate(OPERATIONS.items()):
        here = drawn == number
        parts = [(1, here & forwards), (-1, here & ~forwards)] if name in WITH_DIRECTION else [(1, here)]
        for sign, chosen in parts:
            if chosen.any():
                result[chosen] = operation(images[chosen], sign * magnitude / 30)
    return result
