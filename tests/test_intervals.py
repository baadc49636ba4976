"""Bootstrap intervals: against what each draw would give by itself, and their width."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from minigroupvit.evaluation.intervals import average_precision_of, draws, interval, mean_of, miou_of
from minigroupvit.evaluation.metrics import MaskFigures, segments_used

RNG = np.random.default_rng(3)


def test_draws_are_pictures_with_replacement() -> None:
    weights = draws(50, 200)
    assert weights.shape == (200, 50) and (weights.sum(1) == 50).all() and weights.max() > 2
    assert (draws(50, 200) == weights).all() and (draws(50, 200, seed=1) != weights).any()


def test_the_interval_of_a_mean_has_the_width_of_its_standard_error() -> None:
    values = RNG.normal(5, 2, 400)
    low, high = interval(mean_of(values, draws(400)))
    assert low < values.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)


def test_miou_of_a_draw_is_miou_of_its_pictures() -> None:
    labels, masks = (torch.from_numpy(RNG.integers(0, 4, (6, 5, 5))) for _ in range(2))
    whole = MaskFigures(["a", "b", "c", "d"], 2)
    whole.update(labels, masks)
    weights = draws(6, 20)
    for key in ("miou", "miou_objects", "miou_backgrounds"):
        for drawn, value in zip(weights, whole.draws_of(key, weights)):
            again = MaskFigures(["a", "b", "c", "d"], 2)
            chosen = np.repeat(np.arange(6), drawn)
            again.update(labels[chosen], masks[chosen])
            assert value == pytest.approx(again.compute()[key], abs=1e-6)


def test_pixels_that_are_not_judged_and_absent_classes_do_not_count() -> None:
    found = miou_of([[4, 0], [0, 0]], [[4, 0], [0, 0]], np.ones((1, 2)))
    assert found == pytest.approx([1.0])
    figures = MaskFigures(["a", "b"], 1)
    figures.update(torch.zeros(1, 2, 2, dtype=torch.long), torch.tensor([[[0, 255], [255, 255]]]))
    assert figures.draws_of("miou", np.ones((1, 1))) == pytest.approx([1.0])


def test_average_precision_of_a_draw_is_scikit_learns() -> None:
    scores, present = RNG.normal(size=(40, 3)), RNG.random((40, 3)) < 0.4
    whole = np.ones((1, 40), dtype=int)
    expected = np.mean([average_precision_score(present[:, c], scores[:, c]) for c in range(3)])
    assert average_precision_of(scores, present, whole) == pytest.approx([expected])
    weights = draws(40, 5)
    for drawn, value in zip(weights, average_precision_of(scores, present, weights)):
        expected = np.mean([average_precision_score(present[:, c], scores[:, c], sample_weight=drawn)
                            for c in range(3)])
        assert value == pytest.approx(expected, abs=1e-9)


def test_segments_used_leaves_out_crumbs() -> None:
    groups = torch.zeros(2, 10, 10, dtype=torch.long)
    groups[0, 0, :2] = 1                   # 2 %
    groups[1, 0, 0] = 3                    # 1 %
    assert segments_used(groups) == [2, 1]
