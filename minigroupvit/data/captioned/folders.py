"""What lies on the disk under a name: parquet files, pictures with their metadata, or files of captions."""

from __future__ import annotations

import csv
import io
import re
from codecs import BOM_UTF8
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from ...extras import extra
from ...files import read_text
from .caption_files import FORMATS, SPLITS, as_dataset, find_caption_files, known_split, warn_of_unnamed
from .samples import KEY, listed

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset

_METADATA = ("metadata.jsonl", "metadata.csv", "metadata.parquet")
_ENDINGS = (".parquet", ".txt", ".csv", ".tsv", ".token", ".json", ".jsonl")
_PARQUET = "parquet files, named after their splits: train-*.parquet, test-*.parquet"
_PICTURES = ('pictures beside a metadata.jsonl whose lines are like {"file_name": "1.jpg", "caption": "a cat on the '
             'grass"}')
_LAYOUT = "expected " + "; ".join([_PARQUET, _PICTURES, *(kind.about for kind in FORMATS)])


@dataclass(frozen=True)
class OnDisk:
    """What lies on the disk under a name."""

    parts: dict[str, list[Any]]          # the files, folders or rows of each split
    open: Callable[[list[Any]], Dataset]


def find_on_disk(name: str | Path) -> OnDisk | None:
    """What lies on the disk under a name; None for a name that is of the hub.

    Raises ValueError where nothing is there, nothing that is known, or two things that are.
    """
    path = Path(name).expanduser()
    if not path.exists():
        if not re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", str(name)) or path.suffix in _ENDINGS:
            raise ValueError(f"there is nothing at {path}; give the path of a folder or a file, or a hub id such as "
                             "jxie/flickr8k")
        return None
    if path.name in _METADATA:
        return OnDisk({"train": [path.parent]}, _read_pictures)
    parquet, addresses = _parquet_files(path)
    metadata = _metadata_folders(path) if path.is_dir() else []
    captions = find_caption_files(path)
    found = [*([f"{parquet[0].name} (parquet)"] if parquet else []),
             *([f"{metadata[0].name}/metadata.*"] if metadata else []), *map(str, captions)]
    if len(found) > 1:
        raise ValueError(f"{path} can be read in {len(found)} ways: {'; '.join(found)}; give the path of the file that "
                         "is meant, or of a folder with nothing else")
    parts: dict[str, list[Any]] = {}
    if parquet:
        for file in parquet:
            parts.setdefault("train" if path.is_file() else _split_of(file), []).append(file)
        return OnDisk(parts, read_parquet)
    if metadata:
        if path in metadata and len(metadata) > 1:
            raise ValueError(f"there is a metadata file in {path} and another in {metadata[1]}; name all pictures in "
                             "one of them, or give one of the folders")
        for folder in metadata:
            parts.setdefault("train" if folder == path else known_split(folder.name), []).append(folder)
        return OnDisk(parts, _read_pictures)
    if captions:
        return OnDisk(captions[0].splits(), as_dataset)
    if addresses:
        raise ValueError(f"{addresses[0]} has the addresses of pictures, as img2dataset writes them beside what it "
                         "fetched, and not the pictures; give the folder with those, or its .tar files")
    if path.is_file():
        raise ValueError(f"{path} is no data set; give a .parquet file, a file of captions, or a folder: {_LAYOUT}")
    inside = sorted(file.name + "/" * file.is_dir() for file in islice(path.iterdir(), 1000))[:8]
    raise ValueError(f"no captioned data set in {path}: {_LAYOUT}; found {', '.join(inside) or 'nothing'}")


def _parquet_files(path: Path) -> tuple[list[Path], list[Path]]:
    """The parquet files with pictures, and those with nothing but addresses, which img2dataset writes."""
    with extra("data"):
        import pyarrow.parquet

    files = [path] if path.suffix == ".parquet" else []
    if path.is_dir():
        files = sorted(path.glob("*.parquet")) or sorted(path.glob("data/*.parquet"))
        files = [file for file in files if file.name not in _METADATA]
    try:
        columns = set(pyarrow.parquet.read_schema(files[0]).names) if files else set()
    except (OSError, pyarrow.ArrowException):    # what is wrong is said when they are read
        columns = set()
    has_pictures = not {"url", "key", "status"} <= columns or columns & {"image", "jpg", "jpeg", "png", "webp"}
    return (files, []) if has_pictures else ([], files)


def _metadata_folders(folder: Path) -> list[Path]:
    """The folders with a metadata file: this one first, then those in it."""
    return sorted({file.parent for name in _METADATA for file in (*folder.glob(name), *folder.glob(f"*/{name}"))})


def _split_of(file: Path) -> str:
    """The split of a parquet file, by its name: "train-00000-of-00004.parquet" is of "train"."""
    first = re.split(r"[-_.]", file.name)[0].lower()
    # Names that say nothing ("0000.parquet") are all there is, and that is for training; others,
    # such as "restval-00000-of-00001.parquet", are splits of their own.
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


def _read_pictures(folders: list[Path]) -> Dataset:
    with extra("data"):
        from datasets import concatenate_datasets

    return concatenate_datasets([_read_metadata(folder) for folder in folders])


def _read_metadata(folder: Path) -> Dataset:
    """The lines of the metadata, with `file_name` as the path of a picture: a missing one shows when it is read."""
    with extra("data"):
        from datasets import Dataset, Image

    file = next(folder / name for name in _METADATA if (folder / name).exists())
    read = {".jsonl": Dataset.from_json, ".csv": Dataset.from_csv, ".parquet": Dataset.from_parquet}[file.suffix]
    text = "" if file.suffix == ".parquet" else read_text(file)      # says which line is in another encoding
    try:
        if file.suffix == ".parquet" or not file.read_bytes().startswith(BOM_UTF8):
            dataset = read(str(file))
        else:                                    # the readers of datasets stumble over a byte-order mark
            with TemporaryDirectory() as folder_without:
                plain = Path(folder_without) / file.name
                plain.write_text(text, encoding="utf-8")
                dataset = read(str(plain), keep_in_memory=True, cache_dir=folder_without)
    except Exception as error:  # a line that is no JSON, ...
        raise ValueError(f"cannot read the pictures of {folder}: {one_line(error)}; expected {_PICTURES}") from error
    if "file_name" not in dataset.column_names:
        raise ValueError(f"cannot read the pictures of {folder}: {file.name} has no file_name, but "
                         f"{listed(dataset.column_names)}; expected {_PICTURES}")
    # Without a name there is no picture: None, which is counted like a missing file.
    paths = [str(folder.absolute() / name) if isinstance(name, str) and name else None for name in dataset["file_name"]]
    warn_of_unnamed(folder, paths, file.name)
    keys = [f"{file.name}, {row}" for row in _row_names(file.suffix, text, len(dataset))]
    dataset = dataset.select_columns([name for name in dataset.column_names if name not in ("image", "file_name", KEY)])
    return dataset.add_column("image", paths).cast_column("image", Image()).add_column(KEY, keys)


def _row_names(suffix: str, text: str, count: int) -> list[str]:
    """What a row is called by those who look at the file: the line where it begins, if there are lines."""
    lines: list[int] = []
    if suffix == ".jsonl":
        lines = [number for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
    elif suffix == ".csv":
        reader, next_line = csv.reader(io.StringIO(text, newline="")), 1
        for cells in reader:
            lines += [next_line] * bool(cells)
            next_line = reader.line_num + 1
        lines = lines[1:]
    return [f"line {line}" for line in lines] if len(lines) == count else [f"row {row}" for row in range(count)]


def one_line(error: BaseException) -> str:
    """The innermost cause, on one line: datasets wraps "not a parquet file" into two others."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split())[:300] or type(error).__name__
