"""Zero-shot classification of a folder of folders (Table C1)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from minigroupvit.evaluation.classification import TEMPLATES, embed_repeated, evaluate_classification, open_image_folder
from minigroupvit.images import normalize
from minigroupvit.segmentation.steps import embed_classes

COLOURS = {"a_sun": (250, 220, 40), "heart": (220, 30, 60), "brick": (150, 70, 50), "cloud": (220, 220, 230),
           "red": (250, 0, 0), "left": (10, 10, 10)}


@pytest.fixture
def root(tmp_path):
    draw = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (tmp_path / name).mkdir()
        for n in range(3):
            noise = draw.integers(-20, 20, (20 + n, 26, 3))
            Image.fromarray((np.array(colour) + noise).clip(0, 255).astype(np.uint8)).save(tmp_path / name / f"{n}.png")
    return tmp_path


def test_top_1_and_top_5_equal_a_slow_loop(root, make_model):
    model = make_model().train()
    found = evaluate_classification(model, root, batch_size=4)
    assert model.training
    model.eval()
    names = sorted(COLOURS)
    words = embed_classes(model, [name.replace("_", " ") for name in names], TEMPLATES)
    first = five = 0
    data, _ = open_image_folder(root, 16)
    for c, name in enumerate(names):
        for n in range(3):
            with Image.open(root / name / f"{n}.png") as file:
                width, height = file.size
                short = min(width, height)
                size = (int(width * 18 / short), int(height * 18 / short))       # 16 · 256 / 224 = 18
                small = file.resize(size, Image.Resampling.BILINEAR)
            left, top = round((size[0] - 16) / 2), round((size[1] - 16) / 2)
            pixels = torch.from_numpy(np.array(small.crop((left, top, left + 16, top + 16)))).permute(2, 0, 1)
            assert torch.equal(data[3 * c + n][0], pixels)
            pixels = pixels / 255
            with torch.no_grad():
                image, _ = model.encode_image(normalize(pixels[None]))
            order = sorted(range(6), key=lambda k: -float(image[0] @ words[k]))
            first, five = first + (order[0] == c), five + (c in order[:5])
    assert found["num_images"] == 18 and found["num_classes"] == 6 and found["chance"] == pytest.approx(1 / 6)
    assert found["top1"] == pytest.approx(first / 18) and found["top5"] == pytest.approx(five / 18)
    assert np.mean(list(found["accuracy_per_class"].values())) == pytest.approx(found["top1"])
    again = evaluate_classification(model, root, batch_size=50)
    assert again == found and len(found["templates"]) == 7


def test_few_pictures_are_spread_over_the_classes(root, make_model):
    found = evaluate_classification(make_model(), root, num_images=6)
    assert found["num_images"] == 6 and len(found["accuracy_per_class"]) == 6


def test_names_from_a_file_and_from_imagenets_numbers(root, tmp_path_factory):
    assert open_image_folder(root, 16)[1] == ["a sun", "brick", "cloud", "heart", "left", "red"]
    (root / "classes.txt").write_text("\n".join("abcdef"))
    assert open_image_folder(root, 16)[1] == list("abcdef")
    (root / "classes.txt").write_text("a\nb\n")
    with pytest.raises(ValueError, match="has 2 names for 6 folders"):
        open_image_folder(root, 16)
    imagenet = tmp_path_factory.mktemp("imagenet")
    for n in range(1000):
        (imagenet / f"n{n:08d}").mkdir()
        (imagenet / f"n{n:08d}" / "1.jpg").touch()
    names = open_image_folder(imagenet, 16)[1]
    assert (names[0], names[999]) == ("tench", "toilet paper")


def test_a_name_may_come_twice(make_model):
    model = make_model().eval()
    found = embed_repeated(model, ["sun", "heart", "sun"])
    assert torch.equal(found[0], found[2])
    torch.testing.assert_close(found[:2], embed_classes(model, ["sun", "heart"], TEMPLATES))


def test_another_layout_is_told(tmp_path, make_model):
    for root in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(ValueError, match="has no pictures by class .* expected: a folder for each class"):
            evaluate_classification(make_model(), root)
