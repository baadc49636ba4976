"""Instances: the single objects of each class, found in masks that only know classes.

Groups with the same name make up the region of a class; each connected component of it counts as one
object. So two cats that touch are one instance: `evaluation/instances.py` measures what that costs.

    result = segment(model, image, ["cat", "grass"])
    for found in find_instances(result.labels[0], result.scores[0]):
        found.label, found.score, found.area, found.box, encode_rle(found.mask)

H, W image  C classes
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from ..extras import extra
from ..images import enlarge

SMALLEST = 0.01   # share of the image: less is no object of its own

# Pixels that touch at a corner belong together.
_NEIGHBOURS = np.ones((3, 3), dtype=bool)


@dataclass(frozen=True, eq=False)
class FoundInstance:
    """One object in an image."""

    label: int           # index of its class
    score: float         # mean score of the class over its pixels
    mask: np.ndarray     # (H, W) bool

    @property
    def area(self) -> int:
        """Its pixels."""
        return int(self.mask.sum())

    @property
    def box(self) -> tuple[int, int, int, int]:
        """x0, y0, x1, y1 around it; x1 and y1 are just outside."""
        rows, columns = np.flatnonzero(self.mask.any(axis=1)), np.flatnonzero(self.mask.any(axis=0))
        return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def find_instances(labels: Tensor, scores: Tensor, smallest: float = SMALLEST) -> list[FoundInstance]:
    """The connected components of each class in one image, the highest score first.

    Args:
        labels: index of the class; -1, background, has no instances.
        scores: (C, H, W) score of each class at each pixel. Labels of a large image, whose scores are of a smaller
            size, are brought to that: the masks of the instances have the size of the scores.
        smallest: the least area, as a share of the image from 0 to 1.

    Raises ValueError for another shape or share.
    """
    if labels.ndim != 2 or scores.ndim != 3 or any(s > n for s, n in zip(scores.shape[1:], labels.shape)):
        raise ValueError(f"expected labels (H, W) and scores (C, H, W) of one image, got {tuple(labels.shape)} and "
                         f"{tuple(scores.shape)}; take one image of the batch: result.labels[0], result.scores[0]")
    if not 0 <= smallest <= 1:
        raise ValueError(f"smallest is {smallest}; it is a share of the image, from 0 to 1")
    label_map = enlarge(labels, scores.shape[1:]).cpu().numpy()           # (H, W) as the scores
    found = []
    for label in np.unique(label_map[label_map >= 0]).tolist():
        components, count = ndimage.label(label_map == label, _NEIGHBOURS)    # (H, W): 0 elsewhere, then 1, 2, ...
        areas = np.bincount(components.ravel())
        kept = [n for n in range(1, count + 1) if areas[n] >= smallest * label_map.size]
        means = ndimage.mean(scores[label].float().cpu().numpy(), components, kept)
        found += [FoundInstance(label, float(mean), components == n) for n, mean in zip(kept, means)]
    return sorted(found, key=lambda instance: -instance.score)


def encode_rle(mask: np.ndarray) -> dict[str, Any]:
    """COCO's run-length encoding of a mask (H, W), as JSON can hold it: `size` [H, W] and `counts`."""
    with extra("evaluation"):
        from pycocotools import mask as coco_mask
    rle = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))       # COCO counts down the columns
    return {"size": [int(side) for side in rle["size"]], "counts": rle["counts"].decode("ascii")}


def decode_rle(rle: dict[str, Any]) -> np.ndarray:
    """The mask (H, W), true and false, of a run-length encoding."""
    with extra("evaluation"):
        from pycocotools import mask as coco_mask
    return coco_mask.decode(rle).astype(bool)


def coco_result(instance: FoundInstance, size: tuple[int, int] | None = None) -> dict[str, Any]:
    """An instance as an entry of COCO's results, which lacks only an `image_id`.

    `category_id` counts classes from 1, `bbox` is [x, y, width, height] in pixels. `size`: H, W of a
    larger image that the mask is meant for.
    """
    if size is not None:
        instance = replace(instance, mask=enlarge(torch.from_numpy(instance.mask), size).numpy())
    x0, y0, x1, y1 = instance.box
    return {"category_id": instance.label + 1, "score": instance.score, "area": instance.area,
            "bbox": [x0, y0, x1 - x0, y1 - y0], "segmentation": encode_rle(instance.mask)}
