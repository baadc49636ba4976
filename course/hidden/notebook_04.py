"""The two losses."""

import torch
from torch import Generator, Tensor


def _heads(draw: Generator, width: int) -> tuple[Tensor, Tensor]:
    return tuple(torch.randn(2, 3, 6, width, generator=draw).mul(2).requires_grad_() for _ in range(2))


def _texts(draw: Generator, ends: Tensor) -> tuple[Tensor, Tensor]:
    """Vectors (4, 8, 5) and token numbers (4, 8) of texts that end at these places, with zeros behind."""
    ids = torch.randint(3, 90, (4, 8), generator=draw).masked_fill(torch.arange(8) > ends[:, None], 0)
    return torch.randn(4, 8, 5, generator=draw), ids.scatter(1, ends[:, None], 99)


def _table(draw: Generator) -> tuple[Tensor, Tensor]:
    logits = torch.randn(6, 6, generator=draw).mul(4).requires_grad_()
    return logits, torch.rand(6, 6, generator=draw) < 0.3


def _prompts(draw: Generator, K: int, more: float = 0.0) -> tuple[Tensor, Tensor]:
    """Logits (5, 5·K), and as positives the K own prompts of each and a share of all others."""
    logits = torch.randn(5, 5 * K, generator=draw).mul(3).requires_grad_()
    return logits, torch.eye(5).bool().repeat_interleave(K, dim=1) | (torch.rand(5, 5 * K, generator=draw) < more)


class causal_weights:
    def narrow(answer, draw):
        """heads of one channel, which need no scale"""
        return answer(*_heads(draw, 1))

    def wide(answer, draw):
        """heads of several channels"""
        return [answer(*_heads(draw, width)) for width in (4, 9)]

    def gradient(answer, draw):
        """the gradients of queries and keys"""
        q, k = _heads(draw, 4)
        weights = answer(q, k)
        return list(torch.autograd.grad((weights * torch.randn(weights.shape, generator=draw)).sum(), (q, k)))


class pooled:
    def full(answer, draw):
        """texts that fill their rows"""
        return answer(*_texts(draw, torch.full((4,), 7)))

    def padded(answer, draw):
        """texts of different lengths"""
        return answer(*_texts(draw, torch.randint(1, 8, (4,), generator=draw)))


class my_image_text_loss:
    def usual(answer, draw):
        """any table of logits"""
        return answer(_table(draw)[0])

    def large(answer, draw):
        """logits whose exponentials are too large for a float"""
        return answer(_table(draw)[0] * 100)

    def gradient(answer, draw):
        """the gradient of the logits"""
        logits = _table(draw)[0]
        return torch.autograd.grad(answer(logits), logits)[0]


class my_multi_label_loss:
    def own(answer, draw):
        """the K prompts of each image are its positives, and no others"""
        return [answer(*_prompts(draw, K)) for K in (1, 3)]

    def shared(answer, draw):
        """more positives, not equally many for each"""
        return answer(*_prompts(draw, 3, 0.3))

    def gradient(answer, draw):
        """the gradient of the logits"""
        logits, positives = _prompts(draw, 2, 0.3)
        return torch.autograd.grad(answer(logits, positives), logits)[0]


class forgiving_loss:
    def nothing(answer, draw):
        """where nothing else is true it is the image-text loss"""
        logits, also_true = _table(draw)
        return [answer(logits, also_true & False), answer(logits, torch.eye(6).bool())]

    def forgiven(answer, draw):
        """a pair that is also true counts neither as right nor as wrong"""
        return answer(*_table(draw))

    def gradient(answer, draw):
        """such a pair is not pushed: its gradient is zero, and the others have theirs"""
        logits, also_true = _table(draw)
        return torch.autograd.grad(answer(logits, also_true), logits)[0]
