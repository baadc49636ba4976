"""The evaluation as a whole: on real photographs, within its memory, and from the command line."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from photographs import photographs
from PIL import Image

from minigroupvit import cli
from minigroupvit.checkpoints.native import load, save_checkpoint
from minigroupvit.data.mask_sets import open_masks
from minigroupvit.evaluation.controls import judge_cut, rings
from minigroupvit.evaluation.photographs import background_share, evaluate_masks, judge_masks
from minigroupvit.segmentation.options import PROTOCOLS, InferenceOptions, protocol_for
from minigroupvit.visual.figures import examples_page

WORDS = ["sun", "heart", "brick", "cloud"]
PLAIN = {"depths": (2,), "num_group_tokens": (0,), "num_output_groups": (0,)}
SMALL = "--short-side 16"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Six pictures of two sizes with masks of background, the four words and pixels that are not judged."""
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


def evaluate(*words: object) -> int:
    return cli.main(["evaluate", "--device", "cpu", "--quiet", *(w for word in words for w in str(word).split())])


# --- real photographs ------------------------------------------------------------------------------


def test_pascal_voc():
    """With the model of the scenes, which knows few of these words: what comes out is sane, not good."""
    masks = open_masks("voc2012", photographs("voc2012-animals")).first(12).occurring()
    small = replace(masks.protocol, short_side=64)
    with pytest.warns(UserWarning, match="never seen in training|has 1449 pictures, these are 12"):
        figures = evaluate_masks(load("scenes"), masks, small)
    assert figures["num_images"] == 12 and figures["num_expected"] == 1449 and len(figures["pictures"]) == 12
    assert 0 < figures["miou"] < figures["oracle_miou"] < 1 and figures["boundary_miou"] < figures["miou"]
    assert 0.1 < figures["probing_jaccard"] < 1 and "background" in figures["iou_per_class"]
    assert json.loads(json.dumps(figures, allow_nan=False))["protocol"]["short_side"] == 64


def test_coco_in_a_folder():
    masks = open_masks("folder", photographs("coco128-seg")).first(6)
    with pytest.warns(UserWarning, match="never seen in training"):
        figures = evaluate_masks(load("scenes"), masks, replace(masks.protocol, short_side=64), ["oracle"])
    assert figures["num_expected"] is None and figures["oracle_miou"] > figures["miou"]
    assert "boundary_miou" not in figures and "probing_jaccard" not in figures


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
    out, page = tmp_path / "new" / "figures.json", tmp_path / "new" / "page.png"
    assert evaluate(f"--data folder --root {folder} --weights {weights} --json {out} --examples {page} "
                    f"--background-threshold 0.3 {SMALL}") == 0
    printed, figures = capsys.readouterr(), json.loads(out.read_text())
    assert figures["num_images"] == 6 and figures["protocol"]["mode"] == "direct"
    assert figures["protocol"]["background_threshold"] == 0.3
    expected = evaluate_masks(load(str(weights)), open_masks("folder", folder), InferenceOptions(background_threshold=0.3))
    assert figures["miou"] == pytest.approx(expected["miou"]) and figures["pictures"] == pytest.approx(
        expected["pictures"])
    lines = [line.split() for line in printed.out.splitlines()]
    row = ["background", *(f"{figures[kind]['background']:.3f}" for kind in (
        "iou_per_class", "boundary_iou_per_class", "oracle_iou_per_class"))]
    assert row in lines and ["miou", f"{figures['miou']:.3f}"] in lines and "6 pictures of folder" in printed.out
    with Image.open(page) as image:
        assert image.format == "PNG" and image.width > 800 and np.asarray(image.convert("L")).std() > 10
    assert not list(out.parent.glob(".*"))


def test_choices_reach_the_evaluation(folder, weights, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr("minigroupvit.evaluation.photographs.evaluate_masks",
                        lambda *arguments, **named: asked.append((arguments, named)) or {"num_images": 0})
    assert evaluate(f"--data folder --root {folder} --weights {weights} --json - --metrics miou,oracle --mode whole "
                    "--flip --only-occurring --num-images 2 --batch-size 3 --top-classes all --window 99") == 0
    (_, masks, protocol, metrics, batch_size, num_workers), named = asked[0]
    assert len(masks) == 2 and metrics == ["oracle"] and batch_size == 3 and num_workers == 0
    model, chosen = load(str(weights)), {"mode": "whole", "flip": True, "top_classes": None, "window": 99}
    assert protocol == protocol_for(model, background_threshold=0.95, **chosen)
    assert named["class_embeddings"].shape == (len(masks.class_names), 12) and named["progress"] is False
    assert evaluate(f"--data folder --root {folder} --weights {weights} --json - --protocol released --stride 7") == 0
    assert asked[1][0][2] == replace(PROTOCOLS["voc2012"], stride=7) and asked[1][0][3] is None
    capsys.readouterr()


@pytest.mark.parametrize("words, message", [
    ("--data folder", "--data folder needs --root"),
    ("--root FOLDER", "--root FOLDER belongs to photographs"),
    ("--data voc2012 --root FOLDER", "expected there: VOCdevkit/VOC2012/"),
    ("--data folder --root FOLDER --metrics speed", "there is no figure 'speed'; choose from boundary, oracle"),
    ("--data folder --root FOLDER --examples page.xyz", "page.xyz ends in no kind of picture"),
    ("--data folder --root FOLDER --num-images 0", "--num-images is 0"),
    ("--data folder --root FOLDER --mode slide --stride 999 --window 448", "stride 999 leaves gaps"),
    ("--data folder --root FOLDER --batch-size 0", "at least 1"),
    ("--data imagefolder --root FOLDER/masks", "has no pictures by class"),
    ("--data folder --root FOLDER --clusters kmeans", "groups of its own"),
])
def test_a_mistake_is_one_line(words, message, folder, weights, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    assert evaluate(words.replace("FOLDER", str(folder)), "--weights", weights) == 2
    said = capsys.readouterr().err
    assert message.replace("FOLDER", str(folder)) in said
    assert said.startswith("minigroupvit: ") and said.count("\n") == 1


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_mask_of_another_size_stops_the_evaluation(num_workers, folder, weights, tmp_path, capsys):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    Image.new("L", (5, 5)).save(copy / "masks" / "4.png")
    out = tmp_path / "figures.json"
    assert evaluate(f"--data folder --root {copy} --weights {weights} --json {out} --num-workers {num_workers}",
                    SMALL) == 2
    assert "4.png is 5x5, but 4.png is 26x18" in capsys.readouterr().err and not out.exists()


def test_image_folder_from_the_command_line(folder, weights, tmp_path, capsys):
    for n, word in enumerate(WORDS):
        (tmp_path / "by class" / word).mkdir(parents=True)
        shutil.copy(folder / "images" / f"{n}.png", tmp_path / "by class" / word / "1.png")
    (tmp_path / "by class").rename(tmp_path / "classes")
    out = tmp_path / "figures.json"
    assert evaluate(f"--data imagefolder --root {tmp_path / 'classes'} --weights {weights} --json {out}") == 0
    figures = json.loads(out.read_text())
    assert figures["num_classes"] == 4 and "top5" not in figures
    assert f"top1 {figures['top1']:.3f}" in " ".join(capsys.readouterr().out.split())


# --- other models and conventions ------------------------------------------------------------------


def test_a_model_without_groups_is_read_out_by_patches_or_clusters(folder, make_model):
    model, masks = make_model(**PLAIN), open_masks("folder", folder)
    small = replace(masks.protocol, short_side=16)
    patches = evaluate_masks(model, masks, small)
    assert patches["protocol"]["pixels"] == "patches" and "oracle_miou" not in patches and "boundary_miou" in patches
    clusters = evaluate_masks(model, masks, small, clusters="kmeans")
    assert clusters["clusters"] == "kmeans" and clusters["oracle_miou"] > clusters["miou"]
    assert clusters["pictures"] != patches["pictures"]
    with pytest.raises(ValueError, match="no figure 'oracle' for a model without groups; choose from boundary"):
        evaluate_masks(model, masks, small, ["oracle"])
    assert examples_page(model, masks, clusters["pictures"], small, clusters="kmeans").axes


def test_background_has_to_be_in_the_masks_and_in_the_protocol(folder, make_model, tmp_path):
    masks = open_masks("folder", folder)
    with pytest.warns(UserWarning, match="without a background_threshold no pixel will be labelled so"):
        figures = evaluate_masks(make_model(), masks, replace(masks.protocol, short_side=16, background_threshold=None))
    assert figures["iou_per_class"]["background"] == 0
    shutil.copytree(folder, tmp_path / "copy")
    (tmp_path / "copy" / "classes.txt").write_text("\n".join(["red", *WORDS]))
    without = open_masks("folder", tmp_path / "copy")
    assert "background" not in evaluate_masks(make_model(), without, replace(without.protocol, short_side=16))[
        "iou_per_class"]
    with pytest.raises(ValueError, match="have no background: leave the background_threshold out"):
        evaluate_masks(make_model(), without, replace(without.protocol, background_threshold=0.5))


def test_the_model_is_left_as_it_was(folder, make_model):
    model, masks = make_model().train(), open_masks("folder", folder)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    evaluate_masks(model, masks, replace(masks.protocol, short_side=16))
    assert model.training and all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


# --- comparisons -----------------------------------------------------------------------------------


def test_a_model_and_a_cut_are_compared_picture_by_picture(make_model, folder):
    """The difference is that of the two evaluations, and each picture is in both."""
    masks = open_masks("folder", folder)
    protocol = replace(masks.protocol, short_side=16)
    model = make_model()
    figures, judged = evaluate_masks(model, masks, protocol), judge_masks(model, masks, protocol, batch_size=4)
    found, border = judge_cut(rings(2), masks)
    assert judged.names == border.names == tuple("012345")
    less = judged.minus(border)
    for key in ("ari", "oracle_miou"):
        assert less[f"{key}_difference"] == pytest.approx(figures[key] - found[key], abs=1e-6)
        low, high = less[f"{key}_difference_interval"]
        assert low < less[f"{key}_difference"] < high
    assert "miou_difference" not in less and judged.minus(judged)["miou_difference"] == 0


@pytest.mark.filterwarnings("ignore:never seen in training")
def test_how_much_of_the_miou_is_background(folder):
    assert background_share({"dog": 0.1, "cat": 0.0, "background": 0.3}) == pytest.approx(0.75)
    assert background_share({"dog": 0.0, "background": 0.0}) is None
    masks = open_masks("folder", folder)
    figures = evaluate_masks(load("scenes"), masks, replace(masks.protocol, short_side=64), ())
    iou = figures["iou_per_class"]
    assert 0 < figures["background_share"] < 1
    assert figures["background_share"] == pytest.approx(iou["background"] / (figures["miou"] * len(iou)), rel=1e-5)
