"""Patches and tokens."""

import torch
from torch import Generator, Tensor, rand, randint, randn


def _sides(draw: Generator) -> list[int]:
    return randint(2, 6, (2,), generator=draw).tolist()


def _filters(draw: Generator, p: int) -> tuple[Tensor, Tensor]:
    return randn(5, 3, p, p, generator=draw), randn(5, generator=draw)


def _weights(draw: Generator, width: int) -> dict[str, Tensor]:
    shapes = {"attn.qkv.weight": (3 * width, width), "attn.qkv.bias": (3 * width,),
              "attn.proj.weight": (width, width), "attn.proj.bias": (width,)}
    return {name: randn(shape, generator=draw) / 3 for name, shape in shapes.items()}


class my_embedding:
    def square(answer, draw):
        """square images"""
        side, p = _sides(draw)
        return answer(randn(2, 3, side * p, side * p, generator=draw), *_filters(draw, p))

    def oblong(answer, draw):
        """images that are not square"""
        high, p = _sides(draw)
        return answer(randn(1, 3, high * p, (high + 2) * p, generator=draw), *_filters(draw, p))


class my_positions:
    def square(answer, draw):
        """a square grid"""
        side, quarter = _sides(draw)
        return answer(side, side, 4 * quarter)

    def oblong(answer, draw):
        """a grid that is not square: x is the column, y is the row"""
        high, more = _sides(draw)
        return answer(high, high + more, 8)

    def width(answer, draw):
        """many channels: all frequencies"""
        return answer(*_sides(draw), 96)


class my_attention:
    def one(answer, draw):
        """one head"""
        return answer(randn(2, 7, 6, generator=draw), _weights(draw, 6), 1)

    def several(answer, draw):
        """several heads"""
        heads, d = _sides(draw)
        return answer(randn(2, 7, heads * d, generator=draw), _weights(draw, heads * d), heads)

    def gradient(answer, draw):
        """several heads, and the gradient of their result"""
        x = randn(2, 5, 8, generator=draw).requires_grad_()
        found = answer(x, _weights(draw, 8), 2)
        return [found, torch.autograd.grad(found.square().sum(), x)[0]]


class group_attention:
    def one(answer, draw):
        """one head"""
        patches, groups = _sides(draw)
        return answer(randn(2, 1, *[patches + groups] * 2, generator=draw).softmax(dim=-1), patches)

    def several(answer, draw):
        """the mean of several heads"""
        patches, groups = _sides(draw)
        return answer(randn(3, 4, *[patches + groups] * 2, generator=draw).softmax(dim=-1), patches)


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
