"""Captioned data sets by name: a folder or a file of one's own, or a set on the Hugging Face hub.

    open_dataset("photos/")              parquet files, pictures with a metadata.jsonl, or caption files
    open_dataset("photos/a.parquet")     one file
    open_dataset("jxie/flickr8k")        from the hub

What comes back has a column of pictures and one or more of captions; `__key__`, where there is one, says
which line of which file a row is. `open.open_captioned` makes of it what a training reads.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...extras import extra
from .caption_files import known_split
from .folders import find_on_disk, one_line, read_parquet
from .samples import listed

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
