"""Pinned results of the released protocol on small pictures; to leave any step out changes them."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from protocol_steps import LEFT_OUT, PROTOCOL, WORDS, picture, telling_weights

from minigroupvit.data.mask_sets import open_masks
from minigroupvit.evaluation import evaluate as evaluation, groups, metrics
from minigroupvit.evaluation.evaluate import evaluate
from minigroupvit.images import IMAGE_MEAN, IMAGE_STD
from minigroupvit.segmentation import segment as segmentation
from minigroupvit.segmentation.options import BACKGROUND, IGNORED

# Word 5 is "red"; a point is background. Double precision, and no score nearer to the next than 3e-4.
PINNED = """
55555555......................
55555555......................
55555555......................
55555555......................
55555555......................
55555555......................
55555555...........5..........
55555555...........5..........
55555555......................
55555555......................
55555555..5555555555..........
55555555...555555555..........
55555555.....5555555..........
55555555......................
55555555......................
55555555......................
55555555......................
55555555......................
""".split()
SIZES = ((18, 30), (30, 18), (24, 24), (15, 60))


@pytest.fixture(scope="module")
def model(make_model):
    return telling_weights(make_model())


def labels_of(model, **choices) -> list[str]:
    labels = segmentation.segment(model, picture(18, 30), WORDS, PROTOCOL, **choices).labels[0]
    return ["".join("." if number < 0 else str(number) for number in row) for row in labels.tolist()]


def test_the_pinned_labels(model):
    assert labels_of(model) == PINNED


@pytest.mark.parametrize("step", LEFT_OUT)
def test_leaving_a_step_out_changes_the_labels(step, model):
    choices, without = LEFT_OUT[step]
    with without(model):
        found = labels_of(model, **choices)
    changed = sum(a != b for row, pinned in zip(found, PINNED) for a, b in zip(row, pinned))
    assert changed >= 5, f"{step}: {changed} of 540 pixels"


@torch.no_grad()
def test_it_is_what_a_slow_reading_of_the_protocol_gives(model):
    """Step by step, pixel by pixel, and nothing shared with the package but the encoders."""
    image, protocol = picture(18, 30).double(), PROTOCOL
    canvas = F.interpolate(image[None], size=(14, 24), mode="bilinear", align_corners=False)   # 30 -> 24 at most
    words = []
    for word in WORDS:
        both = [model.text_head(model.text_encoder(model.tokenizer([t.format(word)])))[0] for t in protocol.templates]
        mean = (both[0] + both[1]) / 2
        words.append(mean / mean.norm())
    views = []
    for mirrored in (False, True):
        seen = canvas.flip(-1) if mirrored else canvas
        total, count = torch.zeros(7, 14, 24, dtype=torch.float64), torch.zeros(14, 24)
        for left in (0, 6, 8):                                            # 16 wide, every 6, the last at the end
            window = F.interpolate(seen[..., left:left + 16], size=(16, 16), mode="bilinear", align_corners=False)
            window = (window - torch.tensor(IMAGE_MEAN).view(3, 1, 1)) / torch.tensor(IMAGE_STD).view(3, 1, 1)
            output = model.image_encoder(window)
            first, second = (stage.soft[0] for stage in output.groupings)
            maps = F.interpolate((second @ first).view(1, 3, 4, 4), size=(14, 16), mode="bilinear")[0]
            average = model.image_head(output.feature)[0]
            near = sorted(range(6), key=lambda c: -float(words[c] @ average))[:2]
            table = torch.zeros(3, 6, dtype=torch.float64)
            for g, token in enumerate(output.segment_tokens[0]):
                feature = model.image_head(token[None])[0]
                logits = torch.stack([100 * feature @ word / feature.norm() for word in words])
                for c, share in zip(near, logits[near].softmax(0)):
                    table[g, c] = logits.softmax(0)[c] * share
            for y in range(14):
                for x in range(16):
                    scores = table[maps[:, y, x].argmax()]
                    total[1:, y, left + x] += scores
                    total[0, y, left + x] += float(scores.max() < min(0.95, table.max()))
                    count[y, left + x] += 1
        view = F.interpolate((total / count)[None], size=(18, 30), mode="bilinear", align_corners=False)[0].softmax(0)
        views.append(view.flip(-1) if mirrored else view)
    expected = (views[0] + views[1]) / 2
    found = segmentation.segment(model, image, WORDS, PROTOCOL)
    torch.testing.assert_close(found.scores[0], expected[1:])
    assert torch.equal(found.labels[0], expected.argmax(0) - 1)


# --- the metrics -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def masks(tmp_path_factory):
    """Images of several sizes with masks of background, "red", "sun" and a border that is not judged."""
    root = tmp_path_factory.mktemp("small")
    for folder in ("images", "masks"):
        (root / folder).mkdir()
    (root / "classes.txt").write_text("background\n" + "\n".join(WORDS) + "\n")
    for n, (H, W) in enumerate(SIZES):
        pixels = (picture(H, W) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
        mask = np.zeros((H, W), np.uint8)
        mask[:, :W // 3] = 6
        mask[H // 3:, W // 3 + 4:-3] = 1
        mask[:, W // 3 - 1:W // 3 + 1] = 255
        Image.fromarray(pixels).save(root / "images" / f"{n}.png")
        Image.fromarray(mask).save(root / "masks" / f"{n}.png")
    return open_masks("folder", root)


METRICS = {"miou": 0.18203, "miou_objects": 0.09784, "boundary_miou": 0.13698, "oracle_miou": 0.38482,
           "naming": 0.47303, "probing_jaccard": 0.30669, "ari": 0.00357, "groups_used": 1.75, "collapsed": 0.25,
           "assignment_entropy": 0.80592}


@pytest.fixture(scope="module")
def found(model, masks):
    return evaluate(model, masks, PROTOCOL)


def test_the_pinned_metrics(found):
    assert {key: found.metrics[key] for key in METRICS} == pytest.approx(METRICS, abs=2e-4)


@pytest.mark.parametrize("batch_size", [1, 3, 50])
def test_metrics_do_not_depend_on_the_batches(batch_size, model, masks, found):
    again = evaluate(model, masks, PROTOCOL, batch_size=batch_size)
    assert again.protocol == found.protocol and again.miou_of_each == pytest.approx(found.miou_of_each)
    assert again.metrics.keys() == found.metrics.keys()
    for key, value in again.metrics.items():
        assert value == (pytest.approx(found.metrics[key]) if isinstance(value, (float, dict)) else found.metrics[key]), key


def of_the_last_picture(self, labels, truth):
    """`MaskMetrics.update` that forgets the images before."""
    self._pixels.clear()
    UPDATE(self, labels, truth)


UPDATE = metrics.MaskMetrics.update


def mean_group(groups, mask, num_objects, num_classes):
    """`probing_jaccard` of the mean group in place of the best."""
    both = metrics.count_pairs(groups[None], mask[None], int(groups.max()) + 1, num_classes)[0].double()
    jaccard = both / (both.sum(dim=0) + both.sum(dim=1, keepdim=True) - both)
    return jaccard[:, :num_objects][:, both[:, :num_objects].sum(dim=0) > 0].mean().item()


def first_window_alone(windows, names, canvas, size, protocol):
    """`stitch` that takes the first window for the picture."""
    return segmentation.stitch(windows[:1], islice(names, 1), canvas, size, replace(protocol, flip=False))


def least(pairs, *sizes):
    return -metrics.count_pairs(pairs, *sizes)


@pytest.mark.parametrize("metric, meanings, place, name, value", [
    ("miou", {255: BACKGROUND}, None, None, None),                        # pixels of 255 are not judged
    ("miou", {0: IGNORED, 254: BACKGROUND}, None, None, None),            # background is a class
    ("miou", {}, metrics.MaskMetrics, "update", of_the_last_picture),     # pixels of the whole set are summed
    ("boundary_miou", {255: BACKGROUND}, None, None, None),
    ("boundary_miou", {}, metrics, "boundary_distance", lambda height, width: 4),
    ("boundary_miou", {}, metrics, "boundary_region", lambda labels, distance: labels == labels),
    ("boundary_miou", {}, metrics, "distance_transform_edt", lambda void, **rest: np.indices(void.shape)),
    ("oracle_miou", {255: BACKGROUND}, None, None, None),
    ("oracle_miou", {}, groups, "count_pairs", least),                    # the class of most of a group's pixels
    ("oracle_miou", {}, groups, "stitch", first_window_alone),
    ("probing_jaccard", {255: BACKGROUND}, None, None, None),
    ("probing_jaccard", {0: 0, 254: BACKGROUND}, None, None, None),       # background is no object
    ("probing_jaccard", {}, evaluation, "probing_jaccard", mean_group),
    ("ari", {255: BACKGROUND}, None, None, None),
])
def test_leaving_a_step_out_changes_the_metric(metric, meanings, place, name, value, model, masks, monkeypatch):
    if place is not None:
        monkeypatch.setattr(place, name, value)
    found = evaluate(model, replace(masks, meanings=masks.meanings | meanings), PROTOCOL).metrics
    assert abs(found[metric] - METRICS[metric]) > 2e-3, found[metric]
