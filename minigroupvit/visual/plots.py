"""Plots of images, groups and masks, and of numbers: the same functions in the demo and in all notebooks.

Each function draws into the axes it is given and returns them. Figures are made without pyplot: they need no display
and pyplot keeps no reference to them. A notebook shows the figure that a cell returns. Images and maps of more than
half a million pixels are drawn smaller.

First images, groups and masks (`show_image` to `save_overlay`), then matrices, values on the patch grid, curves, bars
and intervals (`figure` to `show_intervals`).

H, W image  h, w patch grid  G groups  C classes
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import wrap

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.patches import Patch, Rectangle
from matplotlib.patheffects import withStroke
from scipy.ndimage import distance_transform_edt, label as connected_regions
from torch.nn.functional import pad

from ..files import write_atomically
from ..images import enlarge, resize, to_batch
from ..segmentation.segment import Segmentation
from ..segmentation.windows import MOST_PIXELS, bounded_size
from .palette import NO_CLASS, class_colours, group_colours

_SMALLEST_NAMED = 0.012   # share of the image: smaller regions stay without a name
_INK, _GREY, _FAINT = "#333333", "#555555", "#dddddd"
# Dashes tell the curves apart without colour too.
_CURVES = (("#0072b2", "-"), ("#d55e00", "--"), ("#009e73", "-."), ("#cc79a7", ":"), ("#555555", (0, (5, 1, 1, 1))))


def show_image(ax: Axes, image, title: str | None = None) -> Axes:
    """One image of any kind that `images.to_batch` takes."""
    _draw(ax, shown_pixels(image))
    return _bare(ax, title)


def show_groups(ax: Axes, group_map, image=None, title: str | None = None, numbers: bool = True,
                opacity: float = 0.72, size: float = 7.5, colours: np.ndarray | None = None) -> Axes:
    """The group of each pixel: colour, border and number. group_map (H, W): numbers from 0.

    With an image, its shades of grey are visible through the colour. `size`: of the numbers, in points. `colours`
    (G, 3): of the groups, in place of `group_colours`.
    """
    group_map = _map(group_map)
    colours = group_colours(int(group_map.max()) + 1) if colours is None else colours
    _tint(ax, group_map, colours, image, opacity)
    draw_borders(ax, group_map)
    if numbers:
        write_on_regions(ax, group_map, [str(g) for g in range(len(colours))], size, largest_only=True)
    return _bare(ax, title)


def show_labels(ax: Axes, label_map, class_names: Sequence[str], image=None, title: str | None = None,
                names: bool = True, opacity: float = 1.0, size: float = 7.5) -> Axes:
    """The class of each pixel, its name written on it. label_map (H, W): index, or -1 for background.

    `image` and `size` as in `show_groups`. Raises ValueError for a label without a name.
    """
    label_map = _map(label_map)
    if label_map.max() >= len(class_names) or label_map.min() < -1:
        raise ValueError(f"labels go from {label_map.min()} to {label_map.max()}, but there are "
                         f"{len(class_names)} class names; give all names, in the order of the labels")
    # The last colour and the last name are those of label -1, background.
    _tint(ax, label_map, np.vstack([class_colours(class_names), to_rgb(NO_CLASS)]), image, opacity)
    draw_borders(ax, label_map)
    if names:
        write_on_regions(ax, label_map, [*class_names, "background"], size)
    return _bare(ax, title)


def draw_borders(ax: Axes, regions, colour: str = "white", width: float = 0.8) -> Axes:
    """Lines exactly between the pixels of different regions. regions (H, W) of integers.

    The lines have a thin dark edge, so that they are visible on bright regions too.
    """
    regions = _map(regions)
    y, x = np.nonzero(regions[:, 1:] != regions[:, :-1])               # a line right of (y, x)
    upright = np.stack([np.stack([x + 0.5, y - 0.5], -1), np.stack([x + 0.5, y + 0.5], -1)], 1)
    y, x = np.nonzero(regions[1:] != regions[:-1])                     # a line below (y, x)
    level = np.stack([np.stack([x - 0.5, y + 0.5], -1), np.stack([x + 0.5, y + 0.5], -1)], 1)
    for line, line_width in (("#404040", width + 0.6), (colour, width)):
        ax.add_collection(LineCollection([*upright, *level], colors=line, linewidths=line_width,
                                         capstyle="projecting"), autolim=False)
    return ax


def write_on_regions(ax: Axes, regions, names: Sequence[str], size: float = 7.5,
                     largest_only: bool = False, must_fit: bool = False) -> Axes:
    """Writes each region's name where there is most room for it. regions (H, W), index into names.

    A region is a connected component of the pixels of one number; with `largest_only`, each number is written once.
    `must_fit`, for figures with a legend: leaves out a name if less than half of it would lie in its region, or if it
    would leave the image or cover another name.
    Call it when the axes have their final size: names are placed so that they do not cover each other.
    """
    regions = _map(regions)
    H, W = regions.shape
    box = ax.get_window_extent()
    pixel = 72 / ax.figure.dpi * min(box.width / W, box.height / H)    # points a side of a pixel
    height = 1.15 * size / pixel                                       # of a line, in pixels
    free = np.ones((H, W), dtype=bool)
    for number, region in _by_size(regions, largest_only):
        name = names[number]
        width = max(0.62 * size * len(name), size) / pixel
        # Distance to the edge of the region or of the image, horizontally in widths of the name, vertically in heights.
        room = distance_transform_edt(np.pad(region, 1), sampling=(width / height, 1.0))[1:-1, 1:-1]
        # The name must not leave the image, if it fits into the image at all.
        dx, dy = int(min(width, W - 1) / 2), int(min(height, H - 1) / 2)
        inside = np.zeros((H, W), dtype=bool)
        inside[dy:H - dy, dx:W - dx] = True
        if must_fit and (width > W or 4 * (room * (free & inside)).max() < width):
            continue
        for allowed in (free & inside, inside, np.ones_like(free)):
            if (room * allowed).any():
                break
        # Of the places with nearly the most room, the one nearest to their centre.
        places = np.argwhere(room * allowed >= 0.9 * (room * allowed).max())
        y, x = places[((places - places.mean(axis=0)) ** 2).sum(axis=1).argmin()]
        y, x = np.clip(y, dy, H - 1 - dy), np.clip(x, dx, W - 1 - dx)    # it fits nowhere: over the region's edge
        ax.text(x, y, name, size=size, color="white", ha="center", va="center_baseline", weight="bold",
                path_effects=[withStroke(linewidth=0.27 * size, foreground="#1a1a1a")], clip_on=True)
        free[max(0, int(y - height)):int(y + height) + 1, max(0, int(x - width)):int(x + width) + 1] = False
    return ax


def class_legend(ax: Axes, label_map, class_names: Sequence[str], shares: bool = False, **options) -> Legend:
    """A legend of the classes that occur, from the largest to the smallest; `options` of `Axes.legend`.

    `shares`: write the share of the image that each has.
    """
    numbers, counts = np.unique(_map(label_map), return_counts=True)
    colours = class_colours(class_names)
    patches = []
    for i in np.argsort(-counts, kind="stable"):
        n, share = numbers[i], 100 * counts[i] / counts.sum()
        # Spaces as wide as a digit, so that names stand below each other.
        told = (f"{share:.0f} %" if share >= 0.5 else "<1 %").rjust(len("100 %"), "\N{FIGURE SPACE}") + "  "
        name = wrap(class_names[n], 26) if n >= 0 else ["background"]
        label = told + f"\n{' ' * len(told)}".join(name) if shares else "\n".join(name)
        patches.append(Patch(facecolor=colours[n] if n >= 0 else NO_CLASS, edgecolor=_GREY, label=label))
    return ax.legend(handles=patches, **({"loc": "center left", "bbox_to_anchor": (1.02, 0.5), "frameon": False}
                                         | options))


def images_figure(rows: Sequence[Sequence], titles: Sequence[str]) -> Figure:
    """Rows of images, with titles over the columns."""
    fig = Figure(figsize=(9.5, 9.5 / len(titles) * len(rows) + 0.3), layout="constrained", dpi=96, facecolor="white")
    for n, (axes, row) in enumerate(zip(fig.subplots(len(rows), len(titles), squeeze=False), rows)):
        for ax, image, title in zip(axes, row, titles):
            show_image(ax, image, None if n else title)
    return fig


def prototypes_figure(images, shares, groups: Sequence[int], count: int = 12) -> Figure:
    """What each group likes best: a row for each of `groups`, with its best patch of each of the `count` best pictures.

    images (B, 3, H, W) uint8, shares (B, G, h, w). A patch stands in a white frame, with two patches around it; what
    lies outside of the picture is grey.
    """
    patch = images.shape[-1] // shares.shape[-1]
    inner = (2 * patch - 1, 3 * patch)
    fig = Figure(figsize=(9.5, 0.76 * len(groups)), layout="constrained", dpi=96, facecolor="white")
    for ax, group in zip(fig.subplots(len(groups), 1, squeeze=False)[:, 0], groups):
        best, where = shares[:, group].flatten(1).max(dim=1)               # (B,) each
        crops = []
        for b in best.argsort(descending=True)[:count].tolist():
            y, x = divmod(int(where[b]), shares.shape[-1])
            around = pad(images[b], (2 * patch,) * 4, value=128)           # (3, H + 4p, W + 4p)
            crop = around[:, y * patch:(y + 5) * patch, x * patch:(x + 5) * patch].clone()
            crop[:, inner[0]:inner[1] + 1, inner] = crop[:, inner, inner[0]:inner[1] + 1] = 255
            crops.append(pad(crop, (1, 1, 1, 1), value=255))
        show_image(ax, torch.cat(crops, dim=-1))
        ax.set_ylabel(f"group {group}", rotation=0, ha="right", va="center")
    return fig


def overlay_figure(image, segmentation: Segmentation, side: float = 5.0) -> Figure:
    """An image, its named masks laid over it, and a legend with the share of each class.

    The masks are beside the image, or below an image more than twice as wide as high. `side`: of the image's longer
    side, in inches; of half of it in the second case.
    """
    H, W = segmentation.labels.shape[-2:]
    beside = W <= 2 * H
    unit = side / max(H, W) if beside else 2 * side / W
    w, h = max(W * unit, 1.2), max(H * unit, 0.4)                      # a strip still has room for its title
    gap, top = 0.1, 0.36
    steps = ((0, w + gap), (0, 0)) if beside else ((0, 0), (h + gap + top, 0))   # of both from left and bottom
    high = top + h + gap + max(steps[1])
    fig = Figure(facecolor="white")
    axes = [fig.add_axes((0, 0, 1, 1)) for _ in range(2)]
    rows = max(8, int(high / 0.24))
    present = len(np.unique(_map(segmentation.labels[0])))
    legend = class_legend(axes[1], segmentation.labels[0], segmentation.class_names, shares=True, borderaxespad=0,
                          ncols=-(-present // rows), bbox_transform=fig.transFigure)
    # The size of the legend's text is known only after drawing; the figure then takes its size from the legend.
    fig.draw_without_rendering()
    box = legend.get_window_extent()
    left = gap + max(steps[0]) + w + 0.15                              # left edge of the legend
    high = max(high, box.height / fig.dpi + 2 * gap)
    wide = left + box.width / fig.dpi + gap
    fig.set_size_inches(wide, high)
    legend.set_bbox_to_anchor((left / wide, 0.5), fig.transFigure)
    rest = (high - top - h - gap - max(steps[1])) / 2                  # above and below, if the legend is higher
    for ax, x, y in zip(axes, *steps):
        ax.set_position(((gap + x) / wide, (gap + rest + y) / high, w / wide, h / high))
    show_image(axes[0], image, title="image")
    # Brighter greys: over black, a colour would look different from the legend's.
    show_labels(axes[1], segmentation.labels[0], segmentation.class_names, 0.35 + 0.65 * shown_pixels(image),
                title="named masks", names=False, opacity=0.65)
    # The last name is that of label -1, background.
    write_on_regions(axes[1], segmentation.labels[0], [*segmentation.class_names, "background"], 12, must_fit=True)
    return fig


def save_overlay(image, segmentation: Segmentation, path: str | Path) -> None:
    """Writes `overlay_figure` to a file, whole or not at all. Raises ValueError for an unknown file type."""
    path = Path(path)
    fig = overlay_figure(image, segmentation)
    kind, known = path.suffix[1:].lower(), fig.canvas.get_supported_filetypes()
    if kind not in known:
        raise ValueError(f"{path} has no file type of an image that can be written; use .png, or one of "
                         f"{', '.join(sorted(known))}")
    write_atomically(path, lambda part: fig.savefig(part, format=kind, dpi=150))


def figure(width: float = 9.5, height: float = 3.0) -> Figure:
    """An empty figure; sizes in inches, by default as wide as a notebook's text. A cell that returns it shows it."""
    return Figure(figsize=(width, height), layout="constrained", dpi=96, facecolor="white")


def show_matrix(ax: Axes, values, rows: Sequence[str] = (), columns: Sequence[str] = (), title: str | None = None,
                limits: tuple[float, float] | None = None, numbers: bool | None = None, bar: str | None = None) -> Axes:
    """A matrix (rows, columns) as coloured cells. White is the smallest value, or 0 if there are negative ones.

    Args:
        limits: values of the palest and the darkest colour; those of the matrix if not given.
        numbers: write the values into the cells; None: if there are at most 60.
        bar: label of a colour bar; None: no bar.
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
    """One value for each patch, (h, w), bright where it is high; over the image in shades of grey, if there is one.

    `mark`: row and column of a patch that gets a frame. `limits` and `bar` as in `show_matrix`.
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
    """Curves by name, each (x, y), with a legend. `smooth`: length of a moving average, over the paler raw values."""
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
    """One bar for each name, its value above it."""
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

    The first name is at the top; a value that is not a number leaves its row empty. Series are told apart by colour and
    by the shape of the dot.
    """
    names = list(dict.fromkeys(name for values in series.values() for name in values))
    # At most 0.3: the dots of a row are nearer to each other than to those of the next row.
    step = min(0.3, 0.6 / max(1, len(series) - 1))
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


def _by_size(regions: np.ndarray, largest_only: bool) -> list[tuple[int, np.ndarray]]:
    """Connected components (number, (H, W) of bool) that are large enough for a name, the largest first."""
    found = []
    for number in np.unique(regions):
        parts, count = connected_regions(regions == number)
        sizes = np.bincount(parts.ravel(), minlength=count + 1)[1:]
        if largest_only:
            chosen = [int(sizes.argmax())]
        else:
            chosen = [i for i in range(count) if sizes[i] >= _SMALLEST_NAMED * regions.size]
        found += [(sizes[i], int(number), parts == i + 1) for i in chosen
                  if sizes[i] >= _SMALLEST_NAMED * regions.size]
    found.sort(key=lambda part: -part[0])
    return [(number, region) for _, number, region in found]


def _tint(ax: Axes, regions: np.ndarray, colours: np.ndarray, image, opacity: float) -> None:
    """Paints regions (H, W) in their colours (n, 3), over the image in shades of grey, if there is one."""
    painted = colours[regions]                                         # (H, W, 3)
    if image is not None:
        grey = shown_pixels(image).mean(axis=-1, keepdims=True)
        painted = opacity * painted + (1 - opacity) * grey
    _draw(ax, painted.clip(0, 1))


def _draw(ax: Axes, pixels: np.ndarray) -> None:
    """(H, W, 3) from 0 to 1. Pixels of a small image stay squares, a large one is smoothed."""
    ax.imshow(pixels, interpolation="nearest" if max(pixels.shape) <= 160 else "antialiased")


def shown_pixels(image) -> np.ndarray:
    """One image of any kind that `images.to_batch` takes, as it is drawn: (H, W, 3) from 0 to 1."""
    pixels = to_batch(image)[:1]
    return resize(pixels, bounded_size(*pixels.shape[-2:], MOST_PIXELS))[0].permute(1, 2, 0).cpu().numpy()


def _map(values) -> np.ndarray:
    values = np.asarray(values.cpu() if hasattr(values, "cpu") else values)
    if values.ndim != 2:
        raise ValueError(f"expected a map of shape (H, W), got {values.shape}; take one image of the batch")
    values = torch.from_numpy(values.astype(np.int64))
    return enlarge(values, bounded_size(*values.shape, MOST_PIXELS)).numpy()


def _bare(ax: Axes, title: str | None) -> Axes:
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set(color=_GREY, linewidth=0.5)
    return _titled(ax, title)


def _array(values) -> np.ndarray:
    return np.asarray(values.detach().float().cpu() if hasattr(values, "detach") else values, dtype=float)


def _titled(ax: Axes, title: str | None) -> Axes:
    if title is not None:
        ax.set_title(title, size=11, pad=6)
    return ax
