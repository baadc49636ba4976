"""Plants: trees, flowers and mushrooms."""

from __future__ import annotations

from .shapes import (
    Step,
    around,
    bezier,
    detail,
    ellipse,
    main,
    pair,
    polygon,
    rectangle,
    second,
    shade,
    smooth,
    stroke,
    turned,
)


def fir() -> list[Step]:
    """A fir in three layers."""
    return [
        second(rectangle(42, 0, 58, 22)),
        main(polygon((8, 16), (92, 16), (50, 58))),
        main(polygon((15, 40), (85, 40), (50, 80))),
        main(polygon((24, 62), (76, 62), (50, 102))),
        shade(polygon((29, 38), (71, 38), (85, 40), (50, 50), (15, 40)), -0.3),
        shade(polygon((33, 60), (67, 60), (76, 62), (50, 71), (24, 62)), -0.3),
    ]


def round_tree() -> list[Step]:
    """A broad-leaved tree with a round crown."""
    return [
        second(polygon((42, -4), (58, -4), (56, 40), (44, 40))),
        *[main(ellipse(x, y, r)) for x, y, r in ((50, 72, 28), (26, 56, 22), (74, 56, 22), (50, 50, 24))],
        shade(ellipse(42, 80, 14, 10), 0.3),
        shade(ellipse(70, 58, 10, 8), 0.2),
    ]


def palm() -> list[Step]:
    """A palm."""
    leaf = bezier((50, 78), ((30, 104), (6, 96), (-2, 66)), ((14, 80), (30, 80), (50, 78)))
    low = bezier((50, 80), ((24, 84), (10, 70), (12, 42)), ((22, 62), (34, 70), (50, 80)))
    top = bezier((48, 76), ((40, 96), (44, 108), (62, 114)), ((60, 100), (58, 88), (54, 76)))
    return [
        second(
            bezier(
                (42, -2),
                ((46, 20), (48, 50), (46, 78)),
                ((50, 80), (52, 80), (55, 78)),
                ((58, 50), (58, 20), (62, -2)),
                ((54, -2), (48, -2), (42, -2)),
            )
        ),
        *pair(main, leaf, axis=51),
        *pair(main, low, axis=51),
        main(top),
        detail(ellipse(44, 74, 6), 0.3),
        detail(ellipse(57, 74, 6), 0.3),
    ]


def cypress() -> list[Step]:
    """A tall narrow tree."""
    return [
        second(rectangle(43, -6, 57, 18)),
        main(smooth((50, 108), (64, 78), (70, 44), (62, 14), (50, 8), (38, 14), (30, 44), (36, 78))),
        shade(smooth((50, 104), (62, 76), (66, 44), (60, 16), (54, 50)), -0.25),
    ]


def forked_tree() -> list[Step]:
    """An old tree whose trunk forks, with three crowns."""
    return [
        second(
            polygon(
                (40, -2),
                (62, -2),
                (57, 30),
                (84, 56),
                (78, 62),
                (53, 42),
                (53, 70),
                (45, 70),
                (45, 44),
                (20, 60),
                (15, 54),
                (43, 30),
            )
        ),
        main(ellipse(14, 66, 19, 15)),
        main(ellipse(86, 66, 19, 15)),
        main(ellipse(49, 84, 21, 17)),
        shade(ellipse(44, 90, 10, 6), 0.3),
        shade(ellipse(10, 70, 8, 5), 0.3),
        shade(ellipse(82, 70, 8, 5), 0.3),
    ]


LEAF = smooth((50, 12), (62, 28), (80, 32), (73, 16))


def daisy() -> list[Step]:
    """A daisy on a stem with two leaves."""
    return [
        detail(rectangle(46, -4, 54, 50), 0.35),
        *pair(detail, LEAF, 0.35),
        *[main(ellipse(x, y, 16)) for x, y in around(6, 23, 50, 70)],
        second(ellipse(50, 70, 15)),
    ]


def tulip() -> list[Step]:
    """A tulip with long leaves."""
    blade = bezier((50, 0), ((70, 10), (84, 34), (86, 62)), ((68, 50), (54, 30), (50, 0)))
    return [
        second(rectangle(46, -2, 54, 56)),
        *pair(second, blade),
        main(
            bezier(
                (50, 48),
                ((72, 50), (80, 72), (76, 102)),
                ((68, 96), (64, 92), (62, 88)),
                ((58, 96), (54, 102), (50, 106)),
                ((46, 102), (42, 96), (38, 88)),
                ((36, 92), (32, 96), (24, 102)),
                ((20, 72), (28, 50), (50, 48)),
            )
        ),
        shade(bezier((50, 106), ((62, 90), (62, 66), (50, 50)), ((38, 66), (38, 90), (50, 106))), 0.25),
    ]


def blossom() -> list[Step]:
    """The head of a flower from the front: five petals."""
    return [
        *[main(ellipse(x, y, 23)) for x, y in around(5, 30)],
        *[shade(ellipse(x, y, 9), 0.3) for x, y in around(5, 34)],
        second(ellipse(50, 50, 16)),
        detail(ellipse(50, 50, 6), 0.2),
    ]


def bellflower() -> list[Step]:
    """A stem that bends over, with a bell hanging from it."""
    bell = bezier(
        (76, 74),
        ((94, 72), (96, 52), (104, 34)),
        ((96, 38), (90, 38), (86, 32)),
        ((80, 38), (74, 38), (68, 32)),
        ((62, 38), (56, 38), (48, 34)),
        ((58, 52), (58, 72), (76, 74)),
    )
    return [
        second(stroke([(20, -6), (16, 30), (20, 62), (34, 84), (54, 90), (70, 84), (76, 72)], 8)),
        second(smooth((18, 6), (2, 22), (-6, 48), (10, 36))),
        second(smooth((18, 14), (38, 18), (50, 6), (32, 4))),
        main(bell),
        shade(
            bezier(
                (76, 74), ((86, 60), (86, 46), (86, 32)), ((80, 38), (74, 38), (68, 32)), ((68, 50), (70, 62), (76, 74))
            ),
            0.25,
        ),
        main(ellipse(0, 68, 12, 15)),
        second(rectangle(-4, 52, 8, 60), inside=True),
    ]


def sunflower() -> list[Step]:
    """A sunflower: a large middle, many petals, a short stem."""
    return [
        detail(rectangle(45, -18, 55, 40), 0.35),
        detail(smooth((52, -14), (70, 6), (94, 6), (78, -12)), 0.35),
        *[main(turned(polygon((50, 58), (60, 84), (50, 110), (40, 84)), angle, 50, 62)) for angle in range(0, 360, 36)],
        second(ellipse(50, 62, 23)),
        shade(ellipse(50, 62, 13), -0.35),
    ]


def toadstool() -> list[Step]:
    """A toadstool with dots."""
    return [
        second(smooth((38, 48), (35, 10), (42, 0), (58, 0), (65, 10), (62, 48))),
        main(
            bezier(
                (2, 44), ((4, 84), (30, 98), (50, 98)), ((70, 98), (96, 84), (98, 44)), ((80, 36), (20, 36), (2, 44))
            )
        ),
        *[
            detail(ellipse(x, y, r), 0.96, inside=True)
            for x, y, r in ((30, 62, 8), (56, 78, 9), (76, 56, 7), (50, 52, 5))
        ],
    ]


def pointed_mushroom() -> list[Step]:
    """A tall one with a pointed cap and a long stem."""
    return [
        second(polygon((43, -24), (57, -24), (55, 50), (45, 50))),
        main(
            bezier(
                (18, 44),
                ((24, 76), (40, 96), (50, 104)),
                ((60, 96), (76, 76), (82, 44)),
                ((66, 52), (34, 52), (18, 44)),
            )
        ),
        shade(polygon((18, 44), (50, 56), (82, 44), (66, 52), (34, 52)), -0.4),
        second(ellipse(50, 18, 14, 5)),
        shade(ellipse(40, 68, 5, 12, -20), 0.35),
    ]


def two_mushrooms() -> list[Step]:
    """Two that grow from one foot."""

    def one(x: float, y: float, r: float) -> list[Step]:
        cap = bezier(
            (x - r, y),
            ((x - r, y + 1.2 * r), (x + r, y + 1.2 * r), (x + r, y)),
            ((x + 0.5 * r, y - 5), (x - 0.5 * r, y - 5), (x - r, y)),
        )
        return [main(cap), shade(ellipse(x - 0.3 * r, y + 0.5 * r, 0.25 * r, 0.2 * r), 0.4)]

    return [
        second(polygon((30, 66), (40, 66), (58, 2), (40, 0))),
        second(polygon((74, 40), (84, 40), (62, 0), (46, 0))),
        second(ellipse(52, 2, 20, 8)),
        *one(34, 66, 32),
        *one(80, 38, 25),
    ]


def chanterelle() -> list[Step]:
    """A funnel, wide and wavy above."""
    return [
        main(
            bezier(
                (-2, 84),
                ((20, 70), (36, 50), (40, 4)),
                ((46, -2), (56, -2), (62, 4)),
                ((64, 50), (80, 70), (102, 84)),
                ((90, 100), (74, 86), (62, 92)),
                ((50, 98), (36, 86), (24, 94)),
                ((12, 96), (2, 92), (-2, 84)),
            )
        ),
        second(
            bezier(
                (6, 86),
                ((30, 72), (70, 72), (94, 86)),
                ((84, 94), (74, 86), (62, 90)),
                ((50, 96), (36, 86), (24, 92)),
                ((14, 92), (10, 90), (6, 86)),
            ),
            inside=True,
        ),
        *[shade(polygon((x, 68), (x + 5, 68), (50, 12)), -0.3) for x in (30, 46, 62)],
    ]


def bolete() -> list[Step]:
    """A thick stem under a flat cap."""
    return [
        second(smooth((36, 60), (28, 34), (22, 10), (34, -4), (66, -4), (78, 10), (72, 34), (64, 60))),
        main(bezier((-4, 58), ((4, 92), (96, 92), (104, 58)), ((96, 50), (4, 50), (-4, 58)))),
        shade(bezier((-4, 58), ((4, 50), (96, 50), (104, 58)), ((70, 62), (30, 62), (-4, 58))), -0.4),
        *[detail(ellipse(x, y, 6, 4), 0.96, inside=True) for x, y in ((30, 70), (66, 74))],
    ]


DRAWINGS = {
    "tree": [fir(), round_tree(), palm(), cypress(), forked_tree()],
    "flower": [daisy(), tulip(), blossom(), bellflower(), sunflower()],
    "mushroom": [toadstool(), pointed_mushroom(), two_mushrooms(), chanterelle(), bolete()],
}
