"""What docs/scale.md calculates is what its script calculates, and follows from the model."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from test_results import script

from minigroupvit.config import GROUPVIT_2STAGE, TextConfig
from minigroupvit.training.recipes import recipe

scale = script("make_scale")
RECORD = json.loads(scale.RESULTS.read_text(encoding="utf-8"))
PAPER = RECORD["models"]["groupvit_2stage"]


def test_the_tables_of_the_page_are_those_of_the_script() -> None:
    text = scale.PAGE.read_text(encoding="utf-8")
    assert text.split(scale.BEGIN)[1].split(scale.END)[0] == scale.table(RECORD)
    assert "calculated" in text and "derived, not measured" in text


def test_the_paper_s_model_has_its_size() -> None:
    """Parameters as in the paper's checkpoint; the image encoder alone takes 7.94 GFLOP an image, texts come on top."""
    assert PAPER["parameters"] == 55_726_610
    assert 7.94e9 < PAPER["forward_operations_per_image"] < 10e9


def test_bytes_are_counted_from_the_model() -> None:
    """A wider model keeps more, by known parts: the mlp head's hidden layer is there in every way to train."""
    config = replace(GROUPVIT_2STAGE, text=TextConfig(width=64, num_heads=1, depth=1), head_width=64, image=replace(
        GROUPVIT_2STAGE.image, image_size=32, width=64, num_heads=1, depths=(2, 1, 1)))
    narrow, wide = (scale.count(replace(config, head_width=width)) for width in (64, 1064))
    for way, kept in narrow["bytes_per_image"].items():
        # A thousand hidden channels of an image and 4 texts: before and after BatchNorm, and after ReLU, in 16 bits.
        assert wide["bytes_per_image"][way] - kept == pytest.approx(1000 * 5 * 2 * 3, rel=0.4), way
    each = narrow["bytes_per_image"]
    assert each["micro-batches: all images"] < each["blocks recomputed"] < each["all kept"]


@pytest.mark.parametrize("micro", [0, 64])
@pytest.mark.parametrize("way", ["all kept", "blocks recomputed"])
def test_the_largest_batch_fits_and_a_larger_one_does_not(way: str, micro: int) -> None:
    images = scale.largest(PAPER, way, micro)
    assert scale.memory(PAPER, way, images, micro) <= scale.CARD < scale.memory(PAPER, way, images + 8, micro)


def test_logits_grow_with_the_cards_and_not_with_their_square() -> None:
    assert scale.logits_bytes(256, 4096) == 16 * scale.logits_bytes(256, 256) == scale.logits_bytes(4096, 4096) / 16


def test_the_recipe_for_one_card_fits_on_it() -> None:
    training, found = recipe("photographs_gpu").training, RECORD["models"]["photographs_gpu"]
    assert scale.memory(found, "all kept", training.batch_size, training.micro_batch_size) < 0.75 * scale.CARD
    assert training.steps * training.batch_size / RECORD["images"] == pytest.approx(40, abs=0.5)
