"""The evaluation as a whole: scenes and files, real photographs, memory, the command line, comparisons."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from photographs import photographs
from PIL import Image

from minigroupvit import cli
from minigroupvit.checkpoints.native import load, save_checkpoint
from minigroupvit.data.mask_sets import MasksInMemory, open_masks, scene_masks
from minigroupvit.evaluation.controls import evaluate_partition, rings
from minigroupvit.evaluation.evaluate import METRICS, Evaluation, background_share, evaluate
from minigroupvit.segmentation.options import PROTOCOLS, InferenceOptions, protocol_for
from minigroupvit.segmentation.segment import segment
from minigroupvit.visual.figures import best_and_worst, examples_page

WORDS = ["sun", "heart", "brick", "cloud"]
PLAIN = {"depths": (2,), "num_group_tokens": (0,), "num_output_groups": (0,)}
SMALL = "--short-side 16"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Six images of two sizes with masks of background, the four words and pixels that are not judged."""
    root = tmp_path_factory.mktemp("folder")
    draw = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (root / kind).mkdir()
    for n in range(6):
        size = (20, 30) if n % 2 else (26, 18)
        Image.fromarray(draw.integers(0, 256, (*size, 3), dtype=np.uint8)).save(root / "images" / f"{n}.png")
        mask = np.kron(draw.integers(0, 5, (2, 2), dtype=np.uint8), np.ones((13, 15), np.uint8))[:size[0], :size[1]]
        mask[0] = 255
        Image.fromarray(mask).save(root / "masks" / f"{n}.png")
    (root / "classes.txt").write_text("background\n" + "\n".join(WORDS))
    return root


@pytest.fixture
def weights(make_model, tmp_path):
    save_checkpoint(tmp_path / "tiny.safetensors", make_model())
    return tmp_path / "tiny.safetensors"


@pytest.fixture
def scenes():
    """Five images of noise with masks of two objects and a background."""
    return MasksInMemory(name="noise", class_names=("sun", "heart", "brick"), num_backgrounds=1,
                         metrics=("oracle", "groups", "recognition", "intervals"),
                         images=torch.randint(256, (5, 3, 16, 16), dtype=torch.uint8),
                         masks=torch.randint(3, (5, 16, 16), dtype=torch.uint8))


def command(*words: object) -> int:
    return cli.main(["evaluate", "--device", "cpu", "--quiet", *(w for word in words for w in str(word).split())])


# --- scenes ----------------------------------------------------------------------------------------


def test_scenes_in_memory_and_in_files_have_the_same_metrics(tmp_path):
    """By a shipped model, all metrics, direct and through windows."""
    scenes, model = scene_masks("test", 6), load("scenes")
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
    for example in scenes:
        Image.fromarray(example.image.permute(1, 2, 0).numpy()).save(tmp_path / "images" / f"{example.name}.png")
        Image.fromarray(example.mask.numpy().astype(np.uint8)).save(tmp_path / "masks" / f"{example.name}.png")
    (tmp_path / "classes.txt").write_text("\n".join(scenes.class_names))
    files = replace(open_masks("folder", tmp_path), num_backgrounds=scenes.num_backgrounds)
    for protocol in (None, InferenceOptions(mode="slide", short_side=64, window=48, stride=16)):
        memory, stored = (evaluate(model, masks, protocol, tuple(METRICS)) for masks in (scenes, files))
        assert memory.metrics == stored.metrics and memory.miou_of_each == stored.miou_of_each
        assert memory.protocol == stored.protocol and memory.metrics["num_images"] == 6
    assert {"boundary_miou_interval", "oracle_miou_objects", "probing_jaccard", "ari", "recognition_ap"} <= set(
        memory.metrics)


def test_all_metrics_of_scenes(make_model, scenes):
    model = make_model().train()
    metrics = evaluate(model, scenes, batch_size=2).metrics
    assert model.training, "the model is left as it was"
    assert {"miou", "miou_objects", "miou_backgrounds", "iou_per_class", "ari", "recognition_ap", "oracle_miou",
            "naming", "num_images", "groups_used", "collapsed", "assignment_entropy",
            "segments_used_per_stage"} <= set(metrics)
    assert metrics["num_images"] == 5 and not {"boundary_miou", "probing_jaccard", "background_share"} & set(metrics)
    assert len(metrics["segments_used_per_stage"]) == 2
    assert metrics["naming"] == pytest.approx(metrics["miou"] / metrics["oracle_miou"])
    assert all(0 <= v <= 1 for k, v in metrics.items()
               if isinstance(v, float) and k not in ("ari", "naming", "groups_used"))
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics


@pytest.mark.parametrize("change", [{}, PLAIN])
def test_metrics_of_scenes_do_not_depend_on_the_batches(change, make_model, scenes):
    by_two, at_once = (evaluate(make_model(**change), scenes, batch_size=n).metrics for n in (2, 5))
    assert by_two.pop("iou_per_class") == pytest.approx(at_once.pop("iou_per_class"))
    assert by_two.keys() - {"oracle_iou_per_class"} == at_once.keys() - {"oracle_iou_per_class"}
    for key, value in by_two.items():
        assert value == pytest.approx(at_once[key], abs=1e-6), key
    if change:
        assert not {"ari", "oracle_miou", "naming", "groups_used"} & set(by_two)


def test_every_interval_holds_its_metric(make_model, scenes):
    metrics = evaluate(make_model(), scenes).metrics
    for key in ("miou", "miou_objects", "miou_backgrounds", "oracle_miou", "ari", "recognition_ap", "naming"):
        low, high = metrics[f"{key}_interval"]
        assert low - 1e-6 <= metrics[key] <= high + 1e-6, key


def test_true_masks_made_of_the_models_own_groups_have_ari_and_oracle_one(make_model, scenes):
    model = make_model()
    own = segment(model, scenes.images, scenes.class_names).groups[-1]  # three groups: three classes
    metrics = evaluate(model, replace(scenes, masks=own)).metrics
    assert metrics["ari"] == 1.0 and metrics["oracle_miou"] == 1.0
    assert metrics["naming"] == metrics["miou"]


def test_metrics_are_those_of_segment(make_model, scenes):
    """mIoU by a slow loop over what `segment` gives, with and without groups."""
    for model in (make_model(), make_model(**PLAIN)):
        pixels = {} if model.config.image.num_group_tokens[0] else {"pixels": "patches"}
        labels = segment(model, scenes.images, scenes.class_names, **pixels).labels
        iou = [((labels == c) & (scenes.masks == c)).sum() / ((labels == c) | (scenes.masks == c)).sum() for c in range(3)]
        assert evaluate(model, scenes).metrics["miou"] == pytest.approx(float(np.mean(iou)))


def test_the_protocol_decides(make_model, scenes):
    model = make_model()
    model.protocol = InferenceOptions(top_classes=1)
    first, second = evaluate(model, scenes), evaluate(model, scenes, InferenceOptions(top_classes=2))
    assert (first.protocol.top_classes, second.protocol.top_classes) == (1, 2)
    assert first.protocol == protocol_for(model) and first.metrics["miou"] != second.metrics["miou"]
    with pytest.raises(ValueError, match="masks of noise have no background: leave the background_threshold out"):
        evaluate(model, scenes, InferenceOptions(background_threshold=0.5))


def test_the_oracle_knows_better_than_the_model_through_windows_and_mirrors(make_model, scenes):
    for protocol in (InferenceOptions(flip=True, mode="whole"), InferenceOptions(mode="slide", window=8)):
        metrics = evaluate(make_model(), scenes, protocol).metrics
        assert metrics["num_images"] == 5 and metrics["oracle_miou"] > metrics["miou"]


# --- real photographs ------------------------------------------------------------------------------


def test_pascal_voc():
    """With the model of the scenes, which knows few of these words: what comes out is sane, not good."""
    masks = open_masks("voc2012", photographs("voc2012-animals")).first(12).occurring()
    small = replace(masks.protocol, short_side=64)
    with pytest.warns(UserWarning, match="never seen in training|has 1449 images, these are 12"):
        found = evaluate(load("scenes"), masks, small)
    metrics = found.metrics
    assert metrics["num_images"] == 12 and masks.num_expected == 1449 and len(found.miou_of_each) == 12
    assert 0 < metrics["miou"] < metrics["oracle_miou"] < 1 and metrics["boundary_miou"] < metrics["miou"]
    assert 0.1 < metrics["probing_jaccard"] < 1 and "background" in metrics["iou_per_class"]
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics and found.protocol.short_side == 64


def test_coco_in_a_folder():
    masks = open_masks("folder", photographs("coco128-seg")).first(6)
    with pytest.warns(UserWarning, match="never seen in training"):
        metrics = evaluate(load("scenes"), masks, replace(masks.protocol, short_side=64), ["oracle"]).metrics
    assert masks.num_expected is None and metrics["oracle_miou"] > metrics["miou"]
    assert "boundary_miou" not in metrics and "probing_jaccard" not in metrics


# --- memory ----------------------------------------------------------------------------------------

MEMORY = """
import resource, torch
from minigroupvit.config import preset
from minigroupvit.data.mask_sets import BENCHMARKS
from minigroupvit.model import GroupViT
from minigroupvit.segmentation.segment import segment
torch.set_num_threads(1)
coco = BENCHMARKS["coco_object"]
def now():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()
model = GroupViT(preset("groupvit_2stage")).eval()
with torch.no_grad():
    model.encode_text(model.tokenizer(["warm"]))                           # the tokenizer's table is there
before = now()
result = segment(model, torch.rand(3, 448, 448), coco.class_names, coco.protocol)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(peak - before, *result.labels.shape)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_the_papers_model_with_80_classes_needs_little_memory():
    """Under 1.5 GiB beyond the weights: text encoder with 80 prompts, image encoder, scores of all classes."""
    done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True)
    used, *shape = map(int, done.stdout.split())
    assert shape == [1, 448, 448] and used < 1.5 * 2 ** 30, f"{used / 2 ** 30:.2f} GiB"


# --- from the command line -------------------------------------------------------------------------


def test_everything_at_once(folder, weights, tmp_path, capsys):
    out, page = tmp_path / "new" / "metrics.json", tmp_path / "new" / "page.png"
    assert command(f"--data folder --root {folder} --weights {weights} --json {out} --examples {page} "
                   f"--background-threshold 0.3 {SMALL}") == 0
    printed, metrics = capsys.readouterr(), json.loads(out.read_text())
    assert metrics["num_images"] == 6 and metrics["protocol"]["mode"] == "direct"
    assert metrics["protocol"]["background_threshold"] == 0.3
    expected = evaluate(load(str(weights)), open_masks("folder", folder), InferenceOptions(background_threshold=0.3))
    assert metrics["miou"] == pytest.approx(expected.metrics["miou"])
    assert metrics["pictures"] == pytest.approx(expected.miou_of_each)
    lines = [line.split() for line in printed.out.splitlines()]
    row = ["background", *(f"{metrics[kind]['background']:.3f}" for kind in (
        "iou_per_class", "boundary_iou_per_class", "oracle_iou_per_class"))]
    assert row in lines and ["miou", f"{metrics['miou']:.3f}"] in lines and "6 images of folder" in printed.out
    with Image.open(page) as image:
        assert image.format == "PNG" and image.width > 800 and np.asarray(image.convert("L")).std() > 10
    assert not list(out.parent.glob(".*"))


def test_choices_reach_the_evaluation(folder, weights, monkeypatch, capsys):
    asked = []
    def watched(*given, **named):
        asked.append((given, named))
        return SimpleNamespace(metrics={"num_images": 0}, miou_of_each={}, protocol=given[2])

    monkeypatch.setattr("minigroupvit.evaluation.evaluate.evaluate", watched)
    assert command(f"--data folder --root {folder} --weights {weights} --json - --metrics miou,oracle --mode whole "
                   "--flip --only-occurring --num-images 2 --batch-size 3 --top-classes all --window 99") == 0
    (_, masks, protocol, metrics), named = asked[0]
    assert len(masks) == 2 and metrics == ["oracle"] and named["batch_size"] == 3 and named["num_workers"] == 0
    model, chosen = load(str(weights)), {"mode": "whole", "flip": True, "top_classes": None, "window": 99}
    assert protocol == protocol_for(model, background_threshold=0.95, **chosen)
    assert named["class_embeddings"].shape == (len(masks.class_names), 12) and named["progress"] is False
    assert command(f"--data folder --root {folder} --weights {weights} --json - --protocol released --stride 7") == 0
    assert asked[1][0][2] == replace(PROTOCOLS["voc2012"], stride=7) and asked[1][0][3] is None
    capsys.readouterr()


@pytest.mark.parametrize("words, message", [
    ("--data folder", "--data folder needs --root"),
    ("--root FOLDER", "--root FOLDER belongs to photographs"),
    ("--data voc2012 --root FOLDER", "expected there: VOCdevkit/VOC2012/"),
    ("--data folder --root FOLDER --metrics speed", "there is no metric 'speed'; choose from boundary, oracle"),
    ("--data folder --root FOLDER --examples page.xyz", "page.xyz ends in no image format"),
    ("--data folder --root FOLDER --num-images 0", "--num-images is 0"),
    ("--data folder --root FOLDER --mode slide --stride 999 --window 448", "stride 999 leaves gaps"),
    ("--data folder --root FOLDER --batch-size 0", "at least 1"),
    ("--data imagefolder --root FOLDER/masks", "has no images by class"),
    ("--data folder --root FOLDER --clusters kmeans", "groups of its own"),
])
def test_a_mistake_is_one_line(words, message, folder, weights, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    assert command(words.replace("FOLDER", str(folder)), "--weights", weights) == 2
    said = capsys.readouterr().err
    assert message.replace("FOLDER", str(folder)) in said
    assert said.startswith("minigroupvit: ") and said.count("\n") == 1


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_mask_of_another_size_stops_the_evaluation(num_workers, folder, weights, tmp_path, capsys):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    Image.new("L", (5, 5)).save(copy / "masks" / "4.png")
    out = tmp_path / "metrics.json"
    assert command(f"--data folder --root {copy} --weights {weights} --json {out} --num-workers {num_workers}",
                   SMALL) == 2
    assert "4.png is 5x5, but 4.png is 26x18" in capsys.readouterr().err and not out.exists()


def test_image_folder_from_the_command_line(folder, weights, tmp_path, capsys):
    for n, word in enumerate(WORDS):
        (tmp_path / "by class" / word).mkdir(parents=True)
        shutil.copy(folder / "images" / f"{n}.png", tmp_path / "by class" / word / "1.png")
    (tmp_path / "by class").rename(tmp_path / "classes")
    out = tmp_path / "metrics.json"
    assert command(f"--data imagefolder --root {tmp_path / 'classes'} --weights {weights} --json {out}") == 0
    metrics = json.loads(out.read_text())
    assert metrics["num_classes"] == 4 and "top5" not in metrics
    assert f"top1 {metrics['top1']:.3f}" in " ".join(capsys.readouterr().out.split())


# --- other models and conventions ------------------------------------------------------------------


def test_a_model_without_groups_is_segmented_by_patches_or_clusters(folder, make_model):
    model, masks = make_model(**PLAIN), open_masks("folder", folder)
    small = replace(masks.protocol, short_side=16)
    patches = evaluate(model, masks, small)
    assert patches.protocol.pixels == "patches"
    assert "oracle_miou" not in patches.metrics and "boundary_miou" in patches.metrics
    clusters = evaluate(model, masks, small, clusters="kmeans")
    assert clusters.protocol.pixels == "largest" and clusters.metrics["oracle_miou"] > clusters.metrics["miou"]
    assert "assignment_entropy" not in clusters.metrics    # they have no shares
    assert clusters.miou_of_each != patches.miou_of_each
    with pytest.raises(ValueError, match="no metric 'oracle' for a model without groups; choose from boundary, recog"):
        evaluate(model, masks, small, ["oracle"])
    assert examples_page(model, masks, clusters.miou_of_each, small, clusters="kmeans").axes


def test_background_has_to_be_in_the_masks_and_in_the_protocol(folder, make_model, tmp_path):
    masks = open_masks("folder", folder)
    with pytest.warns(UserWarning, match="without a background_threshold no pixel will be labelled so"):
        found = evaluate(make_model(), masks, replace(masks.protocol, short_side=16, background_threshold=None))
    assert found.metrics["iou_per_class"]["background"] == 0
    shutil.copytree(folder, tmp_path / "copy")
    (tmp_path / "copy" / "classes.txt").write_text("\n".join(["red", *WORDS]))
    without = open_masks("folder", tmp_path / "copy")
    found = evaluate(make_model(), without, replace(without.protocol, short_side=16))
    assert "background" not in found.metrics["iou_per_class"] and "background_share" not in found.metrics
    with pytest.raises(ValueError, match="have no background: leave the background_threshold out"):
        evaluate(make_model(), without, replace(without.protocol, background_threshold=0.5))


def test_the_model_is_left_as_it_was(folder, make_model):
    model, masks = make_model().train(), open_masks("folder", folder)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    evaluate(model, masks, replace(masks.protocol, short_side=16))
    assert model.training and all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


# --- comparisons -----------------------------------------------------------------------------------


def test_a_model_and_a_partition_are_compared_image_by_image(make_model, folder):
    """The difference is that of the two evaluations, and each image is in both."""
    masks = open_masks("folder", folder)
    protocol = replace(masks.protocol, short_side=16)
    model = make_model()
    found, border = evaluate(model, masks, protocol, batch_size=4), evaluate_partition(rings(2), masks)
    assert found.names == border.names == list("012345")
    less = found.minus(border)
    for key in ("ari", "oracle_miou"):
        assert less[f"{key}_difference"] == pytest.approx(found.metrics[key] - border.metrics[key], abs=1e-6)
        low, high = less[f"{key}_difference_interval"]
        assert low < less[f"{key}_difference"] < high
    assert "miou_difference" not in less and found.minus(found)["miou_difference"] == 0


def test_some_of_the_images_have_the_metrics_of_an_evaluation_of_them(make_model, folder, scenes):
    model, masks = make_model(), open_masks("folder", folder)
    protocol = replace(masks.protocol, short_side=16)
    whole, few = (evaluate(model, some, protocol, tuple(METRICS)) for some in (masks, masks.first(2)))
    assert whole.first(2).metrics == few.metrics and whole.first(2).miou_of_each == few.miou_of_each
    assert whole.metrics != few.metrics and whole.only("41").names == ["4", "1"]
    part, three = evaluate(model, scenes).first(3).metrics, evaluate(model, scenes.first(3)).metrics
    assert part.keys() == three.keys()
    for key, value in three.items():
        assert part[key] == (pytest.approx(value) if isinstance(value, float | list) else value), key
    with pytest.raises(ValueError, match="1 of 2 images, such as r, were not judged"):
        whole.only(["0", "r"])


def partition_of(names: str, *groups: list) -> Evaluation:
    """An evaluation of images of four pixels, two of each class, with these groups."""
    masks = MasksInMemory(name="tiny", class_names=("sun", "heart"), images=torch.zeros(2, 3, 1, 4),
                          masks=torch.tensor([[[0, 0, 1, 1]]] * 2))
    found = Evaluation(masks, ("oracle", "groups"))
    found.update(names, masks.masks, groups=[torch.tensor(groups)[:, None]])
    return found


def test_only_the_same_images_in_the_same_order_are_compared():
    right, wrong = [0, 0, 1, 1], [0, 0, 0, 0]
    ours, theirs = partition_of("pq", right, wrong), partition_of("qp", wrong, wrong)
    with pytest.raises(ValueError, match="not the same ones in the same order.*`only`"):
        ours.minus(theirs)
    found = ours.minus(theirs.only("pq"))
    assert set(found) == {"num_images", *(f"{key}_difference{end}" for key in ("ari", "oracle_miou")
                                          for end in ("", "_interval"))}
    assert found["num_images"] == 2 and found["ari_difference"] == pytest.approx(0.5)
    assert found["ari_difference_interval"] == pytest.approx([0, 1])
    # Of six pixels that are or are named sun four are both, of four heart two; all sun: half and none.
    assert found["oracle_miou_difference"] == pytest.approx((4 / 6 + 2 / 4) / 2 - (4 / 8 + 0) / 2)


def test_an_image_that_is_not_judged_has_no_value():
    found = partition_of("pq", [0, 0, 1, 1], [0, 0, 0, 0])
    before = found.metrics
    assert before["ari"] == pytest.approx(0.5) and before["groups_used"] == 1.5 and before["collapsed"] == 0.5
    found.update(["r"], torch.full((1, 1, 4), 255), groups=[torch.zeros(1, 1, 4, dtype=torch.long)])
    assert found.metrics == before | {"num_images": 3, "segments_used_per_stage": [pytest.approx(4 / 3)]}
    assert np.isnan(found.ari_of_each[2])


def test_the_best_and_the_worst_are_never_the_same():
    images = {"a": 0.1, "b": 0.9, "c": None, "d": 0.5, "e": 0.4}
    assert best_and_worst(images, 1) == (["b"], ["a"])
    assert best_and_worst(images, 3) == (["b", "d"], ["a", "e"])
    assert best_and_worst({"a": 0.2}, 2) == (["a"], [])


@pytest.mark.filterwarnings("ignore:never seen in training")
def test_how_much_of_the_miou_is_background(folder):
    assert background_share({"dog": 0.1, "cat": 0.0, "background": 0.3}) == pytest.approx(0.75)
    assert background_share({"dog": 0.0, "background": 0.0}) is None
    masks = open_masks("folder", folder)
    metrics = evaluate(load("scenes"), masks, replace(masks.protocol, short_side=64), ()).metrics
    iou = metrics["iou_per_class"]
    assert 0 < metrics["background_share"] < 1
    assert metrics["background_share"] == pytest.approx(iou["background"] / (metrics["miou"] * len(iou)), rel=1e-5)
