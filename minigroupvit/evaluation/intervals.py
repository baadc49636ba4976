"""95 % intervals by bootstrap over pictures: how far a metric moves if other pictures had been drawn.

The pictures are drawn anew, as many with replacement, a thousand times; the interval holds the middle 95 % of
the metrics of these draws (Efron and Tibshirani 1993). Two models on the same pictures are compared by the
interval of their difference, drawn in pairs.

R draws  N pictures  C classes
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

NUM_DRAWS = 1000


def draws(num_pictures: int, num_draws: int = NUM_DRAWS, seed: int = 0) -> np.ndarray:
    """How often each picture occurs in each draw, (R, N); a row sums to N."""
    return np.random.default_rng(seed).multinomial(num_pictures, np.full(num_pictures, 1 / num_pictures), num_draws)


def interval(values: np.ndarray) -> list[float]:
    """The middle 95 % of the metrics of all draws: [low, high]."""
    return [float(value) for value in np.nanquantile(values, (0.025, 0.975))]


def mean_of(per_picture: ArrayLike, weights: np.ndarray) -> np.ndarray:
    """The mean over the pictures (N,) in each draw, (R,)."""
    return weights @ np.asarray(per_picture, dtype=float) / weights.sum(1)


def miou_of(intersection: ArrayLike, union: ArrayLike, weights: np.ndarray) -> np.ndarray:
    """mIoU in each draw, (R,), of pixels (N, C): right of each class, and predicted or true of it.

    As everywhere, pixels of all pictures are summed before the division; a class that a draw does not have
    does not count in it.
    """
    both, either = weights @ np.asarray(intersection, dtype=float), weights @ np.asarray(union, dtype=float)   # (R, C)
    return np.nanmean(np.where(either > 0, both / np.maximum(either, 1), np.nan), axis=1)


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
