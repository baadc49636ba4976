"""The metrics of masks and their intervals, on masks small enough to count by hand, and against slow loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_erosion
from sklearn.metrics import average_precision_score
from torchmetrics.classification import MulticlassJaccardIndex

from minigroupvit.evaluation.metrics import (
    BoundaryMetrics,
    MaskMetrics,
    average_precision_of,
    boundary_distance,
    boundary_region,
    count_pairs,
    difference,
    draws,
    interval,
    mean_of,
    miou_of,
    present_objects,
    recognition_ap,
)

NAMES = ["sun", "heart", "brick"]
RNG = np.random.default_rng(3)


# --- masks -----------------------------------------------------------------------------------------


def test_iou_is_counted_over_the_whole_set_not_per_image():
    # The sun has 1 of 1 pixels right in the first image and 0 of 3 in the second.
    truth = torch.tensor([[[0, 2, 2, 2]], [[0, 0, 0, 2]]])
    labels = torch.tensor([[[0, 2, 2, 2]], [[2, 2, 2, 2]]])
    metrics = MaskMetrics(NAMES, num_objects=2)
    for true, found in zip(truth, labels):
        metrics.update(found[None], true[None])
    found = metrics.compute()
    assert found["iou_per_class"]["sun"] == pytest.approx(1 / 4)      # per image: mean of 1 and 0
    assert found["iou_per_class"]["brick"] == pytest.approx(4 / 7)
    assert found["miou_objects"] == pytest.approx(1 / 4)
    assert found["miou_backgrounds"] == pytest.approx(4 / 7)
    assert found["miou"] == pytest.approx((1 / 4 + 4 / 7) / 2)


def test_a_class_that_is_nowhere_counts_nowhere_and_a_false_one_counts_zero():
    truth = torch.tensor([[[0, 0, 2, 2]]])
    metrics = MaskMetrics(NAMES, num_objects=2)
    metrics.update(truth, truth)
    assert metrics.compute() == {"miou": 1.0, "miou_objects": 1.0, "miou_backgrounds": 1.0,
                                 "iou_per_class": {"sun": 1.0, "brick": 1.0}}
    metrics.update(torch.tensor([[[1, 0, 2, 2]]]), truth)
    assert metrics.compute()["iou_per_class"] == pytest.approx({"sun": 3 / 4, "heart": 0.0, "brick": 1.0})


def test_iou_equals_a_slow_loop():
    truth, labels = torch.randint(3, (2, 5, 7, 7))
    metrics = MaskMetrics(NAMES, num_objects=2)
    metrics.update(labels[:2], truth[:2])
    metrics.update(labels[2:], truth[2:])
    for c, name in enumerate(NAMES):
        both = sum(int(t == c and x == c) for t, x in zip(truth.flatten(), labels.flatten()))
        either = sum(int(t == c or x == c) for t, x in zip(truth.flatten(), labels.flatten()))
        assert metrics.compute()["iou_per_class"][name] == pytest.approx(both / either)


def test_iou_is_that_of_torchmetrics():
    truth, labels = torch.randint(5, (2, 6, 9, 9))
    truth[:, :2] = 255
    metrics = MaskMetrics("abcde", 3)
    metrics.update(labels, truth)
    expected = MulticlassJaccardIndex(5, average="none", ignore_index=255)(labels, truth)
    assert list(metrics.compute()["iou_per_class"].values()) == pytest.approx(expected.tolist(), abs=1e-6)


def test_pixels_of_255_are_not_judged():
    truth, labels = torch.tensor([[0, 1, 255, 255]]), torch.tensor([[0, 0, 1, 0]])
    metrics = MaskMetrics(["sun", "heart"], 2)
    metrics.update(labels, truth)
    assert metrics.compute()["iou_per_class"] == {"sun": 0.5, "heart": 0.0}
    metrics.update(labels, torch.full_like(truth, 255))
    assert metrics.compute_of_each() == [pytest.approx(0.25), None]


@pytest.mark.parametrize("labels, truth, message", [
    ([[0, -1]], [[0, 0]], "labels go from -1 to 0, but there are 2 classes and no background"),
    ([[0, 2]], [[0, 0]], "labels go from 0 to 2"), ([[0, 1]], [[0, 7]], "masks go from 0 to 7"),
])
def test_numbers_without_a_class(labels, truth, message):
    with pytest.raises(ValueError, match=message):
        MaskMetrics(["sun", "heart"], 2).update(torch.tensor(labels), torch.tensor(truth))


def test_the_miou_of_an_image_equals_a_slow_loop():
    labels, truth = torch.randint(4, (2, 9, 9))
    truth[0] = 255
    ious = []
    for c in range(4):
        a, b = (labels == c) & (truth != 255), truth == c
        if (a | b).any():
            ious.append(((a & b).sum() / (a | b).sum()).item())
    metrics = MaskMetrics("abcde", 5)
    metrics.update(labels, truth)
    assert metrics.compute_of_each() == [pytest.approx(np.mean(ious))]


def test_pairs_are_counted_without_what_is_not_judged():
    groups, masks = torch.tensor([[[0, 0, 1, 1]]]), torch.tensor([[[2, 255, 0, 0]]])
    assert count_pairs(groups, masks, 2, 3).tolist() == [[[0, 0, 1], [2, 0, 0]]]


def test_some_of_the_images_alone():
    truth, labels = torch.randint(3, (2, 5, 7, 7))
    whole, some = MaskMetrics(NAMES, 2), MaskMetrics(NAMES, 2)
    whole.update(labels[:2], truth[:2])
    whole.update(labels[2:], truth[2:])
    some.update(labels[[4, 1]], truth[[4, 1]])
    assert whole.only([4, 1]).compute() == some.compute()
    assert whole.only([4, 1]).compute_of_each() == some.compute_of_each()


def test_average_precision_equals_a_slow_loop():
    image = torch.nn.functional.normalize(torch.randn(30, 6), dim=1)
    words = torch.nn.functional.normalize(torch.randn(4, 6), dim=1)
    present = torch.rand(30, 4) < 0.3
    present[0], present[:, 3] = True, False                            # the last is in no image: left out
    precisions = []
    for c in range(3):
        order = sorted(range(30), key=lambda i: -float(image[i] @ words[c]))
        hits, sums = 0, 0.0
        for rank, i in enumerate(order, start=1):
            if present[i, c]:
                hits += 1
                sums += hits / rank
        precisions.append(sums / hits)
    assert recognition_ap(image @ words.T, present) == pytest.approx(np.mean(precisions), abs=1e-6)


def test_present_objects_says_what_is_in_each_mask():
    masks = torch.tensor([[[0, 2], [2, 2]], [[1, 1], [0, 2]]])
    assert present_objects(masks, 2).tolist() == [[True, False], [True, True]]


# --- boundary --------------------------------------------------------------------------------------


@pytest.mark.parametrize("size, distance", [((375, 500), 12), ((480, 640), 16), ((10, 10), 1), ((448, 448), 13)])
def test_two_percent_of_the_diagonal(size, distance):
    assert boundary_distance(*size) == distance


@pytest.mark.parametrize("distance", [1, 2, 3])
def test_a_boundary_is_what_erosion_takes_off(distance):
    labels = np.kron(np.random.default_rng(0).integers(0, 3, (4, 5)), np.ones((7, 6), int))
    found = boundary_region(labels, distance)
    for c in range(3):
        mask = labels == c
        eroded = binary_erosion(mask, np.ones((3, 3)), iterations=distance, border_value=0)
        assert np.array_equal(found & mask, mask & ~eroded)


def test_boundary_iou_of_a_shifted_square():
    truth, labels = torch.zeros(40, 40, dtype=torch.long), torch.zeros(40, 40, dtype=torch.long)
    truth[10:20, 10:20], labels[10:20, 11:21] = 1, 1
    metrics = BoundaryMetrics(["wall", "square"], 2)
    metrics.update(labels, truth)                                         # d is round(0.02 · 56.6) = 1
    ring = 4 * 9                                                          # pixels of one ring
    # Shifted by one, two sides of 10 miss each other and two of 10 share 9; the corners belong to both.
    assert metrics.compute()["iou_per_class"]["square"] == pytest.approx(2 * 9 / (2 * ring - 2 * 9))
    assert set(metrics.compute()["iou_per_class"]) == {"wall", "square"}


def test_right_wherever_it_is_judged_is_one_and_truth_does_not_show_in_the_prediction():
    truth = torch.zeros(60, 60, dtype=torch.long)
    truth[20:40, 20:40] = 1
    void = truth.clone()
    void[17:43, 17:43] = 255
    void[23:37, 23:37] = 1
    noise = torch.where(void == 255, torch.randint(2, truth.shape), truth)
    metrics = BoundaryMetrics(["wall", "square"], 2)
    metrics.update(noise, void)
    assert metrics.compute()["miou"] == 1.0
    flat = BoundaryMetrics(["wall", "square"], 2)
    flat.update(torch.zeros_like(truth), void)
    edge, judged = boundary_region(np.zeros((60, 60), int), 2), int((void == 0).sum())
    near = boundary_region(np.where(np.pad(np.ones((20, 20)), 20) > 0, 1, 0), 2) & (void.numpy() == 0)
    assert flat.compute()["iou_per_class"]["wall"] == pytest.approx(edge.sum() / near.sum()) and judged > near.sum()


def test_an_image_that_is_not_judged_counts_nowhere():
    metrics = BoundaryMetrics(["wall", "square"], 2)
    metrics.update(torch.zeros(8, 8), torch.full((8, 8), 255))
    assert metrics.compute() == {"iou_per_class": {}}


# --- intervals -------------------------------------------------------------------------------------


def test_draws_are_images_with_replacement() -> None:
    weights = draws(50, 200)
    assert weights.shape == (200, 50) and (weights.sum(1) == 50).all() and weights.max() > 2
    assert (draws(50, 200) == weights).all() and (draws(50, 200, seed=1) != weights).any()


def test_the_interval_of_a_mean_has_the_width_of_its_standard_error() -> None:
    values = RNG.normal(5, 2, 400)
    low, high = interval(mean_of(values, draws(400)))
    assert low < values.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)


def test_miou_of_a_draw_is_miou_of_its_images() -> None:
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
    metrics = MaskMetrics(["a", "b"], 1)
    metrics.update(torch.zeros(1, 2, 2, dtype=torch.long), torch.tensor([[[0, 255], [255, 255]]]))
    assert metrics.draws_of("miou", np.ones((1, 1))) == pytest.approx([1.0])


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


def test_a_paired_difference_is_narrower_than_the_two_intervals() -> None:
    """Hard and easy images are so for both methods: what they share cancels out."""
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


def test_the_difference_of_two_miou_is_drawn_from_the_same_images() -> None:
    masks = torch.from_numpy(RNG.integers(0, 3, (30, 8, 8)))
    methods = []
    for wrong in (0.2, 0.5):
        labels = torch.where(torch.from_numpy(RNG.random((30, 8, 8)) < wrong), (masks + 1) % 3, masks)
        methods.append(MaskMetrics(["a", "b", "c"], 2))
        methods[-1].update(labels, masks)
    by, between = difference(miou_of, *(metrics.pixels_of() for metrics in methods))
    assert by == pytest.approx(methods[0].compute()["miou"] - methods[1].compute()["miou"], abs=1e-6)
    weights = draws(30)
    assert between == interval(methods[0].draws_of("miou", weights) - methods[1].draws_of("miou", weights))
    assert between[0] > 0


def test_other_images_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="judged on 3 and 4 images.* same order"):
        difference(mean_of, [[1.0, 2.0, 3.0]], [[1.0, 2.0, 3.0, 4.0]])


def test_an_image_without_a_value_does_not_count() -> None:
    assert mean_of([1.0, np.nan, 4.0], np.array([[1, 5, 1], [3, 0, 0]])) == pytest.approx([2.5, 1.0])
    assert np.isnan(mean_of([1.0, np.nan], np.array([[0, 2]]))).all()
