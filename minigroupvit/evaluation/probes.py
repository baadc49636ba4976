"""Questions to the groups of many scenes: what do they hold, and what do they go by?

For experiments with groups and with their controls. A grouping is shares (B, G, h, w), wherever it comes from: a
model's own groups, or clusters of some features of the patches, which have shares of 0 and 1.

B scenes  N = h·w patches  G groups  P = B·N patches of all scenes  H, W picture
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.cluster import KMeans
from torch import Tensor

from ..data.mask_sets import MaskSet
from ..data.scenes.make import Scene
from ..image_encoder import ImageOutput
from ..images import normalize
from ..model import GroupViT
from ..segmentation.steps import evaluating, group_maps, pixel_groups
from .evaluate import Evaluation
from .metrics import count_pairs

LEAST_PIXELS = 32    # of each of the two parts of an object that is asked for its parts


def scene_stack(scenes: Sequence[Scene]) -> tuple[Tensor, Tensor, Tensor]:
    """Images (B, 3, H, W) uint8, masks and maps of parts (B, H, W) of whole numbers."""
    images = torch.stack([torch.from_numpy(scene.image).permute(2, 0, 1) for scene in scenes])
    masks, parts = (torch.stack([torch.from_numpy(getattr(scene, name)).long() for scene in scenes])
                    for name in ("mask", "parts"))
    return images, masks, parts


@torch.no_grad()
def group_shares(model: GroupViT, images: Tensor, stage: int = -1) -> Tensor:
    """Share of each patch in each group of a stage, by default the last: images uint8 -> (B, G, h, w)."""
    return torch.cat([group_maps(output)[stage].cpu() for output in _look(model, images)])


@torch.no_grad()
def patch_features(model: GroupViT, images: Tensor) -> Tensor:
    """What a model knows of each patch without any group, (B, N, D): embeddings, or tokens of one without groups."""
    groups = bool(model.config.image.num_group_tokens[0])
    with evaluating(model):
        return torch.cat([(model.embed_patches(output) if groups else output.segment_tokens).cpu()
                          for output in _look(model, images)])


def _look(model: GroupViT, images: Tensor, batch_size: int = 20) -> list[ImageOutput]:
    with evaluating(model):
        return [model.encode_image(normalize(part.to(model.device).float() / 255))[1]
                for part in images.split(batch_size)]


def cluster_shares(features: Tensor, numbers: Sequence[int], grid: tuple[int, int] = (8, 8)) -> Tensor:
    """K-means in each image, a grouping with so many groups: features (B, N, D), numbers B -> (B, G, h, w) of 0 and 1.

    Raises ValueError where there is not a number for each image.
    """
    if len(numbers) != len(features):
        raise ValueError(f"expected a number of clusters for each of {len(features)} images, got {len(numbers)}")
    labels = [KMeans(k, n_init=1, random_state=0).fit_predict(own)
              for k, own in zip(numbers, features.double().numpy())]
    hot = F.one_hot(torch.from_numpy(np.stack(labels)).long(), max(numbers))               # (B, N, G)
    return hot.transpose(1, 2).unflatten(2, grid).float()


def judge_shares(shares: Tensor, masks: Tensor, num_classes: int) -> dict[str, Any]:
    """How well groups agree with true masks, without any name: shares (B, G, h, w), masks (B, H, W).

    Returns `ari`, the mean over the images, and `ari_of_each`; `oracle_miou`; each with its 95 % `_interval` over draws of
    images; and `groups_used`, those that hold 2 % of an image's pixels or more.
    """
    names = tuple(str(number) for number in range(len(masks)))
    groups = pixel_groups(shares, tuple(masks.shape[-2:]))
    found = Evaluation(MaskSet(name="scenes", class_names=tuple(map(str, range(num_classes)))),
                       ("oracle", "groups", "intervals"))
    found.update(names, masks.long(), groups=[groups])
    kept = {key: found.metrics[key] for key in ("ari", "ari_interval", "oracle_miou", "oracle_miou_interval")}
    return kept | {"ari_of_each": found.ari_of_each, "groups_used": found.metrics["segments_used_per_stage"][-1]}


def contents(shares: Tensor, masks: Tensor, num_classes: int) -> Tensor:
    """How many pixels of each class each group holds in all scenes: shares (B, G, h, w), masks (B, H, W) -> (G, C)."""
    groups = pixel_groups(shares, tuple(masks.shape[-2:]))
    return count_pairs(groups, masks.long(), shares.shape[1], num_classes).sum(dim=0)


def patch_properties(images: Tensor, masks: Tensor, parts: Tensor, patch_size: int = 8, num_values: int = 24,
                     seed: int = 0) -> dict[str, Tensor]:
    """Properties of all patches as whole numbers, (P,) each, in the order of the shares.

    Returns `class` and `part`, those that most pixels of a patch have; `colour`, the mean of each channel, and
    `texture`, how much each varies, both as one of `num_values` that k-means finds; `place`, which patch of the image
    it is; and `random`, a number that means nothing, with as many values: the control.
    """
    def commonest(maps: Tensor) -> Tensor:                                                  # (B, H, W) -> (P,)
        own = F.unfold(maps[:, None].float(), patch_size, stride=patch_size)                # (B, p·p, N)
        return own.mode(dim=1).values.flatten().long()

    def quantised(values: Tensor) -> Tensor:                                                # (P, 3) -> (P,)
        means = KMeans(min(num_values, len(values)), n_init=1, random_state=seed)
        return torch.from_numpy(means.fit_predict(values.numpy())).long()

    pixels = F.unfold(images.float(), patch_size, stride=patch_size).unflatten(1, (3, -1))  # (B, 3, p·p, N)
    pixels = pixels.permute(0, 3, 1, 2).flatten(0, 1)                                       # (P, 3, p·p)
    kind = commonest(masks)
    num_patches = len(kind) // len(images)
    return {"class": kind, "part": commonest(parts), "colour": quantised(pixels.mean(dim=2)),
            "texture": quantised(pixels.std(dim=2)), "place": torch.arange(num_patches).repeat(len(images)),
            "random": torch.randint(num_values, kind.shape, generator=torch.Generator().manual_seed(seed))}


def parts_together(shares: Tensor, scenes: Sequence[Scene]) -> dict[str, list[float]]:
    """Of each object: how often two of its pixels share a group, if both are of one part and if they are of two.

    With p₁ and p₂ the shares of the pixels of the main and the second part in each group, `within a part` is the mean
    of p₁·p₁ and p₂·p₂, and `across parts` p₁·p₂. Groups that are parts have a high first and a low second number; groups
    that are wholes have both high. Objects with fewer than `LEAST_PIXELS` of a part are left out.
    """
    found: dict[str, list[float]] = {"within a part": [], "across parts": []}
    for scene, groups in zip(scenes, pixel_groups(shares, scenes[0].mask.shape)):
        for instance in scene.instances:
            one, other = (groups[torch.from_numpy(instance.mask & (scene.parts == number))] for number in (1, 2))
            if min(len(one), len(other)) < LEAST_PIXELS:
                continue
            p1, p2 = (torch.bincount(part, minlength=shares.shape[1]).double() / len(part) for part in (one, other))
            found["within a part"].append(((p1 @ p1 + p2 @ p2) / 2).item())
            found["across parts"].append((p1 @ p2).item())
    return found
