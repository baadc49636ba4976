"""The colours of the objects: a palette of names, and what each object usually looks like.

No object can be told by its colour alone: each natural colour belongs to several objects,
and one object in four wears an odd colour.
"""

from __future__ import annotations

from .silhouettes import OBJECTS

PALETTE: dict[str, tuple[int, int, int]] = {  # red, green, blue
    "red": (214, 40, 40),
    "orange": (244, 140, 30),
    "yellow": (250, 212, 50),
    "green": (52, 150, 66),
    "blue": (44, 100, 210),
    "purple": (132, 62, 176),
    "pink": (244, 130, 176),
    "brown": (130, 80, 44),
    "black": (44, 44, 52),
    "white": (244, 244, 240),
    "grey": (140, 144, 150),
}

NATURAL_COLOURS: dict[str, tuple[str, ...]] = {
    "sun": ("yellow", "orange"),
    "moon": ("yellow", "white"),
    "star": ("yellow", "white"),
    "cloud": ("white", "grey"),
    "heart": ("red", "pink"),
    "flower": ("pink", "red", "purple"),
    "tree": ("green",),
    "house": ("red", "brown", "white"),
    "car": ("red", "blue", "black"),
    "boat": ("white", "brown", "blue"),
    "airplane": ("white", "grey", "blue"),
    "fish": ("orange", "blue", "grey"),
    "bird": ("blue", "black", "brown"),
    "cat": ("black", "orange", "grey"),
    "butterfly": ("orange", "purple", "blue"),
    "mushroom": ("red", "brown"),
    "apple": ("red", "green"),
    "umbrella": ("purple", "black", "pink"),
    "anchor": ("black", "grey"),
    "cup": ("white", "blue", "green"),
}


def _odd_colours(name: str) -> tuple[str, ...]:
    """All that are not natural, begun elsewhere in the palette for each object."""
    names = tuple(PALETTE)
    start = OBJECTS.index(name) * 3
    turned = [names[(start + i) % len(names)] for i in range(len(names))]
    return tuple(c for c in turned if c not in NATURAL_COLOURS[name])


# Two odd colours of each object are kept for the split "unseen", the others are for all other splits.
UNSEEN_COLOURS: dict[str, tuple[str, ...]] = {name: _odd_colours(name)[:2] for name in OBJECTS}
ODD_COLOURS: dict[str, tuple[str, ...]] = {name: _odd_colours(name)[2:] for name in OBJECTS}

_SHADES = (1.0, 0.72, 1.3)           # the colour itself, darker, lighter
_SHADES_IN_THE_DARK = (1.3, 1.0, 0.72)


def pick_shade(names: tuple[str, ...], behind: tuple[int, int, int],
               clear: int = 170) -> tuple[str, tuple[float, float, float]]:
    """The first of the colours that is seen clearly before what lies behind it, and its RGB values.

    Args:
        names: colours in the order they are liked.
        behind: mean RGB values, 0 to 255, of what the object will cover.
        clear: sum of the differences over the three channels that is enough. Where no colour
            reaches it, the colour and shade with the greatest difference are taken.
    """
    best, best_distance = None, -1.0
    for shade in _SHADES_IN_THE_DARK if sum(behind) < 200 else _SHADES:
        for name in names:
            rgb = tuple(min(c * shade, 250.0) for c in PALETTE[name])
            distance = sum(abs(a - b) for a, b in zip(rgb, behind))
            if distance >= clear:
                return name, rgb
            if distance > best_distance:
                best, best_distance = (name, rgb), distance
    assert best is not None
    return best
