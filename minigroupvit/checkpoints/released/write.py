"""A model of ours in the authors' format, and as a folder that transformers opens."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from ...config import GroupViTConfig
from ...files import write_atomically
from ...images import IMAGE_MEAN, IMAGE_STD
from ...model import MAX_LOGIT_SCALE, GroupViT
from ..describe import describe
from ..hub import WEIGHTS
from .names import to_theirs
from .read import DESCRIPTION, ONLY
from .tokenizer_files import write_tokenizer


def export_released(model: GroupViT, path: str | Path) -> None:
    """Writes the authors' format: torch.save of a dictionary with the weights in `model`, under their names.

    Beside them, under `minigroupvit`, stands what the format has no place for, as a text of JSON: configuration,
    tokenizer, protocol. The authors' code passes over it, `load_released` reads it.

    The authors' code has soft assignment as a setting of its own: set it there too. It knows no vocabulary but
    CLIP's. Raises ValueError for a choice that the format lacks.
    """
    _check(model, "the authors' format", unlike_authors(model.config))
    about = getattr(model, "about", {})
    content = {"model": to_theirs(_weights(model), "authors"), DESCRIPTION: json.dumps(describe(model, about))}
    write_atomically(Path(path), lambda part: torch.save(content, part))


def export_transformers(model: GroupViT, folder: str | Path) -> None:
    """Writes a folder that `transformers.GroupViTModel.from_pretrained` opens.

    - model.safetensors: the weights. Not `multi_label_logit_scale`, which transformers lacks; `logit_scale` at
      most log 100, since transformers does not clamp it.
    - config.json: the architecture. Not the noise, drop-path and gradient of training on.
    - tokenizer.json, tokenizer_config.json, preprocessor_config.json: for `AutoTokenizer`, `AutoImageProcessor`
      and `AutoProcessor`, so that texts get the ids, and pictures the size and the statistics, that this model
      was trained with (transformers' own default is CLIP's).
    - minigroupvit.json: configuration, tokenizer and protocol as our checkpoints have them, for the way back. What
      transformers saves again lacks this file: it comes back with its vocabulary and the paper's protocol.

    Raises ValueError for a choice that transformers lacks.
    """
    folder = Path(folder)
    _check(model, "transformers' GroupViT", unlike_transformers(model.config))
    weights = _weights(model)
    weights["logit_scale"] = weights["logit_scale"].clamp(max=math.log(MAX_LOGIT_SCALE))
    # Copies: queries, keys and values are parts of one tensor here, and safetensors wants each on its own.
    theirs = {name: value.clone() for name, value in to_theirs(weights, "transformers").items()}
    write_atomically(folder / WEIGHTS, lambda path: save_file(theirs, path, metadata={"format": "pt"}))
    write_tokenizer(model.tokenizer, folder)
    _write_json(folder / f"{DESCRIPTION}.json", describe(model, getattr(model, "about", {})))
    _write_json(folder / "preprocessor_config.json", _preprocessor(model))
    _write_json(folder / "config.json", transformers_config(model))     # last: it makes the folder a model


def transformers_config(model: GroupViT) -> dict[str, Any]:
    """config.json of transformers' GroupViT."""
    image, text, tokenizer = model.config.image, model.config.text, model.tokenizer
    return {
        "model_type": "groupvit",
        "architectures": ["GroupViTModel"],
        "projection_dim": model.config.embed_dim,
        "projection_intermediate_dim": model.config.head_width,
        "logit_scale_init_value": math.log(1 / 0.07),
        "vision_config": ONLY["vision_config"] | {
            "model_type": "groupvit_vision_model",
            "hidden_size": image.width,
            "intermediate_size": 4 * image.width,
            "num_attention_heads": image.num_heads,
            "image_size": image.image_size,
            "patch_size": image.patch_size,
            "num_hidden_layers": sum(image.depths),
            "depths": image.depths,
            "num_group_tokens": image.num_group_tokens,
            "num_output_groups": image.num_output_groups,
        },
        "text_config": ONLY["text_config"] | {
            "model_type": "groupvit_text_model",
            "vocab_size": text.vocab_size,
            "hidden_size": text.width,
            "intermediate_size": 4 * text.width,
            "num_attention_heads": text.num_heads,
            "num_hidden_layers": text.depth,
            "max_position_embeddings": text.context_length,
            "bos_token_id": tokenizer.start_id,
            "eos_token_id": tokenizer.end_id,
            "pad_token_id": 0 if tokenizer.name == "captions" else tokenizer.end_id,
        },
    }


def _preprocessor(model: GroupViT) -> dict[str, Any]:
    size = model.config.image.image_size
    return {
        "image_processor_type": "CLIPImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True, "size": {"shortest_edge": size}, "resample": 3,     # bicubic
        "do_center_crop": True, "crop_size": {"height": size, "width": size},
        "do_rescale": True, "rescale_factor": 1 / 255,
        "do_normalize": True, "image_mean": IMAGE_MEAN, "image_std": IMAGE_STD,
    }


def _weights(model: GroupViT) -> dict[str, Tensor]:
    return {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}


def unlike_authors(config: GroupViTConfig) -> list[str]:
    """Choices of the configuration that no released format can hold, in words; none: it can be exported."""
    image = config.image
    choices = {"image.stem": (image.stem, "linear"), "image.positions": (image.positions, "learned"),
               "head": (config.head, "mlp")}
    if config.text_head is not None:
        choices["text_head"] = (config.text_head, "mlp")
    if any(image.num_group_tokens):
        choices |= {"image.residual": (image.residual, "projected"), "image.temperature": (image.temperature, 1.0),
                    "image.merged_values": (image.merged_values, "after"),
                    "image.merge_weights": (image.merge_weights, "tokens")}
    return [f"{name} {has!r} (only {only!r})" for name, (has, only) in choices.items() if has != only]


def unlike_transformers(config: GroupViTConfig) -> list[str]:
    """Choices of the configuration that transformers cannot hold, in words; none: it can be exported."""
    image = config.image
    problems = unlike_authors(config)
    if image.assignment != "hard" and any(image.num_group_tokens):
        problems.append(f"image.assignment {image.assignment!r} (only 'hard')")
    for i, tokens in enumerate(image.num_group_tokens):
        if i and tokens and image.num_group_tokens[i - 1] != image.num_output_groups[i - 1]:
            problems.append(f"as many output groups as group tokens where another stage follows that groups, not "
                            f"{image.num_output_groups[i - 1]} of {image.num_group_tokens[i - 1]}")
    return problems


def _check(model: GroupViT, where: str, problems: list[str]) -> None:
    if problems:
        raise ValueError(f"{where} has no place for this model's {'; '.join(problems)}. "
                         "save_checkpoint and save_pretrained keep every model whole")


def _write_json(path: Path, values: dict[str, Any]) -> None:
    write_atomically(path, lambda part: part.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8"))
