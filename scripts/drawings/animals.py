"""Animals with four legs: cats, rabbits and elephants."""

from __future__ import annotations

from .shapes import Step, bezier, detail, discs, ellipse, leg, main, pair, polygon, second, shade, smooth, stroke


def eyes(x: float, y: float, apart: float, size: float) -> list[Step]:
    """A pair of eyes around (x, y): white with a dark pupil."""
    return [
        step
        for side in (-1, 1)
        for step in discs(x + side * apart, y, size, (0.5 * size, 0.8 * size), greys=(0.97, 0.05), inside=True)
    ]


def cat_face() -> list[Step]:
    """The head from the front."""
    ear, inner = polygon((4, 52), (8, 104), (44, 78)), polygon((12, 66), (14, 92), (32, 78))
    return [
        *pair(main, ear),
        *pair(second, inner, inside=True),
        main(ellipse(50, 46, 46, 40)),
        second(ellipse(50, 26, 22, 16), inside=True),
        *eyes(50, 54, 20, 10),
        detail(polygon((44, 36), (56, 36), (50, 28)), 0.1),
        *[
            whisker
            for points in ([(10, 40), (30, 36)], [(12, 28), (30, 30)])
            for whisker in pair(detail, stroke(points, 3), 0.1, inside=True)
        ],
    ]


def cat_sitting() -> list[Step]:
    """Sitting, seen from the front, its tail beside it."""
    ear = polygon((30, 78), (28, 106), (47, 94))
    return [
        second(stroke([(62, 8), (86, 8), (98, 20), (98, 36), (90, 48), (84, 52)], 11)),
        main(smooth((50, 66), (66, 50), (76, 20), (70, 0), (50, -2), (30, 0), (24, 20), (34, 50))),
        *pair(main, ear),
        main(ellipse(50, 76, 25, 21)),
        second(smooth((50, 54), (60, 40), (58, 14), (50, 8), (42, 14), (40, 40)), inside=True),
        *eyes(50, 80, 11, 6),
        detail(polygon((46, 70), (54, 70), (50, 65)), 0.1),
    ]


def cat_walking() -> list[Step]:
    """Walking, from the side, its tail up."""
    return [
        main(stroke([(14, 48), (4, 70), (6, 92), (14, 104)], 10)),
        *[leg(x, 44, 14, (0, 11), step) for x, step in ((10, -4), (26, 2), (56, -3), (72, 5))],
        main(smooth((8, 52), (30, 60), (60, 58), (84, 58), (88, 44), (80, 32), (50, 30), (18, 30))),
        main(polygon((74, 78), (74, 102), (88, 90))),
        main(polygon((90, 90), (104, 100), (106, 76))),
        main(ellipse(90, 72, 19, 17)),
        second(ellipse(102, 66, 10, 8), inside=True),
        second(smooth((14, 42), (50, 42), (80, 40), (60, 30), (26, 30)), inside=True),
        detail(ellipse(93, 77, 4.5, 5), 0.97),
        detail(ellipse(94, 77, 2, 4), 0.05),
        detail(ellipse(108, 69, 3), 0.1),
    ]


def cat_lying() -> list[Step]:
    """Lying, its paws under it, the tail around."""
    ear = polygon((4, 52), (2, 82), (20, 68))
    return [
        main(smooth((8, 4), (6, 30), (40, 50), (80, 52), (108, 34), (112, 12), (100, 2), (50, 0))),
        *pair(main, ear, axis=24),
        main(ellipse(24, 46, 24, 21)),
        second(stroke([(112, 20), (116, 8), (104, 0), (80, 0), (56, 4), (44, 6)], 10)),
        *eyes(24, 50, 10, 5.5),
        detail(polygon((20, 41), (28, 41), (24, 36)), 0.1),
        *[
            second(stroke(p, 6), inside=True)
            for p in ([(66, 56), (70, 38)], [(80, 56), (84, 38)], [(94, 50), (98, 34)])
        ],
    ]


def cat_arched() -> list[Step]:
    """Its back arched, the tail straight up."""
    return [
        second(stroke([(88, 44), (96, 70), (92, 92), (98, 110)], 12)),
        *[leg(x, 40, 15, (1, 12), rise=6) for x in (18, 32, 66, 80)],
        main(
            bezier(
                (14, 40),
                ((20, 66), (36, 88), (58, 86)),
                ((82, 84), (98, 62), (96, 34)),
                ((84, 38), (80, 36), (76, 36)),
                ((66, 60), (46, 60), (42, 34)),
                ((30, 32), (20, 34), (14, 40)),
            )
        ),
        main(polygon((2, 58), (2, 82), (18, 68))),
        main(polygon((18, 66), (32, 80), (34, 54))),
        main(ellipse(17, 50, 19, 17)),
        second(ellipse(8, 42, 11, 8), inside=True),
        *eyes(17, 54, 8, 5),
        detail(ellipse(5, 46, 3), 0.1),
    ]


def rabbit_face() -> list[Step]:
    """The head from the front, both ears up."""
    ear, inner = ellipse(34, 92, 12, 36, 8), ellipse(34, 92, 5, 26, 8)
    return [
        *pair(main, ear),
        *pair(second, inner, inside=True),
        main(ellipse(50, 38, 38, 34)),
        second(ellipse(50, 20, 18, 13), inside=True),
        *eyes(50, 46, 16, 8),
        detail(ellipse(50, 30, 6, 4), 0.1),
        detail(polygon((44, 12), (56, 12), (55, 2), (45, 2)), 0.97, inside=True),
    ]


def rabbit_sitting() -> list[Step]:
    """Sitting, from the side."""
    return [
        main(ellipse(68, 98, 7, 28, 14)),
        main(ellipse(80, 94, 7, 28, -10)),
        main(smooth((20, 8), (10, 36), (28, 60), (54, 66), (72, 56), (70, 20), (80, 0), (30, -2))),
        main(ellipse(76, 60, 21, 18)),
        second(ellipse(10, 16, 13)),
        second(ellipse(36, 20, 20, 18), inside=True),
        main(ellipse(50, 0, 24, 8)),
        detail(ellipse(82, 65, 4.5), 0.05),
        second(ellipse(96, 54, 8, 7), inside=True),
        shade(ellipse(44, 2, 18, 6), 0.3),
    ]


def rabbit_hopping() -> list[Step]:
    """Hopping, stretched, its ears laid back."""
    return [
        main(ellipse(66, 78, 7, 26, 68)),
        main(ellipse(70, 68, 7, 26, 80)),
        main(smooth((0, 40), (10, 60), (40, 66), (76, 60), (84, 46), (70, 32), (30, 26), (6, 26))),
        main(ellipse(92, 58, 19, 15, -10)),
        main(polygon((4, 40), (24, 28), (2, 0), (-14, 4))),
        main(polygon((70, 40), (82, 46), (108, 22), (100, 14))),
        second(ellipse(-4, 50, 11)),
        second(ellipse(24, 40, 20, 13, 20), inside=True),
        detail(ellipse(98, 62, 4.5), 0.05),
        second(ellipse(110, 54, 7, 6), inside=True),
    ]


def rabbit_upright() -> list[Step]:
    """Standing on its hind legs, from the front, one ear bent."""
    return [
        main(ellipse(40, 118, 7, 24, 6)),
        main(stroke([(58, 96), (62, 122), (68, 128), (84, 118)], 13)),
        main(smooth((50, 70), (68, 50), (78, 16), (66, -4), (34, -4), (22, 16), (32, 50))),
        *pair(main, ellipse(34, -4, 17, 8)),
        main(ellipse(50, 82, 22, 20)),
        second(ellipse(50, 28, 16, 24), inside=True),
        *pair(main, ellipse(32, 44, 7, 15, -30)),
        *eyes(50, 88, 10, 5.5),
        detail(ellipse(50, 77, 5, 3.5), 0.1),
        *pair(shade, ellipse(32, 44, 5, 12, -30), -0.25),
    ]


def rabbit_profile() -> list[Step]:
    """The head and shoulders from the side, both ears up."""
    return [
        main(ellipse(40, 96, 10, 34, 12)),
        second(ellipse(40, 94, 4.5, 24, 12), inside=True),
        main(ellipse(62, 96, 10, 34, -8)),
        second(ellipse(62, 94, 4.5, 24, -8), inside=True),
        main(smooth((24, 56), (40, 72), (66, 70), (90, 52), (98, 36), (84, 20), (60, 20), (30, 24))),
        main(smooth((20, 46), (44, 40), (66, 24), (68, -8), (6, -8), (8, 20))),
        second(smooth((40, 26), (60, 18), (62, -6), (38, -6)), inside=True),
        detail(ellipse(66, 50, 6, 7), 0.97),
        detail(ellipse(68, 50, 3, 5), 0.05),
        detail(ellipse(95, 42, 5, 4), 0.1),
        detail(polygon((80, 24), (88, 27), (86, 16), (79, 16)), 0.97),
    ]


def elephant_side() -> list[Step]:
    """From the side, its trunk down."""
    return [
        main(stroke([(2, 60), (-6, 40), (-4, 26)], 6)),
        *[leg(x, 40, 17, (1, 16)) for x in (6, 26, 48, 66)],
        main(smooth((0, 60), (12, 78), (40, 84), (70, 80), (84, 62), (84, 40), (60, 30), (24, 30), (4, 38))),
        main(ellipse(88, 66, 22, 21)),
        main(stroke([(104, 66), (110, 44), (112, 20), (116, 8), (126, 6)], 12)),
        second(smooth((78, 80), (62, 78), (58, 54), (70, 42), (82, 48), (86, 66)), inside=True),
        detail(ellipse(96, 72, 3.6), 0.05),
        detail(polygon((98, 52), (104, 56), (122, 40), (110, 42)), 0.97),
    ]


def elephant_face() -> list[Step]:
    """The head from the front: large ears and the trunk."""
    ear, inner = (
        smooth((34, 88), (6, 98), (-14, 76), (-10, 40), (10, 26), (32, 40)),
        smooth((28, 80), (6, 88), (-5, 72), (-2, 46), (12, 36), (28, 46)),
    )
    return [
        *pair(main, ear),
        *pair(second, inner, inside=True),
        main(ellipse(50, 66, 27, 30)),
        main(smooth((34, 56), (40, 20), (42, 0), (48, -10), (58, -8), (60, 4), (62, 24), (66, 56))),
        *[shade(stroke([(41, y), (60, y)], 3.5), -0.4) for y in (8, 20, 32)],
        *eyes(50, 72, 14, 5.5),
        *pair(detail, polygon((32, 46), (40, 44), (34, 22)), 0.97),
    ]


def elephant_sitting() -> list[Step]:
    """Sitting, from the side, its trunk raised."""
    return [
        main(smooth((6, 8), (0, 34), (16, 62), (44, 74), (66, 58), (70, 30), (64, 2), (20, -2))),
        main(ellipse(58, 4, 26, 11)),
        main(polygon((48, 50), (62, 56), (92, 34), (84, 24))),
        main(ellipse(56, 78, 23, 21)),
        main(stroke([(72, 80), (88, 84), (96, 98), (94, 114), (88, 120)], 12)),
        second(smooth((42, 94), (24, 90), (22, 66), (36, 54), (50, 62), (52, 82)), inside=False),
        detail(ellipse(64, 84, 3.6), 0.05),
        second(ellipse(80, 4, 7, 9), inside=True),
        detail(polygon((72, 68), (76, 74), (92, 68), (84, 64)), 0.97),
    ]


def elephant_trumpeting() -> list[Step]:
    """Walking, its trunk high up."""
    return [
        main(stroke([(104, 52), (116, 44), (120, 34)], 6)),
        *[leg(x, 44, 18, (1, 17), step, ground=-2) for x, step in ((26, -8), (44, 6), (72, -4), (88, 8))],
        main(smooth((20, 60), (40, 78), (76, 78), (104, 62), (108, 44), (90, 32), (46, 32), (24, 40))),
        main(ellipse(24, 66, 22, 20)),
        main(stroke([(8, 66), (-6, 78), (-8, 98), (2, 112), (12, 114)], 12)),
        second(smooth((32, 88), (52, 92), (60, 66), (48, 48), (34, 54), (28, 70)), inside=False),
        detail(ellipse(16, 72, 3.6), 0.05),
        detail(polygon((10, 56), (14, 50), (-8, 44), (0, 52)), 0.97),
    ]


def elephant_profile() -> list[Step]:
    """The head from the side: a large ear, a tusk, the trunk curled up at its end."""
    trunk = [(74, 56), (90, 44), (96, 22), (102, 4), (116, -4), (128, 4), (128, 18)]
    return [
        main(stroke(trunk, 15)),
        main(ellipse(54, 62, 36, 32)),
        main(smooth((34, 40), (70, 40), (72, 10), (50, 0), (24, 10))),
        second(smooth((48, 96), (20, 104), (-8, 84), (-10, 50), (10, 30), (34, 40), (50, 64))),
        shade(smooth((36, 84), (14, 88), (2, 72), (6, 52), (22, 46), (38, 62)), -0.25),
        detail(ellipse(68, 70, 5), 0.97),
        detail(ellipse(69, 70, 2.6, 4), 0.05),
        detail(smooth((70, 40), (80, 44), (112, 36), (100, 26)), 0.97),
    ]


DRAWINGS = {
    "cat": [cat_face(), cat_sitting(), cat_walking(), cat_lying(), cat_arched()],
    "rabbit": [rabbit_face(), rabbit_sitting(), rabbit_hopping(), rabbit_upright(), rabbit_profile()],
    "elephant": [elephant_side(), elephant_face(), elephant_sitting(), elephant_trumpeting(), elephant_profile()],
}
