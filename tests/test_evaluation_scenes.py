"""A model on the scenes beside baselines and controls: the content of metrics.json, and its table."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from minigroupvit.data.mask_sets import scene_masks
from minigroupvit.data.scenes.config import SceneConfig
from minigroupvit.evaluation import scenes
from minigroupvit.evaluation.evaluate import evaluate
from minigroupvit.evaluation.interventions import without_blocks
from minigroupvit.evaluation.scenes import compare_on_scenes, format_table
from minigroupvit.model import GroupViT

PLAIN = {"depths": (2,), "num_group_tokens": (0,), "num_output_groups": (0,)}
pytestmark = pytest.mark.filterwarnings("ignore:never seen in training")  # the tiny vocabulary lacks most words


@pytest.fixture(scope="module")
def metrics(tiny_config, tokenizer):
    torch.manual_seed(2)
    grouped = GroupViT(tiny_config, tokenizer)
    plain = GroupViT(replace(tiny_config, image=replace(tiny_config.image, **PLAIN)), tokenizer)
    said = []
    with pytest.warns(UserWarning, match="never seen in training"):
        found = compare_on_scenes(grouped, plain, num_images=8, config=SceneConfig(image_size=16), say=said.append,
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
        assert {"hue_180", "grey", "silhouette", "disc", "background", "outside"} <= set(part["interventions"])
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


def test_no_scene_is_segmented_twice_with_the_same_weights(make_model, monkeypatch):
    """The metrics with blocks, and those beside the controls, are those of the first scenes of one evaluation."""
    asked = []

    def watched(model, masks, *rest):
        asked.append((len(masks), len(model.image_encoder.stages[0].layers) > 0))
        return evaluate(model, masks, *rest)

    monkeypatch.setattr(scenes, "evaluate", watched)
    model, config = make_model(), SceneConfig(image_size=16)
    metrics = compare_on_scenes(model, None, 8, config, groupvit=model, num_controls=4, num_interventions=2)
    # The first model on two splits, the second on one, and then less its blocks on the scenes of the controls.
    assert asked == [(8, True), (8, True), (8, True), (4, False)]
    few = scene_masks("test", 4, config)
    blocks = metrics["groupvit"]["blocks"]
    with_blocks = evaluate(model, few).metrics
    with without_blocks(model):
        without = evaluate(model, few).metrics
    assert blocks["num_images"] == 4
    assert blocks["with"] == {key: pytest.approx(with_blocks[key], abs=1e-6) for key in blocks["with"]}
    assert blocks["without"] == {key: pytest.approx(without[key], abs=1e-6) for key in blocks["without"]}
    assert {"miou", "miou_interval", "oracle_miou_interval", "recognition_ap", "ari_interval"} <= set(blocks["with"])
    assert metrics["controls_model_ari"] == pytest.approx(with_blocks["ari"])
    assert metrics["controls_model_ari_interval"] == pytest.approx(with_blocks["ari_interval"])
