"""Captions in the files that people have them in: what a folder holds, its splits, and where the pictures are.

The formats are in caption_formats.py. Splits are those in the file; or of lists of pictures beside it
(`Flickr_8k.trainImages.txt`); or the one in its name or in that of its folder (`captions_val2017.json`).
Else all is for training.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ...extras import extra
from ...files import read_text
from ...images import PICTURE_ENDINGS, pictures_below
from .caption_formats import BESIDE, FORMATS, SPLITS, Format, Row
from .samples import KEY

if TYPE_CHECKING:
    from datasets import Dataset


def known_split(name: str) -> str:
    """Our name of a split: "val" and "dev" are "validation"."""
    return SPLITS.get(name.lower(), name)


@dataclass(frozen=True)
class CaptionFiles:
    """What a place has of one format: the files, or for a text beside each picture, the folder itself."""

    format: Format
    files: tuple[Path, ...]
    place: Path

    def __str__(self) -> str:
        more = ", ..." if len(self.files) > 3 else ""
        return f"{', '.join(file.name for file in self.files[:3])}{more} ({self.format.about})"

    def splits(self) -> dict[str, list[Row]]:
        """The rows of each split, with the paths of their pictures.

        Raises ValueError where a file cannot be read, or nothing of what it names is found.
        """
        parts: dict[str, list[Row]] = {}
        roots: set[Path] = set()
        for file in self.files:
            try:
                rows = list(self.format.read(file))
            except (KeyError, TypeError, AttributeError) as error:
                raise ValueError(f"{file} is not as expected of {self.format.about}: {error!r}") from None
            if not rows:
                raise ValueError(f"{file} has no captions; expected {self.format.about}")
            split = None
            if self.format is not BESIDE:
                rows, root = _with_paths(file, _with_listed_splits(file, rows), self.place)
                split = _split_of_file(file, self.place)
                roots.add(root)
            for row in rows:
                parts.setdefault(known_split(row.split or split or "train"), []).append(row)
        named = {row.picture for rows in parts.values() for row in rows}
        for root in roots if self.place.is_dir() else ():    # one file alone need not be for all that is there
            warn_of_unnamed(root, named, self.files[0].name)
        return parts


def find_caption_files(place: Path) -> list[CaptionFiles]:
    """What there is in a file, or in a folder and the folders in it, by format; none: nothing is known there."""
    files = [place] if place.is_file() else [
        file for folder in (place, *_folders(place)) for file in _text_files(folder)]
    found = [CaptionFiles(kind, tuple(fitting), place) for kind in FORMATS if kind is not BESIDE
             and (fitting := [file for file in files if kind.fits(file)])]
    return found + [CaptionFiles(BESIDE, (place,), place)] * (place.is_dir() and BESIDE.fits(place))


def _text_files(folder: Path) -> list[Path]:
    """The files of a folder that may hold captions: not those that describe one picture each."""
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries
                       if entry.is_file() and not entry.name.startswith((".", "metadata.")))
    endings = {name: os.path.splitext(name) for name in names}
    pictures = {stem for stem, ending in endings.values() if ending.lower() in PICTURE_ENDINGS}
    return [folder / name for name, (stem, ending) in endings.items()
            if ending in (".txt", ".csv", ".tsv", ".token", ".json") and stem not in pictures]


def _folders(folder: Path) -> list[Path]:
    with os.scandir(folder) as entries:
        return [folder / name for name in sorted(entry.name for entry in entries if entry.is_dir()) if name[0] != "."]


_LIST = re.compile(r"(?:flickr_?\d+k[._-])?(train|dev|val|test)(?:_?images)?\.txt", re.IGNORECASE)


def _split_of_file(file: Path, place: Path) -> str | None:
    """The split that a file's name has in it, else that of its folder; of a file that was asked for, none."""
    if file == place:
        return None
    words = [*re.split(r"[\W\d_]+", file.stem.lower()), file.parent.name.lower() if file.parent != place else ""]
    return next((word for word in words if word in SPLITS), None)


def _with_listed_splits(file: Path, rows: list[Row]) -> list[Row]:
    """The rows with the splits of the lists beside their file; pictures in no list are of the split "unlisted"."""
    if any(row.split for row in rows):
        return rows
    lists = {match[1].lower(): path for path in sorted(file.parent.glob("*.txt"))
             if (match := _LIST.fullmatch(path.name))}
    split_of = {name.strip(): split for split, path in lists.items() for name in read_text(path).splitlines()}
    splits = [split_of.get(row.picture) or split_of.get(Path(row.picture).stem) for row in rows]
    return [replace(row, split=split or "unlisted") for row, split in zip(rows, splits)] if any(splits) else rows


def _with_paths(file: Path, rows: list[Row], place: Path) -> tuple[list[Row], Path]:
    """The rows with the paths of their pictures, and the folder of these: beside the file or in a folder there, else
    elsewhere in the place that was given.

    One that is missing there shows when it is read. Raises ValueError where none is there.
    """
    names = list(dict.fromkeys(row.picture for row in rows if row.picture))
    few = names[::max(1, len(names) // 50)]
    ways: list[Callable[[str], str]] = [str, os.path.basename]      # train2014/1.jpg, or 1.jpg alone
    for top in (file.parent, place if place.is_dir() else file.parent.parent):
        roots = [top, *_folders(top), *(inner for outer in _folders(top) for inner in _folders(outer))]
        roots.sort(key=lambda root: root.name not in file.stem)     # captions_val2017.json: val2017 before the others
        count, root, way = max(((sum((root / way(name)).is_file() for name in few), root, way)
                                for way in ways for root in roots), key=lambda one: one[0])   # the first of the best
        if count:
            break
    else:
        named = f", such as {few[0]}" if few else ""
        raise ValueError(f"none of the pictures that {file} names is there{named}; put them beside it, or into a "
                         f"folder such as {file.parent / 'images'}")
    paths = {name: os.path.join(root.absolute(), way(name)) for name in names}
    return [replace(row, picture=paths.get(row.picture, "")) for row in rows], root


def warn_of_unnamed(folder: Path, named: Iterable[str | None], file: str) -> None:
    """A UserWarning where there are pictures in a folder, or in those in it, which a file does not name."""
    folder = Path(os.path.normpath(folder.absolute()))          # "./1.jpg" and "../photos/1.jpg" are the same as 1.jpg
    named = {os.path.normpath(path) for path in named if path}
    others = [path for path in pictures_below(folder) if path not in named]
    if others:
        warnings.warn(f"{len(others):,} pictures below {folder} are left out: {file} does not name them, such as "
                      f"{os.path.relpath(others[0], folder)}", stacklevel=2)


def as_dataset(rows: list[Row]) -> Dataset:
    """Rows with paths as a data set: `image`, `captions`, `__key__` (`samples.KEY`), and what else a table has."""
    with extra("data"):
        from datasets import Dataset, Features, Image, Value

    own = {"image": Image(), "captions": [Value("string")], KEY: Value("string")}
    others = [name for name in dict.fromkeys(name for row in rows for name in row.others) if name not in own]
    return Dataset.from_dict({"image": [row.picture or None for row in rows],
                              "captions": [row.captions for row in rows],
                              KEY: [row.where for row in rows]}
                             | {name: [row.others.get(name) for row in rows] for name in others},
                             Features(own | dict.fromkeys(others, Value("string"))))
