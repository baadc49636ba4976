"""The balance of words: each word's share of a pixel over its mean share of the picture."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from minigroupvit.segmentation.options import InferenceOptions
from minigroupvit.segmentation.segment import segment
from minigroupvit.segmentation.steps import balance_scores

WORDS = ["heart", "sun", "cloud", "brick"]


def slow_balance(scores: Tensor, least: float) -> Tensor:
    B, C, H, W = scores.shape
    result = torch.zeros_like(scores)
    for b in range(B):
        share = [[[scores[b, c, y, x] / sum(scores[b, :, y, x]) for x in range(W)] for y in range(H)] for c in range(C)]
        mean = [sum(sum(row) for row in share[c]) / (H * W) for c in range(C)]
        for y in range(H):
            for x in range(W):
                relative = [share[c][y][x] / (mean[c] + least) for c in range(C)]
                for c in range(C):
                    result[b, c, y, x] = relative[c] / sum(relative)
    return result


@pytest.mark.parametrize("least", [0.01, 0.3])
def test_balance_against_a_slow_loop(least: float) -> None:
    scores = torch.rand(2, 4, 3, 5, dtype=torch.float64)
    torch.testing.assert_close(balance_scores(scores, least), slow_balance(scores, least), rtol=0, atol=1e-12)


def test_an_unsure_pixel_takes_the_rare_word() -> None:
    """A thing on a ground: where the model is unsure, 0.4 against 0.6 is much for a word that is nowhere else."""
    ground = torch.ones(1, 1, 8, 8) * 0.98
    ground[..., 2:4, 2:4] = 0.6
    scores = torch.cat([1 - ground, ground], dim=1)
    thing = torch.zeros(8, 8, dtype=torch.bool)
    thing[2:4, 2:4] = True
    assert (scores.argmax(dim=1) == 1).all()
    assert torch.equal(balance_scores(scores, 0.03).argmax(dim=1)[0] == 0, thing)


def test_a_word_that_is_nowhere_does_not_win() -> None:
    scores = torch.tensor([0.998, 0.002]).view(1, 2, 1, 1).repeat(1, 1, 8, 8)
    scores[0, :, 4, 4] = torch.tensor([0.994, 0.006])   # three times its usual share is still nothing
    assert (balance_scores(scores, 0.03).argmax(dim=1) == 0).all()
    assert balance_scores(scores, 1e-6).argmax(dim=1)[0, 4, 4] == 1


def test_scores_that_are_zero_everywhere_give_no_nan() -> None:
    scores = torch.zeros(1, 3, 2, 2)
    scores[0, 0, 0, 0] = 0.5
    assert torch.isfinite(balance_scores(scores, 0.03)).all()


def test_segment_balances_what_the_protocol_asks_for(make_model) -> None:
    model, image = make_model().eval(), torch.rand(3, 16, 16)
    plain = segment(model, image, WORDS, InferenceOptions(pixels="shared"))
    balanced = segment(model, image, WORDS, InferenceOptions(pixels="shared", balance=0.03))
    torch.testing.assert_close(balanced.scores, balance_scores(plain.scores, 0.03))
    assert torch.equal(balanced.labels, balanced.scores.argmax(dim=1))


def test_background_is_settled_before_the_words_are_balanced(make_model) -> None:
    """A threshold is a probability of the scores as they are: balance moves names, not the background."""
    model, image = make_model().eval(), torch.rand(3, 16, 16)
    choices = {"pixels": "shared", "top_classes": None}
    best = segment(model, image, WORDS, InferenceOptions(**choices))
    choices["background_threshold"] = best.scores.amax(dim=1).median().item()
    plain, balanced = (segment(model, image, WORDS, InferenceOptions(balance=b, **choices)).labels for b in (None, 0.03))
    assert torch.equal(plain < 0, balanced < 0)
    assert 0 < (plain < 0).double().mean() < 1


@pytest.mark.parametrize("balance", [0.0, -1.0])
def test_bad_balance(balance: float) -> None:
    with pytest.raises(ValueError, match="balance is .* above 0"):
        InferenceOptions(balance=balance)
