"""Configurations and presets."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, replace

import pytest
import torch

from minigroupvit.config import PRESETS, GroupViTConfig, ImageConfig, TextConfig, preset
from minigroupvit.model import GroupViT


def sizes(name: str) -> dict[str, int]:
    """Parameters of a preset and of its parts, without allocating memory."""
    with torch.device("meta"):
        model = GroupViT(preset(name))
    parts = {part: sum(p.numel() for p in child.parameters()) for part, child in model.named_children()}
    return parts | {"all": sum(p.numel() for p in model.parameters())}


def test_the_two_stage_model_has_the_size_of_the_paper() -> None:
    assert sizes("groupvit_2stage") == {
        "all": 55_726_610, "image_encoder": 28_837_136, "text_encoder": 22_145_792,
        "image_head": 2_633_984, "text_head": 2_109_696}


def test_the_other_presets_are_the_same_transformer() -> None:
    blocks = {name: sum(preset(name).image.depths) for name in ("groupvit_2stage", "groupvit_1stage", "clip_vit")}
    assert set(blocks.values()) == {12}
    one, plain = preset("groupvit_1stage").image, preset("clip_vit").image
    assert (one.num_group_tokens, one.num_output_groups) == ((64, 0), (8, 0))
    assert (plain.num_group_tokens, plain.num_output_groups) == ((0,), (0,))
    assert sizes("clip_vit")["all"] < sizes("groupvit_1stage")["all"] < sizes("groupvit_2stage")["all"]
    assert sizes("clip_vit")["text_encoder"] == sizes("groupvit_2stage")["text_encoder"]


def test_an_unknown_preset_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match="unknown preset 'groupvit'; the presets are groupvit_2stage, groupvit_1"):
        preset("groupvit")


@pytest.mark.parametrize("name", PRESETS)
def test_to_dict_and_back(name: str) -> None:
    config = preset(name)
    assert GroupViTConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_every_field_survives() -> None:
    config = GroupViTConfig(
        image=ImageConfig(image_size=64, patch_size=8, width=96, num_heads=3, depths=(2, 1), num_group_tokens=(9, 0),
                          num_output_groups=(7, 0), drop_path=0.2, stem="convolution", stem_depth=1, positions="sincos",
                          assignment="soft", gumbel_noise=0.5, temperature=0.3, residual="learned",
                          straight_through=False, merged_values="before", merge_weights="patches",
                          later_tokens_std=0.02, blocks_std=0.08),
        text=TextConfig(vocab_size=99, context_length=20, width=64, num_heads=2, depth=3),
        embed_dim=32, head="linear", text_head="normed", head_width=48, tokenizer="captions")
    default = GroupViTConfig()
    for part, other in ((config, default), (config.image, default.image), (config.text, default.text)):
        assert all(getattr(part, name) != getattr(other, name) for name in vars(part)), "a field left at its default"
    assert GroupViTConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_unknown_fields_are_named() -> None:
    values = GroupViTConfig().to_dict()
    with pytest.raises(ValueError, match="GroupViTConfig has no field dropout"):
        GroupViTConfig.from_dict(values | {"dropout": 0.1})
    with pytest.raises(ValueError, match="ImageConfig has no field colour, size"):
        GroupViTConfig.from_dict(values | {"image": {"size": 3, "colour": 1}})


def test_a_configuration_cannot_be_changed_in_place() -> None:
    with pytest.raises(FrozenInstanceError):
        preset("clip_vit").image.width = 3


@pytest.mark.parametrize(("field", "value", "message"), [
    ("image_size", 0, "image_size is 0; it must be a whole number of at least 1"),
    ("patch_size", 2.0, "patch_size is 2.0; it must be a whole number"),
    ("image_size", 100, "image_size 100 is not a multiple of patch_size 16; take 96"),
    ("image_size", 8, "image_size 8 is not a multiple of patch_size 16; take 16"),
    ("width", 100, "width 100 cannot be shared evenly by 6 heads"),
    ("depths", (6, 6), "one value per stage"),
    ("depths", (6, -3, 3), r"depths is \(6, -3, 3\); it must be whole numbers of at least 0, one per stage"),
    ("depths", (6, 1.5, 3), "depths is"),
    ("num_group_tokens", (64, 0, 0), "num_group_tokens and num_output_groups of a stage must both be positive or both 0"),
    ("num_output_groups", (64, -8, 0), "num_output_groups is"),
    ("stem", "conv", "stem is 'conv'; choose one of 'linear', 'convolution'"),
    ("positions", "sine", "positions is 'sine'; choose one of 'learned', 'sincos'"),
    ("assignment", "gumbel", "assignment is 'gumbel'; choose one of 'hard', 'soft'"),
    ("residual", True, "residual is True; choose one of 'projected', 'learned', 'none'"),
    ("temperature", 0.0, "temperature and blocks_std must be above 0"),
    ("blocks_std", 0.0, "blocks_std must be above 0"),
    ("gumbel_noise", -1.0, "gumbel_noise at least 0"),
    ("drop_path", 1.0, "drop_path is a probability from 0 to below 1; got 1.0"),
])
def test_bad_values_of_the_image_encoder(field: str, value: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(ImageConfig(), **{field: value})


def test_stages_that_group_come_first() -> None:
    with pytest.raises(ValueError, match="stages that group come before those that do not"):
        ImageConfig(depths=(1, 1), num_group_tokens=(0, 8), num_output_groups=(0, 8))


def test_values_that_do_not_go_together() -> None:
    for patch_size in (14, 1):
        with pytest.raises(ValueError, match=f"patch_size {patch_size} is no power of two above 1"):
            ImageConfig(patch_size=patch_size, stem="convolution")
    with pytest.raises(ValueError, match="width divisible by 4, got 18"):
        ImageConfig(width=18, positions="sincos")


def test_bad_values_of_the_other_configurations() -> None:
    with pytest.raises(ValueError, match="context_length is 0"):
        TextConfig(context_length=0)
    with pytest.raises(ValueError, match="width 30 cannot be shared evenly by 4 heads"):
        TextConfig(width=30)
    with pytest.raises(ValueError, match="embed_dim is -1"):
        GroupViTConfig(embed_dim=-1)
    with pytest.raises(ValueError, match="head is 'big'; choose one of 'mlp', 'linear'"):
        GroupViTConfig(head="big")
    with pytest.raises(ValueError, match="tokenizer is 'bpe'"):
        GroupViTConfig(tokenizer="bpe")
