"""How a model looks at pictures: one answer everywhere, which options change, within a bound of memory."""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils._python_dispatch import TorchDispatchMode

import minigroupvit
from minigroupvit import cli
from minigroupvit.checkpoints.native import load_checkpoint, save_checkpoint
from minigroupvit.cli.common import add_protocol, protocol_choices
from minigroupvit.data.mask_sets import evaluation_protocol, open_masks
from minigroupvit.data.scenes.config import SceneConfig
from minigroupvit.data.scenes.make import make_scene
from minigroupvit.evaluation.evaluate import evaluate
from minigroupvit.segmentation import windows as sliding
from minigroupvit.segmentation.options import PROTOCOLS, InferenceOptions, protocol_for, released_sizes
from minigroupvit.segmentation.segment import segment
from minigroupvit.segmentation.windows import mask_size
from minigroupvit.training.recipes import preset_recipe, recipe
from minigroupvit.training.run import build_model

ROOT = Path(__file__).parents[1]
NAMES = ["sun", "heart", "brick", "cloud"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pictures of 48 and more pixels a side for a model that was trained on 16; masks without background."""
    root = tmp_path_factory.mktemp("set")
    for kind in ("images", "masks"):
        (root / kind).mkdir()
    for n, size in enumerate(((48, 48), (90, 60), (64, 150))):
        Image.fromarray(make_scene(n, "test").image).resize(size).save(root / "images" / f"{n}.png")
        mask = np.random.default_rng(n).integers(0, 4, (2, 3), dtype=np.uint8)
        Image.fromarray(mask).resize(size, Image.Resampling.NEAREST).save(root / "masks" / f"{n}.png")
    (root / "classes.txt").write_text("\n".join(NAMES))
    return root


# --- which size ----------------------------------------------------------------------------------


def test_a_model_looks_at_the_size_of_its_training_unless_told_otherwise(make_model):
    model = make_model()
    assert protocol_for(model) == InferenceOptions(short_side=16, long_side=128)
    assert protocol_for(model, overlap=2, short_side=20) == InferenceOptions(overlap=2, short_side=20, long_side=160)
    asked = InferenceOptions(short_side=448, long_side=2048, mode="slide")
    assert protocol_for(model, asked) == asked
    assert protocol_for(model, mode="slide").window_side == 16
    assert protocol_for(model, asked, long_side=None) == replace(asked, long_side=3584)
    model.protocol = InferenceOptions(short_side=24, top_classes=3)
    assert protocol_for(model) == InferenceOptions(short_side=24, long_side=192, top_classes=3)


def test_python_the_command_and_evaluate_do_the_same(folder, make_model, tmp_path, capsys):
    model, masks = make_model(), open_masks("folder", folder)
    save_checkpoint(tmp_path / "tiny.safetensors", model)
    options = ["--weights", str(tmp_path / "tiny.safetensors"), "--device", "cpu"]
    pictures = sorted((folder / "images").iterdir())
    assert cli.main(["segment", *map(str, pictures), "--classes", ",".join(NAMES), "--out", str(tmp_path / "found"),
                     *options]) == 0
    right = []
    for n, path in enumerate(pictures):
        picture, found = minigroupvit.segment_picture(model, path, NAMES)
        written = np.array(Image.open(tmp_path / "found" / f"{n}.mask.png"))
        assert picture.size == Image.open(path).size and np.array_equal(written, found.labels[0] + 1)
        for same in (segment(model, picture, NAMES), segment(model, picture, NAMES, InferenceOptions(short_side=16))):
            assert torch.equal(same.labels, found.labels) and torch.equal(same.groups[-1], found.groups[-1])
        as_it_is = segment(model, picture, NAMES, short_side=min(picture.size))
        assert as_it_is.maps[0].shape != found.maps[0].shape
        right.append((found.labels[0] == masks[n].mask).float().mean().item())
    capsys.readouterr()
    metrics = []
    for more in ([], ["--protocol", "weights"], ["--short-side", "16"], ["--short-side", "48"]):
        assert cli.main(["evaluate", "--data", "folder", "--root", str(folder), "--quiet", "--json", "-", *options,
                         *more]) == 0
        metrics.append(json.loads(capsys.readouterr().out))
    assert metrics[0] == metrics[1] == metrics[2] != metrics[3]
    assert metrics[0]["protocol"]["short_side"] == 16 and metrics[3]["protocol"]["long_side"] == 384
    python = evaluate(model, masks)
    assert python.metrics["miou"] == metrics[0]["miou"] and python.protocol == protocol_for(model)
    found = [(segment(model, example.image, NAMES).labels[0] == example.mask).float().mean().item()
             for example in (masks[n] for n in range(3))]
    assert found == pytest.approx(right) and python.miou_of_each == metrics[0]["pictures"]


def test_enlarged_scenes_are_named_nearly_as_well_as_scenes():
    """With a shipped model and nothing said; looked at as they are, or blurred, they would be named far worse."""
    model, names = minigroupvit.load("scenes_groupvit"), list(SceneConfig().class_names)
    scenes = [make_scene(n, "validation") for n in range(16)]

    def right(side: int, **choices: object) -> float:
        found = [segment(model, Image.fromarray(scene.image).resize((side, side)), names, **choices).labels[0].numpy()
                 for scene in scenes]
        truth = [np.array(Image.fromarray(scene.mask).resize((side, side), Image.Resampling.NEAREST)) for scene in scenes]
        return np.mean([labels == mask for labels, mask in zip(found, truth)])

    assert right(64) > 0.7 and right(160) > right(64) - 0.1 > right(160, short_side=160)


def test_training_stores_the_size_with_the_weights(captioned, tmp_path):
    small = recipe("photographs")
    for side, own in ((32, replace(small, model=replace(small.model, image=replace(small.model.image, image_size=32)))),
                      (128, small)):
        save_checkpoint(tmp_path / "a.safetensors", build_model(own, captioned))
        assert load_checkpoint(tmp_path / "a.safetensors").protocol.short_side == side
    assert preset_recipe("groupvit_2stage").protocol == InferenceOptions(short_side=448, long_side=2048)
    assert preset_recipe("groupvit_1stage", 112).protocol == InferenceOptions(short_side=224, long_side=1024)


# --- how `evaluate` looks ------------------------------------------------------------------------


def test_the_papers_models_are_measured_as_in_the_paper(folder, make_model):
    model = make_model()
    masks = open_masks("folder", folder)
    model.protocol = InferenceOptions(**released_sizes(224))                      # as `load_released` stores it
    assert evaluation_protocol(model, masks) == replace(PROTOCOLS["voc2012"], background_threshold=None)
    with_background = replace(masks, meanings=masks.meanings | {9: -1}, protocol=PROTOCOLS["context"])
    assert evaluation_protocol(model, with_background) == PROTOCOLS["context"]
    assert evaluation_protocol(model, with_background, "weights") == protocol_for(model, background_threshold=0.35)
    assert evaluation_protocol(model, with_background, pixels="shared", antialias=True) == replace(
        PROTOCOLS["context"], pixels="shared", antialias=True)


def test_a_background_threshold_is_the_weights_own_or_the_sets(folder, make_model):
    model, masks = make_model(), open_masks("folder", folder)
    with_background = replace(masks, meanings=masks.meanings | {9: -1}, protocol=PROTOCOLS["voc2012"])
    assert evaluation_protocol(model, with_background) == protocol_for(model, background_threshold=0.95)
    model.protocol = InferenceOptions(background_threshold=0.6)
    assert evaluation_protocol(model, with_background).background_threshold == 0.6
    assert evaluation_protocol(model, masks).background_threshold is None
    assert evaluation_protocol(model, with_background, "released") == PROTOCOLS["voc2012"]


@pytest.mark.parametrize("command, words", [
    ("evaluate --protocol released", "--protocol belongs to photographs with masks, not to --data scenes"),
    ("evaluate --data imagefolder --root x --no-antialias --short-side 64", "--short-side, --antialias would change nothing"),
    ("evaluate --only-occurring", "--only-occurring has no effect with --data scenes"),
    ("evaluate --data imagefolder --root x --clusters kmeans", "--clusters has no effect with --data imagefolder"),
    ("evaluate --data folder --root x --split unseen", "--split has no effect with --data folder"),
    ("evaluate --balance much", "argument --balance: invalid float or 'none' value: 'much'"),
])
def test_options_that_would_do_nothing_are_refused(command, words, capsys):
    try:
        assert cli.main(command.split()) == 2
    except SystemExit as stopped:
        assert stopped.code == 2
    assert words in capsys.readouterr().err


# --- its options ---------------------------------------------------------------------------------


def test_each_field_has_an_option():
    parser = argparse.ArgumentParser()
    add_protocol(parser)
    assert protocol_choices(parser.parse_args([])) == {}
    other = InferenceOptions(templates=("a {}.", "one {}, alone"), top_classes=None, background_threshold=0.3,
                     assignment="hard", upsample="groups", pixels="shared", refine=3, balance=0.2, overlap=2,
                     short_side=99, long_side=400, antialias=False, mode="slide", window=64, stride=32, flip=True)
    words = """--templates 'a {}., "one {}, alone"' --top-classes all --background-threshold 0.3 --assignment hard
        --upsample groups --pixels shared --refine 3 --balance 0.2 --overlap 2 --short-side 99 --long-side 400
        --no-antialias --mode slide --window 64 --stride 32 --flip"""
    given = protocol_choices(parser.parse_args(shlex.split(words)))
    assert given.keys() == {field.name for field in fields(InferenceOptions)} and InferenceOptions(**given) == other
    assert protocol_choices(parser.parse_args(["--balance", "none", "--background-threshold", "none"])) == {
        "balance": None, "background_threshold": None}


def test_the_shown_command_has_the_choices_of_the_published_figures():
    text = (ROOT / "results" / "README.md").read_text(encoding="utf-8").replace("\\\n", " ")
    (line,) = (line for line in text.splitlines() if "evaluate" in line and "--weights photographs " in line)
    arguments = cli.make_parser().parse_args(shlex.split(line.split("-m minigroupvit ")[1]))
    masks = argparse.Namespace(has_background=True, protocol=PROTOCOLS[arguments.data])
    found = evaluation_protocol(minigroupvit.load(arguments.weights), masks, arguments.protocol,
                                **protocol_choices(arguments))
    results = json.loads((ROOT / "results" / "photographs.json").read_text(encoding="utf-8"))
    published = results["models"]["photographs"]["trained"]["chosen"]["protocol"]
    published = InferenceOptions(**published | {"templates": tuple(published["templates"])})
    assert replace(found, long_side=None) == published and arguments.only_occurring


# --- memory --------------------------------------------------------------------------------------


class Largest(TorchDispatchMode):
    """The numbers of the largest tensor that any operation makes."""

    numbers = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        for one in made if isinstance(made, (tuple, list)) else [made]:
            if isinstance(one, torch.Tensor):
                self.numbers = max(self.numbers, one.numel())
        return made


def test_masks_are_made_at_a_bounded_size():
    assert mask_size(480, 640, 80) == (480, 640) and mask_size(64, 64, 5000) == (64, 64)
    assert mask_size(3000, 4000, 3) == mask_size(3000, 4000, 50) == (612, 816)
    assert mask_size(4000, 3000, 254) == (362, 272)
    assert mask_size(1, 3, 10**9) == (1, 1)


@pytest.mark.parametrize("choices", [
    {}, {"flip": True, "pixels": "shared", "balance": 0.1, "background_threshold": 0.5}, {"mode": "whole"},
    {"mode": "slide", "window": 16, "stride": 8}])
def test_no_tensor_has_all_scores_of_a_large_picture(choices, make_model, monkeypatch):
    model, words = make_model(), [f"word {n}" for n in range(50)]
    picture = torch.rand(1, 3, 300, 400)
    classes = torch.nn.functional.normalize(torch.randn(50, 12), dim=-1)
    monkeypatch.setattr(sliding, "MOST_PIXELS", 5000)
    with Largest() as largest:
        found = segment(model, picture, words, class_embeddings=classes, **choices)
    assert largest.numbers <= picture.numel() < 50 * 300 * 400
    assert found.labels.shape == (1, 300, 400) and found.scores.shape == (1, 50, 61, 82)
    assert all(groups.shape == (1, 300, 400) for groups in found.groups)


def test_evaluation_has_the_same_bound(folder, make_model, monkeypatch):
    model, masks = make_model(), open_masks("folder", folder)
    monkeypatch.setattr(sliding, "MOST_PIXELS", 500)
    with Largest() as largest:
        found = evaluate(model, masks, batch_size=1)
    assert found.names == ["0", "1", "2"] and largest.numbers <= 3 * 64 * 150


def test_a_photograph_of_twelve_megapixels(tmp_path):
    """At its peak less than 1 GiB above the process that has the model, drawing included."""
    Image.fromarray(make_scene(5, "test").image).resize((4000, 3000)).save(tmp_path / "large.jpg")
    code = """
import re, resource, sys
from pathlib import Path
import minigroupvit
from minigroupvit.visual.plots import save_overlay
from minigroupvit.segment_files import segment_pictures

def peak():    # in KiB; in Linux, ru_maxrss of a new process begins at that of its parent
    if sys.platform == "darwin":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return int(re.search("VmHWM: *(\\d+)", Path("/proc/self/status").read_text().replace("\\t", " "))[1])

model = minigroupvit.load(sys.argv[1])
names = ["cat", "grass", "night", "umbrella", "sand", "house"]
minigroupvit.segment(model, minigroupvit.load_image(sys.argv[2]).resize((80, 60)), names)
idle = peak()
result = minigroupvit.segment(model, minigroupvit.load_image(sys.argv[2]), names)
assert result.labels.shape == result.groups[-1].shape == (1, 3000, 4000)
del result
segment_pictures(model, [sys.argv[2]], names, sys.argv[3], smallest=0.01)
print(peak() - idle)
"""
    told = subprocess.run([sys.executable, "-c", code, "scenes_groupvit", str(tmp_path / "large.jpg"),
                           str(tmp_path / "found")], cwd=ROOT, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    assert 0 < int(told.stdout) < 2 ** 20
    assert Image.open(tmp_path / "found" / "large.mask.png").size == (4000, 3000)
