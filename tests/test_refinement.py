"""Pixel-adaptive mask refinement: against a loop over pixels, on an edge made by hand, and through `segment`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from minigroupvit.model import GroupViT
from minigroupvit.segmentation.options import InferenceOptions
from minigroupvit.segmentation.segment import segment
from minigroupvit.segmentation.steps import pixel_groups, refine_maps


@pytest.fixture
def model(make_model) -> GroupViT:
    return make_model()


def slow_refinement(maps: np.ndarray, image: np.ndarray, iterations: int, distances: tuple[int, ...],
                    contrast: float) -> np.ndarray:
    """The definition, pixel by pixel: maps (G, H, W), image (3, H, W)."""
    G, H, W = maps.shape
    steps = [(dy * d, dx * d) for d in distances for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx]
    for _ in range(iterations):
        new = np.zeros_like(maps)
        for y in range(H):
            for x in range(W):
                around = [(min(max(y + dy, 0), H - 1), min(max(x + dx, 0), W - 1)) for dy, dx in steps]
                colours = np.array([image[:, v, u] for v, u in around] + [image[:, y, x]])
                spread = colours.std(axis=0, ddof=1)
                logits = -(np.abs(colours[:-1] - colours[-1]) / (contrast * spread + 1e-6)).mean(axis=1)
                weights = np.exp(logits - logits.max())
                weights /= weights.sum()
                new[:, y, x] = sum(w * maps[:, v, u] for w, (v, u) in zip(weights, around))
        maps = new
    return maps


@pytest.mark.parametrize(("reach", "distances"), [(1, (1,)), (2, (1, 2)), (3, (1, 2)), (4, (1, 2, 4))])
def test_the_same_as_a_loop_over_pixels(reach: int, distances: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    image = torch.rand(1, 3, 5, 6, dtype=torch.float64)
    maps = torch.rand(1, 2, 5, 6, dtype=torch.float64).softmax(dim=1)
    expected = slow_refinement(maps[0].numpy(), image[0].numpy(), 2, distances, 0.1)
    torch.testing.assert_close(refine_maps(maps, image, 2, reach)[0], torch.from_numpy(expected), rtol=0, atol=1e-12)


def two_halves(edge: int) -> Tensor:
    """A picture (1, 3, 16, 16), dark to the left of a column and light from there on, with a little noise."""
    picture = torch.full((1, 3, 16, 16), 0.2)
    picture[..., edge:] = 0.8
    return picture + 0.02 * torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def test_an_edge_moves_to_where_the_colours_change() -> None:
    maps = torch.zeros(1, 2, 4, 4)                                        # patches of 4 pixels: the edge is at 8
    maps[:, 0, :, :2] = maps[:, 1, :, 2:] = 1
    off = pixel_groups(maps, (16, 16))
    assert (off[0, :, 9] == 1).all()
    refined = refine_maps(maps, two_halves(edge=10), 20, 4)
    torch.testing.assert_close(refined.sum(dim=1), torch.ones(1, 16, 16))
    assert torch.equal(refined.argmax(dim=1)[0], (torch.arange(16) >= 10).long().expand(16, 16))


def test_where_no_colour_changes_it_only_smooths() -> None:
    maps = torch.rand(1, 3, 4, 4).softmax(dim=1)
    refined = refine_maps(maps, torch.full((1, 3, 8, 8), 0.5), 50, 4)
    assert refined.flatten(2).std(dim=-1).max() < maps.flatten(2).std(dim=-1).min()
    assert torch.isfinite(refined).all()


def test_segment_refines_every_stage_and_names_what_was_refined(model: GroupViT) -> None:
    torch.manual_seed(1)
    picture = torch.rand(1, 3, 16, 16)
    words = ["sun", "heart", "brick"]
    protocol = InferenceOptions(pixels="shared", refine=3)
    plain, refined = (segment(model, picture, words, p) for p in (replace(protocol, refine=0), protocol))
    for before, after, groups in zip(plain.maps, refined.maps, refined.groups):
        expected = refine_maps(before, picture, 3, 2 * model.config.image.patch_size)
        torch.testing.assert_close(after, expected)
        assert torch.equal(groups, expected.argmax(dim=1))
    torch.testing.assert_close(refined.group_scores, plain.group_scores)
    names = torch.einsum("bghw,bgc->bchw", refined.maps[-1],
                         refined.group_scores / refined.group_scores.sum(dim=-1, keepdim=True))
    torch.testing.assert_close(refined.scores, names)


def test_a_mirrored_picture_is_refined_as_it_is_seen(model: GroupViT) -> None:
    picture = torch.rand(1, 3, 16, 16)
    protocol = InferenceOptions(pixels="shared", refine=2, flip=True)
    one = segment(model, picture, ["sun", "heart"], protocol).scores
    other = segment(model, picture.flip(-1), ["sun", "heart"], protocol).scores
    torch.testing.assert_close(one, other.flip(-1))


@pytest.mark.parametrize("refine", [-1, 2.5])
def test_numbers_of_iterations_that_there_are_not(refine: float) -> None:
    with pytest.raises(ValueError, match=f"refine is {refine}; give a number of iterations"):
        InferenceOptions(refine=refine)


def test_patches_have_no_edges_to_move() -> None:
    with pytest.raises(ValueError, match="pixels='patches'.*refine=0"):
        InferenceOptions(refine=5, pixels="patches")
