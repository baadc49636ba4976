"""Birds, fish and butterflies."""

from __future__ import annotations

from .shapes import Step, bezier, detail, discs, ellipse, main, pair, polygon, second, smooth, stroke


def eye(x: float, y: float, size: float) -> list[Step]:
    return discs(x, y, size, 0.5 * size, greys=(0.97, 0.05))


def bird_perched() -> list[Step]:
    """Standing, from the side."""
    return [
        detail(polygon((44, 26), (51, 26), (48, -16), (34, -16), (34, -9), (42, -9)), 0.3),
        detail(polygon((58, 26), (65, 26), (62, -16), (50, -16), (50, -9), (56, -9)), 0.3),
        main(smooth((18, 70), (22, 46), (38, 24), (58, 20), (76, 32), (72, 50), (52, 62), (44, 74))),
        main(ellipse(32, 76, 19)),
        detail(polygon((16, 84), (-2, 74), (16, 68)), 0.3),
        main(polygon((60, 46), (98, 60), (102, 46), (88, 34), (66, 22))),
        second(smooth((38, 54), (56, 56), (86, 42), (62, 28), (44, 34)), inside=True),
        *eye(27, 80, 6),
    ]


def bird_flying() -> list[Step]:
    """Flying, from the side, one wing up."""
    return [
        second(polygon((36, 52), (70, 52), (62, 80), (44, 106), (30, 112))),
        main(smooth((2, 46), (20, 58), (60, 60), (84, 52), (80, 38), (50, 32), (20, 34))),
        main(polygon((70, 46), (108, 58), (112, 44), (104, 30), (76, 38))),
        main(ellipse(12, 52, 16, 14)),
        detail(polygon((0, 58), (-18, 48), (0, 44)), 0.3),
        second(polygon((40, 44), (66, 44), (80, 10), (60, 18))),
        *eye(8, 56, 4.5),
    ]


def duck() -> list[Step]:
    """A duck on the water."""
    return [
        main(
            bezier(
                (8, 40),
                ((10, 10), (30, 2), (56, 2)),
                ((86, 2), (104, 22), (108, 52)),
                ((96, 42), (84, 44), (70, 46)),
                ((56, 50), (44, 46), (40, 44)),
                ((30, 40), (16, 40), (8, 40)),
            )
        ),
        main(ellipse(26, 66, 19)),
        main(smooth((14, 56), (40, 60), (44, 36), (10, 30))),
        detail(smooth((10, 70), (-10, 66), (-12, 60), (10, 58)), 0.45),
        second(smooth((46, 40), (70, 40), (92, 34), (76, 14), (54, 16)), inside=True),
        *eye(22, 72, 5),
        second(polygon((8, 44), (44, 44), (44, 37), (8, 37)), inside=True),
    ]


def owl() -> list[Step]:
    """An owl from the front."""
    wing = smooth((14, 60), (2, 36), (10, 8), (24, 2), (26, 40))
    return [
        *pair(main, polygon((14, 78), (12, 108), (40, 92))),
        main(smooth((50, 98), (84, 88), (90, 50), (76, 4), (50, -2), (24, 4), (10, 50), (16, 88))),
        *pair(second, wing),
        second(smooth((50, 48), (68, 36), (62, 10), (50, 4), (38, 10), (32, 36)), inside=True),
        *[s for x in (33, 67) for s in eye(x, 74, 14)],
        detail(polygon((43, 64), (57, 64), (50, 50)), 0.3),
        *pair(detail, ellipse(38, -2, 9, 5), 0.3),
    ]


def bird_soaring() -> list[Step]:
    """Soaring, from below: long pointed wings swept back, a forked tail."""
    wing = bezier(
        (52, 70), ((72, 86), (100, 78), (118, 40)), ((98, 58), (78, 58), (56, 44)), ((52, 52), (52, 60), (52, 70))
    )
    return [
        *pair(main, wing),
        main(polygon((42, 34), (58, 34), (70, -8), (50, 12), (30, -8))),
        main(smooth((50, 96), (61, 76), (59, 44), (50, 24), (41, 44), (39, 76))),
        second(smooth((50, 66), (57, 52), (50, 30), (43, 52)), inside=True),
        *pair(second, polygon((96, 72), (122, 60), (118, 38), (92, 62)), inside=True),
        main(ellipse(50, 88, 13)),
        detail(polygon((43, 97), (57, 97), (50, 112)), 0.3),
        *pair(detail, ellipse(44, 90, 3), 0.05),
    ]


def fish_side() -> list[Step]:
    """From the side."""
    return [
        second(
            bezier(
                (70, 50),
                ((80, 58), (90, 76), (100, 80)),
                ((93, 60), (93, 40), (100, 20)),
                ((90, 24), (80, 42), (70, 50)),
            )
        ),
        second(
            bezier(
                (26, 72), ((38, 98), (54, 94), (64, 88)), ((58, 80), (58, 74), (60, 66)), ((50, 70), (40, 72), (26, 72))
            )
        ),
        second(polygon((40, 26), (58, 8), (58, 34))),
        main(smooth((0, 52), (14, 70), (40, 80), (64, 68), (80, 54), (80, 46), (64, 32), (40, 22), (14, 34))),
        second(polygon((36, 79), (44, 79), (44, 22), (36, 23)), inside=True),
        *eye(17, 57, 6.5),
    ]


def puffer() -> list[Step]:
    """A puffer: a ball with spines."""
    return [
        second(polygon((84, 50), (122, 82), (112, 50), (122, 18))),
        *[
            main(polygon(*[(46 + r * c, 50 + r * s) for r, c, s in ((38, c0, s0), (66, c1, s1), (38, c2, s2))]))
            for c0, s0, c1, s1, c2, s2 in _SPINES
        ],
        main(ellipse(46, 50, 42, 40)),
        second(ellipse(46, 32, 34, 22), inside=True),
        *eye(22, 60, 9),
        detail(ellipse(4, 44, 6, 5), 0.2),
        second(smooth((50, 56), (70, 62), (68, 42))),
    ]


def _spines() -> list[tuple[float, ...]]:
    """Cosine and sine of both feet and the tip of each spine, twelve around a ball."""
    from math import cos, radians, sin

    return [tuple(f(radians(angle + d)) for d in (-9, 0, 9) for f in (cos, sin)) for angle in range(30, 345, 30)]


_SPINES = _spines()


def shark() -> list[Step]:
    """A shark, long, from the side."""
    return [
        main(polygon((40, 62), (50, 96), (68, 58))),
        main(polygon((92, 50), (124, 88), (114, 52), (122, 20))),
        main(polygon((34, 36), (58, 34), (56, 4))),
        main(
            bezier(
                (-10, 54),
                ((16, 78), (64, 74), (106, 54)),
                ((82, 28), (40, 20), (4, 32)),
                ((0, 38), (2, 42), (8, 46)),
                ((0, 48), (-6, 50), (-10, 54)),
            )
        ),
        second(
            bezier(
                (4, 32), ((40, 20), (82, 28), (104, 52)), ((70, 44), (40, 42), (8, 46)), ((2, 42), (0, 38), (4, 32))
            ),
            inside=True,
        ),
        *eye(12, 58, 4.5),
        *[detail(stroke([(x, 46), (x - 3, 60)], 3.5), 0.15) for x in (28, 37)],
    ]


def angelfish() -> list[Step]:
    """Tall and flat, with long fins above and below."""
    return [
        second(polygon((40, 62), (86, 122), (72, 66))),
        second(polygon((40, 38), (86, -22), (72, 34))),
        second(polygon((72, 50), (102, 70), (98, 50), (102, 30))),
        main(smooth((-2, 50), (20, 72), (48, 84), (72, 70), (86, 52), (86, 48), (72, 30), (48, 16), (20, 28))),
        *[second(polygon((x, 0), (x + 8, 0), (x + 8, 100), (x, 100)), inside=True) for x in (30, 56)],
        *eye(14, 55, 6),
    ]


def goldfish() -> list[Step]:
    """A goldfish: a round body and a tail like a veil."""
    return [
        second(
            bezier(
                (58, 56),
                ((80, 72), (100, 96), (116, 92)),
                ((112, 78), (112, 66), (118, 54)),
                ((108, 48), (108, 36), (118, 18)),
                ((100, 10), (80, 34), (58, 46)),
                ((54, 50), (54, 52), (58, 56)),
            )
        ),
        second(
            bezier(
                (14, 70),
                ((20, 100), (44, 98), (58, 84)),
                ((54, 78), (52, 72), (50, 66)),
                ((38, 70), (26, 72), (14, 70)),
            )
        ),
        second(polygon((24, 34), (40, 6), (46, 34))),
        main(smooth((-4, 50), (8, 72), (34, 78), (58, 64), (66, 51), (58, 38), (34, 26), (8, 32))),
        *eye(12, 56, 7),
        second(smooth((32, 52), (50, 60), (50, 44)), inside=True),
        detail(ellipse(-2, 46, 4, 3), 0.2, inside=True),
    ]


def antennae(x: float, y: float) -> list[Step]:
    feeler, tip = stroke([(x - 2, y), (x - 12, y + 20)], 5), ellipse(x - 12, y + 20, 4.5)
    return [*pair(detail, feeler, 0.1, axis=x), *pair(detail, tip, 0.1, axis=x)]


def butterfly_open() -> list[Step]:
    """From above, its wings open."""
    wing, hind = (
        smooth((52, 54), (66, 86), (92, 94), (102, 74), (86, 52), (64, 46)),
        smooth((53, 50), (72, 46), (88, 34), (82, 10), (64, 8), (55, 30)),
    )
    return [
        *antennae(50, 76),
        *pair(main, wing),
        *pair(second, hind),
        *pair(detail, ellipse(82, 72, 8), 0.95),
        *pair(detail, ellipse(71, 26, 6), 0.95),
        detail(ellipse(50, 48, 6, 33), 0.1),
    ]


def butterfly_side() -> list[Step]:
    """From the side, its wings closed above it."""
    return [
        *[detail(stroke(p, 5), 0.1) for p in ([(24, 20), (4, 44)], [(26, 22), (14, 48)])],
        main(
            bezier(
                (36, 20),
                ((30, 50), (40, 90), (78, 104)),
                ((92, 90), (84, 50), (70, 36)),
                ((60, 28), (48, 22), (36, 20)),
            )
        ),
        second(
            bezier(
                (44, 18), ((60, 44), (90, 54), (108, 40)), ((110, 20), (92, 2), (70, 6)), ((58, 8), (50, 12), (44, 18))
            )
        ),
        detail(ellipse(46, 14, 32, 7, -8), 0.1),
        detail(ellipse(66, 74, 9), 0.95),
        detail(ellipse(86, 28, 7), 0.95),
    ]


def swallowtail() -> list[Step]:
    """With pointed fore wings, and tails on its hind wings."""
    wing, hind = (
        polygon((53, 44), (58, 66), (112, 104), (108, 76), (88, 50)),
        polygon((53, 46), (84, 50), (94, 32), (78, 22), (82, -14), (72, -12), (66, 16), (55, 28)),
    )
    return [
        *antennae(50, 70),
        *pair(main, wing),
        *pair(second, hind),
        *pair(detail, polygon((90, 84), (98, 88), (94, 66), (86, 62)), 0.95),
        detail(ellipse(50, 46, 6, 30), 0.1),
    ]


def moth() -> list[Step]:
    """At rest: its wings make a triangle."""
    wing = bezier(
        (50, 78), ((70, 66), (96, 30), (104, 2)), ((90, -4), (64, 6), (50, 14)), ((50, 40), (50, 60), (50, 78))
    )
    band = polygon((50, 40), (50, 54), (76, 40), (92, 22), (84, 16))
    return [
        *antennae(50, 86),
        *pair(main, wing),
        *pair(second, band),
        *pair(detail, ellipse(72, 22, 6), 0.95),
        detail(ellipse(50, 52, 8, 38), 0.1),
    ]


def butterfly_rising() -> list[Step]:
    """Rising: both wings of a side held up like a V, seen from the front."""
    wing = bezier(
        (52, 26), ((60, 60), (86, 96), (118, 102)), ((122, 84), (112, 62), (96, 50)), ((84, 38), (66, 28), (52, 26))
    )
    hind = bezier(
        (52, 26), ((70, 36), (92, 42), (104, 32)), ((100, 14), (74, 8), (52, 20)), ((52, 22), (52, 24), (52, 26))
    )
    return [
        *pair(main, wing),
        *pair(second, hind),
        *pair(detail, ellipse(97, 76, 8), 0.95),
        *antennae(50, 44),
        detail(ellipse(50, 24, 9, 26), 0.1),
    ]


DRAWINGS = {
    "bird": [bird_perched(), bird_flying(), duck(), owl(), bird_soaring()],
    "fish": [fish_side(), puffer(), shark(), angelfish(), goldfish()],
    "butterfly": [butterfly_open(), butterfly_side(), swallowtail(), moth(), butterfly_rising()],
}
