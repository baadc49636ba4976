"""The grouping block."""

import torch
from torch import Generator, Tensor, nn

from minigroupvit.grouping import GroupingBlock


def _soft(draw: Generator) -> Tensor:
    return torch.randn(2, 6, 7, generator=draw).mul(2).softmax(dim=1).requires_grad_()    # (B, G, N)


def _logits(draw: Generator) -> Tensor:
    return 3 * torch.randn(2, 6, 7, generator=draw)                                       # (B, G, N)


def _block(draw: Generator, **options) -> nn.Module:
    block = GroupingBlock(8, 2, 6, 4, temperature=0.5, **options)
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.3, generator=draw)
    return block


def _tokens(draw: Generator) -> tuple[Tensor, Tensor]:
    return torch.randn(2, 9, 8, generator=draw), torch.randn(2, 6, 8, generator=draw)


class my_soft:
    def usual(answer, draw):
        """temperature 1"""
        return answer(_logits(draw))

    def warm(answer, draw):
        """other temperatures"""
        return [answer(_logits(draw), temperature) for temperature in (0.3, 4.0)]

    def cold(answer, draw):
        """a temperature at which exponentials are too large for a float"""
        return answer(10 * _logits(draw), 0.01)


class my_straight_through:
    def forward(answer, draw):
        """the output is the one-hot"""
        return answer(_soft(draw))

    def gradient(answer, draw):
        """a right output of which the gradient is that of the softmax"""
        soft = _soft(draw)
        worth, given = torch.randn(soft.shape, generator=draw), answer(soft)
        return [given, torch.autograd.grad((given * worth).sum(), soft)[0]]


class my_merge:
    def soft(answer, draw):
        """a soft assignment"""
        return answer(_soft(draw), torch.randn(2, 7, 3, generator=draw))

    def empty(answer, draw):
        """a hard assignment that leaves groups empty"""
        owners = torch.randint(3, (2, 1, 7), generator=draw)
        return answer(torch.zeros(2, 6, 7).scatter(1, owners, 1.0), torch.randn(2, 7, 3, generator=draw))


class my_block:
    def soft(answer, draw):
        """soft assignment, with residual"""
        return list(answer(_block(draw, assignment="soft").eval(), *_tokens(draw)))

    def evaluation(answer, draw):
        """hard assignment in evaluation, without noise"""
        return list(answer(_block(draw).eval(), *_tokens(draw)))

    def training(answer, draw):
        """hard assignment in training, with the noise of my_hard"""
        block, given = _block(draw).train(), _tokens(draw)
        torch.manual_seed(int(torch.randint(2**31, (1,), generator=draw)))
        return list(answer(block, *given))

    def weights(answer, draw):
        """weights of the tokens"""
        return list(answer(_block(draw).eval(), *_tokens(draw), 3 * torch.rand(2, 9, generator=draw)))

    def residual(answer, draw):
        """no residual"""
        return list(answer(_block(draw, residual="none").eval(), *_tokens(draw)))


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
