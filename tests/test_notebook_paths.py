"""Notebooks 09 and 10 on local files of the form that the hub has: photographs, masks, weights of the paper's kind.

The stored notebooks show what a user without these files sees; here the other way runs, in miniature.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from types import SimpleNamespace

import datasets
import nbformat
import numpy as np
import pytest
import torch
from PIL import Image
from random_models import draw_everything, their_model

from minigroupvit.config import GroupViTConfig, ImageConfig, TextConfig
from minigroupvit.data.scenes.make import make_scene
from minigroupvit.visual import notebook as beginning

ROOT = Path(__file__).parent.parent


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A folder for MINIGROUPVIT_DATA with weights that transformers saved: two stages, everything drawn at random."""
    folder = tmp_path / "data"
    folder.mkdir()
    config = GroupViTConfig(
        image=ImageConfig(image_size=32, patch_size=8, width=16, num_heads=2, depths=(1, 1, 1),
                          num_group_tokens=(8, 4, 0), num_output_groups=(8, 4, 0)),
        text=TextConfig(vocab_size=49_408, context_length=77, width=16, num_heads=2, depth=1),     # CLIP's vocabulary
        embed_dim=12, head_width=16)
    theirs = their_model(config, end_id=49_407)
    draw_everything(theirs)
    theirs.save_pretrained(folder / "groupvit-gcc-yfcc")
    monkeypatch.setenv(beginning.DATA_VARIABLE, str(folder))
    monkeypatch.setenv(beginning.VARIABLE, "tiny")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(ROOT / "notebooks")
    return folder


def captioned(folder: Path, split: str, columns: str, count: int) -> None:
    """Parquet with the columns of the hub's Flickr8k (caption_0, ...) or COCO (captions)."""
    folder.mkdir(exist_ok=True)
    scenes = [make_scene(i, split) for i in range(count)]
    texts = [[scene.caption, f"again, {scene.caption}"] for scene in scenes]
    rows = {"image": [Image.fromarray(scene.image) for scene in scenes]} | (
        {"captions": texts} if columns == "captions" else {f"caption_{k}": [own[k] for own in texts] for k in range(2)})
    own = {"captions": datasets.Sequence(datasets.Value("string"))} if columns == "captions" else {
        f"caption_{k}": datasets.Value("string") for k in range(2)}
    features = datasets.Features({"image": datasets.Image(), **own})
    datasets.Dataset.from_dict(rows, features).to_parquet(folder / f"{split}-00000-of-00001.parquet")


def voc(root: Path) -> None:
    """Two images of VOC 2012 as torchvision finds them: a square of class 8, a border that does not count."""
    year = root / "VOCdevkit" / "VOC2012"
    for part in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (year / part).mkdir(parents=True)
    mask = np.zeros((40, 60), dtype=np.uint8)
    mask[10:30, 10:30] = 8
    mask[0] = 255
    for name in ("2007_000001", "2007_000002"):
        Image.fromarray(make_scene(1).image).resize((60, 40)).save(year / "JPEGImages" / f"{name}.jpg")
        Image.fromarray(mask).save(year / "SegmentationClass" / f"{name}.png")
    (year / "ImageSets/Segmentation/val.txt").write_text("2007_000001\n2007_000002\n")


def run(name: str) -> SimpleNamespace:
    """Runs the cells of a notebook with the solutions; its names, and what its cells show by their ids."""
    names, shown = {"display": lambda value: None}, {}
    for cell in nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", 4).cells:
        if cell.cell_type != "code" or "exercise" in cell.metadata.get("tags", []):
            continue
        body = ast.parse(cell.source.replace("%matplotlib inline", "")).body
        last = body.pop() if isinstance(body[-1], ast.Expr) else None
        exec(compile(ast.Module(body, []), cell.id, "exec"), names)
        if last is not None:
            shown[cell.id] = eval(compile(ast.Expression(last.value), cell.id, "eval"), names)
    return SimpleNamespace(names=names, shown=shown)


def words(figure) -> str:
    return " ".join(text.get_text() for ax in figure.axes for text in (ax.title, *ax.texts))


@pytest.mark.parametrize("form", ["flickr8k-128", "coco2017-captioning"])
def test_real_captions_with_photographs_and_the_papers_weights(data, form, capsys):
    columns, other = ("captions", "validation") if form.startswith("coco") else ("caption_0", "test")
    for split, count in (("train", 36), (other, 12)):
        captioned(data / form, split, columns, count)
    found = run("09_real_captions")
    said = capsys.readouterr().out
    assert "36 images to learn from, 72 captions; 12 images to test with" in said and "drawn scenes" not in said
    assert "recall@10 of 12 images" in said and "T4, 20% of its 65 TFLOP/s: 1.6 hours" in said
    large = found.names["large"].config.image
    assert (large.num_group_tokens, large.image_size) == ((64, 8, 0), 112)
    assert "the paper's model" in words(found.shown["cell-38"]) and "out of reach" not in words(found.shown["cell-38"])
    assert "| the paper's model, random weights |" in found.shown["nine-points"].data


def test_real_captions_of_coco_are_read_as_a_stream(tmp_path):
    """What the notebook does with the hub's COCO on a GPU: the first images of a stream."""
    from minigroupvit.data.captioned.batches import CaptionedImages
    from minigroupvit.data.captioned.open import open_captioned

    captioned(tmp_path / "coco", "train", "captions", 12)
    read = CaptionedImages.from_samples(open_captioned(tmp_path / "coco", 128, "train", cache="stream", num_workers=0), 8)
    assert read.images.shape == (8, 3, 128, 128) and all(len(own) == 2 for own in read.captions)
    assert read.resized(112).images.shape == (8, 3, 112, 112) and read.resized(112).captions == read.captions


@pytest.mark.parametrize("form", ["folder", "authors' file"])
def test_released_weights_with_the_papers(data, form, capsys):
    voc(data / "voc2012-animals")
    if form != "folder":
        import minigroupvit
        from minigroupvit.checkpoints.released.write import export_released

        export_released(minigroupvit.load(data / "groupvit-gcc-yfcc"), data / "group_vit_gcc_yfcc_30e.pth")
        (data / "groupvit-gcc-yfcc").rename(data / "elsewhere")
    found = run("10_released_weights")
    said = capsys.readouterr().out
    assert "The paper's model is loaded." in said and "out of reach" not in said
    assert "the paper's model: mIoU" in said and "on 2 images" in said
    assert found.names["model"].config.image.num_group_tokens == (8, 4, 0)
    q_proj = next(line for line in said.splitlines() if line.startswith("q_proj:"))
    assert q_proj.endswith("vision_model.encoder.stages.0.layers.0.self_attn.q_proj.weight")
    figure = found.shown["cell-28"]
    assert len(figure.axes) == 6 and "photographs_paper (small)" in words(figure) and "out of reach" not in words(figure)
    assert torch.get_default_dtype() == torch.float32
