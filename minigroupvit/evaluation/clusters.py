"""Groups for a model that has none: its patches clustered picture by picture (Table 4 of the paper).

The recipe is its authors': 8 clusters of the encoder's features, each pixel goes to the nearest centre,
each cluster takes the name nearest to its mean feature. Their code was never released; what they do
not say (bandwidth of mean-shift, affinity of spectral clustering) is scikit-learn's default here.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import torch
from sklearn.cluster import KMeans, MeanShift, SpectralClustering, estimate_bandwidth
from torch import Tensor

from ..image_encoder import ImageOutput
from ..model import GroupViT, unit

METHODS = ("kmeans", "mean_shift", "spectral")
_FAR = -1e6   # the likeness of every patch to a cluster that is not there


def cluster_patches(method: str, num_clusters: int = 8) -> Callable[[GroupViT, ImageOutput], tuple]:
    """What to hand to `encode_windows` as `regroup`: clusters take the place of groups.

    Mean-shift finds their number itself; of more than `num_clusters` the largest are kept.
    Raises ValueError for another method, and on use for a model with groups.
    """
    if method not in METHODS:
        raise ValueError(f"there is no clustering {method!r}; choose one of {', '.join(METHODS)}")

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
