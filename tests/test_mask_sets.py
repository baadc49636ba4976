"""Mask sets: scenes in memory; photographs in files, their layouts, what numbers mean, and what is said of mistakes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from photographs import photographs
from PIL import Image

from minigroupvit.data.mask_sets import BENCHMARKS, open_masks, scene_masks
from minigroupvit.data.scenes.config import SceneConfig
from minigroupvit.data.scenes.make import make_scene

MASK = np.array([[0, 1, 2, 255], [0, 20, 20, 255], [3, 3, 3, 0]], np.uint8)


def save(file: Path, values: np.ndarray, mode: str | None = None) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values, mode).save(file)


def save_picture(file: Path, size=(3, 4)) -> None:
    save(file, np.full((*size, 3), 90, np.uint8))


@pytest.fixture
def folder(tmp_path):
    """Two pictures; numbers: 0 background, 1 cat, 2 not judged, 3 dog."""
    root = tmp_path / "mine"
    for name in ("a", "b"):
        save_picture(root / "images" / f"{name}.png")
        save(root / "masks" / f"{name}.png", np.array([[0, 1, 2, 255]] * 3, np.uint8))
    (root / "classes.txt").write_text("background\ncat\nignore\ndog\n\n")
    return root


def test_scenes_are_a_mask_set():
    config = SceneConfig(image_size=32)
    masks = scene_masks("unseen", 3, config, seed=5)
    assert len(masks) == 3 and masks.names == ("0", "1", "2") and masks.class_names == config.class_names
    assert masks.num_objects == len(config.objects) and not masks.has_background and masks.num_expected is None
    for number, example in enumerate(masks):
        scene = make_scene(number, "unseen", config, 5)
        assert example.name == str(number) and example.mask.dtype == torch.int64 and example.image.dtype == torch.uint8
        assert np.array_equal(example.image.permute(1, 2, 0), scene.image) and np.array_equal(example.mask, scene.mask)
    few = masks.first(2)
    assert len(few) == 2 == len(few.masks) and torch.equal(few.images, masks.images[:2]) and len(masks.first(9)) == 3
    with pytest.raises(ValueError, match="num_images is 0; take at least 1"):
        masks.first(0)
    with pytest.raises(ValueError, match="split must be one of"):
        scene_masks("tests", 3)


def test_a_folder_says_what_its_numbers_mean(folder):
    masks = open_masks("folder", folder)
    assert masks.class_names == ("cat", "dog") and masks.has_background and len(masks) == 2 and masks.name == "mine"
    example = masks[1]
    assert example.name == "b" and example.image.shape == (3, 3, 4) and example.image.dtype == torch.uint8
    assert example.mask[0].tolist() == [-1, 0, 255, 255] and example.mask.dtype == torch.int64
    assert masks.protocol == BENCHMARKS["voc2012"].protocol and masks.num_expected is None
    assert masks.num_objects == 2 and masks.names == ("a", "b")


def test_a_folder_without_background_has_no_threshold(folder):
    (folder / "classes.txt").write_text("sky\ncat\nsea\n")
    masks = open_masks("folder", folder)
    assert not masks.has_background and masks.protocol.background_threshold is None
    assert masks[0].mask[0].tolist() == [0, 1, 2, 255]


def test_only_the_words_that_occur(folder):
    masks = open_masks("folder", folder).occurring()
    assert masks.class_names == ("cat",) and masks.has_background
    save(folder / "masks" / "a.png", np.full((3, 4), 3, np.uint8))
    masks = open_masks("folder", folder)
    assert masks.occurring().class_names == ("cat", "dog")
    only = masks.first(1).occurring()
    assert only.class_names == ("dog",) and only[0].mask.unique().tolist() == [0]
    assert len(masks.first(1)) == 1
    with pytest.raises(ValueError, match="num_images is 0"):
        masks.first(0)


@pytest.mark.parametrize("mode", ["P", "L", "1", "I;16"])
def test_index_masks_of_all_kinds(mode, folder):
    values = np.array([[0, 1, 0, 1]] * 3, np.uint8)
    image = Image.fromarray(values)
    if mode == "P":
        image = image.convert("P")
        image.putpalette([200, 10, 10, 20, 30, 40])
        image.putdata(values.ravel().tolist())
    elif mode == "1":
        image = Image.fromarray(values.astype(bool))
    elif mode != "L":
        image = Image.fromarray(values.astype(np.uint16))
    assert image.mode == mode
    image.save(folder / "masks" / "a.png")
    assert open_masks("folder", folder)[0].mask[0].tolist() == [-1, 0, -1, 0]


def voc(root: Path) -> Path:
    base = root / "VOCdevkit" / "VOC2012"
    save_picture(base / "JPEGImages" / "x.jpg")
    save(base / "SegmentationClass" / "x.png", MASK)
    (base / "ImageSets" / "Segmentation").mkdir(parents=True)
    (base / "ImageSets" / "Segmentation" / "val.txt").write_text("x\n")
    return root


def context(root: Path) -> Path:
    base = root / "VOCdevkit" / "VOC2010"
    save_picture(base / "JPEGImages" / "x.jpg")
    save(base / "SegmentationClassContext" / "x.png", MASK)
    (base / "ImageSets" / "SegmentationContext").mkdir(parents=True)
    (base / "ImageSets" / "SegmentationContext" / "val.txt").write_text("x\n")
    return root


def coco(root: Path, suffix: str = "_instanceTrainIds", mask: np.ndarray = MASK) -> Path:
    save_picture(root / "images" / "val2017" / "000001.jpg")
    save(root / "annotations" / "val2017" / f"000001{suffix}.png", mask)
    return root


@pytest.mark.parametrize("data, make, count, expected", [
    ("voc2012", voc, 20, 1449), ("context", context, 59, 5105), ("coco_object", coco, 80, 5000)])
def test_the_benchmarks(data, make, count, expected, tmp_path):
    masks = open_masks(data, make(tmp_path))
    assert len(masks.class_names) == count == len(set(masks.class_names)) and masks.num_expected == expected
    assert masks.has_background and masks.protocol == BENCHMARKS[data].protocol
    assert masks[0].mask.tolist() == [[-1, 0, 1, 255], [-1, 19, 19, 255], [2, 2, 2, -1]]


def test_names_as_released():
    names = {name: benchmark.class_names for name, benchmark in BENCHMARKS.items()}
    assert [names["voc2012"][i] for i in (0, 10, 13, 15, 19)] == ["aeroplane", "table", "motorbike", "plant", "monitor"]
    assert [names["context"][i] for i in (0, 39, 54, 58)] == ["airplane", "plant", "monitor", "wood"]
    assert [names["coco_object"][i] for i in (0, 11, 62, 79)] == ["person", "stop sign", "tv", "toothbrush"]


def test_the_maps_of_coco_stuff_are_taken_as_they_are(tmp_path):
    """They hold COCO's category number less 1: 0 person, 12 stop sign (13), 89 toothbrush (90), 91 and more stuff."""
    masks = open_masks("coco_object", coco(tmp_path, "", np.array([[0, 12, 89], [91, 181, 255]], np.uint8)))
    save_picture(tmp_path / "images" / "val2017" / "000001.jpg", (2, 3))
    assert masks[0].mask.tolist() == [[0, 11, 79], [-1, -1, -1]]


def instances(root: Path) -> Path:
    """A bus (6) of 4 x 6 pixels under a cat (17), a toothbrush (90) in counts, and a picture without anything."""
    square = [1, 1, 7, 1, 7, 5, 1, 5]
    annotations = [
        {"image_id": 7, "category_id": 17, "area": 4, "segmentation": [[2, 2, 4, 2, 4, 4, 2, 4]]},
        {"image_id": 7, "category_id": 6, "area": 24, "segmentation": [square]},
        {"image_id": 7, "category_id": 90, "area": 2, "segmentation": {"size": [6, 9], "counts": [48, 2, 4]}}]
    images = [{"id": 7, "file_name": "7.jpg", "height": 6, "width": 9},
              {"id": 8, "file_name": "8.jpg", "height": 6, "width": 9}]
    for number in (7, 8):
        save_picture(root / "val2017" / f"{number}.jpg", (6, 9))
    (root / "annotations").mkdir()
    file = root / "annotations" / "instances_val2017.json"
    file.write_text(json.dumps({"images": images, "annotations": annotations}))
    return file


def test_masks_are_drawn_from_the_instances_of_coco(tmp_path):
    file = instances(tmp_path)
    masks = open_masks("coco_object", tmp_path)
    expected = torch.full((6, 9), -1)
    expected[1:5, 1:7] = 5
    expected[2:4, 2:4] = 15                                               # the smaller one on top
    expected[:2, 8] = 79                                                  # counts run down the columns
    assert len(masks) == 2 and torch.equal(masks[0].mask, expected) and (masks[1].mask == -1).all()
    assert masks.occurring().class_names == ("bus", "cat", "toothbrush")
    save_picture(tmp_path / "val2017" / "8.jpg", (9, 6))
    with pytest.raises(ValueError, match="the mask drawn for 8.jpg is 6x9, but 8.jpg is 9x6"):
        masks[1]
    file.write_text('{"images": [{}]}')
    with pytest.raises(ValueError, match="does not hold COCO's instances"):
        open_masks("coco_object", tmp_path)


@pytest.mark.parametrize("data", ["voc2012", "context", "coco_object", "folder"])
def test_a_missing_folder_says_what_was_expected(data, tmp_path):
    with pytest.raises(ValueError, match=rf"{data}: there is no .* below {tmp_path}.*expected there: ") as error:
        open_masks(data, tmp_path)
    if data != "folder":
        assert BENCHMARKS[data].layout in str(error.value)
    with pytest.raises(ValueError, match="there is no"):
        open_masks(data, tmp_path / "nowhere")


def test_an_empty_folder_and_an_unknown_set(folder):
    for file in [*(folder / "images").iterdir(), *(folder / "masks").iterdir()]:
        file.unlink()
    with pytest.raises(ValueError, match="no image with a mask"):
        open_masks("folder", folder)
    with pytest.raises(ValueError, match="no set of masks 'ade'; choose one of voc2012, context"):
        open_masks("ade", folder)


@pytest.mark.parametrize("spoil, message", [
    (lambda root: (root / "masks" / "a.png").unlink(), "a.png have no mask of the same name"),
    (lambda root: (root / "images" / "b.png").unlink(), "b.png have no image of the same name"),
    (lambda root: save_picture(root / "images" / "a.jpg"), "share a name"),
    (lambda root: (root / "classes.txt").write_text("cat\n\ndog"), "line 2 is empty"),
    (lambda root: (root / "classes.txt").write_text(""), "it has 0 lines"),
    (lambda root: save(root / "masks" / "a.png", np.zeros((4, 3), np.uint8)), "a.png is 4x3, but a.png is 3x4"),
    (lambda root: save(root / "masks" / "a.png", np.full((3, 4), 7, np.uint8)),
     "has the number 7, which is no class; 3 numbers from 0 to 3"),
    (lambda root: save(root / "masks" / "a.png", np.full((3, 4), 300, np.uint16)), "has the number 300"),
    (lambda root: save_picture(root / "masks" / "a.png"), "mode RGB; expected an index mask"),
    (lambda root: (root / "masks" / "a.png").write_bytes(b"no picture"), "no mask that can be read"),
    (lambda root: (root / "images" / "a.png").write_bytes(b"no picture"), "no image that can be read"),
])
def test_mistakes_in_a_folder_are_told(spoil, message, folder):
    spoil(folder)
    with pytest.raises(ValueError, match=message):
        open_masks("folder", folder)[0]


def test_a_mask_that_a_list_names_may_be_missing(tmp_path):
    voc(tmp_path)
    (tmp_path / "VOCdevkit" / "VOC2012" / "SegmentationClass" / "x.png").unlink()
    with pytest.raises(ValueError, match="there is no mask at .*x.png"):
        open_masks("voc2012", tmp_path)[0]


def test_a_turned_picture_is_told(folder):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (4, 3)).save(folder / "images" / "a.png", exif=exif)
    with pytest.raises(ValueError, match="turned upright by its EXIF data"):
        open_masks("folder", folder)[0]


def test_the_real_ones():
    voc2012 = open_masks("voc2012", photographs("voc2012-animals"))
    assert len(voc2012) == 441
    assert {"cat", "dog", "person"} <= set(voc2012.first(60).occurring().class_names)
    coco128 = open_masks("folder", photographs("coco128-seg"))
    assert len(coco128) == 126 and coco128.class_names == BENCHMARKS["coco_object"].class_names
    for masks in (voc2012, coco128):
        example = masks[0]
        assert example.mask.shape == example.image.shape[1:]
        assert set(example.mask.unique().tolist()) <= {-1, 255, *range(len(masks.class_names))}
