"""Vehicles: cars, boats and airplanes."""

from __future__ import annotations

from .shapes import (
    Step,
    bezier,
    detail,
    discs,
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


def wheel(x: float, y: float, radius: float) -> list[Step]:
    return discs(x, y, radius, 0.45 * radius, greys=(0.12, 0.8))


def saloon() -> list[Step]:
    """A car from the side."""
    return [
        main(
            bezier(
                (2, 26),
                ((0, 44), (4, 48), (14, 50)),
                ((22, 52), (26, 56), (30, 64)),
                ((36, 76), (42, 78), (50, 78)),
                ((62, 78), (68, 74), (76, 54)),
                ((92, 51), (100, 46), (99, 26)),
                ((66, 26), (34, 26), (2, 26)),
            )
        ),
        detail(polygon((34, 54), (40, 68), (49, 70), (49, 54)), 0.85),
        detail(polygon((54, 54), (54, 70), (64, 68), (70, 54)), 0.85),
        second(rectangle(0, 26, 100, 36), inside=True),
        *wheel(24, 25, 13),
        *wheel(77, 25, 13),
    ]


def car_front() -> list[Step]:
    """A car from the front."""
    return [
        *pair(detail, rectangle(8, 0, 26, 24), 0.12),
        main(smooth((18, 88), (82, 88), (92, 54), (98, 40), (96, 14), (4, 14), (2, 40), (8, 54))),
        detail(polygon((20, 58), (27, 82), (73, 82), (80, 58)), 0.85),
        *pair(detail, ellipse(18, 40, 9), 0.97),
        second(rectangle(34, 30, 66, 46), inside=True),
        second(rectangle(4, 14, 96, 24), inside=True),
    ]


def bus() -> list[Step]:
    """A bus from the side, long and angular."""
    return [
        main(
            bezier(
                (-14, 14),
                ((-14, 40), (-14, 50), (-14, 62)),
                ((-14, 68), (-10, 70), (-4, 70)),
                ((40, 70), (80, 70), (100, 70)),
                ((108, 70), (110, 66), (112, 50)),
                ((114, 40), (114, 30), (114, 14)),
                ((66, 14), (34, 14), (-14, 14)),
            )
        ),
        second(rectangle(-16, 24, 116, 38), inside=True),
        *[detail(rectangle(x, 46, x + 17, 62), 0.85) for x in (-6, 18, 42, 66)],
        detail(polygon((92, 38), (92, 62), (104, 62), (108, 38)), 0.85),
        *wheel(14, 14, 12),
        *wheel(86, 14, 12),
    ]


def convertible() -> list[Step]:
    """An open car from the side: long and flat."""
    return [
        main(
            bezier(
                (0, 22),
                ((0, 40), (4, 46), (16, 48)),
                ((30, 48), (34, 46), (40, 40)),
                ((50, 38), (54, 40), (58, 46)),
                ((76, 46), (98, 42), (100, 22)),
                ((66, 22), (34, 22), (0, 22)),
            )
        ),
        second(smooth((36, 40), (32, 56), (38, 58), (44, 42))),
        detail(polygon((56, 44), (50, 66), (55, 66), (64, 44)), 0.85),
        second(rectangle(0, 29, 100, 36), inside=True),
        *wheel(20, 20, 14),
        *wheel(79, 20, 14),
    ]


def pickup() -> list[Step]:
    """A pick-up: a cab in front and an open back."""
    return [
        main(polygon((54, 18), (54, 86), (76, 86), (86, 54), (98, 50), (100, 18))),
        second(rectangle(0, 18, 56, 40)),
        second(rectangle(0, 36, 7, 50)),
        detail(polygon((60, 56), (60, 78), (72, 78), (79, 56)), 0.85),
        shade(rectangle(0, 18, 54, 26), -0.3),
        *wheel(22, 16, 14),
        *wheel(78, 16, 14),
    ]


def sailing_boat() -> list[Step]:
    """A boat with two sails."""
    return [
        detail(rectangle(45, 22, 51, 100), 0.3),
        main(
            bezier(
                (54, 96), ((72, 78), (88, 56), (92, 34)), ((80, 34), (60, 34), (54, 34)), ((54, 50), (54, 80), (54, 96))
            )
        ),
        main(
            bezier(
                (42, 88), ((42, 70), (42, 50), (42, 34)), ((30, 34), (16, 34), (8, 34)), ((26, 48), (36, 64), (42, 88))
            )
        ),
        second(
            bezier(
                (0, 28),
                ((30, 25), (70, 25), (100, 28)),
                ((94, 10), (84, 2), (76, 2)),
                ((60, 2), (36, 2), (24, 2)),
                ((16, 2), (4, 10), (0, 28)),
            )
        ),
        shade(polygon((54, 34), (54, 60), (92, 34)), -0.15),
    ]


def steamer() -> list[Step]:
    """A ship with two funnels, from the side."""
    return [
        second(rectangle(30, 54, 43, 84)),
        second(rectangle(54, 54, 67, 84)),
        detail(rectangle(30, 78, 43, 86), 0.15),
        detail(rectangle(54, 78, 67, 86), 0.15),
        second(rectangle(18, 40, 82, 58)),
        *[detail(ellipse(x, 49, 4), 0.9) for x in (28, 42, 56, 70)],
        main(polygon((0, 42), (100, 42), (86, 12), (12, 12))),
        shade(polygon((7, 26), (93, 26), (86, 12), (12, 12)), -0.35),
    ]


def rowing_boat() -> list[Step]:
    """A rowing boat with its oars."""
    return [
        detail(stroke([(56, 44), (16, 84)], 5), 0.55),
        detail(ellipse(10, 90, 6, 15, angle=45), 0.55),
        main(
            bezier(
                (-4, 66),
                ((4, 40), (18, 26), (30, 26)),
                ((44, 24), (56, 24), (70, 26)),
                ((82, 26), (96, 40), (104, 66)),
                ((74, 46), (26, 46), (-4, 66)),
            )
        ),
        second(
            bezier(
                (-4, 66),
                ((26, 46), (74, 46), (104, 66)),
                ((100, 56), (98, 52), (96, 48)),
                ((74, 36), (26, 36), (4, 48)),
                ((2, 52), (0, 56), (-4, 66)),
            ),
            inside=True,
        ),
        second(rectangle(40, 44, 60, 56)),
    ]


def ship_front() -> list[Step]:
    """A tugboat from the front."""
    return [
        second(rectangle(26, 46, 74, 74)),
        *[detail(rectangle(x, 56, x + 11, 68), 0.88) for x in (31, 45, 59)],
        main(rectangle(40, 72, 60, 98)),
        detail(rectangle(38, 90, 62, 98), 0.15),
        main(
            bezier(
                (10, 50), ((30, 46), (70, 46), (90, 50)), ((88, 24), (66, 4), (50, 0)), ((34, 4), (12, 24), (10, 50))
            )
        ),
        shade(polygon((50, 0), (50, 48), (90, 50), (84, 30)), -0.3),
        second(ellipse(50, 34, 8), inside=True),
    ]


def galleon() -> list[Step]:
    """A ship with two masts and square sails."""
    return [
        detail(rectangle(27, 24, 32, 96), 0.3),
        detail(rectangle(66, 24, 71, 90), 0.3),
        *[
            main(smooth((x, y), (x + w, y), (x + w + 5, y - 13), (x + w, y - 26), (x, y - 26), (x + 5, y - 13)))
            for x, y, w in ((10, 94, 34), (8, 64, 38), (54, 90, 32), (52, 62, 36))
        ],
        second(
            bezier(
                (-2, 44),
                ((0, 36), (6, 34), (14, 32)),
                ((40, 28), (70, 28), (102, 40)),
                ((96, 20), (90, 8), (84, 4)),
                ((60, 0), (36, 0), (14, 4)),
                ((4, 14), (0, 28), (-2, 44)),
            )
        ),
        *[detail(ellipse(x, 18, 4), 0.1) for x in (26, 44, 62, 80)],
    ]


def airliner_above() -> list[Step]:
    """An airliner from above."""
    wing, tail = polygon((54, 64), (100, 34), (100, 25), (54, 42)), polygon((53, 20), (72, 6), (72, 0), (50, 6))
    return [
        *pair(second, wing),
        *pair(second, tail),
        main(smooth((50, 102), (58, 88), (58, 50), (55, 16), (50, 0), (45, 16), (42, 50), (42, 88))),
        detail(ellipse(50, 91, 5, 4), 0.15),
        *pair(detail, ellipse(76, 50, 5, 8), 0.3),
    ]


def airliner_side() -> list[Step]:
    """An airliner from the side."""
    return [
        second(polygon((2, 88), (16, 88), (32, 54), (8, 50))),
        main(
            bezier(
                (2, 54),
                ((6, 66), (30, 68), (60, 68)),
                ((84, 68), (98, 58), (102, 50)),
                ((98, 40), (84, 38), (60, 38)),
                ((30, 38), (8, 44), (2, 54)),
            )
        ),
        second(polygon((44, 50), (64, 50), (40, 14), (26, 14))),
        second(polygon((4, 54), (16, 54), (8, 42), (-4, 42))),
        *[detail(ellipse(x, 57, 3.4), 0.9) for x in (36, 46, 56, 66, 76)],
        detail(polygon((86, 60), (94, 58), (98, 52), (88, 52)), 0.2),
    ]


def propeller_front() -> list[Step]:
    """A propeller plane from the front."""
    return [
        second(rectangle(-4, 54, 104, 65)),
        *pair(detail, ellipse(24, 22, 8), 0.12),
        *pair(detail, polygon((30, 26), (44, 42), (48, 38), (34, 20)), 0.3),
        main(rectangle(46, 60, 54, 96)),
        main(rectangle(30, 76, 70, 84)),
        main(ellipse(50, 50, 22)),
        detail(turned(rectangle(46, 16, 54, 84), 35, 50, 50), 0.2),
        second(ellipse(50, 50, 9)),
    ]


def jet_fighter() -> list[Step]:
    """A jet fighter from above: a triangle with a long nose."""
    return [
        main(
            polygon(
                (50, 104),
                (58, 66),
                (98, 22),
                (98, 12),
                (64, 18),
                (72, 2),
                (50, 8),
                (28, 2),
                (36, 18),
                (2, 12),
                (2, 22),
                (42, 66),
            )
        ),
        *pair(second, polygon((62, 58), (98, 22), (98, 12), (66, 18))),
        detail(ellipse(50, 70, 4.5, 11), 0.15),
    ]


def biplane() -> list[Step]:
    """A plane with two wings, one above the other, from the side."""
    return [
        second(polygon((0, 76), (12, 76), (20, 54), (2, 52))),
        main(smooth((2, 52), (30, 62), (70, 66), (88, 58), (88, 42), (70, 34), (30, 42))),
        second(rectangle(38, 74, 80, 84)),
        second(rectangle(38, 24, 80, 34)),
        detail(rectangle(44, 30, 49, 78), 0.3),
        detail(rectangle(70, 30, 75, 78), 0.3),
        main(smooth((30, 60), (70, 65), (88, 58), (88, 42), (70, 35), (30, 42)), inside=True),
        detail(ellipse(94, 50, 4, 28), 0.3),
        detail(stroke([(58, 28), (64, 14)], 5), 0.3),
        detail(ellipse(65, 13, 10), 0.15),
        detail(ellipse(46, 64, 7), 0.85),
    ]


DRAWINGS = {
    "car": [saloon(), car_front(), bus(), convertible(), pickup()],
    "boat": [sailing_boat(), steamer(), rowing_boat(), ship_front(), galleon()],
    "airplane": [airliner_above(), airliner_side(), propeller_front(), jet_fighter(), biplane()],
}
