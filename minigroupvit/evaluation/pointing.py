"""The pointing game on the free photographs: does the mask have the right word at places where anyone can see it?

    answers = {"one word": one_word(), "random weights": ask_places(random_weights(model)), "model": ask_places(model)}
    pointing_table(answers)                                       # Markdown

Five photographs with 57 places are a first look and no benchmark, but they come with the package. There are two controls:
`one_word`, the same word for the whole image, for each image the best one; and the model with `random_weights`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from ..data.free_photographs import POINTS, free_photograph
from ..model import GroupViT
from ..segmentation.segment import Segmentation, segment
from .metrics import kept_interval


def right_places(segmentation: Segmentation, name: str) -> list[bool]:
    """For each place of a photograph whether the mask has its word there. The masks (1, H, W) of `free_photograph(name)`,
    of any size; background is a wrong answer.
    """
    labels, names = segmentation.labels[0], segmentation.class_names
    H, W = labels.shape
    found = []
    for word, places in POINTS[name].items():
        for x, y in places:
            label = int(labels[int(y * H), int(x * W)])
            found.append(label >= 0 and names[label] == word)
    return found


@torch.no_grad()
def ask_places(model: GroupViT) -> dict[str, list[bool]]:
    """`right_places` of all photographs that have places; the words on offer are those of the photograph."""
    return {name: right_places(segment(model, free_photograph(name), list(words)), name)
            for name, words in POINTS.items()}


def one_word() -> dict[str, list[bool]]:
    """The same where each photograph has one word everywhere, the one with most places."""
    answers = {}
    for name, words in POINTS.items():
        best = max(words, key=lambda word: len(words[word]))
        answers[name] = [word == best for word, places in words.items() for _ in places]
    return answers


def random_weights(model: GroupViT, seed: int = 0) -> GroupViT:
    """A model of the same architecture, words and inference protocol that has learnt nothing."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        fresh = GroupViT(model.config, model.tokenizer)
    fresh.protocol = model.protocol
    return fresh.to(model.device).eval()


def pointing_table(answers: Mapping[str, Mapping[str, Sequence[bool]]]) -> str:
    """Markdown: right places of each photograph and of all, with a 95 % interval that takes places as independent."""
    photos = list(POINTS)
    lines = [f"| places with the right word | {' | '.join(photos)} | all | share |", "|---" * (len(photos) + 3) + "|"]
    for name, found in answers.items():
        every = [right for photo in photos for right in found[photo]]
        share, low, high = (100 * value for value in kept_interval(every))
        cells = [f"{sum(found[photo])} of {len(found[photo])}" for photo in photos]
        lines.append(f"| {' | '.join([name, *cells, f'{sum(every)} of {len(every)}'])} | {share:.0f} % [{low:.0f}, {high:.0f}] |")
    return "\n".join(lines)
