"""What all formats of checkpoints share: the description of a model as JSON, and strict loading.

Our own format is `checkpoints/native.py`; those of the authors and of transformers are in the folder `released`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import Tensor

from ..config import GroupViTConfig
from ..image_encoder import resize_positions
from ..model import GroupViT
from ..segmentation.options import InferenceOptions
from ..text.tokenizer import Tokenizer

POSITIONS = "image_encoder.patch_embed.positions"


def describe(model: GroupViT, about: dict[str, Any] | None = None) -> dict[str, Any]:
    """Configuration, tokenizer and inference protocol of a model, for JSON; `about`: where it comes from."""
    return {
        "config": model.config.to_dict(),
        "tokenizer": model.tokenizer.state(),
        "protocol": asdict(model.protocol) if model.protocol else None,
        "about": about or {},
    }


def protocol_from_dict(values: dict[str, Any] | None) -> InferenceOptions | None:
    """The inference protocol of a description; None if it has none."""
    return InferenceOptions(**values | {"templates": tuple(values["templates"])}) if values else None


def with_overrides(config: GroupViTConfig, tensors: dict[str, Tensor], num_heads: int | None = None,
                   text_num_heads: int | None = None, image_size: int | None = None,
                   drop_path: float | None = None) -> tuple[GroupViTConfig, dict[str, Tensor]]:
    """A stored configuration and its weights, with the values given on loading instead of the stored ones.

    The arguments are those of `load`. Raises ValueError for values that the configuration cannot have.
    """
    given = {"num_heads": num_heads, "image_size": image_size, "drop_path": drop_path}
    image = replace(config.image, **{name: value for name, value in given.items() if value is not None})
    text = replace(config.text, num_heads=text_num_heads or config.text.num_heads)
    if image.grid_size != config.image.grid_size and POSITIONS in tensors:
        old, new = (config.image.grid_size,) * 2, (image.grid_size,) * 2
        tensors = tensors | {POSITIONS: resize_positions(tensors[POSITIONS].float(), old, new)}
    return replace(config, image=image, text=text), tensors


def check_tokenizer(tokenizer: Tokenizer, end_id: int, source: object) -> None:
    """Raises ValueError unless texts of this tokenizer end with the token at which the weights read the feature."""
    if tokenizer.end_id != end_id:
        raise ValueError(f"texts of {source} end with token {end_id}, those of the tokenizer with {tokenizer.end_id}; "
                         "give the tokenizer of these weights: load(path, tokenizer=...)")


def load_tensors(model: torch.nn.Module, tensors: dict[str, Tensor], source: object,
                 called: Callable[[str], str] = str) -> None:
    """Strict loading whose error names every key that does not match.

    `called`: our name of a weight to its name in the source.
    """
    own = model.state_dict()
    problems = [f"{called(name)} is missing" for name in own if name not in tensors]
    problems += [f"{called(name)} has no place" for name in tensors if name not in own]
    problems += [f"{called(name)} is {tuple(tensors[name].shape)} instead of {tuple(own[name].shape)}"
                 for name in own if name in tensors and tensors[name].shape != own[name].shape]
    if problems:
        raise ValueError(f"{source} does not fit this model: {shortened(problems)}")
    model.load_state_dict({name: value.to(own[name].dtype) for name, value in tensors.items()})


def shortened(problems: list[str]) -> str:
    """The first ten problems, and the number of the others."""
    return "; ".join(problems[:10]) + (f" ... and {len(problems) - 10} more" if len(problems) > 10 else "")
