"""Captioned pictures and the batches drawn from them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from datasets import Dataset
from PIL import Image

from minigroupvit.data.captioned import CaptionedImages, caption_columns, pack_texts
from minigroupvit.data.captions import flip_caption
from minigroupvit.images import normalize
from minigroupvit.prompts import SIMPLE_TEMPLATES


def numbered(count: int, flip: bool = False) -> CaptionedImages:
    """Picture i is brighter to the left and has i for its green; its caption says so."""
    pictures = torch.zeros(count, 3, 4, 4, dtype=torch.uint8)
    pictures[:, 0, :, :2] = 200
    pictures[:, 1] = torch.arange(count, dtype=torch.uint8).view(-1, 1, 1)
    return CaptionedImages(pictures, [[f"a sun number {i} on the left"] for i in range(count)], flip)


def test_the_batch_of_a_step_is_always_the_same() -> None:
    def draw(step: int, seed: int):
        return numbered(10, flip=True).batch(step, 4, seed, 2, SIMPLE_TEMPLATES)

    first, again = draw(3, seed=1), draw(3, seed=1)
    assert torch.equal(first.images, again.images)
    assert (first.captions, first.prompts) == (again.captions, again.prompts)
    assert draw(4, seed=1).captions != first.captions != draw(3, seed=2).captions


def test_each_picture_comes_once_an_epoch() -> None:
    data = numbered(10)
    epochs = [np.concatenate([data.indices(epoch * 5 + i, 2, seed=0) for i in range(5)]) for epoch in range(2)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(10))] * 2
    assert epochs[0].tolist() != epochs[1].tolist()


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
    (["caption_1", "image", "caption_0"], ["caption_0", "caption_1"])])
def test_caption_columns(names: list[str], expected: list[str]) -> None:
    assert caption_columns(Dataset.from_dict({name: ["a"] for name in names})) == expected


def test_no_caption_column() -> None:
    with pytest.raises(ValueError, match=r"no column of captions among image, label; name it with captions=\[...\]"):
        caption_columns(Dataset.from_dict({"image": [0], "label": [0]}))


PICTURES = torch.zeros(2, 3, 4, 4, dtype=torch.uint8)


@pytest.mark.parametrize(("images", "captions", "message"), [
    (PICTURES.float(), [["a"], ["b"]], r"expected uint8 pictures \(N, 3, H, W\), got torch.float32"),
    (PICTURES[0], [["a"]], "expected uint8 pictures"),
    (PICTURES, [["a"]], "as many caption lists as pictures, got 1 for 2"),
    (PICTURES[:0], [], "got 0 for 0"),
    (PICTURES, [["a"], []], "picture 1 has no usable caption"),
    (PICTURES, [["a", " "], ["b"]], "picture 0 has no usable caption"),
    (PICTURES, [["a"], [None]], "picture 1 has no usable caption"),
    (PICTURES, ["sun", "dog"], r"picture 0 needs a list of captions, got the string 'sun'; write \['sun'\]"),
])
def test_bad_data(images: torch.Tensor, captions: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CaptionedImages(images, captions)


def test_a_batch_larger_than_the_data_set() -> None:
    with pytest.raises(ValueError, match="a batch of 11 is larger than the data set of 10"):
        numbered(10).batch(0, 11, 0, 0, ())
