"""Attention, MLP and Transformer block: the parts of every Vision Transformer.

Pre-norm blocks as in ViT and the released code, x + attention(LN(x)), then x + MLP(LN(x)).
The names of the weights (`qkv`, `proj`, `fc1`, `fc2`) are those of the released checkpoint.

B batch  N tokens  M keys  H heads  D width
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def at_least_single(x: Tensor) -> Tensor:
    """Half precision to single; other types stay."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """softmax(q kᵀ / √d) v for q (B, H, N, d) and k, v (B, H, M, d): (B, H, N, d).

    `mask` (N, M) is added to the logits. In bf16 on a CPU this is written out in plain products: the fused kernel takes
    1.5 times as long there, and 1.4 to 4 times with its backward pass. In fp32 the fused kernel is the faster one
    (docs/speed.md).
    """
    if q.device.type == "cpu" and q.dtype == torch.bfloat16:
        logits = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)      # (B, H, N, M)
        if mask is not None:
            logits = logits + mask.to(logits.dtype)
        return logits.softmax(dim=-1).to(v.dtype) @ v
    return F.scaled_dot_product_attention(
        q, k, v, attn_mask=None if mask is None else mask.to(q.dtype))


class Attention(nn.Module):
    """Multi-head self-attention with one fused projection for queries, keys and values."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of x (B, N, D), each (B, H, N, D / H)."""
        B, N, D = x.shape
        qkv = self.qkv(x).view(B, N, 3, self.num_heads, D // self.num_heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)                # (B, H, N, D / H) each
        return q, k, v

    def weights(self, x: Tensor) -> Tensor:
        """Attention weights (B, H, N, N): how much each token attends to each other one; rows sum to 1. For figures."""
        q, k, _ = self.split(x)
        return (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(dim=-1)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        B, N, D = x.shape
        out = attend(*self.split(x), mask)                            # (B, H, N, D / H)
        return self.proj(out.transpose(1, 2).reshape(B, N, D))


class CrossAttention(nn.Module):
    """Multi-head attention from queries (B, N, D) to tokens (B, M, D)."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.proj = nn.Linear(width, width)

    def forward(self, queries: Tensor, tokens: Tensor) -> Tensor:
        B, N, D = queries.shape

        def heads(t: Tensor) -> Tensor:
            return t.view(B, -1, self.num_heads, D // self.num_heads).transpose(1, 2)

        out = attend(heads(self.q_proj(queries)), heads(self.k_proj(tokens)), heads(self.v_proj(tokens)))
        return self.proj(out.transpose(1, 2).reshape(B, N, D))


class QuickGELU(nn.Module):
    """x · sigmoid(1.702 x), CLIP's cheap GELU, used in the text encoder only."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


class MLP(nn.Module):
    """Linear, GELU, linear over the last axis. `activation` is exact GELU unless given."""

    def __init__(self, width: int, hidden: int, out: int | None = None,
                 activation: nn.Module | None = None) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.activation = activation or nn.GELU()
        self.fc2 = nn.Linear(hidden, out or width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.activation(self.fc1(x)))


class DropPath(nn.Module):
    """Stochastic depth: leaves out a whole residual branch for some images of a batch, at this rate from 0 to 1."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0.0:
            return x
        keep = torch.rand(x.shape[0], *[1] * (x.ndim - 1), device=x.device) >= self.rate
        return x * keep.to(x.dtype) / (1 - self.rate)


class Block(nn.Module):
    """A pre-norm Transformer block on (B, N, D)."""

    def __init__(self, width: int, num_heads: int, drop_path: float = 0.0,
                 activation: nn.Module | None = None) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = Attention(width, num_heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = MLP(width, 4 * width, activation=activation)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        x = x + self.drop_path(self.attn(self.norm1(x), mask))
        return x + self.drop_path(self.mlp(self.norm2(x)))
