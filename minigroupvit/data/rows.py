"""Rows of one picture become one picture with several captions.

Many data sets have a row for each caption, so that a picture with five captions is there five times. Taken as
five pictures, some of them would be held out for validation while the others are trained on, and one picture
would be its own negative in a batch: "not this caption", which is true of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .samples import Columns, caption_texts, read_nouns

if TYPE_CHECKING:
    from datasets import Dataset


def one_row_per_picture(dataset: Dataset, columns: Columns) -> tuple[Dataset, Columns]:
    """The data set with all captions of a picture in its first row; unchanged where every picture has one row.

    Pictures are the same where their paths are, or where they have no path, their bytes.

    Args:
        dataset: pictures as they are stored, not decoded (`captioned.undecoded`).
        columns: its columns.

    Returns:
        The data set, and its columns: the captions of a picture are then one list, and so are its nouns.
    """
    first: dict[Any, int] = {}       # picture -> the row that it is first in
    own = [first.setdefault(_identity(value, number), number) for number, value in enumerate(dataset[columns.image])]
    rows = list(first.values())
    if len(rows) == len(dataset):
        return dataset, columns
    texts: dict[int, list[str]] = {row: [] for row in rows}
    nouns: dict[int, list[str]] = {row: [] for row in rows}
    for row, values in zip(own, dataset.select_columns(columns.all[1:])):
        texts[row] += caption_texts(values, columns)
        nouns[row] += read_nouns(values, columns) or []
    name = columns.captions[0]
    dataset = dataset.select_columns([columns.image]).select(rows).add_column(name, list(texts.values()))
    if columns.nouns:
        dataset = dataset.add_column(columns.nouns, list(nouns.values()))
    return dataset, Columns(columns.image, (name,), columns.nouns)


def _identity(value: Any, number: int) -> Any:
    """What is the same for two rows of one picture; the row's own number where there is no picture."""
    if isinstance(value, Mapping):
        value = value.get("path") if not value.get("bytes") else value["bytes"]
    if isinstance(value, bytes):
        return hashlib.sha1(value).digest()
    return value if isinstance(value, str) and value else ("no picture", number)
