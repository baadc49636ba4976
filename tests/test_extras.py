"""Without the libraries of the extras the heart works; what needs one says which, and how to install it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from minigroupvit import cli
from minigroupvit.extras import EXTRAS, MissingExtra, extra

ROOT = Path(__file__).parent.parent
LIBRARIES = {"data": ("datasets", "webdataset"), "evaluation": ("skimage", "pycocotools"),
             "tensorboard": ("tensorboard",), "widgets": ("anywidget", "IPython", "ipywidgets", "traitlets")}

WITHOUT = """
import json, sys, warnings
for name in sys.argv[2:]:
    sys.modules[name] = None                # as if it were not installed
import numpy as np
import minigroupvit
from minigroupvit.cli import main

found = {}
model = minigroupvit.load("scenes")
image = np.zeros((64, 64, 3), np.uint8)
found["labels"] = list(minigroupvit.segment(model, image, ["cat", "grass"]).labels.shape)
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    from dataclasses import replace
    from minigroupvit.training.recipes import recipe
    from minigroupvit.training.run import train_on_scenes
    small = recipe("scenes")
    train_on_scenes(replace(small, num_scenes=60, training=replace(
        small.training, steps=1, batch_size=8, eval_every=0, precision="fp32")), sys.argv[1], num_proc=1, device="cpu",
        progress=False)
found["warnings"] = [str(w.message) for w in said if "extra" in str(w.message)]

def error(call):
    try:
        call()
    except ImportError as problem:
        return type(problem).__name__, str(problem)

def cuts():
    from minigroupvit.evaluation.controls import colour_clusters
    import torch
    colour_clusters(2)(torch.zeros(3, 8, 8, dtype=torch.uint8))

def rle():
    from minigroupvit.segmentation.instances import encode_rle
    encode_rle(np.ones((2, 2), bool))

def average_precision():
    from minigroupvit.evaluation.instances import mask_ap
    mask_ap([[]], [[]])

def widgets():
    import minigroupvit.visual.widgets

def shards():
    from minigroupvit.data.captioned.shards import expand
    expand("somewhere/{00..01}.tar")

def hub():
    from minigroupvit.data.captioned.open import open_dataset
    open_dataset("jxie/flickr8k")

def scenes():
    from minigroupvit.data.scenes.sets import load_scenes
    load_scenes("test", 2)

found["errors"] = {call.__name__: error(call) for call in (cuts, rle, average_precision, widgets, shards, hub, scenes)}
print(json.dumps(found))
"""


def run(program: str, *arguments: object) -> str:
    done = subprocess.run([sys.executable, "-c", program, *map(str, arguments)], capture_output=True, text=True,
                          env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def without(tmp_path_factory) -> dict:
    """What a program found that ran without any library of an extra."""
    out = tmp_path_factory.mktemp("run")
    libraries = [library for names in LIBRARIES.values() for library in names]
    return json.loads(run(WITHOUT, out, *libraries).splitlines()[-1]) | {"out": out}


def test_the_heart_loads_segments_and_trains_on_scenes(without):
    assert without["labels"] == [1, 64, 64]
    lines = [json.loads(line) for line in (without["out"] / "metrics.jsonl").read_text().splitlines()]
    assert any(line["kind"] == "train" and line["loss"] > 0 for line in lines)


def test_a_training_without_tensorboard_says_so(without):
    (said,) = without["warnings"]
    assert "TensorBoard" in said and 'pip install "minigroupvit[tensorboard]"' in said
    assert not (without["out"] / "tensorboard").exists()


@pytest.mark.parametrize(("call", "name", "library"), [
    ("cuts", "evaluation", "skimage"), ("rle", "evaluation", "pycocotools"),
    ("average_precision", "evaluation", "pycocotools"), ("widgets", "widgets", "anywidget"),
    ("shards", "data", "webdataset"), ("hub", "data", "datasets"), ("scenes", "data", "datasets")])
def test_each_use_of_an_extra_names_it(without, call, name, library):
    kind, message = without["errors"][call]
    assert kind == "MissingExtra" and f"{library} is not installed" in message
    assert EXTRAS[name] in message and f'pip install "minigroupvit[{name}]"' in message


def test_a_command_says_it_in_one_line(monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(sys.modules, "webdataset", None)
    monkeypatch.setitem(sys.modules, "webdataset.shardlists", None)
    assert cli.main(["train", "--data", f"{tmp_path}/{{00..01}}.tar", "--out", str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and 'pip install "minigroupvit[data]"' in said


def test_another_error_within_an_extra_stays_itself():
    with pytest.raises(ZeroDivisionError):
        with extra("data"):
            1 / 0  # noqa: B018
    with pytest.raises(MissingExtra, match="no_such_library is not installed"):
        with extra("data"):
            import no_such_library  # noqa: F401
