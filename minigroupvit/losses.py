"""The two losses: image with caption, and image with the nouns of its caption (Section 3.2).

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
import torch.nn.functional as F
from torch import Tensor

from .distributed import gather, rank_and_size
from .layers import at_least_single


def cosines(a: Tensor, b: Tensor) -> Tensor:
    """All products of unit vectors a (N, C) and b (M, C): (N, M).

    Outside of autocast: times a scale of 100, bf16 would round them to halves.
    """
    with torch.autocast(a.device.type, enabled=False):
        return a @ b.T


def image_text_loss(images: Tensor, texts: Tensor, scale: Tensor | float) -> Tensor:
    """Symmetric contrastive loss of images (B, C) and their captions (B, C), unit vectors.

    ½ (CE(s z tᵀ, own) + CE(s t zᵀ, own)), Eq. 6. `scale` s is the inverse temperature. Raises ValueError where
    images and texts are not as many of the same width.
    """
    if images.ndim != 2 or images.shape != texts.shape:
        raise ValueError(f"expected images (B, C) and one text for each, (B, C); got {tuple(images.shape)} and "
                         f"{tuple(texts.shape)}")
    B = images.shape[0]
    own = torch.arange(B, device=images.device) + rank_and_size()[0] * B
    image_to_text = scale * cosines(images, gather(texts))             # (B, A)
    text_to_image = scale * cosines(texts, gather(images))             # (B, A)
    return (F.cross_entropy(image_to_text, own) + F.cross_entropy(text_to_image, own)) / 2


def likeness(images: Tensor, texts: Tensor, scale: Tensor | float, areas: Tensor | None = None) -> Tensor:
    """Logits of images and texts (M, C): scaled cosines (B, M) of whole images (B, C).

    Of segments (B, G, C) with their areas (B, G), shares of the image, the text counts as seen if
    a part of the image shows it: log Σ_g area_g exp(s cos_g), the mean over the image of the
    exponentials, which is close to the largest. So each segment has to be matched to the text by itself, and
    a name gains by covering all of its object. (Not in the paper, which compares whole images.)
    """
    if areas is None:
        return scale * cosines(images, texts)
    B, G, C = images.shape
    # Many images share a noun: equal texts are compared once.
    _, which = torch.unique(texts.detach(), dim=0, return_inverse=True)                 # (M,)
    rows = torch.arange(len(which), device=which.device)
    one_of_each = which.new_empty(int(which.max()) + 1).scatter_(0, which, rows)        # (M',)
    logits = scale * cosines(images.reshape(B * G, C), texts[one_of_each]).view(B, G, -1)   # (B, G, M')
    # A segment without area would be log 0; 1e-6 is far below one patch.
    return (logits + areas.clamp_min(1e-6).log()[:, :, None]).logsumexp(dim=1)[:, which]


def multi_label_loss(images: Tensor, prompts: Tensor, scale: Tensor | float, areas: Tensor | None = None,
                     positives: Tensor | None = None) -> Tensor:
    """Contrastive loss of images (B, C) and their K prompted nouns (B, K, C), unit vectors.

    An image shares its target among its K prompts out of all A · K; each prompt looks for its
    one image. Mean of the two directions, Eq. 7 as released. Segments (B, G, C) with areas (B, G)
    in place of images: see `likeness`.

    `positives` (A, A·K), True where a prompt is true of an image: targets are shared among all of them. Of 256
    captions many have a "cat", and to tell their images apart by that word is no use. (Not in the paper; as
    Khosla et al. 2020, "Supervised contrastive learning", and Yang et al. 2022, "Unified contrastive learning in
    image-text-label space", have it.) Raises ValueError where the images and the sets of prompts are not as many.
    """
    if prompts.ndim != 3 or len(images) != len(prompts) or images.shape[-1] != prompts.shape[-1]:
        raise ValueError(f"expected prompts (B, K, C), K for each of the images {tuple(images.shape)}; got "
                         f"{tuple(prompts.shape)}")
    if images.ndim != (2 if areas is None else 3) or (areas is not None and areas.shape != images.shape[:2]):
        raise ValueError("expected images (B, C), or segments (B, G, C) with their areas (B, G); got "
                         f"{tuple(images.shape)} and areas {None if areas is None else tuple(areas.shape)}")
    B, K, C = prompts.shape
    rank, size = rank_and_size()
    A = B * size
    if positives is None:
        own = torch.eye(B, dtype=torch.bool, device=images.device).repeat_interleave(K, dim=1)      # (B, B·K)
        of_images = F.pad(own, (rank * B * K, (size - 1 - rank) * B * K))     # (B, A·K)
        of_prompts = F.pad(own, (0, 0, rank * B, (size - 1 - rank) * B))      # (A, B·K)
    elif positives.shape == (A, A * K):
        of_images = positives[rank * B:(rank + 1) * B]
        of_prompts = positives[:, rank * B * K:(rank + 1) * B * K]
    else:
        raise ValueError(f"expected positives ({A}, {A * K}), a row for each image; got {tuple(positives.shape)}")
    logits = likeness(images, gather(prompts).reshape(-1, C), scale, areas)   # (B, A·K)
    image_to_text = _cross_entropy(logits, of_images)
    if size > 1:
        areas = None if areas is None else gather(areas)
        logits = likeness(gather(images), prompts.reshape(-1, C), scale, areas)     # (A, B·K)
    return (image_to_text + _cross_entropy(logits.T, of_prompts.T)) / 2


def _cross_entropy(logits: Tensor, positives: Tensor) -> Tensor:
    """Mean over the rows of -log of the probabilities of the positives, each of a row with the same weight."""
    positives = positives.to(logits.dtype)
    return F.cross_entropy(logits, positives / positives.sum(dim=-1, keepdim=True))


def similarity_loss(together: Tensor, similar: Tensor, weight: Tensor | float = 1.0) -> Tensor:
    """Similar pairs should share a group, dissimilar ones should not: Σ w (1 - t) / Σ w + Σ (1 - w) t / Σ (1 - w).

    Args:
        together: t, the probability that both of a pair are in one group, from 0 to 1.
        similar: w, how alike they are, from 0 to 1; same shape.
        weight: how much each pair counts.

    Without the second term everything collapses into one group. Not in the paper.
    """
    like, unlike = weight * similar, weight * (1 - similar)
    return ((like * (1 - together)).sum() / like.sum().clamp_min(1e-6)
            + (unlike * together).sum() / unlike.sum().clamp_min(1e-6))


def pixel_similarity_loss(soft: Tensor, images: Tensor, grid: tuple[int, int], sigma: float = 0.5) -> Tensor:
    """Neighbouring patches of similar mean colour should share a group of the first stage.

    The classical grouping that GroupViT replaces, as a second teacher beside the captions; a relative of
    the superpixel loss of SegCLIP (Luo et al. 2023). Not in the paper.

    Args:
        soft: assignment (B, G, h·w).
        images: (B, 3, H, W), normalised.
        grid: h, w.
        sigma: of w = exp(-|c - c'|² / 2σ²), in units of the normalised colours.
    """
    colours = F.adaptive_avg_pool2d(images.float(), grid)              # (B, 3, h, w)
    maps = soft.float().unflatten(-1, grid)                            # (B, G, h, w)
    together, similar = [], []
    for dy, dx in ((0, 1), (1, 0), (1, 1), (1, -1)):                   # right, below, both diagonals
        def pair(x: Tensor) -> tuple[Tensor, Tensor]:
            h, w = x.shape[-2:]
            left, right = max(0, -dx), w - max(0, dx)
            return x[..., :h - dy, left:right], x[..., dy:, left + dx:right + dx]

        one, other = pair(maps)
        together.append((one * other).sum(dim=1).flatten())
        one, other = pair(colours)
        similar.append((-(one - other).square().sum(dim=1) / (2 * sigma ** 2)).exp().flatten())
    return similarity_loss(torch.cat(together), torch.cat(similar))


def meaning_similarity_loss(soft: Tensor, segments: Tensor, areas: Tensor, margin: float = 0.85,
                            softness: float = 0.1) -> Tensor:
    """Segments that would get the same name should share a group of the next stage. From captions alone.

    The first stage has patches for segments: N of them in place of G. Not in the paper.

    Args:
        soft: assignment (B, G', G) of one stage's segments to the next stage's groups.
        segments: (B, G, C), unit vectors in the space shared with the texts; no gradient goes through them.
        areas: (B, G), shares of the image; a pair counts by the root of their product, so that two small
            objects count beside an object and its large background.
        margin, softness: similar is sigmoid((cosine - margin) / softness).
    """
    with torch.autocast(soft.device.type, enabled=False):
        soft, areas = soft.float(), areas.detach().float().sqrt()
        vectors = segments.detach().float()
        similar = torch.sigmoid((vectors @ vectors.transpose(1, 2) - margin) / softness)   # (B, G, G)
        together = soft.transpose(1, 2) @ soft                                              # (B, G, G)
        weight = areas[:, :, None] * areas[:, None, :]
        weight = weight * (1 - torch.eye(weight.shape[-1], device=weight.device))
        return similarity_loss(together, similar, weight)


def assignment_information(soft: Tensor) -> Tensor:
    """What a token's group tells about it, in nats: soft assignment (B, G, N) -> a number from 0 to log G.

    Of each image H(mean over its tokens) - mean of H(token), and the mean of that: largest if every
    token has made up its mind and all groups are in use in every image (Krause et al. 2010,
    "Discriminative clustering by regularized information maximization"). Not in the paper. Its
    negative as a loss keeps a second stage from merging everything into one group.
    """
    def entropy(shares: Tensor) -> Tensor:
        return -(shares * shares.clamp_min(1e-8).log()).sum(dim=1)

    soft = at_least_single(soft)
    return entropy(soft.mean(dim=2)).mean() - entropy(soft).mean()
