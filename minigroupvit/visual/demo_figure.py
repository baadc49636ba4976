"""The demo's figure: how a picture becomes segments, stage by stage, and how these get their names.

One palette for the whole figure, that of the classes. A segment of the last stage has the colour of the name that most
of its pixels get; a segment of an earlier stage has a shade of the segment that it becomes part of.
"""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import shorten, wrap

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from ..images import to_batch
from ..segmentation.segment import Segmentation
from .palette import NO_CLASS, class_colours, family_colours
from .plots import draw_borders, show_groups, show_image, show_labels, write_on_regions

_SHADES = "A segment has the colour of the name it gets, or a shade of it; a number says which group it is."
_INK, _GREY = "#222222", "#555555"
_GAP, _TOP, _LEGEND_ROW, _FOOT_LINE = 0.08, 0.5, 0.22, 0.16   # inches


def demo_figure(images, segmentation: Segmentation, masks, class_names: Sequence[str],
                captions: Sequence[str] | None = None, note: str | None = None, side: float = 1.9) -> Figure:
    """A row for each picture: itself, the segments of each stage, their names, the truth; below, a legend of the names.

    Args:
        images: of `to_batch`'s kinds.
        segmentation: of these images; with no groups there are no columns for them.
        masks: (B, H, W) true classes.
        class_names: of masks and segmentation.
        captions: written below the rows.
        note: some words at the foot.
        side: inches of a picture.
    """
    pictures = to_batch(images)
    titles = _titles(segmentation)
    rows, columns = len(pictures), len(titles)
    line = 0.27 if captions is not None else _GAP                      # below a row, in inches
    width = columns * side + (columns + 1) * _GAP
    legend = _legend(segmentation.labels, masks, class_names)
    legend_columns = max(1, int((width - 2 * _GAP) / 1.05))
    legend_height = 0.14 + _LEGEND_ROW * -(-len(legend) // legend_columns)
    notes = [_SHADES] * bool(segmentation.groups) + (note or "").splitlines()
    foot = [text for part in notes for text in wrap(part, int(12.5 * width))]
    bottom = legend_height + 0.06 + _FOOT_LINE * (len(foot) + 0.5) * bool(foot)
    height = _TOP + rows * (side + line) + bottom
    fig = Figure(figsize=(width, height), facecolor="white")

    for row in range(rows):
        low = height - _TOP - row * (side + line) - side
        axes = [fig.add_axes(((_GAP + c * (side + _GAP)) / width, low / height, side / width, side / height))
                for c in range(columns)]
        labels = np.asarray(segmentation.labels[row].cpu())
        show_image(axes[0], pictures[row])
        _show_stages(axes[1:-2], [np.asarray(groups[row].cpu()) for groups in segmentation.groups], labels,
                     class_names, pictures[row])
        for ax, classes in zip(axes[-2:], (labels, masks[row])):
            show_labels(ax, classes, class_names, names=False)
            # The name of -1, background, is the last. The legend has the names that do not fit.
            write_on_regions(ax, classes, [*class_names, "background"], must_fit=True)
        if row == 0:
            for ax, (title, subtitle) in zip(axes, titles):
                ax.set_title(title, size=11.5, weight="bold", pad=17)
                ax.annotate(subtitle, (0.5, 1), (0, 5), xycoords="axes fraction", textcoords="offset points",
                            size=8, color=_GREY, ha="center")
        if captions is not None:
            text = shorten(captions[row], width=int(15 * (width - 2 * _GAP)), placeholder=" …")
            fig.text((_GAP + 0.02) / width, (low - 0.045) / height, f"“{text}”", size=8.5, style="italic",
                     color=_GREY, va="top")
    fig.legend(handles=legend, ncols=min(legend_columns, len(legend)), loc="upper center", frameon=False, fontsize=9,
               bbox_to_anchor=(0.5, bottom / height), borderaxespad=0.2, handlelength=1.1, handleheight=1.1,
               columnspacing=1.4)
    fig.text(0.5, 0.1 / height, "\n".join(foot), size=9, color=_INK, ha="center", va="bottom")
    return fig


def _titles(segmentation: Segmentation) -> list[tuple[str, str]]:
    """The columns' headings, and a line below each."""
    counts = [maps.shape[1] for maps in segmentation.maps]
    if not counts:
        return [("picture", "not seen in training"), ("names", "nearest word of each patch"),
                ("truth", "only to compare with")]
    stages = [("segments" if len(counts) == 1 else "stage 1", f"patches join {counts[0]} groups"),
              *((f"stage {s}", f"which join {count} groups") for s, count in enumerate(counts[1:], start=2))]
    return [("picture", "not seen in training"), *stages, ("names", "nearest word of each segment"),
            ("truth", "only to compare with")]


def _show_stages(axes: Sequence, stages: Sequence[np.ndarray], labels: np.ndarray, class_names: Sequence[str],
                 picture) -> None:
    """The segments of each stage (H, W), in shades of what they become; borders of the next stage are bold."""
    # Background, -1, is the class after the others here.
    parents = np.where(labels < 0, len(class_names), labels)
    colours = np.vstack([class_colours(class_names), to_rgb(NO_CLASS)])
    for stage in reversed(range(len(stages))):
        colours = family_colours(stages[stage], parents, colours)
        show_groups(axes[stage], stages[stage], picture, colours=colours, opacity=0.8)
        if stage < len(stages) - 1:
            draw_borders(axes[stage], parents, width=1.8)
        parents = stages[stage]


def _legend(labels, masks, class_names: Sequence[str]) -> list[Patch]:
    """A patch of colour for each class that the figure shows, in the order of the classes."""
    shown = np.union1d(np.asarray(labels.cpu()), np.asarray(masks)).astype(int)
    colours = class_colours(class_names)
    patches = [Patch(facecolor=colours[n], edgecolor=_GREY, label=class_names[n]) for n in shown if n >= 0]
    return patches + [Patch(facecolor=NO_CLASS, edgecolor=_GREY, label="background")] * bool((shown < 0).any())
