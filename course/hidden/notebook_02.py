"""Patches and tokens."""

from torch import Generator, rand, randint


def _sides(draw: Generator) -> list[int]:
    return randint(2, 6, (2,), generator=draw).tolist()


class uncut:
    def square(answer, draw):
        """one image of one channel on a square grid"""
        side = _sides(draw)[0]
        return answer(rand(1, side * side, 4, generator=draw), (side, side), 2)

    def channels(answer, draw):
        """several images of several channels"""
        side, channels = _sides(draw)
        return answer(rand(3, side * side, channels * 9, generator=draw), (side, side), 3)

    def oblong(answer, draw):
        """a grid that is not a square"""
        high, wide = _sides(draw)
        return answer(rand(2, high * (high + wide), 12, generator=draw), (high, high + wide), 2)
