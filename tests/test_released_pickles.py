"""Files of torch.save are read rightly, and nothing that stands in them is run."""

from __future__ import annotations

import argparse
import builtins
import collections
import enum
import os
import pickle
import sys
import types
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from minigroupvit.checkpoints.released.pickles import Placeholder, StoredTensor, read_torch_file

FORMATS = {"zip": True, "legacy": False}     # torch.save's since 1.6, and before


@pytest.fixture(params=FORMATS)
def save(request: pytest.FixtureRequest, tmp_path: Path):
    """Writes an object in one of torch's two formats, and gives the path."""

    def write(content: object, **options) -> Path:
        path = tmp_path / "file.pth"
        torch.save(content, path, _use_new_zipfile_serialization=FORMATS[request.param], **options)
        return path

    return write


def loaded(content: object) -> object:
    """The content with its tensors read from the file."""
    if isinstance(content, StoredTensor):
        return content.load()
    if isinstance(content, dict):
        return {key: loaded(value) for key, value in content.items()}
    return type(content)(map(loaded, content)) if isinstance(content, (list, tuple)) else content


def same(a: object, b: object) -> bool:
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


# ---------------------------------------------------------------- what is read


def test_containers_and_numbers(save) -> None:
    content = {"epoch": 29, "rates": [1e-3, 4e-5], "names": ("a", "ü"), "none": None, "yes": True, 7: -2**70,
               "nested": collections.OrderedDict(a={"b": [torch.arange(3)]})}
    assert same(loaded(read_torch_file(save(content))), content)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64,
                                   torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool], ids=str)
def test_every_kind_of_number(save, dtype: torch.dtype) -> None:
    content = {"x": (torch.randn(3, 5) * 10).to(dtype), "scalar": torch.tensor(3.7).to(dtype)}
    assert same(loaded(read_torch_file(save(content))), content)


def test_views_parameters_and_empty_tensors(save) -> None:
    table = torch.randn(6, 4)
    content = {"rows": table[2:5], "turned": table.T, "column": table[:, 1], "spread": torch.ones(1).expand(3, 2),
               "empty": torch.empty(0, 3), "whole": table}
    read = loaded(read_torch_file(save(content | {"parameter": torch.nn.Parameter(table)})))
    assert same(read.pop("parameter"), table) and same(read, content)


def test_a_module_state_with_its_metadata(save) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    assert same(loaded(read_torch_file(save(model.state_dict()))), dict(model.state_dict()))


def test_pickles_of_another_protocol(tmp_path: Path) -> None:
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        torch.save({"x": torch.arange(4)}, tmp_path / "file.pth", pickle_protocol=protocol)
        assert same(loaded(read_torch_file(tmp_path / "file.pth")), {"x": torch.arange(4)})


# ---------------------------------------------------------------- libraries that are not there


class Colour(enum.Enum):
    RED = 1


class Node:
    """Kept by state, as OmegaConf's classes are."""

    def __init__(self, **values) -> None:
        self.values, self.parent = values, self

    def __getstate__(self) -> dict:
        return self.__dict__

    def __setstate__(self, state: dict) -> None:
        raise AssertionError("this ran")


class Settings(dict):
    """A dictionary with attributes, as many libraries have one."""


class Row(list):
    pass


def test_objects_of_missing_libraries_become_placeholders(save, monkeypatch) -> None:
    library = types.ModuleType("not_installed")
    monkeypatch.setitem(sys.modules, "not_installed", library)
    for kind in (Colour, Node, Settings, Row):
        monkeypatch.setattr(kind, "__module__", "not_installed")
        setattr(library, kind.__name__, kind)
    weight = torch.nn.Parameter(torch.randn(3, 2))
    optimizer = torch.optim.AdamW([weight])
    weight.sum().backward()
    optimizer.step()
    others = {"node": Node(a=[1, Node(b=2)]), "colour": Colour.RED, "settings": Settings(a=1), "row": Row([1, 2]),
              "arguments": argparse.Namespace(lr=1e-3), "accuracy": np.float64(0.5), "array": np.arange(3),
              "device": torch.device("cpu"), "dtype": torch.float16, "set": {1, 2}, "path": Path("a/b"),
              "defaults": collections.defaultdict(dict, a={})}
    path = save({"model": {"weight": weight.detach()}, "optimizer": optimizer.state_dict()} | others)
    monkeypatch.delitem(sys.modules, "not_installed")
    read = read_torch_file(path)
    assert same(loaded(read["model"]), {"weight": weight.detach()})
    assert same(loaded(read["optimizer"]["state"]), optimizer.state_dict()["state"])
    kinds = {name: read[name] if isinstance(read[name], type) else type(read[name]) for name in others}
    assert set(kinds.values()) == {Placeholder}, kinds


# ---------------------------------------------------------------- files that want to do harm


class Calls:
    """Pickled as a call of any function with any arguments."""

    def __init__(self, function, *arguments, state=None) -> None:
        self.reduced = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self):
        return self.reduced

    def __call__(self) -> None:
        """Calls of calls: pickle asks for something that could be called."""


class Fills:
    """Pickled as an object that is made by a call, and then filled with items or entries."""

    def __init__(self, function, items=None, entries=None) -> None:
        self.reduced = (function, (), None, items, entries)

    def __reduce__(self):
        return self.reduced


class Setter:
    """Runs when its state is set."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __setstate__(self, state: dict) -> None:
        Path(state["path"]).touch()


class Greedy(list):
    """Runs when items are added."""

    def __init__(self) -> None: ...

    def append(self, path: str) -> None:
        Path(path).touch()

    def extend(self, paths) -> None:
        for path in paths:
            self.append(path)


class Keeper(dict):
    """Runs when an entry is set."""

    def __setitem__(self, key: str, value: object) -> None:
        Path(key).touch()


def hostile(path: Path) -> dict[str, object]:
    """Objects whose pickles create the file at `path` when they are read as usual."""
    touch = f"open({str(path)!r}, 'w')"
    inner = pickle.dumps(Calls(os.system, f"touch {path}"))
    return {
        "os.system": Calls(os.system, f"touch {path}"),
        "eval": Calls(builtins.eval, touch),
        "exec": Calls(builtins.exec, touch),
        "open": Calls(builtins.open, str(path), "w"),
        "a method": Calls(Path.touch, path),
        "result of a call is called": Calls(
            Calls(builtins.getattr, Calls(__import__, "os"), "system"), f"touch {path}"),
        "pickle in a pickle": Calls(pickle.loads, inner),
        "torch's own loader": Calls(torch.storage._load_from_bytes, inner),
        "state": Setter(path),
        "items": Fills(Greedy, items=iter([str(path)])),
        "entries": Fills(Keeper, entries=iter([(str(path), 1)])),
        "state of a function": Calls(os.system, f"touch {path}", state={"x": 1}),
        "map over a tuple": Calls(tuple, Calls(map, os.system, [f"touch {path}"])),
    }


NAMES = list(hostile(Path("x")))


@pytest.mark.parametrize("name", NAMES)
def test_a_hostile_object_runs_nothing(save, tmp_path: Path, name: str) -> None:
    trace = tmp_path / "ran"
    path = save({"first": hostile(trace)[name], "model": {"weight": torch.ones(2), "bad": hostile(trace)[name]}})
    trace.unlink(missing_ok=True)
    read = read_torch_file(path)
    assert not trace.exists()
    assert isinstance(read["first"], Placeholder) and isinstance(read["model"]["bad"], Placeholder)
    assert torch.equal(read["model"]["weight"].load(), torch.ones(2))
    try:     # and these objects are real: read as usual, they run
        torch.load(path, weights_only=False)
    except Exception:  # noqa: BLE001 - some run, and break then
        pass
    assert trace.exists()


class Made:
    """Runs when it is made."""

    def __new__(cls, path: str) -> Made:
        Path(path).touch()
        return object.__new__(cls)


# Programs that no object of Python writes by itself: opcodes by hand.
OPCODES = {
    "INST": b"(S'touch {path}'\nios\nsystem\n.",
    "OBJ": b"(cos\nsystem\nS'touch {path}'\no.",
    "STACK_GLOBAL": b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c{length}touch {path}\x85R.",
    "NEWOBJ_EX": b"\x80\x04ctest_released_pickles\nMade\n(S'{path}'\nt}\x92.",
    "dotted name": b"\x80\x04\x8c\x02os\x8c\x0epath.os.system\x93\x8c{length}touch {path}\x85R.",
    "attributes of a class": b"ccollections\nOrderedDict\n(N}S'fromkeys'\ncos\nsystem\nstb.",
    "attributes of a tensor's class": b"ctorch._utils\n_rebuild_tensor_v2\n(N}S'load'\ncos\nsystem\nstb.",
    "attributes of a tensor": b"ctorch._utils\n_rebuild_tensor_v2\n(NNNNtR}S'load'\ncos\nsystem\nsb.",
    "attributes of a number type": b"ctorch\nFloatStorage\n(N}S'itemsize'\ncos\nsystem\nstb.",
}


@pytest.mark.parametrize("name", OPCODES)
def test_opcodes_by_hand_run_nothing(tmp_path: Path, name: str) -> None:
    trace = tmp_path / "ran"
    program = OPCODES[name].replace(b"{path}", str(trace).encode())
    program = program.replace(b"{length}", bytes([len(f"touch {trace}")]))
    before = vars(StoredTensor).copy()
    with zipfile.ZipFile(tmp_path / "file.pth", "w") as archive:
        archive.writestr("file/data.pkl", program)
    try:
        read_torch_file(tmp_path / "file.pth")
    except ValueError:
        pass     # refused is as good as read
    assert not trace.exists()
    assert dict(vars(StoredTensor)) == before and collections.OrderedDict.fromkeys("a") == {"a": None}
    if not name.startswith("attributes"):     # these programs are real: read as usual, they run
        pickle.loads(program)
        assert trace.exists()


def test_sizes_that_leave_the_file_are_refused(tmp_path: Path) -> None:
    torch.save({"x": torch.arange(4.0)}, tmp_path / "file.pth")
    stored = read_torch_file(tmp_path / "file.pth")["x"]
    for size, stride, offset in [((5,), (1,), 0), ((4,), (1,), 1), ((2,), (4,), 0), ((4,), (1,), -1), ((2,), (-1,), 3),
                                 ((2**62, 2**62), (1, 1), 0), ((-4,), (1,), 0), ("ab", (1,), 0), (None, None, None)]:
        stored.size, stored.stride, stored.offset = size, stride, offset
        with pytest.raises((RuntimeError, TypeError)):
            stored.load()


# ---------------------------------------------------------------- files that are none


@pytest.mark.parametrize("keep", [0, 1, 3, 0.3, 0.7, 0.99])
def test_a_file_that_is_cut_off(save, keep: float) -> None:
    path = save({"x": torch.arange(1000.0), "y": [1, 2]})
    content = path.read_bytes()
    path.write_bytes(content[:keep if isinstance(keep, int) else int(keep * len(content))])
    with pytest.raises((ValueError, RuntimeError), match="no file of torch.save, or it is damaged|buffer"):
        loaded(read_torch_file(path))


def test_other_files(tmp_path: Path) -> None:
    path = tmp_path / "file.pth"
    with pytest.raises(ValueError, match="no file of torch.save"):
        read_torch_file(path)
    path.write_text("{}" * 100)
    with pytest.raises(ValueError, match="no file of torch.save"):
        read_torch_file(path)
    path.write_bytes(pickle.dumps({"model": {}}))
    with pytest.raises(ValueError, match="does not begin as one"):
        read_torch_file(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(ValueError, match="no file of torch.save"):
        read_torch_file(path)


def test_a_compressed_archive(tmp_path: Path) -> None:
    torch.save({"x": torch.zeros(100)}, tmp_path / "file.pth")
    with zipfile.ZipFile(tmp_path / "file.pth") as old, zipfile.ZipFile(
            tmp_path / "new.pth", "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    with pytest.raises(ValueError, match="data/0 is compressed"):
        read_torch_file(tmp_path / "new.pth")
