"""What people's own tables are like: rows of one image, captions that say nothing, cells of other types."""

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

from minigroupvit.data.captioned.batches import CaptionedImages
from minigroupvit.data.captioned.open import open_captioned, open_held_out
from minigroupvit.data.captioned.rows import join_rows
from minigroupvit.data.captioned.samples import Columns, Unusable, read_captions, read_picture, says_something
from minigroupvit.text.caption_tokenizer import CaptionTokenizer, split_words


def encoded(red: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (red, 90, 200)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def table(tmp_path):
    """Writes metadata.csv or parquet rows (image number, caption) and gives the folder."""
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
    assert read_captions({"c": value}, Columns("image", ("c",)))[0] == ["a lamp"]


@pytest.mark.parametrize("value", [5, [[1, 2], [3, 4]], 0.5, object()])
def test_cells_that_are_no_pictures(value) -> None:
    with pytest.raises(Unusable) as error:
        read_picture(value)
    assert error.value.reason == "a cell that is no image" and "got " in error.value.detail


def test_a_list_of_one_picture_is_a_picture() -> None:
    assert read_picture([{"bytes": encoded(3), "path": None}]).size == (8, 8)


def shard(path, members: list[tuple[str, bytes]]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def test_the_first_sample_does_not_speak_for_all(tmp_path) -> None:
    members = [("000.json", b"{}")]                                       # neither image nor caption
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
    with pytest.raises(ValueError, match="image 1 has no usable caption"):
        CaptionedImages(torch.zeros(2, 3, 4, 4, dtype=torch.uint8), [["a dog"], ["..."]])


def test_rows_without_a_picture_beside_rows_of_one_picture(tmp_path) -> None:
    features = datasets.Features({"image": datasets.Image(), "caption": datasets.Value("string")})
    pictures = [{"bytes": encoded(n // 2), "path": None} for n in range(60)] + [None, None]
    table = Dataset.from_dict({"image": pictures, "caption": [f"a lamp {n}" for n in range(62)]}, features)
    data = CaptionedImages.from_dataset(table, 8, max_skipped=0.1)
    assert len(data) == 30 and data.captions[29] == ["a lamp 58", "a lamp 59"]
    assert data.skipped.count == 2 and "2 with no image" in data.skipped.report()


def test_a_first_shard_that_breaks_off_still_says_what_its_samples_have(tmp_path) -> None:
    members = [member for n in range(30) for member in ((f"{n:03}.png", encoded(n)), (f"{n:03}.txt", b"a lamp"))]
    shard(tmp_path / "0.tar", members)
    whole = (tmp_path / "0.tar").read_bytes()
    (tmp_path / "0.tar").write_bytes(whole[:len(whole) // 2 + 100])
    assert open_captioned(tmp_path, 8).shards.columns == Columns("png", ("txt",))


# Whole data sets with cells of other types, as people have them

def parquet(path, images, captions) -> None:
    """As pandas and others write it: without a word on what is an image."""
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.table({"image": images, "caption": captions}), path)


@pytest.mark.parametrize("cache", ["memory", "disk", "stream"])
@pytest.mark.parametrize(("images", "captions", "said"), [
    ([encoded(n) for n in range(20)], [float(n) for n in range(20)], "20 with a caption that is no text .*got float"),
    ([encoded(n) for n in range(20)], [{"score": n} for n in range(20)], "20 with a caption that is no text .*got dict"),
    ([n / 7 for n in range(20)], ["a lamp"] * 20, "20 with a cell that is no image .*got float"),
    ([[encoded(n), encoded(n + 1)] for n in range(20)], ["a lamp"] * 20, "20 with a cell that is no image .*got list"),
    ([f"/nowhere/{n}.png" for n in range(20)], ["a lamp"] * 20, "20 with a missing file .*there is no image at /nowhere"),
    ([None] * 20, ["a lamp"] * 20, "20 with no image")])
def test_columns_of_other_types_are_counted_and_said(tmp_path, monkeypatch, cache, images, captions, said) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    parquet(tmp_path / "train.parquet", images, captions)
    with pytest.raises(ValueError, match=f"skipped 20 of 20 captioned images: {said}"):
        data = open_captioned(tmp_path, 8, cache=cache, num_workers=0)
        list(data.batches(0, 1, 2, 0, 0, ()))


@pytest.mark.parametrize("images", [[encoded(n) for n in range(20)], [[encoded(n)] for n in range(20)]])
def test_bytes_and_lists_of_one_in_a_bare_table_are_pictures(tmp_path, monkeypatch, images) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    parquet(tmp_path / "train.parquet", images, [["a lamp", "a cup"]] * 20)
    data = open_captioned(tmp_path, 8)
    assert len(data) == 20 and data.images[7, 0, 0, 0] == 7 and data.captions[3] == ["a lamp", "a cup"]


@pytest.mark.parametrize("first", [
    [("000.jpg", b"<html>not found</html>"), ("000.txt", b"a lamp")],       # an answer instead of an image
    [("000.txt", b"a lamp")],                                                # no image, and no JSON either
    [("000.jpg", b""), ("000.txt", b""), ("000.json", b"not found")]])
def test_a_first_sample_of_no_use_is_one_of_many(tmp_path, first) -> None:
    members = [*first, *(member for n in range(1, 30) for member in (
        (f"{n:03}.jpg", encoded(n)), (f"{n:03}.txt", b"a lamp"), (f"{n:03}.json", b"{}")))]
    shard(tmp_path / "0.tar", members)
    data = open_captioned(tmp_path, 8)
    assert len(list(data)) == 29 and data.skipped.count == 1 and "0.tar, 000" in data.skipped.report()


@pytest.mark.parametrize("field", [7, [3, 4], {"raw": {"deep": 1}}, None])
def test_json_members_with_other_fields_are_counted(tmp_path, field) -> None:
    captions = [field] + [["a lamp", "a cup"], "a lamp", {"raw": "a lamp"}] * 10
    shard(tmp_path / "0.tar", [member for n, caption in enumerate(captions) for member in (
        (f"{n:03}.png", encoded(n)), (f"{n:03}.json", json.dumps({"caption": caption}).encode()))])
    data = open_captioned(tmp_path, 8)
    assert len(list(data)) == 30 and data.skipped.count == 1


def test_held_out_rows_keep_the_names_that_their_owner_knows(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    texts = [f"a lamp {n}" for n in range(60)]
    texts[37] = "?!"
    parquet(tmp_path / "train.parquet", [encoded(n) for n in range(60)], texts)
    parts = open_held_out(tmp_path, 8, 30)
    assert any("(such as row 37: '?!')" in part.skipped.report() for part in parts)


@pytest.mark.parametrize(("column", "expected"), [("things", [["lamp", "cup"], ["sofa"], []]), (None, [None] * 3)])
@pytest.mark.parametrize("cache", ["memory", "disk", "stream"])
def test_a_picture_has_the_nouns_of_all_its_rows(tmp_path, monkeypatch, cache, column, expected) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    rows = [(1, "a lamp", "lamp"), (1, "...", "cup, lamp"), (2, "a red sofa", None), (2, "a sofa", "sofa"),
            (3, "a box", None)]
    shard(tmp_path / "0.tar", [member for n, (picture, caption, things) in enumerate(rows) for member in (
        (f"{n}.png", encoded(picture)), (f"{n}.txt", caption.encode()), (f"{n}.things", (things or "").encode()))])
    if cache != "stream":
        (tmp_path / "0.tar").unlink()
        pictures, captions, things = zip(*rows)
        features = {"image": datasets.Image(), "caption": datasets.Value("string"), "things": datasets.Value("string")}
        Dataset.from_dict({"image": [{"bytes": encoded(n), "path": None} for n in pictures], "caption": captions,
                           "things": things}, datasets.Features(features)).to_parquet(tmp_path / "train.parquet")
    data = open_captioned(tmp_path, 8, cache=cache, num_workers=0, nouns=column)
    assert [(sample.captions, sample.nouns) for sample in data] == list(
        zip([["a lamp"], ["a red sofa", "a sofa"], ["a box"]], expected))
    if cache != "stream":
        rest, held = open_held_out(tmp_path, 8, 1, cache=cache, num_workers=0, nouns=column)
        assert len(rest) == 2 and all(nouns in expected for nouns in rest.nouns)


def test_joined_rows_have_nouns_only_where_there_is_a_column() -> None:
    rows = [{"i": b"x", "c": "a lamp", "n": "lamp"}, {"i": b"x", "c": "a cup", "n": None}, {"i": b"y", "c": "a box"}]
    assert [row.get("n") for row in join_rows(rows, Columns("i", ("c",), "n"))] == [["lamp"], None]
    assert join_rows(rows[:2], Columns("i", ("c",))) == [{"i": b"x", "c": ["a lamp", "a cup"], "n": "lamp"}]


def test_texts_of_shards_in_another_encoding_do_not_end_a_fingerprint(tmp_path) -> None:
    def fingerprint(texts: list[bytes]) -> dict:
        shard(tmp_path / "0.tar", [member for n, text in enumerate(texts) for member in (
            (f"{n}.png", encoded(n)), (f"{n}.txt", text))])
        return open_captioned(tmp_path, 8).fingerprint()

    texts = ["une lampe \u00e9teinte".encode("latin-1"), b"a lamp", b"a cup"]
    assert fingerprint(texts)["captions"] != fingerprint([texts[0], texts[2], texts[1]])["captions"]
