"""Pictures of what a model does: the same helpers in the demo and in all notebooks.

Each helper draws into the axes it is given and returns them. Figures are made without pyplot, so
that they need no display and leave nothing behind; a notebook shows one that a cell returns. Pictures and maps
of more than half a million pixels are drawn smaller.

H, W picture  G groups  C classes
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from textwrap import wrap

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from scipy.ndimage import distance_transform_edt, label as connected_regions
from torch.nn.functional import pad

from ..files import write_atomically
from ..images import enlarge, resize, to_batch
from ..segmentation.segment import Segmentation
from ..segmentation.windows import MOST_PIXELS, bounded_size
from .palette import NO_CLASS, class_colours, group_colours

_SMALLEST_NAMED = 0.012   # share of the picture: smaller regions stay without a name
_GREY = "#555555"


def show_image(ax: Axes, image, title: str | None = None) -> Axes:
    """One picture of any kind that `images.to_batch` takes."""
    _draw(ax, shown_pixels(image))
    return _bare(ax, title)


def show_groups(ax: Axes, group_map, image=None, title: str | None = None, numbers: bool = True,
                opacity: float = 0.72, size: float = 7.5, colours: np.ndarray | None = None) -> Axes:
    """Which group each pixel is in: tint, border and number. group_map (H, W) of numbers from 0.

    With an image, its shades of grey shine through the tint. `size`: points of the numbers. `colours` (G, 3): of the
    groups, where they are not to have their own.
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

    `image` and `size` as in `show_groups`.
    """
    label_map = _map(label_map)
    if label_map.max() >= len(class_names) or label_map.min() < -1:
        raise ValueError(f"labels go from {label_map.min()} to {label_map.max()}, but there are "
                         f"{len(class_names)} class names; give all names, in the order of the labels")
    # The last row is that of the background, -1; so is the last name.
    _tint(ax, label_map, np.vstack([class_colours(class_names), to_rgb(NO_CLASS)]), image, opacity)
    draw_borders(ax, label_map)
    if names:
        write_on_regions(ax, label_map, [*class_names, "background"], size)
    return _bare(ax, title)


def draw_borders(ax: Axes, regions, colour: str = "white", width: float = 0.8) -> Axes:
    """Lines exactly between the pixels of different regions. regions (H, W) of whole numbers.

    A fine dark edge lets them show on bright regions too.
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

    A region is all connected pixels of one number; with `largest_only`, each number is written once.
    `must_fit`, where a legend has all names: leaves out a name that has less than half of it in its
    region, would leave the picture, or would cover another name.
    Call it when the axes have their final size: names are kept from covering each other.
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
        # Distance to the region's edge, where the width of the word counts as its height does.
        # The picture's edge is an edge too.
        room = distance_transform_edt(np.pad(region, 1), sampling=(width / height, 1.0))[1:-1, 1:-1]
        # The word must not leave the picture either, as far as it fits in at all.
        dx, dy = int(min(width, W - 1) / 2), int(min(height, H - 1) / 2)
        inside = np.zeros((H, W), dtype=bool)
        inside[dy:H - dy, dx:W - dx] = True
        if must_fit and (width > W or 4 * (room * (free & inside)).max() < width):
            continue
        for allowed in (free & inside, inside, np.ones_like(free)):
            if (room * allowed).any():
                break
        # Among the places with about the most room, the one in their middle.
        places = np.argwhere(room * allowed >= 0.9 * (room * allowed).max())
        y, x = places[((places - places.mean(axis=0)) ** 2).sum(axis=1).argmin()]
        y, x = np.clip(y, dy, H - 1 - dy), np.clip(x, dx, W - 1 - dx)    # if nowhere: over the region's edge
        ax.text(x, y, name, size=size, color="white", ha="center", va="center_baseline", weight="bold",
                path_effects=[withStroke(linewidth=0.27 * size, foreground="#1a1a1a")], clip_on=True)
        free[max(0, int(y - height)):int(y + height) + 1, max(0, int(x - width)):int(x + width) + 1] = False
    return ax


def class_legend(ax: Axes, label_map, class_names: Sequence[str], shares: bool = False, **options) -> Legend:
    """A legend of the classes that occur, from the largest to the smallest; `options` of `Axes.legend`.

    `shares`: write how much of the picture each has.
    """
    numbers, counts = np.unique(_map(label_map), return_counts=True)
    colours = class_colours(class_names)
    patches = []
    for i in np.argsort(-counts, kind="stable"):
        n, share = numbers[i], 100 * counts[i] / counts.sum()
        # Spaces as wide as a figure, so that names stand below each other.
        told = (f"{share:.0f} %" if share >= 0.5 else "<1 %").rjust(len("100 %"), "\N{FIGURE SPACE}") + "  "
        name = wrap(class_names[n], 26) if n >= 0 else ["background"]
        label = told + f"\n{' ' * len(told)}".join(name) if shares else "\n".join(name)
        patches.append(Patch(facecolor=colours[n] if n >= 0 else NO_CLASS, edgecolor=_GREY, label=label))
    return ax.legend(handles=patches, **({"loc": "center left", "bbox_to_anchor": (1.02, 0.5), "frameon": False}
                                         | options))


def group_legend(ax: Axes, group_map, meanings: Sequence[str] | None = None, **options) -> Legend:
    """A legend of the groups that occur; `meanings` says what each group gathers, if that is known."""
    numbers = np.unique(_map(group_map))
    colours = group_colours(int(numbers.max()) + 1)
    patches = [Patch(facecolor=colours[n], edgecolor=_GREY,
                     label=f"group {n}" + (f": {meanings[n]}" if meanings else "")) for n in numbers]
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
    """A picture, its named masks laid over it, and a legend with the share of each class.

    A wide picture has its masks below it, another beside it. `side`: inches of the longer side beside,
    half of it below.
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
    # Text has its own size, so that the figure takes it from the legend.
    fig.draw_without_rendering()
    box = legend.get_window_extent()
    left = gap + max(steps[0]) + w + 0.15                              # of the legend
    high = max(high, box.height / fig.dpi + 2 * gap)
    wide = left + box.width / fig.dpi + gap
    fig.set_size_inches(wide, high)
    legend.set_bbox_to_anchor((left / wide, 0.5), fig.transFigure)
    rest = (high - top - h - gap - max(steps[1])) / 2                  # above and below, where the legend is higher
    for ax, x, y in zip(axes, *steps):
        ax.set_position(((gap + x) / wide, (gap + rest + y) / high, w / wide, h / high))
    show_image(axes[0], image, title="picture")
    # Brighter greys: a tint over black would look like another colour than in the legend.
    show_labels(axes[1], segmentation.labels[0], segmentation.class_names, 0.35 + 0.65 * shown_pixels(image),
                title="named masks", names=False, opacity=0.65)
    # The name of -1, background, is the last.
    write_on_regions(axes[1], segmentation.labels[0], [*segmentation.class_names, "background"], 12, must_fit=True)
    return fig


def save_overlay(image, segmentation: Segmentation, path: str | Path) -> None:
    """Writes `overlay_figure` to a file, whole or not at all. Raises ValueError for an unknown ending."""
    path = Path(path)
    fig = overlay_figure(image, segmentation)
    kind, known = path.suffix[1:].lower(), fig.canvas.get_supported_filetypes()
    if kind not in known:
        raise ValueError(f"{path} ends in no kind of picture that can be written; take .png, or one of "
                         f"{', '.join(sorted(known))}")
    write_atomically(path, lambda part: fig.savefig(part, format=kind, dpi=150))


def _by_size(regions: np.ndarray, largest_only: bool) -> list[tuple[int, np.ndarray]]:
    """Connected regions (number, (H, W) of true and false) that are worth a name, the largest first."""
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
    """Paints regions (H, W) in their colours (n, 3), over the greys of an image if there is one."""
    painted = colours[regions]                                         # (H, W, 3)
    if image is not None:
        grey = shown_pixels(image).mean(axis=-1, keepdims=True)
        painted = opacity * painted + (1 - opacity) * grey
    _draw(ax, painted.clip(0, 1))


def _draw(ax: Axes, pixels: np.ndarray) -> None:
    """(H, W, 3) from 0 to 1. The pixels of a small picture are squares, a photograph is smooth."""
    ax.imshow(pixels, interpolation="nearest" if max(pixels.shape) <= 160 else "antialiased")


def shown_pixels(image) -> np.ndarray:
    """One picture of any kind that `images.to_batch` takes, as it is drawn: (H, W, 3) from 0 to 1."""
    pixels = to_batch(image)[:1]
    return resize(pixels, bounded_size(*pixels.shape[-2:], MOST_PIXELS))[0].permute(1, 2, 0).cpu().numpy()


def _map(values) -> np.ndarray:
    values = np.asarray(values.cpu() if hasattr(values, "cpu") else values)
    if values.ndim != 2:
        raise ValueError(f"expected a map of shape (H, W), got {values.shape}; take one picture of the batch")
    values = torch.from_numpy(values.astype(np.int64))
    return enlarge(values, bounded_size(*values.shape, MOST_PIXELS)).numpy()


def _bare(ax: Axes, title: str | None) -> Axes:
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set(color=_GREY, linewidth=0.5)
    if title is not None:
        ax.set_title(title, size=11, pad=6)
    return ax
