"""Captioned data sets by name: a folder or a file of one's own, or a set on the Hugging Face hub.

    open_dataset("photos/")              parquet files, or pictures with a metadata.jsonl
    open_dataset("photos/a.parquet")     one file
    open_dataset("jxie/flickr8k")        from the hub

What comes back has a column of pictures and one or more of captions. `sources.open_captioned` makes of
it what a training reads.
"""

from __future__ import annotations

import re
import warnings
from codecs import BOM_UTF8
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from ..extras import extra
from ..files import read_text
from .hub_presets import HUB_PRESETS, HubPreset

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset

_METADATA = ("metadata.jsonl", "metadata.csv", "metadata.parquet")
_LAYOUT = ("expected train-*.parquet, test-*.parquet and so on, or pictures beside a metadata.jsonl whose "
           'lines are like {"file_name": "1.jpg", "caption": "a cat on the grass"}')


def open_dataset(name: str | Path, split: str | None = None,
                 streaming: bool = False) -> Dataset | IterableDataset:
    """Opens one split of a captioned data set.

    Args:
        name: a folder with parquet files, named after their split as on the hub
            (`train-00000-of-00001.parquet`, `train.parquet`; without such names all are "train"); a
            folder of pictures with `metadata.jsonl`, split or not into subfolders; one parquet file; or
            an id on the hub ("owner/name"). What exists on the disk comes first.
        split: the part to open. None: "train", or the one that a known set of the hub trains on.
        streaming: read it as it comes, with nothing fetched ahead: a `datasets.IterableDataset`.

    Raises:
        ValueError: nothing there, a folder of another layout, a split that does not exist (the message
            has those that do), a file that cannot be read.
    """
    parts = _parts(name)
    split = split_or_default(name, split)
    if parts is None:
        return _open_hub(str(name), split, streaming)
    if split not in parts:
        raise ValueError(f"no split {split!r} in {name}; it has {', '.join(parts)}")
    if isinstance(parts[split], Path):
        dataset = _read_pictures(parts[split])
        return dataset.to_iterable_dataset(num_shards=min(64, len(dataset))) if streaming else dataset
    return _read_parquet(parts[split], split, streaming)


def splits(name: str | Path) -> list[str]:
    """The splits that a data set has; none for tar shards, and where the hub does not say."""
    from .shards import is_shards

    if is_shards(name):
        return []
    parts = _parts(name)
    if parts is not None:
        return list(parts)
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


def _parts(name: str | Path) -> dict[str, Any] | None:
    """What each split of a data set on the disk consists of: a list of parquet files, or a folder of
    pictures; None for a name that is of the hub."""
    path = Path(name).expanduser()
    if path.is_file():
        if path.suffix != ".parquet":
            raise ValueError(f"{path} is no data set; give a .parquet file, or a folder: {_LAYOUT}")
        return {"train": [path]}
    if path.is_dir():
        return _parts_of_folder(path)
    if not re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", str(name)) or path.suffix == ".parquet":
        raise ValueError(f"there is nothing at {path}; give the path of a folder, or a hub id such as jxie/flickr8k")
    return None


def _parts_of_folder(folder: Path) -> dict[str, Any]:
    files = sorted(folder.glob("*.parquet")) or sorted(folder.glob("data/*.parquet"))
    files = [file for file in files if file.name not in _METADATA]
    if files:
        parts: dict[str, Any] = {}
        for file in files:
            parts.setdefault(_split_of(file), []).append(file)
        return parts
    described = {file.parent for name in _METADATA for file in (*folder.glob(name), *folder.glob(f"*/{name}"))}
    if not described:
        inside = ", ".join(sorted(p.name + "/" * p.is_dir() for p in folder.iterdir())[:8]) or "nothing"
        raise ValueError(f"no captioned data set in {folder}: {_LAYOUT}; found {inside}")
    return {"train": folder} if folder in described else {part.name: part for part in sorted(described)}


def _split_of(file: Path) -> str:
    """The split of a parquet file, by its name: "train-00000-of-00004.parquet" is of "train"."""
    first = re.split(r"[-_.]", file.name)[0].lower()
    usual = {"train": "train", "training": "train", "test": "test", "testing": "test",
             "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation"}
    # Names that say nothing ("0000.parquet") are all there is, and that is for training; others,
    # such as "restval-00000-of-00001.parquet", are splits of their own.
    numbered = re.fullmatch(r".+-\d{5}-of-\d{5}\.parquet", file.name)
    return usual.get(first) or (file.name.split("-")[0] if numbered else "train")


def _read_parquet(files: list[Path], split: str, streaming: bool) -> Dataset | IterableDataset:
    with extra("data"):
        from datasets import load_dataset

    try:
        return load_dataset("parquet", data_files={split: [str(file) for file in files]}, split=split,
                            streaming=streaming)
    except Exception as error:  # pyarrow's errors come wrapped in those of datasets
        raise ValueError(f"{files[0].parent} holds a parquet file that cannot be read, or it is cut off: "
                         f"{_one_line(error)}") from error


def _read_pictures(folder: Path) -> Dataset:
    """The lines of the metadata, with `file_name` as the path of a picture: a missing one shows when it is read."""
    with extra("data"):
        from datasets import Dataset, Image

    file = next(folder / name for name in _METADATA if (folder / name).exists())
    read = {".jsonl": Dataset.from_json, ".csv": Dataset.from_csv, ".parquet": Dataset.from_parquet}[file.suffix]
    if file.suffix != ".parquet":
        text = read_text(file)                   # says which line is in another encoding
    try:
        if file.suffix == ".parquet" or not file.read_bytes().startswith(BOM_UTF8):
            dataset = read(str(file))
        else:                                    # the readers of datasets stumble over a byte-order mark
            with TemporaryDirectory() as folder_without:
                plain = Path(folder_without) / file.name
                plain.write_text(text, encoding="utf-8")
                dataset = read(str(plain), keep_in_memory=True, cache_dir=folder_without)
    except Exception as error:  # a line that is no JSON, ...
        raise ValueError(f"cannot read the pictures of {folder}: {_one_line(error)}; {_LAYOUT}") from error
    if "file_name" not in dataset.column_names:
        raise ValueError(f"cannot read the pictures of {folder}: {file.name} has no file_name, but "
                         f"{', '.join(dataset.column_names)}; {_LAYOUT}")
    # Without a name there is no picture: None, which is counted like a missing file.
    paths = [str(folder.absolute() / name) if isinstance(name, str) and name else None for name in dataset["file_name"]]
    dataset = dataset.remove_columns([name for name in ("image", "file_name") if name in dataset.column_names])
    return dataset.add_column("image", paths).cast_column("image", Image())


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
        raise ValueError(f"{name}: {_one_line(error)}") from error
    except Exception as error:  # not found, private, no network: each library has its own errors
        raise ValueError(f"there is no folder {name}, and it cannot be had from the hub: "
                         f"{_one_line(error)}") from error


def _one_line(error: BaseException) -> str:
    """The innermost cause, on one line: datasets wraps "not a parquet file" into two others."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split())[:300] or type(error).__name__
