"""How every notebook begins: where it runs, and how much it may compute there."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch

from .. import __version__

BUDGETS = ("tiny", "cpu", "gpu")
VARIABLE = "MINIGROUPVIT_BUDGET"

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
