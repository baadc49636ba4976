"""One's own pictures: any size, upright, masks that others can read; `segment` on files and folders."""

from __future__ import annotations

import json
import shlex

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from minigroupvit import cli, segment_files as own_pictures
from minigroupvit.checkpoints.native import save_checkpoint
from minigroupvit.data.scenes.make import make_scene
from minigroupvit.segment_files import IGNORED, class_shares, index_mask, list_pictures, segment_picture
from minigroupvit.segmentation import windows as sliding
from minigroupvit.segmentation.instances import SMALLEST, decode_rle
from minigroupvit.segmentation.segment import segment
from minigroupvit.visual.palette import class_colours

NAMES = ["sun", "heart", "brick", "cloud"]


@pytest.fixture
def weights(make_model, tmp_path):
    save_checkpoint(tmp_path / "tiny.safetensors", make_model())
    return tmp_path / "tiny.safetensors"


@pytest.fixture
def photos(tmp_path):
    """A folder as people have them: two pictures, one cut off, and what is no picture."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for i, name in enumerate(("a.png", "c.JPG")):
        Image.fromarray(make_scene(i, "test").image).crop((0, 0, 64, 40 + i)).save(folder / name)
    (folder / "b.png").write_bytes((folder / "a.png").read_bytes()[:900])
    (folder / "notes.txt").write_text("no picture")
    (folder / "._a.png").write_text("what a Mac leaves behind")
    return folder


def run(command: str, *more: object) -> int:
    return cli.main([*shlex.split(command), *map(str, more)])


def names_in(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# --- what is written -----------------------------------------------------------------------------


def test_an_index_mask_has_its_colours_and_background_is_0():
    labels = np.array([[-1, 0, 1], [3, 3, 2]])
    mask = index_mask(labels, NAMES)
    assert mask.mode == "P" and np.array_equal(np.array(mask), labels + 1)
    painted = np.array(mask.convert("RGB"))
    assert np.array_equal(painted[1, 0], (255 * class_colours(NAMES)[3]).round()) and np.ptp(painted[0, 0]) == 0
    assert mask.getpalette()[3 * IGNORED:] == [255, 255, 255]


def test_shares_are_those_of_the_pixels():
    told = class_shares(np.array([[-1, 0, 1], [3, 3, 3]]), NAMES)
    assert (told["width"], told["height"], told["ignored_index"]) == (3, 2, 255)
    assert [(c["index"], c["name"]) for c in told["classes"]] == list(enumerate(["background", *NAMES]))
    assert [c["share"] for c in told["classes"]] == pytest.approx([1 / 6, 1 / 6, 1 / 6, 0, 1 / 2])


def test_a_folder_writes_three_files_and_says_so_of_what_it_skips(photos, weights, tmp_path, capsys):
    out = tmp_path / "found"
    assert run("segment", photos, "--classes", ",".join(NAMES), "--weights", weights, "--out", out) == 1
    assert names_in(out) == [f"{name}.{kind}" for name in "ac" for kind in ("json", "mask.png", "overlay.png")]
    said = capsys.readouterr()
    told = said.err.splitlines()
    assert len(told) == 2 and "b.png is no image" in told[0]
    assert "1 of 3 images could not be read and were skipped" in told[1]
    lines = said.out.splitlines()
    assert lines[0].startswith("a.png: ") and lines[1].startswith("c.JPG: ") and len(lines) == 3
    assert lines[2] == f"written: {out} (2 images)"
    report = json.loads((out / "c.json").read_text())
    assert report["weights"] == str(weights) and report["file"] == "c.JPG" and "instances" not in report
    assert report["protocol"]["short_side"] == 16 and (report["width"], report["height"]) == (64, 41)


def test_a_folder_without_broken_pictures_is_a_success(photos, weights, tmp_path, capsys):
    (photos / "b.png").unlink()
    assert run("segment", photos, "--classes", "sun", "--weights", weights, "--out", tmp_path / "found") == 0
    assert capsys.readouterr().err == ""


def test_one_picture_into_a_folder(photos, weights, tmp_path, capsys):
    out = tmp_path / "found"
    assert run("segment", photos / "a.png", "--classes", "sun, heart", "--weights", weights, "--out", f"{out}/") == 0
    assert names_in(out) == ["a.json", "a.mask.png", "a.overlay.png"]
    lines = capsys.readouterr().out.splitlines()
    assert {line.split()[0] for line in lines[:-1]} == {"sun", "heart"} and lines[-1] == f"written: {out}/"


def test_several_pictures_and_folders_in_one_command(photos, weights, tmp_path, capsys):
    Image.new("RGB", (30, 20), "teal").save(tmp_path / "d.bmp")
    out = tmp_path / "found"
    assert run("segment", photos / "c.JPG", tmp_path / "d.bmp", photos / "gone.png", "--classes", "sun, heart",
               "--weights", weights, "--out", out) == 1
    assert names_in(out) == [f"{name}.{kind}" for name in "cd" for kind in ("json", "mask.png", "overlay.png")]
    said = capsys.readouterr()
    assert said.out.startswith("c.JPG: ") and said.out.endswith(f"written: {out} (2 images)\n")
    assert "there is no image at" in said.err and "1 of 3 images could not be read" in said.err
    assert run("segment", tmp_path / "d.bmp", photos, "--classes", "sun", "--weights", weights, "--out",
               tmp_path / "more") == 1                                      # b.png of the folder is cut off
    assert len(names_in(tmp_path / "more")) == 9


def test_results_replace_no_picture(photos, weights, capsys):
    (photos / "a.overlay.png").write_bytes((photos / "a.png").read_bytes())
    before = {path: path.read_bytes() for path in photos.glob("*.png")}
    assert run("segment", photos / "a.png", photos / "a.overlay.png", "--classes", "sun", "--weights", weights, "--out",
               f"{photos}/") == 2
    assert "would be written over the image" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in photos.glob("*.png")} == before


def test_instances_open_as_results_of_coco(photos, weights, tmp_path):
    (photos / "b.png").unlink()
    assert run("segment --instances --smallest 0", photos, "--classes", ",".join(NAMES), "--weights", weights,
               "--out", tmp_path / "found") == 0
    report = json.loads((tmp_path / "found" / "a.json").read_text())
    mask = np.array(Image.open(tmp_path / "found" / "a.mask.png"))
    assert sum(thing["area"] for thing in report["instances"]) == mask.size
    for thing in report["instances"]:
        pixels = decode_rle(thing["segmentation"])
        x, y, w, h = thing["bbox"]
        assert pixels[y:y + h, x:x + w].sum() == pixels.sum() == thing["area"] and 0 <= thing["score"] <= 1
        assert set(mask[pixels]) == {thing["category_id"]} and NAMES[thing["category_id"] - 1] == thing["name"]
    truth = COCO()
    truth.dataset = {"info": {}, "annotations": [],
                     "images": [{"id": 7, "width": report["width"], "height": report["height"]}],
                     "categories": [{"id": c["index"]} for c in report["classes"]]}
    truth.createIndex()
    opened = truth.loadRes([thing | {"image_id": 7} for thing in report["instances"]])
    assert [opened.annToMask(a).sum() for a in opened.loadAnns(opened.getAnnIds())] == [
        thing["area"] for thing in report["instances"]]


def test_the_default_of_smallest_is_that_of_the_package():
    assert cli.make_parser().parse_args(["segment", "a.png", "--classes", "sun"]).smallest == SMALLEST


# --- any size, any side up -----------------------------------------------------------------------


def test_a_turned_photograph_is_segmented_upright(tmp_path):
    upright = Image.fromarray(make_scene(3, "test").image).crop((0, 0, 64, 44))
    exif = Image.Exif()
    exif[0x0112] = 6                                    # the camera was turned: show it a quarter to the right
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    upright.save(tmp_path / "upright.png")
    for name in ("turned", "upright"):
        assert run("segment --instances", tmp_path / f"{name}.png", "--classes", "boat, flower, sky", "--out",
                   tmp_path / "found") == 0
    reports = [json.loads((tmp_path / "found" / f"{name}.json").read_text()) for name in ("turned", "upright")]
    assert reports[0] | {"file": 0} == reports[1] | {"file": 0} and reports[0]["width"] == 64
    turned, plain = (np.array(Image.open(tmp_path / "found" / f"{name}.mask.png")) for name in ("turned", "upright"))
    assert turned.shape == (44, 64) and np.array_equal(turned, plain) and len(np.unique(plain)) > 1


@pytest.mark.parametrize("size", [(1, 1), (1, 700), (900, 2), (17, 3), (330, 240)])
def test_pictures_of_odd_sizes(size, weights, tmp_path):
    Image.effect_noise(size, 90).save(tmp_path / "odd.png")
    assert run("segment --instances", tmp_path / "odd.png", "--classes", "sun, heart", "--weights", weights,
               "--out", tmp_path / "found") == 0
    mask = Image.open(tmp_path / "found" / "odd.mask.png")
    assert mask.size == size and set(np.unique(mask)) <= {1, 2}


def test_a_strip_is_squeezed_before_the_model_sees_it(make_model, monkeypatch):
    model, seen = make_model(), []
    encode = model.encode_image
    monkeypatch.setattr(model, "encode_image", lambda images, *rest: seen.append(images.shape[-2:]) or encode(
        images, *rest))
    segment_picture(model, Image.new("RGB", (960, 30)), NAMES)
    assert seen == [(4, 128)]                           # 8 times the 16 pixels of its training; 512 without a limit


def test_masks_of_a_large_picture_are_made_smaller_and_are_as_large_as_itself(make_model, weights, tmp_path, monkeypatch):
    picture = Image.fromarray(make_scene(3, "test").image).resize((300, 200))
    picture.save(tmp_path / "large.png")
    whole = segment(make_model(), picture, NAMES).labels[0].numpy() + 1
    monkeypatch.setattr(sliding, "MOST_PIXELS", 60 * 40)
    same, found = segment_picture(make_model(), tmp_path / "large.png", NAMES)
    assert same.size == (300, 200) and found.scores.shape[-2:] == (40, 60)
    assert found.labels.shape == found.groups[0].shape == (1, 200, 300)
    assert run("segment --instances --smallest 0", tmp_path / "large.png", "--classes", ",".join(NAMES), "--weights",
               weights, "--out", tmp_path / "found") == 0
    mask = np.array(Image.open(tmp_path / "found" / "large.mask.png"))
    assert np.array_equal(mask, found.labels[0] + 1)
    assert np.array_equal(mask, np.kron(found.scores[0].argmax(dim=0) + 1, np.ones((5, 5))))
    things = json.loads((tmp_path / "found" / "large.json").read_text())["instances"]
    assert all(thing["segmentation"]["size"] == [200, 300] for thing in things)
    assert sum(thing["area"] for thing in things) == 300 * 200
    assert (whole == mask).mean() > 0.9


def test_words_are_embedded_once_for_all_pictures(photos, make_model, tmp_path, monkeypatch):
    model, asked = make_model(), []
    encode = model.text_encoder.forward
    monkeypatch.setattr(model.text_encoder, "forward", lambda tokens: asked.append(len(tokens)) or encode(tokens))
    own_pictures.segment_pictures(model, list_pictures(photos), NAMES, tmp_path / "found")
    assert asked == [len(NAMES)]


def test_background_is_0_in_the_mask_and_has_a_share(tmp_path, capsys):
    Image.fromarray(make_scene(3, "test").image).save(tmp_path / "a.png")
    assert run("segment --classes 'boat, flower, sky' --background-threshold 0.5", tmp_path / "a.png", "--out",
               tmp_path / "found") == 0
    background = json.loads((tmp_path / "found" / "a.json").read_text())["classes"][0]
    mask = np.array(Image.open(tmp_path / "found" / "a.mask.png"))
    assert background == {"index": 0, "name": "background", "share": pytest.approx((mask == 0).mean())}
    assert 0 < (mask == 0).mean() < 1 and "(background)" in capsys.readouterr().out


# --- mistakes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("command, words", [
    ("segment PHOTOS --out overlay.png", "is a folder, so --out must be a folder"),
    ("segment PHOTOS --out PHOTOS", "holds the images themselves"),
    ("segment PHOTOS/a.png PHOTOS/c.JPG --out both.png", "these are 2 images or folders, so --out must be a folder"),
    ("segment PHOTOS/a.png PHOTOS/c.JPG PHOTOS --out PHOTOS/more/..", "holds the images themselves"),
    ("segment PHOTOS/more --out found/", "has no images: expected files that end in"),
    ("segment PHOTOS/b.png --out found/", "b.png is no image that can be read"),
    ("segment PHOTOS/a.png --instances --out overlay.png", "instances are written as JSON"),
    ("segment PHOTOS/a.png --instances --smallest 3 --out found/", "smallest is 3.0; it is a share"),
])
def test_a_mistake_is_told_and_nothing_is_written(command, words, photos, weights, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    before = names_in(tmp_path) + names_in(photos)
    assert run(command.replace("PHOTOS", str(photos)), "--classes", "sun", "--weights", weights) == 2
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1
    assert names_in(tmp_path) + names_in(photos) == before


def test_results_of_pictures_that_differ_in_their_ending(make_model, photos, tmp_path):
    Image.new("RGB", (8, 8)).save(photos / "A.bmp")
    own_pictures.segment_pictures(make_model(), [photos / "a.png", photos / "A.bmp"], NAMES, tmp_path / "found")
    assert names_in(tmp_path / "found") == sorted(
        f"{name}.{kind}" for name in ("a.png", "A.bmp") for kind in ("json", "mask.png", "overlay.png"))
    with pytest.raises(ValueError, match="several images are called a.png"):
        own_pictures.segment_pictures(make_model(), [photos / "a.png", photos / "more" / "a.png"], NAMES, tmp_path)


def test_an_index_mask_has_no_more_numbers(make_model, photos, tmp_path):
    with pytest.raises(ValueError, match="got 255 class names; an index mask has values for 254"):
        own_pictures.segment_pictures(make_model(), [], [f"word {i}" for i in range(255)], tmp_path)
