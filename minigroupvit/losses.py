"""The two losses: image with caption, and image with the nouns of its caption (Section 3.3).

Both are contrastive: of all texts in the batch an image finds its own, and a text its image.

In several processes the batch is that of all of them: features are gathered with gradients,
each process computes the rows of its own images and texts, and the mean over the processes is
the loss of one process on the whole batch. In one process nothing here needs torch.distributed.

B images of this process  A images of all processes  K prompts per image  C channels

Difference to the paper: Eq. 7 sums over the K positives inside the logarithm; the released code
and this one use soft targets of 1 / K, halve the two directions, and give the multi-label loss
a temperature of its own.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor


def _rank_and_size() -> tuple[int, int]:
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def gather(features: Tensor) -> Tensor:
    """The rows of all processes, first process first, with gradients: (B, ...) -> (A, ...)."""
    if _rank_and_size()[1] == 1:
        return features
    import torch.distributed.nn  # only here: not every build of torch has it

    return torch.cat(torch.distributed.nn.all_gather(features.contiguous()))


def cosines(a: Tensor, b: Tensor) -> Tensor:
    """All products of unit vectors a (N, C) and b (M, C): (N, M).

    Outside of autocast: times a scale of 100, bf16 would round them to halves.
    """
    with torch.autocast(a.device.type, enabled=False):
        return a @ b.T


def image_text_loss(images: Tensor, texts: Tensor, scale: Tensor | float) -> Tensor:
    """Symmetric contrastive loss of images (B, C) and their captions (B, C), unit vectors.

    ½ (CE(s z tᵀ, own) + CE(s t zᵀ, own)), Eq. 6. `scale` s is the inverse temperature.
    """
    B = images.shape[0]
    own = torch.arange(B, device=images.device) + _rank_and_size()[0] * B
    image_to_text = scale * cosines(images, gather(texts))             # (B, A)
    text_to_image = scale * cosines(texts, gather(images))             # (B, A)
    return (F.cross_entropy(image_to_text, own) + F.cross_entropy(text_to_image, own)) / 2


def multi_label_loss(images: Tensor, prompts: Tensor, scale: Tensor | float) -> Tensor:
    """Contrastive loss of images (B, C) and their K prompted nouns (B, K, C), unit vectors.

    An image shares its target among its K prompts out of all A · K; each prompt looks for its
    one image. Mean of the two directions, Eq. 7 as released.
    """
    B, K, C = prompts.shape
    own = torch.arange(B, device=images.device) + _rank_and_size()[0] * B
    all_prompts = gather(prompts).reshape(-1, C)                      # (A·K, C)
    log_p = F.log_softmax(scale * cosines(images, all_prompts), dim=-1)    # (B, A·K)
    positions = own[:, None] * K + torch.arange(K, device=images.device)   # (B, K)
    image_to_text = -log_p.gather(1, positions).mean()                # targets of 1 / K
    text_to_image = F.cross_entropy(
        scale * cosines(prompts.reshape(-1, C), gather(images)), own.repeat_interleave(K))
    return (image_to_text + text_to_image) / 2
