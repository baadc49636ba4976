"""Captioned images, in memory and on the disk, and the batches drawn from them."""

from __future__ import annotations

import io
import re
import warnings
from dataclasses import replace
from functools import partial

import datasets
import pytest
import torch
from datasets import Dataset
from PIL import Image

from minigroupvit.data.captioned.augment import PAPER, Augmentation
from minigroupvit.data.captioned.batches import Batch, CaptionedImages, pack_texts, shared_prompts
from minigroupvit.data.captioned.on_disk import CaptionedFiles
from minigroupvit.data.captioned.samples import Skipped, Unusable, caption_columns, find_columns, read_picture
from minigroupvit.data.scenes.captions import flip_caption
from minigroupvit.images import normalize
from minigroupvit.text.prompts import SIMPLE_TEMPLATES


def numbered(count: int, flip: bool = False) -> CaptionedImages:
    """Image i is brighter to the left and has i for its green; its caption says so."""
    pictures = torch.zeros(count, 3, 4, 4, dtype=torch.uint8)
    pictures[:, 0, :, :2] = 200
    pictures[:, 1] = torch.arange(count, dtype=torch.uint8).view(-1, 1, 1)
    return CaptionedImages(pictures, [[f"a sun number {i} on the left"] for i in range(count)], flip)


@pytest.mark.parametrize("augmentation", [Augmentation(), PAPER])
def test_the_batch_of_a_step_is_always_the_same(augmentation: Augmentation) -> None:
    def draw(step: int, seed: int):
        return numbered(10, flip=True).batch(step, 4, seed, 2, SIMPLE_TEMPLATES, augmentation)

    first, again = draw(3, seed=1), draw(3, seed=1)
    assert torch.equal(first.images, again.images)
    assert (first.captions, first.prompts) == (again.captions, again.prompts)
    assert draw(4, seed=1).captions != first.captions != draw(3, seed=2).captions


@pytest.mark.parametrize("source", ["memory", "disk"])
def test_the_parts_of_two_processes_are_the_batch_of_one(source: str, monkeypatch) -> None:
    def draw() -> list[Batch]:
        kind = CaptionedImages.from_dataset if source == "memory" else partial(CaptionedFiles, num_workers=0)
        return list(kind(rows(12), 6).batches(1, 3, 6, 0, 2, SIMPLE_TEMPLATES, PAPER))

    whole, parts = draw(), []
    for rank in range(2):
        monkeypatch.setattr("minigroupvit.data.captioned.batches.rank_and_size", lambda: (rank, 2))
        parts.append(draw())
    for one, first, second in zip(whole, *parts, strict=True):
        assert torch.equal(torch.cat([first.images, second.images]), one.images)
        assert (first.captions + second.captions, first.prompts + second.prompts) == (one.captions, one.prompts)
    with pytest.raises(ValueError, match="a batch of 5 cannot be shared evenly by 2 processes"):
        numbered(12).batch(0, 5, 0, 0, ())


def test_each_picture_comes_once_an_epoch() -> None:
    data = numbered(10)
    epochs = [[int(caption.split()[3]) for step in range(start, start + 5)
               for caption in data.batch(step, 2, 0, 0, ()).captions] for start in (0, 5)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(10))] * 2
    assert epochs[0] != epochs[1]


def test_the_same_captioned_images_at_another_size() -> None:
    data = numbered(1200)
    small = data.resized(2)
    assert small.images.shape == (1200, 3, 2, 2) and small.images.dtype == torch.uint8 and not small.flip
    assert torch.equal(small.images[:, 1, 0, 0], data.images[:, 1, 0, 0]) and small.captions == data.captions
    assert torch.equal(data.resized(4).images, data.images)


def test_pictures_stay_with_their_captions_and_are_normalised() -> None:
    data = numbered(10)
    batch = data.batch(0, 5, seed=0, num_prompts=0, templates=())
    for image, caption in zip(batch.images, batch.captions):
        number = int(caption.split()[3])
        torch.testing.assert_close(image, normalize(data.images[number][None].float() / 255)[0])
    assert batch.prompts == [[]] * 5


def test_a_flipped_picture_has_a_flipped_caption() -> None:
    batch = numbered(64, flip=True).batch(0, 64, seed=0, num_prompts=0, templates=())
    bright_left = batch.images[:, 0, 0, 0] > batch.images[:, 0, 0, 3]
    assert bright_left.tolist() == ["left" in caption for caption in batch.captions]
    assert 16 < bright_left.sum() < 48
    assert flip_caption(flip_caption("a sun left of a heart")) == "a sun left of a heart"


def test_one_caption_of_several_is_drawn() -> None:
    data = CaptionedImages(torch.zeros(2, 3, 4, 4, dtype=torch.uint8), [["a sun", "a heart"]] * 2, flip=False)
    drawn = {caption for step in range(20) for caption in data.batch(step, 2, 0, 0, ()).captions}
    assert drawn == {"a sun", "a heart"} and data.all_captions == ["a sun", "a heart"] * 2


def test_packed_texts_are_cut_to_their_longest_and_spread_back(tokenizer) -> None:
    data = numbered(8)
    batch = data.batch(0, 8, 0, 3, ("there is a {} here.",))
    ids, spread = pack_texts(tokenizer, batch)
    rows = [text for part in ids for text in (tokenizer.decode(row) for row in part)]
    flat = batch.captions + [text for texts in batch.prompts for text in texts]
    assert [rows[i] for i in spread] == [tokenizer.decode(tokenizer([text])[0]) for text in flat]
    assert all((part != 0).any(dim=0).all() for part in ids), "a column of nothing but padding"
    assert ids[0].shape[1] > ids[1].shape[1], "prompts are shorter than captions"


def test_a_prompt_is_true_of_all_images_whose_captions_have_its_noun() -> None:
    captions = ["a cat on the sand", "a dog and a cat", "here it is red", "a bird"]
    batch = Batch(torch.zeros(4, 3, 4, 4), captions, [
        ["a cat.", "the sand."], ["the dog.", "the cat."], ["here it is red"] * 2, ["a bird.", "a bird"]],
        [("cat", "sand"), ("dog", "cat"), (), ("bird",)])
    assert shared_prompts(batch, ("a {}.", "the {}.")).int().tolist() == [
        [1, 1, 0, 1, 0, 0, 0, 0], [1, 0, 1, 1, 0, 0, 0, 0], [0, 0, 0, 0, 1, 1, 0, 0], [0, 0, 0, 0, 0, 0, 1, 1]]


def test_every_image_has_its_own_prompts() -> None:
    batch = numbered(10, flip=True).batch(3, 4, 1, 2, SIMPLE_TEMPLATES)
    own = torch.eye(4, dtype=torch.bool).repeat_interleave(2, dim=1)
    true = shared_prompts(batch, SIMPLE_TEMPLATES)
    assert true[own].all() and true.shape == (4, 8)
    assert all("sun" in found for found in batch.nouns)


def test_reading_a_dataset() -> None:
    pictures = [Image.new("RGB", (10, 6), (255, 0, 0)), Image.new("L", (4, 4), 7)]
    dataset = Dataset.from_dict({"caption_0": ["a sun", "a dog"], "caption_1": ["a star", "a cat"]})
    dataset = dataset.add_column("image", [0, 1]).with_transform(
        lambda rows: rows | {"image": [pictures[i] for i in rows["image"]]} if "image" in rows else rows)
    data = CaptionedImages.from_dataset(dataset, image_size=8)
    assert data.images.shape == (2, 3, 8, 8) and len(data) == 2
    assert data.images[0, :, 3, 3].tolist() == [255, 0, 0] and data.images[1].unique().tolist() == [7]
    assert data.captions == [["a sun", "a star"], ["a dog", "a cat"]]
    with pytest.raises(ValueError, match="no column 'photo'; the data set has"):
        CaptionedImages.from_dataset(dataset, 8, image="photo")


@pytest.mark.parametrize(("names", "expected"), [
    (["image", "caption"], ["caption"]), (["captions", "image"], ["captions"]), (["text"], ["text"]),
    (["caption_1", "image", "caption_0"], ["caption_0", "caption_1"]), (["image", "label"], [])])
def test_caption_columns(names: list[str], expected: list[str]) -> None:
    assert caption_columns(names) == expected


def test_columns_that_are_not_there() -> None:
    with pytest.raises(ValueError, match=r"no column of captions among image, label; name it with captions=\[...\]"):
        find_columns(["image", "label"])
    with pytest.raises(ValueError, match="no column 'says'; the data set has image, caption"):
        find_columns(["image", "caption"], captions=["caption", "says"])
    with pytest.raises(ValueError, match="no column 'image'; the data set has picture, caption"):
        find_columns(["picture", "caption"])


PICTURES = torch.zeros(2, 3, 4, 4, dtype=torch.uint8)


@pytest.mark.parametrize(("images", "captions", "message"), [
    (PICTURES.float(), [["a"], ["b"]], r"expected uint8 images \(N, 3, H, W\), got torch.float32"),
    (PICTURES[0], [["a"]], "expected uint8 images"),
    (PICTURES, [["a"]], "as many caption lists as images, got 1 for 2"),
    (PICTURES[:0], [], "got 0 for 0"),
    (PICTURES, [["a"], []], "image 1 has no usable caption"),
    (PICTURES, [["a", " "], ["b"]], "image 0 has no usable caption"),
    (PICTURES, [["a"], [None]], "image 1 has no usable caption"),
    (PICTURES, ["sun", "dog"], r"image 0 needs a list of captions, got the string 'sun'; write \['sun'\]"),
])
def test_bad_data(images: torch.Tensor, captions: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CaptionedImages(images, captions)


def test_a_batch_larger_than_the_data_set() -> None:
    with pytest.raises(ValueError, match="a batch of 11 is larger than the data set of 10"):
        numbered(10).batch(0, 11, 0, 0, ())


# Rows of no use

def encoded(colour: tuple[int, int, int], size: tuple[int, int] = (9, 6)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, "PNG")
    return file.getvalue()


FEATURES = datasets.Features({"image": datasets.Image(), "captions": [datasets.Value("string")]})


def rows(count: int, broken: tuple[int, ...] = (), silent: tuple[int, ...] = (), missing: tuple[int, ...] = ()):
    """Row i is an image with red i, whose captions have the number i."""
    pictures = [{"bytes": encoded((i, 100, 200)), "path": None} for i in range(count)]
    for i in broken:
        pictures[i]["bytes"] = pictures[i]["bytes"][:40] + bytes([i])   # else they were one image
    for i in missing:
        pictures[i] = {"bytes": None, "path": f"/nowhere/{i}.png"}
    captions = [[f"a sun number {i}", " "] for i in range(count)]
    for i in silent:
        captions[i] = ["", " "]
    return Dataset.from_dict({"image": pictures, "captions": captions}, FEATURES)


def test_rows_of_no_use_are_left_out_counted_and_told() -> None:
    data = CaptionedImages.from_dataset(rows(60, broken=(3,), silent=(7, 8), missing=(11,)), 4, max_skipped=0.1)
    assert len(data) == 56 and data.skipped.count == 4 and data.skipped.seen == 60
    kept = [i for i in range(60) if i not in (3, 7, 8, 11)]
    assert data.images[:, 0, 0, 0].tolist() == kept
    assert data.all_captions == [f"a sun number {i}" for i in kept]
    report = data.skipped.report()
    assert report.startswith("skipped 4 of 60 captioned images: 2 with no caption (such as row 7)")
    assert "1 with a missing file (such as row 11: there is no image at /nowhere/11.png)" in report
    assert "1 with an image that cannot be read (such as row 3: " in report


@pytest.mark.parametrize("kind", [CaptionedImages.from_dataset, CaptionedFiles])
def test_too_many_rows_of_no_use_stop_the_reading(kind) -> None:
    assert len(kind(rows(100, silent=(1, 2, 3, 4, 5)), 4)) == 95
    with pytest.raises(ValueError, match="skipped 6 of 100 .* More than 5% is too much: .* max_skipped"):
        kind(rows(100, silent=(1, 2, 3, 4, 5, 6)), 4)
    with pytest.raises(ValueError, match="the data set is empty; skipped 2 of 2"):
        kind(rows(2, silent=(0, 1)), 4, max_skipped=1.0)


@pytest.mark.parametrize(("value", "reason"), [
    (None, "no image"), (b"", "no image"), ({"bytes": None, "path": None}, "no image"),
    (b"not an image", "an image that cannot be read"), ("/nowhere/1.png", "a missing file"),
    ({"bytes": encoded((1, 2, 3))[:50], "path": "1.png"}, "an image that cannot be read")])
def test_pictures_of_no_use(value, reason: str) -> None:
    with pytest.raises(Unusable) as error:
        read_picture(value)
    assert error.value.reason == reason


def test_a_share_is_a_share() -> None:
    with pytest.raises(ValueError, match="the share that may be skipped is 5"):
        Skipped(5)


# On the disk

@pytest.mark.parametrize("augmentation", [Augmentation(), replace(PAPER, crop=1.0), Augmentation(flip=False)])
def test_from_the_disk_come_the_batches_of_the_memory(augmentation: Augmentation) -> None:
    dataset = rows(20)
    memory = CaptionedImages.from_dataset(dataset, 9)
    disk = CaptionedFiles(dataset, 9, num_workers=0)
    found = list(disk.batches(3, 7, 8, 1, 2, SIMPLE_TEMPLATES, augmentation))
    assert len(found) == 4 and disk.all_captions == memory.all_captions
    for step, batch in enumerate(found, 3):
        expected = memory.batch(step, 8, 1, 2, SIMPLE_TEMPLATES, augmentation)
        assert torch.equal(batch.images, expected.images)
        assert (batch.captions, batch.prompts) == (expected.captions, expected.prompts)
    assert torch.equal(disk.first_pictures(5), memory.first_pictures(5))
    assert [sample.captions for sample in disk] == memory.captions


def test_workers_decode_the_same_and_a_crop_is_drawn_again() -> None:
    def draw(num_workers: int, start: int) -> list[torch.Tensor]:
        data = CaptionedFiles(rows(16, broken=(5,)), 4, num_workers=num_workers, max_skipped=0.2)
        return [batch.images for batch in data.batches(start, 4, 4, 0, 0, (), PAPER)]

    unbroken, resumed = draw(2, 0), draw(0, 2)
    assert len(unbroken) == 4 and all(torch.equal(a, b) for a, b in zip(unbroken[2:], resumed, strict=True))


def test_a_picture_that_cannot_be_read_gives_its_place_to_the_next() -> None:
    data = CaptionedFiles(rows(40, broken=(5, 6)), 4, num_workers=0, max_skipped=0.05)
    seen = [int(caption.split()[-1]) for batch in data.batches(0, 10, 8, 0, 0, ()) for caption in batch.captions]
    assert sorted(seen) == sorted([i for i in range(40) if i not in (5, 6)] * 2 + [7] * 4)
    assert data.skipped.count == 2, "each counts once, not in every epoch"
    for batch in data.batches(0, 5, 8, 0, 0, (), Augmentation(flip=False)):
        reds = (batch.images[:, 0, 0, 0] * 0.229 + 0.485) * 255
        assert reds.round().int().tolist() == [int(caption.split()[-1]) for caption in batch.captions]


def test_too_many_pictures_that_cannot_be_read_stop_the_run() -> None:
    data = CaptionedFiles(rows(40, broken=tuple(range(3, 9))), 4, num_workers=0)
    with pytest.raises(ValueError, match="with an image that cannot be read .* More than 5% is too much"):
        list(data.batches(0, 5, 8, 0, 0, ()))


def test_workers_below_zero() -> None:
    with pytest.raises(ValueError, match="num_workers is -1"):
        CaptionedFiles(rows(2), 4, num_workers=-1)


# Nouns of one's own

GREEK = ["ένα καράβι στη θάλασσα", "δύο γάτες", "μια λάμπα", "το βουνό"]
THINGS = [["καράβι", "θάλασσα"], ["γάτες"], ["λάμπα"], ["βουνό"]]


def greek_rows() -> dict:
    return {"image": [Image.new("RGB", (9, 9), (50 * i, 0, 0)) for i in range(4)], "caption": GREEK}


@pytest.mark.parametrize("kind", [CaptionedImages.from_dataset, CaptionedFiles])
@pytest.mark.parametrize("column", [THINGS, [", ".join(found) for found in THINGS], ["、".join(f) for f in THINGS]])
def test_nouns_come_from_a_column_of_their_own(kind, column) -> None:
    rows = datasets.Dataset.from_dict(greek_rows() | {"things": column}).cast_column("image", datasets.Image())
    options = {"num_workers": 0} if kind is CaptionedFiles else {}
    data = kind(rows, 8, nouns="things", **options)
    data.tag()
    batch = next(data.batches(0, 1, 4, 0, 2, ("{}",)))
    assert dict(zip(batch.captions, map(list, batch.nouns))) == dict(zip(GREEK, THINGS))
    assert all(set(prompts) <= {caption, *found} for caption, prompts, found in
               zip(batch.captions, batch.prompts, batch.nouns))
    assert data.fingerprint()["captions"] != kind(rows, 8, **options).fingerprint()["captions"]
    with pytest.raises(ValueError, match=r"no column 'objects'.* nouns=\.\.\."):
        kind(rows, 8, nouns="objects", **options)


def test_rows_of_one_picture_share_their_nouns() -> None:
    picture = io.BytesIO()
    Image.new("RGB", (9, 9), (1, 2, 3)).save(picture, "PNG")
    rows = datasets.Dataset.from_dict({"image": [{"bytes": picture.getvalue(), "path": None}] * 2, "caption": GREEK[:2],
                                       "things": ["καράβι,γάτες", "γάτες"]}).cast_column("image", datasets.Image())
    data = CaptionedImages.from_dataset(rows, 8, nouns="things")
    assert (data.captions, data.nouns) == ([GREEK[:2]], [["καράβι", "γάτες"]])


def test_nouns_come_from_a_function_of_ones_own() -> None:
    asked = []

    def last_word(caption: str) -> list[str]:
        asked.append(caption)
        return [caption.split()[-1]]

    rows = datasets.Dataset.from_dict(greek_rows()).cast_column("image", datasets.Image())
    for data in (CaptionedImages.from_dataset(rows, 8, nouns=last_word), CaptionedFiles(rows, 8, num_workers=0,
                                                                                        nouns=last_word)):
        data.tag()
        batch = next(data.batches(0, 1, 4, 0, 1, ("a {}",)))
        assert [prompts[0] for prompts in batch.prompts] == [f"a {c.split()[-1]}" for c in batch.captions]
    assert set(asked) == set(GREEK)
    wrong = CaptionedImages.from_dataset(rows, 8, nouns=lambda caption: caption)
    with pytest.raises(ValueError, match="the function that finds nouns gave .* expected a list of words"):
        next(wrong.batches(0, 1, 4, 0, 1, ("a {}",)))


@pytest.mark.parametrize(("captions", "warned"), [
    (GREEK, True), (["雪の中の犬", "猫が二匹", "a dog", "青い空"], True), (["een hond op het strand"] * 4, False),
    (["a dog", "two cats on a собака", "a lamp 12", "the café"], False)])
def test_captions_that_are_not_in_latin_script_bring_one_warning(captions: list[str], warned: bool) -> None:
    data = CaptionedImages(torch.zeros(4, 3, 8, 8, dtype=torch.uint8), [[c] for c in captions])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        list(data.batches(0, 3, 4, 0, 2, ("a {}",)))
        list(CaptionedImages(data.images, data.captions).batches(0, 2, 4, 0, 0, ()))      # no nouns are asked for
    assert len(caught) == warned
    assert not warned or re.search(r"not in Latin script.*English.*nouns=\.\.\..*num_prompts=0",
                                   str(caught[0].message))
