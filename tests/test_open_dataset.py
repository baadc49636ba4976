"""Opening captioned data sets: folders, files, the hub's known sets and its failures."""

from __future__ import annotations

import json
from itertools import count as count_from

import datasets
import pytest
from PIL import Image

from minigroupvit.data.captioned.batches import CaptionedImages
from minigroupvit.data.captioned.on_disk import CaptionedFiles
from minigroupvit.data.captioned.open import (
    HUB_PRESETS,
    hold_out,
    open_captioned,
    open_dataset,
    open_held_out,
    open_validation,
    splits,
)
from minigroupvit.data.captioned.streamed import CaptionedStream

FEATURES = datasets.Features({"image": datasets.Image(), "caption": datasets.Value("string")})


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


_MADE = count_from(1)


def one_picture(colour):
    """Each with a pixel of its own: equal bytes would be one image."""
    picture = Image.new("RGB", (20, 12), colour)
    picture.putpixel((19, 11), (0, 0, next(_MADE) % 256))
    return picture


def pictures(count, colour="red"):
    return {"image": [one_picture(colour) for _ in range(count)],
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
    with pytest.raises(ValueError, match="cannot read the images of .*expected"):
        open_dataset(folder)


@pytest.mark.parametrize("line, message", [
    ("1.png,a red thing, and a blue one", "line 3 has more cells than the header; put a caption with commas into quotes"),
    ('1.png,"a red thing', "unexpected end of data")])
def test_metadata_whose_cells_are_not_clear(folder, line, message):
    write_pictures(folder, 2)
    (folder / "metadata.jsonl").unlink()
    file = folder / "metadata.csv"
    file.write_text(f"file_name,caption\n0.png,a red thing\n{line}\n")
    with pytest.raises(ValueError, match=f"cannot read the images of .*photos: {message}; expected"):
        open_dataset(folder)
    file.write_text('file_name,caption\n\n0.png,"a red,\nred thing"\n1.png,a blue thing\n')
    dataset = open_dataset(folder)
    assert dataset["caption"][:] == ["a red,\nred thing", "a blue thing"]
    assert dataset["__key__"][:] == ["metadata.csv, line 3", "metadata.csv, line 5"]


def test_metadata_without_names_of_files(folder):
    write_pictures(folder, 2)
    (folder / "metadata.jsonl").write_text('{"picture": "0.png", "caption": "a red thing"}\n')
    with pytest.raises(ValueError, match="metadata.jsonl has no file_name, but picture, caption; expected"):
        open_dataset(folder)


@pytest.mark.parametrize("cache", ["memory", "disk", "stream"])
def test_a_folder_with_missing_files_and_broken_pictures(folder, cache):
    write_pictures(folder, 20)
    (folder / "3.png").unlink()
    (folder / "5.png").write_bytes((folder / "5.png").read_bytes()[:30])
    lines = (folder / "metadata.jsonl").read_text().replace("a red thing, number 7", "")
    (folder / "metadata.jsonl").write_text(lines)
    data = open_captioned(folder, 8, cache=cache, max_skipped=0.2, num_workers=0)
    assert len(list(data)) == 17
    list(data.batches(0, 2, 8, 0, 0, ()))
    if cache != "stream":                       # two batches are no whole pass
        assert data.skipped.reasons["no caption"] == 1 and data.skipped.seen == 20
    if cache == "memory":
        assert data.skipped.reasons == {"a missing file": 1, "an image that cannot be read": 1, "no caption": 1}
        with pytest.raises(ValueError, match="skipped 3 of 20 .* More than 5% is too much"):
            open_captioned(folder, 8)


# The hub

@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub with the known sets, each a few rows of its columns in local files."""
    columns = {"jxie/flickr8k": {f"caption_{k}": f"caption {k} of" for k in range(5)},
               "lmms-lab/flickr30k": {"caption": ["a first", "a second"], "sentids": ["1"], "filename": "x.jpg"},
               "AKCIT/coco2017-captioning": {"image_id": 3, "text": "wrong", "captions": ["a first", "a second"]}}
    asked = []

    def load_dataset(name, split=None, streaming=False, **rest):
        if name == "parquet":
            return real(name, split=split, streaming=streaming, **rest)
        asked.append((name, split, streaming))
        files = []
        for part in range(2):
            rows = {key: [value] * 4 for key, value in columns[name].items()}
            rows["image"] = [Image.new("RGB", (9, 6), (i, part, 0)) for i in range(4)]
            features = {key: datasets.Image() if key == "image" else
                        [datasets.Value("string")] if isinstance(values[0], list) else
                        datasets.Value("int64" if isinstance(values[0], int) else "string")
                        for key, values in rows.items()}
            files.append(str(tmp_path / f"{len(asked)}-{part}.parquet"))
            datasets.Dataset.from_dict(rows, datasets.Features(features)).to_parquet(files[-1])
        return real("parquet", data_files={split: files}, split=split, streaming=streaming)

    real = datasets.load_dataset
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return asked


@pytest.mark.filterwarnings("ignore:.* has 8 images, not")
@pytest.mark.parametrize("cache, kind", [("memory", CaptionedImages), ("disk", CaptionedFiles),
                                         ("stream", CaptionedStream)])
@pytest.mark.parametrize("name, split, captions", [
    ("jxie/flickr8k", "train", [f"caption {k} of" for k in range(5)]),
    ("lmms-lab/flickr30k", "test", ["a first", "a second"]),
    ("AKCIT/coco2017-captioning", "train", ["a first", "a second"])])
def test_known_sets_of_the_hub(hub, name, split, captions, cache, kind):
    data = open_captioned(name, 8, cache=cache, num_workers=0)
    assert isinstance(data, kind) and hub == [(name, split, cache == "stream")]
    samples = list(data)
    assert len(samples) == 8 and all(sample.captions == captions for sample in samples)
    assert samples[6].image.shape == (3, 8, 8) and samples[6].image[:2, 0, 0].tolist() == [2, 1]


def test_a_known_set_that_has_changed_brings_a_warning(hub):
    with pytest.warns(UserWarning, match="jxie/flickr8k test has 8 images, not 1,000 as known"):
        open_dataset("jxie/flickr8k", "test")


def test_an_unknown_split_of_a_known_set_asks_nobody(hub):
    with pytest.raises(ValueError, match=r"no split 'train' in lmms-lab/flickr30k; it has test \(31,783 images\)"):
        open_dataset("lmms-lab/flickr30k", "train")
    with pytest.raises(ValueError, match=r"no split 'val' in pixparse/cc3m-wds; it has train \(2,905,954 imag"):
        open_captioned("pixparse/cc3m-wds", 8, "val")
    assert hub == []


def test_a_known_set_of_shards_is_a_stream(monkeypatch):
    asked = []
    monkeypatch.setattr("minigroupvit.data.captioned.open.open_tar_shards",
                        lambda name, image, captions, *rest: asked.append((name, image, captions)) or [])
    assert isinstance(open_captioned("pixparse/cc3m-wds", 8), CaptionedStream)
    assert asked == [(HUB_PRESETS["pixparse/cc3m-wds"].shards["train"], "jpg", ("txt",))]


def test_what_is_on_the_disk_comes_before_the_hub(hub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_pictures(tmp_path / "jxie" / "flickr8k", 3)
    assert [sample.captions for sample in open_captioned("jxie/flickr8k", 8)][1] == ["a red thing, number 1"]
    assert splits("jxie/flickr8k") == ["train"] and hub == []


@pytest.mark.parametrize("name, expected", [
    ("jxie/flickr8k", ["train", "validation", "test"]), ("lmms-lab/flickr30k", ["test"]), ("some/{00..03}.tar", [])])
def test_splits_without_asking(name, expected):
    assert splits(name) == expected


# Validation

def test_pictures_are_held_out(folder):
    write_pictures(folder, 12)
    rest, held = hold_out(open_dataset(folder), 4, seed=1)
    names = [set(part["caption"]) for part in (rest, held)]
    assert len(names[0]) == 8 and len(names[1]) == 4 and not names[0] & names[1]
    assert held["caption"] == hold_out(open_dataset(folder), 4, seed=1)[1]["caption"]
    for cache in ("memory", "disk"):
        data, validation = open_held_out(folder, 8, 4, cache=cache)
        assert len(data) == 8 and len(validation) == 4 and isinstance(validation, CaptionedImages)
        assert not set(data.all_captions) & set(validation.all_captions)
    for count in (0, 12):
        with pytest.raises(ValueError, match=f"cannot hold out {count} of 12 images; it must be from 1 to 11"):
            hold_out(open_dataset(folder), count)
    with pytest.raises(ValueError, match="not of a stream"):
        open_held_out(folder, 8, 4, cache="stream")


def test_validation_takes_the_split_of_that_name(folder):
    write_pictures(folder / "train", 3)
    write_pictures(folder / "validation", 5, "blue")
    assert len(open_validation(folder, 8)) == 5 and len(open_validation(folder, 8, "train", limit=2)) == 2


@pytest.mark.parametrize("error", [ConnectionError("no network"), FileNotFoundError("no such data set"),
                                   ValueError('Unknown split "no network". Should be one of train')])
def test_what_the_hub_does_not_give_is_one_line(monkeypatch, error):
    def refuse(name, split, streaming):
        raise error

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    with pytest.raises(ValueError, match="someone/something.*(no network|no such data set)"):
        open_dataset("someone/something")
