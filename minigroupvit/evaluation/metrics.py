"""The metrics of masks, and their 95 % intervals. All metrics are fractions from 0 to 1.

`MaskMetrics` judges named masks by mIoU, the mean over the classes of intersection over union, and `BoundaryMetrics`
the pixels near their contours. `recognition_ap` judges what a model says of the whole image.

The intervals are by bootstrap over images: how far a metric moves if other images had been drawn. The images are drawn
anew, as many with replacement, a thousand times; the interval holds the middle 95 % of the metrics of these draws
(Efron and Tibshirani 1993). Two methods on the same images are compared by the interval of their difference, drawn in
pairs.

R draws  N, B images  G groups  C classes  H, W image
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.ndimage import distance_transform_edt, maximum_filter, minimum_filter
from scipy.stats import binomtest
from sklearn.metrics import average_precision_score
from torch import Tensor

NUM_DRAWS = 1000
DILATION_RATIO = 0.02   # of the diagonal: how near to a contour the boundary is


def count_pairs(groups: Tensor, masks: Tensor, num_groups: int, num_classes: int) -> Tensor:
    """Pixels that lie in each group and truly are of each class: (B, H, W) both -> (B, G, C).

    Pixels whose class is no number below `num_classes` (255: not judged) are left out.
    """
    B = groups.shape[0]
    image = torch.arange(B, device=groups.device).view(-1, 1, 1).expand_as(groups)
    judged = masks < num_classes
    pairs = ((image * num_groups + groups) * num_classes + masks)[judged]
    return torch.bincount(pairs, minlength=B * num_groups * num_classes).view(B, num_groups, num_classes)


class MaskMetrics:
    """mIoU over a whole set: the pixels of all images are summed before the division.

    Args:
        class_names: objects first, then backgrounds.
        num_objects: how many of them are objects.
        num_uncounted: further classes after them, which may be wrong, but have no metric.
    """

    def __init__(self, class_names: Sequence[str], num_objects: int, num_uncounted: int = 0) -> None:
        self.class_names = list(class_names)
        self.num_objects = num_objects
        self.num_classes = len(self.class_names) + num_uncounted
        self._parts = {"miou": slice(None), "miou_objects": slice(num_objects),
                       "miou_backgrounds": slice(num_objects, None)}
        self._pixels: list[Tensor] = []   # of each image and class: intersection and union, (2, B, C)

    def update(self, labels: Tensor, masks: Tensor) -> None:
        """Labels and true masks of one shape, (B, H, W), or of one image; masks of 255 are not judged.

        Raises ValueError for other numbers.
        """
        labels, masks = labels.cpu(), masks.cpu()
        for kind, numbers in (("labels", labels), ("masks", masks[masks != 255])):
            if numbers.numel() and not 0 <= numbers.min() <= numbers.max() < self.num_classes:
                raise ValueError(f"{kind} go from {numbers.min()} to {numbers.max()}, but there are {self.num_classes} "
                                 f"classes{' and no background' if numbers.min() == -1 else ''}")
        if labels.ndim < 3:   # one image, or pixels in a row
            labels, masks = labels.reshape(1, 1, -1), masks.reshape(1, 1, -1)
        pairs = count_pairs(labels, masks, self.num_classes, self.num_classes)           # (B, predicted, true)
        both = pairs.diagonal(dim1=1, dim2=2)
        either = pairs.sum(dim=1) + pairs.sum(dim=2) - both
        self._pixels.append(torch.stack([both, either])[:, :, :len(self.class_names)])

    def only(self, rows: Sequence[int]) -> MaskMetrics:
        """The same of these images alone, which are numbered as they came."""
        part = MaskMetrics(self.class_names, self.num_objects, self.num_classes - len(self.class_names))
        part._pixels = [torch.cat(self._pixels, dim=1)[:, list(rows)]]
        return part

    def pixels_of(self, key: str = "miou") -> tuple[np.ndarray, np.ndarray]:
        """Intersection and union for `miou`, `miou_objects` or `miou_backgrounds`, as `miou_of` takes them: (N, C) each."""
        both, either = torch.cat(self._pixels, dim=1)[:, :, self._parts[key]].numpy()
        return both, either

    def draws_of(self, key: str, weights: np.ndarray) -> np.ndarray:
        """`miou`, `miou_objects` or `miou_backgrounds` in each draw of images (`draws`)."""
        return miou_of(*self.pixels_of(key), weights)

    def compute(self) -> dict[str, Any]:
        """mIoU of all classes, objects, backgrounds, and the IoU of each.

        A class that is neither in a mask nor among the labels has no IoU and counts nowhere.
        """
        both, either = (pixels.sum(axis=0) for pixels in self.pixels_of())               # (C,) each
        iou, seen = both / np.maximum(either, 1), either > 0
        metrics: dict[str, Any] = {}
        for key, part in self._parts.items():
            if seen[part].any():
                metrics[key] = float(iou[part][seen[part]].mean())
        names = zip(self.class_names, iou.tolist(), seen.tolist())
        return metrics | {"iou_per_class": {name: value for name, value, is_seen in names if is_seen}}

    def compute_of_each(self) -> list[float | None]:
        """mIoU of each image by itself; None where nothing is judged."""
        pixels = torch.cat(self._pixels, dim=1).double()                                 # (2, N, C)
        return [(both[either > 0] / either[either > 0]).mean().item() if either.any() else None
                for both, either in zip(*pixels)]


class BoundaryMetrics(MaskMetrics):
    """Boundary mIoU, in brackets in Table 3: how well masks fit along their edges.

    The definition is that of Boundary IoU (Cheng et al., CVPR 2021): of each mask only the pixels within d of its
    contour count, d being 2 % of the image's diagonal; then intersection over union, here per class over the whole set.
    The edge of the image is a contour.

    The paper says no more than "boundary mIoU". What to do at pixels that are not judged is ours. In VOC they lie exactly
    along the contours; there truth and prediction both take what they have at the nearest judged pixel. So masks that are
    right wherever they are judged score 1, and the truth's contours do not show in the prediction.
    """

    def __init__(self, class_names: Sequence[str], num_objects: int) -> None:
        super().__init__(class_names, num_objects, num_uncounted=1)      # what is no boundary

    def update(self, labels: Tensor, masks: Tensor) -> None:
        """Labels and true masks of one image, (H, W)."""
        inside = self.num_classes - 1
        labels, masks = (x.cpu().numpy().astype(np.int16) for x in (labels, masks))
        void = masks == 255
        if void.any() and not void.all():
            nearest = tuple(distance_transform_edt(void, return_distances=False, return_indices=True))
            labels, masks = labels[nearest], masks[nearest]
        distance = boundary_distance(*labels.shape)
        labels, masks = (np.where(boundary_region(x, distance), x, inside) for x in (labels, masks))
        super().update(torch.from_numpy(labels).long(), torch.from_numpy(np.where(void, 255, masks)).long())


def boundary_distance(height: int, width: int, ratio: float = DILATION_RATIO) -> int:
    """How many pixels from the contour still count; at least 1."""
    return max(1, round(ratio * math.hypot(height, width)))


def boundary_region(labels: np.ndarray, distance: int) -> np.ndarray:
    """Pixels within `distance` of another class or of the image's edge: (H, W) of numbers from 0 -> true or false.

    Such a pixel is what `distance` erosions by 3 × 3 take off its class, and sees another number in
    the square around it: so all classes are found at once.
    """
    side = 2 * distance + 1
    largest = maximum_filter(labels, side, mode="constant", cval=-1)
    smallest = minimum_filter(labels, side, mode="constant", cval=-1)     # -1: outside of the image
    return largest != smallest


def present_objects(masks: Tensor, num_objects: int) -> Tensor:
    """Which of the first classes an image shows: (B, H, W) -> (B, num_objects), true or false."""
    return torch.stack([(masks == c).flatten(1).any(dim=1) for c in range(num_objects)], dim=1)


def recognition_ap(scores: ArrayLike, present: ArrayLike) -> float:
    """Average precision, the mean over the classes, of the scores of whole images (N, C) for present (N, C).

    Classes that no image shows are left out.
    """
    scores, present = np.asarray(scores), np.asarray(present)
    return float(np.mean([average_precision_score(present[:, c], scores[:, c])
                          for c in np.flatnonzero(present.any(axis=0))]))


def draws(num_images: int, num_draws: int = NUM_DRAWS, seed: int = 0) -> np.ndarray:
    """How often each image occurs in each draw, (R, N); a row sums to N."""
    return np.random.default_rng(seed).multinomial(num_images, np.full(num_images, 1 / num_images), num_draws)


def interval(values: np.ndarray) -> list[float]:
    """The middle 95 % of the metrics of all draws: [low, high]."""
    return [float(value) for value in np.nanquantile(values, (0.025, 0.975))]


def mean_of(per_image: ArrayLike, weights: np.ndarray) -> np.ndarray:
    """The mean over the images (N,) in each draw, (R,). Images without a value, NaN, do not count."""
    values = np.asarray(per_image, dtype=float)
    return _share(weights @ np.nan_to_num(values), weights @ np.isfinite(values))


def miou_of(intersection: ArrayLike, union: ArrayLike, weights: np.ndarray) -> np.ndarray:
    """mIoU in each draw, (R,), of pixels (N, C): right of each class, and predicted or true of it.

    As everywhere, pixels of all images are summed before the division; a class that a draw does not have
    does not count in it.
    """
    both, either = weights @ np.asarray(intersection, dtype=float), weights @ np.asarray(union, dtype=float)   # (R, C)
    return _share(np.nan_to_num(_share(both, either)).sum(1), (either > 0).sum(1))


def mean_interval(values: ArrayLike) -> tuple[float, float, float]:
    """The mean of one value an image or object, and its 95 % interval: (mean, low, high)."""
    return (float(np.mean(values)), *interval(mean_of(values, draws(len(values)))))


def kept_interval(kept: ArrayLike) -> tuple[float, float, float]:
    """The share of true ones among yes and no, and its 95 % interval (Wilson): (share, low, high)."""
    kept = np.asarray(kept, dtype=bool)
    between = binomtest(int(kept.sum()), len(kept)).proportion_ci(method="wilson")
    return float(kept.mean()), float(between.low), float(between.high)


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """`part` of a `whole` that counts pixels, images or classes; NaN where there are none."""
    return np.where(whole > 0, part / np.maximum(whole, 1), np.nan)


def average_precision_of(scores: ArrayLike, present: ArrayLike, weights: np.ndarray) -> np.ndarray:
    """`recognition_ap` in each draw, (R,), of scores and truth (N, C)."""
    scores, present = np.asarray(scores, dtype=float), np.asarray(present, dtype=float)
    found = []
    for c in np.flatnonzero(present.any(axis=0)):
        order = np.argsort(-scores[:, c], kind="stable")
        count = weights[:, order]                                     # (R, N), best score first
        true = count * present[order, c]
        precision = true.cumsum(1) / np.maximum(count.cumsum(1), 1)
        # Copies of one image are tied: each counts with the precision behind the last of them.
        found.append((precision * true).sum(1) / np.maximum(true.sum(1), 1))
    return np.mean(found, axis=0)


def difference(metric: Callable[..., np.ndarray], ours: Sequence[ArrayLike], theirs: Sequence[ArrayLike],
               num_draws: int = NUM_DRAWS, seed: int = 0) -> tuple[float, list[float]]:
    """By how much one method is better than another on the same images, and the 95 % interval of that.

    Each draw of images judges both methods, so what makes an image hard for both of them cancels out: the
    interval is narrower than those of the two metrics. Where it holds 0, the images do not tell which is better.

    Args:
        metric: `mean_of`, `miou_of` or `average_precision_of`.
        ours: what it takes of each image, without the weights: arrays (N, ...).
        theirs: the same of the other method, in the same order of images.

    Raises ValueError where the two are not of as many images.
    """
    counts = {len(values) for values in (*ours, *theirs)}
    if len(counts) != 1:
        raise ValueError(f"the methods were judged on {' and '.join(map(str, sorted(counts)))} images; a paired "
                         "comparison needs the same ones, in the same order")
    whole, weights = np.ones((1, *counts)), draws(*counts, num_draws, seed)
    return (float((metric(*ours, whole) - metric(*theirs, whole))[0]),
            interval(metric(*ours, weights) - metric(*theirs, weights)))
