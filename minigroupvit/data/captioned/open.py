"""Captioned pictures from anywhere, by name, ready for training.

    open_captioned("photos/", 96)                       parquet files, pictures with their captions beside them
    open_captioned("jxie/flickr8k", 128)                from the hub, into memory
    open_captioned("AKCIT/coco2017-captioning", 224, cache="disk")
    open_captioned("cc3m/{00000..00331}.tar", 224)      webdataset shards, read as they come

All give the same: samples with `image` and `captions`, and batches for training.
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


# Captioned data sets by name: a folder or a file of one's own, or a set on the Hugging Face hub.
#
#     open_dataset("photos/")              parquet files, pictures with a metadata.jsonl, or caption files
#     open_dataset("photos/a.parquet")     one file
#     open_dataset("jxie/flickr8k")        from the hub
#
# What comes back has a column of pictures and one or more of captions; `__key__`, where there is one, says
# which line of which file a row is. `open.open_captioned` makes of it what a training reads.

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset


def open_dataset(name: str | Path, split: str | None = None,
                 streaming: bool = False) -> Dataset | IterableDataset:
    """Opens one split of a captioned data set.

    Args:
        name: a folder with parquet files, named after their split as on the hub
            (`train-00000-of-00001.parquet`, `train.parquet`; without such names all are "train"); a
            folder of pictures with `metadata.jsonl`, split or not into subfolders; a folder or a file of
            one of the formats of caption_formats.py; one parquet file; or an id on the hub
            ("owner/name"). What exists on the disk comes first.
        split: the part to open; of what is on the disk, several as "train+restval". None: "train", or the
            only one there is, or the one that a known set of the hub trains on. "val" and "dev" are
            "validation".
        streaming: read it as it comes, with nothing fetched ahead: a `datasets.IterableDataset`.

    Raises:
        ValueError: nothing there, a folder of no known layout or of two, a split that does not exist
            (the message has those that do), a file that cannot be read.
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


def splits(name: str | Path) -> list[str]:
    """The splits that a data set has; none for tar shards, and where the hub does not say."""
    from .shards import is_shards

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


def known(name: str | Path) -> HubPreset | None:
    """What is known of a set of the hub; what exists on the disk under this name comes first."""
    return None if Path(name).exists() else HUB_PRESETS.get(str(name))


def split_or_default(name: str | Path, split: str | None) -> str:
    """The split asked for, else the one to train on. Raises ValueError where a known set does not have it."""
    preset = known(name)
    if preset is None:
        return split or "train"
    split = split or next(iter(preset.splits))
    preset.check(str(name), split)
    return split


def _open_hub(name: str, split: str, streaming: bool) -> Dataset | IterableDataset:
    with extra("data"):
        from datasets import load_dataset

    dataset = _ask_the_hub(name, lambda: load_dataset(name, split=split, streaming=streaming))
    if streaming:
        return dataset
    expected = HUB_PRESETS[name].splits[split] if name in HUB_PRESETS else len(dataset)
    if len(dataset) != expected:
        warnings.warn(f"{name} {split} has {len(dataset):,} pictures, not {expected:,} as known", stacklevel=3)
    return dataset


def _ask_the_hub(name: str, ask: Callable[[], Any]) -> Any:
    try:
        return ask()
    except ValueError as error:  # an unknown split: the message of datasets has those there are
        raise ValueError(f"{name}: {one_line(error)}") from error
    except Exception as error:  # not found, private, no network: each library has its own errors
        raise ValueError(f"there is no folder {name}, and it cannot be had from the hub: "
                         f"{one_line(error)}") from error


# Captioned data sets on the Hugging Face hub that are known by name, with their columns and splits.

@dataclass(frozen=True)
class HubPreset:
    """What must be known to train on a data set."""

    captions: tuple[str, ...]      # columns with a caption, or with a list of them
    splits: dict[str, int]         # pictures of each split; the first one is for training
    image: str = "image"           # column
    shards: dict[str, str] = field(default_factory=dict)   # tar shards of each split, where it consists of such

    def check(self, name: str, split: str) -> None:
        """Raises ValueError for a split that does not exist, before anything is fetched."""
        if split not in self.splits:
            there = ", ".join(f"{part} ({count:,} pictures)" for part, count in self.splits.items())
            raise ValueError(f"no split {split!r} in {name}; it has {there}")


# As their pages on the hub say.
HUB_PRESETS: dict[str, HubPreset] = {
    "jxie/flickr8k": HubPreset(
        tuple(f"caption_{number}" for number in range(5)), {"train": 6_000, "validation": 1_000, "test": 1_000}),
    "lmms-lab/flickr30k": HubPreset(("caption",), {"test": 31_783}),    # all of it is called test
    "AKCIT/coco2017-captioning": HubPreset(("captions",), {"train": 118_287, "validation": 5_000}),
    "pixparse/cc3m-wds": HubPreset(
        ("txt",), {"train": 2_905_954, "validation": 13_443}, image="jpg",
        shards={"train": "hf://datasets/pixparse/cc3m-wds/cc3m-train-{0000..0575}.tar",
                "validation": "hf://datasets/pixparse/cc3m-wds/cc3m-validation-{0000..0015}.tar"}),
}
