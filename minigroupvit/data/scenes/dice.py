"""Random numbers that are the same on every machine and with every version of numpy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")


class Dice:
    """A stream of random numbers for one key of integers.

    numpy promises the raw bits of PCG64 for ever, but not what `choice` or `normal` make of
    them. So only raw bits are taken, and everything else is made of them here.
    """

    def __init__(self, *key: int) -> None:
        self._bits = np.random.PCG64(np.random.SeedSequence(key))

    def unit(self) -> float:
        """A number in [0, 1)."""
        return (self._bits.random_raw() >> 11) / (1 << 53)

    def array(self, shape: tuple[int, ...]) -> np.ndarray:
        """Numbers in [0, 1) of the given shape."""
        count = 1
        for side in shape:
            count *= side
        raw = self._bits.random_raw(count) >> np.uint64(11)
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
