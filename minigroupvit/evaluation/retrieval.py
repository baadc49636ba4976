"""Zero-shot retrieval: does a picture find its captions among all, and a caption its picture?

Recall@k is the share of the queries that have a right answer among the k nearest by cosine: of a
picture any of its captions, of a caption its one picture. It depends on how many there are to choose
from: metrics are usually given for 1,000 pictures with five captions each.

N pictures  M captions  C shared channels
"""

from __future__ import annotations

from math import comb
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..images import normalize
from ..model import GroupViT

if TYPE_CHECKING:
    from ..data.captioned.batches import CaptionedImages

RANKS = (1, 5, 10)


@torch.no_grad()
def embed_pairs(model: GroupViT, data: CaptionedImages, batch_size: int = 100) -> tuple[Tensor, Tensor, Tensor]:
    """Unit vectors of all pictures (N, C) and all their captions (M, C), and whose caption each is (M,)."""
    was_training = model.training
    model.eval()
    texts = data.all_captions
    images = [model.encode_image(normalize(part.to(model.device).float() / 255))[0].cpu()
              for part in data.images.split(batch_size)]
    captions = [model.encode_text(model.tokenizer(texts[i:i + batch_size]).to(model.device)).cpu()
                for i in range(0, len(texts), batch_size)]
    model.train(was_training)
    owner = torch.tensor([number for number, own in enumerate(data.captions) for _ in own])
    return torch.cat(images), torch.cat(captions), owner


def recall(images: Tensor, texts: Tensor, owner: Tensor, ranks: tuple[int, ...] = RANKS,
           chunk: int = 1000) -> dict[str, float]:
    """Recall@k in both directions, fractions from 0 to 1, and their mean `mean_recall`.

    Equal cosines count against the model: one that gives the same vector to everything finds nothing.

    Args:
        images, texts: unit vectors (N, C) and (M, C).
        owner: (M,) which picture each text belongs to; every picture has one text or more.
        ranks: the values of k.
        chunk: queries compared at a time, which bounds the memory.

    Raises:
        ValueError: a picture without a text.
    """
    if len(owner.unique()) != len(images):
        raise ValueError(f"{len(images)} pictures, but only {len(owner.unique())} of them have a text")
    before_text, before_image = [], []     # wrong answers that come before the first right one
    for start in range(0, len(images), chunk):
        scores = images[start:start + chunk] @ texts.T                                  # (n, M)
        own = owner == torch.arange(start, start + len(scores))[:, None]                # (n, M)
        best = scores.masked_fill(~own, -torch.inf).amax(dim=1, keepdim=True)           # (n, 1)
        before_text.append((~own & ~(scores < best)).sum(dim=1))    # "not below" counts NaN, too
    for start in range(0, len(texts), chunk):
        scores = texts[start:start + chunk] @ images.T                                  # (m, N)
        own = owner[start:start + chunk, None] == torch.arange(len(images))             # (m, N)
        before_image.append((~own & ~(scores < scores[own][:, None])).sum(dim=1))
    figures = {}
    for name, before in (("image_to_text", torch.cat(before_text)), ("text_to_image", torch.cat(before_image))):
        figures |= {f"{name}_recall_{k}": (before < k).double().mean().item() for k in ranks}
    return figures | {"mean_recall": sum(figures.values()) / len(figures)}


def chance_recall(owner: Tensor, ranks: tuple[int, ...] = RANKS) -> dict[str, float]:
    """What `recall` is on average for answers in random order."""
    counts, M = torch.bincount(owner).tolist(), len(owner)
    figures = {f"image_to_text_recall_{k}": sum(1 - comb(M - own, k) / comb(M, k) if k <= M else 1.0
                                                for own in counts) / len(counts) for k in ranks}
    figures |= {f"text_to_image_recall_{k}": min(1.0, k / len(counts)) for k in ranks}
    return figures | {"mean_recall": sum(figures.values()) / len(figures)}


def evaluate_retrieval(model: GroupViT, data: CaptionedImages) -> dict[str, float]:
    """Recall@1, 5, 10 of a model on captioned pictures, both directions, and how many there were."""
    images, texts, owner = embed_pairs(model, data)
    return recall(images, texts, owner) | {"num_images": len(images), "num_texts": len(texts)}
