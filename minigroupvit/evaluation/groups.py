"""What groups are worth without their names, and groups for a model that has none.

Oracle labels give each group its true class (Table C3): mIoU is then that of the grouping alone. The adjusted Rand index
compares the grouping with the masks; mask probing takes the best group for each object (Table C2).

`cluster_patches` clusters the patches of a model without groups, image by image (Table 4). The recipe is its authors':
8 clusters of the encoder's features, each pixel goes to the nearest centre, each cluster takes the name nearest to its
mean feature. Their code was never released; what they do not say (bandwidth of mean-shift, affinity of spectral
clustering) is scikit-learn's default here.

B images  G groups  N patches  C classes  D width  E shared channels  h, w patch grid  a, b window  H, W image
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.cluster import KMeans, MeanShift, SpectralClustering, estimate_bandwidth
from sklearn.metrics import adjusted_rand_score
from torch import Tensor

from ..image_encoder import ImageOutput
from ..images import enlarge, normalize
from ..model import GroupViT, unit
from ..segmentation.options import IGNORED, InferenceOptions
from ..segmentation.segment import EncodedImage, Regroup
from ..segmentation.steps import evaluating, group_maps, pixel_groups
from ..segmentation.windows import stitch
from .metrics import MaskMetrics, count_pairs

CLUSTERINGS = ("kmeans", "mean_shift", "spectral")
_FAR = -1e6   # the likeness of every patch to a cluster that is not there


def oracle_labels(groups: Tensor, masks: Tensor, num_classes: int) -> Tensor:
    """Each group of an image takes the class that most of its pixels truly have (Table C3).

    groups (B, H, W), masks (B, H, W) -> (B, H, W). Measures grouping alone.
    """
    majority = count_pairs(groups, masks, int(groups.max()) + 1, num_classes).argmax(dim=-1)   # (B, G)
    return majority.gather(1, groups.flatten(1)).view_as(groups)


def oracle_miou(groups: Tensor, masks: Tensor, num_classes: int) -> float:
    """mIoU of images (B, H, W) whose groups all have the class that most of their pixels truly have."""
    metrics = MaskMetrics([str(c) for c in range(num_classes)], num_classes)
    metrics.update(oracle_labels(groups, masks.long(), num_classes), masks.long())
    return metrics.compute()["miou"]


def oracle_pixels(encoded: EncodedImage, mask: Tensor, num_classes: int, protocol: InferenceOptions) -> Tensor:
    """`oracle_labels` of one image by the whole protocol: mask (H, W) of classes from 0 -> (H, W).

    Only the name of a group is another: the class that most of its pixels truly have, background included. Where windows
    slide, each has groups of its own, and their oracles' names are averaged as the scores would be. Pixels of 255 have no
    say.
    """
    on_canvas = F.interpolate(mask[None, None].float(), size=encoded.canvas, mode="nearest-exact")[0, 0].long()

    def names() -> Iterator[Tensor]:
        for v, window in enumerate(encoded.windows):
            groups = pixel_groups(encoded.maps[-1][v:v + 1], encoded.window_size, protocol.upsample)   # (1, a, b)
            counts = count_pairs(groups, window.of(on_canvas)[None], encoded.maps[-1].shape[1], num_classes)[0]  # (G, C)
            table = F.one_hot(counts.argmax(dim=-1), num_classes) * (counts.sum(dim=-1, keepdim=True) > 0)
            yield table.float()[groups[0]].movedim(-1, 0)                 # (C, a, b)

    labels = stitch(encoded.windows, names(), encoded.canvas, encoded.size, protocol).argmax(dim=0)
    return enlarge(labels, encoded.image_size)


def probing_jaccard(groups: Tensor, mask: Tensor, num_objects: int, num_classes: int) -> float | None:
    """Mean over the object classes in an image of the best Jaccard index that one group's mask has with it.

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


def adjusted_rand(groups: Tensor, masks: Tensor) -> list[float]:
    """Adjusted Rand index of each image's groups against its mask, (B, H, W) both: 0 chance, 1 the mask.

    Pixels of 255 are left out; NaN for an image in which nothing is judged.
    """
    judged = masks != IGNORED
    return [float(adjusted_rand_score(mask[here].numpy(), group[here].numpy())) if here.any() else float("nan")
            for group, mask, here in zip(groups.cpu(), masks.cpu(), judged.cpu())]


def group_use_of_each(groups: Tensor, shares: Tensor | None = None) -> dict[str, list[float]]:
    """Signs of collapse in each image: groups that own a pixel, and how undecided the patches are.

    Args:
        groups: (B, H, W).
        shares: (B, G, N), of each patch in each group.

    Returns lists of B numbers. `groups_used`; `collapsed`, 1 if all pixels are in one group, else 0;
    `assignment_entropy`, the mean entropy of a patch over the groups, over its largest value log G: 0 decided, 1 no
    decision at all.
    """
    used = [len(own.unique()) for own in groups]
    found = {"groups_used": [float(count) for count in used], "collapsed": [float(count == 1) for count in used]}
    if shares is not None:
        entropy = torch.special.entr(shares.float()).sum(dim=1).mean(dim=1)                    # (B,)
        found["assignment_entropy"] = (entropy / np.log(shares.shape[1])).tolist()
    return found


def group_use(groups: Tensor, shares: Tensor | None = None) -> dict[str, float]:
    """The means over the images of `group_use_of_each`; `collapsed` is then the share of images in one group."""
    return {key: float(np.mean(values)) for key, values in group_use_of_each(groups, shares).items()}


def segments_used(groups: Tensor, least: float = 0.02) -> list[int]:
    """Of each image (B, H, W), how many groups hold that share of its pixels or more."""
    counts = torch.stack([own.flatten().bincount(minlength=int(groups.max()) + 1) for own in groups])   # (B, G) pixels
    return (counts >= least * groups[0].numel()).sum(dim=1).tolist()


def whole_groups(encoded: Sequence[EncodedImage], protocol: InferenceOptions) -> tuple[list[Tensor], Tensor]:
    """The groups of images of one size, each seen through one window: of each pixel per stage (B, H, W), and shares
    of each patch in the groups of the last stage (B, G, N)."""
    # Through its first window: that of the mirrored image may follow.
    maps = [torch.stack(stage) for stage in zip(*([own[0] for own in one.maps] for one in encoded))]   # (B, G, h, w) each
    size, image = encoded[0].size, encoded[0].image_size
    return [enlarge(pixel_groups(own, size, protocol.upsample), image) for own in maps], maps[-1].flatten(2)


@torch.no_grad()
def emergence(model: GroupViT, images: Tensor, masks: Tensor, num_classes: int,
              batch_size: int = 50) -> dict[str, float]:
    """How far groups have emerged, quickly and without any name: for snapshots of a training.

    Args:
        images: (N, 3, H, W) uint8.
        masks: (N, H, W), position of the class.

    Returns:
        Of the last stage `oracle_miou`, `ari` (mean over the images) and `groups_used`, those that hold
        2 % of an image's pixels or more; of earlier stages the same with `_stage1`, `_stage2`, ... behind.
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


def cluster_patches(method: str, num_clusters: int = 8) -> Regroup:
    """What to hand to `encode_windows` as `regroup`: clusters take the place of groups.

    Mean-shift finds their number itself; of more than `num_clusters` the largest are kept.
    Raises ValueError for another method, and on use for a model with groups.
    """
    if method not in CLUSTERINGS:
        raise ValueError(f"there is no clustering {method!r}; choose one of {', '.join(CLUSTERINGS)}")

    def regroup(model: GroupViT, output: ImageOutput) -> tuple[list[Tensor], Tensor]:
        if output.groupings:
            raise ValueError("this model has groups of its own; clusters are for models without, such as clip_vit")
        maps, centres = zip(*(_cluster(tokens, method, num_clusters) for tokens in output.segment_tokens))
        return [torch.stack(maps).unflatten(-1, output.grid)], unit(model.image_head(torch.stack(centres)))

    return regroup


def _cluster(tokens: Tensor, method: str, num_clusters: int) -> tuple[Tensor, Tensor]:
    """Patches (N, D) to their likeness to each cluster (G, N) and the clusters' mean features (G, D)."""
    labels = torch.from_numpy(_labels(tokens.float().cpu().numpy(), method, num_clusters)).to(tokens.device)
    numbers, sizes = labels.unique(return_counts=True)
    kept = numbers[sizes.argsort(descending=True)][:num_clusters]
    centres = torch.stack([tokens[labels == number].mean(dim=0) for number in kept])         # (G', D)
    # The nearest centre has the largest f·c - |c|²/2. That is linear in f: upsampled, it is what the
    # upsampled features would give, so pixels find their nearest centre as they find their group.
    likeness = centres @ tokens.T - (centres ** 2).sum(dim=-1, keepdim=True) / 2              # (G', N)
    missing = num_clusters - len(kept)
    return (torch.cat([likeness, likeness.new_full((missing, len(tokens)), _FAR)]),
            torch.cat([centres, centres[:1].expand(missing, -1)]))


def _labels(tokens: np.ndarray, method: str, num_clusters: int) -> np.ndarray:
    """The cluster of each patch, (N,)."""
    count = min(num_clusters, len(tokens))
    if method == "kmeans":
        return KMeans(count, n_init=4, random_state=0).fit_predict(tokens).astype(np.int64)
    if method == "spectral":
        # The width of the kernel: features of a width of their own are far apart in many dimensions.
        spectral = SpectralClustering(count, gamma=1 / tokens.shape[1], random_state=0)
        with warnings.catch_warnings():
            # Said where there are as many patches as channels, in case they were meant as affinities.
            warnings.filterwarnings("ignore", "The spectral clustering API has changed")
            return spectral.fit_predict(tokens).astype(np.int64)
    bandwidth = estimate_bandwidth(tokens, quantile=0.3, random_state=0)
    if bandwidth == 0:                                                    # all patches alike
        return np.zeros(len(tokens), dtype=np.int64)
    # Every patch is a seed: in many dimensions the middle of a patch's bin is farther from it than the bandwidth.
    return MeanShift(bandwidth=bandwidth).fit_predict(tokens).astype(np.int64)
