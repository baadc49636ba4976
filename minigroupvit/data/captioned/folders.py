"""What a path on the disk holds: parquet files, images with a metadata file, or caption files."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...extras import extra
from ...files import read_text
from .caption_files import FORMATS, SPLITS, as_dataset, find_caption_files, known_split, warn_of_unnamed
from .samples import IMAGE_KINDS, KEY, listed

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset

_METADATA = ("metadata.jsonl", "metadata.csv", "metadata.parquet")
_ENDINGS = (".parquet", ".txt", ".csv", ".tsv", ".token", ".json", ".jsonl")
_PARQUET = "parquet files, named after their splits: train-*.parquet, test-*.parquet"
_IMAGES = ('images beside a metadata.jsonl whose lines are like '
           '{"file_name": "1.jpg", "caption": "a cat on the grass"}')
_LAYOUT = "expected " + "; ".join([_PARQUET, _IMAGES, *(kind.about for kind in FORMATS)])


@dataclass(frozen=True)
class OnDisk:
    """The parts of a data set on the disk, and how they are opened."""

    parts: dict[str, list[Any]]          # the files, folders or rows of each split
    open: Callable[[list[Any]], Dataset]


def find_on_disk(name: str | Path) -> OnDisk | None:
    """What a path holds; None for a name that can only be of the hub.

    Raises ValueError where nothing is there, no known format, or two of them.
    """
    path = Path(name).expanduser()
    if not path.exists():
        if not re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", str(name)) or path.suffix in _ENDINGS:
            raise ValueError(f"there is nothing at {path}; give the path of a folder or a file, or a hub id such as "
                             "jxie/flickr8k")
        return None
    if path.name in _METADATA:
        return OnDisk({"train": [path.parent]}, _read_metadata)
    parquet, addresses = _parquet_files(path)
    metadata = _metadata_folders(path) if path.is_dir() else []
    captions = find_caption_files(path)
    found = [*([f"{parquet[0].name} (parquet)"] if parquet else []),
             *([f"{metadata[0].name}/metadata.*"] if metadata else []), *map(str, captions)]
    if len(found) > 1:
        raise ValueError(f"{path} can be read in {len(found)} ways: {'; '.join(found)}; give the path of the file to "
                         "read, or of a folder with nothing else")
    parts: dict[str, list[Any]] = {}
    if parquet:
        for file in parquet:
            parts.setdefault("train" if path.is_file() else _split_of(file), []).append(file)
        return OnDisk(parts, read_parquet)
    if metadata:
        if path in metadata and len(metadata) > 1:
            raise ValueError(f"there is a metadata file in {path} and another in {metadata[1]}; name all images in "
                             "one of them, or give one of the folders")
        for folder in metadata:
            parts.setdefault("train" if folder == path else known_split(folder.name), []).append(folder)
        return OnDisk(parts, _read_metadata)
    if captions:
        return OnDisk(captions[0].splits(), as_dataset)
    if addresses:
        raise ValueError(f"{addresses[0]} has the addresses of images, as img2dataset writes them beside what it "
                         "fetched, and not the images; give the folder with those, or its .tar files")
    if path.is_file():
        raise ValueError(f"{path} is no data set; give a .parquet file, a file of captions, or a folder: {_LAYOUT}")
    inside = sorted(file.name + "/" * file.is_dir() for file in islice(path.iterdir(), 1000))[:8]
    raise ValueError(f"no captioned data set in {path}: {_LAYOUT}; found {', '.join(inside) or 'nothing'}")


def _parquet_files(path: Path) -> tuple[list[Path], list[Path]]:
    """The parquet files with images, and those with nothing but addresses, which img2dataset writes."""
    with extra("data"):
        import pyarrow.parquet

    files = [path] if path.suffix == ".parquet" else []
    if path.is_dir():
        files = sorted(path.glob("*.parquet")) or sorted(path.glob("data/*.parquet"))
        files = [file for file in files if file.name not in _METADATA]
    try:
        columns = set(pyarrow.parquet.read_schema(files[0]).names) if files else set()
    except (OSError, pyarrow.ArrowException):    # the error comes when they are read
        columns = set()
    has_images = not {"url", "key", "status"} <= columns or columns & {"image", *IMAGE_KINDS}
    return (files, []) if has_images else ([], files)


def _metadata_folders(folder: Path) -> list[Path]:
    """The folders with a metadata file: this one first, then those in it."""
    return sorted({file.parent for name in _METADATA for file in (*folder.glob(name), *folder.glob(f"*/{name}"))})


def _split_of(file: Path) -> str:
    """The split of a parquet file, by its name: "train-00000-of-00004.parquet" is of "train"."""
    first = re.split(r"[-_.]", file.name)[0].lower()
    # Names without a split ("0000.parquet") are for training; others, such as "restval-00000-of-00001.parquet",
    # are splits of their own.
    numbered = re.fullmatch(r".+-\d{5}-of-\d{5}\.parquet", file.name)
    return SPLITS.get(first) or (file.name.split("-")[0] if numbered else "train")


def read_parquet(files: list[Path], streaming: bool = False) -> Dataset | IterableDataset:
    with extra("data"):
        from datasets import load_dataset

    try:
        return load_dataset("parquet", data_files={"train": [str(file) for file in files]}, split="train",
                            streaming=streaming)
    except Exception as error:  # pyarrow's errors come wrapped in those of datasets
        raise ValueError(f"{files[0].parent} holds a parquet file that cannot be read, or it is cut off: "
                         f"{one_line(error)}") from error


def _read_metadata(folders: list[Path]) -> Dataset:
    """The rows of the metadata files, with `file_name` as the path of an image: a missing one is noticed when read."""
    with extra("data"):
        from datasets import Dataset, Image, concatenate_datasets

    found = []
    for folder in folders:
        file = next(folder / name for name in _METADATA if (folder / name).exists())
        text = "" if file.suffix == ".parquet" else read_text(file)      # says which line is in another encoding
        try:
            if file.suffix == ".parquet":
                dataset = Dataset.from_parquet(str(file))
                keys = [f"row {row}" for row in range(len(dataset))]
            else:
                lines = dict(_lines(text, file.suffix))
                keys = [f"line {line}" for line in lines]
                dataset = Dataset.from_dict({name: [row.get(name) for row in lines.values()]
                                             for name in dict.fromkeys(name for row in lines.values() for name in row)})
        except Exception as error:  # a line that is no JSON, a column of several types, ...
            raise ValueError(f"cannot read the images of {folder}: {one_line(error)}; expected {_IMAGES}") from error
        if "file_name" not in dataset.column_names:
            raise ValueError(f"cannot read the images of {folder}: {file.name} has no file_name, but "
                             f"{listed(dataset.column_names)}; expected {_IMAGES}")
        # Without a name there is no image: None, which is counted like a missing file.
        paths = [str(folder.absolute() / name) if isinstance(name, str) and name else None
                 for name in dataset["file_name"]]
        warn_of_unnamed(folder, paths, file.name)
        dataset = dataset.remove_columns([name for name in ("image", "file_name", KEY) if name in dataset.column_names])
        found.append(dataset.add_column("image", paths).cast_column("image", Image())
                     .add_column(KEY, [f"{file.name}, {key}" for key in keys]))
    return concatenate_datasets(found)


def _lines(text: str, suffix: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each row of a metadata.jsonl or metadata.csv with the number of the line where it begins."""
    if suffix == ".jsonl":
        yield from ((number, json.loads(line)) for number, line in enumerate(text.split("\n"), 1) if line.strip())
        return
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    for row in reader:
        line = reader.line_num - sum(cell.count("\n") for cell in row.values() if isinstance(cell, str))
        if None in row:
            raise ValueError(f"line {line} has more cells than the header; put a caption with commas into quotes")
        yield line, row


def one_line(error: BaseException) -> str:
    """The innermost cause, on one line: datasets wraps "not a parquet file" into two others."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split())[:300] or type(error).__name__
