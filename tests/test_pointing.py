"""The pointing game on the free photographs, its controls, and the table of published numbers."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from minigroupvit.data.free_photographs import CREDITS, POINTS, free_photograph
from minigroupvit.evaluation.pointing import ask_places, one_word, pointing_table, random_weights, right_places
from minigroupvit.evaluation.published import PUBLISHED, OwnResult, published_table
from minigroupvit.experiments.rows import TABLES
from minigroupvit.model import GroupViT
from minigroupvit.text.caption_tokenizer import CaptionTokenizer
from minigroupvit.text.prompts import SIMPLE_TEMPLATES


def painted(name: str, size: tuple[int, int]) -> SimpleNamespace:
    """Masks that have the right word around every place, and background elsewhere."""
    labels, words = torch.full((1, *size), -1), list(POINTS[name])
    for number, word in enumerate(words):
        for x, y in POINTS[name][word]:
            labels[0, int(y * size[0]), int(x * size[1])] = number
    return SimpleNamespace(labels=labels, class_names=words)


@pytest.mark.parametrize("name", POINTS)
@pytest.mark.parametrize("size", [(120, 160), (300, 200)])
def test_a_mask_that_is_right_at_the_places_has_them_all(name, size):
    masks = painted(name, size)
    found = right_places(masks, name)
    assert all(found) and len(found) == sum(map(len, POINTS[name].values()))
    masks.labels[masks.labels == 0] = 1                                # one word is now wrong
    assert len(found) - sum(right_places(masks, name)) == len(POINTS[name][masks.class_names[0]])
    masks.labels.fill_(-1)                                             # background has no word, and not the last one
    assert not any(right_places(masks, name))


def test_places_lie_in_the_photographs_and_words_have_some():
    assert set(POINTS) < set(CREDITS)
    for words in POINTS.values():
        assert len(words) >= 2 and all(words.values())
        assert all(0 < x < 1 and 0 < y < 1 for places in words.values() for x, y in places)


def test_one_word_for_a_photograph_is_the_best_that_one_word_can_be():
    for name, answers in one_word().items():
        assert sum(answers) == max(map(len, POINTS[name].values())) and len(answers) == sum(map(len, POINTS[name].values()))


def test_a_model_is_asked_in_the_words_of_each_photograph(tiny_config):
    tokenizer = CaptionTokenizer.train([" ".join(words) for words in POINTS.values()], templates=SIMPLE_TEMPLATES,
                                       context_length=16)
    config = replace(tiny_config, text=replace(tiny_config.text, vocab_size=tokenizer.vocab_size))
    model = GroupViT(config, tokenizer).eval()
    answers = ask_places(model)
    assert {name: len(found) for name, found in answers.items()} == {n: len(found) for n, found in one_word().items()}
    before = torch.random.get_rng_state()
    fresh = random_weights(model, seed=3)
    assert torch.equal(torch.random.get_rng_state(), before) and not fresh.training
    assert fresh.protocol == model.protocol and fresh.config == model.config
    assert any(not torch.equal(a, b) for a, b in zip(fresh.parameters(), model.parameters()))
    lines = pointing_table({"one word": one_word(), "model": answers}).splitlines()
    assert len({line.count("|") for line in lines}) == 1 and "20 of 57 | 35 % [24, 48]" in lines[2]
    assert free_photograph("temple").size == (640, 427)


def test_published_numbers_are_those_of_the_tables():
    paper = {row.paper for table in TABLES.values() for row in table.rows}
    assert {row.voc for row in PUBLISHED if row.source.startswith("GroupViT")} <= paper
    lines = published_table([OwnResult("mine", "few", 0.0397, "a part")]).splitlines()
    assert len({line.count("|") for line in lines}) == 1 and lines[-1] == "| mine | few | 4.0 | – | – | a part |"
