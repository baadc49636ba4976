"""Scenes: small images with captions and an exact mask, computed when they are needed.

Drawings of objects on procedural textures, with light from one side and a soft shadow. The scene of (seed, split,
index) is the same on every machine: random numbers come from `dice.py`, and pixels from sums, products and
comparisons alone.

    scene = make_scene(7)
    scene.image, scene.caption, scene.mask

Many scenes at once: `sets.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .captions import write_caption
from .config import SPLITS, Instance, SceneConfig, check_split
from .dice import Dice
from .drawings import cut_out, num_drawings
from .textures import NATURAL_COLOURS, PALETTE, RGB, cut_texture, draw_colour, grain_tile, light_gradient, split_line

# H, W height and width of the image, equal here  h, w of the patch that holds one object

_LEAST_VISIBLE = 0.75  # smallest share of every object that stays visible
_MOST_OUTSIDE = 0.08   # share of an object's box that may lie outside the image, on either axis
# Smallest `textures.distance` of colours: an object from what it covers, its parts from each other.
_CLEAR_OF_BACKGROUND, _CLEAR_OF_MAIN = 90.0, 120.0
PARTS = ("none", "main", "second", "detail")   # the numbers in `Scene.parts`


@dataclass(frozen=True, eq=False)
class Scene:
    """An image, its caption, and the ground truth, which no model sees in training."""

    image: np.ndarray                # (H, W, 3) uint8 RGB
    caption: str
    mask: np.ndarray                 # (H, W) uint8, position in `SceneConfig.class_names`
    parts: np.ndarray                # (H, W) uint8, position in `PARTS`; 0 on the background
    instances: tuple[Instance, ...]  # from back to front


def _draw_backgrounds(config: SceneConfig, dice: Dice) -> list[str]:
    first = dice.choice(config.backgrounds)
    second = dice.choice([b for b in config.backgrounds if b != first] or [first])
    if not dice.chance(config.second_background) or second == first:
        return [first]
    # Sky and night are the upper background.
    return sorted((first, second), key=lambda b: b not in ("sky", "night"))


def _draw_objects(config: SceneConfig, dice: Dice) -> list[str]:
    low, high = config.num_objects
    chosen: list[str] = []
    for _ in range(low + dice.below(high - low + 1)):
        fresh = [n for n in config.objects if n not in chosen]
        again = dice.chance(config.repeat)
        chosen.append(dice.choice(chosen if chosen and (again or not fresh) else fresh))
    return chosen


def _draw_drawing(name: str, split: str, config: SceneConfig, dice: Dice) -> int:
    seen = num_drawings(name) - 1
    number = dice.below(min(seen, config.drawings or seen))
    return seen if split == "unseen" else number


def _draw_colours(name: str, behind: RGB, config: SceneConfig, dice: Dice) -> tuple[tuple[str, str], tuple[RGB, RGB]]:
    """Names and RGB values of main and second colour, which differ from the colour behind the object."""
    palette = tuple(PALETTE)
    natural = NATURAL_COLOURS[name] if dice.chance(config.natural_colour) else None
    first, main = draw_colour((behind,), (_CLEAR_OF_BACKGROUND,), dice, palette if natural is None else natural[:1])
    rest = tuple(n for n in palette if n != first)
    second_name, second = draw_colour((main, behind), (_CLEAR_OF_MAIN, _CLEAR_OF_BACKGROUND / 2), dice,
                                      rest if natural is None else natural[1:])
    return (first, second_name), (main, second)


def _place_object(name: str, drawing: int, instance_map: np.ndarray, areas: list[int], config: SceneConfig,
                  dice: Dice) -> tuple[np.ndarray, int, int]:
    """A patch (5, h, w) of the object and its corner, such that all earlier objects stay visible.

    `areas` are the complete areas of the objects that are already in `instance_map` as 1, 2, ...
    """
    S = config.image_size
    size = dice.between(*config.object_size) * S
    visible = np.bincount(instance_map.ravel(), minlength=len(areas) + 1)
    while True:
        patch = cut_out(name, drawing, size, dice.between(-config.rotation, config.rotation), dice.chance(0.5))
        h, w = patch.shape[1:]
        solid = patch[0] >= 0.5
        out_y, out_x = int(_MOST_OUTSIDE * h), int(_MOST_OUTSIDE * w)
        for _ in range(6):
            y = dice.below(max(S - h, 0) + 2 * out_y + 1) - out_y
            x = dice.below(max(S - w, 0) + 2 * out_x + 1) - out_x
            window = instance_map[max(y, 0):y + h, max(x, 0):x + w]
            inside = solid[max(-y, 0):, max(-x, 0):][:window.shape[0], :window.shape[1]]
            hidden = np.bincount(window[inside], minlength=len(areas) + 1)
            left = visible - hidden
            if all(left[i + 1] >= _LEAST_VISIBLE * area for i, area in enumerate(areas)):
                return patch, y, x
        size *= 0.86  # no place was found: smaller, at another angle


def _paint(canvas: np.ndarray, patch: np.ndarray, y: int, x: int, colours: tuple[RGB, RGB],
           light: tuple[float, float]) -> None:
    """Draws an object (5, h, w) in its two colours, with its shadow, into the image (3, H, W), in place."""
    S = canvas.shape[-1]
    h, w = patch.shape[1:]

    def window(dy: int, dx: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
        """Slices of the image that the shifted patch covers, and slices of the patch inside the image."""
        top, left = max(y + dy, 0), max(x + dx, 0)
        bottom, right = min(y + dy + h, S), min(x + dx + w, S)
        return ((slice(top, bottom), slice(left, right)),
                (slice(top - y - dy, bottom - y - dy), slice(left - x - dx, right - x - dx)))

    alpha, second, detail, tone, height = patch                     # (h, w) each
    # The shadow is shifted away from the light by a thirtieth of the image.
    there, own = window(round(-light[1] * S / 30), round(-light[0] * S / 30))
    canvas[(slice(None), *there)] *= 1 - 0.4 * alpha[own]

    # Slopes that face the light are brighter. The larger the patch, the smaller the height step per pixel.
    facing = np.zeros((h, w))
    steep = max(h, w) / 40
    facing[:, 1:-1] = (height[:, :-2] - height[:, 2:]) * (light[0] * steep)
    facing[1:-1] += (height[:-2] - height[2:]) * (light[1] * steep)
    facing = np.minimum(np.maximum(facing, -0.5), 0.5)
    shade = (0.74 + 0.3 * height + 0.42 * facing) * (1 + 0.75 * np.minimum(tone, 0.0))
    main, other = (np.array(rgb)[:, None, None] for rgb in colours)
    inside = np.maximum(alpha, 1e-6)
    share, grey = second / inside, detail / inside                  # fractions of the coverage, (h, w)
    colour = (main + (other - main) * share) * shade                # (3, h, w)
    colour += (255 - colour) * (0.75 * np.maximum(tone, 0.0)) + 60 * np.maximum(facing, 0.0)
    colour += (127.5 * (tone + 1) - colour) * np.minimum(grey, 1.0)

    there, own = window(0, 0)
    covered = canvas[(slice(None), *there)]                         # a view: changed in place
    covered += (colour[(slice(None), *own)] - covered) * alpha[own]


def _paint_backgrounds(backgrounds: list[str], config: SceneConfig, dice: Dice) -> tuple[np.ndarray, np.ndarray]:
    """One texture, or two with a border between them: canvas (3, H, W) and mask (H, W)."""
    S = config.image_size
    canvas = cut_texture(backgrounds[0], S, dice)                   # (3, H, W)
    which = np.zeros((S, S), dtype=np.int64)
    if len(backgrounds) == 2:
        below = split_line(S, dice)
        canvas = canvas * (1 - below) + cut_texture(backgrounds[1], S, dice) * below
        which = (below >= 0.5).astype(np.int64)
    indices = np.array([config.class_names.index(b) for b in backgrounds], dtype=np.uint8)
    return canvas * light_gradient(S, dice), indices[which]


def _largest_part(patch: np.ndarray) -> np.ndarray:
    """Position in `PARTS` of the part that covers most of each pixel of an object's patch (5, h, w)."""
    alpha, second, detail = patch[:3]
    return 1 + np.stack([alpha - second - detail, second, detail]).argmax(0).astype(np.uint8)


def _mean_colour(pixels: np.ndarray) -> tuple[int, int, int]:
    """Mean of pixels (3, h, w), in integers, whose sum does not depend on the order of summation."""
    sample = pixels[:, ::3, ::3].astype(np.int64)
    return tuple(int(c) // (sample.size // 3) for c in sample.sum((1, 2)))


def _add_grain(canvas: np.ndarray, config: SceneConfig, dice: Dice) -> np.ndarray:
    """The finished image, (H, W, 3) uint8."""
    S = config.image_size
    grain = grain_tile(S)
    free = grain.shape[1] - S
    y, x = dice.below(free + 1), dice.below(free + 1)
    canvas = canvas + config.noise * grain[y:y + S, x:x + S]
    image = np.minimum(np.maximum(canvas + 0.5, 0.0), 255.0).astype(np.uint8)
    return np.ascontiguousarray(image.transpose(1, 2, 0))


def _instance(name: str, colours: tuple[str, str], drawing: int, visible: np.ndarray) -> Instance:
    rows, columns = np.flatnonzero(visible.any(1)), np.flatnonzero(visible.any(0))
    box = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
    return Instance(name, *colours, drawing, visible, box)


def make_scene(index: int, split: str = "train", config: SceneConfig = SceneConfig(), seed: int = 0) -> Scene:
    """The scene of an index, bit for bit the same on every machine.

    Args:
        index: 0, 1, 2, ... ; no split has a last scene.
        split: train, validation, test: different scenes. "unseen" is test with another drawing of
            every object, which the other splits never show.
        config: see `SceneConfig`.
        seed: another seed is another data set.

    Raises:
        ValueError: an unknown split or a negative number.
    """
    check_split(split)
    if index < 0 or seed < 0:
        raise ValueError(f"index and seed must be 0 or more, got {index} and {seed}; count from 0")
    S = config.image_size
    key = (seed, SPLITS.index("test" if split == "unseen" else split), index)
    dice = Dice(*key, 0)

    backgrounds = _draw_backgrounds(config, dice)
    names = _draw_objects(config, dice)
    drawings = [_draw_drawing(name, split, config, dice) for name in names]
    canvas, mask = _paint_backgrounds(backgrounds, config, dice)
    # The light comes roughly from above. Rounded: sines differ in the last digit between machines.
    angle = dice.between(-0.9, 0.9)
    light = (round(math.sin(angle), 6), round(-math.cos(angle), 6))
    instance_map = np.zeros((S, S), dtype=np.int64)                 # 0 none, i + 1 instance i
    parts = np.zeros((S, S), dtype=np.uint8)
    areas: list[int] = []
    colours: list[tuple[str, str]] = []
    for i, (name, drawing) in enumerate(zip(names, drawings)):
        patch, y, x = _place_object(name, drawing, instance_map, areas, config, dice)
        h, w = patch.shape[1:]
        rows, columns = slice(max(y, 0), y + h), slice(max(x, 0), x + w)
        named, shades = _draw_colours(name, _mean_colour(canvas[:, rows, columns]), config, dice)
        _paint(canvas, patch, y, x, shades, light)
        window = instance_map[rows, columns]
        patch = patch[:, max(-y, 0):, max(-x, 0):][:, :window.shape[0], :window.shape[1]]
        solid = patch[0] >= 0.5
        window[solid] = i + 1
        mask[rows, columns][solid] = config.objects.index(name)
        parts[rows, columns][solid] = _largest_part(patch)[solid]
        areas.append(int(solid.sum()))
        colours.append(named)

    image = _add_grain(canvas, config, dice)
    instances = tuple(_instance(name, colour, drawing, instance_map == i + 1)
                      for i, (name, colour, drawing) in enumerate(zip(names, colours, drawings)))
    # Captions have random numbers of their own: their options do not change the image.
    caption = write_caption(instances, backgrounds, config, Dice(*key, 1))
    return Scene(image, caption, mask, parts, instances)
