"""Training on small cards: what the backward pass needs is computed again instead of kept.

The contrastive losses need the features of the whole batch at once, and the backward pass of each feature needs all
that the encoder computed on the way to it. Only the features have to be there at once. `in_parts` keeps them alone,
and when their gradients are known the encoder computes one micro-batch after the other again. This is the gradient
cache of Gao et al. 2021 ("Scaling deep contrastive learning batch size under memory limited setup"). The gradient is
that of the whole batch, every text is a negative of every image, for one more forward pass.

`recomputed_blocks` does the same within an encoder, block by block (Chen et al. 2016, "Training deep nets with
sublinear memory cost"). In both, `torch.utils.checkpoint` keeps the state of the random numbers, so that noise and
drop-path are the same in both passes.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..layers import Block

Features = dict[str, list[Tensor]]    # by name, each of as many rows as the batch


def in_parts(encode: Callable[[Tensor], Features], inputs: Tensor, size: int) -> Features:
    """encode(inputs) of `size` rows at a time, of which only the features are kept; 0: all at once.

    Peak memory is that of the features of all rows and of everything else of one part.
    """
    if not size or len(inputs) <= size:
        return encode(inputs)
    parts = [checkpoint(encode, part, use_reentrant=False) for part in inputs.split(size)]
    return {name: [torch.cat(rows) for rows in zip(*(part[name] for part in parts))] for name in parts[0]}


def check_parts(encoder: nn.Module, size: int) -> None:
    """Raises ValueError for micro-batches where the encoder has BatchNorm, which would see one at a time."""
    names = [name for name, module in encoder.named_modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    if size and names:
        raise ValueError(
            f"micro_batch_size is {size}, but the image encoder has BatchNorm ({', '.join(names[:3])}"
            f"{' ...' if len(names) > 3 else ''}), which would normalise each micro-batch by itself, so the gradient "
            "would not be that of the whole batch; take micro_batch_size=0, or stem='linear' (heads may have BatchNorm)")


@contextmanager
def recomputed_blocks(model: nn.Module, enabled: bool = True):
    """Within it, every Transformer block keeps its input alone and computes the rest again in the backward pass."""
    blocks = [module for module in model.modules() if isinstance(module, Block)] if enabled else []
    for block in blocks:
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)
    try:
        yield
    finally:
        for block in blocks:
            del block.forward
