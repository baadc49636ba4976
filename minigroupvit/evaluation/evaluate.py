"""The metrics of a model on a mask set: scenes, a benchmark of the paper, a folder of one's own (Tables 1 to 4, C2, C3).

`evaluate` segments each image once, as `segment` does or as released for the paper's models
(`mask_sets.evaluation_protocol`), and compares the labels with the mask at the mask's size. It keeps a few numbers of
each image in an `Evaluation`, which has the metrics of all images, of some of them, and the difference to another method.

Three metrics tell what is wrong with a model: `recognition_ap` (does it know what the image shows?), `oracle_miou` (is
the grouping good: mIoU if each group had its true class?) and `naming`, mIoU over oracle mIoU (does it name its
segments?).

B images of one size  S stages  G groups  N patches  C classes  H, W image
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import groupby
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
from .groups import (
    adjusted_rand,
    cluster_patches,
    group_use_of_each,
    oracle_labels,
    oracle_pixels,
    probing_jaccard,
    segments_used,
    whole_groups,
)
from .metrics import (
    BoundaryMetrics,
    MaskMetrics,
    average_precision_of,
    difference,
    draws,
    interval,
    mean_of,
    miou_of,
    present_objects,
    recognition_ap,
)

# Beside mIoU, which is always there.
METRICS = {
    "boundary": "mIoU of the pixels near contours (Table 3, in brackets)",
    "oracle": "mIoU if each group had its true class (Table C3), and `naming`",
    "probing": "Jaccard index of the best group of each object (Table C2)",
    "groups": "adjusted Rand index of the groups against the masks, and signs of collapse",
    "recognition": "average precision of the objects in the image, by its embedding and the class names",
    "intervals": "95 % intervals of mIoU, oracle mIoU, naming, adjusted Rand index and recognition",
}
_NEED_GROUPS = ("oracle", "probing", "groups")
_IMAGES_AT_ONCE = 25         # that are read together, unless told otherwise
_PIXELS_AT_ONCE = 64 * 4096  # of masks that are compared together: bounds the memory


class Evaluation:
    """How well a method segments the images of a mask set: small numbers of each image, and metrics made of them.

    Args:
        masks: the set.
        metrics: some of `METRICS`.
        protocol: by which a model segments them.
    """

    def __init__(self, masks: MaskSet, metrics: Sequence[str] = (), protocol: InferenceOptions | None = None) -> None:
        self.masks, self.chosen, self.protocol = masks, tuple(metrics), protocol
        self.class_names = [*masks.class_names, *(["background"] if masks.has_background else [])]
        self.names: list[str] = []                     # of the N images
        self._pixels: dict[str, MaskMetrics] = {}      # "" the labels, "boundary_", "oracle_"
        self._of_each: dict[str, list] = {}            # by metric, a number or several of each image; NaN: has none

    def as_classes(self, labels: Tensor) -> Tensor:
        """Labels or a mask with background, -1, as the class after the others."""
        return torch.where(labels == BACKGROUND, len(self.masks.class_names), labels) if self.masks.has_background else labels

    @torch.no_grad()
    def update(self, names: Sequence[str], masks: Tensor, labels: Tensor | None = None,
               groups: Sequence[Tensor] | None = None, shares: Tensor | None = None, oracle: Tensor | None = None,
               scores: Tensor | None = None) -> None:
        """Adds images of one size. What a method does not have is None.

        Args:
            names: B.
            masks: (B, H, W) as in `Example`.
            labels: (B, H, W), the index of a class or -1 for background.
            groups: per stage (B, H, W), the group of each pixel.
            shares: (B, G, N), the share of each patch in each group of the last stage.
            oracle: (B, H, W), labels if each group were named right; None: those of the last stage's `groups`.
            scores: (B, objects) of the image as a whole.
        """
        self.__dict__.pop("metrics", None)
        self.names += names
        num_objects, num_classes = self.masks.num_objects, len(self.class_names)
        truth = self.as_classes(masks.cpu())
        if labels is not None:
            labels = self.as_classes(labels.cpu())
            self._count("", labels, truth)
            if "boundary" in self.chosen:
                for one, true in zip(labels, truth):
                    self._count("boundary_", one, true)
        if scores is not None and "recognition" in self.chosen:
            self._add("scores", scores.float().cpu().numpy())
            self._add("present", present_objects(truth, num_objects).numpy())
        groups = [stage.cpu() for stage in groups or ()]
        if "oracle" in self.chosen and (groups or oracle is not None):
            named = oracle_labels(groups[-1], truth, num_classes) if oracle is None else oracle.cpu()
            self._count("oracle_", named, truth)
        if not groups:
            return
        if "probing" in self.chosen:
            found = [probing_jaccard(own, true, num_objects, num_classes) for own, true in zip(groups[-1], truth)]
            self._add("probing_jaccard", [np.nan if value is None else value for value in found])
        if "groups" in self.chosen:
            rand = adjusted_rand(groups[-1], truth)
            self._add("ari", rand)
            use = group_use_of_each(groups[-1], None if shares is None else shares.cpu())
            for key, values in use.items():
                self._add(key, np.where(np.isfinite(rand), values, np.nan))
            self._add("segments_used_per_stage", np.transpose([segments_used(stage) for stage in groups]))   # (B, S)

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """A dictionary that JSON can hold, with fractions from 0 to 1.

        `num_images`; `miou` of all classes with background, `miou_objects` and `miou_backgrounds` of some of them;
        `iou_per_class`; the same with `boundary_` and `oracle_` in front; `background_share`, how much of the mIoU is the
        IoU of background; `naming`, mIoU over oracle mIoU; `probing_jaccard`; `ari` and what `groups.group_use` tells;
        `segments_used_per_stage`; `recognition_ap`; and intervals, [low, high], under the name of the metric with
        `_interval` behind.
        """
        found: dict[str, Any] = {"num_images": len(self.names)}
        for prefix, part in self._pixels.items():
            found |= {prefix + key: value for key, value in part.compute().items()}
        if self.masks.has_background and "iou_per_class" in found:
            found["background_share"] = background_share(found["iou_per_class"])
        if "miou" in found and found.get("oracle_miou"):
            found["naming"] = found["miou"] / found["oracle_miou"]
        for key, values in self._of_each.items():
            if key == "segments_used_per_stage":
                found[key] = np.mean(values, axis=0).tolist()
            elif key not in ("scores", "present") and np.isfinite(values).any():
                found[key] = float(np.nanmean(values))
        if np.any(self._of_each.get("present", False)):
            found["recognition_ap"] = recognition_ap(self._of_each["scores"], self._of_each["present"])
        return found | (self._intervals(found) if "intervals" in self.chosen else {})

    @property
    def miou_of_each(self) -> dict[str, float | None]:
        """The mIoU of each image by itself, by its name; None where nothing is judged."""
        return dict(zip(self.names, self._pixels[""].compute_of_each()))

    @property
    def ari_of_each(self) -> list[float]:
        """The adjusted Rand index of each image; NaN where nothing is judged."""
        return list(self._of_each["ari"])

    def only(self, names: Sequence[str]) -> Evaluation:
        """The same of these images alone. Raises ValueError for an image that was not judged."""
        rows = {name: row for row, name in enumerate(self.names)}
        missing = [name for name in names if name not in rows]
        if missing:
            raise ValueError(f"{len(missing)} of {len(names)} images, such as {missing[0]}, were not judged")
        chosen = [rows[name] for name in names]
        part = Evaluation(self.masks, self.chosen, self.protocol)
        part.names = list(names)
        part._pixels = {prefix: metrics.only(chosen) for prefix, metrics in self._pixels.items()}
        part._of_each = {key: [values[row] for row in chosen] for key, values in self._of_each.items()}
        return part

    def first(self, num_images: int) -> Evaluation:
        """The same of the first so many images alone."""
        return self.only(self.names[:num_images])

    def minus(self, other: Evaluation) -> dict[str, Any]:
        """By how much this method is better than another on the same images, in pairs (`metrics.difference`).

        Returns `num_images`, `ari_difference` with `ari_difference_interval`, and so on for the mIoUs that both have.
        Raises ValueError where the other was judged on other images.
        """
        if self.names != other.names:
            raise ValueError(f"the methods were judged on {len(self.names)} and {len(other.names)} images that are "
                             "not the same ones in the same order; take those that both have, by `only`")
        found = {f"{prefix}miou": difference(miou_of, part.pixels_of(), other._pixels[prefix].pixels_of())
                 for prefix, part in self._pixels.items() if prefix in other._pixels}
        if "ari" in self._of_each and "ari" in other._of_each:
            found["ari"] = difference(mean_of, [self._of_each["ari"]], [other._of_each["ari"]])
        return {"num_images": len(self.names)} | {
            name: value for key, (by, between) in found.items()
            for name, value in ((f"{key}_difference", by), (f"{key}_difference_interval", between))}

    def _intervals(self, found: Mapping[str, Any]) -> dict[str, list[float]]:
        """Of the metrics that were found, over draws of images."""
        weights = draws(len(self.names))
        drawn = {prefix + key: part.draws_of(key, weights) for prefix, part in self._pixels.items()
                 for key in ("miou", "miou_objects", "miou_backgrounds")
                 if prefix + key in found and (key == "miou" or not prefix)}
        if "naming" in found:
            drawn["naming"] = drawn["miou"] / drawn["oracle_miou"]
        if "ari" in found:
            drawn["ari"] = mean_of(self._of_each["ari"], weights)
        if "recognition_ap" in found:
            drawn["recognition_ap"] = average_precision_of(self._of_each["scores"], self._of_each["present"], weights)
        return {f"{key}_interval": interval(values) for key, values in drawn.items()}

    def _count(self, prefix: str, labels: Tensor, truth: Tensor) -> None:
        if prefix not in self._pixels:
            kind = BoundaryMetrics if prefix == "boundary_" else MaskMetrics
            self._pixels[prefix] = kind(self.class_names, self.masks.num_objects)
        self._pixels[prefix].update(labels, truth)

    def _add(self, key: str, values: Sequence) -> None:
        self._of_each.setdefault(key, []).extend(values)


@torch.no_grad()
def evaluate(model: GroupViT, masks: MaskSet, protocol: InferenceOptions | None = None,
             metrics: Sequence[str] | None = None, *, batch_size: int | None = None, num_workers: int = 0,
             progress: bool = False, class_embeddings: Tensor | None = None, clusters: str | None = None) -> Evaluation:
    """How well a model segments the images of a mask set: `evaluate(model, scene_masks()).metrics["miou"]`.

    Args:
        model: any GroupViT. One without groups is segmented patch by patch (Table 4, "pixel-wise"), or by
            `clusters` of its patches.
        masks: from `mask_sets.scene_masks` or `mask_sets.open_masks`.
        protocol: None: `mask_sets.evaluation_protocol`.
        metrics: some of `METRICS`; None: those of the set (`MaskSet.metrics`) that the model has.
        batch_size: images that are read at once, and windows that go through the model at once; None: 25 images, and
            windows with as many pixels as 8 released ones. The metrics do not depend on it.
        num_workers: processes that read images.
        progress: show a bar.
        class_embeddings: (C, E) from `embed_classes`, if they are there already.
        clusters: one of `groups.CLUSTERINGS`, for a model without groups.

    Warns where the number of images is not the benchmark's, or background is in the masks but not in
    the protocol. Raises ValueError for metrics that there are not, a threshold without background in the
    masks, and files that are missing or do not belong together.
    """
    protocol = protocol_for(model, protocol) if protocol else evaluation_protocol(model, masks)
    regroup = None if clusters is None else cluster_patches(clusters)
    has_groups = regroup is not None or any(model.config.image.num_group_tokens)
    if not has_groups:
        protocol = replace(protocol, pixels="patches")
    found = Evaluation(masks, _check_metrics(metrics, masks, has_groups), protocol)
    _check_background(masks, protocol)
    if class_embeddings is None:
        class_embeddings = embed_classes(model, masks.class_names, protocol.templates, distinct=False)
    for examples in _batches(masks, batch_size or _IMAGES_AT_ONCE, num_workers, progress):
        images = [to_batch(example.image)[0].to(model.device, model.logit_scale.dtype) for example in examples]
        encoded = encode_windows(model, images, class_embeddings, protocol, batch_size, regroup)
        whole = encoded
        if protocol.mode == "slide" and {"probing", "groups"} & set(found.chosen):   # a window has groups of its own
            alone = replace(protocol, mode="whole", flip=False)
            whole = encode_windows(model, images, class_embeddings, alone, batch_size, regroup)
        for part in _of_one_size(examples, encoded, whole):
            _update(found, *zip(*part), class_embeddings, clusters is not None)
    if masks.num_expected not in (None, len(masks)):
        warnings.warn(f"{masks.name} has {masks.num_expected} images, these are {len(masks)}: "
                      "the metrics cannot be held beside published ones", stacklevel=3)
    return found


def _update(found: Evaluation, examples: Sequence[Example], encoded: Sequence[EncodedImage],
            whole: Sequence[EncodedImage], classes: Tensor, clusters: bool) -> None:
    """Adds images of one size: `encoded` by the protocol, `whole` through one window; classes (C, E).

    `clusters`: the maps are likenesses to centres of clusters, not shares.
    """
    protocol, masks = found.protocol, torch.stack([example.mask for example in examples])
    direct = protocol.mode == "direct"
    groups = shares = oracle = None
    if {"probing", "groups", *(["oracle"] if direct else [])} & set(found.chosen):
        groups, shares = whole_groups(whole, protocol)
        shares = None if clusters else shares
    # Groups of windows, or at another size than the image's, go through the rest of the protocol with their true names.
    if "oracle" in found.chosen and not direct:
        truth = found.as_classes(masks).to(classes.device)
        oracle = torch.stack([oracle_pixels(one, true, len(found.class_names), protocol)
                              for one, true in zip(encoded, truth)])
    embeddings = torch.stack([one.embedding for one in encoded])                          # (B, E)
    found.update(
        names=[example.name for example in examples], masks=masks,
        labels=torch.stack([name_pixels(one, protocol) for one in encoded]), groups=groups, shares=shares,
        oracle=oracle, scores=embeddings @ classes[:found.masks.num_objects].T)


def _of_one_size(*parallel: Sequence) -> Iterator[list[tuple]]:
    """Parallel lists, examples first, in runs of images of one size that are small together."""
    for (height, width), run in groupby(zip(*parallel), key=lambda row: tuple(row[0].mask.shape)):
        rows, step = list(run), max(1, _PIXELS_AT_ONCE // (height * width))
        yield from (rows[start:start + step] for start in range(0, len(rows), step))


def _batches(masks: MaskSet, batch_size: int, num_workers: int, progress: bool) -> Iterator[list[Example]]:
    loader = DataLoader(masks, batch_size=batch_size, num_workers=num_workers, collate_fn=list)
    with tqdm(total=len(masks), desc=masks.name, unit="image", disable=not progress) as bar:
        for examples in loader:
            yield examples
            bar.update(len(examples))


def _check_metrics(metrics: Sequence[str] | None, masks: MaskSet, has_groups: bool) -> tuple[str, ...]:
    there = [name for name in METRICS if has_groups or name not in _NEED_GROUPS]
    if metrics is None:
        return tuple(name for name in masks.metrics if name in there)
    for name in metrics:
        if name not in there:
            about = "" if has_groups else " for a model without groups"
            raise ValueError(f"there is no metric {name!r}{about}; choose from {', '.join(there)}")
    return tuple(metrics)


def _check_background(masks: MaskSet, protocol: InferenceOptions) -> None:
    if masks.has_background and protocol.background_threshold is None:
        warnings.warn(f"{masks.name} has background in its masks, but without a background_threshold no pixel "
                      "will be labelled so", stacklevel=4)
    if not masks.has_background and protocol.background_threshold is not None:
        raise ValueError(f"the masks of {masks.name} have no background: leave the background_threshold out")


def background_share(iou_per_class: Mapping[str, float]) -> float | None:
    """How much of the mIoU is the IoU of background, from 0 to 1; None where every IoU is 0."""
    total = sum(iou_per_class.values())
    return iou_per_class.get("background", 0.0) / total if total else None
