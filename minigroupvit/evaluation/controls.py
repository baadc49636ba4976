"""Partitions of an image that need no training: the controls that a model's groups have to beat.

A partition is a function from an image (3, H, W), uint8, to the number of each pixel's segment (H, W). Those here
know colours, or only where a pixel lies: photographers put objects into the middle, and a partition into middle
and border agrees with masks without having seen anything.

N images  K clusters  H, W image
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits
from torch import Tensor
from tqdm import tqdm

from ..data.mask_sets import MaskSet, MasksInMemory
from ..extras import extra
from ..segmentation.steps import refine_maps
from .evaluate import Evaluation
from .groups import adjusted_rand, oracle_miou, segments_used
from .metrics import difference, draws, interval, mean_of

CLUSTERS = (2, 3, 4, 6, 8)    # tried in each image; `SHARED_CLUSTERS` is one set for all images
SHARED_CLUSTERS = 16
_ITERATIONS = 10              # of the refinement, as in the recipes of the scenes

Partition = Callable[[Tensor], Tensor]

_SIDE = 64   # images are shrunk to this many pixels a side before they are clustered


def colour_clusters(num_segments: int = 8, position: float = 0.0, seed: int = 0) -> Partition:
    """K-means on the pixels of each image: their colours in CIELAB and, if `position` is above 0, their place.

    position: how many units of colour (100: black to white) the sides of the image are long.
    """
    def partition(image: Tensor) -> Tensor:
        small = F.interpolate(image[None].float() / 255, (_SIDE, _SIDE), mode="area")[0]     # (3, s, s)
        features = _cielab(small.permute(1, 2, 0).numpy()).reshape(-1, 3)                   # (s·s, 3)
        if position:
            features = np.concatenate([features, position * _places(_SIDE, _SIDE).reshape(-1, 2).numpy()], axis=1)
        # One start is enough: another seed moves the metrics of a whole set by less than they differ.
        segments = KMeans(num_segments, n_init=1, random_state=seed).fit_predict(features.astype(np.float64))
        return _resize(torch.from_numpy(segments.reshape(_SIDE, _SIDE)).long(), image)

    return partition


def rings(num_segments: int = 8) -> Partition:
    """Ellipses around the middle, each ring of the same area: knows nothing of the image."""
    def partition(image: Tensor) -> Tensor:
        distance = (_places(*image.shape[-2:]) - 0.5).norm(dim=-1)                           # (H, W)
        rank = distance.flatten().argsort().argsort().view_as(distance)
        return rank * num_segments // rank.numel()

    return partition


def tiles(rows: int = 2, columns: int = 4) -> Partition:
    """A grid of equal tiles: knows nothing of the image."""
    def partition(image: Tensor) -> Tensor:
        place = (_places(*image.shape[-2:]) * torch.tensor([rows, columns])).long()          # (H, W, 2)
        return place[..., 0] * columns + place[..., 1]

    return partition


def superpixels(method: str, num_segments: int = 8) -> Partition:
    """Superpixels of scikit-image: "slic", about so many, or "felzenszwalb".

    Felzenszwalb's method finds their number itself; none is smaller than half of the mean of `num_segments`.
    Raises ValueError for another method.
    """
    if method not in ("slic", "felzenszwalb"):
        raise ValueError(f"there are no superpixels {method!r}; choose 'slic' or 'felzenszwalb'")

    def partition(image: Tensor) -> Tensor:
        pixels = image.permute(1, 2, 0).numpy()                                                # (H, W, 3)
        with extra("evaluation"):
            from skimage.segmentation import felzenszwalb, slic
        if method == "slic":
            segments = slic(pixels, n_segments=num_segments, start_label=0)
        else:
            segments = felzenszwalb(pixels, scale=100, sigma=0.8, min_size=pixels[..., 0].size // (2 * num_segments))
        return torch.from_numpy(segments.astype(np.int64))

    return partition


def evaluate_partition(partition: Partition, masks: MaskSet, progress: bool = False) -> Evaluation:
    """How well a partition agrees with true masks, by the same metrics as a model's groups: "oracle", "probing", "groups".

    See `evaluate.evaluate`; with `Evaluation.minus` a model is compared with it on the same images.
    """
    found = Evaluation(masks, ("oracle", "probing", "groups"))
    for example in tqdm(masks, desc=masks.name, unit="image", disable=not progress):
        found.update([example.name], example.mask[None], groups=[partition(example.image)[None]])
    return found


def controls(masks: MasksInMemory, training: Tensor, patch_size: int = 8, seed: int = 0) -> list[dict[str, Any]]:
    """K-means of colours on the same images: what groups must be better than to be more than a palette.

    Args:
        masks: the images and their masks.
        training: (M, 3, H, W) uint8, other images, to which the one set of clusters for all is fitted.
        patch_size: of the patches whose mean colours are clustered.

    Returns:
        For `method` "pixels", "patches" and "pixels, refined" (`refine_maps` on the clusters, as on a model's groups)
        with each number of `clusters` in each image, and for patches with one set for all (`per_picture` false):
        `ari`, the mean over images, with `ari_interval`, and `ari_of_each`; `oracle_miou`, each cluster with its
        true name; `segments_used`, clusters that hold 2 % of an image or more.
    """
    with threadpool_limits(1):   # threads that wait for each other take longer than these small problems
        return _controls(masks.images, masks.masks, len(masks.class_names), training, patch_size, seed)


def _controls(images: Tensor, masks: Tensor, num_classes: int, training: Tensor, patch_size: int,
              seed: int) -> list[dict[str, Any]]:
    pixels, patches = (_lab(images, side) for side in (images.shape[-1], images.shape[-1] // patch_size))
    fitted_to = _lab(training, training.shape[-1] // patch_size).reshape(-1, 3)
    shared = KMeans(min(SHARED_CLUSTERS, len(fitted_to)), n_init=1, random_state=seed).fit(fitted_to)
    tried = chain(
        ((name, k, True, [_clusters(one, k, seed) for one in features])
         for name, features in (("pixels", pixels), ("patches", patches)) for k in CLUSTERS),
        (("pixels, refined", k, True, [_refined(_clusters(one, k, seed), image, patch_size)
                                       for one, image in zip(pixels, images)]) for k in CLUSTERS),
        [("patches", SHARED_CLUSTERS, False, [shared.predict(one.reshape(-1, 3)).reshape(one.shape[:2])
                                              for one in patches])])
    weights = draws(len(images))
    found = []
    for method, clusters, per_image, segments in tried:
        groups = F.interpolate(torch.from_numpy(np.stack(segments))[:, None].float(), masks.shape[-2:])[:, 0].long()
        rand = adjusted_rand(groups, masks)
        found.append({"method": method, "clusters": clusters, "per_picture": per_image, "ari": float(np.mean(rand)),
                      "ari_interval": interval(mean_of(rand, weights)), "ari_of_each": rand,
                      "oracle_miou": oracle_miou(groups, masks, num_classes),
                      "segments_used": float(np.mean(segments_used(groups)))})
    return found


def against_controls(ari_of_each: Sequence[float], found: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The controls, each with by how much a model's groups are better, in pairs: on each image that both have.

    Args:
        ari_of_each: the model's, of the first images of those that `controls` had.
        found: what `controls` returned.

    Returns them without `ari_of_each`, with `ari_difference`, above 0 where the model is better, its
    `ari_difference_interval`, and the number of images that it is of, `num_images`.
    """
    compared = []
    for control in found:
        by, between = difference(mean_of, [ari_of_each], [control["ari_of_each"][:len(ari_of_each)]])
        compared.append({key: value for key, value in control.items() if key != "ari_of_each"} | {
            "ari_difference": by, "ari_difference_interval": between, "num_images": len(ari_of_each)})
    return compared


def _cielab(pixels: np.ndarray) -> np.ndarray:
    """Colours (..., 3) from 0 to 1 in CIELAB, where distances are as we see them."""
    with extra("evaluation"):
        from skimage.color import rgb2lab
    return rgb2lab(pixels)


def _lab(images: Tensor, side: int) -> np.ndarray:
    """Images (N, 3, H, W) shrunk to (N, side, side, 3), in CIELAB."""
    small = F.interpolate(images.float() / 255, (side, side), mode="area")
    return _cielab(small.permute(0, 2, 3, 1).numpy()).astype(np.float64)


def _clusters(colours: np.ndarray, num_clusters: int, seed: int) -> np.ndarray:
    """The cluster of each place of one image (h, w, 3): (h, w)."""
    flat = colours.reshape(-1, 3)
    # Every fourth pixel is enough to find the clusters; then each pixel takes the nearest.
    sample = flat if len(flat) <= 256 else flat[::4]
    num_clusters = min(num_clusters, len(sample))   # a very small image has no more
    return KMeans(num_clusters, n_init=1, random_state=seed).fit(sample).predict(flat).reshape(colours.shape[:2])


def _refined(segments: np.ndarray, image: Tensor, patch_size: int) -> np.ndarray:
    """The segments (H, W) of an image (3, H, W) after the refinement that a model's groups have."""
    maps = F.one_hot(torch.from_numpy(segments).long()).permute(2, 0, 1)[None].float()             # (1, K, H, W)
    return refine_maps(maps, image[None].float() / 255, _ITERATIONS, 2 * patch_size)[0].argmax(dim=0).numpy()


def _places(height: int, width: int) -> Tensor:
    """The middle of each pixel as a share of the height and width, (H, W, 2)."""
    y, x = (((torch.arange(side) + 0.5) / side) for side in (height, width))
    return torch.stack(torch.meshgrid(y, x, indexing="ij"), dim=-1)


def _resize(segments: Tensor, image: Tensor) -> Tensor:
    """Segments (h, w) at the size of the image, (H, W)."""
    return F.interpolate(segments[None, None].float(), tuple(image.shape[-2:]), mode="nearest-exact")[0, 0].long()
