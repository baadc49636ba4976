"""The grouping block: the one new idea of GroupViT (Section 3.1 of the paper).

Group tokens attend to the image, every image token is assigned to one group, and the tokens of
a group are merged into one segment token. With several stages, segments are grouped again.

B batch  N tokens that come in  T group tokens  G groups that go out  D width

Differences to the released code: the residual of the merge is a choice. The paper adds the
projected group tokens to the merged segments (`projected`). They have attended to the whole
image, so on small data the embedding of a segment can name an object that is elsewhere: `none` and
`learned` (one constant per group) prevent that. And the merged values may come from other tokens than
the assignment: see `GroupingBlock.forward`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .layers import MLP, CrossAttention, at_least_single


def gumbel_noise(like: Tensor) -> Tensor:
    """Gumbel(0, 1) noise: adding it and taking the largest draws from the softmax (Eq. 2)."""
    uniform = torch.rand_like(like, dtype=torch.float32 if like.dtype != torch.float64 else None)
    tiny = torch.finfo(uniform.dtype).tiny
    exponential = -torch.log(uniform.clamp_min(tiny))                 # above 0: uniform is below 1
    return -torch.log(exponential).to(like.dtype)


def one_hot_largest(assignment: Tensor) -> Tensor:
    """1 for the group with the largest share of each token, else 0. (B, G, N) -> (B, G, N)."""
    # On a CPU max is ten times as fast as argmax over an axis that is not the last; of equals both take the first.
    winner = assignment.detach().max(dim=1, keepdim=True).indices     # (B, 1, N)
    return torch.zeros_like(assignment).scatter_(1, winner, 1.0)


def straight_through(soft: Tensor) -> Tensor:
    """One-hot going forward, the gradient of the softmax going back (Eq. 4)."""
    return one_hot_largest(soft) - soft.detach() + soft


def soft_assignment(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """Softmax over the groups, not over the tokens: the groups compete for each token.

    logits (B, G, N) -> (B, G, N) that sums to 1 over G. Raises ValueError for another shape or a temperature
    that is not above 0.
    """
    _check("logits (B, G, N)", logits)
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature}; it divides the logits and must be above 0")
    return (logits / temperature).softmax(dim=1)


def hard_assignment(logits: Tensor, temperature: float = 1.0, noise: float = 0.0) -> Tensor:
    """Each token to one group, differentiable by the straight-through trick (Eq. 2 to 4).

    logits (B, G, N) -> (B, G, N), one-hot over G. `noise` scales the Gumbel noise: 1 in the
    paper's training, 0 in evaluation. Raises ValueError as `soft_assignment`, and for noise below 0.
    """
    if not noise >= 0:
        raise ValueError(f"noise is {noise}; it scales Gumbel noise and must be at least 0")
    if noise > 0:
        logits = logits + noise * gumbel_noise(logits)
    return straight_through(soft_assignment(logits, temperature))


def merge(assignment: Tensor, values: Tensor) -> Tensor:
    """Mean value of each group's tokens: (B, G, N), (B, N, D) -> (B, G, D) (Eq. 5).

    The + 1 (in the released code, not in the paper) keeps an empty group from dividing by zero. Raises
    ValueError where the assignment and the values are not of the same tokens.
    """
    _check("assignment (B, G, N)", assignment)
    _check("values (B, N, D)", values)
    if assignment.shape[0] != values.shape[0] or assignment.shape[2] != values.shape[1]:
        raise ValueError(f"assignment {tuple(assignment.shape)} is (B, G, N) and values {tuple(values.shape)} are "
                         "(B, N, D); B and N must be the same")
    return assignment @ values / (assignment.sum(dim=-1, keepdim=True) + 1)


def _check(what: str, tensor: Tensor) -> None:
    if tensor.ndim < 3:                           # tokens may still lie on their grid: (B, G, h, w)
        raise ValueError(f"expected {what}, got a tensor of shape {tuple(tensor.shape)}")


@dataclass
class Grouping:
    """The assignment of the tokens of one stage to its groups."""

    soft: Tensor  # (B, G, N) softmax over the groups, free of noise; masks are made of it

    @property
    def hard(self) -> Tensor:
        """(B, G, N) one-hot of the largest of `soft`, free of noise."""
        return one_hot_largest(self.soft)


class Assign(nn.Module):
    """Assignment attention with one head, then the merge."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = width ** -0.5
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.proj = nn.Linear(width, width)

    def logits(self, groups: Tensor, tokens: Tensor) -> Tensor:
        """Scaled dot product of each group (B, G, D) and each token (B, N, D): (B, G, N)."""
        # Half precision has too few digits for a softmax and its noise.
        return at_least_single(self.q_proj(groups) @ self.k_proj(tokens).transpose(-2, -1) * self.scale)

    def forward(self, assignment: Tensor, tokens: Tensor) -> Tensor:
        """Segments (B, G, D) of tokens (B, N, D) under an assignment (B, G, N)."""
        values = self.v_proj(tokens)                                  # (B, N, D)
        return self.proj(merge(assignment.to(values.dtype), values))


class TokenMixer(nn.Module):
    """MLP over the token axis: from T group tokens to G, each channel alike (MLP-Mixer)."""

    def __init__(self, num_in: int, num_out: int, width: int) -> None:
        super().__init__()
        self.mlp = MLP(num_in, width // 2, num_out)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.mlp(tokens.transpose(1, 2)).transpose(1, 2)       # (B, T, D) -> (B, G, D)


class CrossAttentionBlock(nn.Module):
    """Cross-attention from the groups to the tokens, and an MLP. No norm on its inputs, one on its output."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.attn = CrossAttention(width, num_heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = MLP(width, 4 * width)
        self.norm_post = nn.LayerNorm(width)

    def forward(self, groups: Tensor, tokens: Tensor) -> Tensor:
        groups = groups + self.attn(groups, tokens)                   # (B, G, D)
        groups = groups + self.mlp(self.norm2(groups))
        return self.norm_post(groups)


class GroupingBlock(nn.Module):
    """Groups tokens (B, N, D) by group tokens (B, T, D) into segments (B, G, D).

    Args:
        width: D.
        num_heads: heads of the cross-attention; the assignment itself has one.
        num_group_tokens: T.
        num_output_groups: G.
        assignment: "hard" (straight-through, Gumbel noise in training) or "soft".
        noise: scale of the Gumbel noise in training; 1 in the paper.
        temperature: of the softmax over groups; 1 in the paper.
        residual: what is added to the merged segments: "projected", "learned" or "none".
        straight_through: whether the loss of the segments has a gradient for a hard assignment, that of the soft
            one. Without it only losses of the soft assignment train it: those of areas and of similarity.
            An empty group is a vector close to zero, and layer norm makes its gradient hundreds of times larger.

    Raises ValueError for another assignment or residual, sizes below 1, and tokens of another width.
    """

    def __init__(self, width: int, num_heads: int, num_group_tokens: int, num_output_groups: int,
                 assignment: str = "hard", noise: float = 1.0, temperature: float = 1.0,
                 residual: str = "projected", straight_through: bool = True) -> None:
        super().__init__()
        for name, value, allowed in (("assignment", assignment, ("hard", "soft")),
                                     ("residual", residual, ("projected", "learned", "none"))):
            if value not in allowed:
                raise ValueError(f"{name} is {value!r}; choose one of {', '.join(map(repr, allowed))}")
        if min(width, num_heads, num_group_tokens, num_output_groups) < 1 or width % num_heads:
            raise ValueError(
                f"width {width}, num_heads {num_heads}, num_group_tokens {num_group_tokens} and num_output_groups "
                f"{num_output_groups} must be at least 1, and the width a multiple of the heads")
        self.assignment = assignment
        self.width = width
        self.num_group_tokens = num_group_tokens
        self.noise = noise
        self.temperature = temperature
        self.residual = residual
        self.straight_through = straight_through
        self.norm_tokens = nn.LayerNorm(width)                        # on the group tokens
        self.norm_x = nn.LayerNorm(width)                             # on the image tokens
        self.mlp_inter = TokenMixer(num_group_tokens, num_output_groups, width)
        self.norm_post_tokens = nn.LayerNorm(width)
        self.pre_assign_attn = CrossAttentionBlock(width, num_heads)
        self.assign = Assign(width)
        if residual == "learned":
            self.residual_tokens = nn.Parameter(torch.zeros(1, num_output_groups, width))
        self.norm_new_x = nn.LayerNorm(width)
        self.mlp_channels = MLP(width, 4 * width)

    def forward(self, tokens: Tensor, group_tokens: Tensor, merged: Tensor | None = None,
                weights: Tensor | None = None) -> tuple[Tensor, Grouping]:
        """tokens (B, N, D) and group tokens (B, T, D) to segments (B, G, D) and how they were grouped.

        `merged` (B, N, D): the tokens whose values are merged, None for `tokens` themselves as in the paper.
        The tokens before a stage's Transformer blocks depend on their own patch only: merged, they keep the
        content of a segment tied to its mask, while the assignment still comes from tokens that have seen the image.
        `weights` (B, N): how much each token counts in a merge, None for 1 as in the paper.
        """
        for what, given in (("tokens (B, N, D)", tokens), ("group_tokens (B, T, D)", group_tokens)):
            if given.ndim != 3 or given.shape[-1] != self.width:
                raise ValueError(f"expected {what} of width D = {self.width}, got {tuple(given.shape)}")
        if group_tokens.shape[:2] != (tokens.shape[0], self.num_group_tokens):
            raise ValueError(f"expected {self.num_group_tokens} group tokens for each of {tokens.shape[0]} images, got "
                             f"group_tokens {tuple(group_tokens.shape)}")
        groups = self.norm_tokens(group_tokens)                       # (B, T, D)
        tokens = self.norm_x(tokens)                                  # (B, N, D)
        merged = tokens if merged is None else self.norm_x(merged)    # (B, N, D)
        groups = self.norm_post_tokens(self.mlp_inter(groups))        # (B, G, D)
        groups = self.pre_assign_attn(groups, tokens)

        logits = self.assign.logits(groups, tokens)                   # (B, G, N)
        soft = soft_assignment(logits, self.temperature)
        if self.assignment == "soft":
            assignment = soft
        else:
            assignment = hard_assignment(logits, self.temperature, self.noise if self.training else 0.0)
            assignment = assignment if self.straight_through else assignment.detach()
        share = assignment if weights is None else assignment * weights[:, None]
        segments = self.assign(share, merged)                         # (B, G, D)

        if self.residual == "projected":
            segments = segments + groups
        elif self.residual == "learned":
            segments = segments + self.residual_tokens
        segments = segments + self.mlp_channels(self.norm_new_x(segments))
        return segments, Grouping(soft)

    def ungrouped(self, tokens: Tensor) -> Tensor:
        """Every token as a segment of its own, the finest grouping there is: tokens to segments, (B, N, D) both.

        `tokens` are those that `forward` merges. For the loss of single patches; not in the paper.
        """
        segments = self.assign.proj(self.assign.v_proj(self.norm_x(tokens)))
        return segments + self.mlp_channels(self.norm_new_x(segments))
