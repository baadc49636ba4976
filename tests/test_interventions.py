"""Interventions change what they say and nothing else, and tell a model of colours from one of shapes."""

from __future__ import annotations

from itertools import islice
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from minigroupvit.data.scenes.config import SceneConfig
from minigroupvit.evaluation import interventions
from minigroupvit.evaluation.interventions import INTERVENTIONS, evaluate_interventions, lone_objects, without_blocks
from minigroupvit.segmentation.options import InferenceOptions

CONFIG = SceneConfig()


@pytest.fixture(scope="module")
def subjects():
    return [s for s in islice(lone_objects(CONFIG), 60) if s is not None]


def saturation(pixels: Tensor) -> Tensor:
    high = pixels.amax(0).float()
    return (high - pixels.amin(0).float()) / high.clamp_min(1)


def test_subjects_are_alone_and_coloured(subjects) -> None:
    assert len(subjects) >= 5
    for s in subjects:
        assert s.image.shape == (3, 64, 64) and 0 < s.mask.sum() < 4096 and s.label < len(CONFIG.objects)
        assert saturation(s.image[:, s.mask]).mean() > interventions.LEAST_SATURATION - 0.02
        assert not torch.equal(s.same, s.other)


@pytest.mark.parametrize("name", INTERVENTIONS)
def test_an_intervention_keeps_the_rest(name: str, subjects) -> None:
    for s in subjects[:5]:
        image, region = INTERVENTIONS[name](s)
        assert image.dtype == torch.uint8 and image.shape == s.image.shape and region.shape == s.mask.shape
        inside = (image == s.image)[:, s.mask].float().mean()
        outside = (image == s.image)[:, ~s.mask].float().mean()
        if name in ("background", "outside"):
            assert inside == 1 and outside < 0.3 and torch.equal(region, s.mask)
        elif name == "disc":
            assert abs(int(region.sum()) - int(s.mask.sum())) < 0.1 * s.mask.sum() + 40
            assert len(image[:, region].unique(dim=1).T) == 1                  # one colour
            assert torch.equal(image[:, ~region], s.same[:, ~region])
        else:
            assert outside == 1 and inside < 0.95 and torch.equal(region, s.mask)
            if name == "grey":
                assert saturation(image[:, s.mask]).max() == 0
            if name == "silhouette":
                assert len(image[:, s.mask].unique(dim=1).T) == 1


class Fake:
    """A model that says what `name` says of each picture."""

    protocol = InferenceOptions(short_side=64)

    def __init__(self, name) -> None:
        self.name = name


@pytest.fixture
def judge(monkeypatch):
    """Puts a rule in the place of segmentation: from the picture to one label for all pixels."""
    monkeypatch.setattr(interventions, "embed_classes", lambda *_, **more: None)

    def segment(model, images, names, protocol, class_embeddings):
        labels = torch.stack([torch.full(image.shape[1:], model.name(image)) for image in images])
        return SimpleNamespace(labels=labels, groups=[labels % 3])

    monkeypatch.setattr(interventions, "segment", segment)
    return lambda rule, **choices: evaluate_interventions(Fake(rule), num_objects=6, batch_size=6, **choices)


def test_a_model_of_colours_loses_its_names_and_one_of_shapes_keeps_them(judge, subjects) -> None:
    """Both know every object by heart; one recognises it by its pixels' colours, the other by its outline."""
    by_image = {s.image.float().mean((1, 2)).round().tolist().__repr__(): s.label for s in subjects}
    found = judge(lambda image: by_image.get(image.float().mean((1, 2)).round().tolist().__repr__(), 20))
    assert found["hue_180"]["class_kept"] == 0 and found["hue_180"]["num_objects"] == 6
    assert found["hue_180"]["right_before"] == 1
    low, high = found["hue_180"]["class_kept_interval"]
    assert low == 0 < high < 0.5

    def outline(image: Tensor) -> int:                        # the object is what is left when all else is grey
        best = min(subjects, key=lambda s: (image.float().mean(0) - s.image.float().mean(0)).abs()[~s.mask].mean())
        return best.label

    found = judge(outline, chosen={name: INTERVENTIONS[name] for name in ("hue_180", "grey", "background")})
    assert found["hue_180"]["class_kept"] == found["grey"]["class_kept"] == 1
    assert found["grey"]["group_kept"] == 1 and found["grey"]["group_kept_interval"][1] == 1
    assert found["background"]["class_kept"] < 1


def test_nothing_named_right_is_no_error(judge) -> None:
    found = judge(lambda image: 27, chosen={"grey": INTERVENTIONS["grey"]})
    assert found["grey"] == {"num_objects": 0, "right_before": 0.0}


def test_without_blocks_for_a_while(make_model) -> None:
    model = make_model(depths=(2, 1, 0)).eval()
    images = torch.randn(1, 3, 16, 16)
    before = model.encode_image(images)[0]
    with without_blocks(model):
        assert sum(len(stage.layers) for stage in model.image_encoder.stages) == 0
        assert not torch.equal(model.encode_image(images)[0], before)
    torch.testing.assert_close(model.encode_image(images)[0], before)
