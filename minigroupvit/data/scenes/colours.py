"""The colours of the objects: a palette of names, each a range of hues, saturations and lightnesses.

Main and second colour of every object are drawn from the whole palette alike, so colour says nothing
about the object; what it does say is measured (`evaluation.baselines.ColourClassifier`). The knob
`SceneConfig.natural_colour` brings colours that do: what a shortcut does to a model is a lesson.
"""

from __future__ import annotations

import colorsys

from .dice import Dice

RGB = tuple[float, float, float]   # red, green, blue from 0 to 255

# Hue in degrees, saturation and lightness (HLS) from 0 to 1: least and largest value under this name.
PALETTE: dict[str, tuple[tuple[float, float], tuple[float, float], tuple[float, float]]] = {
    "red": ((-8, 8), (0.65, 0.95), (0.36, 0.52)),
    "orange": ((22, 34), (0.80, 1.00), (0.48, 0.58)),
    "yellow": ((46, 57), (0.80, 1.00), (0.48, 0.66)),
    "green": ((95, 155), (0.40, 0.80), (0.26, 0.48)),
    "blue": ((205, 238), (0.55, 0.90), (0.34, 0.60)),
    "purple": ((265, 292), (0.40, 0.75), (0.32, 0.55)),
    "pink": ((322, 346), (0.65, 0.95), (0.68, 0.82)),
    "brown": ((18, 32), (0.35, 0.60), (0.20, 0.36)),
    "black": ((0, 360), (0.00, 0.12), (0.07, 0.18)),
    "white": ((0, 360), (0.00, 0.30), (0.92, 0.98)),
    "grey": ((0, 360), (0.00, 0.10), (0.42, 0.66)),
}

# Main and second colour that an object is often seen in: each pair is one object's own.
NATURAL_COLOURS: dict[str, tuple[str, str]] = {
    "cat": ("black", "white"), "rabbit": ("white", "pink"), "elephant": ("grey", "pink"),
    "bird": ("blue", "yellow"), "fish": ("orange", "white"), "butterfly": ("purple", "orange"),
    "tree": ("green", "brown"), "flower": ("yellow", "green"), "mushroom": ("red", "white"),
    "house": ("white", "red"), "car": ("red", "grey"), "boat": ("brown", "white"),
    "airplane": ("grey", "blue"), "umbrella": ("pink", "purple"), "cup": ("blue", "white"),
    "shoe": ("brown", "black"),
}


def draw_shade(name: str, dice: Dice) -> RGB:
    """A colour of this name."""
    hue, saturation, lightness = (dice.between(*span) for span in PALETTE[name])
    red, green, blue = colorsys.hls_to_rgb(hue % 360 / 360, lightness, saturation)
    return 255 * red, 255 * green, 255 * blue


def distance(one: RGB, other: RGB) -> float:
    """Sum of the differences over the three channels, from 0 to 765."""
    return sum(abs(a - b) for a, b in zip(one, other))


def draw_colour(behind: tuple[RGB, ...], clear: tuple[float, ...], dice: Dice,
                names: tuple[str, ...] = tuple(PALETTE)) -> tuple[str, RGB]:
    """A name out of `names` and a shade of it that can be seen beside every colour of `behind`.

    Args:
        behind: RGB values that lie under or beside it.
        clear: the least `distance` to each of them. Where twelve draws do not reach it, the one that
            comes closest is taken.
    """
    best, best_margin = None, float("-inf")
    for _ in range(12):
        name = dice.choice(names)
        rgb = draw_shade(name, dice)
        margin = min(distance(rgb, other) - least for other, least in zip(behind, clear))
        if margin > best_margin:
            best, best_margin = (name, rgb), margin
        if margin >= 0:
            break
    assert best is not None
    return best
