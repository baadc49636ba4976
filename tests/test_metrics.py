"""The figures, on masks small enough to count by hand, and against slow loops."""

import math

import numpy as np
import pytest
import torch

from minigroupvit.evaluation.metrics import (
    MaskMetrics,
    adjusted_rand,
    evaluate,
    group_use,
    oracle_labels,
    oracle_miou,
    present_objects,
    recognition_ap,
)
from minigroupvit.segmentation.options import InferenceOptions
from minigroupvit.segmentation.segment import segment

NAMES = ["sun", "heart", "brick"]


def test_iou_is_counted_over_the_whole_set_not_per_picture():
    # The sun has 1 of 1 pixels right in the first picture and 0 of 3 in the second.
    truth = torch.tensor([[[0, 2, 2, 2]], [[0, 0, 0, 2]]])
    labels = torch.tensor([[[0, 2, 2, 2]], [[2, 2, 2, 2]]])
    figures = MaskMetrics(NAMES, num_objects=2)
    for true, found in zip(truth, labels):
        figures.update(found[None], true[None])
    found = figures.compute()
    assert found["iou_per_class"]["sun"] == pytest.approx(1 / 4)      # per picture: mean of 1 and 0
    assert found["iou_per_class"]["brick"] == pytest.approx(4 / 7)
    assert found["miou_objects"] == pytest.approx(1 / 4)
    assert found["miou_backgrounds"] == pytest.approx(4 / 7)
    assert found["miou"] == pytest.approx((1 / 4 + 4 / 7) / 2)


def test_a_class_that_is_nowhere_counts_nowhere_and_a_false_one_counts_zero():
    truth = torch.tensor([[[0, 0, 2, 2]]])
    figures = MaskMetrics(NAMES, num_objects=2)
    figures.update(truth, truth)
    assert figures.compute() == {"miou": 1.0, "miou_objects": 1.0, "miou_backgrounds": 1.0,
                                 "iou_per_class": {"sun": 1.0, "brick": 1.0}}
    figures.update(torch.tensor([[[1, 0, 2, 2]]]), truth)
    assert figures.compute()["iou_per_class"] == pytest.approx({"sun": 3 / 4, "heart": 0.0, "brick": 1.0})


def test_iou_equals_a_slow_loop():
    truth, labels = torch.randint(3, (2, 5, 7, 7))
    figures = MaskMetrics(NAMES, num_objects=2)
    figures.update(labels[:2], truth[:2])
    figures.update(labels[2:], truth[2:])
    for c, name in enumerate(NAMES):
        both = sum(int(t == c and x == c) for t, x in zip(truth.flatten(), labels.flatten()))
        either = sum(int(t == c or x == c) for t, x in zip(truth.flatten(), labels.flatten()))
        assert figures.compute()["iou_per_class"][name] == pytest.approx(both / either)


def test_oracle_gives_each_group_of_each_picture_its_majority():
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


def test_group_use_counts_groups_collapse_and_entropy():
    groups = torch.tensor([[[0, 1], [1, 3]], [[2, 2], [2, 2]]])
    decided = torch.zeros(2, 4, 4)
    decided[:, 0] = 1
    figures = group_use(groups, decided)
    assert figures == {"groups_used": 2.0, "collapsed": 0.5, "assignment_entropy": 0.0}
    assert group_use(groups, torch.full((2, 4, 4), 0.25))["assignment_entropy"] == pytest.approx(1)
    half = torch.zeros(2, 4, 4)
    half[:, :2] = 0.5
    assert group_use(groups, half)["assignment_entropy"] == pytest.approx(math.log(2) / math.log(4))


def test_average_precision_equals_a_slow_loop():
    image = torch.nn.functional.normalize(torch.randn(30, 6), dim=1)
    words = torch.nn.functional.normalize(torch.randn(4, 6), dim=1)
    present = torch.rand(30, 4) < 0.3
    present[0], present[:, 3] = True, False                            # the last is in no picture: left out
    precisions = []
    for c in range(3):
        order = sorted(range(30), key=lambda i: -float(image[i] @ words[c]))
        hits, sums = 0, 0.0
        for rank, i in enumerate(order, start=1):
            if present[i, c]:
                hits += 1
                sums += hits / rank
        precisions.append(sums / hits)
    assert recognition_ap(image, words, present) == pytest.approx(np.mean(precisions), abs=1e-6)


def test_present_objects_says_what_is_in_each_mask():
    masks = torch.tensor([[[0, 2], [2, 2]], [[1, 1], [0, 2]]])
    assert present_objects(masks, 2).tolist() == [[True, False], [True, True]]


@pytest.fixture
def pictures():
    return torch.randint(256, (5, 3, 16, 16), dtype=torch.uint8), torch.randint(3, (5, 16, 16), dtype=torch.uint8)


def test_evaluate_collects_all_figures(make_model, pictures):
    model = make_model().train()
    figures = evaluate(model, *pictures, NAMES, num_objects=2, batch_size=2)
    assert model.training, "the model is left as it was"
    assert {"miou", "miou_objects", "miou_backgrounds", "iou_per_class", "ari", "recognition_ap", "oracle_miou",
            "naming", "num_images", "groups_used", "collapsed", "assignment_entropy"} <= set(figures)
    assert figures["num_images"] == 5
    assert figures["naming"] == pytest.approx(figures["miou"] / figures["oracle_miou"])
    assert all(0 <= v <= 1 for k, v in figures.items()
               if isinstance(v, float) and k not in ("ari", "naming", "groups_used"))


def test_evaluate_does_not_depend_on_the_batches(make_model, pictures):
    by_two, at_once = (evaluate(make_model(), *pictures, NAMES, 2, batch_size=n) for n in (2, 5))
    assert by_two.pop("iou_per_class") == pytest.approx(at_once.pop("iou_per_class"))
    assert by_two.keys() == at_once.keys()
    for key, value in by_two.items():
        assert value == pytest.approx(at_once[key], abs=1e-6), key


def test_every_interval_holds_its_metric(make_model, pictures):
    figures = evaluate(make_model(), *pictures, NAMES, 2)
    for key in ("miou", "miou_objects", "miou_backgrounds", "oracle_miou", "ari", "recognition_ap", "naming"):
        low, high = figures[f"{key}_interval"]
        assert low - 1e-6 <= figures[key] <= high + 1e-6, key


def test_true_masks_made_of_the_models_own_groups_have_ari_and_oracle_one(make_model, pictures):
    images, model = pictures[0], make_model()
    masks = segment(model, images, NAMES).groups[-1]                   # three groups: three classes
    figures = evaluate(model, images, masks, NAMES, num_objects=3)
    assert figures["ari"] == 1.0 and figures["oracle_miou"] == 1.0
    assert figures["naming"] == figures["miou"]


def test_the_protocol_decides(make_model, pictures, monkeypatch):
    used = []

    def watched(model, images, class_names, protocol, **rest):
        used.append(protocol)
        return segment(model, images, class_names, protocol, **rest)

    monkeypatch.setattr("minigroupvit.evaluation.metrics.segment", watched)
    model = make_model()
    model.protocol = InferenceOptions(top_classes=1)
    evaluate(model, *pictures, NAMES, 2)
    evaluate(model, *pictures, NAMES, 2, InferenceOptions(top_classes=2))
    assert {protocol.top_classes for protocol in used[:len(used) // 2]} == {1}
    assert {protocol.top_classes for protocol in used[len(used) // 2:]} == {2}


def test_whole_pictures_only(make_model, pictures):
    assert evaluate(make_model(), *pictures, NAMES, 2, InferenceOptions(flip=True, mode="whole"))["num_images"] == 5
    with pytest.raises(ValueError, match="mode 'slide' leaves no groups"):
        evaluate(make_model(), *pictures, NAMES, 2, InferenceOptions(mode="slide", window=8))


def test_the_rand_index_of_each_picture_leaves_out_what_is_not_judged():
    masks = torch.tensor([[[0, 0], [1, 255]], [[255, 255], [255, 255]], [[0, 1], [2, 2]]])
    groups = torch.tensor([[[4, 4], [0, 0]], [[0, 1], [2, 3]], [[0, 0], [0, 0]]])
    right, unjudged, one_group = adjusted_rand(groups, masks)
    assert right == 1 and math.isnan(unjudged) and one_group == 0


def test_the_oracle_of_groups_without_names():
    masks = torch.tensor([[[0, 0], [1, 255]], [[0, 1], [1, 1]]])
    groups = torch.tensor([[[3, 3], [0, 0]], [[0, 0], [0, 0]]])
    # Only the one pixel of class 0 in the second picture is lost: IoU 2/3 and 4/5.
    assert oracle_miou(groups, masks, 2) == pytest.approx((2 / 3 + 4 / 5) / 2)
