"""Groups without names: oracle labels, mask probing, agreement, collapse; clusters of patches in their place."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from sklearn.cluster import KMeans

from minigroupvit.evaluation.groups import (
    CLUSTERINGS,
    adjusted_rand,
    cluster_patches,
    group_use,
    group_use_of_each,
    oracle_labels,
    oracle_miou,
    oracle_pixels,
    probing_jaccard,
    segments_used,
    whole_groups,
)
from minigroupvit.evaluation.metrics import count_pairs
from minigroupvit.images import normalize
from minigroupvit.segmentation.options import InferenceOptions
from minigroupvit.segmentation.segment import encode_windows, segment

NAMES = ["sun", "heart", "brick"]
PLAIN = {"depths": (2,), "num_group_tokens": (0,), "num_output_groups": (0,)}


def test_oracle_gives_each_group_of_each_image_its_majority():
    groups = torch.tensor([[[0, 0, 0, 5, 5]], [[0, 0, 5, 5, 5]]])
    masks = torch.tensor([[[2, 2, 1, 0, 0]], [[1, 1, 0, 2, 2]]], dtype=torch.uint8).long()
    expected = torch.tensor([[[2, 2, 2, 0, 0]], [[1, 1, 2, 2, 2]]])
    assert torch.equal(oracle_labels(groups, masks, 3), expected)


def test_oracle_equals_a_slow_loop():
    groups, masks = torch.randint(4, (6, 8, 8)), torch.randint(3, (6, 8, 8))
    found = oracle_labels(groups, masks, 3)
    for b in range(6):
        for g in groups[b].unique():
            inside = masks[b][groups[b] == g]
            counts = [int((inside == c).sum()) for c in range(3)]
            chosen = found[b][groups[b] == g].unique()
            assert len(chosen) == 1 and counts[chosen.item()] == max(counts)


def test_the_oracle_of_groups_without_names():
    masks = torch.tensor([[[0, 0], [1, 255]], [[0, 1], [1, 1]]])
    groups = torch.tensor([[[3, 3], [0, 0]], [[0, 0], [0, 0]]])
    # Only the one pixel of class 0 in the second picture is lost: IoU 2/3 and 4/5.
    assert oracle_miou(groups, masks, 2) == pytest.approx((2 / 3 + 4 / 5) / 2)


def test_oracle_of_an_image_as_a_whole_is_the_plain_oracle(make_model):
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


def test_the_rand_index_of_each_image_leaves_out_what_is_not_judged():
    masks = torch.tensor([[[0, 0], [1, 255]], [[255, 255], [255, 255]], [[0, 1], [2, 2]]])
    groups = torch.tensor([[[4, 4], [0, 0]], [[0, 1], [2, 3]], [[0, 0], [0, 0]]])
    right, unjudged, one_group = adjusted_rand(groups, masks)
    assert right == 1 and math.isnan(unjudged) and one_group == 0


def test_group_use_counts_groups_collapse_and_entropy():
    groups = torch.tensor([[[0, 1], [1, 3]], [[2, 2], [2, 2]]])
    decided = torch.zeros(2, 4, 4)
    decided[:, 0] = 1
    assert group_use_of_each(groups)["groups_used"] == [3.0, 1.0]
    assert group_use(groups, decided) == {"groups_used": 2.0, "collapsed": 0.5, "assignment_entropy": 0.0}
    assert group_use(groups, torch.full((2, 4, 4), 0.25))["assignment_entropy"] == pytest.approx(1)
    half = torch.zeros(2, 4, 4)
    half[:, :2] = 0.5
    assert group_use(groups, half)["assignment_entropy"] == pytest.approx(math.log(2) / math.log(4))


def test_segments_used_leaves_out_crumbs() -> None:
    groups = torch.zeros(2, 10, 10, dtype=torch.long)
    groups[0, 0, :2] = 1                   # 2 %
    groups[1, 0, 0] = 3                    # 1 %
    assert segments_used(groups) == [2, 1]


def test_groups_of_images_together_are_those_of_segment(make_model):
    model, images = make_model().eval(), torch.rand(3, 3, 20, 28)
    for protocol in (InferenceOptions(), InferenceOptions(flip=True), InferenceOptions(mode="whole", short_side=12)):
        expected = segment(model, images, NAMES, protocol)
        groups, shares = whole_groups(encode_windows(model, images, torch.eye(12)[:3], protocol), protocol)
        assert all(torch.equal(own, true) for own, true in zip(groups, expected.groups, strict=True))
        torch.testing.assert_close(shares, expected.maps[-1].flatten(2))


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


@pytest.mark.parametrize("method", CLUSTERINGS)
def test_all_clusterings_name_every_pixel(method, make_model):
    model = make_model(**PLAIN).eval()
    images = [torch.rand(3, 16, 24), torch.full((3, 20, 16), 0.5)]
    for image, seen in zip(images, encode_windows(model, images, torch.eye(12)[:3], InferenceOptions(),
                                                  regroup=cluster_patches(method))):
        assert seen.maps[-1].shape[1] == 8 and seen.group_scores.shape == (1, 8, 3)
        assert seen.group_scores.isfinite().all() and seen.size == tuple(image.shape[1:])


def test_clusters_are_for_models_without_groups(make_model):
    with pytest.raises(ValueError, match="groups of its own"):
        encode_windows(make_model(), [torch.rand(3, 16, 16)], torch.eye(12)[:3], InferenceOptions(),
                       regroup=cluster_patches("kmeans"))
    with pytest.raises(ValueError, match="no clustering 'dbscan'; choose one of kmeans"):
        cluster_patches("dbscan")
