"""The grouping block."""

import torch
from torch import Generator, Tensor


def _soft(draw: Generator) -> Tensor:
    return torch.randn(2, 6, 7, generator=draw).mul(2).softmax(dim=1).requires_grad_()    # (B, G, N)


class best_groups:
    def one(answer, draw):
        """k = 1: the largest group alone, as in straight_through"""
        return answer(_soft(draw), 1)

    def several(answer, draw):
        """any k: an equal part to each of the k best groups"""
        soft = _soft(draw)
        return [answer(soft, k) for k in range(2, 7)]

    def gradient(answer, draw):
        """a right answer of which the gradient is that of the softmax"""
        soft = _soft(draw)
        worth, given = torch.randn(soft.shape, generator=draw), answer(soft, 3)
        return [given, torch.autograd.grad((given * worth).sum(), soft)[0]]
