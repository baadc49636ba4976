"""What a model is made of, read from the shapes of its weights."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from torch import Tensor

from ..config import GroupViTConfig, ImageConfig, TextConfig
from .names import place_there

HEAD_CHANNELS = 64     # channels of one attention head, in both encoders of the paper


def architecture(tensors: Mapping[str, Tensor], form: str, num_heads: int | None = None,
                 text_num_heads: int | None = None) -> GroupViTConfig:
    """The configuration of a model with these weights (our names, from a file of this form).

    Shapes tell everything that makes weights, but not how many heads share the channels: `num_heads` and
    `text_num_heads`, 64 channels a head if not given. Raises ValueError that names the weight it misses.
    """

    def shape(name: str, *axes: str) -> tuple[int, ...]:
        their = place_there(name, form)[1][0]
        if name not in tensors:
            raise ValueError(f"{their} is missing; without it nobody can tell what the model is made of")
        if tensors[name].ndim != len(axes):
            raise ValueError(f"{their} is {tuple(tensors[name].shape)} instead of ({', '.join(axes)})")
        return tuple(tensors[name].shape)

    def count(before: str, after: str = "") -> int:
        """How many numbers there are between `before` and `after` in the names."""
        found = (re.match(f"{re.escape(before)}(\\d+)\\.{after}", name) for name in tensors)
        numbers = {int(match[1]) for match in found if match}
        # Stages without any weight leave gaps; more gaps than weights are a mistake.
        if numbers and max(numbers) >= len(tensors):
            raise ValueError(f"a stage or block has the number {max(numbers)}, with {len(tensors)} weights in all")
        return 1 + max(numbers, default=-1)

    width, _, patch_size, _ = shape("image_encoder.patch_embed.proj.weight", "width", "3", "patch", "patch")
    _, num_patches, _ = shape("image_encoder.patch_embed.positions", "1", "patches", "width")
    grid_size = math.isqrt(num_patches)
    if grid_size ** 2 != num_patches:
        raise ValueError(f"there are positions for {num_patches} patches, which is no square")

    stages = range(max(1, count("image_encoder.stages.")))
    depths = [count(f"image_encoder.stages.{i}.layers.") for i in stages]
    groups = [f"image_encoder.stages.{i}.group_tokens" in tensors for i in stages]
    num_group_tokens = [shape(f"image_encoder.stages.{i}.group_tokens", "1", "tokens", "width")[1]
                        if groups[i] else 0 for i in stages]
    num_output_groups = [shape(f"image_encoder.stages.{i}.grouping.mlp_inter.mlp.fc2.weight", "groups", "hidden")[0]
                         if groups[i] else 0 for i in stages]

    vocab_size, text_width = shape("text_encoder.token_embedding.weight", "tokens", "width")
    context_length, _ = shape("text_encoder.positions", "length", "width")
    embed_dim, head_width = shape("image_head.layers.3.weight", "channels", "hidden")
    return GroupViTConfig(
        image=ImageConfig(
            image_size=grid_size * patch_size, patch_size=patch_size, width=width,
            num_heads=num_heads or _heads(width, "num_heads"),
            depths=tuple(depths), num_group_tokens=tuple(num_group_tokens),
            num_output_groups=tuple(num_output_groups)),
        text=TextConfig(
            vocab_size=vocab_size, context_length=context_length, width=text_width,
            num_heads=text_num_heads or _heads(text_width, "text_num_heads"),
            depth=count("text_encoder.layers.")),
        embed_dim=embed_dim, head_width=head_width)


def _heads(width: int, argument: str) -> int:
    if width % HEAD_CHANNELS:
        raise ValueError(
            f"a width of {width} is no multiple of {HEAD_CHANNELS} channels a head, and shapes cannot tell how many "
            f"heads share it; give {argument}")
    return width // HEAD_CHANNELS
