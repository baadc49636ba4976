"""Augmentation: each switch does what it says, the same for the same numbers, as torchvision does it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2

from minigroupvit.data.augment import (
    PAPER, Augmentation, augment, augmentation, colour_jitter, crop_boxes, random_numbers)
from minigroupvit.data.captioned import CaptionedImages
from minigroupvit.data.rand_augment import OPERATIONS, WITH_DIRECTION, rand_augment
from minigroupvit.images import IMAGE_MEAN

ALL = replace(PAPER, channel_permutation=0.5, greyscale=0.3)


def pictures(count: int, height: int = 12, width: int = 10) -> Tensor:
    return torch.randint(0, 256, (count, 3, height, width), dtype=torch.uint8)


def test_the_same_numbers_give_the_same_pictures() -> None:
    images = pictures(8)
    first, again, other = (augment(images, random_numbers(8, 0, step), ALL) for step in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert first.dtype == torch.uint8 and first.shape == images.shape


def test_a_picture_is_changed_by_its_own_numbers_alone() -> None:
    """So a part of a batch, in one of several processes, comes out as in the whole batch."""
    images, numbers = pictures(8), random_numbers(8, 0, 0)
    whole = augment(images, numbers, ALL)
    parts = [augment(images[part], numbers[part], ALL) for part in (slice(0, 3), slice(3, 8))]
    assert torch.equal(torch.cat(parts), whole)


def test_nothing_is_done_unless_asked_for() -> None:
    images = pictures(4)
    assert torch.equal(augment(images, random_numbers(4, 0), Augmentation()), images)


@pytest.mark.parametrize("switch", [{"rand_augment": 1}, {"colour_jitter": 0.4}, {"erasing": 1.0}, {"greyscale": 1.0},
                                    {"channel_permutation": 1.0}])
def test_each_switch_does_something_and_leaves_what_it_was_given(switch: dict) -> None:
    images = pictures(16)
    before = images.clone()
    assert not torch.equal(augment(images, random_numbers(16, 0), Augmentation(**switch)), images)
    assert torch.equal(images, before)


def test_one_switch_leaves_the_draws_of_the_others_alone() -> None:
    images, numbers = pictures(32), random_numbers(32, 0)
    erased = augment(images, numbers, Augmentation(erasing=0.5))
    both = augment(images, numbers, Augmentation(erasing=0.5, greyscale=0.5))
    mean = (torch.tensor(IMAGE_MEAN) * 255).round()[:, None, None]
    holes = (erased == mean).all(dim=1)
    assert 0 < holes.sum() and torch.equal((both == mean).all(dim=1), holes)


# Crop

def test_crops_are_those_of_torchvision() -> None:
    """Compared by their distribution: share of the area, ratio of the sides, place."""
    numbers = random_numbers(4000, 0)
    boxes = torch.tensor(crop_boxes(numbers, [(60, 90)] * 4000, 0.08), dtype=torch.float)
    transform = v2.RandomResizedCrop(8, scale=(0.08, 1.0))
    drawn = [transform.make_params([torch.empty(3, 60, 90)]) for _ in range(4000)]
    theirs = torch.tensor([[d["top"], d["left"], d["height"], d["width"]] for d in drawn], dtype=torch.float)
    for ours, other in zip(boxes.T, theirs.T):
        for q in (0.1, 0.5, 0.9):
            assert ours.quantile(q) == pytest.approx(other.quantile(q).item(), abs=3.5)
    top, left, height, width = boxes.T
    assert top.min() >= 0 and left.min() >= 0 and (top + height).max() <= 60 and (left + width).max() <= 90
    assert (height * width / 5400).min() > 0.07


def test_a_crop_that_never_fits_is_the_whole_picture() -> None:
    assert crop_boxes(random_numbers(1, 0), [(4, 400)], 0.9) == [(0, 0, 4, 400)]


def test_a_batch_of_crops() -> None:
    """A ramp from left to right: a crop of it rises, between values that its box had."""
    ramp = torch.arange(64, dtype=torch.uint8).repeat(64, 1).expand(8, 3, 64, 64).clone()
    data = CaptionedImages(ramp, [["a ramp"]] * 8, flip=False)
    batch = data.batch(0, 8, 0, 0, (), Augmentation(crop=0.08))
    rows = batch.images[:, 0, 0] * 0.229 * 255 + 0.485 * 255                 # (B, 64) back to 0 ... 255
    assert batch.images.shape == (8, 3, 64, 64) and (rows.diff(dim=1) > -1.1).all()
    assert (rows[:, -1] - rows[:, 0]).std() > 3 and (rows[:, -1] - rows[:, 0]).max() < 63.5


# Colours

@pytest.mark.parametrize("factors", [(0.6, 1.0, 1.0), (1.4, 1.0, 1.0), (1.0, 0.6, 1.0), (1.0, 1.4, 1.0),
                                     (1.0, 1.0, 0.6), (1.0, 1.0, 1.4), (1.2, 0.7, 1.3)])
def test_colour_jitter_is_torchvisions_arithmetic(factors: tuple[float, float, float]) -> None:
    images = pictures(3)
    brightness, contrast, saturation = factors
    expected = v2.functional.adjust_brightness(images, brightness)
    expected = v2.functional.adjust_contrast(expected, contrast)
    expected = v2.functional.adjust_saturation(expected, saturation)
    found = colour_jitter(images, torch.tensor([factors] * 3))
    assert (found.int() - expected.int()).abs().max() <= 3     # torchvision rounds down in between


def test_colour_jitter_draws_for_each_picture_and_each_factor() -> None:
    grey = torch.full((64, 3, 4, 4), 100, dtype=torch.uint8)
    values = augment(grey, random_numbers(64, 0), Augmentation(colour_jitter=0.4))[:, 0, 0, 0]
    assert 60 <= values.min() < 70 and 130 < values.max() <= 140 and len(values.unique()) > 20


def test_channels_swap_places_in_a_share_of_the_pictures() -> None:
    colours = torch.tensor([10, 20, 30], dtype=torch.uint8).view(3, 1, 1).expand(600, 3, 2, 2)
    found = augment(colours, random_numbers(600, 0), Augmentation(channel_permutation=0.6))[:, :, 0, 0]
    orders, counts = found.unique(dim=0, return_counts=True)
    assert len(orders) == 6 and all(sorted(order) == [10, 20, 30] for order in orders.tolist())
    usual = (found == torch.tensor([10, 20, 30])).all(dim=1).float().mean()
    assert usual == pytest.approx(0.4 + 0.6 / 6, abs=0.06) and counts.min() > 600 * 0.1 * 0.6


def test_grey_pictures_have_no_colour() -> None:
    found = augment(pictures(400), random_numbers(400, 0), Augmentation(greyscale=0.3))
    grey = (found == found[:, :1]).all(dim=(1, 2, 3))
    assert grey.float().mean() == pytest.approx(0.3, abs=0.07)


def test_erasing_fills_a_rectangle_with_the_mean_colour() -> None:
    images = torch.zeros(400, 3, 30, 40, dtype=torch.uint8)
    hole = (augment(images, random_numbers(400, 0), Augmentation(erasing=0.25)) > 0).all(dim=1)    # (B, H, W)
    share = hole.float().mean(dim=(1, 2))
    assert (share > 0).float().mean() == pytest.approx(0.25, abs=0.07)
    assert 0.01 < share[share > 0].min() and share.max() < 0.36
    for mask in hole[share > 0]:
        inside = mask[mask.any(dim=1)][:, mask.any(dim=0)]
        assert inside.all(), "not a rectangle"


# RandAugment

def all_operations(image: Tensor, magnitude: int) -> Tensor:
    return torch.cat([operation(image, sign * magnitude / 30) for name, operation in OPERATIONS.items()
                      for sign in ((1, -1) if name in WITH_DIRECTION else (1,))])


@pytest.mark.parametrize("magnitude", [9, 30])
def test_the_operations_are_those_of_torchvisions_rand_augment(magnitude: int) -> None:
    """Whatever torchvision makes of a picture, we make as well, and nothing else (but for a rounding)."""
    image = pictures(1)
    transform = v2.RandAugment(num_ops=1, magnitude=magnitude)
    theirs, ours = torch.cat([transform(image) for _ in range(400)]), all_operations(image, magnitude)
    apart = (theirs[:, None].int() - ours.int()).abs().flatten(2).amax(dim=2)          # (theirs, ours)
    assert len(OPERATIONS) == 14 and apart.amin(dim=1).max() <= 1 and apart.amin(dim=0).max() <= 1


def test_every_picture_draws_its_own_operation() -> None:
    image = pictures(1)
    drawn = rand_augment(image.expand(600, -1, -1, -1), torch.rand(600, 2), 9)
    kinds, counts = np.unique(drawn.flatten(1).numpy(), axis=0, return_counts=True)
    expected = np.unique(all_operations(image, 9).flatten(1).numpy(), axis=0)
    assert np.array_equal(kinds, expected) and counts.min() >= 3


# Settings

@pytest.mark.parametrize(("field", "value"), [
    ("crop", 0), ("crop", 1.5), ("rand_augment", -1), ("rand_augment", 9), ("rand_augment", 1.5), ("magnitude", 31),
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
