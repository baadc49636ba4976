"""Every example of every --help, of README and of the other texts runs, on small files of the same form.

The examples are taken out of the texts. What is on the hub lies here as a folder of the same name, which
comes first; options that keep a training small are added at the end, where they replace those given.
"""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image

import minigroupvit
from minigroupvit import cli, config
from minigroupvit.checkpoints.native import save_checkpoint
from minigroupvit.checkpoints.released.write import export_released, export_transformers
from minigroupvit.config import TextConfig
from minigroupvit.model import GroupViT
from minigroupvit.text.clip_tokenizer import ClipTokenizer
from minigroupvit.training.recipes import RECIPES

ROOT = Path(__file__).parents[1]
TEXTS = [path for path in (ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md")), ROOT / "data" / "README.md")
         if path.exists()]
_COMMAND = re.compile(r"python -m minigroupvit (?P<rest>.*)")


def commands(text: str) -> list[str]:
    """What follows `python -m minigroupvit` in the lines of a text; three spaces begin a remark."""
    joined = re.sub(r"\s*\\\n\s*", " ", text)
    found = map(_COMMAND.search, joined.splitlines())
    return [re.split(r" {3,}| #", match["rest"].strip())[0] for match in found if match]


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)


EXAMPLES = list(dict.fromkeys(
    [example for command in cli.COMMANDS.values() for example in commands(command.EXAMPLES)]
    + [example for path in TEXTS for block in blocks(path, "sh") for example in commands(block)]))


def picture(number: int, size: tuple[int, int] = (20, 16)) -> Image.Image:
    pixels = np.random.default_rng(number).integers(0, 255, (*size, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def encoded(number: int, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    picture(number).save(file, kind)
    return file.getvalue()


def small(whole: config.GroupViTConfig) -> config.GroupViTConfig:
    """A model with as few channels as there can be: the choices stay."""
    stages = len(whole.image.depths)
    groups = tuple(count and 4 // (stage + 1) for stage, count in enumerate(whole.image.num_group_tokens))
    return replace(whole, embed_dim=16, head_width=32, text=TextConfig(width=64, num_heads=1, depth=1), image=replace(
        whole.image, width=64, num_heads=1, depths=(1,) * stages, num_group_tokens=groups, num_output_groups=groups))


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """All that the examples name."""
    root = tmp_path_factory.mktemp("files")

    def save(name: str, content: Image.Image) -> None:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        content.save(root / name)

    for name in ("scene.png", "my.png", "cat.jpg", "one.jpg", "two.jpg", "more/three.jpg"):
        save(name, picture(1, (48, 64)))
    for number in range(30):
        save(f"photos/{number}.jpg", picture(number))
    (root / "photos" / "metadata.jsonl").write_text("".join(json.dumps(
        {"file_name": f"{n}.jpg", "caption": f"a cat on the grass, number {n}"}) + "\n" for n in range(30)))
    for name, columns in (("jxie/flickr8k", [f"caption_{k}" for k in range(5)]), ("lmms-lab/flickr30k", ["caption"]),
                          ("AKCIT/coco2017-captioning", ["captions"])):
        (root / name).mkdir(parents=True)
        text = datasets.Value("string") if len(columns) == 5 else [datasets.Value("string")]
        for split in ("test",) if "30k" in name else ("train", "validation"):
            rows = {column: [f"a dog {n}" if len(columns) == 5 else [f"a dog {n}", "a park"] for n in range(8)]
                    for column in columns} | {"image": [{"bytes": encoded(n), "path": None} for n in range(8)]}
            features = datasets.Features(dict.fromkeys(columns, text) | {"image": datasets.Image()})
            datasets.Dataset.from_dict(rows, features).to_parquet(root / name / f"{split}-00000-of-00001.parquet")
    (root / "cc3m").mkdir()
    for shard in range(332):
        with tarfile.open(root / "cc3m" / f"{shard:05}.tar", "w") as tar:
            for kind, content in (("jpg", encoded(shard, "JPEG")), ("txt", b"a boat on the water")):
                info = tarfile.TarInfo(f"{shard:09}.{kind}")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    mask = Image.fromarray(np.array([[0, 1], [2, 255]], dtype=np.uint8).repeat(10, 0).repeat(8, 1))
    voc = "data/voc/VOCdevkit/VOC2012"
    save(f"{voc}/JPEGImages/x.jpg", picture(1))
    save(f"{voc}/SegmentationClass/x.png", mask)
    (root / voc / "ImageSets" / "Segmentation").mkdir(parents=True)
    (root / voc / "ImageSets" / "Segmentation" / "val.txt").write_text("x\n")
    save("mine/images/x.jpg", picture(2))
    save("mine/masks/x.png", mask)
    (root / "mine" / "classes.txt").write_text("background\nlamp\nroad\n")
    (root / "names.txt").write_text("lamp\nroad\ncup\n")
    (root / "words.txt").write_text("cat\ngrass\n")
    for name in ("cat", "dog"):
        save(f"imagenet/val/{name}/1.png", picture(3))
    os.symlink(ROOT / "data" / "scenes-sample.parquet", root / "data" / "scenes-sample.parquet")
    tiny = small(config.PRESETS["groupvit_2stage"])
    tiny = replace(tiny, image=replace(tiny.image, image_size=32))
    model = GroupViT(tiny, ClipTokenizer()).eval()
    export_released(model, root / "groupvit.pth")
    export_transformers(model, root / "nvidia" / "groupvit-gcc-yfcc")
    export_transformers(model, root / "outputs" / "transformers")
    shutil.copy(root / "outputs" / "transformers" / "tokenizer.json", root)
    six_heads = replace(tiny, image=replace(tiny.image, width=96, num_heads=6),
                        text=replace(tiny.text, width=96, num_heads=6))
    export_released(GroupViT(six_heads, ClipTokenizer()).eval(), root / "small.pth")
    for name in ("groupvit", "outputs/train/best", "outputs/train/last", "outputs/photos/last", "outputs/coco/best"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        save_checkpoint(root / f"{name}.safetensors", model)
    return root


@pytest.fixture
def place(files: Path, tmp_path, monkeypatch) -> Path:
    """A folder with these files, in which an example runs. What a training writes is not there yet."""
    for path in files.iterdir():
        if path.name != "outputs":
            os.symlink(path, tmp_path / path.name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    for name in config.PRESETS:
        if name != "scenes":
            monkeypatch.setitem(config.PRESETS, name, small(config.PRESETS[name]))
    large = RECIPES["photographs_gpu"]
    monkeypatch.setitem(RECIPES, "photographs_gpu", replace(large, model=small(large.model)))
    return tmp_path


def cheap(example: str) -> str:
    """The example with the smallest budget: of two options with one name, the last one counts."""
    command = example.split()[0]
    if command == "train" and "--recipe list" not in example:
        example += " --steps 2 --batch-size 4 --warmup 0 --precision fp32 --quiet --device cpu --snapshot-every 0"
        example += " --image-size 32" if "--preset" in example else " --image-size 16 --patch-size 8"
        example += " --micro-batch-size 3" * ("photographs_gpu" in example)
        if "--data" not in example:
            return example + " --num-scenes 20 --num-proc 1 --eval-every 0"
        example += " --eval-every 2" + " --hold-out 5" * ("--hold-out" in example)
        return example + " --workers 0" * any(name in example for name in ("--stream", ".tar", "--cache disk"))
    if command == "evaluate":
        with_masks = "--data voc" in example or "--data folder" in example
        return example + " --num-images 2" + " --short-side 32" * with_masks
    return example


@pytest.mark.filterwarnings("default::UserWarning")
@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_runs(example: str, place: Path, files: Path, monkeypatch) -> None:
    if example.startswith("demo"):       # tests/test_demo.py runs it
        monkeypatch.setattr("minigroupvit.demo.run_demo", lambda *given: None)
    if example.startswith("experiments"):    # tests/test_experiments.py runs them
        monkeypatch.setattr("minigroupvit.experiments.runner.run_tables", lambda *given: None)
        monkeypatch.setattr("minigroupvit.experiments.report.make_report", lambda *given: None)
    if example.startswith("bench"):    # tests/test_bench.py runs it
        monkeypatch.setattr("minigroupvit.bench.run.run_bench", lambda *given: None)
        monkeypatch.setattr("minigroupvit.bench.run.run_profile", lambda *given: None)
    if example.startswith("segment"):    # a figure of each takes a second
        (place / "photos").unlink()
        (place / "photos").mkdir()
        for name in ("1.jpg", "2.jpg"):
            os.symlink(files / "photos" / name, place / "photos" / name)
    if not example.startswith("train"):
        os.symlink(files / "outputs", place / "outputs")
    assert cli.main(shlex.split(cheap(example))) == 0


@pytest.mark.filterwarnings("default::UserWarning")
@pytest.mark.parametrize(("path", "code"), [(path, code) for path in TEXTS for code in blocks(path, "python")])
def test_python_in_the_texts_runs(path: Path, code: str, place: Path) -> None:
    code, trainings = re.subn(r"steps=\d+", "steps=2", code)
    assert trainings <= 1
    code = code.replace("progress=True", "progress=False")
    exec(compile(code, path.name, "exec"), {"minigroupvit": minigroupvit, "__name__": "example"})
    assert not trainings or len(list(place.glob("outputs/*/last.safetensors"))) == 1


def test_the_texts_have_what_is_looked_for() -> None:
    assert len(EXAMPLES) > 20 and {example.split()[0] for example in EXAMPLES} == set(cli.COMMANDS)
    assert sum(len(blocks(path, "python")) for path in TEXTS) >= 3
    assert commands("  python -m minigroupvit a --b 1 \\\n   --c   a remark\nmake d") == ["a --b 1 --c"]


def test_scripts_and_targets_that_the_texts_name_are_there() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for path in TEXTS:
        text = path.read_text(encoding="utf-8")
        assert set(re.findall(r"(?:^|`)make ([\w-]+)", text, re.MULTILINE)) <= targets
        assert [name for name in re.findall(r"python ([\w/]+\.py)", text) if not (ROOT / name).exists()] == []
