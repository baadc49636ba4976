"""Whole figures: the demo's, and the page of examples of an evaluation.

`demo_figure` shows how an image is segmented, stage by stage, and how the segments get their class names. It has one
palette, that of the classes: a segment of the last stage has the colour of the class that most of its pixels get, a
segment of an earlier stage a shade of the segment that it becomes part of. `examples_page` shows the images with the
highest and the lowest mIoU, beside their true masks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from textwrap import shorten, wrap

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from torch import Tensor

from ..data.mask_sets import MaskSet, evaluation_protocol
from ..evaluation.groups import cluster_patches
from ..images import to_batch
from ..model import GroupViT
from ..segmentation.options import IGNORED, InferenceOptions, protocol_for
from ..segmentation.segment import Segmentation, encode_windows, name_pixels
from ..segmentation.steps import embed_classes
from .palette import NO_CLASS, class_colours, stage_colours
from .plots import draw_borders, show_groups, show_image, show_labels, write_on_regions

_SHADES = "A segment has the colour of its class, or a shade of it; the number is that of its group."
_INK, _GREY = "#222222", "#555555"
_GAP, _TOP, _LEGEND_ROW, _FOOT_LINE = 0.08, 0.5, 0.22, 0.16   # inches


def demo_figure(images, segmentation: Segmentation, masks, class_names: Sequence[str],
                captions: Sequence[str] | None = None, note: str | None = None, side: float = 1.9) -> Figure:
    """A row for each image: itself, the segments of each stage, their classes, the truth; at the foot, a legend.

    Args:
        images: of any kind that `images.to_batch` takes.
        segmentation: of these images; without groups there are no columns for stages.
        masks: (B, H, W) true classes.
        class_names: of masks and segmentation.
        captions: written below the rows.
        note: text at the foot.
        side: of an image, in inches.
    """
    images = to_batch(images)
    titles = _titles(segmentation)
    rows, columns = len(images), len(titles)
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
        show_image(axes[0], images[row])
        _show_stages(axes[1:-2], [np.asarray(groups[row].cpu()) for groups in segmentation.groups], labels,
                     class_names, images[row])
        for ax, classes in zip(axes[-2:], (labels, masks[row])):
            show_labels(ax, classes, class_names, names=False)
            # The last name is that of label -1, background. The legend has the names that do not fit.
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
        return [("image", "not seen in training"), ("names", "nearest class name of each patch"),
                ("truth", "for comparison only")]
    stages = [("segments" if len(counts) == 1 else "stage 1", f"patches join {counts[0]} groups"),
              *((f"stage {s}", f"which join {count} groups") for s, count in enumerate(counts[1:], start=2))]
    return [("image", "not seen in training"), *stages, ("names", "nearest class name of each segment"),
            ("truth", "for comparison only")]


def _show_stages(axes: Sequence, stages: Sequence[np.ndarray], labels: np.ndarray, class_names: Sequence[str],
                 picture) -> None:
    """The segments of each stage (H, W), in shades of what they become; borders of the next stage are bold."""
    for stage, colours in enumerate(stage_colours(stages, labels, class_names)):
        show_groups(axes[stage], stages[stage], picture, colours=colours, opacity=0.8)
        if stage < len(stages) - 1:
            draw_borders(axes[stage], stages[stage + 1], width=1.8)


def _legend(labels, masks, class_names: Sequence[str]) -> list[Patch]:
    """The legend's entries: the classes that the figure shows, in their order."""
    shown = np.union1d(np.asarray(labels.cpu()), np.asarray(masks)).astype(int)
    colours = class_colours(class_names)
    patches = [Patch(facecolor=colours[n], edgecolor=_GREY, label=class_names[n]) for n in shown if n >= 0]
    return patches + [Patch(facecolor=NO_CLASS, edgecolor=_GREY, label="background")] * bool((shown < 0).any())


def best_and_worst(pictures: Mapping[str, float | None], num_each: int) -> tuple[list[str], list[str]]:
    """Names of the images with the highest and the lowest mIoU, the most extreme first; none is in both lists."""
    ranked = sorted((name for name, miou in pictures.items() if miou is not None), key=lambda name: -pictures[name])
    best = ranked[:min(num_each, (len(ranked) + 1) // 2)]
    return best, ranked[len(best):][::-1][:num_each]


def examples_page(model: GroupViT, masks: MaskSet, pictures: Mapping[str, float | None],
                  protocol: InferenceOptions | None = None, num_each: int = 4, side: float = 2.4,
                  class_embeddings: Tensor | None = None, clusters: str | None = None) -> Figure:
    """The best images on the left, the worst on the right: image, named masks, true masks.

    Args:
        pictures: mIoU of each image by its name, from the evaluation.
        protocol: of that evaluation.
        num_each: how many best and how many worst images.
        side: of a cell, in inches.
        class_embeddings: (C, E) from `embed_classes`, if they are computed already.
        clusters: of that evaluation.
    """
    protocol = protocol_for(model, protocol) if protocol else evaluation_protocol(model, masks)
    regroup = None if clusters is None else cluster_patches(clusters)
    if regroup is None and not any(model.config.image.num_group_tokens):
        protocol = replace(protocol, pixels="patches")
    if class_embeddings is None:
        class_embeddings = embed_classes(model, masks.class_names, protocol.templates, distinct=False)
    numbers = {name: i for i, name in enumerate(masks.names)}
    chosen = best_and_worst(pictures, num_each)
    rows = max(1, *map(len, chosen))
    figure = Figure(figsize=(6 * side + 0.6, rows * (side + 0.3) + 0.4), facecolor="white", layout="constrained")
    for half, names, title in zip(figure.subfigures(1, 2), chosen, ("best", "worst")):
        half.suptitle(f"{title} by mIoU", weight="bold")
        cells = half.subplots(rows, 3, squeeze=False)
        for ax in cells.flat:
            ax.set_axis_off()
        for row, name in zip(cells, names):
            example = masks[numbers[name]]
            picture = to_batch(example.image)[0].to(model.device, model.logit_scale.dtype)
            seen = encode_windows(model, [picture], class_embeddings, protocol, regroup=regroup)[0]
            labels = name_pixels(seen, protocol)
            # Pixels that are not evaluated become a class without a name.
            truth = example.mask.masked_fill(example.mask == IGNORED, len(masks.class_names))
            for ax in row:
                ax.set_axis_on()
            show_image(row[0], example.image, name[-24:])
            show_labels(row[1], labels, masks.class_names, title=f"mIoU {100 * pictures[name]:.0f} %")
            show_labels(row[2], truth, [*masks.class_names, ""], title="true masks")
    return figure
