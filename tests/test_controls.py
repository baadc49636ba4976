"""Partitions that need no training, on images whose right answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from minigroupvit.data.mask_sets import MasksInMemory, open_masks
from minigroupvit.evaluation.controls import (
    CLUSTERS,
    SHARED_CLUSTERS,
    against_controls,
    colour_clusters,
    controls,
    evaluate_partition,
    rings,
    tiles,
)

# Three colours in fields of 32 pixels: none of them lies where a grid or a ring would put it.
COLOURS = np.array([[250, 240, 30], [20, 30, 200], [10, 140, 40]], dtype=np.uint8)


@pytest.fixture
def masks(tmp_path):
    """Two images whose pixels have the colour of their class; a border of 255 is not judged."""
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    (tmp_path / "classes.txt").write_text("background\nfish\nboat\n")
    for i in range(2):
        fields = np.random.default_rng(i).permutation([0, 1, 2, 0, 1, 2, 0, 1]).reshape(2, 4)
        mask = np.kron(fields, np.ones((32, 32), dtype=int)).astype(np.uint8)
        Image.fromarray(COLOURS[mask]).save(tmp_path / "images" / f"{i}.png")
        mask[:, :4] = 255
        Image.fromarray(mask).save(tmp_path / "masks" / f"{i}.png")
    return open_masks("folder", tmp_path)


def test_segments_of_one_colour_are_found_wherever_they_lie(masks) -> None:
    found = evaluate_partition(colour_clusters(3), masks).metrics
    assert found["ari"] > 0.97 and found["oracle_miou"] > 0.97 and found["probing_jaccard"] > 0.97
    assert found["groups_used"] == 3 and found["num_images"] == 2
    assert set(found["oracle_iou_per_class"]) == {"fish", "boat", "background"}


def test_partitions_that_see_nothing_are_judged_so(masks) -> None:
    everything = evaluate_partition(lambda image: torch.zeros(image.shape[-2:], dtype=torch.long), masks).metrics
    assert everything["ari"] == 0 and everything["groups_used"] == 1
    noise = torch.Generator().manual_seed(0)
    random = evaluate_partition(lambda image: torch.randint(0, 8, image.shape[-2:], generator=noise), masks).metrics
    assert abs(random["ari"]) < 0.01
    for partition in (rings(8), tiles(2, 4)):
        assert evaluate_partition(partition, masks).metrics["ari"] < 0.5


def test_the_place_of_a_pixel_counts_as_much_as_one_says() -> None:
    """Left and right of one colour: K-means parts them by colour alone, or by place where place is all."""
    image = torch.zeros(3, 64, 64, dtype=torch.uint8)
    image[:, ::2] = 120                                         # stripes
    by_colour, by_place = colour_clusters(2)(image), colour_clusters(2, position=1e4)(image)
    assert by_colour[0, 0] == by_colour[0, 63] != by_colour[1, 0]
    rows = by_place if by_place[0, 0] == by_place[0, 63] else by_place.T
    assert all(len(half.unique()) == 1 for half in (rows[:32], rows[32:]))


@pytest.mark.parametrize(("height", "width"), [(64, 96), (33, 50)])
def test_rings_and_tiles_have_equal_parts(height: int, width: int) -> None:
    image = torch.zeros(3, height, width, dtype=torch.uint8)
    for segments, number in ((rings(4)(image), 4), (tiles(2, 4)(image), 8)):
        sizes = torch.bincount(segments.flatten(), minlength=number) / segments.numel()
        assert segments.shape == (height, width) and len(sizes) == number
        assert (sizes - 1 / number).abs().max() < 0.02
    ring = rings(4)(image)
    assert ring[height // 2, width // 2] == 0 and ring[0, 0] == ring[-1, -1] == 3
    assert tiles(2, 4)(image)[0].tolist() == sorted(tiles(2, 4)(image)[0].tolist())


def test_segments_are_as_large_as_the_image() -> None:
    image = torch.randint(0, 256, (3, 50, 70), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert colour_clusters(5)(image).shape == (50, 70)


def test_controls_on_images_of_two_colours():
    """Two clusters an image find the two colours exactly; one set for all does too, where colours stay."""
    masks = torch.zeros(6, 32, 32, dtype=torch.uint8)
    images = torch.zeros(6, 3, 32, 32, dtype=torch.uint8)
    for i in range(6):
        masks[i, :, 8 * (1 + i % 3):] = 1
        images[i] = torch.where(masks[i] == 1, 200, 40)
        images[i, i % 3] = 90
    found = controls(MasksInMemory(name="two", class_names=("dark", "light"), images=images, masks=masks), images)
    assert [(c["method"], c["clusters"], c["per_picture"]) for c in found] == [
        *((method, k, True) for method in ("pixels", "patches", "pixels, refined") for k in CLUSTERS),
        ("patches", SHARED_CLUSTERS, False)]
    by_name = {(c["method"], c["clusters"]): c for c in found}
    for method in ("pixels", "patches", "pixels, refined"):
        assert by_name[method, 2]["ari"] == by_name[method, 2]["oracle_miou"] == 1.0
        assert by_name[method, 2]["ari_interval"] == [1.0, 1.0] and by_name[method, 2]["segments_used"] == 2.0
    assert by_name["patches", SHARED_CLUSTERS]["ari"] == 1.0
    assert by_name["pixels", 2]["ari_of_each"] == [1.0] * 6


def test_two_partitions_are_compared_image_by_image(masks) -> None:
    colours, grid = (evaluate_partition(partition, masks) for partition in (colour_clusters(3), tiles(1, 2)))
    assert colours.names == ["0", "1"]
    found = colours.minus(grid)
    assert found["ari_difference"] == pytest.approx(np.mean(colours.ari_of_each) - np.mean(grid.ari_of_each))
    assert found["num_images"] == 2 and "miou_difference" not in found
    assert found["oracle_miou_difference"] == pytest.approx(
        colours.metrics["oracle_miou"] - grid.metrics["oracle_miou"], abs=1e-6)
    assert found["ari_difference_interval"][0] > 0.3 and found["oracle_miou_difference_interval"][0] > 0.3


def test_an_image_in_which_nothing_is_judged_stays_in_the_row_of_images(masks, tmp_path) -> None:
    Image.fromarray(np.full((64, 128), 255, np.uint8)).save(tmp_path / "masks" / "0.png")
    found = evaluate_partition(colour_clusters(3), masks)
    assert np.isnan(found.ari_of_each[0]) and found.metrics["ari"] == found.ari_of_each[1] > 0.97
    assert found.minus(found)["ari_difference"] == 0


def test_groups_are_compared_with_controls_on_the_images_that_both_have() -> None:
    control = {"method": "pixels", "clusters": 3, "per_picture": True, "ari": 0.3, "ari_of_each": [0.2, 0.4, 0.3]}
    three, two = (against_controls(own, [control])[0] for own in ([0.3, 0.5, 0.4], [0.1, 0.3]))
    assert three["ari_difference"] == pytest.approx(0.1) and three["num_images"] == 3
    assert three["ari_difference_interval"] == pytest.approx([0.1, 0.1])     # by as much on every picture
    assert two["ari_difference"] == pytest.approx(-0.1) and two["num_images"] == 2
    assert "ari_of_each" not in two and two["method"] == "pixels" and two["ari"] == 0.3
