"""Captioned images that stay on the disk; worker processes decode them for each batch.

For data sets that do not fit into the memory (118,287 photographs of COCO at 224 x 224 take 18 GB). Steps, epochs and
texts are those of `CaptionedImages`: everything random is drawn from (seed, step), so a resumed run draws what the
uninterrupted one would have drawn. Random crops are taken from the image in its full size.

An image that cannot be read is replaced by the next readable one.
"""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from .augment import AUGMENTATIONS, Augmentation, augment, image_seeds
from .batches import (
    Batch,
    Captioned,
    FindNouns,
    column_or_function,
    epoch_indices,
    hash_texts,
    own_part,
    short_hash,
    undecoded,
)
from .rows import read_pictures
from .samples import Sample, Skipped, Unusable, read_picture, stored_as

if TYPE_CHECKING:
    from datasets import Dataset

_HASHED = 1000  # images in the fingerprint of a data set
_TRIES = 100   # unreadable images in a row at most


def worker_count(num_workers: int | None) -> int:
    """Worker processes that decode images; None: one per core, at most 8. 0: this process does it."""
    if num_workers is not None and num_workers < 0:
        raise ValueError(f"num_workers is {num_workers}; it must be at least 0")
    return min(8, os.cpu_count() or 1) if num_workers is None else num_workers


def ignore_interrupt(worker: int) -> None:
    """Ctrl-C reaches the workers too, but the training process stops by itself, after its step."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@dataclass
class DecodedImages:
    """The images of a batch from a worker."""

    images: Tensor                                # (B, 3, S, S) uint8
    positions: list[int]                          # of each image in the data set
    skipped: list[tuple[int, Unusable]]           # positions that could not be read


@dataclass
class Reader(torch.utils.data.Dataset):
    """Decodes and augments images in a worker. An item is (position, seed of the augmentation)."""

    rows: Dataset
    image: str                   # the column of images
    image_size: int
    augmentation: Augmentation

    def __len__(self) -> int:
        return len(self.rows)

    def __getitems__(self, items: list[tuple[int, int]]) -> DecodedImages:
        images, positions, skipped = [], [], []
        for wanted, seed in items:
            for position in range(wanted, wanted + min(_TRIES, len(self))):
                position %= len(self)
                try:
                    picture = read_picture(self.rows[position][self.image])
                except Unusable as error:
                    skipped.append((position, error))
                    continue
                images.append(augment(picture, self.augmentation, seed, self.image_size))
                positions.append(position)
                break
        # Fewer than asked for after _TRIES unreadable images in a row; the training process then stops.
        return DecodedImages(torch.stack(images) if images else torch.empty(0), positions, skipped)


def as_it_is(loaded: Any) -> Any:
    """In place of DataLoader's collating: a worker gives whole batches."""
    return loaded


class CaptionedFiles(Captioned):
    """A `datasets.Dataset` of captioned images, read from the disk while training.

    Args:
        dataset: memory-mapped Arrow, or the paths of files.
        image_size: pixels per side of the batches' images.
        image, captions: names of the columns; see `find_columns`.
        flip: see `Captioned`.
        num_workers: see `worker_count`.
        max_skipped: share of the rows that may be unusable.
        nouns: the column that has them, or a function of a caption; see `open_captioned`.

    Raises:
        ValueError: no such column; too many rows without a caption.
    """

    def __init__(self, dataset: Dataset, image_size: int, image: str | None = None,
                 captions: Sequence[str] | None = None, flip: bool = True, num_workers: int | None = None,
                 max_skipped: float = 0.05, nouns: str | FindNouns | None = None) -> None:
        column, find_nouns = column_or_function(nouns)
        super().__init__(flip, Skipped(max_skipped), find_nouns)
        self.image_size, self.num_workers = image_size, worker_count(num_workers)
        pictures = read_pictures(*undecoded(dataset, image, captions, column), self.skipped)
        self.skipped.check(self.skipped.seen)
        if not pictures.keys:
            raise ValueError(f"the data set is empty; {self.skipped.report()}")
        self.pictures, self.captions, self.nouns = pictures, pictures.captions, pictures.nouns
        self._broken: set[int] = set()

    def __len__(self) -> int:
        return len(self.captions)

    def __iter__(self) -> Iterator[Sample]:
        """Every sample once, in order."""
        yield from self.pictures.samples(self.image_size, self._skip)

    @property
    def all_captions(self) -> list[str]:
        return [caption for texts in self.captions for caption in texts]

    def fingerprint(self) -> dict[str, Any]:
        """The number of images, hashes of their captions, and of at most 1,000 stored images, evenly spread."""
        spread = range(0, len(self), -(-len(self) // _HASHED))
        stored = (stored_as(self.pictures.stored[position][self.pictures.image]) for position in spread)
        return {"pictures": len(self), "captions": hash_texts(zip(self.captions, self.nouns)),
                "files": short_hash(stored)}

    def first_pictures(self, count: int) -> Tensor:
        """(count, 3, S, S) uint8, for the snapshots of a run."""
        reader = Reader(self.pictures.stored, self.pictures.image, self.image_size, AUGMENTATIONS["none"])
        return reader.__getitems__([(i, 0) for i in range(min(count, len(self)))]).images

    def batches(self, start: int, stop: int, batch_size: int, seed: int, num_prompts: int, templates: Sequence[str],
                augmentation: Augmentation = Augmentation(), device: torch.device | str = "cpu",
                folder: Path | None = None) -> Iterator[Batch]:
        """The batches of the steps from `start` on; workers prepare the next ones. `folder`: not needed here."""
        part = own_part(batch_size)

        def plan() -> Iterator[list[tuple[int, int]]]:
            for step in range(start, stop):
                indices = epoch_indices(len(self), step, batch_size, seed)
                yield list(zip(indices[part].tolist(), image_seeds(batch_size, seed, step)[part]))

        loader = DataLoader(
            Reader(self.pictures.stored, self.pictures.image, self.image_size, augmentation), batch_sampler=plan(),
            collate_fn=as_it_is, num_workers=self.num_workers, worker_init_fn=ignore_interrupt,
            generator=torch.Generator())    # so that the DataLoader leaves the training's random numbers alone
        for step, loaded in zip(range(start, stop), loader):
            self._count(loaded, part)
            indices = epoch_indices(len(self), step, batch_size, seed)
            indices[part] = loaded.positions
            texts = self._draw_texts([self.captions[i] for i in indices], random.Random(f"{seed} {step}"),
                                     num_prompts, templates, augmentation.flip,
                                     [self.nouns[i] for i in indices]).part(part)
            yield self._finish(loaded.images, texts, device)

    def _count(self, loaded: DecodedImages, part: slice) -> None:
        for position, error in loaded.skipped:
            self._skip(position, error)
        self.skipped.check(self.skipped.seen)
        if len(loaded.positions) < part.stop - part.start:
            raise ValueError(f"{_TRIES} images in a row cannot be read; {self.skipped.report()}")

    def _skip(self, position: int, error: Unusable) -> None:
        """Counts an image once, not again in every epoch."""
        if position not in self._broken:
            self._broken.add(position)
            self.skipped.add(error, self.pictures.keys[position])
