"""Cuts that need no training, on pictures whose right answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from minigroupvit.data.mask_sets import open_masks
from minigroupvit.evaluation.controls import (
    CLUSTERS,
    SHARED_CLUSTERS,
    against_controls,
    colour_clusters,
    controls,
    evaluate_cut,
    judge_cut,
    rings,
    tiles,
)

# Three colours in fields of 32 pixels: none of them lies where a grid or a ring would put it.
COLOURS = np.array([[250, 240, 30], [20, 30, 200], [10, 140, 40]], dtype=np.uint8)


@pytest.fixture
def masks(tmp_path):
    """Two pictures whose pixels have the colour of their class; a border of 255 is not judged."""
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


def test_pieces_of_one_colour_are_found_wherever_they_lie(masks) -> None:
    found = evaluate_cut(colour_clusters(3), masks)
    assert found["ari"] > 0.97 and found["oracle_miou"] > 0.97 and found["probing_jaccard"] > 0.97
    assert found["groups_used"] == 3 and found["num_images"] == 2
    assert set(found["oracle_iou_per_class"]) == {"fish", "boat", "background"}


def test_cuts_that_see_nothing_are_judged_so(masks) -> None:
    everything = evaluate_cut(lambda picture: torch.zeros(picture.shape[-2:], dtype=torch.long), masks)
    assert everything["ari"] == 0 and everything["groups_used"] == 1
    noise = torch.Generator().manual_seed(0)
    random = evaluate_cut(lambda picture: torch.randint(0, 8, picture.shape[-2:], generator=noise), masks)
    assert abs(random["ari"]) < 0.01
    for cut in (rings(8), tiles(2, 4)):
        assert evaluate_cut(cut, masks)["ari"] < 0.5


def test_the_place_of_a_pixel_counts_as_much_as_one_says() -> None:
    """Left and right of one colour: K-means parts them by colour alone, or by place where place is all."""
    picture = torch.zeros(3, 64, 64, dtype=torch.uint8)
    picture[:, ::2] = 120                                       # stripes
    by_colour, by_place = colour_clusters(2)(picture), colour_clusters(2, position=1e4)(picture)
    assert by_colour[0, 0] == by_colour[0, 63] != by_colour[1, 0]
    rows = by_place if by_place[0, 0] == by_place[0, 63] else by_place.T
    pieces = [rows[:32], rows[32:]]
    assert all(len(piece.unique()) == 1 for piece in pieces)


@pytest.mark.parametrize(("height", "width"), [(64, 96), (33, 50)])
def test_rings_and_tiles_have_equal_parts(height: int, width: int) -> None:
    picture = torch.zeros(3, height, width, dtype=torch.uint8)
    for pieces, number in ((rings(4)(picture), 4), (tiles(2, 4)(picture), 8)):
        sizes = torch.bincount(pieces.flatten(), minlength=number) / pieces.numel()
        assert pieces.shape == (height, width) and len(sizes) == number
        assert (sizes - 1 / number).abs().max() < 0.02
    ring = rings(4)(picture)
    assert ring[height // 2, width // 2] == 0 and ring[0, 0] == ring[-1, -1] == 3
    assert tiles(2, 4)(picture)[0].tolist() == sorted(tiles(2, 4)(picture)[0].tolist())


def test_pieces_are_as_large_as_the_picture() -> None:
    picture = torch.randint(0, 256, (3, 50, 70), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert colour_clusters(5)(picture).shape == (50, 70)


def test_controls_on_pictures_of_two_colours():
    """Two clusters a picture find the two colours exactly; one set for all does too, where colours stay."""
    masks = torch.zeros(6, 32, 32, dtype=torch.uint8)
    images = torch.zeros(6, 3, 32, 32, dtype=torch.uint8)
    for i in range(6):
        masks[i, :, 8 * (1 + i % 3):] = 1
        images[i] = torch.where(masks[i] == 1, 200, 40)
        images[i, i % 3] = 90
    found = controls(images, masks, 2, images)
    assert [(c["method"], c["clusters"], c["per_picture"]) for c in found] == [
        *((method, k, True) for method in ("pixels", "patches", "pixels, refined") for k in CLUSTERS),
        ("patches", SHARED_CLUSTERS, False)]
    by_name = {(c["method"], c["clusters"]): c for c in found}
    for method in ("pixels", "patches", "pixels, refined"):
        assert by_name[method, 2]["ari"] == by_name[method, 2]["oracle_miou"] == 1.0
        assert by_name[method, 2]["ari_interval"] == [1.0, 1.0] and by_name[method, 2]["segments_used"] == 2.0
    assert by_name["patches", SHARED_CLUSTERS]["ari"] == 1.0
    assert by_name["pixels", 2]["ari_of_each"] == [1.0] * 6


def test_two_cuts_are_compared_picture_by_picture(masks) -> None:
    figures, colours = judge_cut(colour_clusters(3), masks)
    assert figures == evaluate_cut(colour_clusters(3), masks) and colours.names == ("0", "1")
    grid = judge_cut(tiles(1, 2), masks)[1]
    found = colours.minus(grid)
    assert found["ari_difference"] == pytest.approx(np.mean(colours.ari) - np.mean(grid.ari))
    assert found["num_images"] == 2
    assert found["oracle_miou_difference"] == pytest.approx(
        figures["oracle_miou"] - evaluate_cut(tiles(1, 2), masks)["oracle_miou"], abs=1e-6)
    assert found["ari_difference_interval"][0] > 0.3 and found["oracle_miou_difference_interval"][0] > 0.3


def test_a_picture_in_which_nothing_is_judged_stays_in_the_row_of_pictures(masks, tmp_path) -> None:
    Image.fromarray(np.full((64, 128), 255, np.uint8)).save(tmp_path / "masks" / "0.png")
    figures, judged = judge_cut(colour_clusters(3), masks)
    assert np.isnan(judged.ari[0]) and figures["ari"] == judged.ari[1] > 0.97
    assert judged.minus(judged)["ari_difference"] == 0


def test_groups_are_compared_with_controls_on_the_pictures_that_both_have() -> None:
    control = {"method": "pixels", "clusters": 3, "per_picture": True, "ari": 0.3, "ari_of_each": [0.2, 0.4, 0.3]}
    three, two = (against_controls(own, [control])[0] for own in ([0.3, 0.5, 0.4], [0.1, 0.3]))
    assert three["ari_difference"] == pytest.approx(0.1) and three["num_images"] == 3
    assert three["ari_difference_interval"] == pytest.approx([0.1, 0.1])     # by as much on every picture
    assert two["ari_difference"] == pytest.approx(-0.1) and two["num_images"] == 2
    assert "ari_of_each" not in two and two["method"] == "pixels" and two["ari"] == 0.3
