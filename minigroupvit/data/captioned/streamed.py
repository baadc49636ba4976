"""Captioned images from a stream: any number of shards, on the disk or at URLs, read from front to back.

Each worker of each process reads its own shards, the same ones in every pass (epoch), in a random order per pass. It
fills a buffer with encoded samples, shuffles it, decodes the samples into batches, and fills the buffer again.

With the same numbers of processes and workers a resumed run **repeats no sample and misses none**. After each step a
file in the run's folder gets the position of the step's worker (`stream-0.jsonl` for the first process); on resuming,
that worker reads and shuffles the same buffer again and leaves out the samples already used. With other numbers a new
pass begins, in which samples of the interrupted pass may come again. Where a shard is cut off, the rest of it
is missing in that pass, and counted.

Rows of one image are joined where they are in a buffer together. Rows farther apart stay separate images, and may be
each other's negatives in a batch.
"""

from __future__ import annotations

import json
import random
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from ...distributed import rank_and_size
from ...files import write_atomically
from .augment import Augmentation, augment, image_seeds
from .batches import Batch, Captioned, FindNouns, hash_texts, own_part, short_hash
from .on_disk import as_it_is, ignore_interrupt, worker_count
from .rows import join_neighbours, join_rows
from .samples import KEY, Sample, Skipped, Unusable, read_captions, read_nouns, read_picture, read_samples, stored_as
from .shards import BrokenShard, Shards

BROKEN = "a shard that is cut off"


@dataclass(frozen=True)
class StreamPosition:
    """How far a worker is: in a pass over its shards, in a buffer that begins at a sample of a shard."""

    pass_number: int = 0
    shard: int = 0       # the shard of the pass with the first sample of the buffer
    sample: int = 0      # the number of that sample in the shard
    given: int = 0       # samples of the shuffled buffer that are already used


class PositionFile:
    """The file in a run's folder with the position of each step's worker."""

    def __init__(self, folder: Path, workers: int, shards: int, buffer: int) -> None:
        rank, size = rank_and_size()
        self.path = folder / f"stream-{rank}.jsonl"
        self.workers = workers
        # Positions are valid only where all of these are the same.
        self.about = {"processes": size, "workers": workers, "shards": shards, "buffer": buffer}

    def resume(self, start: int) -> dict[int, StreamPosition]:
        """Where each worker resumes after `start` steps; removes the lines of later steps."""
        lines = self._lines() if start else []
        first_pass = 0
        if lines and self.about == {key: lines[0].get(key) for key in self.about}:
            first_pass = lines[0]["first_pass"]
            lines = [line for line in lines[1:] if line["step"] <= start]
        elif start:
            first_pass = 1 + max((line["place"][0] for line in lines[1:]), default=0)
            lines = []
            warnings.warn("the stream cannot be resumed exactly: processes, workers, shards and buffer must be as "
                          "before; a new pass begins, in which samples of the last one come again", stacklevel=2)
        last = {line["worker"]: line for line in lines}
        text = "".join(json.dumps(line) + "\n" for line in (self.about | {"first_pass": first_pass}, *last.values()))
        write_atomically(self.path, lambda path: path.write_text(text, encoding="utf-8"))
        return {worker: StreamPosition(*last[worker]["place"]) if worker in last else StreamPosition(first_pass)
                for worker in range(self.workers)}

    def write(self, step: int, worker: int, position: StreamPosition) -> None:
        """Appends the position of the worker of step `step`."""
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, "worker": worker, "place": astuple(position)}) + "\n")

    def _lines(self) -> list[dict[str, Any]]:
        """All complete lines: the last one may be cut off."""
        lines = []
        for line in self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []:
            try:
                lines.append(json.loads(line))
            except json.JSONDecodeError:
                break
        return lines


@dataclass
class StreamedBatch:
    """A batch from a worker."""

    images: Tensor                           # (B, 3, S, S) uint8; empty: a whole pass gave too few images
    captions: list[list[str]]
    nouns: list[list[str] | None]            # of the images, from a column of their own
    seen: int                                # rows read for it
    skipped: list[tuple[Unusable, str]]      # the unusable ones, and where they are
    worker: int
    position: StreamPosition                 # after this batch
    given: int = 0                           # images of a whole pass, where they are too few for a batch


@dataclass
class Worker(IterableDataset):
    """Endless batches for this process; each DataLoader worker reads its own shards."""

    shards: Shards
    image_size: int
    batch_size: int
    buffer: int
    seed: int
    augmentation: Augmentation
    workers: int
    start: int                                   # the step of the first batch, which decides the first worker
    positions: Mapping[int, StreamPosition]      # where each worker resumes
    rank: int                                    # of this process; a worker cannot ask for it
    size: int                                    # number of processes

    def __iter__(self) -> Iterator[StreamedBatch]:
        info = get_worker_info()
        worker = ((info.id if info else 0) + self.start) % self.workers
        stream = self.rank * self.workers + worker               # among the workers of all processes
        first = self.positions.get(worker, StreamPosition())
        # Images that this pass has given; a resumed pass counts as one with enough.
        useful = 0 if first == StreamPosition(first.pass_number) else self.batch_size
        samples: list[Sample] = []
        skipped: list[tuple[Unusable, str]] = []
        seen = 0
        for position, row in self._rows(stream, first, skipped):
            if row is None:                                      # the end of a pass
                if useful < self.batch_size:                     # an image would be twice in a batch
                    yield StreamedBatch(torch.empty(0), [], [], seen, list(skipped), worker, position, useful)
                    return
                useful = 0
                continue
            seen += 1
            try:
                texts, silent = read_captions(row, self.shards.columns)
                skipped += [(error, row[KEY]) for error in silent]
                picture = read_picture(row[self.shards.columns.image])
            except Unusable as error:
                skipped.append((error, row[KEY]))
                continue
            own_seed = image_seeds(1, self.seed, stream, *astuple(position))[0]
            samples.append(Sample(augment(picture, self.augmentation, own_seed, self.image_size), texts,
                                  read_nouns(row, self.shards.columns)))
            useful += 1
            if len(samples) == self.batch_size:
                yield StreamedBatch(torch.stack([s.image for s in samples]), [s.captions for s in samples],
                                    [s.nouns for s in samples], seen, list(skipped), worker, position)
                samples, seen = [], 0
                skipped.clear()                                  # the same list: _rows appends to it

    def _rows(self, stream: int, position: StreamPosition,
              skipped: list) -> Iterator[tuple[StreamPosition, Mapping[str, Any] | None]]:
        """The shuffled rows of this stream's shards, pass after pass; None at the end of each pass."""
        pass_number, shard, sample, given = astuple(position)
        own = np.random.default_rng(self.seed).permutation(len(self.shards))[stream::self.size * self.workers]
        while True:
            order = np.random.default_rng([self.seed, stream, pass_number]).permutation(own)
            rows = self._in_order(order, shard, sample, skipped)
            while block := list(islice(rows, self.buffer)):
                shard, sample, _ = block[0]
                pictures = join_rows([row for _, _, row in block], self.shards.columns)
                order_of_block = np.random.default_rng([self.seed, stream, pass_number, shard, sample])
                mixed = order_of_block.permutation(len(pictures))
                for number in range(given, len(pictures)):
                    yield StreamPosition(pass_number, shard, sample, number + 1), pictures[mixed[number]]
                given = 0
            pass_number, shard, sample, given = pass_number + 1, 0, 0, 0
            yield StreamPosition(pass_number), None

    def _in_order(self, order: np.ndarray, first: int, sample: int,
                  skipped: list) -> Iterator[tuple[int, int, Mapping[str, Any]]]:
        """(shard, sample, row), beginning at one sample of the first shard."""
        for shard in range(first, len(order)):
            try:
                for number, row in enumerate(self.shards.read(order[shard])):
                    if shard > first or number >= sample:
                        yield shard, number, row
            except BrokenShard as error:
                skipped.append((Unusable(BROKEN, str(error)), self.shards.names[order[shard]]))


class CaptionedStream(Captioned):
    """Captioned images from shards, for training; see the top of this file.

    Args:
        shards: from `open_tar_shards`, or `HubShards`.
        image_size: pixels per side of the batches' images.
        flip, skipped, find_nouns: see `Captioned`.
        num_workers: processes that read and decode; see `worker_count`. At most one per shard.
        buffer: rows that a worker holds in memory, joins and shuffles.
    """

    def __init__(self, shards: Shards, image_size: int, flip: bool = True, num_workers: int | None = None,
                 buffer: int = 2000, skipped: Skipped | None = None, find_nouns: FindNouns | None = None) -> None:
        super().__init__(flip, skipped, find_nouns)
        if buffer < 1:
            raise ValueError(f"buffer is {buffer}; it must be at least 1")
        self.shards, self.image_size, self.buffer = shards, image_size, buffer
        self.num_workers = worker_count(num_workers)
        self._broken: set[str] = set()

    def __iter__(self) -> Iterator[Sample]:
        """Every sample once, in order."""
        yield from read_samples(self._neighbours(), self.shards.columns, self.image_size, self.skipped)

    def _neighbours(self) -> Iterator[Mapping[str, Any]]:
        return join_neighbours(self._all_rows(), self.shards.columns)

    def _all_rows(self) -> Iterator[Mapping[str, Any]]:
        for number in range(len(self.shards)):
            try:
                yield from self.shards.read(number)
            except BrokenShard as error:
                self.skipped.add(Unusable(BROKEN, str(error)), self.shards.names[number])

    @cached_property
    def all_captions(self) -> list[str]:
        """The captions of the first 20,000 samples: enough for a vocabulary."""
        return [caption for captions, _ in self._texts_of_first(20_000) for caption in captions]

    def _texts_of_first(self, count: int) -> Iterator[tuple[list[str], list[str] | None]]:
        """Captions and nouns of the first usable samples."""
        for row in islice(self._all_rows(), count):
            try:
                yield read_captions(row, self.shards.columns)[0], read_nouns(row, self.shards.columns)
            except Unusable:
                continue

    def fingerprint(self) -> dict[str, Any]:
        """The number of shards, hashes of their names and sizes, and of the captions and nouns of 100 samples."""
        return {"shards": len(self.shards), "captions": hash_texts(self._texts_of_first(100)),
                "files": short_hash(stored_as(name) for name in self.shards.names)}

    def first_pictures(self, count: int) -> Tensor:
        """(count, 3, S, S) uint8, for the snapshots of a run."""
        skipped = Skipped()
        samples = read_samples(self._neighbours(), self.shards.columns, self.image_size, skipped)
        images = [sample.image for sample in islice(samples, count)]
        if not images:
            raise ValueError(f"nothing in the data set can be used; {skipped.report()}")
        return torch.stack(images)

    def batches(self, start: int, stop: int, batch_size: int, seed: int, num_prompts: int, templates: Sequence[str],
                augmentation: Augmentation = Augmentation(), device: torch.device | str = "cpu",
                folder: Path | None = None) -> Iterator[Batch]:
        """The batches of the steps from `start` on. `folder` of the run: for the positions of the workers."""
        part, (rank, size) = own_part(batch_size), rank_and_size()
        if len(self.shards) < size:
            raise ValueError(f"there are {len(self.shards)} shards for {size} processes; each needs one of its own")
        num_workers = min(self.num_workers, len(self.shards) // size)
        workers = max(1, num_workers)    # without any, this process does their work
        positions = PositionFile(folder, workers, len(self.shards), self.buffer) if folder is not None else None
        source = Worker(self.shards, self.image_size, part.stop - part.start, self.buffer, seed, augmentation,
                        workers, start, positions.resume(start) if positions else {}, rank, size)
        loader = DataLoader(source, batch_size=None, collate_fn=as_it_is, num_workers=num_workers,
                            worker_init_fn=ignore_interrupt, generator=torch.Generator())
        for step, loaded in zip(range(start, stop), loader):
            self._count(loaded)
            if positions:
                positions.write(step + 1, loaded.worker, loaded.position)
            texts = self._draw_texts(loaded.captions, random.Random(f"{seed} {step} {rank}"), num_prompts, templates,
                                     augmentation.flip, loaded.nouns)
            yield self._finish(loaded.images, texts, device)

    def _count(self, loaded: StreamedBatch) -> None:
        self.skipped.seen += loaded.seen
        for error, where in loaded.skipped:
            if error.reason != BROKEN or where not in self._broken:
                self.skipped.add(error, where)
            if error.reason == BROKEN:
                self._broken.add(where)
        if not len(loaded.images) and loaded.given:
            raise ValueError(f"a whole pass over a worker's shards gives {loaded.given:,} images, which are too few "
                             "for one batch of a process; take a smaller batch_size, fewer num_workers, or "
                             f"cache='memory' where it is possible; {self.skipped.report()}")
        if not len(loaded.images):
            raise ValueError(f"a whole pass over a worker's shards had nothing to give; {self.skipped.report()}")
        if len(self._broken) > max(1, self.skipped.share * len(self.shards)):
            raise ValueError(f"{len(self._broken)} of {len(self.shards)} shards are cut off; {self.skipped.report()}")
        # In the first pass a share is not judged before 1,000 samples.
        self.skipped.check(max(self.skipped.seen, 0 if loaded.position.pass_number else 1000))
