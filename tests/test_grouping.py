"""Assignment functions and the grouping block."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor

from minigroupvit.grouping import (
    Grouping,
    GroupingBlock,
    TokenMixer,
    gumbel_noise,
    hard_assignment,
    merge,
    one_hot_largest,
    soft_assignment,
    straight_through,
)

# B batch  G groups  N tokens  D width


@st.composite
def logits(draw) -> Tensor:
    """Logits (B, G, N) of any size, from nearly equal to saturated."""
    shape = [draw(st.integers(1, 5)) for _ in range(3)]
    size = draw(st.sampled_from([0.0, 1e-3, 1.0, 30.0, 1e4]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    return size * torch.randn(shape, generator=generator)


@settings(deadline=None)
@given(logits(), st.sampled_from([0.1, 1.0, 5.0]))
def test_soft_assignments_sum_to_one_over_the_groups(logits: Tensor, temperature: float) -> None:
    soft = soft_assignment(logits, temperature)
    assert soft.shape == logits.shape and (soft >= 0).all()
    torch.testing.assert_close(soft.sum(dim=1), torch.ones(soft.shape[0], soft.shape[2]))


@settings(deadline=None)
@given(logits(), st.sampled_from([0.0, 1.0]))
def test_hard_assignments_are_one_hot_over_the_groups(logits: Tensor, noise: float) -> None:
    hard = hard_assignment(logits, noise=noise)
    torch.testing.assert_close(hard.sum(dim=1), torch.ones(hard.shape[0], hard.shape[2]))
    torch.testing.assert_close(hard.amax(dim=1), torch.ones(hard.shape[0], hard.shape[2]))
    if noise == 0:
        torch.testing.assert_close(hard, one_hot_largest(logits))


@settings(deadline=None)
@given(logits())
def test_one_hot_takes_the_largest_and_one_of_equals(logits: Tensor) -> None:
    hot = one_hot_largest(logits)
    assert ((hot == 0) | (hot == 1)).all() and (hot.sum(dim=1) == 1).all()
    torch.testing.assert_close((hot * logits).sum(dim=1), logits.amax(dim=1))


def test_temperature_divides_the_logits() -> None:
    logits = torch.tensor([[[1.0], [3.0]]])
    share = 1 / (1 + math.exp(-(3 - 1) / 0.5))
    assert soft_assignment(logits, 0.5)[0, 1, 0].item() == pytest.approx(share)


def test_straight_through_is_one_hot_with_the_gradient_of_the_softmax() -> None:
    logits = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(2, 3, 4, dtype=torch.float64)
    soft = soft_assignment(logits)
    for hard in (straight_through(soft), hard_assignment(logits)):
        torch.testing.assert_close(hard, one_hot_largest(soft))
        ours, = torch.autograd.grad((hard * weights).sum(), logits, retain_graph=True)
        expected, = torch.autograd.grad((soft * weights).sum(), logits, retain_graph=True)
        torch.testing.assert_close(ours, expected, rtol=0, atol=1e-15)
        assert ours.abs().max() > 0.01


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_gumbel_noise(dtype: torch.dtype) -> None:
    noise = gumbel_noise(torch.empty(200_000, dtype=dtype))
    assert noise.dtype == dtype and noise.isfinite().all()
    noise = noise.double()
    assert noise.mean().item() == pytest.approx(0.5772, abs=0.02)       # Euler's constant
    assert noise.var().item() == pytest.approx(math.pi**2 / 6, rel=0.03)
    assert (noise < 0).double().mean().item() == pytest.approx(math.exp(-1), abs=0.01)


def test_noise_draws_groups_from_the_softmax() -> None:
    logits = torch.tensor([2.0, 1.0, 0.0]).view(1, 3, 1).expand(1, 3, 100_000)
    frequencies = hard_assignment(logits, noise=1.0).mean(dim=2)[0]
    torch.testing.assert_close(frequencies, logits[0, :, 0].softmax(0), rtol=0, atol=0.01)
    half = hard_assignment(logits, noise=0.5).mean(dim=2)[0]  # half the noise: twice as sure
    torch.testing.assert_close(half, (2 * logits[0, :, 0]).softmax(0), rtol=0, atol=0.01)


def test_merge_by_hand() -> None:
    values = torch.tensor([[[2.0, 0.0], [4.0, 1.0], [6.0, 2.0]]])       # (1, 3, 2)
    assignment = torch.tensor([[[1.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]])
    expected = torch.tensor([[[6 / 3, 1 / 3], [6 / 2, 2 / 2], [0.0, 0.0]]])  # the empty group: zero
    torch.testing.assert_close(merge(assignment, values), expected)


def test_an_ungrouped_token_is_a_segment_of_tokens_like_it() -> None:
    torch.manual_seed(0)
    block = GroupingBlock(8, 2, 1, 1, assignment="soft", residual="none").eval()
    token = torch.randn(2, 1, 8)
    # A merge divides by the number of tokens + 1: a thousand equal tokens are one, but for a thousandth.
    segments, _ = block(token.expand(-1, 1000, -1), torch.randn(2, 1, 8))
    torch.testing.assert_close(block.ungrouped(token), segments, rtol=0, atol=1e-2)
    tokens = torch.randn(2, 5, 8)
    torch.testing.assert_close(block.ungrouped(tokens)[:, 3:4], block.ungrouped(tokens[:, 3:4]))


def test_an_empty_group_has_finite_gradients() -> None:
    assignment = torch.zeros(1, 2, 3, requires_grad=True)
    merge(assignment, torch.randn(1, 3, 4)).square().sum().backward()
    assert assignment.grad.isfinite().all()


def test_token_mixer_treats_each_channel_alike() -> None:
    mixer = TokenMixer(5, 3, width=8)
    tokens = torch.randn(2, 5, 8)
    order = torch.randperm(8)
    torch.testing.assert_close(mixer(tokens)[..., order], mixer(tokens[..., order]))
    assert mixer(tokens).shape == (2, 3, 8)


def make_block(**choices) -> GroupingBlock:
    return GroupingBlock(16, 2, num_group_tokens=6, num_output_groups=4, **choices)


@pytest.mark.parametrize("residual", ["projected", "learned", "none"])
@pytest.mark.parametrize("assignment", ["hard", "soft"])
def test_permuting_the_batch_permutes_the_result(assignment: str, residual: str) -> None:
    block = make_block(assignment=assignment, residual=residual).eval()
    tokens, group_tokens, order = torch.randn(5, 9, 16), torch.randn(5, 6, 16), torch.randperm(5)
    segments, grouping = block(tokens, group_tokens)
    permuted, permuted_grouping = block(tokens[order], group_tokens[order])
    torch.testing.assert_close(permuted, segments[order], rtol=0, atol=1e-5)
    torch.testing.assert_close(permuted_grouping.soft, grouping.soft[order], rtol=0, atol=1e-5)
    assert segments.shape == (5, 4, 16)


def test_permuting_the_tokens_permutes_the_assignment_and_keeps_the_segments() -> None:
    block = make_block(assignment="soft").eval()
    tokens, group_tokens, order = torch.randn(2, 9, 16), torch.randn(2, 6, 16), torch.randperm(9)
    segments, grouping = block(tokens, group_tokens)
    permuted, permuted_grouping = block(tokens[:, order], group_tokens)
    torch.testing.assert_close(permuted, segments, rtol=0, atol=1e-5)
    torch.testing.assert_close(permuted_grouping.soft, grouping.soft[..., order], rtol=0, atol=1e-5)


def test_noise_only_in_training_and_never_in_what_is_returned() -> None:
    block = make_block(noise=3.0)
    given = torch.randn(2, 9, 16), torch.randn(2, 6, 16)
    (first, in_training), (second, _) = block(*given), block(*given)
    assert not torch.equal(first, second)
    block.eval()
    (first, in_evaluation), (second, _) = block(*given), block(*given)
    assert torch.equal(first, second)
    torch.testing.assert_close(in_training.soft, in_evaluation.soft)
    torch.testing.assert_close(in_evaluation.hard, one_hot_largest(in_evaluation.soft))


@pytest.mark.parametrize("straight_through", [True, False])
def test_without_straight_through_no_gradient_of_the_segments_reaches_the_assignment(straight_through: bool) -> None:
    torch.manual_seed(0)
    block = GroupingBlock(8, 2, 4, 3, assignment="hard", noise=0.0, residual="none", straight_through=straight_through)
    segments, grouping = block(torch.randn(2, 5, 8), torch.randn(2, 4, 8))
    segments.square().sum().backward(retain_graph=True)
    keys = block.assign.k_proj.weight
    assert (keys.grad is not None and keys.grad.abs().max().item() > 0) == straight_through
    assert block.assign.v_proj.weight.grad.abs().max() > 0
    grouping.soft[:, 0].sum().backward()
    assert keys.grad.abs().max() > 0


def test_no_noise_means_none() -> None:
    block = make_block(noise=0.0)
    given = torch.randn(2, 9, 16), torch.randn(2, 6, 16)
    torch.testing.assert_close(block(*given)[0], block.eval()(*given)[0])


def test_assignment_in_half_precision_has_single_precision_logits() -> None:
    block = make_block()
    tokens, groups = torch.randn(1, 9, 16), torch.randn(1, 4, 16)
    with torch.autocast("cpu", torch.bfloat16):
        assert block.assign.logits(groups, tokens).dtype == torch.float32
        segments, grouping = block(tokens, torch.randn(1, 6, 16))
    assert grouping.soft.dtype == torch.float32 and segments.isfinite().all()


@pytest.mark.parametrize("call, message", [
    (lambda: GroupingBlock(64, 4, 8, 4, assignment="softt"), "assignment is 'softt'; choose one of 'hard', 'soft'"),
    (lambda: GroupingBlock(64, 4, 8, 4, residual="project"), "residual is 'project'; choose one of 'projected'"),
    (lambda: GroupingBlock(64, 5, 8, 4), "the width a multiple of the heads"),
    (lambda: GroupingBlock(64, 4, 0, 4), "num_group_tokens 0"),
    (lambda: soft_assignment(torch.zeros(4, 5)), r"expected logits \(B, G, N\), got a tensor of shape \(4, 5\)"),
    (lambda: soft_assignment(torch.zeros(1, 4, 5), temperature=0.0), "temperature is 0.0"),
    (lambda: hard_assignment(torch.zeros(1, 4, 5), noise=-1.0), "noise is -1.0"),
    (lambda: merge(torch.zeros(2, 4, 5), torch.zeros(2, 6, 8)), "B and N must be the same"),
    (lambda: GroupingBlock(64, 4, 8, 4)(torch.zeros(2, 9, 32), torch.zeros(2, 8, 64)),
     r"tokens \(B, N, D\) of width D = 64"),
    (lambda: GroupingBlock(64, 4, 8, 4)(torch.zeros(2, 9, 64), torch.zeros(2, 7, 64)),
     "expected 8 group tokens for each of 2"),
])
def test_each_part_checks_its_input(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_the_hard_assignment_is_computed_on_demand() -> None:
    soft = torch.tensor([[[0.2, 0.7, 0.6], [0.8, 0.3, 0.4]]], requires_grad=True)     # (1, 2, 3)
    grouping = Grouping(soft)
    assert set(vars(grouping)) == {"soft"}
    assert grouping.hard.tolist() == [[[0, 1, 1], [1, 0, 0]]] and not grouping.hard.requires_grad
