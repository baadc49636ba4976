"""Shapes, errors and small parts of the image encoder; its numbers are in test_parity.py."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from minigroupvit.config import ImageConfig
from minigroupvit.image_encoder import ConvolutionStem, ImageEncoder, PatchEmbedding

# B batch  N tokens  T group tokens  G groups  D width

TINY = ImageConfig(image_size=16, patch_size=4, width=16, num_heads=2, depths=(1, 2, 1),
                   num_group_tokens=(6, 3, 0), num_output_groups=(5, 3, 0))


@pytest.mark.parametrize("stem", ["linear", "convolution"])
@pytest.mark.parametrize("positions", ["learned", "sincos", "none"])
@pytest.mark.parametrize("size", [(16, 16), (8, 40), (36, 4), (4, 4)])
def test_shapes(stem: str, positions: str, size: tuple[int, int]) -> None:
    encoder = ImageEncoder(replace(TINY, stem=stem, positions=positions))
    output = encoder(torch.randn(2, 3, *size))
    N = size[0] // 4 * (size[1] // 4)
    assert output.grid == (size[0] // 4, size[1] // 4)
    assert output.feature.shape == (2, 16)
    assert output.segment_tokens.shape == (2, 3, 16)
    assert [stage.tokens.shape for stage in output.stages] == [(2, 5, 16), (2, 3, 16), (2, 3, 16)]
    assert [stage.group_tokens.shape for stage in output.stages[:2]] == [(2, 6, 16), (2, 3, 16)]
    assert output.stages[2].group_tokens is None and output.stages[2].grouping is None
    assert [g.soft.shape for g in output.groupings] == [(2, 5, N), (2, 3, 5)]
    assert all(g.hard.shape == g.soft.shape for g in output.groupings)
    torch.testing.assert_close(output.feature, output.segment_tokens.mean(dim=1))


def test_without_positions_patches_can_change_places() -> None:
    encoder = ImageEncoder(replace(TINY, positions="none")).eval()
    images = torch.randn(1, 3, 16, 16)
    moved = images.roll(4, dims=-1)                                       # by one patch
    torch.testing.assert_close(encoder(moved).segment_tokens, encoder(images).segment_tokens, rtol=0, atol=1e-5)
    assert not any("positions" in name for name in encoder.state_dict())


def test_without_groups_the_segments_are_the_patches() -> None:
    config = replace(TINY, depths=(2,), num_group_tokens=(0,), num_output_groups=(0,))
    output = ImageEncoder(config)(torch.randn(2, 3, 8, 12))
    assert output.segment_tokens.shape == (2, 2 * 3, 16) and output.groupings == []


@pytest.mark.parametrize(("shape", "message"), [
    ((2, 3, 17, 16), "image is 17x16, not a multiple of the patch size 4; resize it to 16x16"),
    ((2, 3, 16, 23), "image is 16x23, not a multiple of the patch size 4; resize it to 16x20"),
    ((2, 3, 3, 16), "image is 3x16, not a multiple of the patch size 4; resize it to 4x16"),
    ((2, 3, 0, 16), "image is 0x16, not a multiple of the patch size 4; resize it to 4x16"),
    ((2, 1, 16, 16), r"expected images of shape \(B, 3, H, W\), got \(2, 1, 16, 16\)"),
    ((3, 16, 16), r"expected images of shape \(B, 3, H, W\), got \(3, 16, 16\)"),
])
def test_pictures_that_do_not_fit(shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ImageEncoder(TINY)(torch.zeros(shape))


@pytest.mark.parametrize("stem", ["linear", "convolution"])
def test_permuting_the_batch_permutes_the_result(stem: str) -> None:
    encoder = ImageEncoder(replace(TINY, stem=stem, assignment="soft")).eval()
    images, order = torch.randn(4, 3, 16, 16), torch.randperm(4)
    torch.testing.assert_close(encoder(images).segment_tokens[order],
                               encoder(images[order]).segment_tokens, rtol=0, atol=1e-5)


@pytest.mark.parametrize("patch_size", [2, 4, 8, 16])
def test_the_convolution_stem_makes_one_token_of_a_patch(patch_size: int) -> None:
    stem = ConvolutionStem(32, patch_size)
    assert stem(torch.randn(2, 3, 32, 64)).shape == (2, 32, 32 // patch_size, 64 // patch_size)


def test_tokens_stand_row_by_row() -> None:
    embed = PatchEmbedding(TINY)
    dark, bright = torch.zeros(1, 3, 16, 16), torch.zeros(1, 3, 16, 16)
    bright[:, :, 4:8, 8:12] = 1  # row 1, column 2
    changed = (embed(dark)[0] != embed(bright)[0]).any(dim=-1)[0]
    assert changed.nonzero().flatten().tolist() == [1 * 4 + 2]


def test_drop_path_rises_linearly_over_the_blocks_of_all_stages() -> None:
    encoder = ImageEncoder(replace(TINY, drop_path=0.3))
    rates = [block.drop_path.rate for stage in encoder.stages for block in stage.layers]
    assert rates == pytest.approx([0.0, 0.1, 0.2, 0.3])
    assert ImageEncoder(replace(TINY, depths=(1, 0, 0), drop_path=0.3)).stages[0].layers[0].drop_path.rate == 0


def test_first_values() -> None:
    """As released: positions and first group tokens 0.02, later group tokens zero."""
    encoder = ImageEncoder(replace(TINY, width=64, num_group_tokens=(64, 8, 0), num_output_groups=(64, 8, 0)))
    assert encoder.patch_embed.positions.std().item() == pytest.approx(0.02, rel=0.1)
    assert encoder.stages[0].group_tokens.std().item() == pytest.approx(0.02, rel=0.1)
    assert encoder.stages[1].group_tokens.abs().max() == 0
    assert encoder.stages[0].layers[0].mlp.fc1.weight.std().item() == pytest.approx(0.02, rel=0.1)
    assert encoder.stages[0].layers[0].mlp.fc1.bias.abs().max() == 0


def test_later_group_tokens_hear_from_those_before() -> None:
    encoder = ImageEncoder(TINY).eval()
    stage, tokens = encoder.stages[1], torch.randn(1, 5, 16)
    first, second = (stage(tokens, torch.randn(1, 6, 16)).group_tokens for _ in range(2))
    assert not torch.allclose(first, second)


@pytest.mark.parametrize("overlap", [1, 2])
def test_overlapping_patches_have_their_middles_evenly_over_the_picture(overlap: int) -> None:
    embed = PatchEmbedding(replace(TINY, positions="sincos", image_size=8)).double()
    embed.positions = torch.zeros_like(embed.positions, dtype=torch.float64)
    images = torch.randn(2, 3, 8, 12, dtype=torch.float64)
    tokens, (h, w) = embed(images, overlap)
    assert (h, w) == (2 * overlap, 3 * overlap)
    for row in range(h):
        for column in range(w):
            # The patch around the middle of this cell; beyond the border the border's pixels go on.
            y, x = (int((place + 0.5) * 4 / overlap) - 2 + torch.arange(4) for place in (row, column))
            patch = images[:, :, y.clamp(0, 7)][..., x.clamp(0, 11)]
            expected = embed.norm(embed.proj(patch)[..., 0, 0])
            torch.testing.assert_close(tokens[:, row * w + column], expected)


def test_overlap_needs_whole_pixels() -> None:
    with pytest.raises(ValueError, match="overlap 4 shifts a patch of 4 by parts of a pixel"):
        ImageEncoder(TINY)(torch.zeros(1, 3, 16, 16), overlap=4)


@pytest.mark.parametrize(("stem", "depth"), [("linear", 0), ("convolution", 0), ("convolution", 1)])
def test_what_a_token_sees_lies_around_the_middle_of_its_patch(stem: str, depth: int) -> None:
    embed = PatchEmbedding(replace(TINY, stem=stem, stem_depth=depth, image_size=32)).double().eval()
    image = torch.randn(1, 3, 32, 32, dtype=torch.float64, requires_grad=True)
    embed.proj(image)[0, :, 3, 4].abs().sum().backward()                # patch in row 3, column 4
    seen = image.grad[0].abs().sum(0).nonzero()
    first, last = seen.amin(dim=0), seen.amax(dim=0)
    assert ((first + last) / 2).tolist() == [3 * 4 + 1.5, 4 * 4 + 1.5]


def test_first_weights_of_the_blocks() -> None:
    config = replace(TINY, width=64)
    small, large = ImageEncoder(config), ImageEncoder(replace(config, blocks_std=0.08))
    for std, encoder in ((0.02, small), (0.08, large)):
        for name, weight in encoder.named_parameters():
            if weight.ndim == 2 and "norm" not in name:
                expected = std if ".layers." in name else 0.02
                assert weight.std().item() == pytest.approx(expected, rel=0.2), name


def test_segments_count_as_the_patches_that_they_hold() -> None:
    torch.manual_seed(0)
    config = replace(TINY, assignment="hard", residual="none", gumbel_noise=0.0, later_tokens_std=0.02)
    plain, weighted = (ImageEncoder(replace(config, merge_weights=weights)).eval() for weights in ("tokens", "patches"))
    weighted.load_state_dict(plain.state_dict())
    images = torch.randn(2, 3, 16, 16)
    first, second = plain(images).stages[0], weighted(images).stages[0]
    torch.testing.assert_close(first.tokens, second.tokens)                     # patches all count as one
    torch.testing.assert_close(second.patches, second.grouping.hard.sum(dim=2))
    out = weighted(images)
    assert (out.stages[1].patches.sum(dim=1) == 16).all()                       # all patches are somewhere
    assert not torch.allclose(plain(images).stages[1].tokens, out.stages[1].tokens)
    # Nor does an empty one count in the feature of the picture.
    used = out.stages[1].patches > 0
    expected = torch.stack([tokens[own].mean(dim=0) for tokens, own in zip(out.segment_tokens, used)])
    torch.testing.assert_close(out.feature, expected)
    assert not used.all() and torch.equal(plain(images).feature, plain(images).segment_tokens.mean(dim=1))
    # A segment without patches has no part in what is merged, whatever it is.
    grouping, tokens = weighted.stages[1].grouping, torch.randn(1, 5, 16)
    weights = torch.tensor([[3.0, 0.0, 2.0, 0.0, 1.0]])
    merged = grouping.assign(torch.ones(1, 3, 5) * weights[:, None], tokens)
    other = tokens + torch.randn(1, 5, 16) * (weights == 0)[..., None]
    torch.testing.assert_close(grouping.assign(torch.ones(1, 3, 5) * weights[:, None], other), merged)


def test_each_residual_convolution_lets_a_token_see_one_patch_further() -> None:
    def seen(depth: int) -> int:
        stem = ConvolutionStem(16, 4, depth).double().eval()
        image = torch.randn(1, 3, 48, 48, dtype=torch.float64, requires_grad=True)
        stem(image)[0, :, 6, 6].abs().sum().backward()
        rows = image.grad[0].abs().sum((0, 2)).nonzero()
        return int(rows.max() - rows.min()) + 1

    assert [seen(depth) for depth in (0, 1, 2)] == [10, 10 + 2 * 4, 10 + 4 * 4]


def test_residual_convolutions_need_a_stem_of_convolutions() -> None:
    with pytest.raises(ValueError, match="stem_depth .* 2 with stem='linear'; take 0, or stem='convolution'"):
        replace(TINY, stem_depth=2)


def test_values_from_before_the_blocks_are_merged_under_the_same_assignment() -> None:
    torch.manual_seed(0)
    after = ImageEncoder(replace(TINY, assignment="soft", residual="none", later_tokens_std=0.02)).eval()
    before = ImageEncoder(replace(TINY, assignment="soft", residual="none", merged_values="before")).eval()
    before.load_state_dict(after.state_dict())
    assert after.stages[1].group_tokens.std() > 0
    images = torch.randn(2, 3, 16, 16)
    one, other = after(images), before(images)
    torch.testing.assert_close(one.groupings[0].soft, other.groupings[0].soft)
    # By hand: the first stage's segments are made of the patches as they came in.
    block, (patches, _) = before.stages[0].grouping, before.patch_embed(images)
    values = block.assign(other.groupings[0].soft, block.norm_x(patches))
    torch.testing.assert_close(other.stages[0].tokens, values + block.mlp_channels(block.norm_new_x(values)))
    assert not torch.allclose(one.stages[0].tokens, other.stages[0].tokens, atol=1e-6)


def test_without_blocks_before_and_after_are_the_same() -> None:
    torch.manual_seed(0)
    config = replace(TINY, depths=(0, 0, 1))
    encoder, images = ImageEncoder(config).eval(), torch.randn(1, 3, 16, 16)
    other = ImageEncoder(replace(config, merged_values="before")).eval()
    other.load_state_dict(encoder.state_dict())
    torch.testing.assert_close(encoder(images).feature, other(images).feature)
