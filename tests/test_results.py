"""What the README and the records say is what the shipped weights do."""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from photographs import photographs
from PIL import Image

from minigroupvit.checkpoints.describe import protocol_from_dict
from minigroupvit.checkpoints.native import load, save_checkpoint, shipped_weights, weights_folder
from minigroupvit.config import GroupViTConfig
from minigroupvit.data.captioned.open import open_captioned
from minigroupvit.data.mask_sets import open_masks, scene_masks
from minigroupvit.evaluation.evaluate import evaluate
from minigroupvit.evaluation.image_level import evaluate_retrieval
from minigroupvit.segmentation.options import InferenceOptions
from minigroupvit.training.config import TrainConfig
from minigroupvit.training.recipes import recipe

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
def test_the_tables_of_the_pages_are_those_of_the_results(name):
    results = script(name)
    pages = [(results.PAGE, results.table)] + ([(results.README, results.summary)] if name == "make_results" else [])
    for page, table in pages:
        text = page.read_text(encoding="utf-8")
        written = text.split(results.BEGIN)[1].split(results.END)[0]
        assert written == table(json.loads(results.RESULTS.read_text(encoding="utf-8")))
        assert "TODO" not in text


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
def test_the_stored_weights_reach_their_metrics(name):
    """On 100 of the 1,000 scenes; 0.08 is the luck of that draw."""
    stored = record(name)["test"]
    metrics = evaluate(load(name), scene_masks("test", 100)).metrics
    for key in ("miou", "miou_objects", "recognition_ap"):
        assert metrics[key] == pytest.approx(stored[key], abs=0.08), key


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_models_of_photographs_find_the_captions_that_they_are_said_to_find(name):
    """All 1,000 test pictures: the same draw, so the same figures but for rounding."""
    data = open_captioned(str(photographs("flickr8k-128")), 128, "test")
    metrics = evaluate_retrieval(load(name), data)
    for key, value in record(name)["trained"]["retrieval"].items():
        assert metrics[key] == pytest.approx(value, abs=0.003), key


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_models_of_photographs_segment_as_they_are_said_to(name):
    """On 44 of the 441 photographs, whose groups are better than chance; 0.06 is the luck of that draw."""
    masks = open_masks("voc2012", photographs("voc2012-animals")).occurring()
    stored = record(name)["trained"]["chosen"]
    protocol = protocol_from_dict(stored["protocol"])
    with pytest.warns(UserWarning, match="1449 images, these are 44"):
        found = evaluate(load(name), replace(masks, pairs=masks.pairs[::10][:44]), protocol, ("groups",)).metrics
    assert found["ari"] == pytest.approx(stored["ari"], abs=0.06) and found["ari"] > 0.05


# --- the photographs' comparisons ------------------------------------------------------------------


@pytest.fixture
def half_of_voc(tmp_path, make_model):
    """Eight small pictures as VOC has them, of which the record knows the first five; and a stored model."""
    draw = np.random.default_rng(4)
    base = tmp_path / "VOCdevkit" / "VOC2012"
    for kind in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (base / kind).mkdir(parents=True)
    names = [f"2031_{n:06d}" for n in range(8)]
    for name in names:
        mask = np.kron(draw.choice([0, 8, 12], (2, 3)), np.ones((12, 12), int)).astype(np.uint8)
        Image.fromarray(mask).save(base / "SegmentationClass" / f"{name}.png")
        Image.fromarray(draw.integers(0, 256, (24, 36, 3), dtype=np.uint8)).save(base / "JPEGImages" / f"{name}.jpg")
    (base / "ImageSets" / "Segmentation" / "val.txt").write_text("\n".join(names))
    model = make_model()
    save_checkpoint(tmp_path / "photographs.safetensors", model)
    protocol = asdict(InferenceOptions(background_threshold=0.9, short_side=16, mode="whole"))
    chosen = {"iou_per_class": {"cat": 0.1, "background": 0.4}, "protocol": protocol}
    record = {"pictures": names[:5], "models": {"photographs": {"trained": {"chosen": chosen},
                                                                "untrained": {"chosen": dict(chosen)}}}}
    return tmp_path, names, record


@pytest.mark.filterwarnings("ignore:never seen in training")
def test_models_are_compared_with_partitions_on_the_published_pictures_and_on_all(half_of_voc):
    folder, names, record = half_of_voc
    photos = script("make_photographs")
    photos.compare(record, open_masks("voc2012", folder).occurring(), folder)
    found = record["comparisons"]["differences"]
    assert {(one["num_images"], one["against"]) for one in found} == {
        (number, other) for number in (5, 8) for other in photos.PARTITIONS}
    assert {"command", "commit", "seed", "device", "date"} <= set(record["comparisons"])
    for one in found:
        low, high = one["ari_difference_interval"]
        assert one["model"] == "photographs" and low <= one["ari_difference"] <= high
    assert record["pictures"] == names[:5]
    assert record["models"]["photographs"]["trained"]["chosen"]["background_share"] == pytest.approx(0.8)
    lines = photos.difference_table(record).splitlines()
    assert [line.split(" | ")[1] for line in lines if line.startswith("| `")] == ["5", "8"]


def test_a_published_picture_that_is_gone_is_named(half_of_voc):
    folder, names, record = half_of_voc
    (folder / "VOCdevkit/VOC2012/ImageSets/Segmentation/val.txt").write_text("\n".join(names[1:]))
    with pytest.raises(ValueError, match="1 of the 5 images .*such as 2031_000000.*val.txt"):
        script("make_photographs").compare(record, open_masks("voc2012", folder).occurring(), folder)


@pytest.mark.parametrize("by, between, text", [(0.0314, (0.018, 0.0444), "+3.1 [1.8, 4.4]"),
                                               (-0.0021, (-0.0149, 0.0104), "−0.2 [−1.5, 1.0]")])
def test_a_difference_shows_its_sign(by, between, text):
    found = {"ari_difference": by, "ari_difference_interval": between}
    assert script("make_photographs").in_percent(found, "ari") == text


def test_the_words_on_photographs_follow_the_differences():
    """Which models are better than which cuts, and by how much, is said as the intervals have it."""
    photos = script("make_photographs")
    record = json.loads(photos.RESULTS.read_text(encoding="utf-8"))
    found = {(one["model"], one["against"]): one for one in record["comparisons"]["differences"]
             if one["num_images"] == len(record["pictures"])}

    def surely(sign: int, key: str, *cuts: str) -> set[str]:
        """Models whose whole interval is on that side of 0 for each of the cuts."""
        return {name for name in PHOTOGRAPHS
                if all(min(sign * x for x in found[name, cut][f"{key}_difference_interval"]) > 0 for cut in cuts)}

    both = "colour_clusters", "middle_and_border"
    assert surely(1, "ari", *both) == {"photographs_paper"} and surely(-1, "ari", *both) == {"photographs_projected"}
    assert surely(1, "ari", "tiles", "rings") == set(PHOTOGRAPHS)
    assert surely(-1, "oracle_miou", "tiles", "colour_clusters") == set(PHOTOGRAPHS)
    words = " ".join(photos.PAGE.read_text(encoding="utf-8").split())
    for name, key in (("photographs_projected", "ari"), ("photographs_projected", "oracle_miou"),
                      ("photographs_paper", "ari")):
        assert f"({photos.in_percent(found[name, 'photographs'], key)}" in words
    shares = [100 * record["models"][name]["trained"]["chosen"]["background_share"] for name in PHOTOGRAPHS]
    assert f"Most of the mIoU is background, from {min(shares):.0f} to {max(shares):.0f} %" in words
    for name in PHOTOGRAPHS:     # a difference in pairs is the difference of the two published figures
        for cut in both:
            assert found[name, cut]["ari_difference"] == pytest.approx(
                record["models"][name]["trained"]["chosen"]["ari"] - record["beside"]["cuts"][cut]["ari"], abs=2e-3)


def test_the_table_of_the_scenes_has_the_differences_to_the_best_clusters():
    results = script("make_results")
    record = json.loads(results.RESULTS.read_text(encoding="utf-8"))
    for part, shift in ((record, -0.02), (record["groupvit"], 0.03)):
        part["controls"] = [control | {"ari_difference": shift, "ari_difference_interval": [shift - 0.01, shift + 0.01]}
                            for control in record["controls"]]
    best = max((c for c in record["controls"] if c["per_picture"]), key=lambda c: c["ari"])
    assert (f"On the same scenes, `scenes` less k-means ({best['method']}, K = {best['clusters']}): -2.0 [-3.0, -1.0], "
            f"`scenes_groupvit` less k-means ({best['method']}, K = {best['clusters']}): 3.0 [2.0, 4.0]."
            ) in results.table(record)
