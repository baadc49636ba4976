"""AdamW with decay where it belongs, and its state in a checkpoint; learning rate and temperature of each step."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

# Positions, group tokens, text embeddings and temperatures are no weights of a product: pulling
# them to zero makes no sense. The released code decays all but 1-D tensors and biases, and with
# that also the 0-D temperatures, which it surely did not mean.
_NO_DECAY = ("positions", "group_tokens", "residual_tokens", "token_embedding", "logit_scale")


def decays(name: str, parameter: torch.Tensor) -> bool:
    """Whether weight decay applies: not to norms, biases, tokens, positions, temperatures."""
    return parameter.ndim >= 2 and not any(part in name for part in _NO_DECAY)


def make_optimizer(model: nn.Module, lr: float, weight_decay: float, text_lr: float = 1.0) -> torch.optim.AdamW:
    """AdamW, betas 0.9 and 0.999, in groups: with decay and without, of images and of texts.

    Each group's "share" is its part of the learning rate: `text_lr` for text encoder and text head, 1 for the rest.
    """
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    groups = [{"params": [p for n, p in named if decays(n, p) == decay and n.startswith("text_") == of_texts],
               "weight_decay": weight_decay * decay, "share": text_lr if of_texts else 1.0}
              for of_texts in (False, True) for decay in (True, False)]
    groups = [group for group in groups if group["params"]]
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


def optimizer_tensors(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, Tensor]:
    """The optimizer's state for a checkpoint, by what it is of each parameter: `exp_avg.NAME` and so on."""
    return {f"{key}.{name}": value for name, parameter in model.named_parameters()
            for key, value in optimizer.state.get(parameter, {}).items()}


def restore_optimizer(optimizer: torch.optim.Optimizer, model: nn.Module, tensors: dict[str, Tensor],
                      prefix: str) -> None:
    """Puts back what `optimizer_tensors` gave, from tensors whose names have a prefix."""
    for name, parameter in model.named_parameters():
        keys = [key for key in ("step", "exp_avg", "exp_avg_sq") if f"{prefix}{key}.{name}" in tensors]
        if keys:     # AdamW counts its steps on the CPU, whatever the device of the parameter
            optimizer.state[parameter] = {
                key: tensors[f"{prefix}{key}.{name}"].to("cpu" if key == "step" else parameter.device) for key in keys}
