"""Real photographs, by the same way as the scenes: from parquet files to a falling loss."""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import replace

import datasets
import pytest
import torch
from photographs import photographs

from minigroupvit.checkpoints.native import load_checkpoint, read_checkpoint
from minigroupvit.data.captioned.augment import PAPER
from minigroupvit.data.captioned.batches import CaptionedImages
from minigroupvit.data.captioned.open import open_captioned, open_dataset
from minigroupvit.evaluation.image_level import chance_recall
from minigroupvit.segmentation.segment import segment
from minigroupvit.training.recipes import recipe
from minigroupvit.training.run import train_on_dataset


@pytest.fixture
def flickr8k(tmp_path, monkeypatch):
    folder = photographs("flickr8k-128")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    return folder


def test_all_ways_of_reading_photographs_give_the_same_batches(flickr8k, tmp_path):
    """From parquet: into the memory, from the disk, and as tar shards that the test makes of them."""
    memory = open_captioned(flickr8k, 32, "validation")
    disk = open_captioned(flickr8k, 32, "validation", cache="disk", num_workers=2)
    for step, batch in enumerate(disk.batches(0, 3, 16, 0, 0, (), replace(PAPER, crop=1.0))):
        expected = memory.batch(step, 16, 0, 0, (), replace(PAPER, crop=1.0))
        assert torch.equal(batch.images, expected.images) and batch.captions == expected.captions

    rows = open_dataset(flickr8k, "validation").cast_column("image", datasets.Image(decode=False))
    for shard in range(3):
        with tarfile.open(tmp_path / f"{shard:05d}.tar", "w") as archive:
            for number in range(shard * 20, shard * 20 + 20):
                text = json.dumps([rows[number][f"caption_{k}"] for k in range(5)])
                for kind, content in (("jpg", rows[number]["image"]["bytes"]),
                                      ("json", b'{"caption": %s}' % text.encode())):
                    member = tarfile.TarInfo(f"{number:09d}.{kind}")
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))
    stream = open_captioned(tmp_path, 32, num_workers=0)
    for number, sample in enumerate(stream):
        assert torch.equal(sample.image, memory[number].image) and sample.captions == memory[number].captions
    assert number == 59


def test_a_model_learns_from_photographs_and_finds_them_by_their_captions(flickr8k, tmp_path):
    """Those it was trained on: a hundred and 45 steps teach nothing about others, but the way must work."""
    photos = open_dataset(flickr8k).select(range(100))
    small = recipe("scenes")
    small = replace(
        small,
        model=replace(small.model, image=replace(small.model.image, image_size=32, positions="learned")),
        training=replace(small.training, steps=45, batch_size=50, lr=2e-3, warmup=5, precision="fp32",
                         segment_weight=0.0, eval_every=45, snapshot_every=0, save_every=45))
    train_on_dataset(small, photos, tmp_path / "run", progress=False, device="cpu", validation=photos)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if line["kind"] == "train"]
    assert losses[-1] < losses[0] - 0.3, losses

    figures = read_checkpoint(tmp_path / "run" / "best.safetensors")[0]["about"]["validation"]
    chance = chance_recall(torch.arange(100).repeat_interleave(5))
    assert (figures["num_images"], figures["num_texts"]) == (100, 500)
    assert figures["mean_recall"] > 2 * chance["mean_recall"]

    # What comes out of it is a model like any other.
    model = load_checkpoint(tmp_path / "run" / "best.safetensors")
    assert segment(model, photos[0]["image"], ["dog", "girl", "water"]).labels.shape == (1, 128, 128)


def test_every_photograph_has_five_captions(flickr8k):
    dataset = open_dataset(flickr8k, "validation").select(range(50))
    data = CaptionedImages.from_dataset(dataset, image_size=32)
    assert all(len(captions) == 5 for captions in data.captions)
    first = dataset[0]
    assert data.captions[0] == [first[f"caption_{k}"] for k in range(5)]


def test_an_unknown_split_names_those_there_are(flickr8k):
    with pytest.raises(ValueError, match="no split 'minival' .* it has test, train, validation"):
        open_dataset(flickr8k, "minival")


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
