"""The command line, called as Python does it, with small untrained models."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tarfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoTokenizer, GroupViTModel

from minigroupvit import cli
from minigroupvit.checkpoints.native import load, read_checkpoint, save_checkpoint
from minigroupvit.checkpoints.released.write import unlike_transformers
from minigroupvit.config import PRESETS
from minigroupvit.data.captioned.augment import PAPER
from minigroupvit.data.captioned.open import open_captioned
from minigroupvit.data.scenes.make import make_scene
from minigroupvit.distributed import pick_device
from minigroupvit.evaluation.evaluate import Evaluation
from minigroupvit.images import load_image
from minigroupvit.segment_files import class_shares
from minigroupvit.segmentation.options import InferenceOptions
from minigroupvit.segmentation.segment import segment
from minigroupvit.training.loop import training_loss
from minigroupvit.training.recipes import RECIPES
from minigroupvit.training.record import Recorder

TINY_DATA = ("--steps 3 --batch-size 8 --image-size 16 --patch-size 8 --eval-every 0 "
             "--precision fp32 --quiet --device cpu")
TINY_RUN = f"--num-scenes 60 --num-proc 1 {TINY_DATA}"


@pytest.fixture
def weights(make_model, tmp_path):
    """A checkpoint for pictures of 16 x 16; it knows the words sun, heart, brick and cloud."""
    model = make_model()
    model.protocol = InferenceOptions(top_classes=2)
    save_checkpoint(tmp_path / "tiny.safetensors", model)
    return tmp_path / "tiny.safetensors"


@pytest.fixture
def picture(tmp_path):
    """A scene as someone would save it: larger than the model's, and no square."""
    scene = Image.fromarray(make_scene(0, "test").image).crop((0, 0, 64, 48)).resize((320, 240))
    scene.save(tmp_path / "scene.png")
    return tmp_path / "scene.png"


def run(command: str, *more: object) -> int:
    return cli.main([*shlex.split(command), *map(str, more)])


# --- help and mistakes ---------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["", "demo", "train", "evaluate", "segment", "export", "import", "experiments", "bench"])
def test_help_has_examples(command, capsys):
    with pytest.raises(SystemExit) as end:
        run(f"{command} --help")
    assert end.value.code == 0
    assert f"python -m minigroupvit {command}".strip() in capsys.readouterr().out.split("examples:")[1]


def test_the_examples_can_be_parsed():
    commands = [line.strip().partition("   ")[0]
                for command in cli.COMMANDS.values() for line in command.EXAMPLES.replace("\\\n", "").splitlines()
                if line.strip().startswith("python -m minigroupvit")]
    assert len(commands) > 10
    for command in commands:
        cli.make_parser().parse_args(shlex.split(command)[3:])


def test_help_is_quick():
    """Only what the package itself imports: the libraries of a command wait until it runs."""
    script = ("import sys, minigroupvit; before = set(sys.modules); from minigroupvit.cli import main\n"
              "try: main(['train', '--help'])\n"
              "except SystemExit: print(*sorted(set(sys.modules) - before), file=sys.stderr)")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    new = {name.split(".")[0] for name in done.stderr.split()}
    assert not new & {"torch", "datasets", "matplotlib", "sklearn", "torchmetrics", "textblob"}


def test_module_and_mistakes_of_grammar(tmp_path):
    done = subprocess.run([sys.executable, "-m", "minigroupvit", "paint"], capture_output=True, text=True)
    assert done.returncode == 2 and "invalid choice: 'paint'" in done.stderr


@pytest.mark.parametrize("command, words", [
    ("segment PICTURE --classes 'sun, sun' --weights WEIGHTS", "'sun' repeats"),
    ("segment PICTURE --classes 'sun, , heart' --weights WEIGHTS", "class name 1 is ''"),
    ("segment PICTURE --classes sun --weights WEIGHTS --out PICTURE", "is the image itself"),
    ("segment PICTURE --classes sun --weights WEIGHTS --out overlay.xyz", "overlay.xyz"),
    ("segment PICTURE --classes sun --weights WEIGHTS --background-threshold 3", "a probability from 0 to 1"),
    ("segment PICTURE --classes sun --weights WEIGHTS --top-classes 0", "keep at least 1 class"),
    ("segment PICTURE --classes sun --weights WEIGHTS --short-side 0", "--short-side is 0"),
    ("segment PICTURE --classes sun --weights WEIGHTS --device abacus", "cannot use the device abacus"),
    ("segment PICTURE --classes sun --weights nothing", "no shipped weights 'nothing'"),
    ("segment PICTURE --classes sun --weights nothing.safetensors", "there is no checkpoint at nothing.safetensors"),
    ("segment PICTURE --classes sun --weights CUT", "is not a minigroupvit checkpoint, or it is cut off"),
    ("segment nothing.png --classes sun --weights WEIGHTS", "there is no image at nothing.png"),
    ("segment CUT --classes sun --weights WEIGHTS", "is no image that can be read"),
    ("segment . --classes sun --out o.png", "is a folder, so --out must be a folder"),
    ("segment PICTURE --classes sun --weights WEIGHTS --out PICTURE/overlay.png", "scene.png"),
    ("evaluate --weights WEIGHTS --num-images 0", "num_scenes must be 1 or more"),
    ("train --recipe cake", "unknown recipe 'cake'; the recipes are scenes"),
    ("train --preset huge", "unknown preset 'huge'; the presets are"),
    ("train --image-size 60", "--image-size 60 is not a multiple of --patch-size"),
    ("train --residual sometimes", "residual is 'sometimes'; choose one of"),
    ("train --steps 0", "steps is 0; it must be at least 1"),
    ("train --precision half", "precision is 'half'"),
    ("train --data nothing/here/at/all", "there is nothing at nothing/here/at/all"),
    ("train --data nothing/{00..03}.tar", "there are no shards at nothing/{00..03}.tar"),
    ("train --data lmms-lab/flickr30k --split train", "no split 'train' in lmms-lab/flickr30k; it has test"),
    ("train --augmentation papre", "unknown augmentation 'papre'; there are none, flip, paper"),
])
def test_a_mistake_is_one_line_and_exit_code_2(command, words, weights, picture, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cut").write_bytes(weights.read_bytes()[:1000])
    for name, path in (("PICTURE", picture), ("WEIGHTS", weights), ("CUT", tmp_path / "cut")):
        command = command.replace(name, str(path))
    before = picture.read_bytes()
    # A checkpoint is told by its ending.
    if "--weights" in command and str(tmp_path / "cut") in command:
        (tmp_path / "cut").rename(tmp_path / "cut.safetensors")
        command = command.replace(str(tmp_path / "cut"), str(tmp_path / "cut.safetensors"))
    assert run(command) == 2
    said = capsys.readouterr()
    assert words in said.err and said.err.startswith("minigroupvit: ") and said.err.count("\n") == 1
    assert picture.read_bytes() == before


# --- segment -------------------------------------------------------------------------------------


def test_segment_writes_an_overlay_and_prints_shares(weights, picture, tmp_path, capsys):
    out = tmp_path / "new" / "overlay.png"
    assert run("segment", picture, "--classes", "sun, heart , brick", "--weights", weights, "--out", out) == 0
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert sorted(line.split()[0] for line in lines[:-1]) == ["brick", "heart", "sun"]
    shares = [float(line.split()[-1].rstrip("%")) for line in lines[:-1]]
    assert sum(shares) == pytest.approx(100, abs=0.2) and shares == sorted(shares, reverse=True)
    assert lines[-1] == f"written: {out}" and said.err == ""
    with Image.open(out) as overlay:
        assert overlay.format == "PNG" and overlay.width > 300
        assert np.asarray(overlay.convert("RGB")).std() > 5


def shares_of(said: str) -> dict[str, float]:
    return {line.split()[0]: float(line.split()[-1].rstrip("%")) for line in said.splitlines() if line.endswith("%")}


@pytest.mark.parametrize("option, side", [("", 16), ("--short-side 32", 32)])
def test_a_picture_enters_at_the_size_of_training(option, side, weights, picture, tmp_path, capsys):
    names = ["sun", "heart", "brick", "cloud"]
    run("segment", picture, "--classes", ",".join(names), "--weights", weights, "--out", tmp_path / "o.png",
        *option.split())
    expected = segment(load(str(weights)), load_image(picture), names, short_side=side).labels[0]
    assert shares_of(capsys.readouterr().out) == {
        name: pytest.approx(100 * (expected == i).float().mean().item(), abs=0.051) for i, name in enumerate(names)}


@pytest.fixture
def protocols(monkeypatch):
    """The protocols that `segment` is called with."""
    asked = []

    def spy(model, picture, names, protocol, **more):
        asked.append(protocol)
        return segment(model, picture, names, protocol, **more)

    monkeypatch.setattr("minigroupvit.segment_files.segment", spy)
    return asked


def test_choices_come_from_the_command_line_then_from_the_weights(make_model, picture, tmp_path, protocols):
    model = make_model()
    model.protocol = InferenceOptions(short_side=24, top_classes=3)
    save_checkpoint(tmp_path / "other.safetensors", model)
    for options in ("", "--short-side 32 --background-threshold 0.6 --top-classes all --overlap 2"):
        assert run("segment", picture, "--classes", "sun", "--weights", tmp_path / "other.safetensors",
                   "--out", tmp_path / "o.png", *options.split()) == 0
    assert protocols == [replace(model.protocol, long_side=192), InferenceOptions(
        short_side=32, long_side=256, background_threshold=0.6, top_classes=None, overlap=2)]


def test_unknown_words_are_told_in_one_line(weights, picture, tmp_path, capsys):
    assert run("segment", picture, "--classes", "sun, zebra", "--weights", weights, "--out", tmp_path / "o.png") == 0
    said = capsys.readouterr().err
    assert said.startswith("minigroupvit: never seen in training: zebra;") and said.count("\n") == 1
    assert "brick" in said and "Warning" not in said


def test_background_is_a_share_of_its_own(capsys):
    cli.segment._print_shares(class_shares(np.array([[-1, -1, 1], [1, 1, 1]]), ["sun", "heart"]))
    assert shares_of(capsys.readouterr().out) == {"heart": 66.7, "(background)": 33.3, "sun": 0.0}


@pytest.mark.parametrize("mode", ["L", "P", "RGBA"])
def test_pictures_of_all_kinds(mode, weights, picture, tmp_path):
    Image.open(picture).convert(mode).save(tmp_path / "other.png")
    assert run("segment", tmp_path / "other.png", "--classes", "sun, heart", "--weights", weights,
               "--out", tmp_path / "o.png") == 0


# --- evaluate ------------------------------------------------------------------------------------


def test_evaluate_prints_json_and_nothing_else(weights, capsys):
    assert run("evaluate --num-images 4 --split unseen --json - --weights", weights) == 0
    said = capsys.readouterr()
    metrics = json.loads(said.out)
    assert metrics["num_images"] == 4 and metrics["split"] == "unseen" and metrics["weights"] == str(weights)
    assert metrics["data"] == "scenes" and metrics["protocol"]["short_side"] == 16 and "pictures" not in metrics
    assert {"miou", "miou_objects", "miou_backgrounds", "iou_per_class", "ari", "recognition_ap", "oracle_miou",
            "naming", "miou_interval"} <= set(metrics)
    assert all(0 <= metrics[name] <= 1 for name in ("miou", "oracle_miou", "recognition_ap"))


def test_evaluate_prints_a_table_and_writes_json(weights, tmp_path, capsys):
    out = tmp_path / "new" / "metrics.json"
    assert run("evaluate --num-images 4 --weights", weights, "--json", out) == 0
    printed, metrics = capsys.readouterr().out, json.loads(out.read_text())
    assert "4 scenes of the split test" in printed
    for name, value in (metrics["iou_per_class"] | {"oracle_miou": metrics["oracle_miou"]}).items():
        assert f"{name} {value:.3f}" in " ".join(printed.split())


def test_evaluate_takes_choices_of_the_protocol(weights, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr("minigroupvit.evaluation.evaluate.evaluate",
                        lambda model, masks, protocol, *rest, **named: asked.append(protocol) or Evaluation(
                            masks, protocol=protocol))
    assert run("evaluate --num-images 2 --json - --top-classes all --overlap 4 --weights", weights) == 0
    assert run("evaluate --num-images 2 --json - --weights", weights) == 0
    sizes = {"short_side": 16, "long_side": 128}
    assert asked == [InferenceOptions(top_classes=None, overlap=4, **sizes), InferenceOptions(top_classes=2, **sizes)]


# --- export and import ---------------------------------------------------------------------------


def test_out_to_transformers_and_in_again(weights, picture, tmp_path, capsys):
    out = tmp_path / "theirs"
    assert run("export", weights, "--to", "transformers", out) == 0 and f"written: {out}" in capsys.readouterr().out
    GroupViTModel.from_pretrained(out).save_pretrained(tmp_path / "again")
    AutoTokenizer.from_pretrained(out).save_pretrained(tmp_path / "again")
    assert run("import", tmp_path / "again", tmp_path / "back.safetensors") == 0
    assert "2 and 2 heads" in capsys.readouterr().out
    first, back = load(weights), load(tmp_path / "back.safetensors")
    assert back.config == first.config and back.tokenizer.state() == first.tokenizer.state()
    for path in (out, tmp_path / "back.safetensors"):
        assert run("segment", picture, "--classes", "sun, brick", "--weights", path, "--out", tmp_path / "o.png") == 0


def test_a_bare_checkpoint_of_the_authors_needs_heads_and_vocabulary_everywhere(weights, picture, tmp_path, capsys):
    assert run("export", weights, "--to", "original", tmp_path / "full.pth") == 0
    assert run("export", weights, "--to", "transformers", tmp_path / "theirs") == 0
    torch.save({"model": torch.load(tmp_path / "full.pth")["model"]}, tmp_path / "bare.pth")
    commands = [f"segment {picture} --classes 'sun, heart' --out {tmp_path / 'o.png'} --weights BARE",
                "evaluate --num-images 2 --json - --weights BARE", f"import BARE {tmp_path / 'one.safetensors'}",
                f"export BARE --to original {tmp_path / 'again.pth'}"]
    for command in commands:
        command = command.replace("BARE", str(tmp_path / "bare.pth"))
        assert run(command) == 2
        assert "give --num-heads\n" in capsys.readouterr().err
        command += " --num-heads 2 --text-num-heads 2"
        assert run(command) == 2
        assert "give the tokenizer of these weights: --tokenizer\n" in capsys.readouterr().err
        assert run(command, "--tokenizer", tmp_path / "theirs" / "tokenizer.json") == 0
    state = load(weights).state_dict()
    assert all(torch.equal(value, state[name]) for name, value in load(tmp_path / "one.safetensors").state_dict().items())
    assert load(tmp_path / "again.pth").config == load(weights).config


def test_an_export_replaces_no_model(weights, tmp_path, capsys):
    load(weights).save_pretrained(tmp_path / "folder")
    before = {path: path.read_bytes() for path in [weights, *(tmp_path / "folder").iterdir()]}
    for command, words in [
            (f"export {weights} --to original {weights}", "is the checkpoint itself"),
            (f"export {weights} --to original {tmp_path / 'x.safetensors'}", "writes a file of torch.save"),
            (f"export {weights} --to original {tmp_path / 'folder'}", "writes a file of torch.save"),
            (f"export {weights} --to transformers {weights}", "is the checkpoint itself"),
            (f"export {weights} --to transformers {tmp_path / 'folder' / 'config.json'}", "writes a folder"),
            (f"export {weights} --to transformers {tmp_path / 'folder'}", "checkpoint of this package and would be"),
            (f"import {weights} {weights}", "is the model itself"),
            (f"import {weights} {tmp_path / 'model.bin'}", "give a file that ends in .safetensors"),
            (f"export scenes --to transformers {tmp_path / 'scenes'}", "no place for this model's image.stem")]:
        assert run(command) == 2, command
        assert words in capsys.readouterr().err
    assert before == {path: path.read_bytes() for path in before}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "tiny.safetensors"]


# --- train ---------------------------------------------------------------------------------------


def test_train_then_use_the_weights_and_go_on(picture, tmp_path, capsys):
    out = tmp_path / "run"
    assert run(f"train {TINY_RUN} --out", out) == 0
    last = out / "last.safetensors"
    assert f"--weights {last}" in capsys.readouterr().out
    assert load(str(last)).config.image.image_size == 16
    assert run("segment", picture, "--classes", "sun, grass", "--weights", last, "--out", tmp_path / "o.png") == 0
    capsys.readouterr()
    # The same again has nothing left to do; other settings do not belong into this folder.
    before = last.read_bytes()
    assert run(f"train {TINY_RUN} --out", out) == 0 and last.read_bytes() == before
    assert run(f"train {TINY_RUN} --lr 0.5 --out", out) == 2
    assert "holds a run with other settings" in capsys.readouterr().err


def test_ctrl_c_saves_and_the_same_command_goes_on(tmp_path, monkeypatch, capsys):
    step = Recorder.step

    def interrupt(self, number, values, bar):
        step(self, number, values, bar)
        if number == 1:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Recorder, "step", interrupt)
    assert run(f"train {TINY_RUN} --out", tmp_path) == 130
    said = capsys.readouterr()
    assert "stopped after 2 of 3 steps" in said.out + said.err and "Traceback" not in said.err
    monkeypatch.undo()
    assert run(f"train {TINY_RUN} --out", tmp_path) == 0


def test_a_loss_that_is_not_finite_is_told_in_one_line(tmp_path, capsys):
    assert run(f"train {TINY_RUN} --lr 1e30 --warmup 0 --out", tmp_path) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("minigroupvit: step ") and "is not finite" in said


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """A folder of 16 pictures for training and 12 for validation; the captions are called "says"."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    for split, count in (("train", 16), ("validation", 12)):
        folder = tmp_path / "photos" / split
        folder.mkdir(parents=True)
        lines = []
        for i in range(count):
            Image.new("RGB", (20, 24), (10 * i, 90, 120)).save(folder / f"{i}.png")
            lines.append(json.dumps({"file_name": f"{i}.png", "says": f"a thing in the garden, number {i}"}))
        (folder / "metadata.jsonl").write_text("\n".join(lines))
    return tmp_path / "photos"


@pytest.mark.parametrize("options", ["", "--cache disk --workers 0", "--stream --workers 0 --buffer 4"])
def test_train_takes_a_folder(photos, tmp_path, capsys, options):
    assert run(f"train {TINY_DATA} {options} --data", photos / "train", "--caption-columns", "says",
               "--out", tmp_path / "run") == 0
    assert "garden" in load(str(tmp_path / "run" / "last.safetensors")).tokenizer.known_words
    assert not (tmp_path / "run" / "best.safetensors").exists()
    said = capsys.readouterr()
    assert "nothing skipped of " in said.out + said.err
    assert run(f"train {TINY_DATA} {options} --data", photos / "train", "--caption-columns", "sings",
               "--out", tmp_path / "other") == 2
    assert "no column 'sings'; the data set has says, image" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("options, pictures", [
    ("--data PHOTOS", 12), ("--data PHOTOS/train --hold-out 6", 6), ("--data PHOTOS --validation-split train", 16),
    ("--data PHOTOS/train --validation-data OTHER", 12)])
def test_train_is_watched_by_retrieval(photos, tmp_path, options, pictures):
    options = options.replace("PHOTOS", str(photos)).replace("OTHER", str(tmp_path / "other"))
    shutil.copytree(photos / "validation", tmp_path / "other")
    told = tmp_path / "other" / "metadata.jsonl"
    told.write_text(told.read_text().replace("says", "caption"))
    assert run(f"train {TINY_DATA} --eval-every 2 {options} --caption-columns says --out", tmp_path / "run") == 0
    figures = read_checkpoint(tmp_path / "run" / "best.safetensors")[0]["about"]["validation"]
    assert figures["num_images"] == pictures and 0 <= figures["image_to_text_recall_1"] <= 1


def test_train_takes_shards_and_goes_on(tmp_path, capsys):
    for shard in range(2):
        with tarfile.open(tmp_path / f"{shard:05d}.tar", "w") as archive:
            for number in range(9):
                picture = io.BytesIO()
                Image.new("RGB", (20, 24), (10 * number, 90, 120)).save(picture, "JPEG")
                for kind, content in (("jpg", picture.getvalue()), ("txt", f"a boat, number {number}".encode())):
                    member = tarfile.TarInfo(f"{number:09d}.{kind}")
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))
    command = f"train {TINY_DATA} --workers 0 --data {tmp_path}/{{00000..00001}}.tar --augmentation paper --out"
    assert run(command, tmp_path / "run") == 0
    assert (tmp_path / "run" / "stream-0.jsonl").exists()
    assert run(command, tmp_path / "run") == 0
    assert run(f"{command} {tmp_path / 'other'} --hold-out 4 --eval-every 1") == 2
    assert "not of a stream" in capsys.readouterr().err


@pytest.mark.parametrize("options", ["", "--cache disk --workers 0", "--stream --workers 0 --buffer 4",
                                     "--hold-out 4 --eval-every 3"])
def test_captions_in_another_script_and_a_column_of_nouns(photos, tmp_path, capsys, monkeypatch, options):
    told = photos / "train" / "metadata.jsonl"
    told.write_text("\n".join(json.dumps({"file_name": f"{i}.png", "caption": f"चाय का प्याला {i}", "names": "चाय, प्याला"})
                              for i in range(16)))
    command = f"train {TINY_DATA} {options} --data {photos / 'train'} --out"
    assert run(command, tmp_path / "plain") == 0
    assert capsys.readouterr().err.count("the captions are mostly not in Latin script") == 1
    seen = []
    monkeypatch.setattr("minigroupvit.training.loop.training_loss",
                        lambda model, batch, config: seen.append(batch) or training_loss(model, batch, config))
    assert run(command, tmp_path / "named", "--nouns-column", "names") == 0
    assert "Latin" not in capsys.readouterr().err
    assert {tuple(nouns) for batch in seen for nouns in batch.nouns} == {("चाय", "प्याला")}


@pytest.mark.parametrize("options", ["", "--cache disk --workers 0", "--stream --workers 0 --buffer 4"])
def test_the_same_out_with_other_data_is_refused(photos, tmp_path, capsys, options):
    out = tmp_path / "run"
    assert run(f"train {TINY_DATA} {options} --caption-columns says --data", photos / "train", "--out", out) == 0
    again = f"train {TINY_DATA} {options} --caption-columns says --data"
    shutil.copytree(photos / "train", tmp_path / "moved")
    assert run(again, tmp_path / "moved", "--out", out) == 0              # the data may lie elsewhere
    told = tmp_path / "moved" / "metadata.jsonl"
    lines = told.read_text().splitlines()
    told.write_text("\n".join([lines[1], lines[0], *lines[2:]]))         # the same words, another order
    capsys.readouterr()
    assert run(again, tmp_path / "moved", "--out", out) == 2
    said = capsys.readouterr().err
    assert "other settings or data: data: " in said and "Give another folder (--out)" in said
    assert said.count(" in the run, ") == 1


def test_shards_that_changed_are_other_data(tmp_path):
    def write(number: int, captions: list[str]) -> None:
        with tarfile.open(tmp_path / f"{number}.tar", "w") as archive:
            for key, caption in enumerate(captions):
                picture = io.BytesIO()
                Image.new("RGB", (8, 8), (key, 9, 12)).save(picture, "PNG")
                for kind, content in (("png", picture.getvalue()), ("txt", caption.encode())):
                    member = tarfile.TarInfo(f"{key:04d}.{kind}")
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))

    def fingerprint() -> dict:
        return open_captioned(tmp_path, 8, num_workers=0).fingerprint()

    for number in range(2):
        write(number, [f"a lamp {key}" for key in range(4)])
    first = fingerprint()
    assert first == fingerprint() and first["shards"] == 2
    write(0, [f"a lump {key}" for key in range(4)])                       # as long as before
    other = fingerprint()
    assert other["captions"] != first["captions"] and other["files"] == first["files"]
    write(1, ["a chair"] * 90)
    assert fingerprint()["files"] != first["files"]
    write(2, ["a chair"])
    assert fingerprint()["shards"] == 3


def changed(command: str):
    return cli.train.change_recipe(RECIPES["scenes"], cli.make_parser().parse_args(shlex.split(f"train {command}")))


def test_a_recipe_without_options_is_itself():
    assert changed("") == RECIPES["scenes"]


def test_options_take_the_place_of_the_recipes_values():
    recipe = changed("--preset groupvit_2stage --image-size 96 --assignment soft --steps 7 --batch-size 4 --lr 0.01 "
                     "--seed 3 --num-prompts 0 --precision bf16 --compile --eval-every 0 --num-scenes 50 "
                     "--augmentation paper,erasing=0 --micro-batch-size 2 --checkpoint-activations")
    assert recipe.training.micro_batch_size == 2 and recipe.training.checkpoint_activations
    assert recipe.model.image.image_size == 96 and recipe.model.image.depths == (6, 3, 3)
    assert recipe.model.image.assignment == "soft" and recipe.model.tokenizer == "clip"
    training = recipe.training
    assert (training.steps, training.batch_size, training.lr, training.seed) == (7, 4, 0.01, 3)
    assert (training.num_prompts, training.precision, training.compile, training.eval_every) == (0, "bf16", True, 0)
    assert recipe.num_scenes == 50 and training.augmentation == replace(PAPER, erasing=0.0)


def test_the_recipes_are_listed(capsys):
    assert run("train --recipe list") == 0
    said = capsys.readouterr().out
    assert [line.split()[0] for line in said.splitlines()[::2]] == list(RECIPES)
    assert re.search(r"photographs_paper .*\n +opens in transformers", said)
    assert re.search(r"photographs .*\n +no place in transformers for image.stem 'convolution'.*; head 'linear'", said)
    assert re.search(r"scenes_groupvit .*\n +no place in transformers for .*image.temperature 0.01", said)


def test_the_help_names_the_models_that_open_in_transformers():
    fits = [name for name, recipe in RECIPES.items() if not unlike_transformers(recipe.trained)]
    fits += [name for name in PRESETS if not unlike_transformers(changed(f"--preset {name}").trained)]
    assert sorted(fits) == ["clip_vit", "groupvit_1stage", "groupvit_2stage", "photographs_gpu", "photographs_paper"]
    for command in ("train", "export"):
        assert all(name in cli.COMMANDS[command].EXAMPLES for name in fits)


def test_demo_gets_its_folder(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr("minigroupvit.demo.run_demo", asked.append)
    assert run("demo --out", tmp_path) == 0
    assert run("demo") == 0
    assert asked == [str(tmp_path), "outputs/demo"]


def test_a_device_by_name():
    assert pick_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["groupvit_2stage", "groupvit_1stage", "clip_vit"])
def test_a_preset_brings_its_own_training_and_protocol(name: str) -> None:
    recipe = changed(f"--preset {name}")
    training = recipe.training
    assert recipe.model == PRESETS[name]
    assert training.segment_weight == training.information_weight == training.pixel_similarity_weight == 0
    assert training.final_temperature is None and training.hard_from == 1 and training.augmentation == PAPER
    assert (training.batch_size, training.num_prompts) == (4096, 0 if name == "clip_vit" else 3)
    assert recipe.protocol.overlap == 1 and recipe.protocol.balance is None
    assert changed("--preset scenes") == RECIPES["scenes"]


def test_names_as_csv_and_from_a_file(tmp_path) -> None:
    split = cli.common.split_names
    assert split('traffic light, "b, c" ,d') == ["traffic light", "b, c", "d"]
    assert split("lamp\ntraffic light, road\n") == ["lamp", "traffic light", "road"]
    (tmp_path / "names.txt").write_bytes("\ufeffcafé table\n\nlamp, red\n".encode())
    assert split(f"@{tmp_path / 'names.txt'}") == ["café table", "lamp, red"]
    with pytest.raises(ValueError, match="there is no file nowhere.txt"):
        split("@nowhere.txt")


def test_two_ways_to_validate_are_one_too_many(tmp_path, capsys) -> None:
    assert run("train --hold-out 3 --validation-data other --data", tmp_path, "--out", tmp_path / "run") == 2
    assert "--validation-data has no effect: --hold-out keeps images of --data" in capsys.readouterr().err


@pytest.mark.parametrize("options, said", [
    ("--hold-out 3", "--hold-out has no effect: it belongs to captioned images, and these are the scenes"),
    ("--caption-columns says", "--caption-columns has no effect"),
    ("--data PHOTOS --num-scenes 9", "--num-scenes has no effect: it belongs to the scenes, and --data is"),
    ("--data PHOTOS --buffer 9", "--buffer has no effect: it belongs to --stream and to shards"),
    ("--data PHOTOS --workers 2", "--workers has no effect: it belongs to --cache disk"),
    ("--data PHOTOS --stream --cache disk", "--cache has no effect: --stream keeps nothing"),
    ("--data shards/{0..3}.tar --cache memory", "--cache has no effect: shards are always read as they come"),
    ("--data PHOTOS --validation-split test --hold-out 3", "--validation-split has no effect: --hold-out keeps"),
    ("--data PHOTOS --validation-data PHOTOS --eval-every 0", "nothing is validated with --eval-every 0"),
    ("--data shards/0.tar --split test", "tar shards have no splits, so there is no 'test' in shards/0.tar"),
    ("--data PHOTOS --caption-columns sings", "name the one of images with --image-column, those of captions with "
                                              "--caption-columns, and optionally that of nouns with --nouns-column"),
    ("--nouns-column things", "--nouns-column has no effect: it belongs to captioned images"),
    ("--data PHOTOS --nouns-column things --num-prompts 0", "--nouns-column has no effect: nouns are not used with"),
    ("--recipe scenes_short --preset groupvit_1stage", "--recipe has no effect: --preset groupvit_1stage brings its own"),
    ("--data PHOTOS --max-skipped 3", "the share that may be skipped is 3"),
    ("--data PHOTOS --caption-columns number", "or allow more with --max-skipped"),
    ("--data PHOTOS/train --batch-size 1", "--batch-size is 1; it must be at least 2"),
    ("--recipe photographs_paper --segment-weight 1 --num-scenes 20 --num-proc 1", "--segment-weight, patch_weight")])
def test_what_has_no_effect_is_refused_in_the_words_of_the_command_line(photos, tmp_path, capsys, options, said):
    told = photos / "train" / "metadata.jsonl"
    lines = [json.loads(line) | {"number": number} for number, line in enumerate(told.read_text().splitlines())]
    told.write_text("\n".join(map(json.dumps, lines)))
    options = options.replace("PHOTOS", str(photos))
    assert run(f"train --quiet --device cpu --out {tmp_path / 'run'} {options}") == 2
    error = capsys.readouterr().err
    assert said in error.splitlines()[-1] and "max_skipped" not in error and "captions=" not in error
    assert not (tmp_path / "run" / "last.safetensors").exists()


def test_a_batch_is_as_large_as_the_data_allow_and_that_is_said(photos, tmp_path, capsys):
    small = TINY_DATA.replace("--batch-size 8", "--batch-size 100")
    assert run(f"train {small} --data {photos / 'train'} --caption-columns says --out", tmp_path / "run") == 0
    said = capsys.readouterr()
    assert "batches are of 16 images, not of 100: there are no more to train on" in said.out + said.err
    header = read_checkpoint(tmp_path / "run" / "last.safetensors")[0]["about"]
    assert header["train_config"]["batch_size"] == 16 and header["step"] == 3
    again = f"train {small} --data {photos / 'train'} --caption-columns says --out"
    assert run(again, tmp_path / "run") == 0, "goes on"


def test_a_run_that_breaks_before_its_first_checkpoint_names_none(tmp_path, capsys):
    assert run(f"train {TINY_RUN} --lr 1e30 --warmup 0 --out", tmp_path / "run") == 1
    said = capsys.readouterr().err
    assert "There is no checkpoint yet." in said and "good checkpoint" not in said
    assert not (tmp_path / "run" / "last.safetensors").exists()


def test_a_long_value_does_not_bury_its_message(weights, picture, tmp_path, capsys):
    name = "red " * 400_000
    assert run(f"segment {picture} --weights {weights} --classes", name) == 2
    assert len(capsys.readouterr().err) < 300
    name = "red " * 30_000
    assert run("segment", picture, "--weights", weights, "--out", tmp_path / "o.png", "--classes", name) == 2
    said = capsys.readouterr().err
    assert "is too long: in its template it has 300" in said and "the model reads 14; shorten" in said
    assert len(said) < 400


def test_words_of_the_package_become_options_but_not_in_paths():
    own = cli.make_parser().parse_args(["train"])
    told = cli.common.in_options("batch_size is 1 (image_size, captions=[...]); see a/batch_size/x, my_batch_size", own)
    assert told == "--batch-size is 1 (--image-size, --caption-columns); see a/batch_size/x, my_batch_size"
    assert cli.common.in_options("num_workers is -1", own) == "--workers is -1"


@pytest.mark.filterwarnings("default:.* images in subfolders of:UserWarning")
def test_pictures_in_folders_of_a_folder_are_told(weights, picture, tmp_path, capsys):
    (tmp_path / "all" / "more").mkdir(parents=True)
    for place in ("all", "all/more"):
        shutil.copy(picture, tmp_path / place)
    assert run("segment", tmp_path / "all", "--classes", "sun", "--weights", weights, "--out", tmp_path / "found") == 0
    assert "1 images in subfolders of " in capsys.readouterr().err


def test_masks_in_folders_of_their_folder_are_refused(weights, picture, tmp_path, capsys):
    for place in ("images", "masks", "masks/second"):
        (tmp_path / "set" / place).mkdir(parents=True)
        Image.new("L", (4, 4)).save(tmp_path / "set" / place / "a.png")
    (tmp_path / "set" / "classes.txt").write_text("sun\n")
    assert run("evaluate --data folder --quiet --weights", weights, "--root", tmp_path / "set") == 2
    assert "lie in a folder of" in capsys.readouterr().err
