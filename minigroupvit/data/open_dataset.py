"""Captioned data sets by name: a folder or a file of one's own, or a set on the Hugging Face hub.

    open_dataset("photos/")              parquet files, or pictures with a metadata.jsonl
    open_dataset("photos/a.parquet")     one file
    open_dataset("jxie/flickr8k")        from the hub

What comes back has a column of pictures and one or more of captions; `CaptionedImages.from_dataset`
reads it into memory for training.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datasets import Dataset

_METADATA = ("metadata.jsonl", "metadata.csv", "metadata.parquet")  # what datasets' imagefolder reads
_LAYOUT = ("expected train-*.parquet, test-*.parquet and so on, or pictures beside a metadata.jsonl whose "
           'lines are like {"file_name": "1.jpg", "caption": "a cat on the grass"}')


def open_dataset(name: str | Path, split: str = "train") -> Dataset:
    """Opens one split of a captioned data set.

    Args:
        name: a folder with parquet files, named after their split as on the hub
            (`train-00000-of-00001.parquet`, `train.parquet`; without such names all are "train"); a
            folder of pictures with `metadata.jsonl`, split or not into subfolders; one parquet file; or
            an id on the hub ("owner/name"). What exists on the disk comes first.
        split: the part to open.

    Raises:
        ValueError: nothing there, a folder of another layout, a split that does not exist (the message
            has those that do), a file that cannot be read.
    """
    path = Path(name).expanduser()
    if path.is_file():
        if path.suffix != ".parquet":
            raise ValueError(f"{path} is no data set; give a .parquet file, or a folder: {_LAYOUT}")
        return _read_parquet([path], split)
    if path.is_dir():
        return _open_folder(path, split)
    if not re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", str(name)) or path.suffix == ".parquet":
        raise ValueError(f"there is nothing at {path}; give the path of a folder, or a hub id such as jxie/flickr8k")
    return _open_hub(str(name), split)


def _open_folder(folder: Path, split: str) -> Dataset:
    files = sorted(folder.glob("*.parquet")) or sorted(folder.glob("data/*.parquet"))
    files = [file for file in files if file.name not in _METADATA]
    if files:
        parts: dict[str, list[Path]] = {}
        for file in files:
            parts.setdefault(_split_of(file), []).append(file)
        return _read_parquet(_pick(parts, split, folder), split)

    described = {file.parent for name in _METADATA for file in (*folder.glob(name), *folder.glob(f"*/{name}"))}
    if not described:
        inside = ", ".join(sorted(p.name + "/" * p.is_dir() for p in folder.iterdir())[:8]) or "nothing"
        raise ValueError(f"no captioned data set in {folder}: {_LAYOUT}; found {inside}")
    if folder in described:
        parts = {"train": folder}
    else:
        parts = {part.name: part for part in sorted(described)}
    return _read_pictures(_pick(parts, split, folder), split)


def _split_of(file: Path) -> str:
    """The split of a parquet file, by its name: "train-00000-of-00004.parquet" is of "train"."""
    first = re.split(r"[-_.]", file.name)[0].lower()
    known = {"train": "train", "training": "train", "test": "test", "testing": "test",
             "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation"}
    # Names that say nothing ("0000.parquet") are all there is, and that is for training; others,
    # such as "restval-00000-of-00001.parquet", are splits of their own.
    numbered = re.fullmatch(r".+-\d{5}-of-\d{5}\.parquet", file.name)
    return known.get(first) or (file.name.split("-")[0] if numbered else "train")


def _pick(parts: dict, split: str, folder: Path):
    if split not in parts:
        raise ValueError(f"no split {split!r} in {folder}; it has {', '.join(parts)}")
    return parts[split]


def _read_parquet(files: list[Path], split: str) -> Dataset:
    from datasets import Dataset

    try:
        return Dataset.from_parquet([str(file) for file in files], split=split)
    except Exception as error:  # pyarrow's errors come wrapped in those of datasets
        raise ValueError(f"{files[0].parent} holds a parquet file that cannot be read, or it is cut off: "
                         f"{_one_line(error)}") from error


def _read_pictures(folder: Path, split: str) -> Dataset:
    from datasets import load_dataset

    try:
        return load_dataset("imagefolder", data_files={split: f"{folder}/**"}, split=split)
    except Exception as error:  # a line that is no JSON, a file_name that does not exist, ...
        raise ValueError(f"cannot read the pictures of {folder}: {_one_line(error)}; {_LAYOUT}") from error


def _open_hub(name: str, split: str) -> Dataset:
    from datasets import load_dataset

    try:
        return load_dataset(name, split=split)
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
