"""Reads files of torch.save without running any code in them.

A pickle is a program: it names functions and classes, and reading it calls them. The authors' checkpoints hold, beside
the weights, an optimizer's state, numpy numbers and an OmegaConf configuration. Here every name except a dozen is
replaced by `Placeholder`, a class that accepts everything and does nothing: `os.system`, `eval`, `getattr` and
OmegaConf's classes too. Tensors are described first (`StoredTensor`), and read from the file only on demand.

Why not torch.load(weights_only=True), with a placeholder for each name that
torch.serialization.get_unsafe_globals_in_checkpoint lists? We tried it. It reads numpy numbers and plain OmegaConf
classes. But it refuses a file with a subclass of list or dict ("can only SETITEM for dict, ..."), such as the
defaultdict in OmegaConf's resolver cache, and pickles of protocol 3 or later; and it cannot list the names in a file of
before torch 1.6.
"""

from __future__ import annotations

import io
import mmap
import pickle
import struct
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

DTYPES = {
    "DoubleStorage": torch.float64, "FloatStorage": torch.float32, "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8, "BoolStorage": torch.bool,
}
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C     # the first object in a file of torch.save before torch 1.6


class Placeholder:
    """Replaces every class or function that a pickle names: accepts all arguments and does nothing."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Placeholder:
        return object.__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None: ...

    def __call__(self, *args: Any) -> Placeholder:
        return Placeholder()

    def __setstate__(self, *state: Any) -> None: ...       # else the pickle could set attributes

    def __setitem__(self, key: Any, value: Any) -> None: ...

    def append(self, *items: Any) -> None: ...

    extend = add = append


class Storage(Placeholder):
    """The numbers of one or several tensors. The reader sets `buffer`, their part of the file."""

    buffer: memoryview

    def __init__(self, dtype: torch.dtype, count: int) -> None:
        self.dtype, self.count = dtype, count


class StoredTensor(Placeholder):
    """In place of torch's function that makes a tensor: keeps its arguments."""

    def __init__(self, storage: Storage, offset: int, size: tuple, stride: tuple, *rest: Any) -> None:
        self.storage, self.offset, self.size, self.stride = storage, offset, size, stride

    def load(self) -> Tensor:
        """The tensor, in the memory of the mapped file."""
        if 0 in self.size:
            return torch.empty(self.size, dtype=self.storage.dtype)
        numbers = torch.frombuffer(self.storage.buffer, dtype=self.storage.dtype, count=self.storage.count)
        return numbers.as_strided(self.size, self.stride, self.offset)     # raises outside of the storage


class Parameter(Placeholder):
    """In place of torch's parameter: its tensor."""

    def __new__(cls, data: Any = None, *rest: Any) -> Any:
        return data


KNOWN = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor"): StoredTensor,
    ("torch._utils", "_rebuild_tensor_v2"): StoredTensor,
    ("torch._utils", "_rebuild_parameter"): Parameter,
    **{("torch", name): dtype for name, dtype in DTYPES.items()},
}


class _Unpickler(pickle.Unpickler):
    """Collects the storages that the pickle names, by their keys."""

    def __init__(self, file: Any) -> None:
        super().__init__(file, encoding="utf-8")
        self.storages: dict[str, Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        return KNOWN.get((module, name), Placeholder)

    def persistent_load(self, pid: Any) -> Any:
        kind, dtype, key, _device, count, *view = pid
        if kind != "storage" or not isinstance(dtype, torch.dtype) or any(view):
            return Placeholder()
        return self.storages.setdefault(key, Storage(dtype, count))


def read_torch_file(path: str | Path) -> Any:
    """The content of a file of torch.save: dictionaries, lists, numbers, texts; `StoredTensor`s; `Placeholder`s.

    Raises ValueError for any other file, or one that is cut off or damaged.
    """
    try:
        with open(path, "rb") as file:
            mapped = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
            return _read_zip(file, mapped) if zipfile.is_zipfile(file) else _read_legacy(file, mapped)
    except Exception as error:     # a damaged or malicious pickle may raise anything
        raise ValueError(f"{path} is no file of torch.save, or it is damaged: {error!r}") from error


def _read_zip(file: Any, mapped: memoryview) -> Any:
    """A zip archive: the pickle in data.pkl, each storage a member of its own, not compressed."""
    with zipfile.ZipFile(file) as archive:
        (pickled,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
        folder = pickled.removesuffix("data.pkl")
        if f"{folder}byteorder" in archive.namelist():
            order = archive.read(f"{folder}byteorder").decode()
            if order != sys.byteorder:
                raise ValueError(f"its numbers are stored {order} end first, this machine's {sys.byteorder}")
        unpickler = _Unpickler(io.BytesIO(archive.read(pickled)))
        content = unpickler.load()
        for key, storage in unpickler.storages.items():
            member = archive.getinfo(f"{folder}data/{key}")
            if member.compress_type != zipfile.ZIP_STORED:
                raise ValueError(f"{member.filename} is compressed")
            # After the member's header: 30 bytes, its name, and an extra field for alignment to 64 bytes.
            lengths = struct.unpack_from("<HH", mapped, member.header_offset + 26)
            start = member.header_offset + 30 + sum(lengths)
            storage.buffer = mapped[start:start + member.file_size]
        return content


def _read_legacy(file: Any, mapped: memoryview) -> Any:
    """Pickles one after the other (magic number, version, machine, content, keys), then the storages."""
    file.seek(0)
    if _Unpickler(file).load() != LEGACY_MAGIC:
        raise ValueError("it does not begin as one")
    _Unpickler(file).load(), _Unpickler(file).load()
    unpickler = _Unpickler(file)
    content = unpickler.load()
    keys = _Unpickler(file).load()
    position = file.tell()
    for key in keys:
        storage = unpickler.storages[key]
        (count,) = struct.unpack_from("<q", mapped, position)
        if count != storage.count:
            raise ValueError(f"storage {key} has {count} numbers instead of {storage.count}")
        end = position + 8 + count * storage.dtype.itemsize
        storage.buffer = mapped[position + 8:end]
        position = end
    return content
