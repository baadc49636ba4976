"""Captioned pictures that stay on the disk and are decoded when a batch needs them, by several processes.

For sets that do not fit into the memory (118,287 photographs of COCO at 224 x 224 are 18 GB). Steps,
epochs and texts are those of `CaptionedImages`, and so is the promise: everything random comes from
(seed, step), so a resumed run draws what the unbroken one would have drawn. A random crop is taken
from the picture in its full size.

A picture that cannot be read gives its place to the next one that can, always the same one.
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
from .captioned import Batch, Captioned, epoch_indices, own_part, undecoded
from .rows import one_row_per_picture
from .samples import Sample, Skipped, Unusable, fit, read_captions, read_picture

if TYPE_CHECKING:
    from datasets import Dataset

_TRIES = 100   # unreadable pictures in a row at most


def worker_count(num_workers: int | None) -> int:
    """Processes that decode pictures: as asked for, else one for each core, at most 8. 0: this process itself."""
    if num_workers is not None and num_workers < 0:
        raise ValueError(f"num_workers is {num_workers}; it must be at least 0")
    return min(8, os.cpu_count() or 1) if num_workers is None else num_workers


def ignore_interrupt(worker: int) -> None:
    """Ctrl-C reaches a worker too; only the training itself shall stop, after its step."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@dataclass
class Loaded:
    """A batch's pictures as a worker hands them over."""

    images: Tensor                                # (B, 3, S, S) uint8
    positions: list[int]                          # which pictures they are
    skipped: list[tuple[int, Unusable]]           # those that could not be read


class Reader(torch.utils.data.Dataset):
    """Decodes and augments pictures by their position; in a worker. An item is (position, seed of augmentation)."""

    def __init__(self, rows: Dataset, image: str, image_size: int, augmentation: Augmentation) -> None:
        self.rows, self.image, self.image_size, self.augmentation = rows, image, image_size, augmentation

    def __len__(self) -> int:
        return len(self.rows)

    def __getitems__(self, items: list[tuple[int, int]]) -> Loaded:
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
        # Fewer than asked for only where nothing could be read for long; the training process then stops.
        return Loaded(torch.stack(images) if images else torch.empty(0), positions, skipped)


def as_it_is(loaded: Any) -> Any:
    """A worker's batch is one already."""
    return loaded


class CaptionedFiles(Captioned):
    """A `datasets.Dataset` of captioned pictures, read from the disk while training.

    Args:
        dataset: memory-mapped Arrow, or the paths of files.
        image_size: pixels a side of the batches' pictures.
        image, captions: names of the columns; see `find_columns`.
        flip: see `Captioned`.
        num_workers: see `worker_count`.
        max_skipped: share of the rows that may be of no use.

    Raises:
        ValueError: no such column; too many rows without a caption.
    """

    def __init__(self, dataset: Dataset, image_size: int, image: str | None = None,
                 captions: Sequence[str] | None = None, flip: bool = True, num_workers: int | None = None,
                 max_skipped: float = 0.05) -> None:
        super().__init__(flip, Skipped(max_skipped))
        self.image_size, self.num_workers = image_size, worker_count(num_workers)
        dataset, self.columns = one_row_per_picture(*undecoded(dataset, image, captions))
        self.captions: list[list[str]] = []
        rows = []
        for number, row in enumerate(dataset.select_columns(list(self.columns.captions))):
            try:
                self.captions.append(read_captions(row, self.columns))
                rows.append(number)
            except Unusable as error:
                self.skipped.add(error, f"row {number}")
        self.skipped.seen = len(dataset)
        self.skipped.check(len(dataset))
        if not rows:
            raise ValueError(f"the data set is empty; {self.skipped.report()}")
        self.rows = dataset.select_columns([self.columns.image]).select(rows)
        self._broken: set[int] = set()

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Sample]:
        """Every sample once, in order."""
        for row, captions in zip(self.rows, self.captions):
            try:
                yield Sample(fit(read_picture(row[self.columns.image]), self.image_size), captions)
            except Unusable:
                continue

    @property
    def all_captions(self) -> list[str]:
        return [caption for texts in self.captions for caption in texts]

    def first_pictures(self, count: int) -> Tensor:
        """(count, 3, S, S) uint8, to look at while a run goes on."""
        reader = Reader(self.rows, self.columns.image, self.image_size, AUGMENTATIONS["none"])
        return reader.__getitems__([(i, 0) for i in range(min(count, len(self)))]).images

    def batches(self, start: int, stop: int, batch_size: int, seed: int, num_prompts: int, templates: Sequence[str],
                augmentation: Augmentation = Augmentation(), device: torch.device | str = "cpu",
                folder: Path | None = None) -> Iterator[Batch]:
        """The batches of the steps from `start` on, those to come in the making. `folder`: nothing is kept there."""
        part = own_part(batch_size)

        def plan() -> Iterator[list[tuple[int, int]]]:
            for step in range(start, stop):
                indices = epoch_indices(len(self), step, batch_size, seed)
                yield list(zip(indices[part].tolist(), image_seeds(batch_size, seed, step)[part]))

        loader = DataLoader(
            Reader(self.rows, self.columns.image, self.image_size, augmentation), batch_sampler=plan(),
            collate_fn=as_it_is, num_workers=self.num_workers, worker_init_fn=ignore_interrupt,
            generator=torch.Generator())    # of its own: the training's random numbers are none of its business
        for step, loaded in zip(range(start, stop), loader):
            self._count(loaded, part)
            indices = epoch_indices(len(self), step, batch_size, seed)
            indices[part] = loaded.positions
            texts = self._draw_texts([self.captions[i] for i in indices], random.Random(f"{seed} {step}"),
                                     num_prompts, templates, augmentation.flip).part(part)
            yield self._finish(loaded.images, texts, device)

    def _count(self, loaded: Loaded, part: slice) -> None:
        for position, error in loaded.skipped:
            if position not in self._broken:
                self._broken.add(position)
                self.skipped.add(error, f"picture {position}")
        self.skipped.check(self.skipped.seen)
        if len(loaded.positions) < part.stop - part.start:
            raise ValueError(f"{_TRIES} pictures in a row cannot be read; {self.skipped.report()}")
