"""Groups are labelled first, then pixels look their label up: the same labels, and no tensor of all classes of all pixels."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from protocol_steps import picture, telling_weights
from torch.utils._python_dispatch import TorchDispatchMode

from minigroupvit.config import GROUPVIT_2STAGE, GroupViTConfig, ImageConfig, TextConfig
from minigroupvit.model import GroupViT
from minigroupvit.segmentation.options import InferenceOptions
from minigroupvit.segmentation.segment import encode_windows, name_pixels, pixel_channels, segment
from minigroupvit.segmentation.steps import balance_scores, best_class

C, SIDE = 80, 448
NAMES = [f"class {n}" for n in range(C)]


class LargestTensor(TorchDispatchMode):
    """The elements of the largest tensor that any operation makes: counted, so the same on every machine."""

    elements, shape = 0, ()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        for one in made if isinstance(made, (tuple, list)) else [made]:
            if isinstance(one, torch.Tensor) and one.numel() > self.elements:
                self.elements, self.shape = one.numel(), tuple(one.shape)
        return made


def a_model(image: ImageConfig) -> GroupViT:
    """Without the paper's large text encoder, which is not needed here."""
    text = TextConfig(vocab_size=49408, context_length=77, width=8, num_heads=1, depth=1)
    return GroupViT(GroupViTConfig(image=image, text=text, embed_dim=16, head_width=32)).eval()


@pytest.mark.parametrize("choices", [{}, {"background_threshold": 0.35}, {"balance": 0.03},
                                     {"mode": "slide", "short_side": SIDE, "window": SIDE, "stride": SIDE // 2},
                                     {"upsample": "groups"}])
def test_the_largest_tensor_of_segmentation_is_one_map_per_group(choices: dict) -> None:
    """The paper's patches and groups at 448 x 448 with 80 classes; one block a stage, since depth changes no size."""
    torch.manual_seed(0)
    image = ImageConfig(width=24, num_heads=2, depths=(1, 1, 1))
    model, picture = a_model(image), torch.rand(1, 3, SIDE, SIDE)
    classes = F.normalize(torch.randn(C, 16), dim=-1)
    with LargestTensor() as largest:
        found = segment(model, picture, NAMES, class_embeddings=classes, **choices)
    groups = image.num_output_groups[1]
    assert found.labels.shape == (1, SIDE, SIDE)
    # The logits of attention of one head: 28 · 28 patches and 64 group tokens, squared.
    attention = image.num_heads * (28 * 28 + 64) ** 2
    assert largest.elements <= max(groups * SIDE * SIDE, attention) < C * SIDE * SIDE / 5, largest.shape


@pytest.mark.parametrize("size", [(64, 64), (64, 97)])
@pytest.mark.parametrize("choices", [
    {}, {"background_threshold": 0.2}, {"balance": 0.05}, {"balance": 0.05, "background_threshold": 0.2},
    {"upsample": "groups"}, {"refine": 2}, {"mode": "slide", "window": 512}, {"top_classes": None}])
def test_labels_are_those_of_the_scores_of_all_pixels(size: tuple[int, int], choices: dict) -> None:
    torch.manual_seed(6)
    model = telling_weights(a_model(ImageConfig(image_size=64, patch_size=8, width=24, num_heads=2, depths=(1, 1, 0),
                                                num_group_tokens=(16, 6, 0), num_output_groups=(16, 6, 0))))
    protocol = InferenceOptions(short_side=64, long_side=512, **choices)
    classes = F.normalize(torch.randn(7, 16).double(), dim=-1)
    pictures = [picture(*size).double(), *torch.rand(3, 3, *size).double()]
    names = set()
    for one in encode_windows(model, pictures, classes, protocol):
        assert one.canvas == one.size == size        # nothing is resized: labels are looked up
        expected = best_class(pixel_channels(one, protocol), protocol.background_threshold is not None)
        found = name_pixels(one, protocol)
        assert torch.equal(found, expected)
        names |= set(found.unique().tolist())
    assert len(names) > 1                            # else the test would say nothing


def test_the_mean_of_balance_counts_groups_by_their_area() -> None:
    """Two groups, one of three quarters of the image: what a slow mean over the pixels gives."""
    torch.manual_seed(0)
    table = torch.rand(1, 5, 2, 1).double()                                       # (1, C, G, 1)
    groups = torch.tensor([[0, 0, 0, 1]]).repeat(3, 1)                            # (3, 4)
    pixels = table[:, :, groups.flatten(), 0].unflatten(-1, (3, 4))               # (1, C, 3, 4)
    areas = torch.tensor([[0.75], [0.25]]).double()
    expected = balance_scores(pixels, 0.03)
    found = balance_scores(table, 0.03, areas)[:, :, groups.flatten(), 0].unflatten(-1, (3, 4))
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)


def test_scores_and_groups_are_made_when_they_are_asked_for() -> None:
    torch.manual_seed(0)
    model = a_model(ImageConfig(image_size=32, patch_size=8, width=24, num_heads=2, depths=(1, 1, 0),
                                num_group_tokens=(8, 4, 0), num_output_groups=(8, 4, 0)))
    found = segment(model, torch.rand(2, 3, 32, 40), NAMES[:7],
                    class_embeddings=F.normalize(torch.randn(7, 16), dim=-1))
    assert not {"scores", "groups"} & found.__dict__.keys()
    assert found.scores.shape == (2, 7, 32, 40) and found.scores is found.scores
    assert [one.shape for one in found.groups] == [(2, 32, 40)] * 2
    assert torch.equal(found.labels, found.scores.argmax(dim=1))


def test_the_papers_model_has_eight_final_groups() -> None:
    assert GROUPVIT_2STAGE.image.num_output_groups[-2:] == (8, 0)
