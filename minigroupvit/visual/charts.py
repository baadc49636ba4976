"""Numbers as pictures: matrices, values on the patch grid, curves over training. Like plots.py, on given axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ..images import to_batch

_INK, _FAINT = "#333333", "#dddddd"
# Told apart without colour too: by their dashes.
_CURVES = (("#0072b2", "-"), ("#d55e00", "--"), ("#009e73", "-."), ("#cc79a7", ":"), ("#555555", (0, (5, 1, 1, 1))))


def figure(width: float = 9.5, height: float = 3.0) -> Figure:
    """An empty figure, in inches, as wide as a notebook's text by itself. A cell that returns it shows it."""
    return Figure(figsize=(width, height), layout="constrained", dpi=96, facecolor="white")


def show_matrix(ax: Axes, values, rows: Sequence[str] = (), columns: Sequence[str] = (), title: str | None = None,
                limits: tuple[float, float] | None = None, numbers: bool | None = None, bar: str | None = None) -> Axes:
    """A matrix (rows, columns) as coloured cells. White is least; with negative values, white is 0.

    Args:
        limits: values of the palest and the darkest colour; those of the matrix if not given.
        numbers: write the values into the cells; by itself for up to 60 of them.
        bar: what the values are, beside a bar of colours; none if not given.
    """
    values = _array(values)
    least, most = limits or (float(values.min()), float(values.max()))
    signed = least < 0
    if signed:
        most = max(abs(least), abs(most))
        least = -most
    shown = ax.imshow(values, cmap="RdBu" if signed else "Blues", vmin=least, vmax=most, aspect="auto")
    ax.set_xticks(range(len(columns)), columns, rotation=40 if sum(map(len, columns)) >= 36 else 0, fontsize=9,
                  ha="right" if sum(map(len, columns)) >= 36 else "center", rotation_mode="anchor")
    ax.set_yticks(range(len(rows)), rows, fontsize=9)
    if values.size <= 60 if numbers is None else numbers:
        for (row, column), value in np.ndenumerate(values):
            dark = abs(value - (0 if signed else least)) > 0.62 * ((most - least) / (2 if signed else 1) or 1)
            ax.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=8,
                    color="white" if dark else _INK)
    ax.spines[:].set(color=_FAINT)
    ax.tick_params(length=0)
    if bar:
        ax.figure.colorbar(shown, ax=ax, label=bar)
    return _titled(ax, title)


def show_contents(ax: Axes, pixels, class_names: Sequence[str], title: str | None = None, bar: str | None = None) -> Axes:
    """What the groups hold: pixels (G, C) of each class in each group, drawn as shares of the group.

    The largest group comes first, and the classes in the order of the group that has most of their pixels: what
    structure there is lies on a staircase from the upper left to the lower right. Groups without pixels are left out.
    """
    pixels = _array(pixels)
    rows = [g for g in np.argsort(-pixels.sum(axis=1), kind="stable") if pixels[g].any()]
    table = pixels[rows]
    home = table / np.maximum(table.sum(axis=0), 1)                        # of a class: its share in each group
    columns = np.argsort(home.argmax(axis=0) - home.max(axis=0), kind="stable")
    show_matrix(ax, (table / table.sum(axis=1, keepdims=True))[:, columns], [f"group {g}" for g in rows],
                [class_names[c] for c in columns], title, limits=(0, 1), numbers=False, bar=bar)
    ax.set_xticks(range(len(columns)), [class_names[c] for c in columns], rotation=90, ha="center", va="top",
                  rotation_mode="default", fontsize=8)
    return ax


def show_heat(ax: Axes, values, image=None, title: str | None = None, limits: tuple[float, float] | None = None,
              mark: tuple[int, int] | None = None, bar: str | None = None) -> Axes:
    """One value for each patch, (h, w), bright where it is high; over the shades of grey of a picture if given.

    mark: row and column of a patch to put a frame around.
    """
    values = _array(values)
    h, w = values.shape
    H, W = h, w
    if image is not None:
        grey = to_batch(image)[0].mean(dim=0).cpu().numpy()                # (H, W)
        H, W = grey.shape
        ax.imshow(grey, cmap="gray", vmin=0, vmax=1)
    least, most = limits or (None, None)
    shown = ax.imshow(values, cmap="viridis", vmin=least, vmax=most, alpha=1.0 if image is None else 0.7,
                      extent=(-0.5, W - 0.5, H - 0.5, -0.5), interpolation="nearest")
    if mark is not None:
        corner = (mark[1] * W / w - 0.5, mark[0] * H / h - 0.5)
        for colour, width in (("white", 4.0), ("#d00000", 2.0)):
            ax.add_patch(Rectangle(corner, W / w, H / h, fill=False, edgecolor=colour, linewidth=width))
    ax.set_xticks([])
    ax.set_yticks([])
    if bar:
        ax.figure.colorbar(shown, ax=ax, label=bar)
    return _titled(ax, title)


def show_curves(ax: Axes, curves: Mapping[str, tuple[Sequence[float], Sequence[float]]], ylabel: str = "",
                xlabel: str = "step", title: str | None = None, smooth: int = 1) -> Axes:
    """Curves by name, each (x, y), with a legend. `smooth`: mean over so many values, the measured paler behind."""
    for (name, (x, y)), (colour, dashes) in zip(curves.items(), _CURVES * len(curves)):
        x, y = _array(x), _array(y)
        if smooth > 1 and len(y) > smooth:
            ax.plot(x, y, color=colour, linewidth=0.8, alpha=0.3)
            y = np.convolve(y, np.full(smooth, 1 / smooth), mode="valid")
            x = x[smooth - 1:]
        ax.plot(x, y, color=colour, linestyle=dashes, linewidth=1.9, marker="o" if len(x) == 1 else None, label=name)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.grid(color=_FAINT, linewidth=0.6)
    ax.spines[["top", "right"]].set_visible(False)
    if len(curves) > 1:
        ax.legend(frameon=False, fontsize=9)
    return _titled(ax, title)


def show_bars(ax: Axes, values: Mapping[str, float], colours=None, ylabel: str = "", title: str | None = None) -> Axes:
    """One bar a name, its value above it."""
    names = list(values)
    bars = ax.bar(range(len(names)), [values[name] for name in names],
                  color=colours if colours is not None else "#0072b2",
                  edgecolor=_INK, linewidth=0.6)
    ax.bar_label(bars, fmt="%.2f", fontsize=8, padding=2)
    turned = sum(map(len, names)) > 60
    ax.set_xticks(range(len(names)), names, rotation=50 if turned else 0, ha="right" if turned else "center",
                  rotation_mode="anchor", fontsize=9)
    ax.set_ylabel(ylabel)
    ax.spines[["top", "right"]].set_visible(False)
    return _titled(ax, title)


def show_intervals(ax: Axes, series: Mapping[str, Mapping[str, tuple[float, float, float]]], xlabel: str = "",
                   title: str | None = None) -> Axes:
    """Values with their intervals, (value, low, high): a row for each name, a dot for each of the series that has it.

    The first name is at the top. Series are told apart by colour and by the shape of the dot.
    """
    names = list(dict.fromkeys(name for values in series.values() for name in values))
    step = 0.6 / max(1, len(series) - 1)
    for n, (label, values) in enumerate(series.items()):
        for name, (value, low, high) in values.items():
            y = names.index(name) + (n - (len(series) - 1) / 2) * step * (len(series) > 1)
            ax.plot((low, high), (y, y), color=_CURVES[n % 5][0], linewidth=1.6)
            ax.plot(value, y, marker="os^Dv"[n % 5], color=_CURVES[n % 5][0], linestyle="none", markersize=5.5,
                    label=label if name == next(iter(values)) else None)
    ax.set_yticks(range(len(names)), names, fontsize=9)
    ax.set_ylim(len(names) - 0.45, -0.55)
    ax.set_xlabel(xlabel)
    ax.grid(axis="x", color=_FAINT, linewidth=0.6)
    ax.spines[["top", "right"]].set_visible(False)
    if len(series) > 1:
        ax.legend(frameon=False, fontsize=8.5, loc="center left", bbox_to_anchor=(1, 0.5))
    return _titled(ax, title)


def _array(values) -> np.ndarray:
    return np.asarray(values.detach().float().cpu() if hasattr(values, "detach") else values, dtype=float)


def _titled(ax: Axes, title: str | None) -> Axes:
    if title is not None:
        ax.set_title(title, size=11, pad=6)
    return ax
