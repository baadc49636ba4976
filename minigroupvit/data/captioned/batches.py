"""Captioned images in memory, and the batches of training.

Everything random about step s of a run (images, captions, nouns, templates, flips, augmentation) is drawn from
(seed, s) alone. So a resumed run draws exactly what the uninterrupted run would have drawn, without any saved state.

Three sources give the same `Batch`es: `CaptionedImages` here, `CaptionedFiles` for data sets that are too large for
the memory (on_disk.py), and `CaptionedStream` for those that are read from front to back (streamed.py). With several
processes each gives this process's part of a batch.
"""

from __future__ import annotations

import hashlib
import random
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ...distributed import rank_and_size
from ...extras import extra
from ...images import normalize, resize
from ...text.caption_tokenizer import Tokenizer
from ...text.prompts import nouns, prompts_from_nouns, tag_captions, warn_other_script
from ..scenes.captions import flip_caption
from .augment import Augmentation, augment, image_seeds
from .rows import join_neighbours, read_pictures
from .samples import KEY, Columns, Sample, Skipped, find_columns, read_samples, says_something

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset


FindNouns = Callable[[str], Sequence[str]]    # a caption to its nouns


@dataclass
class Batch:
    """The input of one training step."""

    images: Tensor              # (B, 3, H, W) normalised
    captions: list[str]         # B
    prompts: list[list[str]]    # B lists of K prompted nouns; K is 0 without the multi-label loss
    nouns: list[Sequence[str]]  # B: the nouns of each caption; empty without the multi-label loss


@dataclass
class DrawnTexts:
    """The texts that were drawn for a batch."""

    captions: list[str]
    prompts: list[list[str]]
    nouns: list[Sequence[str]]
    flipped: list[bool] | None  # which images are mirrored; None: none

    def part(self, part: slice) -> DrawnTexts:
        return DrawnTexts(self.captions[part], self.prompts[part], self.nouns[part],
                          self.flipped and self.flipped[part])


def own_part(batch_size: int) -> slice:
    """The part of a batch that this process takes: equal parts, in order of the ranks."""
    rank, size = rank_and_size()
    if batch_size % size:
        raise ValueError(f"a batch of {batch_size} cannot be shared evenly by {size} processes; take a multiple")
    return slice(rank * batch_size // size, (rank + 1) * batch_size // size)


class Captioned:
    """Base class of all sources: how texts are drawn, and how images and texts become a batch.

    Args:
        flip: whether images may be mirrored, with left and right swapped in their captions.
        skipped: counts rows that cannot be used.
        find_nouns: maps a caption to its nouns; None: `prompts.nouns`, for English captions.
    """

    def __init__(self, flip: bool = True, skipped: Skipped | None = None, find_nouns: FindNouns | None = None) -> None:
        self.flip = flip
        self.find_nouns = find_nouns
        self._first_texts = True
        self.skipped = Skipped() if skipped is None else skipped
        self._nouns: dict[str, tuple[str, ...]] = {}

    def tag(self, include_verbs: bool = False, progress: bool = False) -> None:
        """Finds the nouns of every caption before training, where all captions are in memory."""

    def fingerprint(self) -> dict[str, Any]:
        """Identifies the data, for JSON: numbers and short hashes; empty if nothing is known.

        A run stores it and resumes with the same data only (training/record.py).
        """
        return {}

    def _draw_texts(self, captions: Sequence[Sequence[str]], rng: random.Random, num_prompts: int,
                    templates: Sequence[str], flip: bool, own_nouns: Sequence[list[str] | None]) -> DrawnTexts:
        """One caption per image, and prompts with its nouns: those of the nouns column, else those in the caption."""
        chosen = [rng.choice(texts) for texts in captions]
        flipped = None
        if flip and self.flip:
            flipped = [rng.random() < 0.5 for _ in chosen]
            chosen = [flip_caption(c) if f else c for c, f in zip(chosen, flipped)]
        if num_prompts and self._first_texts and self.find_nouns is None and None in own_nouns:
            warn_other_script(chosen)
        self._first_texts = False
        found = [(self._nouns_in(c) if own is None else own) if num_prompts else ()
                 for c, own in zip(chosen, own_nouns)]
        prompts = [prompts_from_nouns(c, n, num_prompts, templates, rng) if num_prompts else []
                   for c, n in zip(chosen, found)]
        return DrawnTexts(chosen, prompts, found, flipped)

    def _nouns_in(self, caption: str) -> Sequence[str]:
        if caption in self._nouns:
            return self._nouns[caption]
        if self.find_nouns is None:
            return nouns(caption)
        found = self.find_nouns(caption)
        if isinstance(found, str) or not all(isinstance(noun, str) and noun.strip() for noun in found):
            raise ValueError(f"the function that finds nouns gave {found!r:.60} for the caption {caption!r:.60}; "
                             "expected a list of words")
        return tuple(found)

    def _finish(self, images: Tensor, texts: DrawnTexts, device: torch.device | str) -> Batch:
        """The batch of augmented images (B, 3, H, W) uint8 and their texts: flipped and normalised."""
        images = images.to(device)
        if texts.flipped is not None:
            flipped = torch.tensor(texts.flipped, device=device)
            images = torch.where(flipped[:, None, None, None], images.flip(-1), images)
        return Batch(normalize(images.float() / 255), texts.captions, texts.prompts, texts.nouns)


def short_hash(texts: Iterable[str]) -> str:
    """16 hexadecimal digits of a SHA-256 over texts and their order."""
    whole = hashlib.sha256()
    for text in texts:
        whole.update(f"{len(text)} {text}".encode("utf-8", "surrogatepass"))
    return whole.hexdigest()[:16]


def epoch_indices(count: int, step: int, batch_size: int, seed: int) -> np.ndarray:
    """The images of step `step` out of `count`: each once per epoch, in the random order of that epoch."""
    steps_per_epoch = count // batch_size
    if not steps_per_epoch:
        raise ValueError(f"a batch of {batch_size} is larger than the data set of {count} images; take a batch_size "
                         f"of at most {count}")
    epoch, position = divmod(step, steps_per_epoch)
    order = np.random.default_rng([seed, epoch]).permutation(count)
    return order[position * batch_size:(position + 1) * batch_size]


class CaptionedImages(Captioned):
    """Images (N, 3, H, W) uint8 of one size in memory, each with one caption or several.

    Args:
        flip, skipped, find_nouns: see `Captioned`.
        nouns: of each image, from a column of their own; None: they are in the captions.
        origin: identifies the images in `fingerprint`; None: a hash of their pixels. For computed images, whose
            last bit may differ between machines.
    """

    def __init__(self, images: Tensor, captions: Sequence[Sequence[str]], flip: bool = True,
                 skipped: Skipped | None = None, origin: str | None = None,
                 nouns: Sequence[list[str] | None] | None = None, find_nouns: FindNouns | None = None) -> None:
        super().__init__(flip, skipped, find_nouns)
        if images.ndim != 4 or images.shape[1] != 3 or images.dtype != torch.uint8:
            raise ValueError(f"expected uint8 images (N, 3, H, W), got {images.dtype} {tuple(images.shape)}")
        if len(images) != len(captions) or not len(images):
            raise ValueError(f"expected as many caption lists as images, got {len(captions)} for {len(images)}")
        for i, texts in enumerate(captions):
            if isinstance(texts, str):
                raise ValueError(f"image {i} needs a list of captions, got the string {texts!r:.60}; write "
                                 f"[{texts!r:.60}]")
            if not texts or not all(map(says_something, texts)):
                raise ValueError(f"image {i} has no usable caption: {list(texts)!r:.100}; leave it out")
        self.images = images
        self.captions = [list(texts) for texts in captions]
        self.nouns = [None] * len(images) if nouns is None else list(nouns)
        if len(self.nouns) != len(images):
            raise ValueError(f"expected a list of nouns for each of {len(images)} images, got {len(self.nouns)}")
        self.origin = origin

    @classmethod
    def from_dataset(cls, dataset: Dataset | IterableDataset, image_size: int, image: str | None = None,
                     captions: Sequence[str] | None = None, flip: bool = True,
                     max_skipped: float = 0.05, nouns: str | FindNouns | None = None) -> CaptionedImages:
        """Reads a `datasets.Dataset` of images and captions, resized to squares of `image_size`.

        Args:
            image, captions: names of the columns; see `find_columns`.
            max_skipped: share of the rows that may be unusable; they are left out and counted.
            nouns: the column that has them, or a function of a caption; see `open_captioned`.

        Raises:
            ValueError: no such column; too many rows without a readable image or a caption.
        """
        with extra("data"):
            import datasets

        column, find_nouns = column_or_function(nouns)
        dataset, columns = undecoded(dataset, image, captions, column)
        skipped = Skipped(max_skipped)
        if isinstance(dataset, datasets.Dataset):
            images = read_pictures(dataset, columns, skipped)
            samples = images.samples(image_size, lambda position, error: skipped.add(error, images.keys[position]))
        else:       # A stream has no random access; the rows of an image are assumed to follow each other.
            samples = read_samples(join_neighbours(dataset, columns), columns, image_size, skipped)
        return cls.from_samples(samples, None, flip, skipped, find_nouns)

    @classmethod
    def from_samples(cls, samples: Iterable[Sample], limit: int | None = None, flip: bool = True,
                     skipped: Skipped | None = None, find_nouns: FindNouns | None = None) -> CaptionedImages:
        """Reads the first samples (None: all) of another source into memory. Raises ValueError if there is none."""
        taken = list(islice(samples, limit))
        if skipped is not None:
            skipped.check(skipped.seen)
        if not taken:
            raise ValueError("the data set is empty" + (f"; {skipped.report()}" if skipped else ""))
        return cls(torch.stack([s.image for s in taken]), [s.captions for s in taken], flip, skipped,
                   nouns=[s.nouns for s in taken], find_nouns=find_nouns)

    def resized(self, image_size: int) -> CaptionedImages:
        """The same captioned images as squares of another size."""
        parts = [resize(part.float() / 255, (image_size, image_size)).mul(255).round().to(torch.uint8)
                 for part in self.images.split(500)]        # a part at a time: floats take four times the memory
        return CaptionedImages(torch.cat(parts), self.captions, self.flip, self.skipped, nouns=self.nouns,
                               find_nouns=self.find_nouns)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        return Sample(self.images[index], self.captions[index], self.nouns[index])

    @property
    def all_captions(self) -> list[str]:
        return [caption for texts in self.captions for caption in texts]

    def fingerprint(self) -> dict[str, Any]:
        """How many images, and hashes of their captions and pixels."""
        pixels = self.origin or f"{zlib.crc32(self.images.contiguous().numpy()):08x}"
        return {"pictures": len(self), "captions": hash_texts(zip(self.captions, self.nouns)), "files": pixels}

    def first_pictures(self, count: int) -> Tensor:
        """(count, 3, H, W) uint8, for the snapshots of a run."""
        return self.images[:count]

    def tag(self, include_verbs: bool = False, progress: bool = False) -> None:
        """Finds the nouns of every caption once, before training."""
        texts = list(dict.fromkeys(text for own, found in zip(self.captions, self.nouns) if found is None
                                   for text in own))
        if self.flip:
            texts = list(dict.fromkeys(texts + [flip_caption(t) for t in texts]))
        if self.find_nouns is None:
            self._nouns = dict(zip(texts, tag_captions(texts, include_verbs, progress)))
        else:
            self._nouns = {text: self._nouns_in(text) for text in texts}

    def batch(self, step: int, batch_size: int, seed: int, num_prompts: int, templates: Sequence[str],
              augmentation: Augmentation = Augmentation(), device: torch.device | str = "cpu") -> Batch:
        """The batch of a step, or this process's part; the same arguments always give the same batch."""
        indices, part = epoch_indices(len(self), step, batch_size, seed), own_part(batch_size)
        texts = self._draw_texts([self.captions[i] for i in indices], random.Random(f"{seed} {step}"), num_prompts,
                                 templates, augmentation.flip, [self.nouns[i] for i in indices]).part(part)
        seeds = image_seeds(batch_size, seed, step)[part]
        images = [augment(self.images[i], augmentation, own) for i, own in zip(indices[part], seeds)]
        return self._finish(torch.stack(images), texts, device)

    def batches(self, start: int, stop: int, batch_size: int, seed: int, num_prompts: int, templates: Sequence[str],
                augmentation: Augmentation = Augmentation(), device: torch.device | str = "cpu",
                folder: Path | None = None) -> Iterator[Batch]:
        """The batches of the steps from `start` on. `folder` of the run: not needed for images in memory."""
        for step in range(start, stop):
            yield self.batch(step, batch_size, seed, num_prompts, templates, augmentation, device)


def hash_texts(images: Iterable[tuple[list[str], list[str] | None]]) -> str:
    """`short_hash` over the captions and the nouns of each image."""
    return short_hash(text for captions, found in images for text in (*captions, *(found or ())))


def column_or_function(nouns: str | FindNouns | None) -> tuple[str | None, FindNouns | None]:
    """The source of nouns as (column, function of a caption); at most one of them is not None."""
    return (nouns, None) if isinstance(nouns, str) else (None, nouns)


def undecoded(dataset: Dataset | IterableDataset, image: str | None, captions: Sequence[str] | None,
              nouns: str | None = None) -> tuple[Dataset | IterableDataset, Columns]:
    """The data set with these columns and `KEY` alone, images not decoded, and its `Columns`.

    Images are decoded here and not by `datasets`: a broken image must not end the reading.
    """
    with extra("data"):
        from datasets import Image

    features = dataset.features
    names = list(dataset.column_names or ())
    columns = find_columns(names, image, captions, nouns)
    dataset = dataset.select_columns(list(dict.fromkeys([*columns.all, *([KEY] if KEY in names else [])])))
    if features is not None and isinstance(features[columns.image], Image):
        dataset = dataset.cast_column(columns.image, Image(decode=False))
    return dataset, columns


def shared_prompts(batch: Batch, templates: Sequence[str]) -> Tensor:
    """Which prompts of a batch are positives of which of its images: (B, B·K), True or False.

    A prompt is a positive of every image whose caption has its noun. A caption that fills the place of a missing noun
    is a positive of every image with that caption.
    """
    texts: dict[str, int] = {}
    which = torch.tensor([texts.setdefault(prompt, len(texts)) for own in batch.prompts for prompt in own])
    true = torch.zeros(len(batch.captions), len(texts), dtype=torch.bool)
    for image, (caption, found) in enumerate(zip(batch.captions, batch.nouns)):
        drawable = [caption, *(template.format(noun) for noun in found for template in templates)]
        true[image, [texts[text] for text in drawable if text in texts]] = True
    return true[:, which]


def pack_texts(tokenizer: Tokenizer, batch: Batch) -> tuple[list[Tensor], Tensor]:
    """The texts of a batch for `GroupViT.encode_text`: equal texts once, captions and prompts apart.

    Returns the token ids of the captions and of the prompts, each padded to its own longest text, and
    `spread` (B + B·K,): for each caption, then each prompt, the number of its encoded text.
    """
    texts = batch.captions + [prompt for prompts in batch.prompts for prompt in prompts]
    rows = {text: number for number, text in enumerate(dict.fromkeys(texts))}
    distinct, num_captions = list(rows), len(set(batch.captions))
    ids = [tokenizer(part) for part in (distinct[:num_captions], distinct[num_captions:]) if part]
    return ids, torch.tensor([rows[text] for text in texts])
