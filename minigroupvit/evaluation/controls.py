"""Cuts of a photograph that need no training: what a model's groups have to beat.

A cut is a function from a picture (3, H, W), uint8, to the number of each pixel's piece (H, W). Those here
know colours, or only where a pixel lies: photographers put things into the middle, and a cut into middle
and border agrees with masks without having seen anything.
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

from ..data.mask_sets import MaskSet
from ..extras import extra
from ..segmentation.options import BACKGROUND
from ..segmentation.steps import refine_maps
from .groups import probing_jaccard
from .intervals import Judged, difference, draws, interval, mean_of
from .metrics import MaskMetrics, adjusted_rand, oracle_labels, oracle_miou, segments_used

CLUSTERS = (2, 3, 4, 6, 8)    # tried in each picture; `SHARED_CLUSTERS` is one set for all pictures
SHARED_CLUSTERS = 16
_ITERATIONS = 10              # of the refinement, as in the recipes of the scenes

Cut = Callable[[Tensor], Tensor]

_SIDE = 64   # pictures are shrunk to this many pixels a side before they are clustered


def colour_clusters(num_pieces: int = 8, position: float = 0.0, seed: int = 0) -> Cut:
    """K-means on the pixels of each picture: their colours in CIELAB and, if `position` is above 0, their place.

    position: how many units of colour (100: black to white) the sides of the picture are long.
    """
    def cut(picture: Tensor) -> Tensor:
        small = F.interpolate(picture[None].float() / 255, (_SIDE, _SIDE), mode="area")[0]     # (3, s, s)
        features = _cielab(small.permute(1, 2, 0).numpy()).reshape(-1, 3)                   # (s·s, 3)
        if position:
            features = np.concatenate([features, position * _places(_SIDE, _SIDE).reshape(-1, 2).numpy()], axis=1)
        # One start is enough: another seed moves the metrics of a whole set by less than they differ.
        pieces = KMeans(num_pieces, n_init=1, random_state=seed).fit_predict(features.astype(np.float64))
        return _resize(torch.from_numpy(pieces.reshape(_SIDE, _SIDE)).long(), picture)

    return cut


def rings(num_pieces: int = 8) -> Cut:
    """Ellipses around the middle, each ring of the same area: knows nothing of the picture."""
    def cut(picture: Tensor) -> Tensor:
        distance = (_places(*picture.shape[-2:]) - 0.5).norm(dim=-1)                           # (H, W)
        rank = distance.flatten().argsort().argsort().view_as(distance)
        return rank * num_pieces // rank.numel()

    return cut


def tiles(rows: int = 2, columns: int = 4) -> Cut:
    """A grid of equal tiles: knows nothing of the picture."""
    def cut(picture: Tensor) -> Tensor:
        place = (_places(*picture.shape[-2:]) * torch.tensor([rows, columns])).long()          # (H, W, 2)
        return place[..., 0] * columns + place[..., 1]

    return cut


def superpixels(method: str, num_pieces: int = 8) -> Cut:
    """Superpixels of scikit-image: "slic", about so many, or "felzenszwalb".

    Felzenszwalb's method finds their number itself; none is smaller than half of the mean of `num_pieces`.
    Raises ValueError for another method.
    """
    if method not in ("slic", "felzenszwalb"):
        raise ValueError(f"there are no superpixels {method!r}; choose 'slic' or 'felzenszwalb'")

    def cut(picture: Tensor) -> Tensor:
        pixels = picture.permute(1, 2, 0).numpy()                                              # (H, W, 3)
        with extra("evaluation"):
            from skimage.segmentation import felzenszwalb, slic
        if method == "slic":
            pieces = slic(pixels, n_segments=num_pieces, start_label=0)
        else:
            pieces = felzenszwalb(pixels, scale=100, sigma=0.8, min_size=pixels[..., 0].size // (2 * num_pieces))
        return torch.from_numpy(pieces.astype(np.int64))

    return cut


def evaluate_cut(cut: Cut, masks: MaskSet, progress: bool = False) -> dict[str, Any]:
    """How well a cut agrees with true masks, by the same metrics as a model's groups in `evaluate_masks`.

    Returns `ari`, the mean over pictures of the adjusted Rand index (0: chance, 1: the masks);
    `oracle_miou` and what else there is if each piece had its true name; `probing_jaccard`; `groups_used`.
    """
    return judge_cut(cut, masks, progress)[0]


def judge_cut(cut: Cut, masks: MaskSet, progress: bool = False) -> tuple[dict[str, Any], Judged]:
    """What `evaluate_cut` returns, and what there is of each picture, to be compared with a model on the same ones."""
    num_objects = len(masks.class_names)
    names = [*masks.class_names, *(["background"] if masks.has_background else [])]
    oracle = MaskMetrics(names, num_objects)
    rand, jaccard, used, pictures = [], [], [], []
    for example in tqdm(masks, desc=masks.name, unit="picture", disable=not progress):
        truth = torch.where(example.mask == BACKGROUND, num_objects, example.mask)
        pieces = cut(example.picture)
        pictures.append(example.name)
        oracle.update(oracle_labels(pieces[None], truth[None], len(names))[0], truth)
        rand += adjusted_rand(pieces[None], truth[None])
        if np.isfinite(rand[-1]):
            used.append(len(pieces.unique()))
        jaccard.append(probing_jaccard(pieces, truth, num_objects, len(names)))
    found = [value for value in jaccard if value is not None]
    figures = {f"oracle_{key}": value for key, value in oracle.compute().items()} | {
        "ari": float(np.nanmean(rand)), "probing_jaccard": float(np.mean(found)) if found else None,
        "groups_used": float(np.mean(used)), "num_images": len(masks)}
    return figures, Judged(tuple(pictures), rand, {"oracle_miou": oracle.pixels_of()})


def controls(images: Tensor, masks: Tensor, num_classes: int, training: Tensor,
             patch_size: int = 8, seed: int = 0) -> list[dict[str, Any]]:
    """K-means of colours on the same pictures: what groups must be better than to be more than a palette.

    Args:
        images: (N, 3, H, W) uint8.
        masks: (N, H, W), position of the class.
        num_classes: of the masks.
        training: (M, 3, H, W) uint8, other pictures, to which the one set of clusters for all is fitted.
        patch_size: of the patches whose mean colours are clustered.

    Returns:
        For `method` "pixels", "patches" and "pixels, refined" (`refine_maps` on the clusters, as on a model's groups)
        with each number of `clusters` in each picture, and for patches with one set for all (`per_picture` false):
        `ari`, the mean over pictures, with `ari_interval`, and `ari_of_each`; `oracle_miou`, each cluster with its
        true name; `segments_used`, clusters that hold 2 % of a picture or more.
    """
    with threadpool_limits(1):   # threads that wait for each other take longer than these small problems
        return _controls(images, masks, num_classes, training, patch_size, seed)


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
    for method, clusters, per_picture, pieces in tried:
        groups = F.interpolate(torch.from_numpy(np.stack(pieces))[:, None].float(), masks.shape[-2:])[:, 0].long()
        rand = adjusted_rand(groups, masks)
        found.append({"method": method, "clusters": clusters, "per_picture": per_picture, "ari": float(np.mean(rand)),
                      "ari_interval": interval(mean_of(rand, weights)), "ari_of_each": rand,
                      "oracle_miou": oracle_miou(groups, masks, num_classes),
                      "segments_used": float(np.mean(segments_used(groups)))})
    return found


def against_controls(ari_of_each: Sequence[float], found: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The controls, each with by how much a model's groups are better, in pairs: on each picture that both have.

    Args:
        ari_of_each: the model's, of the first pictures of those that `controls` had.
        found: what `controls` returned.

    Returns them without `ari_of_each`, with `ari_difference`, above 0 where the model is better, its
    `ari_difference_interval`, and the pictures that it is of, `num_images`.
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
    """Pictures (N, 3, H, W) shrunk to (N, side, side, 3), in CIELAB."""
    small = F.interpolate(images.float() / 255, (side, side), mode="area")
    return _cielab(small.permute(0, 2, 3, 1).numpy()).astype(np.float64)


def _clusters(colours: np.ndarray, num_clusters: int, seed: int) -> np.ndarray:
    """The cluster of each place of one picture (h, w, 3): (h, w)."""
    flat = colours.reshape(-1, 3)
    # Every fourth pixel is enough to find the clusters; then each pixel takes the nearest.
    sample = flat if len(flat) <= 256 else flat[::4]
    num_clusters = min(num_clusters, len(sample))   # a very small picture has no more
    return KMeans(num_clusters, n_init=1, random_state=seed).fit(sample).predict(flat).reshape(colours.shape[:2])


def _refined(pieces: np.ndarray, image: Tensor, patch_size: int) -> np.ndarray:
    """The pieces (H, W) of an image (3, H, W) after the refinement that a model's groups have."""
    maps = F.one_hot(torch.from_numpy(pieces).long()).permute(2, 0, 1)[None].float()             # (1, K, H, W)
    return refine_maps(maps, image[None].float() / 255, _ITERATIONS, 2 * patch_size)[0].argmax(dim=0).numpy()


def _places(height: int, width: int) -> Tensor:
    """The middle of each pixel as a share of the height and width, (H, W, 2)."""
    y, x = (((torch.arange(side) + 0.5) / side) for side in (height, width))
    return torch.stack(torch.meshgrid(y, x, indexing="ij"), dim=-1)


def _resize(pieces: Tensor, picture: Tensor) -> Tensor:
    """Pieces (h, w) at the size of the picture, (H, W)."""
    return F.interpolate(pieces[None, None].float(), tuple(picture.shape[-2:]), mode="nearest-exact")[0, 0].long()
