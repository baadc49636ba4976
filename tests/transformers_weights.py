"""Names of the weights here and in transformers' `GroupViTModel`, one table for both ways."""

from __future__ import annotations

import re
from collections.abc import Iterable

import torch
from torch import Tensor

# Each * stands for the same text on both sides. {q,k,v}: three tensors there, stacked in one here.
TABLE = [row.split() for row in """
    image_encoder.patch_embed.proj.*           vision_model.embeddings.patch_embeddings.projection.*
    image_encoder.patch_embed.norm.*           vision_model.embeddings.layernorm.*
    image_encoder.patch_embed.positions        vision_model.embeddings.position_embeddings
    image_encoder.norm.*                       vision_model.layernorm.*

    image_encoder.stages.*.group_tokens                  vision_model.encoder.stages.*.group_token
    image_encoder.stages.*.group_projector.0.*           vision_model.encoder.stages.*.group_projector.0.*
    image_encoder.stages.*.group_projector.1.mlp.*       vision_model.encoder.stages.*.group_projector.1.*
    image_encoder.stages.*.layers.*.norm1.*              vision_model.encoder.stages.*.layers.*.layer_norm1.*
    image_encoder.stages.*.layers.*.attn.qkv.*           vision_model.encoder.stages.*.layers.*.self_attn.{q,k,v}_proj.*
    image_encoder.stages.*.layers.*.attn.proj.*          vision_model.encoder.stages.*.layers.*.self_attn.out_proj.*
    image_encoder.stages.*.layers.*.norm2.*              vision_model.encoder.stages.*.layers.*.layer_norm2.*
    image_encoder.stages.*.layers.*.mlp.*                vision_model.encoder.stages.*.layers.*.mlp.*

    image_encoder.stages.*.grouping.norm_tokens.*        vision_model.encoder.stages.*.downsample.norm_tokens.*
    image_encoder.stages.*.grouping.norm_x.*             vision_model.encoder.stages.*.downsample.norm_x.*
    image_encoder.stages.*.grouping.mlp_inter.mlp.*      vision_model.encoder.stages.*.downsample.mlp_inter.*
    image_encoder.stages.*.grouping.norm_post_tokens.*   vision_model.encoder.stages.*.downsample.norm_post_tokens.*
    image_encoder.stages.*.grouping.pre_assign_attn.attn.proj.*    vision_model.encoder.stages.*.downsample.pre_assign_attn.attn.out_proj.*
    image_encoder.stages.*.grouping.pre_assign_attn.*    vision_model.encoder.stages.*.downsample.pre_assign_attn.*
    image_encoder.stages.*.grouping.assign.*             vision_model.encoder.stages.*.downsample.assign.*
    image_encoder.stages.*.grouping.norm_new_x.*         vision_model.encoder.stages.*.downsample.norm_new_x.*
    image_encoder.stages.*.grouping.mlp_channels.*       vision_model.encoder.stages.*.downsample.mlp_channels.*

    text_encoder.token_embedding.weight        text_model.embeddings.token_embedding.weight
    text_encoder.positions                     text_model.embeddings.position_embedding.weight
    text_encoder.layers.*.norm1.*              text_model.encoder.layers.*.layer_norm1.*
    text_encoder.layers.*.attn.qkv.*           text_model.encoder.layers.*.self_attn.{q,k,v}_proj.*
    text_encoder.layers.*.attn.proj.*          text_model.encoder.layers.*.self_attn.out_proj.*
    text_encoder.layers.*.norm2.*              text_model.encoder.layers.*.layer_norm2.*
    text_encoder.layers.*.mlp.*                text_model.encoder.layers.*.mlp.*
    text_encoder.final_norm.*                  text_model.final_layer_norm.*

    image_head.layers.*                        visual_projection.*
    text_head.layers.*                         text_projection.*
    logit_scale                                logit_scale
""".splitlines() if row.strip()]

ONLY_HERE = {"multi_label_logit_scale"}  # transformers has no multi-label loss


def their_names(name: str) -> list[str]:
    """The names in transformers of one of our weights: one, three for q, k, v, none if only here."""
    if name in ONLY_HERE:
        return []
    for ours, theirs in TABLE:  # the first row that fits
        match = re.fullmatch(re.escape(ours).replace(r"\*", "(.+)"), name)
        if match:
            for part in match.groups():
                theirs = theirs.replace("*", part, 1)
            return [theirs.replace("{q,k,v}", letter) for letter in ("qkv" if "{" in theirs else "-")]
    raise KeyError(f"no row of the table fits {name}")


def from_transformers(theirs: dict[str, Tensor], names: Iterable[str]) -> dict[str, Tensor]:
    """Their weights under our names."""
    found = {name: [theirs[their] for their in their_names(name)] for name in names}
    return {name: torch.cat(parts) if len(parts) == 3 else parts[0] for name, parts in found.items() if parts}


def to_transformers(ours: dict[str, Tensor]) -> dict[str, Tensor]:
    """Our weights under their names."""
    theirs: dict[str, Tensor] = {}
    for name, value in ours.items():
        names = their_names(name)
        theirs |= dict(zip(names, value.chunk(3) if len(names) == 3 else [value]))
    return theirs
