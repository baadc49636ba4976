"""Names and places."""

import torch


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
