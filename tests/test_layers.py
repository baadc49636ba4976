"""Attention, MLP and blocks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from minigroupvit.layers import MLP, Attention, Block, CrossAttention, DropPath, QuickGELU, at_least_single, attend

# B batch  N tokens  M keys  H heads  D width  d width of a head


def slow_attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """One image, head and query at a time."""
    out = torch.empty_like(q)
    for b, h, n in torch.cartesian_prod(*(torch.arange(size) for size in q.shape[:3])).tolist():
        logits = torch.stack([q[b, h, n] @ key for key in k[b, h]]) / q.shape[-1] ** 0.5
        if mask is not None:
            logits = logits + mask[n]
        shares = logits.exp() / logits.exp().sum()
        out[b, h, n] = sum(share * value for share, value in zip(shares, v[b, h]))
    return out


@pytest.mark.parametrize("causal", [False, True])
def test_plain_and_fused_attention_are_the_same(causal: bool) -> None:
    q, k, v = (torch.randn(2, 3, n, 4, dtype=torch.float64, requires_grad=True) for n in (5, 5, 5))
    mask = torch.full((5, 5), float("-inf")).triu(1) if causal else None
    plain = attend(q, k, v, mask)
    with torch.no_grad():
        fused = attend(q, k, v, mask)
        slow = slow_attend(q, k, v, mask)
    assert plain.requires_grad and not fused.requires_grad
    torch.testing.assert_close(plain, slow, rtol=0, atol=1e-12)
    torch.testing.assert_close(fused, slow, rtol=0, atol=1e-12)


def test_a_causal_mask_hides_what_comes_later() -> None:
    block = Block(8, 2).eval()
    x = torch.randn(1, 5, 8)
    mask = torch.full((5, 5), float("-inf")).triu(1)
    changed = x.clone()
    changed[:, 3:] += 1
    torch.testing.assert_close(block(x, mask)[:, :3], block(changed, mask)[:, :3])
    assert not torch.allclose(block(x, mask)[:, 3:], block(changed, mask)[:, 3:])


def test_attention_weights_are_those_that_forward_uses() -> None:
    attention = Attention(8, 2).double()
    x = torch.randn(3, 5, 8, dtype=torch.float64)
    weights = attention.weights(x)                                    # (3, 2, 5, 5)
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(3, 2, 5, dtype=torch.float64))
    values = attention.split(x)[2]                                    # (3, 2, 5, 4)
    out = attention.proj((weights @ values).transpose(1, 2).flatten(2))
    torch.testing.assert_close(attention(x), out)


def test_cross_attention_with_the_same_weights_is_self_attention() -> None:
    own, cross = Attention(8, 2), CrossAttention(8, 2)
    with torch.no_grad():
        for part, weight, bias in zip((cross.q_proj, cross.k_proj, cross.v_proj),
                                      own.qkv.weight.chunk(3), own.qkv.bias.chunk(3)):
            part.weight.copy_(weight), part.bias.copy_(bias)
    cross.proj = own.proj
    x = torch.randn(2, 5, 8)
    torch.testing.assert_close(cross(x, x), own(x))
    assert cross(x[:, :3], x).shape == (2, 3, 8)


def test_quick_gelu() -> None:
    x = torch.tensor([-1.0, 0.0, 2.0])
    torch.testing.assert_close(QuickGELU()(x), x / (1 + torch.exp(-1.702 * x)))


def test_mlp_sizes() -> None:
    assert MLP(4, 9)(torch.randn(2, 4)).shape == (2, 4)
    assert MLP(4, 9, out=3)(torch.randn(2, 4)).shape == (2, 3)


def test_drop_path_drops_whole_images_and_keeps_the_mean() -> None:
    dropped = DropPath(0.25)(torch.ones(20_000, 2, 3))
    per_picture = dropped.flatten(1)
    assert (per_picture == per_picture[:, :1]).all()
    assert dropped.unique().tolist() == pytest.approx([0.0, 1 / 0.75])
    assert (per_picture[:, 0] == 0).float().mean().item() == pytest.approx(0.25, abs=0.01)


def test_drop_path_does_nothing_in_evaluation_or_at_rate_zero() -> None:
    x = torch.randn(50, 3)
    assert torch.equal(DropPath(0.9).eval()(x), x) and torch.equal(DropPath(0.0)(x), x)


def test_a_block_drops_both_of_its_branches() -> None:
    block = Block(8, 2, drop_path=0.5)
    x = torch.randn(400, 3, 8)
    untouched = (block(x) == x).flatten(1).all(dim=1).float().mean().item()
    assert untouched == pytest.approx(0.25, abs=0.08)                 # half of a half


@pytest.mark.parametrize(("given", "expected"), [
    (torch.float16, torch.float32), (torch.bfloat16, torch.float32), (torch.float32, torch.float32),
    (torch.float64, torch.float64), (torch.uint8, torch.uint8)])
def test_half_precision_becomes_single_and_nothing_else_changes(given: torch.dtype, expected: torch.dtype) -> None:
    assert at_least_single(torch.ones(2, dtype=given)).dtype == expected
