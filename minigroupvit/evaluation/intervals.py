"""95 % intervals by bootstrap over pictures: how far a metric moves if other pictures had been drawn.

The pictures are drawn anew, as many with replacement, a thousand times; the interval holds the middle 95 % of
the metrics of these draws (Efron and Tibshirani 1993). Two models on the same pictures are compared by the
interval of their difference, drawn in pairs.

R draws  N pictures  C classes
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import binomtest

NUM_DRAWS = 1000


def draws(num_pictures: int, num_draws: int = NUM_DRAWS, seed: int = 0) -> np.ndarray:
    """How often each picture occurs in each draw, (R, N); a row sums to N."""
    return np.random.default_rng(seed).multinomial(num_pictures, np.full(num_pictures, 1 / num_pictures), num_draws)


def interval(values: np.ndarray) -> list[float]:
    """The middle 95 % of the metrics of all draws: [low, high]."""
    return [float(value) for value in np.nanquantile(values, (0.025, 0.975))]


def mean_of(per_picture: ArrayLike, weights: np.ndarray) -> np.ndarray:
    """The mean over the pictures (N,) in each draw, (R,). Pictures without a value, NaN, do not count."""
    values = np.asarray(per_picture, dtype=float)
    return _share(weights @ np.nan_to_num(values), weights @ np.isfinite(values))


def miou_of(intersection: ArrayLike, union: ArrayLike, weights: np.ndarray) -> np.ndarray:
    """mIoU in each draw, (R,), of pixels (N, C): right of each class, and predicted or true of it.

    As everywhere, pixels of all pictures are summed before the division; a class that a draw does not have
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
    """`part` of a `whole` that counts pixels, pictures or classes; NaN where there are none."""
    return np.where(whole > 0, part / np.maximum(whole, 1), np.nan)


def average_precision_of(scores: ArrayLike, present: ArrayLike, weights: np.ndarray) -> np.ndarray:
    """Macro average precision in each draw, (R,), of scores and truth (N, C)."""
    scores, present = np.asarray(scores, dtype=float), np.asarray(present, dtype=float)
    found = []
    for c in np.flatnonzero(present.any(axis=0)):
        order = np.argsort(-scores[:, c], kind="stable")
        count = weights[:, order]                                     # (R, N), best score first
        true = count * present[order, c]
        precision = true.cumsum(1) / np.maximum(count.cumsum(1), 1)
        # Copies of one picture are tied: each counts with the precision behind the last of them.
        found.append((precision * true).sum(1) / np.maximum(true.sum(1), 1))
    return np.mean(found, axis=0)


def difference(metric: Callable[..., np.ndarray], ours: Sequence[ArrayLike], theirs: Sequence[ArrayLike],
               num_draws: int = NUM_DRAWS, seed: int = 0) -> tuple[float, list[float]]:
    """By how much one method is better than another on the same pictures, and the 95 % interval of that.

    Each draw of pictures judges both methods, so what makes a picture hard for both of them cancels out: the
    interval is narrower than those of the two metrics. Where it holds 0, the pictures do not tell which is better.

    Args:
        metric: `mean_of`, `miou_of` or `average_precision_of`.
        ours: what it takes of each picture, without the weights: arrays (N, ...).
        theirs: the same of the other method, in the same order of pictures.

    Raises ValueError where the two are not of as many pictures.
    """
    counts = {len(values) for values in (*ours, *theirs)}
    if len(counts) != 1:
        raise ValueError(f"the methods were judged on {' and '.join(map(str, sorted(counts)))} pictures; a paired "
                         "comparison needs the same ones, in the same order")
    whole, weights = np.ones((1, *counts)), draws(*counts, num_draws, seed)
    return (float((metric(*ours, whole) - metric(*theirs, whole))[0]),
            interval(metric(*ours, weights) - metric(*theirs, weights)))


@dataclass(frozen=True)
class Judged:
    """What a method has of each picture, to be compared with another method on the same pictures."""

    names: tuple[str, ...]                             # of the N pictures
    ari: ArrayLike                                     # (N,) NaN where nothing is judged
    pixels: Mapping[str, tuple[ArrayLike, ArrayLike]]  # `miou` or `oracle_miou`: what `miou_of` takes, (N, C) each

    def only(self, names: Sequence[str]) -> Judged:
        """The same of these pictures alone. Raises ValueError for a picture that was not judged."""
        missing = sorted(set(names) - set(self.names))
        if missing:
            raise ValueError(f"{len(missing)} of {len(names)} pictures, such as {missing[0]}, were not judged")
        rows = [self.names.index(name) for name in names]
        return Judged(tuple(names), np.asarray(self.ari)[rows], {
            key: (np.asarray(both)[rows], np.asarray(either)[rows]) for key, (both, either) in self.pixels.items()})

    def minus(self, other: Judged) -> dict[str, Any]:
        """`ari_difference` with `ari_difference_interval`, and so on for what both have; `num_images`.

        Raises ValueError where the other was judged on other pictures.
        """
        if self.names != other.names:
            raise ValueError(f"the methods were judged on {len(self.names)} and {len(other.names)} pictures that are "
                             "not the same ones in the same order; take those that both have, by `only`")
        found = {"ari": difference(mean_of, [self.ari], [other.ari])} | {
            key: difference(miou_of, self.pixels[key], other.pixels[key]) for key in self.pixels if key in other.pixels}
        return {"num_images": len(self.names)} | {
            name: value for key, (by, between) in found.items()
            for name, value in ((f"{key}_difference", by), (f"{key}_difference_interval", between))}
