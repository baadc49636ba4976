"""Joins the rows of one image to one image with several captions.

Many data sets have one row per caption, so an image with five captions comes five times. Taken as five images, some
of them could be in the validation set and others in the training set, and an image could be its own negative in a
batch of the contrastive loss.

A data set with random access is joined as a whole (`read_pictures`). In a stream the rows that are in a worker's
buffer together are joined (`join_rows`): most files have the rows of an image side by side.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

from .samples import (
    KEY,
    Columns,
    Sample,
    Skipped,
    Unusable,
    caption_texts,
    fit,
    read_captions,
    read_nouns,
    read_picture,
)

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class Pictures:
    """The images of a data set that have captions, each once."""

    stored: Dataset             # the column of images alone, not decoded
    image: str                  # its name
    captions: list[list[str]]
    nouns: list[list[str] | None]     # of all rows of an image; None: they are in the captions
    keys: list[str]             # where each is in its file, for messages

    def samples(self, size: int, skip: Callable[[int, Unusable], None]) -> Iterator[Sample]:
        """The readable images with `size` x `size` pixels; `skip` is called with the position of each other one."""
        for position, (row, captions, nouns) in enumerate(zip(self.stored, self.captions, self.nouns)):
            try:
                yield Sample(fit(read_picture(row[self.image]), size), captions, nouns)
            except Unusable as error:
                skip(position, error)


def read_pictures(dataset: Dataset, columns: Columns, skipped: Skipped) -> Pictures:
    """The images of a data set with the captions and nouns of all their rows; `skipped` counts what is unusable.

    Two images are the same if their bytes are, or without bytes their paths.

    Args:
        dataset: images as they are stored, not decoded (`captioned.undecoded`).
        columns: its columns.
    """
    rows, own = picture_rows(dataset, columns)
    texts: dict[int, list[str]] = {row: [] for row in rows}
    nouns: dict[int, list[str] | None] = dict.fromkeys(rows)
    wrong: dict[int, list[tuple[Unusable, str]]] = {row: [] for row in rows}
    keys: dict[int, str] = {}
    others = [name for name in dataset.column_names if name in (*columns.all[1:], KEY)]
    for number, (row, values) in enumerate(zip(own, dataset.select_columns(others))):
        key = values.get(KEY) or f"row {number}"
        keys.setdefault(row, key)
        nouns[row] = _both(nouns[row], read_nouns(values, columns))
        try:
            found, silent = read_captions(values, columns)
            texts[row] += found
            wrong[row] += [(error, key) for error in silent]
        except Unusable as error:
            wrong[row].append((error, key))
    for row in rows:
        for error, key in wrong[row] if texts[row] else wrong[row][:1]:
            # Where other rows of this image have captions, only this caption is missing, not the image.
            skipped.add(Unusable(error.reason, error.detail, whole_row=not texts[row]), key)
    skipped.seen += len(rows)
    kept = [row for row in rows if texts[row]]
    return Pictures(dataset.select_columns([columns.image]).select(kept), columns.image, [texts[row] for row in kept],
                    [nouns[row] for row in kept], [keys[row] for row in kept])


def picture_rows(dataset: Dataset, columns: Columns) -> tuple[list[int], list[int]]:
    """The first row of each image, and for every row the first row of its image."""
    first: dict[Any, int] = {}
    own = [first.setdefault(_identity(value, number), number) for number, value in enumerate(dataset[columns.image])]
    return list(first.values()), own


def join_rows(rows: Iterable[Mapping[str, Any]], columns: Columns) -> list[Mapping[str, Any]]:
    """Rows with all captions and nouns of an image in its first row."""
    first: dict[Any, Mapping[str, Any]] = {}
    for number, row in enumerate(rows):
        picture = _identity(row[columns.image], number)
        first[picture] = _joined(first[picture], row, columns) if picture in first else row
    return list(first.values())


def join_neighbours(rows: Iterable[Mapping[str, Any]], columns: Columns) -> Iterator[Mapping[str, Any]]:
    """`join_rows` of consecutive rows of one image; each row with its `KEY`."""
    named = ({KEY: f"row {number}", **row} for number, row in enumerate(rows))
    for _, same in groupby(named, key=lambda row: _identity(row[columns.image], row[KEY])):
        yield from join_rows(same, columns)


def _joined(row: Mapping[str, Any], other: Mapping[str, Any], columns: Columns) -> Mapping[str, Any]:
    try:
        texts = caption_texts(row, columns) + caption_texts(other, columns)
    except Unusable:                 # the other row cannot be read: keep the first one as it is
        return row
    joined = {**row, **dict.fromkeys(columns.captions), columns.captions[0]: texts}
    nouns = _both(read_nouns(row, columns), read_nouns(other, columns))
    return joined if nouns is None else {**joined, columns.nouns: nouns}


def _both(some: list[str] | None, others: list[str] | None) -> list[str] | None:
    """The nouns of two rows of an image, each once; None without a column of nouns."""
    return some if others is None else list(dict.fromkeys([*(some or ()), *others]))


def _identity(value: Any, number: Any) -> Any:
    """Equal for two rows of one image; the row's own number where there is no image."""
    if isinstance(value, Mapping):
        value = value.get("path") if not value.get("bytes") else value["bytes"]
    if isinstance(value, bytes):
        return hashlib.sha1(value).digest()
    return value if isinstance(value, str) and value else ("no image", number)
