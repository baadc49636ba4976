"""Drawing diagrams: boxes, arrows, tokens and matrices on one page, whose unit is an inch.

`diagrams.py` draws with it. Everything is a patch or a text of one pair of axes, so that a diagram can be saved as
SVG and its labels can be checked: none may cover another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Polygon, Rectangle
from matplotlib.path import Path

from .palette import CLASS_COLOURS, GROUP_COLOURS

INK, FAINT = "#333333", "#8a8a8a"
# One colour for each kind of thing, the same in all diagrams.
GROUP, IMAGE, TEXT, SEGMENT, SCORE = (GROUP_COLOURS[i] for i in (0, 4, 2, 6, 15))
_WRITTEN = {GROUP: "#8f6200", SEGMENT: "#9c3f75", TEXT: "#00694c"}   # darker, so that text can be read

Point = tuple[float, float]


def tint(colour: str, strength: float = 0.2) -> tuple[float, ...]:
    """A colour mixed with white: `strength` 1 is the colour itself."""
    return tuple(float(c) for c in 1 - strength * (1 - np.array(to_rgb(colour))))


@dataclass(frozen=True)
class Box:
    """A rectangle on the page, and the middles of its sides, where arrows begin and end."""

    x: float
    y: float
    width: float
    height: float

    @property
    def left(self) -> Point:
        return self.x, self.y + self.height / 2

    @property
    def right(self) -> Point:
        return self.x + self.width, self.y + self.height / 2

    @property
    def top(self) -> Point:
        return self.x + self.width / 2, self.y + self.height

    @property
    def bottom(self) -> Point:
        return self.x + self.width / 2, self.y

    def at_left(self, y: float) -> Point:
        """The left side at another height of the page."""
        return self.x, y

    def at_right(self, y: float) -> Point:
        """The right side at another height of the page."""
        return self.x + self.width, y


class Page:
    """A figure of so many inches on which everything is placed by inches from its lower left corner."""

    def __init__(self, width: float, height: float) -> None:
        self.figure = Figure(figsize=(width, height), dpi=96, facecolor="white")
        self.ax = self.figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(0, height))
        self.ax.axis("off")

    def text(self, x: float, y: float, text: str, size: float = 8.5, colour: str = INK, ha: str = "center",
             va: str = "center", **options) -> None:
        self.ax.text(x, y, text, size=size, color=_WRITTEN.get(colour, colour), ha=ha, va=va, linespacing=1.25, **options)

    def box(self, x: float, y: float, width: float, height: float, text: str = "", colour: str = FAINT,
            size: float = 8.5, below: str = "", **options) -> Box:
        """A rounded box with its text in the middle; `below` is written smaller below it."""
        self.ax.add_patch(FancyBboxPatch((x, y), width, height, boxstyle="round,pad=0,rounding_size=0.06",
                                         facecolor=tint(colour), edgecolor=colour, linewidth=1.2))
        if text:
            self.text(x + width / 2, y + height * (0.78 if below else 0.5), text, size, **options)
        if below:
            self.text(x + width / 2, y + 0.36 * height, below, 7.5)
        return Box(x, y, width, height)

    def frame(self, x: float, y: float, width: float, height: float, title: str) -> Box:
        """A dashed frame around what belongs together, its title above it."""
        self.ax.add_patch(Rectangle((x, y), width, height, facecolor="#f7f7f7", edgecolor=FAINT, linewidth=0.9,
                                    linestyle=(0, (4, 3)), zorder=0))
        self.text(x + width / 2, y + height + 0.13, title, 9, weight="bold")
        return Box(x, y, width, height)

    def arrow(self, *points: Point, colour: str = INK, dashed: bool = False) -> None:
        """From the first point over those between to the last, which has the head."""
        self.ax.add_patch(FancyArrowPatch(
            path=Path(points), arrowstyle="-|>,head_length=4,head_width=2.2", mutation_scale=1, color=colour,
            linewidth=1.2, linestyle=(0, (3, 2)) if dashed else "-", shrinkA=0, shrinkB=0, joinstyle="miter",
            fill=True))

    def plus(self, x: float, y: float, radius: float = 0.11) -> Box:
        """A circle in which two arrows are added."""
        self.ax.add_patch(Circle((x, y), radius, facecolor="white", edgecolor=INK, linewidth=1.2))
        for dx, dy in ((0.6 * radius, 0), (0, 0.6 * radius)):
            self.ax.plot((x - dx, x + dx), (y - dy, y + dy), color=INK, linewidth=1.2)
        return Box(x - radius, y - radius, 2 * radius, 2 * radius)

    def tokens(self, x: float, y: float, colours: Sequence[str], side: float = 0.17, gap: float = 0.05,
               upright: bool = False) -> Box:
        """Squares in a row, or below each other, from (x, y) on; tokens are vectors."""
        for i, colour in enumerate(colours):
            step = i * (side + gap)
            corner = (x, y + (len(colours) - 1) * (side + gap) - step) if upright else (x + step, y)
            self.ax.add_patch(Rectangle(corner, side, side, facecolor=colour, edgecolor=INK, linewidth=0.7))
        long = len(colours) * (side + gap) - gap
        return Box(x, y, side, long) if upright else Box(x, y, long, side)

    def matrix(self, x: float, y: float, values: np.ndarray, colours: Sequence[str], cell: float = 0.3,
               texts: Sequence[Sequence[str]] | None = None, size: float = 7.5) -> Box:
        """A matrix whose rows have colours, the stronger the larger a value from 0 to 1; `texts` stand in its cells."""
        rows, columns = values.shape
        for (r, c), value in np.ndenumerate(values):
            corner = (x + c * cell, y + (rows - 1 - r) * cell)
            self.ax.add_patch(Rectangle(corner, cell, cell, edgecolor=INK, linewidth=0.6,
                                        facecolor=tint(colours[r], float(np.clip(value, 0, 1)))))
            if texts is not None:
                self.text(corner[0] + cell / 2, corner[1] + cell / 2, texts[r][c], size)
        return Box(x, y, columns * cell, rows * cell)

    def picture(self, x: float, y: float, side: float, scene: str = "house", kind: str = "image", grid: int = 0) -> Box:
        """A small scene: a "house" and a tree on grass, a "boat" on water, or a "tree" on sand.

        kind: "image" | "parts": each part has a colour of its own, that of a group | "wholes": each object has |
        "classes": the colours that classes have in all figures. grid: how many patches a side are drawn over it.
        """
        wholes = list(dict.fromkeys(whole for whole, *_ in _SCENES[scene]))
        for number, (whole, own, points) in enumerate(_SCENES[scene]):
            colour = {"image": own, "parts": GROUP_COLOURS[_PARTS[number]],
                      "wholes": whole_colour(wholes.index(whole)), "classes": CLASS_COLOURS[whole]}[kind]
            self.ax.add_patch(Polygon([(x + side * px, y + side * py) for px, py in points], closed=True,
                                      facecolor=colour, edgecolor="none" if kind == "image" else colour, linewidth=0.6))
        for k in range(1, grid):
            self.ax.plot((x + k * side / grid,) * 2, (y, y + side), color="white", linewidth=0.8)
            self.ax.plot((x, x + side), (y + k * side / grid,) * 2, color="white", linewidth=0.8)
        self.ax.add_patch(Rectangle((x, y), side, side, fill=False, edgecolor=INK, linewidth=0.9))
        return Box(x, y, side, side)


def whole_colour(number: int) -> str:
    """The colour that the object or background of this number has in a picture of the kind "wholes"."""
    return GROUP_COLOURS[_PARTS[number]]


def _block(x0: float, x1: float, y0: float, y1: float) -> list[Point]:
    return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]


_PARTS = (1, 8, 5, 0, 7, 2)     # colours of groups that are told apart well beside each other
_SKY, _TRUNK = ("sky", "#b9dff5", _block(0, 1, 0.3, 1)), ("tree", "#7a5534", _block(0.70, 0.78, 0.22, 0.5))
_CROWN = ("tree", "#3d7a45", [(0.74 + 0.19 * np.cos(a), 0.66 + 0.21 * np.sin(a)) for a in np.linspace(0, 2 * np.pi, 40)])
# Of each part, from back to front: its class, its colour in the image, and its outline, from 0 to 1.
_SCENES = {
    "house": (_SKY, ("grass", "#86b56f", _block(0, 1, 0, 0.38)), ("house", "#a03c2c", [(0.06, 0.56), (0.5, 0.56), (0.28, 0.82)]),
              ("house", "#e8d3b0", _block(0.12, 0.44, 0.2, 0.56)), _TRUNK, _CROWN),
    "boat": (_SKY, ("water", "#3f86b5", _block(0, 1, 0, 0.42)), ("boat", "#f4f1e6", [(0.46, 0.45), (0.46, 0.9), (0.8, 0.45)]),
             ("boat", "#a03c2c", [(0.2, 0.4), (0.86, 0.4), (0.72, 0.2), (0.32, 0.2)])),
    "tree": (_SKY, ("sand", "#dcc795", _block(0, 1, 0, 0.38)), _TRUNK, _CROWN),
}
