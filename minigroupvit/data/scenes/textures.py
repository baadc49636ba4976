"""The textures of the backgrounds and the colours of the objects.

Eight procedural textures in three colour variants each. A texture is computed once per process as a tile larger than
an image; a scene takes a random crop of it, mirrors it, and changes its brightness and hue a little. Pixels are
computed by sums, products and comparisons alone: sines and powers of whole arrays differ between processors.

The colours of objects are a palette of names, each a range of hues, saturations and lightnesses. Main and second
colour of every object are drawn from the whole palette, so colour is independent of the class; how well colour
predicts the class is measured (`evaluation.baselines.ColourClassifier`). `SceneConfig.natural_colour` makes colours
predictive, to study what such a shortcut does to a model.
"""

from __future__ import annotations

import colorsys
import math
from functools import lru_cache

import numpy as np

from .dice import Dice

# T side of a tile  S side of an image

RGB = tuple[float, float, float]   # red, green, blue from 0 to 255

BACKGROUNDS = ("grass", "sand", "water", "brick", "sky", "night", "snow", "wood")
_TILE = 3  # side of a tile as a multiple of the image's


def _noise(dice: Dice, T: int, cell_height: float, cell_width: float) -> np.ndarray:
    """Smooth value noise in [0, 1], (T, T): random values on a grid with cells of so many pixels, interpolated."""
    axes = []
    for cell in (cell_height, cell_width):
        position = np.arange(T) / max(cell, 1.0)
        index = position.astype(np.int64)
        share = position - index
        axes.append((index, share * share * (3 - 2 * share)))
    (rows, down), (columns, across) = axes
    grid = dice.array((int(rows[-1]) + 2, int(columns[-1]) + 2))
    strips = grid[rows] * (1 - down)[:, None] + grid[rows + 1] * down[:, None]
    return strips[:, columns] * (1 - across) + strips[:, columns + 1] * across


def _fractal(dice: Dice, T: int, cell: float, stretch: float = 1.0) -> np.ndarray:
    """Four octaves of `_noise`, each half as large and half as strong, in [0, 1]."""
    octaves = [_noise(dice, T, cell / 2**i, cell * stretch / 2**i) / 2**i for i in range(4)]
    return sum(octaves[1:], octaves[0]) / 1.875


def _blend(low: RGB, high: RGB, share: np.ndarray) -> np.ndarray:
    """From one colour to the other, (T, T, 3)."""
    share = np.minimum(np.maximum(share, 0.0), 1.0)[..., None]
    return np.array(low, dtype=np.float64) * (1 - share) + np.array(high, dtype=np.float64) * share


def _waves(position: np.ndarray) -> np.ndarray:
    """A periodic function of parabolas in [0, 1]: in place of a sine, which differs between processors."""
    share = position - np.floor(position)
    return 4 * share * (1 - share)


def _grass(dice: Dice, T: int, unit: float, low: RGB, high: RGB) -> np.ndarray:
    # Blades: noise with tall, thin cells, bent by low-frequency noise.
    bend = (_noise(dice, T, 12 * unit, 12 * unit) * 6 * unit).astype(np.int64)
    blades = _noise(dice, T, 7 * unit, 1.4 * unit)
    blades = blades[np.arange(T)[:, None], (np.arange(T)[None, :] + bend) % T]
    tufts = _fractal(dice, T, 16 * unit)
    return _blend(low, high, 0.25 + 1.1 * (blades - 0.5) + 0.9 * (tufts - 0.3))


def _sand(dice: Dice, T: int, unit: float, low: RGB, high: RGB) -> np.ndarray:
    rows = np.arange(T)[:, None] / unit
    ripples = _waves(rows / 9 + 1.6 * _fractal(dice, T, 24 * unit, 2.0))
    grains = dice.array((T, T))
    colour = _blend(low, high, 0.15 + 0.55 * ripples + 0.4 * (grains - 0.3))
    colour[grains > 0.975] *= 0.8
    return colour


def _water(dice: Dice, T: int, unit: float, low: RGB, high: RGB) -> np.ndarray:
    rows = np.arange(T)[:, None] / unit
    swell = _waves(rows / 8 + 2.2 * _noise(dice, T, 8 * unit, 14 * unit))
    ridges = 1 - np.abs(2 * _noise(dice, T, 3 * unit, 9 * unit) - 1)
    glitter = np.maximum(ridges * swell - 0.72, 0) * 4
    colour = _blend(low, high, 0.65 * swell + 0.6 * (ridges - 0.5))
    return colour + _blend((0, 0, 0), (170, 90, 60), glitter)


def _brick(dice: Dice, T: int, unit: float, low: RGB, high: RGB) -> np.ndarray:
    height, width = max(round(8 * unit), 4), max(round(16 * unit), 8)
    rows, columns = np.arange(T)[:, None], np.arange(T)[None, :]
    course = rows // height
    shifted = columns + (course % 2) * (width // 2)
    joint = max(round(unit * 1.3), 1)
    mortar = ((rows % height) < joint) | ((shifted % width) < joint)
    tint = dice.array((T // height + 1, T // width + 2))[course, shifted // width]
    rough = _fractal(dice, T, 4 * unit)
    colour = _blend(low, high, tint * 0.75 + 0.6 * (rough - 0.4))
    # Light falls from above: each brick has a bright upper and a dark lower edge.
    colour[(rows % height == joint) & ~mortar] *= 1.15
    colour[(rows % height == height - 1) & ~mortar] *= 0.75
    return np.where(mortar[..., None], _blend((164, 150, 138), (206, 194, 180), rough), colour)


def _sky(dice: Dice, T: int, unit: float, low: RGB, high: RGB) -> np.ndarray:
    # Soft wisps, no whole clouds, which would look like objects.
    depth = np.arange(T)[:, None] / T + 0.4 * _noise(dice, T, 40 * unit, 60 * unit)
    wisps = _fractal(dice, T, 12 * unit, 4.0) * _noise(dice, T, 30 * unit, 50 * unit)
    colour = _blend(low, high, depth * 0.8)
    return colour + _blend((0, 0, 0), (70, 40, 16), np.maximum(wisps - 0.28, 0) * 3)


def _night(dice: Dice, T: int, unit: float, low: RGB, high: RGB) -> np.ndarray:
    haze = _fractal(dice, T, 26 * unit)
    colour = _blend(low, high, 1.8 * (haze - 0.25))
    # About one star in 45 pixels at 64 pixels a side; few of them are bright.
    side = max(round(unit), 1)
    n = T // side + 1
    seeds = dice.array((n, n))
    bright = np.where(seeds > 0.978, (seeds - 0.972) * 36, 0.0)
    bright = bright.repeat(side, 0).repeat(side, 1)[:T, :T]
    return colour + bright[..., None] * np.array([190.0, 190.0, 170.0])


def _snow(dice: Dice, T: int, unit: float, low: RGB, high: RGB) -> np.ndarray:
    rows = np.arange(T)[:, None] / unit
    drifts = _waves(rows / 26 + 1.5 * _fractal(dice, T, 36 * unit, 1.5))
    sparkle = dice.array((T, T))
    colour = _blend(low, high, 0.15 + 0.85 * drifts + 0.15 * (sparkle - 0.5))
    colour[sparkle > 0.985] += 40
    colour[sparkle < 0.012] *= 0.88
    return colour


def _wood(dice: Dice, T: int, unit: float, low: RGB, high: RGB) -> np.ndarray:
    rows, columns = np.arange(T)[:, None], np.arange(T)[None, :]
    width = max(round(13 * unit), 6)
    plank = columns // width
    # Every plank has its own part of the grain, and its own tint.
    shift = (dice.array((T // width + 1,)) * T).astype(np.int64)[plank]
    bend = _noise(dice, T, 26 * unit, 8 * unit)
    bend = bend[(rows + shift) % T, columns]
    grain = _waves(columns / (3.2 * unit) + 3.0 * bend)
    fibres = _noise(dice, T, 22 * unit, 1.2 * unit)
    tint = dice.array((T // width + 1,))[plank]
    share = 0.15 + 0.4 * tint + 0.3 * grain + 0.35 * (fibres - 0.4)
    colour = _blend(low, high, share)
    colour[np.broadcast_to(columns % width < max(round(unit), 1), (T, T))] *= 0.5
    return colour


_PAINTERS = {"grass": _grass, "sand": _sand, "water": _water, "brick": _brick,
             "sky": _sky, "night": _night, "snow": _snow, "wood": _wood}


# The three colour variants of each background: darkest and lightest colour of the tile.
KINDS: dict[str, tuple[tuple[RGB, RGB], ...]] = {
    "grass": (((28, 92, 22), (140, 196, 64)), ((118, 96, 34), (214, 190, 104)), ((14, 62, 40), (78, 150, 84))),
    "sand": (((206, 166, 104), (243, 215, 158)), ((196, 184, 164), (240, 232, 216)), ((176, 112, 76), (226, 166, 122))),
    "water": (((10, 74, 132), (40, 150, 190)), ((14, 96, 84), (70, 172, 146)), ((34, 56, 84), (104, 136, 160))),
    "brick": (((132, 50, 36), (198, 98, 70)), ((168, 128, 52), (224, 188, 104)), ((92, 92, 98), (156, 156, 162))),
    "sky": (((84, 158, 232), (168, 212, 248)), ((150, 170, 190), (206, 216, 226)), ((206, 128, 120), (250, 206, 160))),
    "night": (((12, 14, 44), (52, 40, 104)), ((8, 10, 16), (44, 50, 62)), ((6, 30, 40), (22, 74, 92))),
    "snow": (((188, 208, 232), (246, 250, 255)), ((206, 206, 206), (252, 252, 250)),
             ((204, 192, 220), (250, 240, 250))),
    "wood": (((118, 72, 34), (206, 150, 90)), ((176, 140, 100), (236, 212, 172)), ((62, 38, 26), (122, 82, 58))),
}


@lru_cache(maxsize=128)
def texture_tile(name: str, image_size: int, kind: int = 0) -> np.ndarray:
    """The tile of a background in one of its `KINDS`, (3, T, T) RGB from 0 to 255."""
    T = _TILE * image_size
    tile = _PAINTERS[name](Dice(2024, BACKGROUNDS.index(name)), T, image_size / 64, *KINDS[name][kind])
    # Channels first: numpy is several times faster on long rows than on triples.
    return np.ascontiguousarray(np.minimum(np.maximum(tile, 0.0), 255.0).transpose(2, 0, 1))


@lru_cache(maxsize=8)
def grain_tile(image_size: int) -> np.ndarray:
    """Noise in [-1, 1] like that of a camera's sensor, (T, T)."""
    T = _TILE * image_size
    return Dice(2025, 0).array((T, T)) + Dice(2025, 1).array((T, T)) - 1.0


def cut_texture(name: str, image_size: int, dice: Dice) -> np.ndarray:
    """A random crop of a background with random variant, brightness and hue, (3, S, S)."""
    tile = texture_tile(name, image_size, dice.below(len(KINDS[name])))
    free = tile.shape[1] - image_size
    y, x = dice.below(free + 1), dice.below(free + 1)
    piece = tile[:, y:y + image_size, x:x + image_size]
    if dice.chance(0.5):
        piece = piece[..., ::-1]
    light = dice.between(0.86, 1.12)
    hue = [light * dice.between(0.92, 1.08) for _ in range(3)]
    return piece * np.array(hue)[:, None, None]


def split_line(image_size: int, dice: Dice) -> np.ndarray:
    """A soft wavy or slanted border between two backgrounds: 0 above, 1 below it, (S, S)."""
    unit = np.arange(image_size) / image_size
    slope = dice.between(-0.7, 0.7) if dice.chance(0.5) else dice.between(-0.15, 0.15)
    bow = dice.between(0.0, 0.12)
    start, turns = dice.between(0, 1), dice.between(0.5, 1.8)
    border = dice.between(0.38, 0.62) + slope * (unit - 0.5) + bow * (_waves(unit * turns + start) - 0.5)
    below = (unit[:, None] - border[None, :]) * image_size + 0.5
    return np.minimum(np.maximum(below, 0.0), 1.0)


def light_gradient(image_size: int, dice: Dice) -> np.ndarray:
    """Brightness that decreases to one side of the image by up to an eighth, (S, S)."""
    angle, strength = dice.between(0, 2 * math.pi), dice.between(0.03, 0.13)
    unit = np.arange(image_size) / image_size * 2 - 1
    across = round(strength * math.cos(angle), 6) * unit
    down = round(strength * math.sin(angle), 6) * unit
    return 1 + across[None, :] + down[:, None]


# The colours of the objects

# Hue in degrees, saturation and lightness (HLS) from 0 to 1: smallest and largest value of this name.
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

# The usual main and second colour of each object: no two objects share a pair.
NATURAL_COLOURS: dict[str, tuple[str, str]] = {
    "cat": ("black", "white"), "rabbit": ("white", "pink"), "elephant": ("grey", "pink"),
    "bird": ("blue", "yellow"), "fish": ("orange", "white"), "butterfly": ("purple", "orange"),
    "tree": ("green", "brown"), "flower": ("yellow", "green"), "mushroom": ("red", "white"),
    "house": ("white", "red"), "car": ("red", "grey"), "boat": ("brown", "white"),
    "airplane": ("grey", "blue"), "umbrella": ("pink", "purple"), "cup": ("blue", "white"),
    "shoe": ("brown", "black"),
}


def draw_shade(name: str, dice: Dice) -> RGB:
    """A random colour of this name."""
    hue, saturation, lightness = (dice.between(*span) for span in PALETTE[name])
    red, green, blue = colorsys.hls_to_rgb(hue % 360 / 360, lightness, saturation)
    return 255 * red, 255 * green, 255 * blue


def distance(one: RGB, other: RGB) -> float:
    """L1 distance: the sum of the absolute differences of the three channels, from 0 to 765."""
    return sum(abs(a - b) for a, b in zip(one, other))


def draw_colour(behind: tuple[RGB, ...], clear: tuple[float, ...], dice: Dice,
                names: tuple[str, ...] = tuple(PALETTE)) -> tuple[str, RGB]:
    """A name out of `names` and a shade of it that differs from every colour of `behind`.

    Args:
        behind: RGB values under or beside it.
        clear: the smallest `distance` to each of them. Where twelve draws do not reach it, the best of them is
            taken.
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
