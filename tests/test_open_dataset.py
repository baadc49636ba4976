"""Opening captioned data sets: folders, files, and the hub's failures."""

from __future__ import annotations

import json

import datasets
import pytest
from PIL import Image

from minigroupvit.data.captioned import CaptionedImages
from minigroupvit.data.open_dataset import open_dataset

FEATURES = datasets.Features({"image": datasets.Image(), "caption": datasets.Value("string")})


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def pictures(count, colour="red"):
    return {"image": [Image.new("RGB", (20, 12), colour)] * count,
            "caption": [f"a {colour} thing, number {i}" for i in range(count)]}


@pytest.fixture
def folder(tmp_path):
    found = tmp_path / "photos"
    found.mkdir()
    return found


def write_pictures(folder, count, colour="red"):
    """The layout of `datasets`' imagefolder."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for i, (image, caption) in enumerate(zip(*pictures(count, colour).values())):
        image.save(folder / f"{i}.png")
        lines.append(json.dumps({"file_name": f"{i}.png", "caption": caption}))
    (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("place", [".", "data"])
def test_parquet_files_with_splits(folder, place):
    (folder / place).mkdir(exist_ok=True)
    for name, count in (("train-00000-of-00002", 3), ("train-00001-of-00002", 2), ("test-00000-of-00001", 4)):
        datasets.Dataset.from_dict(pictures(count), FEATURES).to_parquet(folder / place / f"{name}.parquet")
    assert len(open_dataset(folder)) == 5
    assert len(open_dataset(str(folder), "test")) == 4
    with pytest.raises(ValueError, match="no split 'validation' .* it has test, train"):
        open_dataset(folder, "validation")
    data = CaptionedImages.from_dataset(open_dataset(folder), image_size=8)
    assert data.images.shape == (5, 3, 8, 8) and data.captions[4] == ["a red thing, number 1"]


def test_parquet_files_without_names_of_splits_are_for_training(folder):
    datasets.Dataset.from_dict(pictures(2), FEATURES).to_parquet(folder / "0000.parquet")
    datasets.Dataset.from_dict(pictures(3), FEATURES).to_parquet(folder / "0001.parquet")
    assert len(open_dataset(folder)) == 5
    assert len(open_dataset(folder / "0001.parquet")) == 3


def test_pictures_beside_their_metadata(folder):
    write_pictures(folder, 3)
    dataset = open_dataset(folder)
    assert dataset[2]["caption"] == "a red thing, number 2" and dataset[2]["image"].size == (20, 12)
    with pytest.raises(ValueError, match="no split 'test' .* it has train"):
        open_dataset(folder, "test")


def test_pictures_in_a_folder_for_each_split(folder):
    write_pictures(folder / "train", 3)
    write_pictures(folder / "test", 2, "blue")
    assert len(open_dataset(folder)) == 3
    assert open_dataset(folder, "test")["caption"][1] == "a blue thing, number 1"


def test_what_cannot_be_opened(folder, tmp_path):
    with pytest.raises(ValueError, match="no captioned data set in .* metadata.jsonl .* found nothing"):
        open_dataset(folder)
    (folder / "notes.txt").write_text("hello")
    with pytest.raises(ValueError, match="found notes.txt"):
        open_dataset(folder)
    with pytest.raises(ValueError, match="notes.txt is no data set"):
        open_dataset(folder / "notes.txt")
    for missing in (tmp_path / "missing", "missing/folder/here", "./missing", "missing.parquet"):
        with pytest.raises(ValueError, match="there is nothing at .*missing"):
            open_dataset(missing)


def test_a_file_that_is_cut_off(folder):
    whole = folder / "train.parquet"
    datasets.Dataset.from_dict(pictures(3), FEATURES).to_parquet(whole)
    whole.write_bytes(whole.read_bytes()[:200])
    with pytest.raises(ValueError, match="cannot be read, or it is cut off"):
        open_dataset(folder)


def test_metadata_that_is_no_json(folder):
    write_pictures(folder, 2)
    (folder / "metadata.jsonl").write_text("0.png a red thing\n")
    with pytest.raises(ValueError, match="cannot read the pictures of .*expected"):
        open_dataset(folder)


@pytest.mark.parametrize("error", [ConnectionError("no network"), FileNotFoundError("no such data set"),
                                   ValueError('Unknown split "no network". Should be one of train')])
def test_what_the_hub_does_not_give_is_one_line(monkeypatch, error):
    def refuse(name, split):
        raise error

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    with pytest.raises(ValueError, match="someone/something.*(no network|no such data set)"):
        open_dataset("someone/something")
