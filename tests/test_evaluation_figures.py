"""Boundary IoU, oracle labels of windows, mask probing, clusters: against hand counts and slow loops."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_erosion
from sklearn.cluster import KMeans

from minigroupvit.evaluation.clusters import METHODS, cluster_patches
from minigroupvit.evaluation.groups import oracle_pixels, probing_jaccard
from minigroupvit.evaluation.metrics import (
    BoundaryMetrics,
    MaskMetrics,
    boundary_distance,
    boundary_region,
    count_pairs,
    oracle_labels,
)
from minigroupvit.evaluation.photographs import picture_miou
from minigroupvit.images import normalize
from minigroupvit.segmentation.options import InferenceOptions
from minigroupvit.segmentation.segment import encode_windows, segment
from minigroupvit.visual.figures import best_and_worst

NAMES = ["sun", "heart", "brick"]
PLAIN = {"depths": (2,), "num_group_tokens": (0,), "num_output_groups": (0,)}


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
    figures = BoundaryMetrics(["wall", "square"], 2)
    figures.update(labels, truth)                                         # d is round(0.02 · 56.6) = 1
    ring = 4 * 9                                                          # pixels of one ring
    # Shifted by one, two sides of 10 miss each other and two of 10 share 9; the corners belong to both.
    assert figures.compute()["iou_per_class"]["square"] == pytest.approx(2 * 9 / (2 * ring - 2 * 9))
    assert set(figures.compute()["iou_per_class"]) == {"wall", "square"}


def test_right_wherever_it_is_judged_is_one_and_truth_does_not_show_in_the_prediction():
    truth = torch.zeros(60, 60, dtype=torch.long)
    truth[20:40, 20:40] = 1
    void = truth.clone()
    void[17:43, 17:43] = 255
    void[23:37, 23:37] = 1
    noise = torch.where(void == 255, torch.randint(2, truth.shape), truth)
    figures = BoundaryMetrics(["wall", "square"], 2)
    figures.update(noise, void)
    assert figures.compute()["miou"] == 1.0
    flat = BoundaryMetrics(["wall", "square"], 2)
    flat.update(torch.zeros_like(truth), void)
    edge, judged = boundary_region(np.zeros((60, 60), int), 2), int((void == 0).sum())
    near = boundary_region(np.where(np.pad(np.ones((20, 20)), 20) > 0, 1, 0), 2) & (void.numpy() == 0)
    assert flat.compute()["iou_per_class"]["wall"] == pytest.approx(edge.sum() / near.sum()) and judged > near.sum()


def test_a_picture_that_is_not_judged_counts_nowhere():
    figures = BoundaryMetrics(["wall", "square"], 2)
    figures.update(torch.zeros(8, 8), torch.full((8, 8), 255))
    assert figures.compute() == {"iou_per_class": {}}


# --- figures of masks ------------------------------------------------------------------------------


def test_pixels_of_255_are_not_judged():
    truth, labels = torch.tensor([[0, 1, 255, 255]]), torch.tensor([[0, 0, 1, 0]])
    figures = MaskMetrics(["sun", "heart"], 2)
    figures.update(labels, truth)
    assert figures.compute()["iou_per_class"] == {"sun": 0.5, "heart": 0.0}
    assert picture_miou(labels, truth, 2) == pytest.approx(0.25)
    assert picture_miou(labels, torch.full_like(truth, 255), 2) is None


@pytest.mark.parametrize("labels, truth, message", [
    ([[0, -1]], [[0, 0]], "labels go from -1 to 0, but there are 2 classes and no background"),
    ([[0, 2]], [[0, 0]], "labels go from 0 to 2"), ([[0, 1]], [[0, 7]], "masks go from 0 to 7"),
])
def test_numbers_without_a_class(labels, truth, message):
    with pytest.raises(ValueError, match=message):
        MaskMetrics(["sun", "heart"], 2).update(torch.tensor(labels), torch.tensor(truth))


def test_picture_miou_equals_a_slow_loop():
    labels, truth = torch.randint(4, (2, 9, 9))
    truth[0] = 255
    ious = []
    for c in range(4):
        a, b = (labels == c) & (truth != 255), truth == c
        if (a | b).any():
            ious.append(((a & b).sum() / (a | b).sum()).item())
    assert picture_miou(labels, truth, 5) == pytest.approx(np.mean(ious))


def test_pairs_are_counted_without_what_is_not_judged():
    groups, masks = torch.tensor([[[0, 0, 1, 1]]]), torch.tensor([[[2, 255, 0, 0]]])
    assert count_pairs(groups, masks, 2, 3).tolist() == [[[0, 0, 1], [2, 0, 0]]]


def test_the_best_and_the_worst_are_never_the_same():
    pictures = {"a": 0.1, "b": 0.9, "c": None, "d": 0.5, "e": 0.4}
    assert best_and_worst(pictures, 1) == (["b"], ["a"])
    assert best_and_worst(pictures, 3) == (["b", "d"], ["a", "e"])
    assert best_and_worst({"a": 0.2}, 2) == (["a"], [])


# --- oracle and probing ----------------------------------------------------------------------------


def test_oracle_of_a_picture_as_a_whole_is_the_plain_oracle(make_model):
    model, image = make_model().eval(), torch.rand(3, 20, 28)
    mask = torch.randint(3, (20, 28))
    seen, = encode_windows(model, [image], torch.eye(12)[:3], InferenceOptions())
    groups = segment(model, image, NAMES).groups[-1]
    assert torch.equal(oracle_pixels(seen, mask, 3, InferenceOptions()), oracle_labels(groups, mask[None], 3)[0])


def test_the_oracle_names_the_groups_of_each_window_and_windows_vote(make_model):
    """Windows that do not overlap, nothing resized: each is named as if it were a picture of its own."""
    model, image, mask = make_model().eval(), torch.rand(3, 16, 32), torch.randint(3, (16, 32))
    mask[:, :3] = 255
    protocol = InferenceOptions(mode="slide", window=16, stride=16)
    classes = torch.eye(12)[:3]
    found = oracle_pixels(encode_windows(model, [image], classes, protocol)[0], mask, 3, protocol)
    for part in (slice(0, 16), slice(16, 32)):
        groups = segment(model, image[..., part], NAMES).groups[-1]
        expected = oracle_labels(groups, mask[None, :, part], 3)[0]
        judged = mask[:, part] != 255
        assert torch.equal(found[:, part][judged], expected[judged])
    # With the mirrored picture and windows over each other the true names are at least as good as any others.
    protocol = replace(protocol, stride=5, flip=True, short_side=12)
    seen, = encode_windows(model, [image], classes, protocol)
    right = (oracle_pixels(seen, mask, 3, protocol) == mask).sum()
    assert right > max((mask == c).sum() for c in range(3)) * 0.9


def test_probing_takes_the_best_group_of_each_object():
    #           cat (0)     dog (1)     background (2)
    groups = torch.tensor([[0, 0, 0, 1, 1, 2, 2, 2]])
    mask = torch.tensor([[0, 0, 255, 0, 1, 1, 2, 2]])
    # cat: group 0 has 2 of 3 pixels and no other judged one; dog: group 1 has 1 of 3, group 2 has 1 of 4.
    assert probing_jaccard(groups, mask, 2, 3) == pytest.approx((2 / 3 + 1 / 3) / 2)
    assert probing_jaccard(groups, torch.full_like(mask, 2), 2, 3) is None


# --- clusters --------------------------------------------------------------------------------------


def test_pixels_go_to_the_nearest_centre_of_their_features(make_model):
    model, image = make_model(**PLAIN).eval(), torch.rand(3, 16, 16)
    protocol = InferenceOptions(top_classes=None)
    seen, = encode_windows(model, [image], torch.eye(12)[:3], protocol, regroup=cluster_patches("kmeans", 3))
    with torch.no_grad():
        _, output = model.encode_image(normalize(image[None]))
        tokens = output.segment_tokens[0]
        labels = KMeans(3, n_init=4, random_state=0).fit_predict(tokens.numpy())
        centres = torch.stack([tokens[labels == k].mean(0) for k in range(3)])
        large = torch.nn.functional.interpolate(tokens.T.view(1, -1, 4, 4), size=(16, 16), mode="bilinear")[0]
        distances = (large[None] - centres[:, :, None, None]).square().sum(1)                 # (3, 16, 16)
        likeness = torch.nn.functional.interpolate(seen.maps[-1], size=(16, 16), mode="bilinear")[0]
        scores = model.scale() * torch.nn.functional.normalize(model.image_head(centres), dim=-1)[:, :3]
    mine, true = likeness.argmax(0), distances.argmin(0)
    assert count_pairs(mine[None], true[None], 3, 3)[0].gt(0).sum() == 3, "the same parts, whatever their numbers"
    order = [int(true[mine == g][0]) for g in range(3)]
    torch.testing.assert_close(seen.group_scores[0], scores.softmax(-1)[order])


@pytest.mark.parametrize("method", METHODS)
def test_all_clusterings_name_every_pixel(method, make_model):
    model = make_model(**PLAIN).eval()
    pictures = [torch.rand(3, 16, 24), torch.full((3, 20, 16), 0.5)]
    for picture, seen in zip(pictures, encode_windows(model, pictures, torch.eye(12)[:3], InferenceOptions(),
                                           regroup=cluster_patches(method))):
        assert seen.maps[-1].shape[1] == 8 and seen.group_scores.shape == (1, 8, 3)
        assert seen.group_scores.isfinite().all() and seen.size == tuple(picture.shape[1:])


def test_clusters_are_for_models_without_groups(make_model):
    with pytest.raises(ValueError, match="groups of its own"):
        encode_windows(make_model(), [torch.rand(3, 16, 16)], torch.eye(12)[:3], InferenceOptions(),
                       regroup=cluster_patches("kmeans"))
    with pytest.raises(ValueError, match="no clustering 'dbscan'; choose one of kmeans"):
        cluster_patches("dbscan")
