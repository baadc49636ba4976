"""The paper's metrics of a model on photographs with masks: Tables 1 to 4, C2 and C3.

The masks of a picture are made as `segment` makes them, or as released for the paper's models
(`mask_sets.evaluation_protocol`), at the size of its true mask. Pictures of all sizes share batches: their
windows go through the model together, and the words are embedded once.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from ..data.mask_sets import Example, MaskSet, evaluation_protocol
from ..images import to_batch
from ..model import GroupViT
from ..segmentation.options import BACKGROUND, InferenceOptions, protocol_for
from ..segmentation.segment import EncodedImage, encode_windows, name_pixels
from ..segmentation.steps import embed_classes
from .clusters import cluster_patches
from .groups import oracle_pixels, probing_jaccard, whole_groups
from .intervals import Judged
from .metrics import BoundaryMetrics, MaskMetrics, adjusted_rand, count_pairs, group_use

# Beside mIoU, which is always there. `oracle` (C3), `probing` (C2) and `groups` (adjusted Rand index against the
# masks, signs of collapse) need a model with groups; the last two look once more, at the picture as a whole.
METRICS = ("boundary", "oracle", "probing", "groups")


def evaluate_masks(model: GroupViT, masks: MaskSet, protocol: InferenceOptions | None = None,
                   metrics: Sequence[str] | None = None, batch_size: int = 8, num_workers: int = 0,
                   progress: bool = False, class_embeddings: Tensor | None = None,
                   clusters: str | None = None) -> dict[str, Any]:
    """All metrics of a model on a set of photographs with masks.

    Args:
        model: any GroupViT. One without groups is segmented patch by patch (Table 4, "pixel-wise"), or by
            `clusters` of its patches.
        masks: from `mask_sets.open_masks`.
        protocol: None: `mask_sets.evaluation_protocol`.
        metrics: some of `METRICS`; None: all that the model has.
        batch_size: pictures that are read at once, and windows that go through the model at once. The
            metrics do not depend on it.
        num_workers: processes that read pictures.
        progress: show a bar.
        class_embeddings: (C, E) from `embed_classes`, if they are there already.
        clusters: "kmeans", "mean_shift" or "spectral" (`clusters.cluster_patches`), for a model without groups.

    Returns a dictionary that JSON can hold, with fractions from 0 to 1: `miou` of all classes with
    background, `miou_objects` without; `iou_per_class`; the same with `boundary_` and `oracle_` in
    front; `background_share`, how much of the mIoU is the IoU of background; `naming` (mIoU over oracle);
    `probing_jaccard`; `ari` and what `metrics.group_use` tells; the protocol; `num_images`, beside the
    benchmark's own number; and under `pictures` the mIoU of each.

    Warns where the number of pictures is not the benchmark's, or background is in the masks but not in
    the protocol. Raises ValueError for metrics that there are not, a threshold without background in the
    masks, and files that are missing or do not belong together.
    """
    protocol = protocol_for(model, protocol) if protocol else evaluation_protocol(model, masks)
    counters = _judge(model, masks, protocol, metrics, batch_size, num_workers, progress,
                      class_embeddings, clusters)
    if masks.num_expected not in (None, len(masks)):
        warnings.warn(f"{masks.name} has {masks.num_expected} pictures, these are {len(masks)}: "
                      "the metrics cannot be held beside published ones", stacklevel=2)
    about = {"data": masks.name, "num_images": len(masks), "num_expected": masks.num_expected}
    about |= {} if clusters is None else {"clusters": clusters}
    return about | counters.compute() | {"protocol": asdict(counters.protocol), "pictures": counters.pictures}


def judge_masks(model: GroupViT, masks: MaskSet, protocol: InferenceOptions, batch_size: int = 8) -> Judged:
    """ARI, mIoU and oracle mIoU of a model with groups as they are in each picture: to compare it with another method.

    The arguments are those of `evaluate_masks`. See `intervals.Judged.minus` and `controls.judge_cut`.
    """
    counters = _judge(model, masks, protocol_for(model, protocol), ("oracle", "groups"), batch_size)
    return Judged(tuple(counters.pictures), counters.rand, {
        f"{prefix}miou": counters.figures[prefix].pixels_of() for prefix in ("", "oracle_")})


def _judge(model: GroupViT, masks: MaskSet, protocol: InferenceOptions, metrics: Sequence[str] | None, batch_size: int,
           num_workers: int = 0, progress: bool = False, class_embeddings: Tensor | None = None,
           clusters: str | None = None) -> _Counters:
    """Goes once over the pictures; the arguments are those of `evaluate_masks`."""
    regroup = None if clusters is None else cluster_patches(clusters)
    grouped = regroup is not None or any(model.config.image.num_group_tokens)
    if not grouped:
        protocol = replace(protocol, pixels="patches")
    metrics = _check_metrics(metrics, grouped)
    _check_background(masks, protocol)
    counters = _Counters(masks, protocol, metrics)
    if class_embeddings is None:
        class_embeddings = embed_classes(model, masks.class_names, protocol.templates, distinct=False)
    for examples in _batches(masks, batch_size, num_workers, progress):
        pictures = [to_batch(e.picture)[0].to(model.device, model.logit_scale.dtype) for e in examples]
        seen = encode_windows(model, pictures, class_embeddings, protocol, batch_size, regroup)
        whole = seen
        if protocol.mode == "slide" and {"probing", "groups"} & set(metrics):
            alone = replace(protocol, mode="whole", flip=False)
            whole = encode_windows(model, pictures, class_embeddings, alone, batch_size, regroup)
        for example, one, entire in zip(examples, seen, whole):
            counters.update(example, one, entire)
    return counters


def _check_metrics(metrics: Sequence[str] | None, grouped: bool) -> tuple[str, ...]:
    there = METRICS if grouped else ("boundary",)
    for name in metrics or ():
        if name not in there:
            about = "" if grouped else " for a model without groups"
            raise ValueError(f"there is no figure {name!r}{about}; choose from {', '.join(there)}")
    return there if metrics is None else tuple(metrics)


def _check_background(masks: MaskSet, protocol: InferenceOptions) -> None:
    if masks.has_background and protocol.background_threshold is None:
        warnings.warn(f"{masks.name} has background in its masks, but without a background_threshold no pixel "
                      "will be labelled so", stacklevel=4)
    if not masks.has_background and protocol.background_threshold is not None:
        raise ValueError(f"the masks of {masks.name} have no background: leave the background_threshold out")


def _batches(masks: MaskSet, batch_size: int, num_workers: int, progress: bool) -> Iterator[list[Example]]:
    loader = DataLoader(masks, batch_size=batch_size, num_workers=num_workers, collate_fn=list)
    with tqdm(total=len(masks), desc=masks.name, unit="picture", disable=not progress) as bar:
        for examples in loader:
            yield examples
            bar.update(len(examples))


class _Counters:
    """Collects everything that is asked for, picture by picture. In it, background is the class after the others."""

    def __init__(self, masks: MaskSet, protocol: InferenceOptions, metrics: Sequence[str]) -> None:
        self.protocol, self.metrics = protocol, metrics
        self.num_objects = len(masks.class_names)
        names = [*masks.class_names, *(["background"] if masks.has_background else [])]
        self.num_classes = len(names)
        self.figures = {"": MaskMetrics(names, self.num_objects)}
        if "boundary" in metrics:
            self.figures["boundary_"] = BoundaryMetrics(names, self.num_objects)
        if "oracle" in metrics:
            self.figures["oracle_"] = MaskMetrics(names, self.num_objects)
        self.lists: dict[str, list[float]] = {}
        self.rand: list[float] = []                       # of each picture, NaN where nothing is judged
        self.pictures: dict[str, float | None] = {}

    def update(self, example: Example, seen: EncodedImage, whole: EncodedImage) -> None:
        """`seen` by the protocol, `whole` without windows."""
        truth = self._as_classes(example.mask)
        labels = self._as_classes(name_pixels(seen, self.protocol).cpu())
        self.figures[""].update(labels, truth)
        self.pictures[example.name] = picture_miou(labels, truth, self.num_classes)
        if "boundary" in self.metrics:
            self.figures["boundary_"].update(labels, truth)
        if "oracle" in self.metrics:
            device = seen.group_scores.device
            self.figures["oracle_"].update(
                oracle_pixels(seen, truth.to(device), self.num_classes, self.protocol), truth)
        if not {"probing", "groups"} & set(self.metrics):
            return
        groups, shares = (x.cpu() for x in whole_groups(whole, self.protocol))
        if "probing" in self.metrics:
            self._add("probing_jaccard", probing_jaccard(groups, truth, self.num_objects, self.num_classes))
        if "groups" in self.metrics:
            self.rand += adjusted_rand(groups[None], truth[None])
            if np.isfinite(self.rand[-1]):
                self._add("ari", self.rand[-1])
                for key, value in group_use(groups[None], shares[None]).items():
                    self._add(key, value)

    def compute(self) -> dict[str, Any]:
        found = {prefix + key: value for prefix, figures in self.figures.items()
                 for key, value in figures.compute().items()}
        if self.num_classes > self.num_objects:
            found["background_share"] = background_share(found["iou_per_class"])
        if found.get("oracle_miou"):
            found["naming"] = found["miou"] / found["oracle_miou"]
        return found | {key: float(np.mean(values)) for key, values in self.lists.items()}

    def _as_classes(self, labels: Tensor) -> Tensor:
        return torch.where(labels == BACKGROUND, self.num_objects, labels)

    def _add(self, key: str, value: float | None) -> None:
        if value is not None:
            self.lists.setdefault(key, []).append(value)


def background_share(iou_per_class: Mapping[str, float]) -> float | None:
    """How much of the mIoU is the IoU of background, from 0 to 1; None where every IoU is 0."""
    total = sum(iou_per_class.values())
    return iou_per_class.get("background", 0.0) / total if total else None


def picture_miou(labels: Tensor, truth: Tensor, num_classes: int) -> float | None:
    """Mean IoU over the classes that are in a picture's labels or truth, (H, W) both; None if nothing is judged."""
    both = count_pairs(labels[None], truth[None], num_classes, num_classes)[0].double()   # (labelled, true)
    union = both.sum(dim=0) + both.sum(dim=1) - both.diag()
    there = union > 0
    return (both.diag()[there] / union[there]).mean().item() if there.any() else None
