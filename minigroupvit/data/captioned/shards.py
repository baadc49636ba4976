"""Shards: the parts of a large captioned data set, each read from front to back.

Either tar archives as img2dataset writes them for CC3M, CC12M and YFCC (the webdataset layout: for each image
`000000000.jpg`, `000000000.txt`, `000000000.json`, one after the other), on the disk or at a URL; or the files of a
data set on the Hugging Face hub.

The library webdataset reads the archives. It does not open them here (it would call curl in a shell), and it does not
shuffle or resume: streamed.py does, so that no sample is lost.
"""

from __future__ import annotations

import glob
import json
import os
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from ...extras import extra
from .samples import IMAGE_KINDS, KEY, Columns, Skipped, Unusable, listed

if TYPE_CHECKING:
    from datasets import IterableDataset

_LOOKED_AT = 100   # first samples of the first shard, which show the kinds of members


class BrokenShard(Exception):
    """A shard that cannot be opened, or that is cut off. The samples before that are good."""


def is_shards(name: str | Path) -> bool:
    """Whether this names tar shards: a pattern or path that ends in .tar, or a folder of such files."""
    return str(name).endswith(".tar") or (Path(name).is_dir() and any(Path(name).glob("*.tar")))


def expand(name: str | Path) -> list[str]:
    """The shards that a name stands for, sorted.

    Args:
        name: a folder with .tar files; a path or a URL, with a range in braces
            ("cc3m/{00000..00331}.tar"), or for files on the disk with * and ?.

    Raises:
        ValueError: there is none.
    """
    with extra("data"):
        from webdataset.shardlists import expand_urls

    found: list[str] = []
    for part in map(os.path.expanduser, expand_urls(str(name))):
        if Path(part).is_dir():
            found += glob.glob(f"{glob.escape(part)}/*.tar")
        else:
            found += glob.glob(part) if glob.has_magic(part) and "://" not in part else [part]
    if not found or not any("://" in shard or Path(shard).exists() for shard in found):
        raise ValueError(f"there are no shards at {name}; give a folder of .tar files, or a pattern such as "
                         "'shards/{00000..00099}.tar' or 'shards/*.tar'")
    return sorted(found)


def _open(shard: str) -> IO[bytes]:
    if shard.startswith(("http://", "https://")):
        return urllib.request.urlopen(shard, timeout=60)
    import fsspec

    return fsspec.open(shard, "rb").open()       # a file, hf://, and with their libraries s3://, gs:// ...


@dataclass
class TarShards:
    """Tar archives of images and captions; see `open_tar_shards`."""

    names: list[str]
    columns: Columns      # kinds of members: "jpg", "txt", or a field of a JSON member: "json.caption"

    def __len__(self) -> int:
        return len(self.names)

    def read(self, number: int) -> Iterator[Mapping[str, Any]]:
        """The rows of a shard, with a value for each column and `KEY`. Raises BrokenShard."""
        for sample in _samples(self.names[number]):
            row = {column: _member(sample, column) for column in self.columns.all[1:]}
            kinds = [self.columns.image, *IMAGE_KINDS]        # images of several kinds may be in one shard
            row[self.columns.image] = next((sample[kind] for kind in kinds if kind in sample), None)
            yield row | {KEY: f"{self.names[number]}, {sample[KEY]}"}


def _samples(shard: str) -> Iterator[dict[str, Any]]:
    with extra("data"):
        from webdataset.tariterators import group_by_keys, tar_file_expander

    try:
        with _open(shard) as stream:
            yield from group_by_keys(tar_file_expander([{"url": shard, "stream": stream}]))
    except Exception as error:       # tar archives and each kind of URL have errors of their own
        raise BrokenShard(f"{shard}: {error.args[0] if error.args else error}") from error


def _member(sample: Mapping[str, Any], column: str) -> Any:
    kind, _, field = column.partition(".")
    if not field:
        return sample.get(kind)
    try:
        return json.loads(sample.get(kind) or b"{}").get(field)
    except (ValueError, AttributeError):         # no JSON, or no dictionary: a row without a caption
        return None


def open_tar_shards(name: str | Path, image: str | None = None, captions: Sequence[str] | None = None,
                    skipped: Skipped | None = None, nouns: str | None = None) -> TarShards:
    """Opens tar shards by name (see `expand`) and looks at the first samples.

    Args:
        image: kind of the images' members; None: jpg, jpeg, png, webp.
        captions: kinds of the captions' members, or fields of a JSON member such as "json.caption";
            None: "txt", else "json.caption".
        skipped: counts files that are missing.
        nouns: kind of the members with nouns, or a field such as "json.nouns"; None: they are in the captions.

    Raises:
        ValueError: no such shards; too many missing; the first cannot be read; no such member.
    """
    skipped = Skipped() if skipped is None else skipped
    names = expand(name)
    gone = [shard for shard in names if "://" not in shard and not Path(shard).exists()]
    for shard in gone:
        skipped.add(Unusable("a missing file"), shard)
    if len(gone) > skipped.share * len(names):
        raise ValueError(f"{len(gone):,} of {len(names):,} shards are missing, such as {gone[0]}")
    names = [shard for shard in names if shard not in set(gone)]
    first: list[Mapping[str, Any]] = []
    try:
        for sample in islice(_samples(names[0]), _LOOKED_AT):  # a single one may lack its image or its caption
            first.append(sample)
    except BrokenShard as error:
        if not first:                                          # else the samples before the end are good
            raise ValueError(f"cannot read the shard {error}; expected a tar archive of members such as 000000000.jpg "
                             "and 000000000.txt") from error
    if not first:
        raise ValueError(f"the shard {names[0]} is empty; expected members such as 000000000.jpg and 000000000.txt")
    members = sorted({kind for sample in first for kind in sample if not kind.startswith("__")})
    image = image or next((kind for kind in IMAGE_KINDS if kind in members), "jpg")
    captions = captions or (["txt"] if "txt" in members else [_json_column(first)])
    columns = Columns(image, tuple(captions), nouns)
    for column in columns.all:
        if column.partition(".")[0] not in members:
            raise ValueError(f"no member .{column.partition('.')[0]} in {names[0]}; its samples have "
                             f"{listed(members)}")
    return TarShards(names, columns)


def _json_column(samples: Sequence[Mapping[str, Any]]) -> str:
    """The field of the JSON members that holds captions, by the usual names."""
    names = [f"json.{field}" for field in ("caption", "captions", "text")]
    return next((name for name in names if any(_member(sample, name) for sample in samples)), names[0])


@dataclass
class HubShards:
    """The files of a `datasets.IterableDataset`; `dataset` and `columns` come from `batches.undecoded`."""

    dataset: IterableDataset
    columns: Columns

    def __len__(self) -> int:
        return self.dataset.num_shards

    @property
    def names(self) -> list[str]:
        return [f"part {number} of the data set" for number in range(len(self))]

    def read(self, number: int) -> Iterator[Mapping[str, Any]]:
        """The rows of a file, with `KEY`. Raises BrokenShard."""
        try:
            row_number = 0
            # In batches: row by row, `datasets` would split the rows of this file among the workers.
            for batch in self.dataset.shard(len(self), number).iter(batch_size=16):
                for values in zip(*batch.values()):
                    yield {KEY: f"row {row_number} of {self.names[number]}"} | dict(zip(batch, values))
                    row_number += 1
        except Exception as error:       # the network, the hub, a file cut off: each library has its own errors
            raise BrokenShard(f"{self.names[number]}: {error}") from error


Shards = TarShards | HubShards
