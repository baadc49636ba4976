"""The command line, called as Python does it, with small untrained models."""

from __future__ import annotations

import io
import json
import os
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

from minigroupvit import cli
from minigroupvit.checkpoint import load, read_checkpoint, save_checkpoint
from minigroupvit.config import PRESETS
from minigroupvit.data.augment import PAPER
from minigroupvit.data.scenes import make_scene
from minigroupvit.images import load_image
from minigroupvit.own_pictures import class_shares
from minigroupvit.segmentation import Protocol, segment
from minigroupvit.training.recipes import RECIPES
from minigroupvit.training.record import Recorder

TINY_RUN = ("--num-scenes 60 --num-proc 1 --steps 3 --batch-size 8 --image-size 16 --patch-size 8 --eval-every 0 "
            "--precision fp32 --quiet --device cpu")


@pytest.fixture
def weights(make_model, tmp_path):
    """A checkpoint for pictures of 16 x 16; it knows the words sun, heart, brick and cloud."""
    model = make_model()
    model.protocol = Protocol(top_classes=2)
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


@pytest.mark.parametrize("command", ["", "demo", "train", "evaluate", "segment", "experiments"])
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
    ("segment PICTURE --classes sun --weights WEIGHTS --out PICTURE", "is the picture itself"),
    ("segment PICTURE --classes sun --weights WEIGHTS --out overlay.xyz", "overlay.xyz"),
    ("segment PICTURE --classes sun --weights WEIGHTS --background-threshold 3", "a probability from 0 to 1"),
    ("segment PICTURE --classes sun --weights WEIGHTS --top-classes 0", "keep at least 1 class"),
    ("segment PICTURE --classes sun --weights WEIGHTS --short-side 0", "short_side is 0"),
    ("segment PICTURE --classes sun --weights WEIGHTS --device abacus", "cannot use --device abacus"),
    ("segment PICTURE --classes sun --weights nothing", "no shipped weights 'nothing'"),
    ("segment PICTURE --classes sun --weights nothing.safetensors", "there is no checkpoint at nothing.safetensors"),
    ("segment PICTURE --classes sun --weights CUT", "is not a minigroupvit checkpoint, or it is cut off"),
    ("segment nothing.png --classes sun --weights WEIGHTS", "there is no picture at nothing.png"),
    ("segment CUT --classes sun --weights WEIGHTS", "is no picture that can be read"),
    ("segment . --classes sun --out o.png", "is a folder, so --out must be one"),
    ("segment PICTURE --classes sun --weights WEIGHTS --out PICTURE/overlay.png", "scene.png"),
    ("evaluate --weights WEIGHTS --num-images 0", "num_scenes must be 1 or more"),
    ("train --recipe cake", "unknown recipe 'cake'; the recipes are scenes"),
    ("train --preset huge", "unknown preset 'huge'; the presets are"),
    ("train --image-size 60", "image_size 60 is not a multiple of patch_size"),
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

    monkeypatch.setattr("minigroupvit.own_pictures.segment", spy)
    return asked


def test_choices_come_from_the_command_line_then_from_the_weights(make_model, picture, tmp_path, protocols):
    model = make_model()
    model.protocol = Protocol(short_side=24, top_classes=3)
    save_checkpoint(tmp_path / "other.safetensors", model)
    for options in ("", "--short-side 32 --background-threshold 0.6 --top-classes all --overlap 2"):
        assert run("segment", picture, "--classes", "sun", "--weights", tmp_path / "other.safetensors",
                   "--out", tmp_path / "o.png", *options.split()) == 0
    assert protocols == [replace(model.protocol, long_side=192), Protocol(
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
    figures = json.loads(said.out)
    assert figures["num_images"] == 4 and figures["split"] == "unseen" and figures["weights"] == str(weights)
    assert {"miou", "miou_objects", "miou_backgrounds", "iou_per_class", "ari", "recognition_ap", "oracle_miou",
            "naming"} <= set(figures)
    assert all(0 <= figures[name] <= 1 for name in ("miou", "oracle_miou", "recognition_ap"))


def test_evaluate_prints_a_table_and_writes_json(weights, tmp_path, capsys):
    out = tmp_path / "new" / "figures.json"
    assert run("evaluate --num-images 4 --weights", weights, "--json", out) == 0
    printed, figures = capsys.readouterr().out, json.loads(out.read_text())
    assert "4 scenes of the split test" in printed
    for name, value in (figures["iou_per_class"] | {"oracle_miou": figures["oracle_miou"]}).items():
        assert f"{name} {value:.3f}" in " ".join(printed.split())


def test_evaluate_takes_choices_of_the_protocol(weights, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr("minigroupvit.training.run.evaluate_on_scenes",
                        lambda model, images, masks, protocol: asked.append(protocol) or {})
    assert run("evaluate --num-images 2 --json - --top-classes all --overlap 4 --weights", weights) == 0
    assert run("evaluate --num-images 2 --json - --weights", weights) == 0
    assert asked == [Protocol(top_classes=None, overlap=4), Protocol(top_classes=2)]


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
    assert run(f"train {TINY_RUN} {options} --data", photos / "train", "--caption-columns", "says",
               "--out", tmp_path / "run") == 0
    assert "garden" in load(str(tmp_path / "run" / "last.safetensors")).tokenizer.known_words
    assert not (tmp_path / "run" / "best.safetensors").exists()
    said = capsys.readouterr()
    assert "nothing skipped of " in said.out + said.err
    assert run(f"train {TINY_RUN} {options} --data", photos / "train", "--caption-columns", "sings",
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
    assert run(f"train {TINY_RUN} --eval-every 2 {options} --caption-columns says --out", tmp_path / "run") == 0
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
    command = f"train {TINY_RUN} --workers 0 --data {tmp_path}/{{00000..00001}}.tar --augmentation paper --out"
    assert run(command, tmp_path / "run") == 0
    assert (tmp_path / "run" / "stream-0.jsonl").exists()
    assert run(command, tmp_path / "run") == 0
    assert run(f"{command} {tmp_path / 'other'} --hold-out 4") == 2
    assert "not of a stream" in capsys.readouterr().err


def changed(command: str):
    return cli.train.change_recipe(RECIPES["scenes"], cli.make_parser().parse_args(shlex.split(f"train {command}")))


def test_a_recipe_without_options_is_itself():
    assert changed("") == RECIPES["scenes"]


def test_options_take_the_place_of_the_recipes_values():
    recipe = changed("--preset groupvit_2stage --image-size 96 --assignment soft --steps 7 --batch-size 4 --lr 0.01 "
                     "--seed 3 --num-prompts 0 --precision bf16 --compile --eval-every 0 --num-scenes 50 "
                     "--augmentation paper,erasing=0")
    assert recipe.model.image.image_size == 96 and recipe.model.image.depths == (6, 3, 3)
    assert recipe.model.image.assignment == "soft" and recipe.model.tokenizer == "clip"
    training = recipe.training
    assert (training.steps, training.batch_size, training.lr, training.seed) == (7, 4, 0.01, 3)
    assert (training.num_prompts, training.precision, training.compile, training.eval_every) == (0, "bf16", True, 0)
    assert recipe.num_scenes == 50 and training.augmentation == replace(PAPER, erasing=0.0)


def test_the_recipes_are_listed(capsys):
    assert run("train --recipe list") == 0
    assert all(name in capsys.readouterr().out for name in ("scenes",))


def test_demo_gets_its_folder(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr("minigroupvit.demo.run_demo", asked.append)
    assert run("demo --out", tmp_path) == 0
    assert run("demo") == 0
    assert asked == [str(tmp_path), "outputs/demo"]


def test_a_device_by_name():
    assert cli.common.pick_device("cpu") == torch.device("cpu")


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
    assert "--hold-out keeps pictures of --data for validation, --validation-data names others" in capsys.readouterr().err
