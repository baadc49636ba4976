"""Small objects: umbrellas, cups and shoes."""

from __future__ import annotations

from .shapes import (
    Step,
    arc,
    around,
    bezier,
    cut,
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


def umbrella_open() -> list[Step]:
    """Upright and open, with a hook for a handle."""
    canopy = bezier(
        (2, 50), ((4, 82), (28, 96), (50, 96)), ((72, 96), (96, 82), (98, 50)), ((66, 54), (34, 54), (2, 50))
    )
    return [
        second(stroke([(50, 92), (50, 20), (50, 12), (54, 5), (62, 3), (70, 6), (74, 14)], 8)),
        main(canopy),
        main(polygon((47, 92), (53, 92), (50, 101))),
        *[cut(ellipse(x, 49, 9, 6)) for x in (14, 32, 68, 86)],
        second(
            bezier(
                (34, 53), ((36, 76), (42, 90), (50, 96)), ((58, 90), (64, 76), (66, 53)), ((56, 55), (44, 55), (34, 53))
            ),
            inside=True,
        ),
    ]


def umbrella_folded() -> list[Step]:
    """Folded and slanted."""
    steps = [
        main(smooth((38, 84), (62, 84), (64, 60), (54, 12), (50, 6), (46, 12), (36, 60))),
        second(rectangle(36, 52, 64, 62), inside=True),
        detail(polygon((47, 8), (53, 8), (50, -4)), 0.2),
        second(stroke([(50, 84), (50, 100), (53, 108), (60, 112), (68, 109), (70, 100)], 8)),
        shade(polygon((50, 84), (62, 84), (64, 60), (50, 10)), -0.25),
    ]
    return [Step(s.kind, turned(s.curve, -35), s.value, s.inside) for s in steps]


def beach_umbrella() -> list[Step]:
    """A wide one on a pole in a heap of sand."""
    top = polygon((0, 62), (50, 96), (100, 62))
    return [
        second(rectangle(46, 4, 54, 90)),
        second(ellipse(50, 4, 22, 8)),
        main(top),
        second(polygon((0, 62), (33, 62), (50, 96)), inside=True),
        main(polygon((18, 62), (33, 62), (50, 96)), inside=True),
        second(polygon((67, 62), (82, 62), (50, 96)), inside=True),
        *[main(polygon((x, 62.5), (x + 20, 62.5), (x + 10, 52))) for x in (0, 20, 40, 60, 80)],
    ]


def umbrella_from_above() -> list[Step]:
    """From above and behind: six fields, and the handle sticking out."""
    rim = around(6, 46, 50, 58, start=60)
    return [
        detail(stroke([(50, 30), (50, -22), (54, -31), (64, -34), (72, -28)], 9), 0.25),
        main(polygon(*rim)),
        *[second(polygon((50, 62), rim[i], rim[i + 1]), inside=True) for i in (0, 2, 4)],
        detail(ellipse(50, 62, 5), 0.15),
    ]


def umbrella_bell() -> list[Step]:
    """A deep one like a bell, with a long handle."""
    bell = bezier(
        (14, 44), ((16, 70), (18, 100), (50, 102)), ((82, 100), (84, 70), (86, 44)), ((64, 50), (36, 50), (14, 44))
    )
    return [
        detail(stroke([(50, 60), (50, -16), (46, -27), (37, -31), (28, -27), (26, -18)], 9), 0.25),
        main(bell),
        second(rectangle(10, 40, 90, 58), inside=True),
        *[cut(ellipse(x, 43, 10, 6)) for x in (32, 68)],
        detail(rectangle(45.5, 20, 54.5, 46), 0.25),
        shade(ellipse(34, 78, 6, 14, -12), 0.35),
    ]


def mug() -> list[Step]:
    """A mug with its handle, from the side."""
    return [
        second(ellipse(76, 48, 24, 24)),
        cut(ellipse(76, 48, 12, 12)),
        main(rectangle(10, 8, 74, 88)),
        main(ellipse(42, 8, 32, 6)),
        second(rectangle(10, 36, 74, 52), inside=True),
        detail(ellipse(42, 88, 30, 6), 0.2),
        shade(rectangle(14, 14, 22, 80), 0.35),
    ]


def tea_cup() -> list[Step]:
    """A wide tea cup on a saucer."""
    bowl = bezier(
        (14, 74), ((14, 40), (28, 22), (50, 22)), ((72, 22), (86, 40), (86, 74)), ((66, 76), (34, 76), (14, 74))
    )
    return [
        second(ellipse(50, 14, 50, 10)),
        main(stroke(arc(88, 56, 13, -110, 110), 7)),
        main(bowl),
        second(rectangle(38, 12, 62, 24)),
        second(ellipse(50, 74, 36, 5)),
        shade(ellipse(30, 54, 5, 12, 15), 0.35),
    ]


def takeaway() -> list[Step]:
    """A paper cup with a lid."""
    return [
        main(polygon((18, 80), (82, 80), (70, 0), (30, 0))),
        second(polygon((22, 58), (78, 58), (74, 26), (26, 26)), inside=True),
        detail(rectangle(12, 78, 88, 88), 0.25),
        detail(polygon((20, 88), (80, 88), (74, 100), (26, 100)), 0.35),
        shade(polygon((24, 78), (32, 78), (38, 2), (32, 2)), 0.3),
    ]


def trophy() -> list[Step]:
    """A trophy: two handles and a foot."""
    bowl = bezier(
        (26, 98), ((26, 60), (34, 42), (50, 38)), ((66, 42), (74, 60), (74, 98)), ((60, 98), (40, 98), (26, 98))
    )
    handle = stroke(arc(26, 76, 18, 80, 280), 7)
    return [
        *pair(main, handle),
        main(bowl),
        main(rectangle(45, 14, 55, 44)),
        second(rectangle(26, 0, 74, 16)),
        second(ellipse(50, 74, 11), inside=True),
        shade(rectangle(31, 62, 38, 94), 0.4),
    ]


def egg_cup() -> list[Step]:
    """A goblet: a bowl on a thin stem and a foot."""
    bowl = bezier(
        (22, 104), ((20, 76), (30, 56), (50, 54)), ((70, 56), (80, 76), (78, 104)), ((60, 104), (40, 104), (22, 104))
    )
    return [
        second(ellipse(50, 2, 28, 8)),
        second(rectangle(45, 0, 55, 60)),
        second(ellipse(50, 34, 10, 6)),
        main(bowl),
        second(rectangle(10, 86, 90, 94), inside=True),
        detail(ellipse(50, 104, 28, 5), 0.2),
        shade(ellipse(34, 78, 4, 12, 8), 0.4),
    ]


def laces(length: tuple[float, float], *starts: tuple[float, float]) -> list[Step]:
    """Laces side by side: each from its start, as far to the right and up as `length` says."""
    return [detail(stroke([(x, y), (x + length[0], y + length[1])], 4), 0.95, inside=True) for x, y in starts]


def sneaker() -> list[Step]:
    """A sneaker from the side."""
    upper = bezier(
        (4, 22),
        ((2, 50), (6, 66), (8, 70)),
        ((20, 64), (28, 64), (36, 72)),
        ((50, 50), (66, 44), (86, 40)),
        ((98, 36), (100, 28), (100, 22)),
        ((70, 22), (30, 22), (4, 22)),
    )
    return [
        main(upper),
        second(polygon((2, 10), (98, 10), (102, 24), (0, 24))),
        second(polygon((22, 24), (44, 24), (58, 46), (48, 52)), inside=True),
        *laces((10, 8), (38, 58), (48, 50), (58, 44)),
        second(ellipse(98, 24, 16, 12), inside=True),
    ]


def high_heel() -> list[Step]:
    """A lady's shoe with a high heel."""
    body = bezier(
        (4, 62),
        ((6, 84), (18, 88), (24, 84)),
        ((40, 62), (62, 24), (100, 12)),
        ((104, 4), (100, 0), (92, 0)),
        ((80, 0), (70, 0), (62, 2)),
        ((44, 18), (30, 36), (18, 42)),
        ((10, 46), (4, 50), (4, 62)),
    )
    return [
        second(polygon((4, 60), (20, 44), (14, 0), (6, 0))),
        main(body),
        second(polygon((62, 0), (100, 0), (100, 7), (58, 8))),
        detail(ellipse(72, 22, 6), 0.9, inside=True),
    ]


def boot() -> list[Step]:
    """A high boot."""
    return [
        main(
            bezier(
                (24, 124),
                ((24, 70), (16, 40), (12, 14)),
                ((40, 14), (70, 14), (98, 14)),
                ((100, 32), (84, 38), (60, 42)),
                ((54, 60), (56, 90), (58, 124)),
                ((46, 124), (34, 124), (24, 124)),
            )
        ),
        second(rectangle(19, 106, 63, 126)),
        second(polygon((10, 0), (98, 0), (98, 15), (10, 15))),
        cut(rectangle(38, -1, 58, 8)),
        shade(rectangle(28, 34, 35, 100), 0.3),
    ]


def pair_from_above() -> list[Step]:
    """Two shoes from above."""
    left = smooth((12, 6), (32, 6), (38, 30), (36, 52), (44, 78), (34, 98), (14, 96), (6, 74), (10, 48), (4, 26))
    hole = smooth((14, 12), (28, 12), (32, 34), (24, 46), (14, 40), (10, 26))
    return [
        *pair(main, left),
        *pair(second, hole, inside=True),
        *[lace for y in (56, 66) for lace in pair(detail, stroke([(14, y), (34, y)], 4), 0.95, inside=True)],
    ]


def roller_skate() -> list[Step]:
    """A shoe on wheels."""
    return [
        *[disc for x in (16, 84) for disc in discs(x, 6, 14, 6, greys=(0.15, 0.85))],
        second(rectangle(2, 16, 100, 27)),
        main(
            bezier(
                (8, 26),
                ((8, 50), (4, 70), (6, 88)),
                ((20, 84), (32, 84), (44, 88)),
                ((48, 66), (60, 58), (76, 56)),
                ((94, 52), (98, 40), (98, 26)),
                ((70, 26), (30, 26), (8, 26)),
            )
        ),
        second(rectangle(0, 78, 48, 90), inside=True),
        second(ellipse(98, 30, 18, 14), inside=True),
        *laces((12, 6), (38, 70), (46, 60), (58, 54)),
    ]


DRAWINGS = {
    "umbrella": [umbrella_open(), umbrella_folded(), beach_umbrella(), umbrella_from_above(), umbrella_bell()],
    "cup": [mug(), tea_cup(), takeaway(), trophy(), egg_cup()],
    "shoe": [sneaker(), high_heel(), boot(), pair_from_above(), roller_skate()],
}
