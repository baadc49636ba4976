"""The name of each weight here, in the authors' checkpoint, and in transformers' `GroupViTModel`; and the architecture
of a model from the shapes of its weights.

One table for all directions. A heading gives the three prefixes, the rows below it the rest of the names.

    #         a number, the same in all three: of a stage, of a block
    *         the rest of the name, the same in all three
    {q,k,v}   three tensors there, which are stacked in one here, in this order
    (1)       a convolution of kernel 1 there, so its weight has one more axis
    ?         may be missing from a file: then the weight keeps its initial value
    -         does not exist there
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache

import torch
from torch import Tensor

from ...config import GroupViTConfig, ImageConfig, TextConfig
from ..describe import shortened

TABLE = """
[image_encoder.               img_encoder.               vision_model.]
patch_embed.proj.*            patch_embed.proj.*         embeddings.patch_embeddings.projection.*
patch_embed.norm.*            patch_embed.norm.*         embeddings.layernorm.*
patch_embed.positions         pos_embed                  embeddings.position_embeddings
norm.*                        norm.*                     layernorm.*

[image_encoder.stages.#.      img_encoder.layers.#.      vision_model.encoder.stages.#.]
group_tokens                  group_token                group_token
group_projector.0.*           group_projector.0.*        group_projector.0.*
group_projector.1.mlp.*       group_projector.1.*        group_projector.1.*
layers.#.norm1.*              blocks.#.norm1.*           layers.#.layer_norm1.*
layers.#.attn.qkv.*           blocks.#.attn.qkv.*        layers.#.self_attn.{q,k,v}_proj.*
layers.#.attn.proj.*          blocks.#.attn.proj.*       layers.#.self_attn.out_proj.*
layers.#.norm2.*              blocks.#.norm2.*           layers.#.layer_norm2.*
layers.#.mlp.*                blocks.#.mlp.*             layers.#.mlp.*

[image_encoder.stages.#.grouping.   img_encoder.layers.#.downsample.   vision_model.encoder.stages.#.downsample.]
norm_tokens.*                 norm_tokens.*              norm_tokens.*
norm_x.*                      norm_x.*                   norm_x.*
mlp_inter.mlp.*               mlp_inter.*                mlp_inter.*
norm_post_tokens.*            norm_post_tokens.*         norm_post_tokens.*
pre_assign_attn.attn.q_proj.* pre_assign_attn.attn.q_proj.*    pre_assign_attn.attn.q_proj.*
pre_assign_attn.attn.k_proj.* pre_assign_attn.attn.k_proj.*    pre_assign_attn.attn.k_proj.*
pre_assign_attn.attn.v_proj.* pre_assign_attn.attn.v_proj.*    pre_assign_attn.attn.v_proj.*
pre_assign_attn.attn.proj.*   pre_assign_attn.attn.proj.*      pre_assign_attn.attn.out_proj.*
pre_assign_attn.norm2.*       pre_assign_attn.norm2.*          pre_assign_attn.norm2.*
pre_assign_attn.mlp.*         pre_assign_attn.mlp.*            pre_assign_attn.mlp.*
pre_assign_attn.norm_post.*   pre_assign_attn.norm_post.*      pre_assign_attn.norm_post.*
assign.*                      assign.*                   assign.*
norm_new_x.*                  norm_new_x.*               norm_new_x.*
mlp_channels.*                mlp_channels.*             mlp_channels.*

[text_encoder.                text_encoder.              text_model.]
token_embedding.weight        token_embedding.weight     embeddings.token_embedding.weight
positions                     positional_embedding       embeddings.position_embedding.weight
final_norm.*                  ln_final.*                 final_layer_norm.*

[text_encoder.layers.#.       text_encoder.transformer.resblocks.#.    text_model.encoder.layers.#.]
norm1.*                       ln_1.*                     layer_norm1.*
attn.qkv.weight               attn.in_proj_weight        self_attn.{q,k,v}_proj.weight
attn.qkv.bias                 attn.in_proj_bias          self_attn.{q,k,v}_proj.bias
attn.proj.*                   attn.out_proj.*            self_attn.out_proj.*
norm2.*                       ln_2.*                     layer_norm2.*
mlp.fc1.*                     mlp.c_fc.*                 mlp.fc1.*
mlp.fc2.*                     mlp.c_proj.*               mlp.fc2.*

[image_head.layers.           img_projector.             visual_projection.]
0.weight                      linear_hidden.0.weight(1)  0.weight
0.bias                        linear_hidden.0.bias       0.bias
1.*                           linear_hidden.1.*          1.*
3.weight                      linear_out.weight(1)       3.weight
3.bias                        linear_out.bias            3.bias

[text_head.layers.            text_projector.            text_projection.]
0.weight                      linear_hidden.0.weight(1)  0.weight
0.bias                        linear_hidden.0.bias       0.bias
1.*                           linear_hidden.1.*          1.*
3.weight                      linear_out.weight(1)       3.weight
3.bias                        linear_out.bias            3.bias

[]
logit_scale                   logit_scale                logit_scale
multi_label_logit_scale       multi_label_logit_scale?   -
"""

FORMS = ("authors", "transformers")     # the second and the third column
# The numbers 0, 1, 2, ..., which older versions of transformers stored with the weights.
IGNORED = {"text_model.embeddings.position_ids"}


@dataclass(frozen=True)
class Row:
    """One row of the table for one of the two forms."""

    ours: str
    theirs: tuple[str, ...]    # one name, three for {q,k,v}, none for "-"
    convolution: bool          # "(1)"
    optional: bool             # "?", and "-"


@lru_cache
def rows(form: str) -> tuple[Row, ...]:
    """The table for "authors" or "transformers", with full names."""
    column, found = 1 + FORMS.index(form), []
    for line in filter(None, TABLE.splitlines()):
        if line.startswith("["):
            beginnings = line.strip("[]").split() or ["", "", ""]
            continue
        cells = line.split()
        name = cells[column].removesuffix("?").removesuffix("(1)")
        names = [name.replace("{q,k,v}", letter) for letter in "qkv"] if "{q,k,v}" in name else [name]
        found.append(Row(
            ours=beginnings[0] + cells[0],
            theirs=() if name == "-" else tuple(beginnings[column] + each for each in names),
            convolution=cells[column].endswith("(1)"), optional=cells[column][-1] in "?-"))
    return tuple(found)


@cache
def _regex(pattern: str) -> re.Pattern[str]:
    return re.compile(re.escape(pattern).replace(r"\#", r"(\d+)").replace(r"\*", "(.+)"))


def _translate(name: str, pattern: str, into: str) -> str | None:
    """A name that matches `pattern` as a name that matches `into`; None if it does not match."""
    match = _regex(pattern).fullmatch(name)
    if match is None:
        return None
    parts = iter(match.groups())
    return re.sub("[#*]", lambda _: next(parts), into)


def place_there(name: str, form: str) -> tuple[Row, list[str]]:
    """The row of one of our weights, and its names there: one, three, or none."""
    for row in rows(form):
        if _regex(row.ours).fullmatch(name):
            return row, [_translate(name, row.ours, their) for their in row.theirs]
    raise KeyError(f"no row of the table fits {name}")


def place_here(key: str, form: str) -> tuple[Row, str, int] | None:
    """The row of one of their names, the name here, and which of q, k, v it is. None: no row fits."""
    for row in rows(form):
        for part, their in enumerate(row.theirs):
            name = _translate(key, their, row.ours)
            if name is not None:
                return row, name, part
    return None


def to_ours(theirs: dict[str, Tensor], form: str, source: object = "the file") -> dict[str, Tensor]:
    """Weights of a file under our names.

    Raises ValueError with each name that no row of the table fits, and each q, k or v without the others.
    """
    problems: list[str] = []
    found: dict[str, dict[int, Tensor]] = {}       # our name: part: tensor
    for key, value in theirs.items():
        if key in IGNORED:
            continue
        place = place_here(key, form)
        if place is None:
            problems.append(f"{key} has no place")
            continue
        row, name, part = place
        if row.convolution and (value.ndim != 3 or value.shape[-1] != 1):
            problems.append(f"{key} is {tuple(value.shape)} instead of (out, in, 1)")
            continue
        found.setdefault(name, {})[part] = value[..., 0] if row.convolution else value
    ours: dict[str, Tensor] = {}
    for name, parts in found.items():
        names = place_there(name, form)[1]
        missing = [f"{their} is missing" for part, their in enumerate(names) if part not in parts]
        problems += missing
        if not missing:
            ours[name] = torch.cat([parts[part] for part in range(3)]) if len(names) == 3 else parts[0]
    if problems:
        raise ValueError(f"{source} has other weights than a GroupViT of the paper: {shortened(problems)}")
    return ours


def to_theirs(ours: dict[str, Tensor], form: str) -> dict[str, Tensor]:
    """Our weights under their names, without those that do not exist there ("-")."""
    theirs: dict[str, Tensor] = {}
    for name, value in ours.items():
        row, names = place_there(name, form)
        value = value[..., None] if row.convolution else value
        theirs |= dict(zip(names, value.chunk(3) if len(names) == 3 else [value]))
    return theirs


HEAD_CHANNELS = 64     # channels of one attention head, in both encoders of the paper


def architecture(tensors: Mapping[str, Tensor], form: str, num_heads: int | None = None,
                 text_num_heads: int | None = None) -> GroupViTConfig:
    """The configuration of a model with these weights (our names, from a file of this form).

    Shapes determine everything but the number of attention heads: `num_heads` and `text_num_heads`, by default one per
    64 channels. Raises ValueError with the name of a missing weight.
    """

    def shape(name: str, *axes: str) -> tuple[int, ...]:
        their = place_there(name, form)[1][0]
        if name not in tensors:
            raise ValueError(f"{their} is missing; without it the architecture is unknown")
        if tensors[name].ndim != len(axes):
            raise ValueError(f"{their} is {tuple(tensors[name].shape)} instead of ({', '.join(axes)})")
        return tuple(tensors[name].shape)

    def count(before: str, after: str = "") -> int:
        """One more than the largest number between `before` and `after` in the names."""
        found = (re.match(f"{re.escape(before)}(\\d+)\\.{after}", name) for name in tensors)
        numbers = {int(match[1]) for match in found if match}
        # Stages without weights leave gaps in the numbers; more gaps than weights are a mistake.
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
        raise ValueError(f"a width of {width} is no multiple of {HEAD_CHANNELS} channels per head, and shapes do not "
                         f"show the number of heads; give {argument}")
    return width // HEAD_CHANNELS
