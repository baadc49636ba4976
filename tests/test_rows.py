"""What people's own tables are like: rows of one picture, captions that say nothing, cells of other types."""

from __future__ import annotations

import io
import json
import tarfile

import datasets
import numpy as np
import pytest
import torch
from datasets import Dataset
from PIL import Image

from minigroupvit.data.captioned import CaptionedImages
from minigroupvit.data.samples import Columns, Unusable, read_captions, read_picture, says_something
from minigroupvit.data.sources import open_captioned, open_held_out
from minigroupvit.tokenizer import CaptionTokenizer, split_words


def encoded(red: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (red, 90, 200)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def table(tmp_path):
    """Writes metadata.csv or parquet rows (picture number, caption) and gives the folder."""
    def write(rows, kind: str):
        if kind == "parquet":
            features = datasets.Features({"image": datasets.Image(), "caption": datasets.Value("string")})
            columns = {"image": [{"bytes": encoded(n), "path": None} for n, _ in rows],
                       "caption": [caption for _, caption in rows]}
            Dataset.from_dict(columns, features).to_parquet(tmp_path / "a.parquet")
            return tmp_path
        for n, _ in rows:
            (tmp_path / f"{n}.png").write_bytes(encoded(n))
        (tmp_path / "metadata.csv").write_text("file_name,caption\n" + "".join(f"{n}.png,{c}\n" for n, c in rows))
        return tmp_path

    return write


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize("cache", ["memory", "disk"])
def test_rows_of_one_picture_are_one_picture_and_are_held_out_together(table, kind: str, cache: str) -> None:
    folder = table([(n, f"a lamp of kind {n} seen {k}") for k in range(3) for n in range(20)], kind)
    data = open_captioned(folder, 8, cache=cache)
    assert len(data) == 20 and sorted(data.captions[4]) == [f"a lamp of kind 4 seen {k}" for k in range(3)]
    rest, held = open_held_out(folder, 8, 5, cache=cache)
    assert len(rest) == 15 and len(held) == 5
    assert not {c.split(" seen")[0] for c in rest.all_captions} & {c.split(" seen")[0] for c in held.all_captions}


@pytest.mark.parametrize("text", ["\U0001F600", "?!", "---", " \u200b ", "&nbsp;&amp;", "\ufeff", "", None, 7])
def test_texts_that_say_nothing(text) -> None:
    assert not says_something(text)


@pytest.mark.parametrize("text", ["dog", "7", "कुत्ता", "犬が走る", "สุนัข", "\U0001F600 dog", "naïve &amp; co"])
def test_texts_that_say_something(text) -> None:
    assert says_something(text)


@pytest.mark.parametrize("silent", ["\U0001F642", "!?", "&lt;&gt;"])
def test_a_caption_without_a_word_is_skipped_and_named(table, silent: str) -> None:
    data = open_captioned(table([(n, f"a red lamp {n}") for n in range(30)] + [(77, silent)], "parquet"), 8)
    assert len(data) == 30
    assert "1 with no caption that has a word (such as row 30" in data.skipped.report()
    tokenizer = CaptionTokenizer.train(data.all_captions)
    assert tokenizer(data.all_captions).shape[0] == 30


@pytest.mark.parametrize(("value", "reason"), [
    (3.5, "a caption that is no text"), ({"id": 4}, "a caption that is no text"),
    (np.array([1, 2]), "a caption that is no text"),
    ([None, 4], "no caption"), (True, "a caption that is no text")])
def test_cells_that_are_no_captions(value, reason: str) -> None:
    with pytest.raises(Unusable) as error:
        read_captions({"c": value}, Columns("image", ("c",)))
    assert error.value.reason == reason


@pytest.mark.parametrize("value", [{"raw": "a lamp", "tokens": ["a", "lamp"]}, [{"caption": b"a lamp"}],
                                   np.array(["a lamp"]), ["a lamp", "..."]])
def test_captions_in_other_wrappings(value) -> None:
    assert read_captions({"c": value}, Columns("image", ("c",))) == ["a lamp"]


@pytest.mark.parametrize("value", [5, [[1, 2], [3, 4]], 0.5, object()])
def test_cells_that_are_no_pictures(value) -> None:
    with pytest.raises(Unusable) as error:
        read_picture(value)
    assert error.value.reason == "a cell that is no picture" and "got " in error.value.detail


def test_a_list_of_one_picture_is_a_picture() -> None:
    assert read_picture([{"bytes": encoded(3), "path": None}]).size == (8, 8)


def shard(path, members: list[tuple[str, bytes]]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def test_the_first_sample_does_not_speak_for_all(tmp_path) -> None:
    members = [("000.json", b"{}")]                                       # neither picture nor caption
    for n in range(1, 40):
        members += [(f"{n:03}.png", encoded(n)), (f"{n:03}.json", json.dumps({"captions": [f"a lamp {n}"]}).encode())]
    shard(tmp_path / "0.tar", members)
    data = open_captioned(tmp_path, 8)
    assert data.shards.columns == Columns("png", ("json.captions",))
    samples = list(data)
    assert len(samples) == 39 and samples[0].captions == ["a lamp 1"] and data.skipped.count == 1


def test_shards_without_anything_usable_say_so(tmp_path) -> None:
    shard(tmp_path / "0.tar", [("0.png", encoded(1)), ("0.json", b'{"width": 8}')])
    with pytest.raises(ValueError, match="nothing in the data set can be used; skipped 1 of 1"):
        open_captioned(tmp_path, 8).first_pictures(2)


def test_words_of_any_script_keep_their_vowels_and_are_not_whole_sentences() -> None:
    assert split_words("Ein Café für Zoë") == ["ein", "cafe", "fur", "zoe"]
    assert split_words("एक लाल कुत्ता") == ["एक", "लाल", "कुत्ता"]
    assert split_words("一只红色的狗") == list("一只红色的狗")
    assert len(split_words("สุนัขสีแดง")) > 3 and split_words("красный кот") == ["красныи", "кот"]
    assert split_words("빨간 고양이") == ["빨간", "고양이"]
    tokenizer = CaptionTokenizer.train(["一只狗", "一只猫", "कुत्ता और बिल्ली"])
    assert not torch.equal(tokenizer(["狗"]), tokenizer(["猫"])) and tokenizer.unknown_words("狗 बिल्ली") == []


def test_images_in_memory_follow_the_same_definition() -> None:
    with pytest.raises(ValueError, match="picture 1 has no usable caption"):
        CaptionedImages(torch.zeros(2, 3, 4, 4, dtype=torch.uint8), [["a dog"], ["..."]])


def test_rows_without_a_picture_beside_rows_of_one_picture(tmp_path) -> None:
    features = datasets.Features({"image": datasets.Image(), "caption": datasets.Value("string")})
    pictures = [{"bytes": encoded(n // 2), "path": None} for n in range(60)] + [None, None]
    table = Dataset.from_dict({"image": pictures, "caption": [f"a lamp {n}" for n in range(62)]}, features)
    data = CaptionedImages.from_dataset(table, 8, max_skipped=0.1)
    assert len(data) == 30 and data.captions[29] == ["a lamp 58", "a lamp 59"]
    assert data.skipped.count == 2 and "2 with no picture" in data.skipped.report()


def test_a_first_shard_that_breaks_off_still_says_what_its_samples_have(tmp_path) -> None:
    members = [member for n in range(30) for member in ((f"{n:03}.png", encoded(n)), (f"{n:03}.txt", b"a lamp"))]
    shard(tmp_path / "0.tar", members)
    whole = (tmp_path / "0.tar").read_bytes()
    (tmp_path / "0.tar").write_bytes(whole[:len(whole) // 2 + 100])
    assert open_captioned(tmp_path, 8).shards.columns == Columns("png", ("txt",))
