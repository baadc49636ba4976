"""How every notebook begins: where it runs, how much it may compute there, and what is in reach."""

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

BUDGETS = ("tiny", "cpu", "gpu")
VARIABLE = "MINIGROUPVIT_BUDGET"
DATA_VARIABLE = "MINIGROUPVIT_DATA"
HUB = "https://huggingface.co"

Choice = TypeVar("Choice")


@dataclass(frozen=True)
class Place:
    """Where a notebook runs, and how much it may compute there."""

    budget: str             # "tiny": every cell runs, nothing is learnt | "cpu": a laptop | "gpu"
    device: torch.device

    def pick(self, choices: Mapping[str, Choice]) -> Choice:
        """The choice of this budget. Raises ValueError where one of the three is missing."""
        if set(choices) != set(BUDGETS):
            raise ValueError(f"expected a choice for each of {', '.join(BUDGETS)}, got {', '.join(choices)}")
        return choices[self.budget]


def find_place() -> Place:
    """The budget that MINIGROUPVIT_BUDGET names, or else "gpu" where there is one and "cpu" where not.

    Raises ValueError for another budget, or "gpu" without one.
    """
    has_gpu = torch.cuda.is_available()
    budget = os.environ.get(VARIABLE) or ("gpu" if has_gpu else "cpu")
    if budget not in BUDGETS:
        raise ValueError(f"{VARIABLE} is {budget!r}; choose one of {', '.join(BUDGETS)}, or leave it out")
    if budget == "gpu" and not has_gpu:
        raise ValueError(f"{VARIABLE} is 'gpu', but torch finds none; take 'cpu', or leave it out")
    return Place(budget, torch.device("cuda" if budget == "gpu" else "cpu"))


def begin() -> Place:
    """`find_place`, told in a line together with the versions."""
    place = find_place()
    device = torch.cuda.get_device_name() if place.device.type == "cuda" else "CPU"
    print(f"minigroupvit {__version__}, torch {torch.__version__}, Python {platform.python_version()}; "
          f"device: {device}; budget: {place.budget}")
    return place


def data_folder(name: str) -> Path | None:
    """The folder of this name below the one that MINIGROUPVIT_DATA names; None if there is none."""
    folder = Path(os.environ.get(DATA_VARIABLE) or ".", name)
    return folder if os.environ.get(DATA_VARIABLE) and folder.is_dir() else None


def reaches(address: str = HUB, seconds: float = 3.0) -> bool:
    """Whether there is an answer from this address. Asks once, and waits for so long at most."""
    answered = threading.Event()

    def ask() -> None:
        try:
            urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=seconds)
            answered.set()
        except OSError:
            pass

    # In a thread: looking up a name has no time limit of its own.
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(seconds)
    return answered.is_set()
