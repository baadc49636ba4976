"""Draw the silhouettes of the scenes and write `minigroupvit/data/silhouettes.npz`.

    python scripts/make_silhouettes.py [--sheet sheet.png]

The drawings below are made of filled shapes in a box of 100 x 100 units, y upwards. They are
rendered once, by matplotlib, and the result is shipped: at scene time no font and no drawing
library can change a pixel. Each object becomes three layers of 128 x 128 bytes:

    alpha    coverage of the object, 0 to 255
    tone     128 where the object has its own colour, darker below, lighter above (eyes, windows)
    height   a soft dome, 0 at the rim; its slope gives the light and the shadow at scene time
"""

import argparse
import math
from pathlib import Path

import numpy as np
from matplotlib.path import Path as Curve

SIZE = 128     # pixels of a shipped silhouette
OVERSAMPLE = 6  # each of them is the mean of 6 x 6 samples
MARGIN = 8     # empty pixels around, one of them left at an eighth of the size


# --- shapes: each returns a closed outline, a list of curves -------------------------------------

def polygon(*points):
    return Curve([*points, points[0]], closed=True)


def ellipse(x, y, rx, ry=None, angle=0.0):
    ry = rx if ry is None else ry
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    turn = np.array([[cos, sin], [-sin, cos]])
    unit = Curve.unit_circle()
    return Curve(unit.vertices * [rx, ry] @ turn + [x, y], unit.codes)


def rectangle(x0, y0, x1, y1):
    return polygon((x0, y0), (x1, y0), (x1, y1), (x0, y1))


def bezier(start, *cubics):
    """A closed outline from cubic pieces: (control, control, end) each."""
    points = [start] + [p for cubic in cubics for p in cubic] + [start]
    return Curve(points, [Curve.MOVETO] + [Curve.CURVE4] * (len(points) - 2) + [Curve.CLOSEPOLY])


def smooth(*points):
    """A closed round outline through the points (Catmull-Rom)."""
    n = len(points)
    p = [np.array(q, dtype=float) for q in points]
    cubics = []
    for i in range(n):
        before, a, b, after = p[i - 1], p[i], p[(i + 1) % n], p[(i + 2) % n]
        cubics.append((a + (b - before) / 6, b - (after - a) / 6, b))
    return bezier(p[0], *cubics)


def around(count, radius, x=50, y=50, start=90):
    angles = [math.radians(start + 360 * i / count) for i in range(count)]
    return [(x + radius * math.cos(a), y + radius * math.sin(a)) for a in angles]


def mirrored(curve):
    return Curve(curve.vertices * [-1, 1] + [100, 0], curve.codes)


# --- drawings: (what, shape) in order; what is "add", "cut" or a tone from -1 to 1 ----------------

def spokes(count, inner, outer, width):
    """Triangular rays around the middle."""
    for i in range(count):
        a = 2 * math.pi * i / count
        c, s = math.cos(a), math.sin(a)
        yield polygon((50 + inner * c - width * s, 50 + inner * s + width * c),
                      (50 + outer * c, 50 + outer * s),
                      (50 + inner * c + width * s, 50 + inner * s - width * c))


def drawings():
    star = [p for pair in zip(around(5, 50), around(5, 23, start=126)) for p in pair]
    wing = smooth((52, 54), (66, 84), (90, 90), (97, 72), (84, 52), (64, 46))
    hind = smooth((53, 50), (72, 46), (86, 34), (80, 14), (64, 12), (55, 30))
    ear = polygon((30, 74), (29, 99), (47, 88))
    leaf = smooth((50, 12), (62, 28), (78, 32), (72, 18))
    plane_wing = polygon((54, 62), (98, 36), (98, 27), (54, 40))
    plane_tail = polygon((53, 20), (70, 8), (70, 2), (50, 7))
    scallops = [ellipse(x, 50, 8.2, 7) for x in (10.5, 26.2, 42, 58, 73.8, 89.5)]
    return {
        "sun": [*(("add", s) for s in spokes(12, 25, 50, 9)),
                *((-0.18, s) for s in spokes(12, 25, 50, 9)),
                ("add", ellipse(50, 50, 30)), (0.12, ellipse(50, 50, 30)),
                (-0.75, ellipse(40, 56, 3.6, 5)), (-0.75, ellipse(60, 56, 3.6, 5)),
                (-0.75, bezier((35, 44), ((42, 30), (58, 30), (65, 44)), ((57, 37), (43, 37), (35, 44))))],
        "moon": [("add", ellipse(50, 50, 48)), ("cut", ellipse(73, 60, 41)),
                 (-0.3, ellipse(17, 54, 6)), (-0.3, ellipse(34, 20, 7)), (-0.3, ellipse(22, 35, 4)),
                 (-0.3, ellipse(58, 9, 4)), (-0.3, ellipse(24, 75, 5))],
        "star": [("add", polygon(*star))] + [
            (-0.22, polygon((50, 50), star[i], star[(i + 1) % 10])) for i in range(1, 10, 2)],
        "cloud": [("add", rectangle(18, 20, 82, 50)), ("add", ellipse(18, 36, 18, 16)),
                  ("add", ellipse(83, 37, 17)), ("add", ellipse(30, 58, 18)),
                  ("add", ellipse(57, 68, 25)), (0.45, ellipse(55, 75, 15)),
                  (0.35, ellipse(28, 63, 10)), (0.25, ellipse(85, 43, 8)),
                  (-0.2, ellipse(50, 22, 40, 5))],
        "heart": [("add", bezier((50, 8), ((22, 32), (0, 48), (2, 70)), ((4, 94), (38, 98), (50, 76)),
                                 ((62, 98), (96, 94), (98, 70)), ((100, 48), (78, 32), (50, 8)))),
                  (0.6, ellipse(24, 74, 6, 11, -35))],
        "flower": [("add", rectangle(46, 0, 54, 50)), (-0.5, rectangle(46, 0, 54, 50)),
                   ("add", leaf), (-0.4, leaf), ("add", mirrored(leaf)), (-0.4, mirrored(leaf)),
                   *(("add", ellipse(x, y, 15)) for x, y in around(6, 21, 50, 65)),
                   *((0.0, ellipse(x, y, 15)) for x, y in around(6, 21, 50, 65)),
                   *((-0.3, polygon((50, 65), a, b)) for a, b in zip(
                       around(6, 34, 50, 65, 117), around(6, 34, 50, 65, 123))),
                   ("add", ellipse(50, 65, 14)), (0.75, ellipse(50, 65, 11.5))],
        "tree": [("add", rectangle(42, 0, 58, 20)), (-0.5, rectangle(42, 0, 58, 20)),
                 ("add", polygon((8, 16), (92, 16), (50, 58))),
                 ("add", polygon((15, 40), (85, 40), (50, 80))),
                 ("add", polygon((24, 62), (76, 62), (50, 100))),
                 (-0.35, polygon((29, 38), (71, 38), (85, 40), (50, 48), (15, 40))),
                 (-0.35, polygon((33, 60), (67, 60), (76, 62), (50, 69), (24, 62)))],
        "house": [("add", rectangle(14, 4, 86, 56)), ("add", rectangle(68, 62, 81, 92)),
                  ("add", polygon((2, 50), (98, 50), (50, 96))),
                  (-0.4, polygon((2, 50), (98, 50), (50, 96))), (-0.4, rectangle(68, 62, 81, 92)),
                  (-0.65, rectangle(42, 4, 58, 32)), (0.8, rectangle(20, 22, 36, 39)),
                  (0.8, rectangle(64, 22, 80, 39)), (0.6, ellipse(50, 66, 7))],
        "car": [("add", bezier((2, 28), ((0, 42), (2, 48), (12, 50)), ((20, 52), (22, 52), (26, 60)),
                               ((31, 74), (34, 78), (48, 78)), ((66, 78), (70, 76), (77, 54)),
                               ((92, 51), (98, 48), (98, 28)), ((98, 24), (60, 24), (50, 24)),
                               ((30, 24), (2, 22), (2, 28)))),
                ("add", ellipse(24, 27, 14)), ("add", ellipse(76, 27, 14)),
                (-0.75, ellipse(24, 27, 14)), (-0.75, ellipse(76, 27, 14)),
                (0.5, ellipse(24, 27, 6)), (0.5, ellipse(76, 27, 6)),
                (0.75, polygon((32, 53), (36, 66), (40, 71), (49, 71), (49, 53))),
                (0.75, polygon((54, 53), (54, 71), (63, 70), (66, 66), (70, 53))),
                (0.7, ellipse(94, 42, 4)), (-0.3, rectangle(4, 33, 96, 36))],
        "boat": [("add", rectangle(45, 22, 50, 100)), (-0.6, rectangle(45, 22, 50, 100)),
                 ("add", bezier((53, 97), ((70, 80), (88, 58), (92, 34)), ((80, 34), (60, 34), (53, 34)),
                                ((53, 50), (53, 80), (53, 97)))),
                 ("add", bezier((42, 86), ((42, 70), (42, 50), (42, 34)), ((30, 34), (16, 34), (9, 34)),
                                ((26, 48), (36, 64), (42, 86)))),
                 (0.35, polygon((42, 86), (42, 34), (9, 34), (30, 55))),
                 ("add", bezier((0, 28), ((30, 24), (70, 24), (100, 28)), ((94, 10), (84, 2), (76, 2)),
                                ((60, 2), (36, 2), (24, 2)), ((16, 2), (4, 10), (0, 28)))),
                 (-0.42, rectangle(0, 0, 100, 29))],
        "airplane": [("add", smooth((50, 100), (57, 86), (57, 50), (54, 16), (50, 2), (46, 16), (43, 50),
                                    (43, 86))),
                     ("add", plane_wing), ("add", mirrored(plane_wing)),
                     ("add", plane_tail), ("add", mirrored(plane_tail)),
                     ("add", ellipse(74, 48, 4, 9)), ("add", ellipse(26, 48, 4, 9)),
                     (-0.28, plane_wing), (-0.28, mirrored(plane_wing)),
                     (-0.5, ellipse(74, 51, 4, 6)), (-0.5, ellipse(26, 51, 4, 6)),
                     (0.0, smooth((50, 100), (57, 86), (57, 50), (54, 16), (50, 2), (46, 16), (43, 50),
                                  (43, 86))),
                     (-0.7, polygon((45, 87), (55, 87), (53, 93), (47, 93)))],
        "fish": [("add", smooth((0, 52), (14, 70), (40, 80), (64, 68), (78, 54), (78, 46), (64, 32),
                                (40, 22), (14, 34))),
                 ("add", bezier((70, 50), ((80, 58), (90, 76), (99, 78)), ((93, 60), (93, 40), (99, 22)),
                                ((90, 24), (80, 42), (70, 50)))),
                 ("add", bezier((28, 74), ((38, 96), (54, 94), (62, 88)), ((58, 80), (58, 74), (60, 68)),
                                ((50, 72), (40, 76), (28, 74)))),
                 ("add", polygon((40, 24), (56, 10), (58, 34))),
                 (-0.3, polygon((74, 50), (99, 82), (93, 50), (99, 18))),
                 (-0.3, polygon((28, 78), (50, 95), (64, 90), (58, 72), (45, 78))),
                 (0.45, polygon((34, 78), (42, 79), (42, 22), (34, 24))),
                 (0.45, polygon((52, 75), (58, 71), (58, 29), (52, 26))),
                 (0.8, ellipse(17, 57, 6.5)), (-0.9, ellipse(16, 57, 3.5))],
        "bird": [("add", smooth((20, 70), (22, 46), (38, 24), (58, 20), (76, 32), (72, 50), (52, 62),
                                (44, 74))),
                 ("add", ellipse(32, 76, 19)), ("add", polygon((17, 82), (0, 73), (17, 68))),
                 (0.55, polygon((16, 84), (0, 73), (16, 67))),
                 ("add", polygon((60, 46), (98, 56), (100, 44), (88, 34), (66, 22))),
                 (-0.3, polygon((80, 40), (98, 56), (100, 44), (88, 34))),
                 (-0.4, smooth((38, 54), (56, 56), (84, 40), (62, 30), (44, 36))),
                 ("add", polygon((44, 26), (50, 26), (47, 2), (36, 2), (36, 6), (42, 6))),
                 ("add", polygon((58, 26), (64, 26), (61, 2), (50, 2), (50, 6), (56, 6))),
                 (-0.6, rectangle(34, 0, 70, 19)), (0.85, ellipse(27, 79, 5.5)), (-0.9, ellipse(26, 79, 3))],
        "cat": [("add", ear), ("add", polygon((70, 74), (71, 99), (53, 88))),
                ("add", ellipse(50, 72, 25, 20)),
                ("add", smooth((50, 64), (66, 48), (74, 18), (68, 2), (50, 0), (32, 2), (26, 18), (34, 48))),
                ("add", bezier((64, 0), ((100, -2), (104, 34), (84, 46)), ((78, 46), (76, 40), (80, 37)),
                               ((92, 26), (84, 14), (66, 14)), ((64, 8), (64, 4), (64, 0)))),
                (0.35, ellipse(50, 24, 11, 19)), (-0.35, polygon((33, 83), (33, 92), (40, 87))),
                (-0.35, polygon((67, 83), (67, 92), (60, 87))),
                (0.8, ellipse(40, 75, 6.5)), (0.8, ellipse(60, 75, 6.5)),
                (-0.9, ellipse(40, 75, 2.6, 5.6)), (-0.9, ellipse(60, 75, 2.6, 5.6)),
                (-0.6, polygon((46, 66), (54, 66), (50, 61))),
                (-0.45, rectangle(48.5, 0, 51.5, 16))],
        "butterfly": [("add", wing), ("add", mirrored(wing)), ("add", hind), ("add", mirrored(hind)),
                      (-0.25, hind), (-0.25, mirrored(hind)),
                      (0.55, ellipse(80, 72, 9)), (0.55, ellipse(20, 72, 9)),
                      (0.4, ellipse(70, 28, 7)), (0.4, ellipse(30, 28, 7)),
                      ("add", ellipse(50, 48, 5, 32)), (-0.75, ellipse(50, 48, 5, 32)),
                      ("add", polygon((50, 76), (60, 97), (64, 96), (53, 76))),
                      ("add", polygon((50, 76), (40, 97), (36, 96), (47, 76))),
                      ("add", ellipse(62, 96, 4)), ("add", ellipse(38, 96, 4)),
                      (-0.75, rectangle(34, 91, 66, 100))],
        "mushroom": [("add", bezier((36, 44), ((40, 30), (32, 14), (30, 4)), ((40, -1), (60, -1), (70, 4)),
                                    ((68, 14), (60, 30), (64, 44)), ((56, 48), (44, 48), (36, 44)))),
                     (0.65, rectangle(20, 0, 80, 46)),
                     ("add", bezier((2, 46), ((2, 84), (28, 98), (50, 98)), ((72, 98), (98, 84), (98, 46)),
                                    ((86, 36), (14, 36), (2, 46)))),
                     (0.0, bezier((2, 46), ((2, 84), (28, 98), (50, 98)), ((72, 98), (98, 84), (98, 46)),
                                  ((86, 36), (14, 36), (2, 46)))),
                     (0.85, ellipse(50, 80, 10, 8)), (0.85, ellipse(23, 61, 9, 8)),
                     (0.85, ellipse(77, 61, 9, 8)), (0.85, ellipse(50, 54, 7, 6)),
                     (-0.35, bezier((8, 43), ((20, 48), (80, 48), (92, 43)), ((80, 37), (20, 37), (8, 43))))],
        "apple": [("add", bezier((50, 72), ((70, 86), (96, 76), (95, 48)), ((94, 20), (74, 0), (62, 1)),
                                 ((56, 2), (44, 2), (38, 1)), ((26, 0), (6, 20), (5, 48)),
                                 ((4, 76), (30, 86), (50, 72)))),
                  (0.5, ellipse(24, 56, 6, 13, -20)), (-0.3, ellipse(50, 72, 10, 4)),
                  ("add", polygon((47, 70), (52, 70), (57, 92), (50, 92))),
                  (-0.7, polygon((47, 70), (52, 70), (57, 92), (50, 92))),
                  ("add", bezier((53, 82), ((60, 100), (78, 102), (90, 96)), ((84, 80), (68, 76), (53, 82)))),
                  (-0.4, bezier((53, 82), ((60, 100), (78, 102), (90, 96)), ((84, 80), (68, 76), (53, 82))))],
        "umbrella": [("add", bezier((2, 50), ((4, 80), (26, 94), (50, 94)), ((74, 94), (96, 80), (98, 50)),
                                    ((70, 52), (30, 52), (2, 50)))),
                     *(("cut", s) for s in scallops), ("add", polygon((48, 92), (52, 92), (50, 100))),
                     (-0.35, bezier((18.3, 50), ((22, 76), (36, 92), (50, 94)), ((42, 84), (36, 70), (34, 50)),
                                    ((30, 52), (24, 52), (18.3, 50)))),
                     (-0.35, bezier((81.7, 50), ((78, 76), (64, 92), (50, 94)), ((58, 84), (64, 70), (66, 50)),
                                    ((70, 52), (76, 52), (81.7, 50)))),
                     ("add", bezier((46.5, 60), ((46.5, 40), (46.5, 30), (46.5, 14)),
                                    ((46.5, -6), (76, -6), (76, 16)), ((74, 19), (71, 19), (69, 16)),
                                    ((69, 4), (53.5, 4), (53.5, 14)), ((53.5, 30), (53.5, 50), (53.5, 60)))),
                     (-0.65, rectangle(40, 0, 80, 52))],
        "anchor": [("add", ellipse(50, 87, 13)), ("cut", ellipse(50, 87, 5.5)),
                   ("add", rectangle(43.5, 6, 56.5, 78)), ("add", rectangle(24, 58, 76, 69)),
                   ("add", ellipse(24, 63.5, 5.5)), ("add", ellipse(76, 63.5, 5.5)),
                   ("add", bezier((4, 40), ((4, 14), (26, 0), (50, 0)), ((74, 0), (96, 14), (96, 40)),
                                  ((90, 38), (88, 36), (83, 33)), ((78, 20), (66, 14), (50, 14)),
                                  ((34, 14), (22, 20), (17, 33)), ((12, 36), (10, 38), (4, 40)))),
                   ("add", polygon((0, 28), (3, 50), (25, 36))),
                   ("add", polygon((100, 28), (97, 50), (75, 36))),
                   (0.4, rectangle(45.5, 16, 49, 56)), (-0.3, rectangle(24, 58, 76, 61))],
        "cup": [("add", ellipse(74, 46, 25, 24)), ("cut", ellipse(74, 46, 14, 13)),
                (-0.25, ellipse(74, 46, 25, 24)),
                ("add", bezier((4, 80), ((4, 60), (4, 24), (10, 12)), ((16, 4), (62, 4), (68, 12)),
                               ((74, 24), (74, 60), (74, 80)), ((60, 88), (18, 88), (4, 80)))),
                (0.0, rectangle(4, 0, 74, 90)), ("add", ellipse(39, 80, 35, 11)),
                (0.3, ellipse(39, 80, 35, 11)), (-0.65, ellipse(39, 79, 29, 7.5)),
                (0.55, polygon((11, 62), (18, 60), (19, 24), (14, 22)))],
    }


# --- rendering -----------------------------------------------------------------------------------

def box_blur(array, radius):
    for axis in (0, 1):
        padded = np.pad(array, [(radius + 1, radius) if a == axis else (0, 0) for a in (0, 1)])
        total = padded.cumsum(axis)
        n = array.shape[axis]
        ahead, behind = np.arange(n) + 2 * radius + 1, np.arange(n)
        array = (total.take(ahead, axis) - total.take(behind, axis)) / (2 * radius + 1)
    return array


def render(steps):
    """One drawing as layers (3, SIZE, SIZE) uint8: alpha, tone, height."""
    side = SIZE * OVERSAMPLE
    vertices = np.concatenate([s.to_polygons()[0] for what, s in steps if what == "add"])
    low, high = vertices.min(0), vertices.max(0)
    centre, extent = (low + high) / 2, (high - low).max()
    # The object fills the box without its margin along its longer side.
    unit = (np.arange(side) + 0.5) / side * SIZE
    x = (unit - SIZE / 2) / (SIZE - 2 * MARGIN) * extent + centre[0]
    y = (SIZE / 2 - unit) / (SIZE - 2 * MARGIN) * extent + centre[1]
    grid = np.stack(np.meshgrid(x, y), -1).reshape(-1, 2)
    body = np.zeros(side * side, dtype=bool)
    tone = np.zeros(side * side)
    for what, shape in steps:
        inside = np.zeros(side * side, dtype=bool)
        for outline in shape.to_polygons():
            inside |= Curve(outline).contains_points(grid)
        if what == "add":
            body |= inside
            tone[inside] = 0.0
        elif what == "cut":
            body &= ~inside
        else:
            tone[inside] = what

    def shrink(a):
        return a.reshape(SIZE, OVERSAMPLE, SIZE, OVERSAMPLE).mean((1, 3))

    alpha, tone = shrink(body.astype(float)), shrink(tone)
    dome = sum(np.clip(2 * box_blur(box_blur(alpha, r), r) - 1, 0, 1) for r in (3, 6, 10)) / 3
    height = np.sqrt(dome) * alpha
    layers = np.stack([alpha * 255, 128 + 127 * tone, height * 255])
    return np.clip(np.rint(layers), 0, 255).astype(np.uint8)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sheet", help="also write all of them as a picture, to look at")
    options = parser.parse_args()
    layers = {name: render(steps) for name, steps in drawings().items()}
    target = Path(__file__).parent.parent / "minigroupvit" / "data" / "silhouettes.npz"
    np.savez_compressed(target, **layers)
    print(f"{target.name}: {len(layers)} silhouettes, {target.stat().st_size / 1024:.0f} KiB")
    if options.sheet:
        from PIL import Image
        tiles = [np.where(a > 127, t // 2 + 64, 255).astype(np.uint8) for a, t, _ in layers.values()]
        rows = [np.hstack(tiles[i:i + 7] + [np.full_like(tiles[0], 255)] * (7 - len(tiles[i:i + 7])))
                for i in range(0, len(tiles), 7)]
        Image.fromarray(np.vstack(rows)).save(options.sheet)


if __name__ == "__main__":
    main()
