"""The residual of the merge."""

import torch
from torch import Generator, Tensor

from minigroupvit.grouping import GroupingBlock


def _inputs(draw: Generator, residual: str) -> tuple[GroupingBlock, Tensor, Tensor, Tensor]:
    """A block with random weights, tokens, groups, and shares of which one group has nearly nothing."""
    block = GroupingBlock(8, 2, 3, 3, assignment="soft", residual=residual).eval()
    for parameter in block.parameters():
        parameter.data = torch.randn(parameter.shape, generator=draw) / 2
    tokens, groups, logits = (torch.randn(2, n, m, generator=draw) for n, m in ((5, 8), (3, 8), (3, 5)))
    logits[:, 0] -= 10
    return block, tokens, groups, logits.softmax(dim=1)


class make_segments:
    def none(answer, draw):
        """no residual: the mean of the group's own tokens, and the MLP"""
        return answer(*_inputs(draw, "none")).detach()

    def learned(answer, draw):
        """one learned constant for each group"""
        return answer(*_inputs(draw, "learned")).detach()

    def projected(answer, draw):
        """the group tokens, as in the paper"""
        return answer(*_inputs(draw, "projected")).detach()


class naming:
    def one(answer, draw):
        """one image"""
        groups, masks, labels = torch.randint(4, (3, 1, 6, 5), generator=draw)
        return answer(labels, groups, masks, 4)

    def several(answer, draw):
        """the groups of each image are named by themselves"""
        groups, masks, labels = torch.randint(3, (3, 4, 6, 5), generator=draw)
        masks += torch.arange(4)[:, None, None]
        return answer(torch.where(torch.rand(masks.shape, generator=draw) < 0.6, masks, labels), groups, masks, 7)

    def best(answer, draw):
        """1 where the groups have their best names, above 1 where labels are better than one name for each group"""
        groups, masks = torch.randint(3, (2, 2, 6, 5), generator=draw)
        return [answer(groups, groups + 4, groups, 5), answer(masks, groups, masks, 5)]


class names_kept:
    def every(answer, draw):
        """every segment counts where no size is asked for"""
        before, after = torch.randint(3, (2, 4, 5), generator=draw)
        return answer(before, after, torch.rand(4, 5, 2, 3, generator=draw).softmax(dim=1), 0.0)

    def large(answer, draw):
        """only segments that hold enough of their image count"""
        before, after = torch.randint(2, (2, 1, 12), generator=draw)
        return answer(before, after, torch.randn(1, 12, 2, 2, generator=draw).mul(3).softmax(dim=1))

    def together(answer, draw):
        """segments of all images are counted together, each once"""
        before, after = torch.randint(3, (2, 4, 6), generator=draw)
        spread = torch.tensor([0.1, 1, 4, 6])[:, None, None, None]
        return answer(before, after, (torch.randn(4, 6, 2, 3, generator=draw) * spread).softmax(dim=1), 0.15)


def _labels(draw, classes: int = 9):
    return torch.randint(classes, (2, 4, 5, 5), generator=draw)


class misplaced:
    def one(answer, draw):
        """one scene"""
        labels, masks = _labels(draw)
        return answer(labels[:1], masks[:1] // 2)

    def several(answer, draw):
        """each scene counts with the words of its own"""
        labels, masks = _labels(draw, 30)
        return answer(labels, masks)

    def right(answer, draw):
        """no wrong pixel: 0, and not a division by zero"""
        labels, masks = _labels(draw)
        return [answer(labels, labels.clone()), answer(labels[:1], masks[:1])]
