"""From a row of any data set to one captioned image: (`image`, `captions`).

Data sets have unusable rows: images that cannot be read, captions without a word, missing files. They are left out,
counted (`Skipped`) and reported at the end of a run; where their share is too large, the run stops.
"""

from __future__ import annotations

import html
import io
import os
import re
import struct
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ...files import encoding_hint
from ...images import load_image, to_rgb
from ...text.caption_tokenizer import split_words

IMAGE_KINDS = ("jpg", "jpeg", "png", "webp")     # of the members of shards, and of columns made from them
KEY = "__key__"                   # the column that says where a row is in its file; the name is webdataset's


@dataclass
class Sample:
    """An image and its texts."""

    image: Tensor           # (3, H, W) uint8
    captions: list[str]     # one or more, none of them empty
    nouns: list[str] | None = None    # from a column of their own; None: they are in the captions


class Unusable(Exception):
    """A row without a readable image or a caption; or one caption without a word, of a row that has others."""

    def __init__(self, reason: str, detail: str = "", whole_row: bool = True) -> None:
        super().__init__(reason, detail, whole_row)     # all, so that it can travel between processes
        self.reason, self.detail, self.whole_row = reason, detail, whole_row


@dataclass(frozen=True)
class Columns:
    """Which columns of a data set hold the image, the captions, and the nouns of the image."""

    image: str
    captions: tuple[str, ...]
    nouns: str | None = None      # None: they are in the captions

    @property
    def all(self) -> list[str]:
        return list(dict.fromkeys((self.image, *self.captions, *filter(None, [self.nouns]))))


def find_columns(names: Sequence[str], image: str | None = None, captions: Sequence[str] | None = None,
                 nouns: str | None = None) -> Columns:
    """The columns asked for, or those with the usual names.

    Args:
        names: the columns there are.
        image: None: "image", "images", or "jpg", "jpeg", "png", "webp" as in shards.
        captions: None: see `caption_columns`.
        nouns: None: there is no such column.

    Raises:
        ValueError: there is no such column; the message lists those there are.
    """
    there = listed(names)
    if image is None:
        image = next((name for name in ("image", "images", *IMAGE_KINDS) if name in names), "image")
    for wanted in (image, *(captions or ()), *filter(None, [nouns])):
        if wanted not in names:
            raise ValueError(f"no column {wanted!r}; the data set has {there}; name the one of images with image=..., "
                             "those of captions with captions=[...], and optionally that of nouns with nouns=...")
    if not captions and not (captions := caption_columns(names)):
        raise ValueError(f"no column of captions among {there}; name it with captions=[...]")
    return Columns(image, tuple(captions), nouns)


def listed(names: Sequence[str], most: int = 20) -> str:
    """Names for a message, the first `most` of them."""
    return ", ".join(names[:most]) + (f", ... ({len(names):,} in all)" if len(names) > most else "")


def caption_columns(names: Sequence[str]) -> list[str]:
    """The columns that hold captions: caption, captions, text, txt, or caption_0, caption_1, ..."""
    for single in ("caption", "captions", "text", "txt"):
        if single in names:
            return [single]
    return sorted(name for name in names if name.startswith("caption_"))


def says_something(text: Any) -> bool:
    """Whether a text can be a caption: it has a letter or digit of any script, unlike an emoji, dots or "&nbsp;".

    Every source and both tokenizers use this definition.
    """
    return isinstance(text, str) and bool(split_words(html.unescape(text)))


def caption_texts(row: Mapping[str, Any], columns: Columns) -> list[str]:
    """All texts in a row's columns of captions, also those without a word."""
    found: list[str] = []
    for column in columns.captions:
        value = row.get(column)
        for one in value if isinstance(value, (list, tuple, np.ndarray)) else [value]:
            if isinstance(one, Mapping):     # {"raw": "a cat", "tokens": [...]} in some data sets
                one = next((one[key] for key in ("caption", "text", "raw") if one.get(key)), None)
            if isinstance(one, bytes):
                one = _decoded(one)
            if isinstance(one, str):
                found.append(one.strip())
    return found


def _decoded(text: bytes) -> str:
    """Raises Unusable for a text of a shard that is not in UTF-8."""
    try:
        return text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unusable("a caption that is not in UTF-8", encoding_hint(text, error.start)) from None


def read_captions(row: Mapping[str, Any], columns: Columns) -> tuple[list[str], list[Unusable]]:
    """The captions of a row, and an error for each one without a word. Raises Unusable if no caption is left."""
    texts = caption_texts(row, columns)
    silent = [Unusable("no word", repr(text)[:60], whole_row=False)
              for text in texts if text and not says_something(text)]
    if found := [text for text in texts if says_something(text)]:
        return found, silent
    if silent:
        raise Unusable("no caption that has a word", silent[0].detail)
    kinds = {type(row.get(column)).__name__ for column in columns.captions} - {"NoneType", "str", "list", "bytes"}
    if kinds:
        raise Unusable("a caption that is no text", f"expected text or a list of texts, got {', '.join(sorted(kinds))}")
    raise Unusable("no caption")


def read_nouns(row: Mapping[str, Any], columns: Columns) -> list[str] | None:
    """The nouns in a row's column of nouns: a list, or a text with commas. None: there is no such column."""
    if columns.nouns is None:
        return None
    value = row.get(columns.nouns)
    if isinstance(value, bytes):
        value = value.decode("utf-8", errors="replace")
    # Chinese and Japanese commas as well.
    words = re.split("[,\uff0c\u3001]", value) if isinstance(value, str) else value
    words = words if isinstance(words, (list, tuple, np.ndarray)) else []
    return list(dict.fromkeys(word.strip() for word in words if says_something(word)))


def read_picture(value: Any) -> Image.Image:
    """An upright RGB image from a cell of the column of images. Raises Unusable if there is none.

    Args:
        value: a PIL image; the bytes of a file; the path of one; or a dictionary with `bytes` or
            `path`, as a `datasets.Image(decode=False)` gives it.
    """
    if isinstance(value, Mapping):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, (list, tuple)) and len(value) == 1:
        return read_picture(value[0])
    if value is None or (isinstance(value, (bytes, str)) and not value):
        raise Unusable("no image")
    if not isinstance(value, (bytes, str, os.PathLike, Image.Image)):
        raise Unusable("a cell that is no image", "expected an image, the bytes of a file or its path, got "
                       f"{type(value).__name__}")
    try:
        if isinstance(value, bytes):
            value = Image.open(io.BytesIO(value))
        if isinstance(value, Image.Image):
            return to_rgb(value)
    except (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError) as error:
        raise Unusable("an image that cannot be read", str(error)) from None
    try:
        return load_image(value)
    except ValueError as error:
        reason = "an image that cannot be read" if os.path.exists(value) else "a missing file"
        raise Unusable(reason, str(error)) from None


def stored_as(value: Any) -> str:
    """Identifies a stored image, for fingerprints: a checksum of its bytes, or the name and size of its file.

    Not the folder: data may be moved before a run is resumed.
    """
    if isinstance(value, Mapping):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, bytes):
        return f"{len(value)} {zlib.crc32(value):08x}"
    if isinstance(value, (str, os.PathLike)):
        return f"{os.path.basename(value)} {os.path.getsize(value) if os.path.exists(value) else 'missing'}"
    return type(value).__name__


def fit(picture: Image.Image, size: int) -> Tensor:
    """An image as a square (3, S, S) uint8. The aspect ratio is not kept."""
    if picture.size != (size, size):
        picture = picture.resize((size, size), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


class Skipped:
    """Counts what was left out, by reason, and the captioned images seen.

    Args:
        share: the largest share of the images that may be left out.
    """

    def __init__(self, share: float = 0.05) -> None:
        if not 0 <= share <= 1:
            raise ValueError(f"the share that may be skipped is {share}; it must be from 0 to 1")
        self.share = share
        self.seen = 0
        self.reasons: Counter[str] = Counter()
        self.captions: Counter[str] = Counter()     # left out, but their image is kept
        self.examples: dict[str, str] = {}          # the first of each reason

    @property
    def count(self) -> int:
        return sum(self.reasons.values())

    def add(self, error: Unusable, where: str) -> None:
        (self.reasons if error.whole_row else self.captions)[error.reason] += 1
        self.examples.setdefault(error.reason, f"{where}: {error.detail}" if error.detail else where)

    def check(self, rows: int) -> None:
        """Raises ValueError where more than the share of `rows` images was left out."""
        if self.count > self.share * rows:
            raise ValueError(f"{self.report()}. More than {self.share:.0%} is too much: repair the data set, or allow "
                             "more with max_skipped")

    def report(self) -> str:
        """One line: how many were left out, and why."""
        line = (f"skipped {self.count:,} of {self.seen:,} captioned images: {self._listed(self.reasons)}"
                if self.reasons else f"nothing skipped of {self.seen:,} captioned images")
        if self.captions:
            line += f"; and {self.captions.total():,} of their captions: {self._listed(self.captions)}"
        return line

    def _listed(self, counts: Counter[str]) -> str:
        return "; ".join(f"{count:,} with {reason} (such as {self.examples[reason]})"
                         for reason, count in counts.most_common())


def read_samples(rows: Iterator[Mapping[str, Any]], columns: Columns, size: int, skipped: Skipped) -> Iterator[Sample]:
    """The usable rows as samples of `size` x `size` pixels; the others are counted in `skipped`."""
    for number, row in enumerate(rows):
        skipped.seen += 1
        where = row.get(KEY) or f"row {number}"
        try:
            captions, silent = read_captions(row, columns)
            for error in silent:
                skipped.add(error, where)
            yield Sample(fit(read_picture(row[columns.image]), size), captions, read_nouns(row, columns))
        except Unusable as error:
            skipped.add(error, where)
