"""Shapes and steps that the drawings are made of.

A drawing is a list of steps, applied in order in a box of about 100 x 100 units, y upwards; whatever it
covers is scaled to fill its square. Each step fills one closed curve:

    main(curve)          the object's main colour; the curve joins the object
    second(curve)        its second colour
    detail(curve, grey)  a fixed grey, 0 black to 1 white: eyes, wheels, windows
    cut(curve)           a hole
    shade(curve, tone)   the colour below, darker (tone down to -1) or lighter (up to 1); the part stays

`inside=True` paints only where the object already is, and does not extend it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from matplotlib.path import Path as Curve
from scipy.interpolate import PchipInterpolator


@dataclass(frozen=True)
class Step:
    """One filled curve."""

    kind: str  # "main" | "second" | "detail" | "cut" | "shade"
    curve: Curve
    value: float = 0.0  # the grey of a detail, the tone of a shade
    inside: bool = False


def main(curve: Curve, inside: bool = False) -> Step:
    return Step("main", curve, inside=inside)


def second(curve: Curve, inside: bool = False) -> Step:
    return Step("second", curve, inside=inside)


def detail(curve: Curve, grey: float, inside: bool = False) -> Step:
    return Step("detail", curve, grey, inside)


def cut(curve: Curve) -> Step:
    return Step("cut", curve)


def shade(curve: Curve, tone: float) -> Step:
    return Step("shade", curve, tone, inside=True)


def polygon(*points):
    """A closed outline with straight edges."""
    return Curve([*points, points[0]], closed=True)


def ellipse(x, y, rx, ry=None, angle=0.0):
    """Centre, half axes, rotated anticlockwise by `angle` degrees."""
    ry = rx if ry is None else ry
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    turn = np.array([[cos, sin], [-sin, cos]])
    unit = Curve.unit_circle()
    return Curve(unit.vertices * [rx, ry] @ turn + [x, y], unit.codes)


def rectangle(x0, y0, x1, y1):
    return polygon((x0, y0), (x1, y0), (x1, y1), (x0, y1))


def bezier(start, *cubics):
    """A closed outline of cubic Bézier segments, each (control, control, end)."""
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


def stroke(points, width):
    """A thick smooth line through the points, with square ends: tails, handles, legs."""
    p = np.array(points, dtype=float)
    if len(p) > 2:
        travelled = np.concatenate([[0], np.linalg.norm(np.diff(p, axis=0), axis=1).cumsum()])
        p = PchipInterpolator(travelled, p)(np.linspace(0, travelled[-1], 60))
    along = np.gradient(p, axis=0)
    normal = np.stack([-along[:, 1], along[:, 0]], 1)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    outline = np.concatenate([p + normal * width / 2, (p - normal * width / 2)[::-1]])
    return polygon(*map(tuple, outline))


def arc(x, y, radius, start, end, count=16):
    """Points on a circle from one angle to another, in degrees, for `stroke` and `polygon`."""
    angles = np.radians(np.linspace(start, end, count))
    return [(x + radius * math.cos(a), y + radius * math.sin(a)) for a in angles]


def around(count, radius, x=50, y=50, start=90):
    """Points spread evenly over a circle."""
    return arc(x, y, radius, start, start + 360 - 360 / count, count)


def mirrored(curve, axis=50):
    """Left and right swapped around a vertical axis."""
    return Curve(curve.vertices * [-1, 1] + [2 * axis, 0], curve.codes)


def pair(paint, curve, *values, axis=50, **options):
    """The same step on the left and on the right of a vertical axis: ears, wings, leaves."""
    return [paint(side, *values, **options) for side in (curve, mirrored(curve, axis))]


def leg(x, y, width, foot, step=0.0, ground=0.0, rise=0.0):
    """A leg that begins at (x, y) and is `width` wide there; its foot goes from foot[0] to foot[1] right of x.

    step: how far the foot is put forward. rise: how much higher it begins on the right.
    """
    left, right = foot
    return main(polygon((x, y), (x + width, y + rise), (x + right + step, ground), (x + left + step, ground)))


def discs(x, y, *sizes, greys, inside=False):
    """Details around one middle, the largest first: the tyre and hub of a wheel, the white and pupil of an eye.

    sizes: a radius, or the two half axes, of each.
    """
    return [
        detail(ellipse(x, y, *(size if isinstance(size, tuple) else (size,))), grey, inside=inside)
        for size, grey in zip(sizes, greys)
    ]


def turned(curve, degrees, x=50, y=50):
    """Rotated anticlockwise around a point."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return Curve((curve.vertices - [x, y]) @ np.array([[cos, sin], [-sin, cos]]) + [x, y], curve.codes)
