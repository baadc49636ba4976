"""Cuts of a photograph that need no training: what a model's groups have to beat.

A cut is a function from a picture (3, H, W), uint8, to the number of each pixel's piece (H, W). Those here
know colours, or only where a pixel lies: photographers put things into the middle, and a cut into middle
and border agrees with masks without having seen anything.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from skimage.color import rgb2lab
from skimage.segmentation import felzenszwalb, slic
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score
from threadpoolctl import threadpool_limits
from torch import Tensor
from tqdm import tqdm

from .groups import probing_jaccard
from .intervals import draws, interval, mean_of
from .mask_sets import BACKGROUND, IGNORED, MaskSet
from .metrics import MaskFigures, oracle_labels, segments_used

CLUSTERS = (2, 3, 4, 6, 8)    # tried in each picture; `SHARED_CLUSTERS` is one set for all pictures
SHARED_CLUSTERS = 16

Cut = Callable[[Tensor], Tensor]

_SIDE = 64   # pictures are shrunk to this many pixels a side before they are clustered


def colour_clusters(num_pieces: int = 8, position: float = 0.0, seed: int = 0) -> Cut:
    """K-means on the pixels of each picture: their colours in CIELAB and, if `position` is above 0, their place.

    position: how many units of colour (100: black to white) the sides of the picture are long.
    """
    def cut(picture: Tensor) -> Tensor:
        small = F.interpolate(picture[None].float() / 255, (_SIDE, _SIDE), mode="area")[0]     # (3, s, s)
        features = rgb2lab(small.permute(1, 2, 0).numpy()).reshape(-1, 3)                      # (s·s, 3)
        if position:
            features = np.concatenate([features, position * _places(_SIDE, _SIDE).reshape(-1, 2).numpy()], axis=1)
        # One start is enough: another seed moves the figures of a whole set by less than they differ.
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
        if method == "slic":
            pieces = slic(pixels, n_segments=num_pieces, start_label=0)
        else:
            pieces = felzenszwalb(pixels, scale=100, sigma=0.8, min_size=pixels[..., 0].size // (2 * num_pieces))
        return torch.from_numpy(pieces.astype(np.int64))

    return cut


def evaluate_cut(cut: Cut, masks: MaskSet, progress: bool = False) -> dict[str, Any]:
    """How well a cut agrees with true masks, by the same figures as a model's groups in `evaluate_masks`.

    Returns `ari`, the mean over pictures of the adjusted Rand index (0: chance, 1: the masks);
    `oracle_miou` and what else there is if each piece had its true name; `probing_jaccard`; `groups_used`.
    """
    num_objects = len(masks.class_names)
    names = [*masks.class_names, *(["background"] if masks.has_background else [])]
    oracle = MaskFigures(names, num_objects)
    rand, jaccard, used = [], [], []
    for example in tqdm(masks, desc=masks.name, unit="picture", disable=not progress):
        truth = torch.where(example.mask == BACKGROUND, num_objects, example.mask)
        pieces = cut(example.picture)
        oracle.update(oracle_labels(pieces[None], truth[None], len(names))[0], truth)
        judged = truth != IGNORED
        if judged.any():
            rand.append(adjusted_rand_score(truth[judged].numpy(), pieces[judged].numpy()))
            used.append(len(pieces.unique()))
        jaccard.append(probing_jaccard(pieces, truth, num_objects, len(names)))
    found = [value for value in jaccard if value is not None]
    return {f"oracle_{key}": value for key, value in oracle.compute().items()} | {
        "ari": float(np.mean(rand)), "probing_jaccard": float(np.mean(found)) if found else None,
        "groups_used": float(np.mean(used)), "num_images": len(masks)}


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
        For `method` "pixels" and "patches" with each number of `clusters` in each picture, and for patches with one
        set for all (`per_picture` false): `ari`, the mean over pictures, with `ari_interval`; `oracle_miou`, each
        cluster with its true name; `segments_used`, clusters that hold 2 % of a picture or more.
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
        [("patches", SHARED_CLUSTERS, False, [shared.predict(one.reshape(-1, 3)).reshape(one.shape[:2])
                                              for one in patches])])
    weights = draws(len(images))
    found = []
    for method, clusters, per_picture, pieces in tried:
        groups = F.interpolate(torch.from_numpy(np.stack(pieces))[:, None].float(), masks.shape[-2:])[:, 0].long()
        oracle = MaskFigures([str(c) for c in range(num_classes)], num_classes)
        oracle.update(oracle_labels(groups, masks.long(), num_classes), masks.long())
        rand = [adjusted_rand_score(t.flatten(), g.flatten()) for t, g in zip(masks.numpy(), groups.numpy())]
        found.append({"method": method, "clusters": clusters, "per_picture": per_picture, "ari": float(np.mean(rand)),
                      "ari_interval": interval(mean_of(rand, weights)), "oracle_miou": oracle.compute()["miou"],
                      "segments_used": float(np.mean(segments_used(groups)))})
    return found


def _lab(images: Tensor, side: int) -> np.ndarray:
    """Pictures (N, 3, H, W) shrunk to (N, side, side, 3), in CIELAB, where distances are as we see them."""
    small = F.interpolate(images.float() / 255, (side, side), mode="area")
    return rgb2lab(small.permute(0, 2, 3, 1).numpy()).astype(np.float64)


def _clusters(colours: np.ndarray, num_clusters: int, seed: int) -> np.ndarray:
    """The cluster of each place of one picture (h, w, 3): (h, w)."""
    flat = colours.reshape(-1, 3)
    # Every fourth pixel is enough to find the clusters; then each pixel takes the nearest.
    sample = flat if len(flat) <= 256 else flat[::4]
    num_clusters = min(num_clusters, len(sample))   # a very small picture has no more
    return KMeans(num_clusters, n_init=1, random_state=seed).fit(sample).predict(flat).reshape(colours.shape[:2])


def _places(height: int, width: int) -> Tensor:
    """The middle of each pixel as a share of the height and width, (H, W, 2)."""
    y, x = (((torch.arange(side) + 0.5) / side) for side in (height, width))
    return torch.stack(torch.meshgrid(y, x, indexing="ij"), dim=-1)


def _resize(pieces: Tensor, picture: Tensor) -> Tensor:
    """Pieces (h, w) at the size of the picture, (H, W)."""
    return F.interpolate(pieces[None, None].float(), tuple(picture.shape[-2:]), mode="nearest-exact")[0, 0].long()
