"""Two palettes: one for groups, which have numbers, and one for classes, which have names.

Both begin with known colours (groups: Okabe and Ito's seven, then Tol's) that were pushed apart until
people with any of the three kinds of colour blindness can tell them too, as far as 28 and 32
colours can be told at all. That is why figures also draw borders and write on the regions.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.colors import to_rgb

# A group has no meaning that a colour could hint at. The first are the easiest to tell.
GROUP_COLOURS: tuple[str, ...] = (
    "#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7", "#332288",
    "#e0c170", "#2c6a2f", "#871245", "#94ccfc", "#5d8d47", "#e96a83", "#aeb989", "#b13779",
    "#f5abd2", "#cdcf28", "#72a2c3", "#f68b59", "#f5efcc", "#e95754", "#a6e8fc", "#c09205",
    "#ae2d09", "#75ea9e", "#661205", "#6688c7", "#fcc9d1", "#586e91", "#c0a7aa", "#055055",
)

# The classes of the scenes look a little like what they name, where that leaves them apart.
CLASS_COLOURS: dict[str, str] = {
    "sun": "#fccd23", "moon": "#f9fccb", "star": "#f1eb7a", "cloud": "#c4d2d6", "heart": "#bb386b",
    "flower": "#f87da8", "tree": "#057673", "house": "#bd4a98", "car": "#a52207", "boat": "#f4a01c",
    "airplane": "#9fb0c9", "fish": "#e57805", "bird": "#5f62d3", "cat": "#474050", "butterfly": "#7a42ac",
    "mushroom": "#d0560f", "apple": "#7ccd60", "umbrella": "#5d218f", "anchor": "#374976", "cup": "#05ad94",
    "grass": "#73ac64", "sand": "#d7cda0", "water": "#1b86bc", "brick": "#ae6d53", "sky": "#91cffc",
    "night": "#20265c", "snow": "#defafc", "wood": "#6f523f",
}

NO_CLASS = "#8a8a8a"   # background, where there is such a class: label -1


def group_colours(num_groups: int) -> np.ndarray:
    """The colours of groups 0, 1, 2, ...: (num_groups, 3) from 0 to 1.

    A group has its colour in all figures. After 32 they come again, darker: 64 groups as in the
    paper's first stage are told apart by their borders.
    """
    known = np.array([to_rgb(colour) for colour in GROUP_COLOURS])
    rounds = [known * 0.72 ** k for k in range(-(-num_groups // len(known)))]
    return np.concatenate(rounds)[:num_groups] if rounds else known[:0]


def class_colours(class_names: Sequence[str]) -> np.ndarray:
    """The colours of classes: (C, 3) from 0 to 1.

    The classes of the scenes have their own in all figures; other words take those that are left
    over, in their order.
    """
    free = [c for name, c in CLASS_COLOURS.items() if name not in class_names] + list(GROUP_COLOURS)
    others = [name for name in class_names if name not in CLASS_COLOURS]
    taken = {name: free[i % len(free)] for i, name in enumerate(others)}
    return np.array([to_rgb(CLASS_COLOURS.get(name) or taken[name]) for name in class_names]).reshape(-1, 3)
