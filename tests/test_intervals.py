"""Bootstrap intervals: against what each draw would give by itself, and their width."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from minigroupvit.evaluation.intervals import (
    Judged,
    average_precision_of,
    difference,
    draws,
    interval,
    mean_of,
    miou_of,
)
from minigroupvit.evaluation.metrics import MaskMetrics, segments_used

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
    whole = MaskMetrics(["a", "b", "c", "d"], 2)
    whole.update(labels, masks)
    weights = draws(6, 20)
    for key in ("miou", "miou_objects", "miou_backgrounds"):
        for drawn, value in zip(weights, whole.draws_of(key, weights)):
            again = MaskMetrics(["a", "b", "c", "d"], 2)
            chosen = np.repeat(np.arange(6), drawn)
            again.update(labels[chosen], masks[chosen])
            assert value == pytest.approx(again.compute()[key], abs=1e-6)


def test_pixels_that_are_not_judged_and_absent_classes_do_not_count() -> None:
    found = miou_of([[4, 0], [0, 0]], [[4, 0], [0, 0]], np.ones((1, 2)))
    assert found == pytest.approx([1.0])
    figures = MaskMetrics(["a", "b"], 1)
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


def test_a_paired_difference_is_narrower_than_the_two_intervals() -> None:
    """Hard and easy pictures are so for both methods: what they share cancels out."""
    hard = RNG.normal(0, 0.3, 300)
    ours, theirs = (0.5 + hard + RNG.normal(shift, 0.02, 300) for shift in (0.02, 0.0))
    by, (low, high) = difference(mean_of, [ours], [theirs])
    assert by == pytest.approx(ours.mean() - theirs.mean()) and 0 < low < by < high
    assert high - low == pytest.approx(2 * 1.96 * (ours - theirs).std() / np.sqrt(300), rel=0.1)
    alone = interval(mean_of(ours, draws(300)))
    assert alone[1] - alone[0] > 5 * (high - low)
    # The other way round it is the same with the other sign; against itself it is nothing.
    assert difference(mean_of, [theirs], [ours])[0] == pytest.approx(-by)
    assert difference(mean_of, [ours], [ours]) == (0.0, [0.0, 0.0])


def test_the_difference_of_two_miou_is_drawn_from_the_same_pictures() -> None:
    masks = torch.from_numpy(RNG.integers(0, 3, (30, 8, 8)))
    methods = []
    for wrong in (0.2, 0.5):
        labels = torch.where(torch.from_numpy(RNG.random((30, 8, 8)) < wrong), (masks + 1) % 3, masks)
        methods.append(MaskMetrics(["a", "b", "c"], 2))
        methods[-1].update(labels, masks)
    by, between = difference(miou_of, *(figures.pixels_of() for figures in methods))
    assert by == pytest.approx(methods[0].compute()["miou"] - methods[1].compute()["miou"], abs=1e-6)
    weights = draws(30)
    assert between == interval(methods[0].draws_of("miou", weights) - methods[1].draws_of("miou", weights))
    assert between[0] > 0


def test_other_pictures_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="judged on 3 and 4 pictures.* same order"):
        difference(mean_of, [[1.0, 2.0, 3.0]], [[1.0, 2.0, 3.0, 4.0]])
    ours, theirs = (Judged(names, [0.5, 0.1], {}) for names in (("p", "q"), ("q", "p")))
    with pytest.raises(ValueError, match="not the same ones in the same order.*`only`"):
        ours.minus(theirs)
    assert ours.minus(theirs.only(("p", "q")))["ari_difference"] == pytest.approx(0.0)
    with pytest.raises(ValueError, match="1 of 2 pictures, such as r, were not judged"):
        ours.only(("p", "r"))


def test_a_picture_without_a_value_does_not_count() -> None:
    assert mean_of([1.0, np.nan, 4.0], np.array([[1, 5, 1], [3, 0, 0]])) == pytest.approx([2.5, 1.0])
    assert np.isnan(mean_of([1.0, np.nan], np.array([[0, 2]]))).all()


def test_what_both_methods_have_is_compared() -> None:
    ours = Judged(("p", "q"), [0.5, 0.3], {"miou": ([[1], [1]], [[2], [2]]), "oracle_miou": ([[3], [3]], [[4], [4]])})
    theirs = Judged(("p", "q"), [0.1, 0.1], {"oracle_miou": ([[1], [1]], [[4], [4]])})
    found = ours.minus(theirs)
    assert set(found) == {"num_images", *(f"{key}_difference{end}" for key in ("ari", "oracle_miou")
                                          for end in ("", "_interval"))}
    assert found["num_images"] == 2 and found["oracle_miou_difference"] == pytest.approx(0.5)
    assert found["ari_difference"] == pytest.approx(0.3)
    assert found["ari_difference_interval"] == pytest.approx([0.2, 0.4])
