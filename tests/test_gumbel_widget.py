"""Temperature and noise as sliders: they show what the package computes, and encode the image once."""

from __future__ import annotations

import io
import math
import time

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from minigroupvit.grouping import soft_assignment
from minigroupvit.images import normalize, to_batch
from minigroupvit.segmentation.options import InferenceOptions
from minigroupvit.visual.widgets import GumbelSliders, Memory
from minigroupvit.visual.widgets.panel import to_png
from minigroupvit.visual.widgets.sliders import (
    assignment_logits,
    draw_assignment,
    draw_groups_once,
    gumbel_figure,
    normalised_entropy,
)


@pytest.fixture
def model(make_model):
    model = make_model(temperature=0.5)
    # Untrained groups are all alike; larger weights make images matter.
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    model.protocol = InferenceOptions(overlap=2)
    model.num_runs = 0
    model.image_encoder.register_forward_hook(lambda *_: setattr(model, "num_runs", model.num_runs + 1))
    return model.eval()


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)


def test_the_logits_are_those_of_the_model_up_to_a_constant_for_each_patch(model, image):
    wanted = []
    assign = model.image_encoder.stages[0].grouping.assign
    original = assign.logits
    assign.logits = lambda *inputs: wanted.append(original(*inputs)) or wanted[-1]
    logits = assignment_logits(model, image)
    del assign.logits
    expected = wanted[0][0].detach().unflatten(-1, (8, 8))             # 16 pixels, patches of 4, two per side of one
    assert logits.shape == expected.shape == (6, 8, 8)
    assert (expected.amax(dim=0) - expected.amin(dim=0)).mean() > 0.5
    torch.testing.assert_close(logits, expected - expected.amax(dim=0), rtol=0, atol=1e-5)


def test_at_its_own_temperature_the_softmax_is_the_model_s(model, image):
    logits = assignment_logits(Memory(model), image)
    with torch.no_grad():
        grouping = model.image_encoder(normalize(to_batch(image)), 2).groupings[0]
    torch.testing.assert_close(soft_assignment(logits[None], 0.5).flatten(2), grouping.soft, rtol=0, atol=1e-5)
    assert torch.equal(draw_groups_once(logits, 0.5, 0.0, seed=0).flatten(), grouping.hard[0].argmax(dim=0))


def test_a_model_without_groups_is_refused(make_model, image):
    with pytest.raises(ValueError, match="no groups to assign to"):
        GumbelSliders(make_model(depths=(2,), num_group_tokens=(0,), num_output_groups=(0,)), image)


def test_normalised_entropy_by_hand():
    soft = torch.tensor([[1.0, 0.5, 0.25], [0.0, 0.5, 0.25], [0.0, 0.0, 0.25], [0.0, 0.0, 0.25]])[:, None]
    torch.testing.assert_close(normalised_entropy(soft), torch.tensor([[0.0, 0.5, 1.0]]))
    assert normalised_entropy(torch.ones(1, 2, 2)).eq(0).all()                 # one group: nothing to be unsure of


def test_the_same_seed_draws_the_same_and_nobody_else_s_random_numbers_change():
    logits = torch.zeros(4, 20, 20)
    before = torch.random.get_rng_state()
    first = draw_groups_once(logits, 1.0, 1.0, seed=3)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(draw_groups_once(logits, 1.0, 1.0, seed=3), first)
    assert not torch.equal(draw_groups_once(logits, 1.0, 1.0, seed=4), first)
    # The noise is scaled, the temperature is not asked.
    assert torch.equal(draw_groups_once(logits, 0.1, 0.2, seed=3), first)


def test_noise_as_large_as_the_temperature_draws_from_the_softmax():
    logits = torch.tensor([0.3, 0.1, 0.0])[:, None, None].expand(3, 200, 200)
    shares = torch.bincount(draw_groups_once(logits, 1.0, 0.2, seed=0).flatten()) / 200**2
    torch.testing.assert_close(shares, soft_assignment(logits[None, :, :1, :1], 0.2).flatten(), rtol=0, atol=0.015)


def test_sliders_change_the_image_and_never_call_the_model(model, image):
    panel = GumbelSliders(model, image)
    assert model.num_runs == 1
    assert panel.temperature.value == 0.5 and panel.noise.value == 0
    seen = [panel.canvas.value]
    for control, value in ((panel.temperature, 5.0), (panel.noise, 0.7), (panel.seed, 1)):
        control.value = value
        assert panel.canvas.value not in seen and panel.message.value == ""
        seen.append(panel.canvas.value)
    panel.seed.value, panel.noise.value, panel.temperature.value = 0, 0.0, 0.5
    assert panel.canvas.value == seen[0] and model.num_runs == 1
    with Image.open(io.BytesIO(panel.canvas.value)) as image:
        assert image.format == "PNG" and image.width > 3 * image.height
    assert "image/png" in panel._repr_mimebundle_()


def test_widgets_of_one_memory_share_the_embeddings(model, image):
    memory = Memory(model)
    GumbelSliders(memory, image)
    panel = GumbelSliders(memory, image, temperature=0.2, noise=0.3, seed=5)
    assert model.num_runs == memory.num_looks == 1
    assert (panel.temperature.value, panel.noise.value, panel.seed.value) == (0.2, 0.3, 5)


def test_it_answers_at_once():
    """Grid and image of the shipped models. The least processor time of some tries, as machines may be busy."""
    logits, image = torch.randn(16, 32, 32), torch.rand(3, 64, 64)
    seconds = []
    for seed in range(3):
        began = time.process_time()
        to_png(gumbel_figure(image, logits, 0.1, 0.1, seed))
        seconds.append(time.process_time() - began)
    assert min(seconds) < 0.2


def test_what_is_drawn(image):
    logits = torch.full((3, 4, 4), -9.0)
    logits[0, :, :2] = logits[2, :, 2:] = 0.0                          # left in group 0, right in group 2
    axes = list(Figure(figsize=(12, 3)).subplots(1, 4))
    assert draw_assignment(axes, image, logits, temperature=2.0, noise=100.0) is axes
    assert [ax.get_title() for ax in axes[:2]] == ["image", "largest group"]
    assert [text.get_text() for text in axes[1].texts] == ["0", "2"]
    share = math.exp(-4.5) / (1 + 2 * math.exp(-4.5))                  # of each of the two other groups
    entropy = -(2 * share * math.log(share) + (1 - 2 * share) * math.log(1 - 2 * share)) / math.log(3)
    np.testing.assert_allclose(axes[2].images[-1].get_array(), entropy, atol=1e-5)
    assert axes[2].get_title() == f"temperature 2: entropy {entropy:.2f}"
    moved = (draw_groups_once(logits, 2.0, 100.0, 0) != logits.argmax(dim=0)).float().mean().item()
    assert moved > 0.3 and axes[3].get_title() == f"noise 1e+02: {moved:.0%} moved"


def test_an_image_that_is_no_square(model):
    figure = gumbel_figure(torch.rand(3, 16, 32), torch.randn(6, 4, 8))
    width, height = figure.get_size_inches()
    assert width > 5 * height
    assert assignment_logits(model, torch.rand(3, 16, 32)).shape == (6, 8, 16)


@pytest.mark.parametrize("shape, choices, message", [
    ((1, 6, 64), {"temperature": 0.0}, "temperature must be above 0"),
    ((1, 6, 64), {"noise": -1.0}, "noise at least 0"), ((6, 64), {}, r"\(G, h, w\), got \(6, 64\)")])
def test_what_cannot_be_drawn_is_said(image, shape, choices, message):
    with pytest.raises(ValueError, match=message):
        gumbel_figure(image, torch.zeros(shape), **choices)
