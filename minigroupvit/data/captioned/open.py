"""Captioned pictures from anywhere, by name, ready for training.

    open_captioned("photos/", 96)                       parquet files, pictures with their captions beside them
    open_captioned("jxie/flickr8k", 128)                from the hub, into memory
    open_captioned("AKCIT/coco2017-captioning", 224, cache="disk")
    open_captioned("cc3m/{00000..00331}.tar", 224)      webdataset shards, read as they come

All give the same: samples with `image` and `captions`, and batches for training.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .batches import CaptionedImages, FindNouns, column_or_function, undecoded
from .on_disk import CaptionedFiles
from .open_dataset import known, open_dataset, split_or_default, splits
from .rows import picture_rows
from .samples import KEY, Skipped
from .shards import HubShards, is_shards, open_tar_shards
from .streamed import CaptionedStream

if TYPE_CHECKING:
    from datasets import Dataset

CACHES = ("memory", "disk", "stream")
NUM_VALIDATION = 1000   # pictures that retrieval is measured on: recall depends on how many there are


def open_captioned(name: str | Path, image_size: int, split: str | None = None, image: str | None = None,
                   captions: Sequence[str] | None = None, cache: str = "memory", flip: bool = True,
                   num_workers: int | None = None, buffer: int = 2000, max_skipped: float = 0.05,
                   nouns: str | FindNouns | None = None) -> CaptionedImages | CaptionedFiles | CaptionedStream:
    """Captioned pictures from anywhere, ready for training.

    Args:
        name: see `open_dataset`; or tar shards, see `shards.expand`.
        image_size: pixels a side of the batches' pictures.
        split: None: "train", or the one that a known set of the hub trains on.
        image, captions: names of columns, or kinds of members in shards; None: as they mostly are.
        cache: "memory": decoded once, at this size; "disk": decoded anew for each batch; "stream": read
            as it comes, nothing is fetched ahead or kept. Tar shards are always streamed.
        flip: whether pictures may be mirrored in training.
        num_workers: processes that decode pictures for "disk" and "stream"; None: one for each core, at most 8.
        buffer: samples that are shuffled together in a stream.
        max_skipped: share of rows that may have no readable picture or no caption.
        nouns: where the nouns for the multi-label loss come from: a column with lists of them, or texts with commas; a
            function of a caption, such as one of spaCy's; None: the captions, which are English.

    Raises:
        ValueError: what `open_dataset` and the source that is opened say.
    """
    if cache not in CACHES:
        raise ValueError(f"cache is {cache!r}; choose one of {', '.join(CACHES)}")
    image, captions = _columns(name, image, captions)
    skipped = Skipped(max_skipped)
    column, find_nouns = column_or_function(nouns)
    if is_streamed(name):
        preset = known(name)
        if preset is None and split not in (None, "train"):
            raise ValueError(f"tar shards have no splits, so there is no {split!r} in {name}; give the shards of that "
                             "part by a pattern of their own")
        where = preset.shards[split_or_default(name, split)] if preset else name
        return CaptionedStream(open_tar_shards(where, image, captions, skipped, column), image_size, flip, num_workers,
                               buffer, skipped, find_nouns)
    if cache == "stream":
        shards = HubShards.of(open_dataset(name, split, streaming=True), image, captions, column)
        return CaptionedStream(shards, image_size, flip, num_workers, buffer, skipped, find_nouns)
    dataset = open_dataset(name, split)
    if cache == "disk":
        return CaptionedFiles(dataset, image_size, image, captions, flip, num_workers, max_skipped, nouns)
    return CaptionedImages.from_dataset(dataset, image_size, image, captions, flip, max_skipped, nouns)


def is_streamed(name: str | Path) -> bool:
    """Whether a data set consists of tar shards, which are read from front to back and in no other way."""
    preset = known(name)
    return is_shards(name) or (preset is not None and bool(preset.shards))


def open_validation(name: str | Path, image_size: int, split: str | None = None, limit: int = NUM_VALIDATION,
                    **choices: Any) -> CaptionedImages:
    """The first pictures of a data set, in memory: retrieval is measured on them.

    Args:
        split: None: "validation" where there is one, else the one to train on.
        choices: see `open_captioned`.
    """
    if split is None and "validation" in splits(name):
        split = "validation"
    choices.pop("nouns", None)       # retrieval is measured by captions
    # From the disk or the stream, so that not more is read than is kept.
    cache = "stream" if choices.pop("cache", "memory") == "stream" else "disk"
    data = open_captioned(name, image_size, split, cache=cache, **choices)
    return CaptionedImages.from_samples(data, limit, skipped=data.skipped)


def hold_out(dataset: Dataset, count: int, seed: int = 0, image: str | None = None,
             captions: Sequence[str] | None = None) -> tuple[Dataset, Dataset]:
    """Keeps `count` pictures, drawn at random, with all their rows apart for validation: (the others, those).

    Args:
        image, captions: names of the columns; see `find_columns`.

    Raises ValueError where that leaves nothing to train on.
    """
    stored, columns = undecoded(dataset, image, captions)
    pictures, own = picture_rows(stored, columns)     # pictures, not rows: no caption of one may stay in the training
    if not 0 < count < len(pictures):
        raise ValueError(f"cannot hold out {count:,} of {len(pictures):,} pictures; it must be from 1 to "
                         f"{len(pictures) - 1:,}")
    if KEY not in dataset.column_names:               # rows keep the names that their owner knows
        dataset = dataset.add_column(KEY, [f"row {number}" for number in range(len(dataset))])
    held = set(np.random.default_rng(seed).permutation(pictures)[:count].tolist())
    return tuple(dataset.select([n for n, picture in enumerate(own) if (picture in held) == wanted])
                 for wanted in (False, True))


def open_held_out(name: str | Path, image_size: int, count: int, split: str | None = None, image: str | None = None,
                  captions: Sequence[str] | None = None, cache: str = "memory", num_workers: int | None = None,
                  max_skipped: float = 0.05, nouns: str | FindNouns | None = None
                  ) -> tuple[CaptionedImages | CaptionedFiles, CaptionedImages]:
    """`open_captioned` without `count` pictures, and these in memory.

    Raises ValueError for streams, which cannot be parted, and as `hold_out` and `open_captioned` do.
    """
    if cache == "stream" or is_streamed(name):
        raise ValueError("pictures can be held out of a set in memory or on the disk, not of a stream; name other data "
                         "for validation")
    columns = _columns(name, image, captions)
    rest, held = hold_out(open_dataset(name, split), count, 0, *columns)
    validation = CaptionedImages.from_dataset(held, image_size, *columns, max_skipped=max_skipped)
    if cache == "disk":
        return CaptionedFiles(rest, image_size, *columns, num_workers=num_workers, max_skipped=max_skipped,
                              nouns=nouns), validation
    return CaptionedImages.from_dataset(rest, image_size, *columns, max_skipped=max_skipped, nouns=nouns), validation


def _columns(name: str | Path, image: str | None, captions: Sequence[str] | None) -> tuple:
    """The columns asked for, else those of a known set."""
    preset = known(name)
    return (image or preset.image, captions or preset.captions) if preset else (image, captions)
