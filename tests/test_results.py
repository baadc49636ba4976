"""What the README and the records say is what the shipped weights do."""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from photographs import photographs

from minigroupvit.checkpoint import load, shipped_weights, weights_folder
from minigroupvit.config import GroupViTConfig
from minigroupvit.data.sources import open_captioned
from minigroupvit.evaluation.mask_sets import open_masks
from minigroupvit.evaluation.photographs import evaluate_masks
from minigroupvit.evaluation.retrieval import evaluate_retrieval
from minigroupvit.evaluation.scenes import scene_tensors
from minigroupvit.formats import protocol_from_dict
from minigroupvit.training.loop import TrainConfig
from minigroupvit.training.recipes import recipe
from minigroupvit.training.run import evaluate_on_scenes

ROOT = Path(__file__).resolve().parent.parent
PHOTOGRAPHS = [name for name in shipped_weights() if name.startswith("photographs")]
sys.path.insert(0, str(ROOT / "scripts"))   # a script may take parts of another


def script(name: str):
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def record(name: str) -> dict:
    return json.loads((weights_folder(name) / f"{name}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", ["make_results", "make_photographs"])
def test_the_table_of_the_readme_is_that_of_the_results(name):
    results = script(name)
    readme = results.README.read_text(encoding="utf-8")
    written = readme.split(results.BEGIN)[1].split(results.END)[0]
    assert written == results.table(json.loads(results.RESULTS.read_text(encoding="utf-8")))
    assert "TODO" not in readme


def test_the_demo_has_its_weights():
    assert {"scenes", "scenes_clip_vit"} <= set(shipped_weights())


@pytest.mark.parametrize("name", shipped_weights())
def test_a_record_belongs_to_its_weights(name):
    stored, model = record(name), load(name)
    # A record may be older than a field of the configuration: its default is how the model was then.
    assert GroupViTConfig.from_dict(stored["config"]) == model.config
    assert stored["parameters"] == sum(p.numel() for p in model.parameters()) < 5_000_000
    assert (weights_folder(name) / f"{name}.safetensors").stat().st_size < 10e6
    # Trained by the recipe that the package has, and by no mask: the log has losses of texts only.
    # A field that is younger than the weights had its default.
    default, wanted = (json.loads(json.dumps(asdict(config))) for config in (TrainConfig(), recipe(name).training))
    assert default | stored["train_config"] == wanted
    lines = [json.loads(line) for line in (weights_folder(name) / f"{name}.log.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == recipe(name).training.steps


@pytest.mark.parametrize("name", [name for name in shipped_weights() if name.startswith("scenes")])
def test_the_stored_weights_reach_their_figures(name):
    """On 100 of the 1,000 scenes; 0.08 is the luck of that draw."""
    stored = record(name)["test"]
    figures = evaluate_on_scenes(load(name), *scene_tensors("test", 100))
    for key in ("miou", "miou_objects", "recognition_ap"):
        assert figures[key] == pytest.approx(stored[key], abs=0.08), key


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_models_of_photographs_find_the_captions_that_they_are_said_to_find(name):
    """All 1,000 test pictures: the same draw, so the same figures but for rounding."""
    data = open_captioned(str(photographs("flickr8k-128")), 128, "test")
    figures = evaluate_retrieval(load(name), data)
    for key, value in record(name)["trained"]["retrieval"].items():
        assert figures[key] == pytest.approx(value, abs=0.003), key


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_models_of_photographs_cut_as_they_are_said_to(name):
    """On 44 of the 441 photographs, whose groups are better than chance; 0.06 is the luck of that draw."""
    masks = open_masks("voc2012", photographs("voc2012-animals")).occurring()
    stored = record(name)["trained"]["chosen"]
    protocol = protocol_from_dict(stored["protocol"])
    with pytest.warns(UserWarning, match="1449 pictures, these are 44"):
        found = evaluate_masks(load(name), replace(masks, pairs=masks.pairs[::10][:44]), protocol, ("groups",))
    assert found["ari"] == pytest.approx(stored["ari"], abs=0.06) and found["ari"] > 0.05
