"""How every notebook begins: the device, the budget of computing, and which data and servers can be reached."""

from __future__ import annotations

import os
import platform
import threading
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch

from .. import __version__
from ..files import write_atomically

BUDGETS = ("tiny", "cpu", "gpu")
VARIABLE = "MINIGROUPVIT_BUDGET"
DATA_VARIABLE = "MINIGROUPVIT_DATA"
HUB = "https://huggingface.co"
PAPER_WEIGHTS = "nvidia/groupvit-gcc-yfcc"      # the authors' model in the format of transformers, 223 MB
_CLONE = Path(__file__).resolve().parents[2]
_RAW = "https://raw.githubusercontent.com/minigroupvit/minigroupvit/main"

Choice = TypeVar("Choice")


@dataclass(frozen=True)
class Runtime:
    """The device of a notebook, and how much it may compute."""

    budget: str             # "tiny": every cell runs, nothing is learnt | "cpu": a laptop | "gpu"
    device: torch.device

    def pick(self, choices: Mapping[str, Choice]) -> Choice:
        """The choice of this budget. Raises ValueError where one of the three is missing."""
        if set(choices) != set(BUDGETS):
            raise ValueError(f"expected a choice for each of {', '.join(BUDGETS)}, got {', '.join(choices)}")
        return choices[self.budget]


def find_runtime() -> Runtime:
    """The budget that MINIGROUPVIT_BUDGET names; if it is not set, "gpu" with a GPU and "cpu" without.

    Raises ValueError for an unknown budget, and for "gpu" without a GPU.
    """
    has_gpu = torch.cuda.is_available()
    budget = os.environ.get(VARIABLE) or ("gpu" if has_gpu else "cpu")
    if budget not in BUDGETS:
        raise ValueError(f"{VARIABLE} is {budget!r}; choose one of {', '.join(BUDGETS)}, or unset it")
    if budget == "gpu" and not has_gpu:
        raise ValueError(f"{VARIABLE} is 'gpu', but torch finds no GPU; choose 'cpu', or unset it")
    return Runtime(budget, torch.device("cuda" if budget == "gpu" else "cpu"))


def begin() -> Runtime:
    """`find_runtime`, printed in a line together with the versions."""
    runtime = find_runtime()
    device = torch.cuda.get_device_name() if runtime.device.type == "cuda" else "CPU"
    print(f"minigroupvit {__version__}, torch {torch.__version__}, Python {platform.python_version()}; "
          f"device: {device}; budget: {runtime.budget}")
    return runtime


def data_folder(name: str) -> Path | None:
    """The folder of this name in the folder that MINIGROUPVIT_DATA names; None if there is none."""
    folder = Path(os.environ.get(DATA_VARIABLE) or ".", name)
    return folder if os.environ.get(DATA_VARIABLE) and folder.is_dir() else None


def reaches(address: str = HUB, seconds: float = 3.0) -> bool:
    """Whether a server answers at this address, within so many seconds. Asks once."""
    answered = threading.Event()

    def ask() -> None:
        try:
            urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=seconds)
            answered.set()
        except OSError:
            pass

    # In a thread, because the look-up of a host name has no time limit.
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(seconds)
    return answered.is_set()


def paper_weights(runtime: Runtime) -> Path | str | None:
    """The weights of the paper's model, for `load`: a path, an id on the hub, or None if they are out of reach.

    First what lies in the folder that MINIGROUPVIT_DATA names: a folder of transformers such as `groupvit-gcc-yfcc`, or
    the authors' file, `group_vit_gcc_yfcc_30e-879422e0.pth`. Else their id, if the hub answers. With the budget "tiny"
    the hub is not asked.
    """
    root = os.environ.get(DATA_VARIABLE)
    found = sorted(Path(root).glob("group*vit*yfcc*")) if root else []
    if found:
        return found[0]
    return PAPER_WEIGHTS if runtime.budget != "tiny" and reaches() else None


def repository_file(path: str, clone: Path = _CLONE, address: str = _RAW) -> Path:
    """A file of the repository that an installed package does not hold, such as "data/photographs/photographs.json".

    In a clone it is the clone's file. Elsewhere (Colab) it is downloaded once, to the folder `minigroupvit-files` beside
    the notebook. Raises RuntimeError where that fails.
    """
    if (clone / path).is_file():
        return clone / path
    copy = Path("minigroupvit-files", path)
    if not copy.is_file():
        try:
            with urllib.request.urlopen(f"{address}/{path}", timeout=60) as answer:
                content = answer.read()
        except OSError as error:
            raise RuntimeError(f"{path} is not in an installed package and could not be downloaded ({error}); run this "
                               "notebook in a clone of the repository") from None
        write_atomically(copy, lambda part: part.write_bytes(content))
    return copy
