"""Group emergence."""

import torch
from torch import Generator, Tensor

from minigroupvit.evaluation.interventions import Subject


class effective_groups:
    def one(answer, draw):
        """one image"""
        return answer(torch.rand(1, 6, 20, generator=draw))

    def batch(answer, draw):
        """several images are counted together"""
        return answer(torch.rand(5, 4, 3, generator=draw))

    def empty(answer, draw):
        """groups that own nothing do no harm"""
        shares = torch.rand(2, 6, 9, generator=draw)
        shares[:, torch.randint(6, (4,), generator=draw)] = 0
        return answer(shares)


def _subject(draw: Generator) -> Subject:
    """An image of noise, and a mask that has about half of its pixels."""
    image = torch.randint(256, (3, 6, 5), dtype=torch.uint8, generator=draw)
    return Subject(image, torch.rand(6, 5, generator=draw) < 0.5, 0, image, image)


class without_colour:
    def object(answer, draw):
        """the pixels of the object are grey: the mean, rounded down, in all three channels"""
        subject = _subject(draw)
        return answer(subject)[0][:, subject.mask].float()

    def whole(answer, draw):
        """all other pixels are as they were, and the mask is that of the subject"""
        changed, where = answer(_subject(draw))
        return [changed.float(), where.int()]

    def kept(answer, draw):
        """the changed image is a new one, uint8, and the subject stays as it was"""
        subject = _subject(draw)
        changed = answer(subject)[0]
        return [str(changed.dtype), changed.float(), subject.image.float()]


def _numbers(draw: Generator, most: int, count: int = 200) -> Tensor:
    return torch.randint(most, (count,), generator=draw)


class told:
    def usual(answer, draw):
        """numbers that have little to do with each other"""
        return answer(_numbers(draw, 4), _numbers(draw, 7))

    def settled(answer, draw):
        """1 where the value settles the group, less the other way round"""
        values = _numbers(draw, 9)
        return [answer(values // 2, values), answer(values, values // 2)]

    def unused(answer, draw):
        """numbers that do not occur do no harm"""
        groups = _numbers(draw, 3)
        return answer(4 * groups, 3 * (groups + _numbers(draw, 3)) + 2)


class told_beyond:
    def known(answer, draw):
        """what is known already tells nothing more, and the group itself tells all the rest"""
        groups, known = _numbers(draw, 4), _numbers(draw, 3)
        return [answer(groups, known, known), answer(groups, groups, known)]

    def cipher(answer, draw):
        """a value that tells the group only together with what is known"""
        groups, known = _numbers(draw, 4), _numbers(draw, 6)
        return answer(groups, (groups + known) % 4, known)

    def usual(answer, draw):
        """numbers that have something to do with each other"""
        groups, known = _numbers(draw, 4), _numbers(draw, 3)
        return answer(groups, groups + _numbers(draw, 3), known + groups // 2)
