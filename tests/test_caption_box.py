"""The caption box without a front end: nouns, prompts and tokens of what is typed, and a figure that can be read."""

from __future__ import annotations

import random

import pytest

from minigroupvit.text.caption_tokenizer import CaptionTokenizer
from minigroupvit.text.prompts import SIMPLE_TEMPLATES, nouns, sample_prompts
from minigroupvit.visual.widgets.text_boxes import CaptionBox, caption_figure

CAPTIONS = ["a red cat on the grass", "two boats and a moon at night", "the cup by a tree"]


@pytest.fixture
def tokenizer() -> CaptionTokenizer:
    return CaptionTokenizer.train(CAPTIONS, context_length=8)


def texts(figure) -> list[str]:
    return [text.get_text() for text in figure.texts if text.get_text()]


def test_it_shows_what_the_package_makes_of_a_caption(tokenizer):
    box = CaptionBox(tokenizer, CAPTIONS[0])
    assert box.found == nouns(CAPTIONS[0]) == ["cat", "grass"]
    assert box.prompts == sample_prompts(CAPTIONS[0], 3, SIMPLE_TEMPLATES, random.Random(0))
    assert box.ids == tokenizer([CAPTIONS[0]])[0].tolist() and box.message.value == ""
    png = box.canvas.value
    box.caption.value = CAPTIONS[1]
    assert box.found == ["boats", "moon", "night"] and box.canvas.value != png
    assert box._repr_mimebundle_()["image/png"]


def test_number_and_draw_of_the_prompts(tokenizer):
    box = CaptionBox(tokenizer, CAPTIONS[1], num_prompts=2, templates=("a {}.", "the {}."))
    drawn = {tuple(box.prompts)}
    for number in range(1, 6):
        box.draw_number.value = number
        assert box.prompts == sample_prompts(CAPTIONS[1], 2, box.templates, random.Random(number))
        drawn.add(tuple(box.prompts))
    assert len(drawn) > 1
    box.count.value = 5
    assert len(box.prompts) == 5 and box.prompts[3:] == [CAPTIONS[1]] * 2


def test_the_figure_has_every_part_and_marks_the_nouns(tokenizer):
    caption = "Look, a Cat/zebra!"
    tokens, row = tokenizer.tokens(caption), tokenizer([caption])[0].tolist()
    figure = caption_figure(caption, ["cat", "zebra"], ["a cat."], tokens, row)
    ids = [str(i) for i in row]
    assert texts(figure) == ["caption", "Look,", "a", "Cat", "/", "zebra!", "nouns", "cat", "zebra",
                             "prompts", "a cat.", "tokens", "start", ids[0], "[UNK]", ids[1], "a", ids[2], "cat",
                             ids[3], "[UNK]", ids[4], "end", ids[5]]
    colour = {text.get_text(): text.get_bbox_patch().get_facecolor() for text in figure.texts if text.get_bbox_patch()}
    assert colour["Cat"] == colour["zebra!"] == colour["zebra"] != colour["Look,"] == colour["/"]
    assert colour["[UNK]"] not in (colour["a"], colour["start"])


def test_no_box_covers_another_or_leaves_the_figure(tokenizer):
    caption = "two boats and a moon at night with " * 5 + "a " + "very" * 40 + " large $cup$"
    ids = [49_406, *range(40_000, 40_000 + len(caption.split())), 49_407]
    figure = caption_figure(caption, nouns(caption), [caption, "a picture of a moon."], caption.split(), ids)
    figure.draw_without_rendering()
    boxes = [text.get_bbox_patch().get_window_extent() for text in figure.texts if text.get_bbox_patch()]
    boxes += [text.get_window_extent() for text in figure.texts if text.get_text() and not text.get_bbox_patch()]
    assert len(boxes) > 100
    for k, box in enumerate(boxes):
        assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 and figure.bbox.y0 <= box.y0
        assert box.y1 <= figure.bbox.y1
        assert not any(box.overlaps(other) for other in boxes[k + 1:])
    assert "$cup$" in texts(figure)                # no formula


def test_captions_without_nouns_or_too_long_are_reported(tokenizer):
    box = CaptionBox(tokenizer, CAPTIONS[0])
    png, prompts = box.canvas.value, box.prompts
    for wrong in ("  ", "!!!"):
        box.caption.value = wrong
        assert "with a word in it" in box.message.value and box.canvas.value == png
        assert box.prompts == prompts
    box.caption.value = "a zebra and a red yeti"
    assert "zebra, yeti" in box.message.value
    box.caption.value = "the red"
    assert "No noun" in box.message.value and box.prompts == ["the red"] * 3
    box.caption.value = "a cat on the grass by a tree at night"
    assert "6 of 10 tokens" in box.message.value and len(box.ids) == 8
