"""The table of names: complete, without doubt, and its errors."""

from __future__ import annotations

import pytest
import torch

from minigroupvit.checkpoints.released.names import (
    FORMS,
    IGNORED,
    architecture,
    place_here,
    place_there,
    rows,
    to_ours,
    to_theirs,
)
from minigroupvit.config import GroupViTConfig
from minigroupvit.model import GroupViT

# Some names as they stand in the files of others; the rest of the table is tested by what the models compute.
EXAMPLES = """
image_encoder.patch_embed.positions
    img_encoder.pos_embed
    vision_model.embeddings.position_embeddings
image_encoder.stages.0.grouping.assign.q_proj.weight
    img_encoder.layers.0.downsample.assign.q_proj.weight
    vision_model.encoder.stages.0.downsample.assign.q_proj.weight
image_encoder.stages.12.layers.3.attn.proj.bias
    img_encoder.layers.12.blocks.3.attn.proj.bias
    vision_model.encoder.stages.12.layers.3.self_attn.out_proj.bias
text_encoder.layers.11.mlp.fc1.weight
    text_encoder.transformer.resblocks.11.mlp.c_fc.weight
    text_model.encoder.layers.11.mlp.fc1.weight
image_head.layers.1.running_var
    img_projector.linear_hidden.1.running_var
    visual_projection.1.running_var
text_head.layers.3.weight
    text_projector.linear_out.weight
    text_projection.3.weight
"""


@pytest.fixture(scope="module")
def model(make_model) -> GroupViT:
    return make_model()


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def theirs(model: GroupViT, form: str) -> dict[str, torch.Tensor]:
    return to_theirs(model.state_dict(), form)


def test_examples() -> None:
    lines = EXAMPLES.split()
    for ours, *theirs in zip(lines[::3], lines[1::3], lines[2::3]):
        for form, name in zip(FORMS, theirs):
            assert place_there(ours, form)[1] == [name]
            assert place_here(name, form)[1:] == (ours, 0)


def test_every_row_is_used_and_no_key_fits_two(model: GroupViT, form: str, theirs) -> None:
    used = {place_there(name, form)[0] for name in model.state_dict()}
    assert used == set(rows(form))
    for key in theirs:
        fitting = [row for row in rows(form) if place_here(key, form)[0] == row]
        assert len(fitting) == 1
    ours = [place_here(key, form)[1:] for key in theirs]
    assert len(set(ours)) == len(ours), "two keys for one place"


def test_there_and_back(model: GroupViT, form: str, theirs) -> None:
    back = to_ours(theirs, form)
    only_here = {"multi_label_logit_scale"} if form == "transformers" else set()
    assert back.keys() == model.state_dict().keys() - only_here
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in back.items())


def test_a_key_without_a_place_is_named(form: str, theirs) -> None:
    theirs |= {"optimizer.step": torch.ones(1), "img_encoder.layers.0.downsample.reduction.weight": torch.ones(1)}
    with pytest.raises(ValueError) as error:
        to_ours(theirs, form, "a.pth")
    assert str(error.value) == ("a.pth has other weights than a GroupViT of the paper: optimizer.step has no place; "
                                "img_encoder.layers.0.downsample.reduction.weight has no place")


def test_a_lonely_key_of_three_is_named(model: GroupViT) -> None:
    theirs = to_theirs(model.state_dict(), "transformers")
    del theirs["text_model.encoder.layers.1.self_attn.k_proj.bias"]
    with pytest.raises(ValueError, match="text_model.encoder.layers.1.self_attn.k_proj.bias is missing$"):
        to_ours(theirs, "transformers")


def test_a_head_that_is_no_convolution_is_named(model: GroupViT) -> None:
    theirs = to_theirs(model.state_dict(), "authors")
    assert theirs["img_projector.linear_out.weight"].shape == (12, 24, 1)
    theirs["img_projector.linear_out.weight"] = torch.ones(12, 24)
    with pytest.raises(ValueError, match=r"img_projector.linear_out.weight is \(12, 24\) instead of \(out, in, 1\)"):
        to_ours(theirs, "authors")


def test_what_is_no_weight_is_passed_over(model: GroupViT) -> None:
    theirs = to_theirs(model.state_dict(), "transformers")
    assert to_ours(theirs | {name: torch.arange(16) for name in IGNORED}, "transformers").keys() == \
        to_ours(theirs, "transformers").keys()


# ---------------------------------------------------------------- architecture


def read(model: GroupViT, **heads) -> GroupViTConfig:
    return architecture(model.state_dict(), "authors", **heads)


SHAPES = {
    "two stages": {},
    "one stage": dict(depths=(2, 3), num_group_tokens=(5, 0), num_output_groups=(3, 0)),
    "one stage, nothing after it": dict(depths=(2,), num_group_tokens=(5,), num_output_groups=(3,)),
    "no blocks before": dict(depths=(0, 1), num_group_tokens=(5, 0), num_output_groups=(3, 0)),
    "a stage of nothing": dict(depths=(1, 0, 2), num_group_tokens=(5, 0, 0), num_output_groups=(3, 0, 0)),
    "three that group": dict(depths=(1, 1, 1), num_group_tokens=(6, 4, 2), num_output_groups=(5, 3, 1)),
    "no groups": dict(depths=(3,), num_group_tokens=(0,), num_output_groups=(0,)),
    "other sizes": dict(image_size=40, patch_size=8, width=24, num_heads=3),
    "many blocks": dict(depths=(11, 1, 0), num_group_tokens=(2, 2, 2), num_output_groups=(2, 2, 2)),
}


@pytest.mark.parametrize("name", SHAPES)
def test_architecture_is_read_from_the_shapes(make_model, name: str) -> None:
    model = make_model(**SHAPES[name])
    config = read(model, num_heads=model.config.image.num_heads, text_num_heads=2)
    assert config.image == model.config.image and config.text == model.config.text
    assert (config.embed_dim, config.head, config.head_width) == (12, "mlp", 24)


def test_64_channels_a_head(make_model) -> None:
    assert read(make_model(width=128), text_num_heads=2).image.num_heads == 2
    with pytest.raises(ValueError, match="width of 16 is no multiple of 64 .* give num_heads"):
        read(make_model(), text_num_heads=2)
    with pytest.raises(ValueError, match="give text_num_heads"):
        read(make_model(), num_heads=2)


@pytest.mark.parametrize(("change", "message"), [
    ({"image_encoder.patch_embed.positions": None}, "img_encoder.pos_embed is missing; without it"),
    ({"image_encoder.patch_embed.positions": (1, 15, 16)}, "positions for 15 patches, which is no square"),
    ({"image_encoder.patch_embed.proj.weight": (16, 3)}, r"img_encoder.patch_embed.proj.weight is \(16, 3\) instead of "
                                                         r"\(width, 3, patch, patch\)"),
    ({"image_head.layers.3.weight": None}, "img_projector.linear_out.weight is missing"),
    ({"image_encoder.stages.99999999.norm": (1,)}, "has the number 99999999, with"),
])
def test_shapes_that_tell_nothing(model: GroupViT, change: dict, message: str) -> None:
    tensors = dict(model.state_dict())
    for name, shape in change.items():
        if shape is None:
            del tensors[name]
        else:
            tensors[name] = torch.empty(shape)
    with pytest.raises(ValueError, match=message):
        architecture(tensors, "authors", 2, 2)
