"""Real photographs, by the same way as the scenes: from parquet files to a falling loss."""

from __future__ import annotations

import json
from dataclasses import replace

import datasets
import pytest
from photographs import photographs

from minigroupvit.checkpoint import load_checkpoint
from minigroupvit.data.captioned import CaptionedImages
from minigroupvit.data.open_dataset import open_dataset
from minigroupvit.segmentation import segment
from minigroupvit.training.recipes import recipe
from minigroupvit.training.run import train_on_dataset


@pytest.fixture
def flickr8k(tmp_path, monkeypatch):
    folder = photographs("flickr8k-128")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    return folder


def test_training_on_photographs_lowers_the_loss(flickr8k, tmp_path):
    dataset = open_dataset(flickr8k, "train").select(range(1000))
    small = recipe("scenes")
    small = replace(
        small,
        model=replace(small.model, image=replace(small.model.image, image_size=32)),
        training=replace(small.training, steps=120, batch_size=32, warmup=20, precision="fp32",
                         eval_every=0, snapshot_every=0, save_every=120))
    train_on_dataset(small, dataset, tmp_path / "run", progress=False, device="cpu")
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if line["kind"] == "train"]
    assert sum(losses[-3:]) / 3 < losses[0] - 0.3, losses

    # What comes out of it is a model like any other.
    model = load_checkpoint(tmp_path / "run" / "last.safetensors")
    result = segment(model, dataset[0]["image"], ["dog", "girl", "water"])
    assert result.labels.shape == (1, 128, 128)


def test_every_photograph_has_five_captions(flickr8k):
    dataset = open_dataset(flickr8k, "validation").select(range(50))
    data = CaptionedImages.from_dataset(dataset, image_size=32)
    assert all(len(captions) == 5 for captions in data.captions)
    first = dataset[0]
    assert data.captions[0] == [first[f"caption_{k}"] for k in range(5)]


def test_an_unknown_split_names_those_there_are(flickr8k):
    with pytest.raises(ValueError, match="no split 'val' .* it has test, train, validation"):
        open_dataset(flickr8k, "val")


def test_without_the_photographs_a_test_skips_and_with_ci_it_fails(tmp_path, monkeypatch):
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.delenv("MINIGROUPVIT_DATA", raising=False)
    with pytest.raises(pytest.skip.Exception, match="MINIGROUPVIT_DATA is not set"):
        photographs("flickr8k-128")
    monkeypatch.setenv("MINIGROUPVIT_DATA", str(tmp_path))
    with pytest.raises(pytest.skip.Exception, match="has no folder flickr8k-128"):
        photographs("flickr8k-128")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="must be there"):
        photographs("flickr8k-128")
    (tmp_path / "flickr8k-128").mkdir()
    assert photographs("flickr8k-128") == tmp_path / "flickr8k-128"
