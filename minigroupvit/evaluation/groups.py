"""What groups are worth without their names: oracle labels (Table C3) and mask probing (Table C2)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..images import enlarge, normalize
from ..model import GroupViT
from ..segmentation.options import InferenceOptions
from ..segmentation.segment import EncodedImage
from ..segmentation.steps import evaluating, group_maps, pixel_groups
from ..segmentation.windows import stitch
from .intervals import draws, interval, mean_of
from .metrics import MaskMetrics, adjusted_rand, count_pairs, oracle_labels, oracle_miou, segments_used


def oracle_pixels(seen: EncodedImage, mask: Tensor, num_classes: int, protocol: InferenceOptions) -> Tensor:
    """The labels of a picture if each group were named right: mask (H, W) of classes from 0 -> (H, W).

    The whole protocol stays as it is; only the name of a group is the class that most of its pixels
    truly have, background included. Where windows slide, each has groups of its own, and their
    oracles' names are averaged as the scores would be. Pixels of 255 have no say.
    """
    on_canvas = F.interpolate(mask[None, None].float(), size=seen.canvas, mode="nearest-exact")[0, 0].long()

    def names() -> Iterator[Tensor]:
        for v, window in enumerate(seen.windows):
            groups = pixel_groups(seen.maps[-1][v:v + 1], seen.window_size, protocol.upsample)   # (1, a, b)
            counts = count_pairs(groups, window.of(on_canvas)[None], seen.maps[-1].shape[1], num_classes)[0]  # (G, C)
            table = F.one_hot(counts.argmax(dim=-1), num_classes) * (counts.sum(dim=-1, keepdim=True) > 0)
            yield table.float()[groups[0]].movedim(-1, 0)                 # (C, a, b)

    labels = stitch(seen.windows, names(), seen.canvas, seen.size, protocol).argmax(dim=0)
    return enlarge(labels, seen.picture)


def probing_jaccard(groups: Tensor, mask: Tensor, num_objects: int, num_classes: int) -> float | None:
    """Mean over the object classes in a picture of the best Jaccard index that one group's mask has with it.

    groups, mask (H, W); the first `num_objects` of the classes are objects. Pixels of 255 are left
    out, and so is background; None where there is no object. As DINO's and later probing by
    heads of attention does it, with groups in the heads' place.
    """
    both = count_pairs(groups[None], mask[None], int(groups.max()) + 1, num_classes)[0].double()   # (G, C)
    jaccard = both / (both.sum(dim=0) + both.sum(dim=1, keepdim=True) - both).clamp(min=1)
    present = both[:, :num_objects].sum(dim=0) > 0
    if not present.any():
        return None
    return jaccard[:, :num_objects][:, present].amax(dim=0).mean().item()


def whole_groups(seen: EncodedImage, protocol: InferenceOptions) -> tuple[Tensor, Tensor]:
    """The final groups of a picture seen as a whole: of each pixel (H, W), and shares of each patch (G, N)."""
    maps = seen.maps[-1][:1]                                              # a mirrored one may follow
    return enlarge(pixel_groups(maps, seen.size, protocol.upsample)[0], seen.picture), maps[0].flatten(1)


def judge_groups(groups: Tensor, masks: Tensor, num_classes: int) -> dict[str, Any]:
    """How well groups agree with true masks, without any name and wherever they come from: groups, masks (N, H, W).

    Returns `ari`, the mean over the pictures, and `ari_of_each`; `oracle_miou`; each with its 95 % `_interval` over
    draws of pictures; and `groups_used`, those that hold 2 % of a picture's pixels or more.
    """
    masks, weights = masks.long(), draws(len(groups))
    rand, oracle = adjusted_rand(groups, masks), MaskMetrics([str(c) for c in range(num_classes)], num_classes)
    oracle.update(oracle_labels(groups, masks, num_classes), masks)
    return {"ari": float(np.mean(rand)), "ari_interval": interval(mean_of(rand, weights)), "ari_of_each": rand,
            "oracle_miou": oracle.compute()["miou"], "oracle_miou_interval": interval(oracle.draws_of("miou", weights)),
            "groups_used": float(np.mean(segments_used(groups)))}


@torch.no_grad()
def emergence(model: GroupViT, images: Tensor, masks: Tensor, num_classes: int,
              batch_size: int = 50) -> dict[str, float]:
    """How far groups have emerged, quickly and without any name: for snapshots of a training.

    Args:
        images: (N, 3, H, W) uint8.
        masks: (N, H, W), position of the class.

    Returns:
        Of the last stage `oracle_miou`, `ari` (mean over the pictures) and `groups_used`, those that hold
        2 % of a picture's pixels or more; of earlier stages the same with `_stage1`, `_stage2`, ... behind.
    """
    found: list[list[Tensor]] = []
    with evaluating(model):
        for part in images.split(batch_size):
            output = model.image_encoder(normalize(part.to(model.device).float() / 255))
            found.append([pixel_groups(maps, part.shape[-2:]).cpu() for maps in group_maps(output)])
    metrics: dict[str, float] = {}
    stages = [torch.cat(stage) for stage in zip(*found)]              # (N, H, W) each
    for number, groups in enumerate(stages, start=1):
        behind = "" if number == len(stages) else f"_stage{number}"
        metrics |= {f"oracle_miou{behind}": oracle_miou(groups, masks, num_classes),
                    f"ari{behind}": float(np.mean(adjusted_rand(groups, masks))),
                    f"groups_used{behind}": float(np.mean(segments_used(groups)))}
    return metrics
