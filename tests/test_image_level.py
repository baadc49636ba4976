"""Whole images: zero-shot classification of a folder of folders (Table C1), and recall@k."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torchmetrics.retrieval import RetrievalHitRate

from minigroupvit.checkpoints.native import read_checkpoint
from minigroupvit.data.captioned.batches import CaptionedImages
from minigroupvit.evaluation.image_level import (
    TEMPLATES,
    chance_recall,
    embed_pairs,
    embed_repeated,
    evaluate_classification,
    evaluate_retrieval,
    open_image_folder,
    recall,
)
from minigroupvit.images import normalize
from minigroupvit.segmentation.steps import embed_classes
from minigroupvit.training.recipes import recipe
from minigroupvit.training.run import train_on_dataset

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
        with pytest.raises(ValueError, match="has no images by class .* expected: a folder for each class"):
            evaluate_classification(make_model(), root)


# --- retrieval -------------------------------------------------------------------------------------


def pairs(counts: list[int], noise: float = 1.0, dtype: torch.dtype = torch.double):
    """Unit vectors of pictures and of their texts, which are the pictures' and noise."""
    images = F.normalize(torch.randn(len(counts), 6, dtype=dtype), dim=1)
    owner = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    owner = owner[torch.randperm(len(owner))]
    return images, F.normalize(images[owner] + noise * torch.randn(len(owner), 6, dtype=dtype), dim=1), owner


@pytest.mark.parametrize("chunk", [7, 1000])
def test_recall_is_the_hit_rate_of_torchmetrics(chunk: int) -> None:
    images, texts, owner = pairs([1, 5, 2, 3] * 6)
    scores, right = images @ texts.T, owner == torch.arange(len(images))[:, None]          # (N, M)
    found = recall(images, texts, owner, chunk=chunk)
    for k in (1, 5, 10):
        for name, one, other in (("image_to_text", scores, right), ("text_to_image", scores.T, right.T)):
            query = torch.arange(one.shape[0])[:, None].expand_as(one)
            expected = RetrievalHitRate(top_k=k)(one.flatten(), other.flatten(), indexes=query.flatten())
            assert found[f"{name}_recall_{k}"] == pytest.approx(expected.item())
    six = [value for name, value in found.items() if name != "mean_recall"]
    assert len(six) == 6 and found["mean_recall"] == pytest.approx(sum(six) / 6)
    assert 0.2 < found["mean_recall"] < 0.95, "too easy or too hard to tell anything"


def test_a_perfect_model_and_one_that_is_always_wrong() -> None:
    images, texts, owner = pairs([2] * 12, noise=0.0)
    assert set(recall(images, texts, owner).values()) == {1.0}
    assert recall(images, -texts, owner)["text_to_image_recall_10"] == 0


@pytest.mark.parametrize("value", [1.0, float("nan")])
def test_a_model_that_gives_everything_the_same_vector_finds_nothing(value: float) -> None:
    images, texts, owner = pairs([2] * 12)
    found = recall(torch.full_like(images, value), torch.full_like(texts, value), owner)
    assert set(found.values()) == {0.0}


def test_chance_is_the_mean_over_random_answers() -> None:
    counts = [1, 5, 2, 4]
    draws = [recall(*pairs(counts, noise=1e6), ranks=(1, 3, 12)) for _ in range(600)]
    for name, expected in chance_recall(pairs(counts)[2], ranks=(1, 3, 12)).items():
        assert sum(draw[name] for draw in draws) / len(draws) == pytest.approx(expected, abs=0.05), name


def test_a_picture_without_a_text() -> None:
    images, texts, owner = pairs([1] * 5)
    with pytest.raises(ValueError, match="6 images, but only 5 of them have a text"):
        recall(torch.cat([images, images[:1]]), texts, owner)


def test_embeddings_do_not_depend_on_the_batch(make_model, captioned: CaptionedImages) -> None:
    model = make_model().train()
    images, texts, owner = embed_pairs(model, captioned, batch_size=64)
    assert model.training and images.shape == (64, 12) and texts.shape == (128, 12)
    assert owner.tolist() == [i for i in range(64) for _ in range(2)]
    again = embed_pairs(model, captioned, batch_size=9)
    torch.testing.assert_close(again[0], images, atol=1e-5, rtol=0)
    torch.testing.assert_close(again[1], texts, atol=1e-5, rtol=0)
    figures = evaluate_retrieval(model, captioned)
    assert (figures["num_images"], figures["num_texts"]) == (64, 128) and "mean_recall" in figures


def test_training_keeps_the_model_that_retrieves_best(captioned: CaptionedImages, tmp_path: Path, monkeypatch) -> None:
    """Four validations, of which the second is the best one."""
    given = iter([0.2, 0.7, 0.5, 0.6])
    monkeypatch.setattr("minigroupvit.training.run.evaluate_retrieval",
                        lambda model, data: {"mean_recall": next(given), "num_images": len(data)})
    small = recipe("scenes")
    small = replace(small, model=replace(small.model, image=replace(small.model.image, image_size=16)),
                    training=replace(small.training, steps=8, batch_size=8, warmup=2, precision="fp32", eval_every=2,
                                     save_every=4, snapshot_every=0))
    held = CaptionedImages(captioned.images[:10], captioned.captions[:10])
    train_on_dataset(small, captioned, tmp_path, progress=False, device="cpu", validation=held)
    about = read_checkpoint(tmp_path / "best.safetensors")[0]["about"]
    assert about["step"] == 4 and about["validation"] == {"mean_recall": 0.7, "num_images": 10}
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["mean_recall"] for line in lines if line["kind"] == "validation"] == [0.2, 0.7, 0.5, 0.6]
