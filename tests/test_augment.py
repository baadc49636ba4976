"""Augmentation: each switch does what it says, the same for the same seed, whatever else is drawn."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from PIL import Image
from torch import Tensor

from minigroupvit.data.captioned.augment import PAPER, Augmentation, augment, augmentation, image_seeds
from minigroupvit.data.captioned.batches import CaptionedImages
from minigroupvit.images import IMAGE_MEAN

ALL = replace(PAPER, channel_permutation=0.5, greyscale=0.3)


def pictures(count: int, height: int = 12, width: int = 10) -> Tensor:
    return torch.randint(0, 256, (count, 3, height, width), dtype=torch.uint8)


def augmented(images: Tensor, choice: Augmentation, *key: int) -> Tensor:
    seeds = image_seeds(len(images), *key)
    return torch.stack([augment(image, choice, seed) for image, seed in zip(images, seeds, strict=True)])


def test_the_same_seed_gives_the_same_image() -> None:
    images = pictures(8)
    first, again, other = (augmented(images, ALL, 0, step) for step in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert first.dtype == torch.uint8 and first.shape == (8, 3, 12, 12)


def test_an_image_is_changed_by_its_own_seed_alone() -> None:
    """So a part of a batch, in one of several processes or workers, comes out as in the whole batch."""
    images, seeds = pictures(8), image_seeds(8, 0, 0)
    whole = augmented(images, ALL, 0, 0)
    for i in (5, 2, 7):
        torch.rand(3)
        assert torch.equal(augment(images[i], ALL, seeds[i]), whole[i])


def test_the_random_numbers_of_the_training_stay_as_they_are() -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    image = torch.zeros(3, 8, 8, dtype=torch.uint8)
    for seed in image_seeds(20, 0):
        augment(image, ALL, seed)
    assert torch.equal(torch.rand(4), expected)


def test_seeds_are_those_of_their_key() -> None:
    assert image_seeds(3, 1, 2) == image_seeds(5, 1, 2)[:3] and len({*image_seeds(99, 0), *image_seeds(99, 1)}) == 198


def test_nothing_is_done_unless_asked_for() -> None:
    images = pictures(4)
    assert torch.equal(augmented(images, Augmentation(), 0), images)


@pytest.mark.parametrize("choice", [Augmentation(), Augmentation(crop=0.5), Augmentation(colour_jitter=0.4), ALL])
def test_a_photograph_becomes_a_square(choice: Augmentation) -> None:
    photograph = Image.fromarray(pictures(1, 30, 20)[0].permute(1, 2, 0).numpy())
    found = augment(photograph, choice, 0, size=16)
    assert found.shape == (3, 16, 16) and found.dtype == torch.uint8


@pytest.mark.parametrize("switch", [{"crop": 0.3}, {"rand_augment": 1}, {"colour_jitter": 0.4}, {"erasing": 1.0},
                                    {"greyscale": 1.0}, {"channel_permutation": 1.0}])
def test_each_switch_does_something_and_leaves_what_it_was_given(switch: dict) -> None:
    images = pictures(16, 10, 10)
    before = images.clone()
    assert not torch.equal(augmented(images, Augmentation(**switch), 0), images)
    assert torch.equal(images, before)


def test_every_image_of_a_batch_is_changed_in_its_own_way() -> None:
    found = augmented(pictures(1).expand(60, -1, -1, -1), Augmentation(rand_augment=1), 0)
    assert len(found.flatten(1).unique(dim=0)) > 10          # 14 operations, 9 of them in two directions


def test_a_crop_has_at_least_the_smallest_share_of_the_area() -> None:
    """Of a ramp in both directions: the values at two corners tell how much of it the crop shows."""
    ramp = torch.stack([torch.arange(200).repeat(200, 1), torch.arange(200).repeat(200, 1).T,
                        torch.zeros(200, 200)]).to(torch.uint8)
    spans = [augment(ramp, Augmentation(crop=0.25), seed)[:2].flatten(1).int().aminmax(dim=1)
             for seed in image_seeds(200, 0)]
    shares = torch.stack([((high - low + 1) / 200).prod() for low, high in spans])
    assert 0.22 < shares.min() < 0.35 and shares.max() > 0.9


def test_a_batch_of_crops() -> None:
    """A ramp from left to right: a crop of it rises, between values that its box had."""
    ramp = torch.arange(64, dtype=torch.uint8).repeat(64, 1).expand(8, 3, 64, 64).clone()
    data = CaptionedImages(ramp, [["a ramp"]] * 8, flip=False)
    batch = data.batch(0, 8, 0, 0, (), Augmentation(crop=0.08))
    rows = batch.images[:, 0, 0] * 0.229 * 255 + 0.485 * 255                 # (B, 64) back to 0 ... 255
    assert batch.images.shape == (8, 3, 64, 64) and (rows.diff(dim=1) > -1.1).all()
    assert (rows[:, -1] - rows[:, 0]).std() > 3 and (rows[:, -1] - rows[:, 0]).max() < 63.5


# Colours

def test_colour_jitter_draws_for_each_image() -> None:
    grey = torch.full((64, 3, 4, 4), 100, dtype=torch.uint8)
    values = augmented(grey, Augmentation(colour_jitter=0.4), 0)[:, 0, 0, 0]
    assert 59 <= values.min() < 70 and 130 < values.max() <= 140 and len(values.unique()) > 20


def test_channels_swap_places_in_a_share_of_the_images() -> None:
    colours = torch.tensor([10, 20, 30], dtype=torch.uint8).view(3, 1, 1).expand(600, 3, 2, 2)
    found = augmented(colours, Augmentation(channel_permutation=0.6), 0)[:, :, 0, 0]
    orders, counts = found.unique(dim=0, return_counts=True)
    assert len(orders) == 6 and all(sorted(order) == [10, 20, 30] for order in orders.tolist())
    usual = (found == torch.tensor([10, 20, 30])).all(dim=1).float().mean()
    assert usual == pytest.approx(0.4 + 0.6 / 6, abs=0.06) and counts.min() > 600 * 0.1 * 0.6


def test_grey_images_have_no_colour() -> None:
    found = augmented(pictures(400), Augmentation(greyscale=0.3), 0)
    grey = (found == found[:, :1]).all(dim=(1, 2, 3))
    assert grey.float().mean() == pytest.approx(0.3, abs=0.07)


def test_erasing_fills_a_rectangle_with_the_mean_colour() -> None:
    images = torch.zeros(400, 3, 30, 40, dtype=torch.uint8)
    found = augmented(images, Augmentation(erasing=0.25), 0)
    hole = (found > 0).all(dim=1)                                                      # (B, H, W)
    share = hole.float().mean(dim=(1, 2))
    assert (share > 0).float().mean() == pytest.approx(0.25, abs=0.07)
    assert 0.01 < share[share > 0].min() and share.max() < 0.36
    for image, mask in zip(found[share > 0], hole[share > 0], strict=True):
        assert mask[mask.any(dim=1)][:, mask.any(dim=0)].all(), "not a rectangle"
        assert (image[:, mask].float().mean(dim=1) / 255 - torch.tensor(IMAGE_MEAN)).abs().max() < 0.003


# Settings

@pytest.mark.parametrize(("field", "value"), [
    ("crop", 0), ("crop", 1.5), ("rand_augment", -1), ("rand_augment", 15), ("rand_augment", 1.5), ("magnitude", 31),
    ("colour_jitter", -0.1), ("erasing", 1.2), ("channel_permutation", 2), ("greyscale", -1)])
def test_bad_settings(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=field):
        Augmentation(**{field: value})


def test_augmentation_by_words() -> None:
    assert augmentation("paper") == PAPER and augmentation("none") == Augmentation(flip=False)
    assert augmentation("paper, erasing=0,greyscale=0.2") == replace(PAPER, erasing=0.0, greyscale=0.2)
    assert augmentation("flip=0,rand_augment=2") == Augmentation(flip=False, rand_augment=2)
    for words, message in (("papre", "unknown augmentation 'papre'; there are none, flip, paper"),
                           ("colour=1", "has no 'colour'; it has flip, crop"), ("crop=much", "crop=much: expected a")):
        with pytest.raises(ValueError, match=message):
            augmentation(words)


def test_flip_is_a_switch(captioned: CaptionedImages) -> None:
    data = CaptionedImages(captioned.images, captioned.captions, flip=True)
    mirrored, straight = (data.batch(0, 16, 0, 0, (), Augmentation(flip=flip)) for flip in (True, False))
    different = (mirrored.images != straight.images).flatten(1).any(dim=1)
    assert 2 < different.sum() < 14
