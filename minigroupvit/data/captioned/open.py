"""Captioned images by name, ready for training.

    open_captioned("photos/", 96)                       a folder: parquet files, images with a metadata.jsonl, captions
    open_captioned("jxie/flickr8k", 128)                a data set on the Hugging Face hub, into memory
    open_captioned("AKCIT/coco2017-captioning", 224, cache="disk")
    open_captioned("cc3m/{00000..00331}.tar", 224)      webdataset shards, read as a stream

All give samples with `image` and `captions`, and batches for training. `open_dataset` gives the rows alone: a
`datasets.Dataset` with a column of images and one or more of captions; `__key__`, where there is one, says which line
of which file a row is.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...extras import extra
from .batches import CaptionedImages, FindNouns, column_or_function, undecoded
from .caption_files import known_split
from .folders import find_on_disk, one_line, read_parquet
from .on_disk import CaptionedFiles
from .rows import picture_rows
from .samples import KEY, Skipped, listed
from .shards import HubShards, is_shards, open_tar_shards
from .streamed import CaptionedStream

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset

CACHES = ("memory", "disk", "stream")
NUM_VALIDATION = 1000   # images that retrieval is measured on: recall depends on how many there are


@dataclass(frozen=True)
class HubPreset:
    """The columns and splits of a data set on the Hugging Face hub."""

    captions: tuple[str, ...]      # columns with a caption, or with a list of them
    splits: dict[str, int]         # images of each split; the first one is for training
    image: str = "image"           # column
    shards: dict[str, str] = field(default_factory=dict)   # tar shards of each split, where it consists of such

    def check(self, name: str, split: str) -> None:
        """Raises ValueError for a split that does not exist, before anything is downloaded."""
        if split not in self.splits:
            there = ", ".join(f"{part} ({count:,} images)" for part, count in self.splits.items())
            raise ValueError(f"no split {split!r} in {name}; it has {there}")


# As their pages on the hub say.
HUB_PRESETS: dict[str, HubPreset] = {
    "jxie/flickr8k": HubPreset(
        tuple(f"caption_{number}" for number in range(5)), {"train": 6_000, "validation": 1_000, "test": 1_000}),
    "lmms-lab/flickr30k": HubPreset(("caption",), {"test": 31_783}),    # its only split is called test
    "AKCIT/coco2017-captioning": HubPreset(("captions",), {"train": 118_287, "validation": 5_000}),
    "pixparse/cc3m-wds": HubPreset(
        ("txt",), {"train": 2_905_954, "validation": 13_443}, image="jpg",
        shards={"train": "hf://datasets/pixparse/cc3m-wds/cc3m-train-{0000..0575}.tar",
                "validation": "hf://datasets/pixparse/cc3m-wds/cc3m-validation-{0000..0015}.tar"}),
}


def known(name: str | Path) -> HubPreset | None:
    """The preset of a data set on the hub; a path of this name on the disk comes first."""
    return None if Path(name).exists() else HUB_PRESETS.get(str(name))


def split_or_default(name: str | Path, split: str | None) -> str:
    """The split asked for, else the one to train on. Raises ValueError where a preset does not have it."""
    preset = known(name)
    if preset is None:
        return split or "train"
    split = split or next(iter(preset.splits))
    preset.check(str(name), split)
    return split


def is_streamed(name: str | Path) -> bool:
    """Whether a data set consists of tar shards, which can only be read as a stream."""
    preset = known(name)
    return is_shards(name) or (preset is not None and bool(preset.shards))


def splits(name: str | Path) -> list[str]:
    """The splits of a data set; empty for tar shards, and where the hub does not tell."""
    if is_shards(name):
        return []
    found = find_on_disk(name)
    if found is not None:
        return list(found.parts)
    if preset := known(name):
        return list(preset.splits)
    with extra("data"):
        from datasets import get_dataset_split_names

    try:
        return _ask_the_hub(str(name), lambda: get_dataset_split_names(str(name)))
    except ValueError:
        return []


def open_dataset(name: str | Path, split: str | None = None,
                 streaming: bool = False) -> Dataset | IterableDataset:
    """Opens one split of a captioned data set.

    Args:
        name: a folder with parquet files, named after their split as on the hub (`train-00000-of-00001.parquet`,
            `train.parquet`; other names are all "train"); a folder of images with `metadata.jsonl`, or with one
            subfolder per split; a folder or a file of one of the formats in caption_files.py; one parquet file; or an
            id on the hub ("owner/name"). What exists on the disk comes first.
        split: the part to open; on the disk also several, "train+restval". None: "train", or the only one there is,
            or the one that the preset trains on. "val" and "dev" are "validation".
        streaming: read it as a stream, without downloading it first: a `datasets.IterableDataset`.

    Raises:
        ValueError: nothing there, a folder of no known format or of two, a split that does not exist
            (the message lists those that do), a file that cannot be read.
    """
    found = find_on_disk(name)
    if found and split is None and len(found.parts) == 1:
        split = next(iter(found.parts))
    split = split_or_default(name, split)
    if found is None:
        return _open_hub(str(name), split, streaming)
    items: list[Any] = []
    for part in split.split("+"):
        if part not in found.parts and (part := known_split(part)) not in found.parts:
            raise ValueError(f"no split {part!r} in {name}; it has {listed(list(found.parts))}")
        items += found.parts[part]
    if streaming and found.open is read_parquet:
        return read_parquet(items, streaming=True)
    dataset = found.open(items)
    return dataset.to_iterable_dataset(num_shards=min(64, len(dataset))) if streaming else dataset


def _open_hub(name: str, split: str, streaming: bool) -> Dataset | IterableDataset:
    with extra("data"):
        from datasets import load_dataset

    dataset = _ask_the_hub(name, lambda: load_dataset(name, split=split, streaming=streaming))
    if streaming:
        return dataset
    expected = HUB_PRESETS[name].splits[split] if name in HUB_PRESETS else len(dataset)
    if len(dataset) != expected:
        warnings.warn(f"{name} {split} has {len(dataset):,} images, not {expected:,} as known", stacklevel=3)
    return dataset


def _ask_the_hub(name: str, ask: Callable[[], Any]) -> Any:
    try:
        return ask()
    except ValueError as error:  # an unknown split: the message of `datasets` lists those there are
        raise ValueError(f"{name}: {one_line(error)}") from error
    except Exception as error:  # not found, private, no network: each library has its own errors
        raise ValueError(f"there is no folder {name}, and the Hugging Face hub does not give it: "
                         f"{one_line(error)}") from error


def open_captioned(name: str | Path, image_size: int, split: str | None = None, image: str | None = None,
                   captions: Sequence[str] | None = None, cache: str = "memory", flip: bool = True,
                   num_workers: int | None = None, buffer: int = 2000, max_skipped: float = 0.05,
                   nouns: str | FindNouns | None = None) -> CaptionedImages | CaptionedFiles | CaptionedStream:
    """Captioned images by name, ready for training.

    Args:
        name: see `open_dataset`; or tar shards, see `shards.expand`.
        image_size: pixels per side of the batches' images.
        split: None: "train", or the one that the preset of a hub data set trains on.
        image, captions: names of columns, or kinds of members in shards; None: the usual names (`find_columns`).
        cache: "memory": decoded once, at this size; "disk": decoded again for each batch; "stream": read as a stream,
            nothing is downloaded first or kept. Tar shards are always streamed.
        flip: whether training may mirror images.
        num_workers: processes that decode images for "disk" and "stream"; None: one per core, at most 8.
        buffer: samples of a stream that are shuffled together.
        max_skipped: share of rows that may have no readable image or no caption.
        nouns: where the nouns for the multi-label loss come from: a column with lists of them, or texts with commas; a
            function of a caption, such as one of spaCy's; None: the captions, which are English.

    Raises:
        ValueError: as `open_dataset` and the source that is opened do.
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
        shards = open_tar_shards(where, image, captions, skipped, column)
    elif cache == "stream":
        shards = HubShards(*undecoded(open_dataset(name, split, streaming=True), image, captions, column))
    else:
        dataset = open_dataset(name, split)
        if cache == "disk":
            return CaptionedFiles(dataset, image_size, image, captions, flip, num_workers, max_skipped, nouns)
        return CaptionedImages.from_dataset(dataset, image_size, image, captions, flip, max_skipped, nouns)
    return CaptionedStream(shards, image_size, flip, num_workers, buffer, skipped, find_nouns)


def _columns(name: str | Path, image: str | None, captions: Sequence[str] | None) -> tuple:
    """The columns asked for, else those of the preset."""
    preset = known(name)
    return (image or preset.image, captions or preset.captions) if preset else (image, captions)


def open_validation(name: str | Path, image_size: int, split: str | None = None, limit: int = NUM_VALIDATION,
                    **options: Any) -> CaptionedImages:
    """The first images of a data set, in memory: retrieval is measured on them.

    Args:
        split: None: "validation" where there is one, else the one to train on.
        options: see `open_captioned`.
    """
    if split is None and "validation" in splits(name):
        split = "validation"
    options.pop("nouns", None)       # retrieval is measured with captions
    # From the disk or the stream, so that no more is decoded than is kept.
    cache = "stream" if options.pop("cache", "memory") == "stream" else "disk"
    data = open_captioned(name, image_size, split, cache=cache, **options)
    return CaptionedImages.from_samples(data, limit, skipped=data.skipped)


def hold_out(dataset: Dataset, count: int, seed: int = 0, image: str | None = None,
             captions: Sequence[str] | None = None) -> tuple[Dataset, Dataset]:
    """Splits `count` randomly drawn images, with all their rows, off for validation: (the others, those).

    Args:
        image, captions: names of the columns; see `find_columns`.

    Raises ValueError where that leaves nothing to train on.
    """
    stored, columns = undecoded(dataset, image, captions)
    images, own = picture_rows(stored, columns)     # images, not rows: no caption of one may stay in the training set
    if not 0 < count < len(images):
        raise ValueError(f"cannot hold out {count:,} of {len(images):,} images; it must be from 1 to "
                         f"{len(images) - 1:,}")
    if KEY not in dataset.column_names:             # later messages keep the numbers of these rows
        dataset = dataset.add_column(KEY, [f"row {number}" for number in range(len(dataset))])
    held = set(np.random.default_rng(seed).permutation(images)[:count].tolist())
    return tuple(dataset.select([n for n, first in enumerate(own) if (first in held) == wanted])
                 for wanted in (False, True))


def open_held_out(name: str | Path, image_size: int, count: int, split: str | None = None, image: str | None = None,
                  captions: Sequence[str] | None = None, cache: str = "memory", num_workers: int | None = None,
                  max_skipped: float = 0.05, nouns: str | FindNouns | None = None
                  ) -> tuple[CaptionedImages | CaptionedFiles, CaptionedImages]:
    """`open_captioned` without `count` images, and these in memory.

    Raises ValueError for streams, which cannot be split, and as `hold_out` and `open_captioned` do.
    """
    if cache == "stream" or is_streamed(name):
        raise ValueError("images can be held out of a set in memory or on the disk, not of a stream; name other data "
                         "for validation")
    columns = _columns(name, image, captions)
    rest, held = hold_out(open_dataset(name, split), count, 0, *columns)
    validation = CaptionedImages.from_dataset(held, image_size, *columns, max_skipped=max_skipped)
    if cache == "disk":
        return CaptionedFiles(rest, image_size, *columns, num_workers=num_workers, max_skipped=max_skipped,
                              nouns=nouns), validation
    return CaptionedImages.from_dataset(rest, image_size, *columns, max_skipped=max_skipped, nouns=nouns), validation
