"""The colours of the objects: a palette of names, and what each object usually looks like.

Three objects in four have the colour that is natural for them, in a shade of their own; the
fourth wears one that is natural for others. So colour is a hint, and what it is worth can be
measured: `evaluation.baselines.ColourClassifier`.
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

# What each object usually looks like: the name of its colour, and a shade of its own.
NATURAL_COLOURS: dict[str, tuple[str, tuple[int, int, int]]] = {
    "sun": ("yellow", (255, 196, 20)),
    "moon": ("yellow", (244, 236, 170)),
    "star": ("yellow", (255, 238, 60)),
    "cloud": ("white", (250, 250, 255)),
    "heart": ("red", (222, 20, 60)),
    "flower": ("pink", (248, 130, 180)),
    "tree": ("green", (20, 100, 50)),
    "house": ("brown", (164, 74, 52)),
    "car": ("blue", (30, 80, 200)),
    "boat": ("brown", (98, 58, 34)),
    "airplane": ("grey", (190, 200, 212)),
    "fish": ("orange", (255, 120, 20)),
    "bird": ("blue", (80, 180, 240)),
    "cat": ("black", (42, 40, 46)),
    "butterfly": ("purple", (140, 60, 190)),
    "mushroom": ("red", (206, 62, 40)),
    "apple": ("green", (150, 200, 40)),
    "umbrella": ("pink", (200, 30, 130)),
    "anchor": ("grey", (100, 108, 120)),
    "cup": ("green", (30, 165, 150)),
}


def _odd_colours(name: str) -> tuple[str, ...]:
    """All that are not natural, begun elsewhere in the palette for each object."""
    names = tuple(PALETTE)
    start = OBJECTS.index(name) * 3
    turned = [names[(start + i) % len(names)] for i in range(len(names))]
    return tuple(c for c in turned if c != NATURAL_COLOURS[name][0])


# Two odd colours of each object are kept for the split "unseen", the others are for all other splits.
UNSEEN_COLOURS: dict[str, tuple[str, ...]] = {name: _odd_colours(name)[:2] for name in OBJECTS}
ODD_COLOURS: dict[str, tuple[str, ...]] = {name: _odd_colours(name)[2:] for name in OBJECTS}

_SHADES = (1.0, 0.72, 1.3)           # the colour itself, darker, lighter
_SHADES_IN_THE_DARK = (1.3, 1.0, 0.72)


def pick_shade(colours: tuple[tuple[str, tuple[int, int, int]], ...], behind: tuple[int, int, int],
               clear: int = 170) -> tuple[str, tuple[float, float, float]]:
    """The first of the colours that is seen clearly before what lies behind it: its name and RGB values.

    Args:
        colours: names and RGB values, in the order they are liked.
        behind: mean RGB values, 0 to 255, of what the object will cover.
        clear: sum of the differences over the three channels that is enough. Where no colour
            reaches it, the colour and shade with the greatest difference are taken.
    """
    best, best_distance = None, -1.0
    for shade in _SHADES_IN_THE_DARK if sum(behind) < 200 else _SHADES:
        for name, colour in colours:
            rgb = tuple(min(c * shade, 250.0) for c in colour)
            distance = sum(abs(a - b) for a, b in zip(rgb, behind))
            if distance >= clear:
                return name, rgb
            if distance > best_distance:
                best, best_distance = (name, rgb), distance
    assert best is not None
    return best
