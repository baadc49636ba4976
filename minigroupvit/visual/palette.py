"""Two palettes: one for groups, which have numbers, and one for classes, which have names.

Where a figure shows how groups become named masks, `stage_colours` gives the groups shades of the class colours.

Both palettes began with published colours (groups: Okabe and Ito's seven, then Tol's), which were moved apart so that
people with any of the three kinds of colour blindness can tell them apart too, as far as that is possible with 24 and 32
colours. Because it is not always possible, figures also draw borders and write on the regions.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.colors import to_rgb

# A group's number has no meaning that a colour could show. The first colours are the easiest to tell apart.
GROUP_COLOURS: tuple[str, ...] = (
    "#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7", "#332288",
    "#e0c170", "#2c6a2f", "#871245", "#94ccfc", "#5d8d47", "#e96a83", "#aeb989", "#b13779",
    "#f5abd2", "#cdcf28", "#72a2c3", "#f68b59", "#f5efcc", "#e95754", "#a6e8fc", "#c09205",
    "#ae2d09", "#75ea9e", "#661205", "#6688c7", "#fcc9d1", "#586e91", "#c0a7aa", "#055055",
)

# The colours of the scenes' classes are near to those of what they name, where that keeps them apart.
CLASS_COLOURS: dict[str, str] = {
    "cat": "#474050", "rabbit": "#f9fccb", "elephant": "#374976", "bird": "#5f62d3", "fish": "#e57805",
    "butterfly": "#7a42ac", "tree": "#057673", "flower": "#f87da8", "mushroom": "#d0560f", "house": "#bd4a98",
    "car": "#a52207", "boat": "#f4a01c", "airplane": "#9fb0c9", "umbrella": "#5d218f", "cup": "#05ad94",
    "shoe": "#fccd23",
    "grass": "#73ac64", "sand": "#d7cda0", "water": "#1b86bc", "brick": "#ae6d53", "sky": "#91cffc",
    "night": "#20265c", "snow": "#defafc", "wood": "#6f523f",
}

NO_CLASS = "#8a8a8a"   # background, where there is such a class: label -1

_CLEAR = 0.09          # of `colour_distances`: told apart easily

# Linear RGB as it appears in normal vision, protanopia, deuteranopia and tritanopia: matrices.
_SIGHT = np.array([
    [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
])
_TO_CONES = np.array([[0.4122, 0.5363, 0.0514], [0.2119, 0.6807, 0.1074], [0.0883, 0.2817, 0.6300]])
_TO_OKLAB = np.array([[0.2105, 0.7936, -0.0041], [1.9780, -2.4286, 0.4506], [0.0259, 0.7828, -0.8087]])


def group_colours(num_groups: int) -> np.ndarray:
    """The colours of groups 0, 1, 2, ...: (num_groups, 3) from 0 to 1.

    A group has the same colour in all figures. After 32 groups the colours repeat, darker: of 64 groups, as in the
    paper's first stage, not all can be told apart by colour alone.
    """
    known = np.array([to_rgb(colour) for colour in GROUP_COLOURS])
    rounds = [known * 0.72 ** k for k in range(-(-num_groups // len(known)))]
    return np.concatenate(rounds)[:num_groups] if rounds else known[:0]


def class_colours(class_names: Sequence[str]) -> np.ndarray:
    """The colours of classes: (C, 3) from 0 to 1.

    The classes of the scenes have the same colours in all figures. Another class takes the first group's colour that can
    be told easily from all colours in use, or, if there is none left, the most distant one.
    """
    colours = {name: to_rgb(CLASS_COLOURS[name]) for name in class_names if name in CLASS_COLOURS}
    others = [name for name in class_names if name not in CLASS_COLOURS]
    if others:
        known = [*group_colours(len(GROUP_COLOURS)), *map(to_rgb, CLASS_COLOURS.values())]
        darker = group_colours(len(GROUP_COLOURS) + len(others))[len(GROUP_COLOURS):]
        candidates = np.array([*known, *darker])                       # (n, 3)
        apart = colour_distances(candidates, candidates)               # (n, n)
        nearest = colour_distances(candidates, np.array([to_rgb(NO_CLASS), *colours.values()])).min(axis=1)
    for name in others:
        clear = nearest >= _CLEAR
        chosen = clear.argmax() if clear.any() else nearest.argmax()
        colours[name] = tuple(candidates[chosen])
        nearest = np.minimum(nearest, apart[chosen])
    return np.array([colours[name] for name in class_names]).reshape(-1, 3)


def family_colours(groups: np.ndarray, parents: np.ndarray, parent_colours: np.ndarray) -> np.ndarray:
    """Colours of an image's segments: those that are merged into one parent have shades of its colour.

    groups, parents (H, W): the segment of each pixel, and what the segments become: segments of the next stage, or
    classes. A segment belongs to the parent that has most of its pixels. parent_colours (P, 3) -> (G, 3), where G - 1 is
    the highest number in `groups`; the largest segment of a parent has exactly its colour.
    """
    num_groups, num_parents = int(groups.max()) + 1, len(parent_colours)
    pixels = np.bincount((groups * num_parents + parents).ravel(), minlength=num_groups * num_parents)
    pixels = pixels.reshape(num_groups, num_parents)
    parent, size = pixels.argmax(axis=1), pixels.sum(axis=1)
    colours = np.empty((num_groups, 3))
    for p in range(num_parents):
        family = [g for g in np.argsort(-size, kind="stable") if parent[g] == p]
        colours[family] = _shades(parent_colours[p], len(family))
    return colours


def stage_colours(stages: Sequence[np.ndarray], labels: np.ndarray, class_names: Sequence[str]) -> list[np.ndarray]:
    """The colours of the groups (H, W) of each stage: shades of what they become, a group of the next stage and, in the
    end, a class of `labels` (H, W), of which -1 is background. So no group has the colour of a class that it is not.
    """
    parents = np.where(labels < 0, len(class_names), labels)           # background is the class after the others
    colours = np.vstack([class_colours(class_names), to_rgb(NO_CLASS)])
    found = []
    for groups in reversed(stages):
        colours, parents = family_colours(groups, parents, colours), groups
        found.append(colours)
    return found[::-1]


def _shades(colour: np.ndarray, number: int) -> np.ndarray:
    """The colour itself, then paler and darker shades in turn, from strong to weak; (number, 3)."""
    paler, darker = (np.array([to_rgb(end) for end in ends]) for ends in (["white"], ["black"]))
    shades = [np.asarray(colour)]
    for k in range(1, number):
        strength = (0.5, 0.45, 0.28, 0.25, 0.68, 0.62)[(k - 1) % 6]
        shades.append((1 - strength) * shades[0] + strength * (paler, darker)[(k - 1) % 2][0])
    return np.array(shades[:number]).reshape(-1, 3)


def colour_distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Distances of colours (n, 3) and (m, 3) for the kind of colour vision that finds them most similar: (n, m).

    In Ottosson's OKLab space, where 0.02 is just noticeable; for normal vision and three kinds of colour blindness
    (Machado, Oliveira and Fernandes 2009, at full strength).
    """
    def seen(colours: np.ndarray) -> np.ndarray:                       # (n, 3) -> (4, n, 3)
        linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
        return np.cbrt((linear @ _SIGHT.transpose(0, 2, 1)).clip(0, 1) @ _TO_CONES.T) @ _TO_OKLAB.T

    apart = seen(first)[:, :, None] - seen(second)[:, None]            # (4, n, m, 3)
    return np.linalg.norm(apart, axis=-1).min(axis=0)
