"""What there is to beat, and the content of metrics.json."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from minigroupvit.data.scenes.config import SceneConfig
from minigroupvit.evaluation.baselines import ColourClassifier, evaluate_pixelwise, segment_pixelwise
from minigroupvit.evaluation.scenes import evaluate_scenes, format_table, scene_tensors
from minigroupvit.images import normalize
from minigroupvit.segmentation.segment import segment
from minigroupvit.segmentation.steps import embed_classes

NAMES = ["sun", "heart", "brick", "cloud"]
PLAIN = {"depths": (2,), "num_group_tokens": (0,), "num_output_groups": (0,)}


@pytest.fixture
def plain(make_model):
    return make_model(**PLAIN).eval()


@pytest.fixture
def images():
    return torch.rand(3, 3, 16, 16)


def test_pixelwise_equals_a_slow_loop_over_patches(plain, images):
    found = segment_pixelwise(plain, images, NAMES, top_classes=2)
    words = embed_classes(plain, NAMES)
    for b in range(3):
        with torch.no_grad():
            picture, output = plain.encode_image(normalize(images[b:b + 1]))
            kept = sorted(range(4), key=lambda c: -float(picture[0] @ words[c]))[:2]
            scores = torch.zeros(4, 4, 4)                              # (C, h, w)
            for n, token in enumerate(output.segment_tokens[0]):
                patch = F.normalize(plain.image_head(token[None]), dim=-1)[0]
                logits = plain.scale() * words @ patch
                own = torch.stack([logits[c] for c in kept]).softmax(0)
                for c, value in zip(kept, own):
                    scores[c, n // 4, n % 4] = logits.softmax(0)[c] * value
        large = F.interpolate(scores[None], size=(16, 16), mode="bilinear", align_corners=False)[0]
        torch.testing.assert_close(found.scores[b], large)
        assert torch.equal(found.labels[b], large.argmax(0))
        assert set(found.labels[b].unique().tolist()) <= set(kept)


def test_patches_score_as_if_each_were_a_group_but_without_steps_between_them(plain, images):
    smooth, stepped = segment_pixelwise(plain, images, NAMES), segment(plain, images, NAMES)
    torch.testing.assert_close(smooth.group_scores, stepped.group_scores)   # (B, N, C)
    jumps = [s.scores.diff(dim=-1).abs().max() for s in (smooth, stepped)]
    assert jumps[0] < jumps[1]


def test_pixelwise_has_no_groups_and_takes_other_sizes(plain):
    found = segment_pixelwise(plain, torch.rand(2, 3, 21, 34), NAMES)
    assert found.labels.shape == (2, 21, 34) and found.scores.shape == (2, 4, 21, 34)
    assert found.groups == [] and found.maps == []


def test_pixelwise_background_is_what_scores_low(plain, images):
    scores = segment_pixelwise(plain, images, NAMES).scores
    threshold = scores.amax(1).median().item()
    labels = segment_pixelwise(plain, images, NAMES, background_threshold=threshold).labels
    for b in range(3):
        limit = min(threshold, scores[b].max().item())
        assert torch.equal(labels[b] == -1, scores[b].amax(0) < limit)


def test_pixelwise_refuses_a_model_with_groups(make_model, images):
    with pytest.raises(ValueError, match="groups its patches.*clip_vit"):
        segment_pixelwise(make_model(), images, NAMES)


def test_pixelwise_figures_do_not_depend_on_the_batches(plain):
    images, masks = torch.randint(256, (5, 3, 16, 16), dtype=torch.uint8), torch.randint(4, (5, 16, 16))
    by_two, at_once = (evaluate_pixelwise(plain, images, masks, NAMES, 3, batch_size=n) for n in (2, 5))
    assert by_two.pop("iou_per_class") == pytest.approx(at_once.pop("iou_per_class"))
    assert by_two == pytest.approx(at_once)
    assert not {"ari", "oracle_miou", "naming", "groups_used"} & set(by_two)


def test_colours_are_learnt_and_nothing_else():
    colours = torch.tensor([[250, 20, 20], [20, 250, 20], [20, 20, 250]], dtype=torch.uint8)
    masks = torch.randint(3, (4, 8, 8))
    images = colours[masks].permute(0, 3, 1, 2)
    classifier = ColourClassifier(min_samples_leaf=1).fit(images, masks)
    assert torch.equal(classifier.predict(images), masks)
    mixed = torch.randperm(64)                                         # place and neighbours do not matter
    shuffled = classifier.predict(images.flatten(2)[:, :, mixed].unflatten(-1, (8, 8)))
    assert torch.equal(shuffled.flatten(1), masks.flatten(1)[:, mixed])
    assert classifier.evaluate(images, masks, NAMES[:3], 2)["miou"] == 1.0


def test_the_colour_classifier_takes_no_more_pixels_than_asked():
    images, masks = torch.randint(256, (2, 3, 8, 8), dtype=torch.uint8), torch.randint(3, (2, 8, 8))
    tree = ColourClassifier(num_pixels=50, min_samples_leaf=1).fit(images, masks).tree
    assert tree.tree_.n_node_samples[0] == 50


def test_colours_give_backgrounds_away_more_than_objects():
    config = SceneConfig()
    classifier = ColourClassifier().fit(*scene_tensors("train", 80))
    figures = classifier.evaluate(*scene_tensors("test", 40), config.class_names, len(config.objects))
    assert figures["miou_backgrounds"] > 0.4 and figures["miou_objects"] < 0.15


@pytest.fixture(scope="module")
def metrics(tiny_config, tokenizer):
    from dataclasses import replace

    from minigroupvit.model import GroupViT

    torch.manual_seed(2)
    grouped = GroupViT(tiny_config, tokenizer)
    plain = GroupViT(replace(tiny_config, image=replace(tiny_config.image, **PLAIN)), tokenizer)
    said = []
    with pytest.warns(UserWarning, match="never seen in training"):    # the tiny vocabulary lacks most words
        found = evaluate_scenes(grouped, plain, num_images=8, config=SceneConfig(image_size=16), say=said.append,
                                groupvit=grouped, num_controls=4, num_interventions=2)
    assert said
    return found


def test_metrics_json_has_what_was_promised(metrics):
    wanted = {"miou", "miou_objects", "miou_backgrounds", "iou_per_class", "ari", "num_images", "recognition_ap",
              "oracle_miou", "naming", "groups_used", "pixelwise", "colour_classifier", "unseen"}
    assert wanted <= set(metrics)
    assert {"miou", "recognition_ap", "num_images"} <= set(metrics["pixelwise"])
    assert not {"ari", "oracle_miou", "naming"} & set(metrics["pixelwise"])
    assert {"miou", "ari", "oracle_miou", "colour_classifier"} <= set(metrics["unseen"])
    for part in (metrics, metrics["groupvit"]):
        assert -1 <= part["controls_model_ari"] <= 1 and len(part["miou_interval"]) == 2
        assert {"hue_180", "grey", "disc", "background", "outside"} <= set(part["interventions"])
        assert all("right_before" in found for found in part["interventions"].values())
        assert len(part["controls"]) == 16
        for control in part["controls"]:     # the same four scenes: the difference of the means
            assert control["ari_difference"] == pytest.approx(part["controls_model_ari"] - control["ari"])
            low, high = control["ari_difference_interval"]
            assert low <= control["ari_difference"] <= high and control["num_images"] == 4
    assert "_of_each" not in json.dumps(metrics)
    assert metrics["unseen"]["iou_per_class"] != metrics["iou_per_class"]
    assert json.loads(json.dumps(metrics, allow_nan=False))["num_images"] == 8


def test_fractions_are_fractions(metrics):
    def numbers(values):
        for key, value in values.items():
            if isinstance(value, dict) and key != "protocol":
                yield from numbers(value)
            elif (key.startswith(("miou", "oracle")) and not key.endswith("_interval")
                  or key in ("recognition_ap", *SceneConfig().class_names)):
                yield value

    found = list(numbers(metrics))
    assert len(found) > 40 and 0 <= min(found) and max(found) <= 1


def test_the_table_shows_percent_and_lines_up(metrics):
    lines = format_table(metrics | {"miou": 0.12345}).splitlines()
    heading = next(line for line in lines if "mIoU" in line)
    tables = lines[:next(i for i, line in enumerate(lines) if line.startswith("ARI of the groups"))]
    rows = [line for line in tables if line.startswith(("GroupViT", "ViT", "colour"))]
    less = [line for line in lines if "less the best of them:" in line]
    assert len(less) == 2 and all(line.endswith("]") for line in less)
    assert len(rows) == 6 and {len(row) for row in rows} == {len(heading)}
    assert rows[0].split()[3] == "12.3"
    assert rows[2].endswith("–") and "–" not in rows[0] and "–" not in rows[1]
    assert np.all([any(name in line for line in lines) for name in metrics["iou_per_class"]])
