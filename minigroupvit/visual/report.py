"""A page of pictures from an evaluation: the best and the worst, beside their true masks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from matplotlib.figure import Figure
from torch import Tensor

from ..data.mask_sets import MaskSet, evaluation_protocol
from ..evaluation.clusters import cluster_patches
from ..images import to_batch
from ..model import GroupViT
from ..segmentation.options import IGNORED, InferenceOptions, protocol_for
from ..segmentation.segment import encode_windows, name_pixels
from ..segmentation.steps import embed_classes
from .plots import show_image, show_labels


def best_and_worst(pictures: Mapping[str, float | None], num_each: int) -> tuple[list[str], list[str]]:
    """Names of the pictures with the highest and the lowest mIoU, the most extreme first; none twice."""
    ranked = sorted((name for name, miou in pictures.items() if miou is not None), key=lambda name: -pictures[name])
    best = ranked[:min(num_each, (len(ranked) + 1) // 2)]
    return best, ranked[len(best):][::-1][:num_each]


def examples_page(model: GroupViT, masks: MaskSet, pictures: Mapping[str, float | None],
                  protocol: InferenceOptions | None = None, num_each: int = 4, side: float = 2.4,
                  class_embeddings: Tensor | None = None, clusters: str | None = None) -> Figure:
    """Best pictures on the left, worst on the right: picture, named masks, true masks.

    Args:
        pictures: mIoU of each picture by its name, as `evaluate_masks` returns it.
        protocol: of that evaluation.
        num_each: how many of both.
        side: inches of a cell.
        class_embeddings: (C, E) from `embed_classes`, if they are there already.
        clusters: of that evaluation.
    """
    protocol = protocol_for(model, protocol) if protocol else evaluation_protocol(model, masks)
    regroup = None if clusters is None else cluster_patches(clusters)
    if regroup is None and not any(model.config.image.num_group_tokens):
        protocol = replace(protocol, pixels="patches")
    if class_embeddings is None:
        class_embeddings = embed_classes(model, masks.class_names, protocol.templates, distinct=False)
    numbers = {picture.stem: i for i, (picture, _) in enumerate(masks.pairs)}
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
            picture = to_batch(example.picture)[0].to(model.device, model.logit_scale.dtype)
            seen = encode_windows(model, [picture], class_embeddings, protocol, regroup=regroup)[0]
            labels = name_pixels(seen, protocol)
            # What is not judged is a class without a name.
            truth = example.mask.masked_fill(example.mask == IGNORED, len(masks.class_names))
            for ax in row:
                ax.set_axis_on()
            show_image(row[0], example.picture, name[-24:])
            show_labels(row[1], labels, masks.class_names, title=f"mIoU {100 * pictures[name]:.0f} %")
            show_labels(row[2], truth, [*masks.class_names, ""], title="true masks")
    return figure
