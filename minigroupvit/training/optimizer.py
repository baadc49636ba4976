"""AdamW with decay where it belongs; learning rate and temperature of each step."""

from __future__ import annotations

import math

import torch
from torch import nn

# Positions, group tokens, text embeddings and temperatures are no weights of a product: pulling
# them to zero makes no sense. The released code decays all but 1-D tensors and biases, and with
# that also the 0-D temperatures, which it surely did not mean.
_NO_DECAY = ("positions", "group_tokens", "residual_tokens", "token_embedding", "logit_scale")


def decays(name: str, parameter: torch.Tensor) -> bool:
    """Whether weight decay applies: not to norms, biases, tokens, positions, temperatures."""
    return parameter.ndim >= 2 and not any(part in name for part in _NO_DECAY)


def make_optimizer(model: nn.Module, lr: float, weight_decay: float) -> torch.optim.AdamW:
    """AdamW, betas 0.9 and 0.999, in two groups: with decay and without."""
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    groups = [{"params": [p for n, p in named if decays(n, p)], "weight_decay": weight_decay},
              {"params": [p for n, p in named if not decays(n, p)], "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.999))


def learning_rate(step: int, steps: int, lr: float, warmup: int, min_lr: float) -> float:
    """Linear warm-up over `warmup` steps, then half a cosine down to `min_lr` at the end."""
    if step < warmup:
        return lr * (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return min_lr + (lr - min_lr) * (1 + math.cos(math.pi * min(1.0, progress))) / 2


def assignment_temperature(step: int, steps: int, first: float, last: float, until: float = 1.0) -> float:
    """Temperature of the softmax over groups: from `first` to `last`, by equal factors, then `last`.

    `until` is the share of the steps at which it has arrived. Falling slowly, a soft assignment
    turns into a hard one without a jump.
    """
    progress = min(1.0, step / max(1.0, until * steps))
    return first * (last / first) ** progress
