"""Zero-shot masks."""

import torch
import torch.nn.functional as F
from torch import Generator, Tensor


def _assignments(draw: Generator, *sizes: int) -> list[Tensor]:
    """A soft assignment for each stage, of so many patches and then groups."""
    return [torch.randn(2, after, before, generator=draw).mul(2).softmax(dim=1) for before, after in zip(sizes, sizes[1:])]


class my_maps:
    def one(answer, draw):
        """one stage: its assignment on the grid"""
        return answer(_assignments(draw, 6, 4), (2, 3))

    def two(answer, draw):
        """two stages: their product"""
        return answer(_assignments(draw, 6, 5, 3), (3, 2))

    def more(answer, draw):
        """any number of stages, in the right order"""
        return answer(_assignments(draw, 8, 4, 4, 4), (2, 4))


class my_groups:
    def square(answer, draw):
        """one image on a square grid"""
        return answer(torch.rand(1, 4, 3, 3, generator=draw), (24, 24))

    def oblong(answer, draw):
        """height and width that differ"""
        return answer(torch.rand(1, 5, 2, 4, generator=draw), (10, 28))

    def batch(answer, draw):
        """several images, and maps that are nearly equal"""
        return answer(torch.rand(3, 6, 4, 4, generator=draw) / 100 + 0.5, (32, 32))


def _embedder(draw: Generator):
    """A text encoder that adds up random vectors of letters, by their places."""
    letters = torch.randn(128, 5, generator=draw)
    return lambda sentences: torch.stack([sum(letters[ord(s)] / (1 + n) for n, s in enumerate(text)) for text in sentences])


class my_classes:
    def one(answer, draw):
        """the default template"""
        return answer(_embedder(draw), ["cat", "umbrella", "sea"])

    def several(answer, draw):
        """several templates: the mean of the vectors as they are, then normalised"""
        return answer(_embedder(draw), ["cat", "a boat"], ("{}", "the {} here", "a photo of a {}."))

    def every(answer, draw):
        """each class has the sentences of its own, with more classes than templates"""
        return answer(_embedder(draw), ["cat", "boat", "house", "cup"], ("{} now", "a {}"))


def _unit(draw: Generator, *sizes: int) -> Tensor:
    return F.normalize(torch.randn(sizes, generator=draw), dim=-1)


class my_scores:
    def all(answer, draw):
        """fewer classes than are kept: the square of the softmax"""
        return answer(_unit(draw, 2, 3, 6), _unit(draw, 2, 6), _unit(draw, 4, 6), 5.0)

    def kept(answer, draw):
        """one image: only the classes nearest to it have a score"""
        return answer(_unit(draw, 1, 4, 6), _unit(draw, 1, 6), _unit(draw, 9, 6), 10.0, 3)

    def batch(answer, draw):
        """several images: each keeps classes of its own"""
        return answer(_unit(draw, 3, 4, 6), _unit(draw, 3, 6), _unit(draw, 12, 6), 10.0)


def _grouped(draw: Generator) -> tuple[Tensor, Tensor]:
    """Groups (B, H, W) and scores (B, G, C) of three images, which differ in how sure they are."""
    sure = torch.tensor([1.0, 0.6, 0.2])[:, None, None]
    return torch.randint(5, (3, 6, 4), generator=draw), torch.rand(3, 5, 4, generator=draw) * sure


class my_labels:
    def plain(answer, draw):
        """no threshold: the best class of the group of each pixel"""
        return answer(*_grouped(draw))

    def background(answer, draw):
        """below the threshold a group is background, -1"""
        groups, scores = _grouped(draw)
        scores[:, 0, 0] = 0.97                                    # in each image a group is sure
        return answer(groups, scores, 0.5)

    def unsure(answer, draw):
        """the limit is never above the best score of the image"""
        return [answer(*_grouped(draw), threshold) for threshold in (0.8, 1.0)]


class my_iou:
    def usual(answer, draw):
        """one image in which every class is somewhere"""
        truth, labels = torch.arange(4).repeat(2, 1, 12).view(2, 1, 6, 8)
        noise = torch.randint(4, truth.shape, generator=draw)
        return answer(torch.where(torch.rand(truth.shape, generator=draw) < 0.4, noise, labels), truth, 4)

    def absent(answer, draw):
        """a class that is nowhere has none, one that is only in the labels has 0"""
        truth, labels = torch.randint(3, (2, 1, 6, 8), generator=draw)
        labels[0, 0] = 4
        return answer(labels, truth, 6)

    def batch(answer, draw):
        """several images are counted together"""
        truth, labels = torch.randint(4, (2, 3, 6, 8), generator=draw)
        truth[0], labels[0, 2:] = 1, 1
        return answer(labels, truth, 4)


def _scores(draw: Generator) -> Tensor:
    return torch.rand(2, 4, 5, 6, generator=draw)     # (B, C, H, W)


class my_balance:
    def one(answer, draw):
        """one image whose scores already sum to one"""
        return answer(_scores(draw)[:1].softmax(dim=1), 0.1)

    def sums(answer, draw):
        """scores that do not sum to one beforehand"""
        return answer(_scores(draw)[:1] * 3, 0.05)

    def batch(answer, draw):
        """several images: each is divided by means of its own"""
        return answer(_scores(draw), float(torch.rand((), generator=draw)))
