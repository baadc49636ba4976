"""Captioned pictures, in memory, and the batches of training.

Everything random about step s of a run (which pictures, which caption of each, which nouns and
templates, flips) comes from (seed, s) alone. So a run that goes on from a checkpoint draws
exactly what the unbroken run would have drawn, without any state to save.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from datasets import Dataset
from PIL import Image
from torch import Tensor

from ..images import normalize, to_rgb
from ..prompts import prompts_from_nouns, tag_captions
from ..tokenizer import Tokenizer
from .captions import flip_caption


def caption_columns(dataset: Dataset) -> list[str]:
    """The columns that hold captions: caption, captions, text, or caption_0, caption_1, ..."""
    names = dataset.column_names
    for single in ("caption", "captions", "text"):
        if single in names:
            return [single]
    numbered = sorted(name for name in names if name.startswith("caption_"))
    if not numbered:
        raise ValueError(f"no column of captions among {', '.join(names)}; name it with captions=[...]")
    return numbered


@dataclass
class Batch:
    """What one training step sees."""

    images: Tensor              # (B, 3, H, W) normalised
    captions: list[str]         # B
    prompts: list[list[str]]    # B lists of K prompted nouns; K is 0 without the multi-label loss


class CaptionedImages:
    """Pictures (N, 3, H, W) uint8 of one size, each with one caption or several.

    Args:
        flip: mirror half of the pictures, with left and right swapped in their captions.
    """

    def __init__(self, images: Tensor, captions: Sequence[Sequence[str]], flip: bool = True) -> None:
        if images.ndim != 4 or images.shape[1] != 3 or images.dtype != torch.uint8:
            raise ValueError(f"expected uint8 pictures (N, 3, H, W), got {images.dtype} {tuple(images.shape)}")
        if len(images) != len(captions) or not len(images):
            raise ValueError(f"expected as many caption lists as pictures, got {len(captions)} for {len(images)}")
        for i, texts in enumerate(captions):
            if isinstance(texts, str):
                raise ValueError(f"picture {i} needs a list of captions, got the string {texts!r}; write [{texts!r}]")
            if not texts or not all(isinstance(t, str) and t.strip() for t in texts):
                raise ValueError(f"picture {i} has no usable caption: {list(texts)!r}; leave it out")
        self.images = images
        self.captions = [list(texts) for texts in captions]
        self.flip = flip
        self._nouns: dict[str, tuple[str, ...]] = {}

    @classmethod
    def from_dataset(cls, dataset: Dataset, image_size: int, image: str = "image",
                     captions: Sequence[str] | None = None, flip: bool = True) -> CaptionedImages:
        """Reads a `datasets.Dataset` of pictures and captions, resized to squares of `image_size`."""
        if image not in dataset.column_names:
            raise ValueError(f"no column {image!r}; the data set has {', '.join(dataset.column_names)}")
        columns = list(captions) if captions else caption_columns(dataset)
        pictures = torch.empty(len(dataset), 3, image_size, image_size, dtype=torch.uint8)
        for i, picture in enumerate(dataset[image]):
            picture = to_rgb(picture)
            if picture.size != (image_size, image_size):
                picture = picture.resize((image_size, image_size), Image.Resampling.BICUBIC)
            pictures[i] = torch.from_numpy(np.array(picture)).permute(2, 0, 1)
        texts: list[list[str]] = [[] for _ in range(len(dataset))]
        for column in columns:
            for found, value in zip(texts, dataset[column]):
                found += [value] if isinstance(value, str) else list(value or [])
        return cls(pictures, texts, flip)

    def __len__(self) -> int:
        return len(self.images)

    @property
    def all_captions(self) -> list[str]:
        return [caption for texts in self.captions for caption in texts]

    def tag(self, include_verbs: bool = False, progress: bool = False) -> None:
        """Finds the nouns of every caption, once, ahead of training."""
        texts = list(dict.fromkeys(self.all_captions))
        if self.flip:
            texts = list(dict.fromkeys(texts + [flip_caption(t) for t in texts]))
        self._nouns = dict(zip(texts, tag_captions(texts, include_verbs, progress)))

    def indices(self, step: int, batch_size: int, seed: int) -> np.ndarray:
        """Which pictures step `step` sees: each once an epoch, in an order of that epoch."""
        steps_per_epoch = len(self) // batch_size
        if not steps_per_epoch:
            raise ValueError(f"a batch of {batch_size} is larger than the data set of {len(self)}")
        epoch, position = divmod(step, steps_per_epoch)
        order = np.random.default_rng([seed, epoch]).permutation(len(self))
        return order[position * batch_size:(position + 1) * batch_size]

    def batch(self, step: int, batch_size: int, seed: int, num_prompts: int,
              templates: Sequence[str]) -> Batch:
        """The batch of a step; the same for the same arguments, always."""
        indices = self.indices(step, batch_size, seed)
        rng = random.Random(f"{seed} {step}")
        images = self.images[torch.from_numpy(indices)]
        captions = [rng.choice(self.captions[i]) for i in indices]
        if self.flip:
            flipped = [rng.random() < 0.5 for _ in indices]
            images = torch.where(torch.tensor(flipped)[:, None, None, None], images.flip(-1), images)
            captions = [flip_caption(c) if f else c for c, f in zip(captions, flipped)]
        if num_prompts and not self._nouns:
            self.tag()
        prompts = [prompts_from_nouns(c, self._nouns[c], num_prompts, templates, rng) if num_prompts else []
                   for c in captions]
        return Batch(normalize(images.float() / 255), captions, prompts)


def pack_texts(tokenizer: Tokenizer, batch: Batch) -> tuple[list[Tensor], Tensor]:
    """The texts of a batch for `GroupViT.encode_text`: equal texts once, cut to two lengths.

    Returns token ids of the captions and of the prompts, each padded to its own longest, and
    `spread` (B + B·K,): for each caption, then each prompt, which encoded text it is.
    """
    prompts = [p for texts in batch.prompts for p in texts]
    rows: dict[str, int] = {}
    for text in batch.captions:
        rows.setdefault(text, len(rows))
    num_captions = len(rows)
    for text in prompts:
        rows.setdefault(text, len(rows))
    texts = list(rows)
    ids = [tokenizer(part) for part in (texts[:num_captions], texts[num_captions:]) if part]
    return ids, torch.tensor([rows[text] for text in batch.captions + prompts])
