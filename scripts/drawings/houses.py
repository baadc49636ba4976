"""Houses."""

from __future__ import annotations

from .shapes import Step, detail, ellipse, main, polygon, rectangle, second


def gabled_house() -> list[Step]:
    """A house with a pointed roof and a chimney."""
    return [
        second(rectangle(68, 62, 82, 94)),
        main(rectangle(12, 2, 88, 54)),
        second(polygon((0, 50), (100, 50), (50, 98))),
        detail(rectangle(42, 2, 58, 32), 0.2),
        detail(rectangle(19, 22, 35, 40), 0.9),
        detail(rectangle(65, 22, 81, 40), 0.9),
        detail(ellipse(50, 66, 7), 0.9),
    ]


def tower_house() -> list[Step]:
    """A tall block with a flat roof and many windows."""
    return [
        main(rectangle(29, 0, 71, 94)),
        second(rectangle(24, 90, 76, 104)),
        second(rectangle(29, 0, 71, 16), inside=True),
        detail(rectangle(44, 0, 56, 16), 0.2),
        *[detail(rectangle(x, y, x + 9, y + 12), 0.9) for x in (33, 45.5, 58) for y in (24, 46, 68)],
    ]


def bungalow() -> list[Step]:
    """A low house with a porch on posts under its wide roof."""
    return [
        main(rectangle(20, 8, 62, 44)),
        main(rectangle(84, 4, 91, 48)),
        second(polygon((2, 42), (104, 42), (82, 72), (26, 72))),
        second(rectangle(34, 64, 45, 90)),
        main(rectangle(10, 0, 100, 10)),
        detail(rectangle(44, 10, 57, 36), 0.2),
        detail(rectangle(25, 20, 39, 34), 0.9),
    ]


def castle_house() -> list[Step]:
    """A house with a high tower under a pointed roof."""
    return [
        main(rectangle(36, 0, 96, 40)),
        second(polygon((32, 38), (102, 38), (88, 58), (40, 58))),
        main(rectangle(8, 0, 40, 90)),
        second(polygon((0, 88), (48, 88), (24, 142))),
        detail(rectangle(60, 0, 74, 24), 0.2),
        detail(rectangle(80, 14, 91, 28), 0.9),
        detail(rectangle(44, 14, 54, 28), 0.9),
        *[detail(ellipse(24, y, 6, 8), 0.9) for y in (34, 66)],
    ]


def house_with_wing() -> list[Step]:
    """A house with a long low wing at its side."""
    return [
        main(rectangle(4, 2, 46, 62)),
        second(polygon((-8, 60), (58, 60), (25, 92))),
        main(rectangle(42, 2, 142, 28)),
        second(polygon((40, 26), (150, 26), (136, 42), (40, 42))),
        second(rectangle(96, 36, 108, 66)),
        detail(rectangle(18, 2, 32, 28), 0.2),
        detail(rectangle(10, 40, 22, 54), 0.9),
        detail(rectangle(28, 40, 40, 54), 0.9),
        *[detail(rectangle(x, 9, x + 15, 21), 0.9) for x in (54, 78, 102, 124)],
        detail(ellipse(25, 72, 5), 0.9),
    ]


DRAWINGS = {"house": [gabled_house(), tower_house(), bungalow(), castle_house(), house_with_wing()]}
