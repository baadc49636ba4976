"""Captions in the files that people have them in. Each format is recognised by the content of the file.

    table            captions.txt, results.csv: image,caption; or image_name| comment_number| comment
    numbered lines   Flickr8k.token.txt: 1.jpg#0 <tab> a cat on the grass
    COCO             captions_train2017.json: images and annotations
    Karpathy         dataset_coco.json: images, each with its split and its sentences
    list             BLIP's coco_karpathy_train.json: [{"image": "1.jpg", "caption": "a cat on the grass"}, ...]
    text files       1.txt beside 1.jpg, one caption per line

A `Format` recognises its files and reads them as `Row`s. The split of a row is the one in the file; else that of a
list of images beside it (`Flickr_8k.trainImages.txt`); else the one in the name of the file or of its folder
(`captions_val2017.json`); else "train".
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import os
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...extras import extra
from ...files import read_text
from ...images import PICTURE_ENDINGS, pictures_below
from .samples import KEY

if TYPE_CHECKING:
    from datasets import Dataset

# Names of splits in files, and our names for them; every other name is a split of its own.
SPLITS = {"train": "train", "training": "train", "test": "test", "testing": "test",
          "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation"}
# Names of the columns of a table, or of the fields of a list.
_IMAGE_NAMES = ("image", "image_name", "file_name", "filename", "file", "image_path", "path", "filepath")
_CAPTION_NAMES = ("caption", "captions", "comment", "text", "description", "sentence", "raw")


def known_split(name: str) -> str:
    """Our name of a split: "val" and "dev" are "validation"."""
    return SPLITS.get(name.lower(), name)


@dataclass(frozen=True)
class Row:
    """A line of a text file, or an entry of a JSON file."""

    image: str                # as the file names it; later its path
    captions: list[str]
    where: str                # for messages: "captions.txt, line 7"
    split: str | None = None
    others: Mapping[str, str] = field(default_factory=dict)    # the other columns of a table: nouns, perhaps


@dataclass(frozen=True)
class Format:
    """One format: how its files are recognised and read."""

    about: str                                    # with an example, for messages
    fits: Callable[[Path], bool]                  # takes a file, or the folder of the text files
    read: Callable[[Path], Iterator[Row]]


def _content(file: Path, from_end: bool = False) -> str:
    """The first or the last 100,000 bytes: a file of COCO's masks may lie beside, and is large."""
    with open(file, "rb") as stream:
        if from_end:
            stream.seek(max(0, file.stat().st_size - 100_000))
        content = stream.read(100_000)
    # A file in another encoding is recognised too: `read_text` then says which encoding it has.
    utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return content.decode("utf-16" if utf16 else "utf-8-sig", errors="replace")


def _image_and_caption(names: Iterable[str]) -> tuple[str, str] | None:
    """The names of the image and of the caption among these, in lower case; None if one is missing."""
    lower = {name.lower() for name in names}
    image, caption = (next(filter(lower.__contains__, usual), None) for usual in (_IMAGE_NAMES, _CAPTION_NAMES))
    return (image, caption) if image and caption else None


# Tables

def _table_header(file: Path) -> tuple[str, list[str]] | None:
    """The separator and the columns of a table of images and captions, else None."""
    line = _content(file).partition("\n")[0]
    for separator in ",|\t;":
        names = [name.strip().strip('"') for name in line.split(separator)]
        if _image_and_caption(names):
            return separator, names
    return None


def _read_table(file: Path) -> Iterator[Row]:
    separator, names = _table_header(file)
    lower = [name.lower() for name in names]
    image, caption = map(lower.index, _image_and_caption(names))
    split = lower.index("split") if "split" in lower else None
    others = [number for number, name in enumerate(names) if name and number not in (image, caption, split)]
    for line, cells in _cells(file, separator, len(names)):
        if len(cells) == 2 < len(names) and (joined := re.fullmatch(r"(\d+)\s+(.*)", cells[1])):
            cells = [cells[0], *joined.groups()]           # a line of Flickr30k's results.csv lacks its second bar
        cells += [""] * (len(names) - len(cells))
        yield Row(cells[image], _texts_of_cell(cells[caption]), f"{file.name}, line {line}",
                  cells[split] or None if split is not None else None, {names[n]: cells[n] for n in others})


def _cells(file: Path, separator: str, count: int) -> Iterator[tuple[int, list[str]]]:
    """Number and cells of each line after the first. The last cell takes what is left: captions have commas."""
    text = read_text(file)
    if separator in "|\t":                                  # there a quote is an ordinary letter
        for line, content in enumerate(text.split("\n")[1:], start=2):
            if content.strip():
                yield line, [cell.strip() for cell in content.split(separator, count - 1)]
        return
    reader, line = csv.reader(io.StringIO(text, newline=""), delimiter=separator), 1
    try:
        for number, cells in enumerate(reader):
            if any(re.search(rf"\n[^\n]*\.(jpe?g|png|webp)\"?{separator}", cell) for cell in cells):
                raise ValueError(f"{file}: a quote in line {line} is not closed; write a quote twice that is part of a "
                                 "caption")
            if number and cells:
                yield line, [cell.strip() for cell in (*cells[:count - 1], separator.join(cells[count - 1:]))]
            line = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(f"{file}, line {line} cannot be read as csv: {error}") from None


def _texts_of_cell(cell: str) -> list[str]:
    """The captions in a cell: its text, or a list written as JSON."""
    if cell.startswith("[") and cell.endswith("]"):
        try:
            return [text for text in json.loads(cell) if isinstance(text, str)]
        except json.JSONDecodeError:
            pass
    return [cell] if cell else []


# Numbered lines

_NUMBERED = re.compile(r"(?P<image>[^\t\n]+)#\d+\t(?P<caption>[^\n]*)")


def _read_numbered(file: Path) -> Iterator[Row]:
    for line, content in enumerate(read_text(file).split("\n"), start=1):
        if match := _NUMBERED.fullmatch(content):
            yield Row(match["image"].strip(), [match["caption"].strip()], f"{file.name}, line {line}")
        elif content.strip():
            raise ValueError(f"{file}, line {line} is {content[:80]!r}; expected an image, #, a number, a tab and a "
                             "caption")


# JSON

def _json_keys(file: Path, bracket: str) -> set[str]:
    """The keys at the beginning and the end of a JSON file that opens with this bracket; none of another file."""
    if file.suffix != ".json" or not (beginning := _content(file)).lstrip().startswith(bracket):
        return set()
    return set(re.findall(r'"(\w+)"\s*:', beginning + _content(file, from_end=True)))


def _load_json(file: Path) -> Any:
    try:
        return json.loads(read_text(file))
    except json.JSONDecodeError as error:
        raise ValueError(f"{file} is no JSON, or it is cut off: {error}") from None


def _read_coco(file: Path) -> Iterator[Row]:
    content = _load_json(file)
    captions: dict[Any, list[str]] = {}
    for annotation in content["annotations"]:
        captions.setdefault(annotation["image_id"], []).append(annotation.get("caption", ""))
    for image in content["images"]:
        yield Row(image["file_name"], captions.get(image["id"], []), f"{file.name}, image {image['id']}")


def _read_karpathy(file: Path) -> Iterator[Row]:
    for number, image in enumerate(_load_json(file)["images"]):
        yield Row(str(Path(image.get("filepath", "")) / image["filename"]), [s["raw"] for s in image["sentences"]],
                  f"{file.name}, images[{number}]", image.get("split"))


def _read_list(file: Path) -> Iterator[Row]:
    for number, entry in enumerate(_load_json(file)):
        where, values = f"{file.name}, entry {number}", {name.lower(): value for name, value in entry.items()}
        if (names := _image_and_caption(values)) is None:
            raise ValueError(f"{where} has the fields {', '.join(entry)}; expected an image and a caption in each")
        image, texts = (values[name] for name in names)
        texts = texts if isinstance(texts, list) else [texts]
        others = {name: ", ".join(value) if isinstance(value, list) else value for name, value in entry.items()
                  if name.lower() not in (*names, "split")
                  and all(isinstance(one, str) for one in (value if isinstance(value, list) else [value]))}
        yield Row(image if isinstance(image, str) else "", [text for text in texts if isinstance(text, str)], where,
                  values.get("split"), others)


# Text files beside the images

def _texts_beside(folder: Path) -> bool:
    return any(os.path.isfile(f"{os.path.splitext(path)[0]}.txt") for path in pictures_below(folder))


def _read_texts_beside(folder: Path) -> Iterator[Row]:
    for path in map(Path, pictures_below(folder)):
        text, inside = path.with_suffix(".txt"), path.relative_to(folder).parts
        lines = [line.strip() for line in read_text(text).split("\n")] if text.is_file() else []
        yield Row(str(path.absolute()), [line for line in lines if line], str(Path(*inside[:-1], text.name)),
                  inside[0] if len(inside) > 1 and inside[0].lower() in SPLITS else None)


BESIDE = Format("a text beside each image, 1.txt beside 1.jpg", _texts_beside, _read_texts_beside)
FORMATS = (
    Format("a table such as Flickr8k's captions.txt (image,caption) or Flickr30k's results.csv",
           lambda file: file.suffix in (".txt", ".csv", ".tsv") and _table_header(file) is not None, _read_table),
    Format("Flickr8k.token.txt, whose lines are like 1.jpg#0, a tab and a caption",
           lambda file: file.suffix in (".txt", ".token") and "lemma" not in file.name
           and _NUMBERED.match(_content(file)) is not None, _read_numbered),
    Format("COCO's captions_train2017.json", lambda file: {"file_name", "caption"} <= _json_keys(file, "{"), _read_coco),
    Format("Karpathy's dataset_coco.json, which has the splits",
           lambda file: {"images", "filename", "sentences"} <= _json_keys(file, "{"), _read_karpathy),
    Format('a JSON list as BLIP has it, [{"image": "1.jpg", "caption": "a cat on the grass"}, ...]',
           lambda file: _image_and_caption(_json_keys(file, "[")) is not None, _read_list),
    BESIDE)


# The files of a folder, their splits, and their images

@dataclass(frozen=True)
class CaptionFiles:
    """The files of one format in a place; of text files beside the images, the folder itself."""

    format: Format
    files: tuple[Path, ...]
    place: Path

    def __str__(self) -> str:
        more = ", ..." if len(self.files) > 3 else ""
        return f"{', '.join(file.name for file in self.files[:3])}{more} ({self.format.about})"

    def splits(self) -> dict[str, list[Row]]:
        """The rows of each split, with the paths of their images.

        Raises ValueError where a file cannot be read, or none of its images is found.
        """
        parts: dict[str, list[Row]] = {}
        roots: set[Path] = set()
        for file in self.files:
            try:
                rows = self._read(file)
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
        named = {row.image for rows in parts.values() for row in rows}
        for root in roots if self.place.is_dir() else ():    # one file alone need not name all images
            warn_of_unnamed(root, named, self.files[0].name)
        return parts

    def _read(self, file: Path) -> list[Row]:
        if self.format is BESIDE:
            return list(self.format.read(file))
        state = file.stat()
        return _read_once(self.format, file, state.st_mtime_ns, state.st_size)


# A command asks for the splits, opens the training set, asks again and opens the validation set: COCO's files are large.
@lru_cache(maxsize=4)
def _read_once(kind: Format, file: Path, changed: int, size: int) -> list[Row]:
    return list(kind.read(file))


def find_caption_files(place: Path) -> list[CaptionFiles]:
    """What there is in a file, or in a folder and its subfolders, by format; empty where no format fits."""
    files = [place] if place.is_file() else [
        file for folder in (place, *_folders(place)) for file in _text_files(folder)]
    found = [CaptionFiles(kind, tuple(fitting), place) for kind in FORMATS if kind is not BESIDE
             and (fitting := [file for file in files if kind.fits(file)])]
    return found + [CaptionFiles(BESIDE, (place,), place)] * (place.is_dir() and BESIDE.fits(place))


def _text_files(folder: Path) -> list[Path]:
    """The files of a folder that may hold captions: not those that describe one image each."""
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries
                       if entry.is_file() and not entry.name.startswith((".", "metadata.")))
    endings = {name: os.path.splitext(name) for name in names}
    images = {stem for stem, ending in endings.values() if ending.lower() in PICTURE_ENDINGS}
    return [folder / name for name, (stem, ending) in endings.items()
            if ending in (".txt", ".csv", ".tsv", ".token", ".json") and stem not in images]


def _folders(folder: Path) -> list[Path]:
    with os.scandir(folder) as entries:
        return [folder / name for name in sorted(entry.name for entry in entries if entry.is_dir()) if name[0] != "."]


_LIST = re.compile(r"(?:flickr_?\d+k[._-])?(train|dev|val|test)(?:_?images)?\.txt", re.IGNORECASE)


def _split_of_file(file: Path, place: Path) -> str | None:
    """The split in the name of a file, else in that of its folder; None for a file that was asked for by its path."""
    if file == place:
        return None
    words = [*re.split(r"[\W\d_]+", file.stem.lower()), file.parent.name.lower() if file.parent != place else ""]
    return next((word for word in words if word in SPLITS), None)


def _with_listed_splits(file: Path, rows: list[Row]) -> list[Row]:
    """The rows with the splits of the lists beside their file; images in no list are in the split "unlisted"."""
    if any(row.split for row in rows):
        return rows
    lists = {match[1].lower(): path for path in sorted(file.parent.glob("*.txt"))
             if (match := _LIST.fullmatch(path.name))}
    split_of = {name.strip(): split for split, path in lists.items() for name in read_text(path).splitlines()}
    splits = [split_of.get(row.image) or split_of.get(Path(row.image).stem) for row in rows]
    return [replace(row, split=split or "unlisted") for row, split in zip(rows, splits)] if any(splits) else rows


def _with_paths(file: Path, rows: list[Row], place: Path) -> tuple[list[Row], Path]:
    """The rows with the paths of their images, and the folder of these.

    They are beside the file or in a folder there, else elsewhere in the place that was given. A single missing image
    is noticed when it is read. Raises ValueError where all are missing.
    """
    names = list(dict.fromkeys(row.image for row in rows if row.image))
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
        raise ValueError(f"none of the images that {file} names is there{named}; put them beside it, or into a "
                         f"folder such as {file.parent / 'images'}")
    paths = {name: os.path.join(root.absolute(), way(name)) for name in names}
    return [replace(row, image=paths.get(row.image, "")) for row in rows], root


def warn_of_unnamed(folder: Path, named: Iterable[str | None], file: str) -> None:
    """A UserWarning where a folder or its subfolders have images that the file does not name."""
    folder = Path(os.path.normpath(folder.absolute()))          # "./1.jpg" and "../photos/1.jpg" are the same as 1.jpg
    named = {os.path.normpath(path) for path in named if path}
    others = [path for path in pictures_below(folder) if path not in named]
    if others:
        warnings.warn(f"{len(others):,} images below {folder} are left out: {file} does not name them, such as "
                      f"{os.path.relpath(others[0], folder)}", stacklevel=2)


def as_dataset(rows: list[Row]) -> Dataset:
    """Rows with paths as a data set: `image`, `captions`, `__key__` (`samples.KEY`), and the other columns of a table."""
    with extra("data"):
        from datasets import Dataset, Features, Image, Value

    own = {"image": Image(), "captions": [Value("string")], KEY: Value("string")}
    others = [name for name in dict.fromkeys(name for row in rows for name in row.others) if name not in own]
    return Dataset.from_dict({"image": [row.image or None for row in rows],
                              "captions": [row.captions for row in rows],
                              KEY: [row.where for row in rows]}
                             | {name: [row.others.get(name) for row in rows] for name in others},
                             Features(own | dict.fromkeys(others, Value("string"))))
