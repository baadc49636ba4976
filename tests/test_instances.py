"""Instances: connected pieces, their run-length encoding, average precision, and what `segment` writes of them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from minigroupvit.checkpoints.native import load
from minigroupvit.data.scenes.make import make_scene
from minigroupvit.evaluation.instances import evaluate_instances, has_touching_twins, mask_ap
from minigroupvit.images import enlarge
from minigroupvit.segment_files import segment_pictures
from minigroupvit.segmentation.instances import FoundInstance, coco_result, decode_rle, encode_rle, find_instances

LABELS = torch.tensor([[0, 0, 1, 1, 1],
                       [0, 0, 1, 0, 1],
                       [1, 1, 0, 1, -1]])
SCORES = torch.stack([torch.linspace(0, 1, 15).view(3, 5), torch.linspace(1, 0, 15).view(3, 5)])


def test_pieces_of_a_class_are_its_instances() -> None:
    """Corners join; what is smaller than asked for is left out; background has none."""
    found = find_instances(LABELS, SCORES, smallest=0)
    assert sorted((i.label, i.area) for i in found) == [(0, 6), (1, 8)]       # all hang together by corners
    apart = torch.tensor([[0, 0, 1, 0], [0, 0, 1, 0]])
    found = find_instances(apart, torch.ones(2, 2, 4), smallest=0)
    assert sorted((i.label, i.area) for i in found) == [(0, 2), (0, 4), (1, 2)]
    assert sorted(i.area for i in find_instances(apart, torch.ones(2, 2, 4), smallest=3 / 8)) == [4]


def test_score_and_box_by_hand() -> None:
    one = torch.full((4, 6), -1)
    one[1:3, 2:5] = 0
    scores = torch.zeros(1, 4, 6)
    scores[0, 1, 2:5], scores[0, 2, 2:5] = 0.2, 0.8
    (found,) = find_instances(one, scores, smallest=0)
    assert found.score == pytest.approx(0.5) and found.box == (2, 1, 5, 3) and found.area == 6
    assert coco_result(found)["bbox"] == [2, 1, 3, 2]


def test_run_lengths_go_down_the_columns_and_back() -> None:
    mask = np.random.default_rng(0).random((7, 5)) < 0.4
    rle = json.loads(json.dumps(encode_rle(mask)))
    assert rle["size"] == [7, 5] and np.array_equal(decode_rle(rle), mask)
    assert not np.array_equal(decode_rle(encode_rle(mask[:5, :5].T.copy())), mask[:5, :5])


def test_enlarging_mixes_nothing() -> None:
    small = torch.tensor([[1, 2], [3, 4]])
    assert enlarge(small, (4, 6)).tolist() == [[1, 1, 1, 2, 2, 2]] * 2 + [[3, 3, 3, 4, 4, 4]] * 2
    labels = torch.randint(0, 9, (2, 7, 5), generator=torch.Generator().manual_seed(0))
    for size in ((7, 5), (8, 6), (20, 13), (701, 499)):
        assert enlarge(labels, size).shape[-2:] == size and torch.equal(enlarge(enlarge(labels, size), (7, 5)), labels)


def test_instances_of_a_large_picture_have_the_size_of_its_scores() -> None:
    large = enlarge(LABELS, (10, 17))
    found, expected = (find_instances(labels, SCORES, smallest=0) for labels in (large, LABELS))
    assert [(i.label, i.score, i.mask.tolist()) for i in found] == [(i.label, i.score, i.mask.tolist()) for i in expected]
    assert sum(coco_result(i, (10, 17))["area"] for i in found) == (large >= 0).sum()


def square(label: int, x: int, score: float = 1.0) -> FoundInstance:
    mask = np.zeros((20, 20), dtype=bool)
    mask[5:15, x:x + 10] = True
    return FoundInstance(label, score, mask)


def test_average_precision_of_known_cases() -> None:
    truth = [[square(0, 0)], [square(1, 5)]]
    assert mask_ap(truth, truth)["ap"] == pytest.approx(1)
    assert mask_ap([[], []], truth)["ap"] == pytest.approx(0)
    # Moved by 2 of 10: IoU 80 / 120, so right at the thresholds 0.5, 0.55, 0.6 and 0.65 of ten.
    moved = mask_ap([[square(0, 2)], [square(1, 7)]], truth)
    assert moved["ap50"] == pytest.approx(1) and moved["ap"] == pytest.approx(0.4)
    # One class right, one called by the other's name.
    assert mask_ap([[square(0, 0)], [square(0, 5, 0.5)]], truth)["ap"] == pytest.approx(0.5)


def test_touching_twins_are_one_piece_and_cost_precision() -> None:
    figures = evaluate_instances(load("scenes"), num_images=60)
    twins = sum(has_touching_twins(make_scene(i, "test")) for i in range(60))
    assert figures["all"]["num_images"] == 60 and figures["touching_twins"]["num_images"] == twins > 0
    best = figures["true_masks"]
    assert best["without_touching_twins"]["ap"] > best["touching_twins"]["ap"]
    assert 0.1 < figures["all"]["ap50"] < best["all"]["ap50"] <= 1


def test_a_folder_of_pictures(tmp_path) -> None:
    pictures, out = tmp_path / "pictures", tmp_path / "out"
    pictures.mkdir()
    for i in range(2):
        Image.fromarray(make_scene(i, "test").image).resize((100 + 31 * i, 90)).save(pictures / f"{i}.png")
    (pictures / "2.png").write_bytes(b"no picture")
    model = load("scenes")
    reports = segment_pictures(model, sorted(pictures.iterdir()), ["cat", "night", "grass"], out, smallest=0.01)
    assert [("problem" in report) for report in reports] == [False, False, True]
    for i in range(2):
        written = json.loads((out / f"{i}.json").read_text())
        mask = Image.open(out / f"{i}.mask.png")
        assert mask.mode == "P" and mask.size == (100 + 31 * i, 90) == (written["width"], written["height"])
        shares = np.bincount(np.array(mask).ravel(), minlength=4) / mask.width / mask.height
        assert [c["share"] for c in written["classes"]] == pytest.approx(shares.tolist())
        for thing in written["instances"]:
            pixels = decode_rle(thing["segmentation"])
            assert (np.array(mask)[pixels] == thing["category_id"]).all() and pixels.sum() == thing["area"]
    assert not (out / "2.json").exists()


@pytest.mark.parametrize("smallest", [-0.1, 1.5])
def test_a_share_that_is_none(smallest: float) -> None:
    with pytest.raises(ValueError, match="share of the image"):
        find_instances(LABELS, SCORES, smallest)
