"""Random numbers that are the same on every machine and with every version of numpy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")


class Dice:
    """A stream of random numbers for one key of integers.

    numpy guarantees the raw bits of PCG64 for all versions, but not the results of `choice` or `normal`. So only raw
    bits are taken from numpy, and everything else is computed from them here.
    """

    def __init__(self, *key: int) -> None:
        self._bits = np.random.PCG64(np.random.SeedSequence(key))

    def unit(self) -> float:
        """A number in [0, 1)."""
        return (self._bits.random_raw() >> 11) / (1 << 53)

    def array(self, shape: tuple[int, ...]) -> np.ndarray:
        """Numbers in [0, 1) of the given shape."""
        raw = self._bits.random_raw(math.prod(shape)) >> np.uint64(11)
        return raw.astype(np.float64).reshape(shape) / float(1 << 53)

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * self.unit()

    def below(self, count: int) -> int:
        """A whole number from 0 to count - 1."""
        return min(int(self.unit() * count), count - 1)

    def chance(self, probability: float) -> bool:
        return self.unit() < probability

    def choice(self, items: Sequence[T]) -> T:
        return items[self.below(len(items))]

    def shuffled(self, items: Sequence[T]) -> list[T]:
        rest, out = list(items), []
        while rest:
            out.append(rest.pop(self.below(len(rest))))
        return out
