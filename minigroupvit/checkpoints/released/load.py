"""Loads released weights into a model of this package."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ...config import GroupViTConfig
from ...model import GroupViT
from ...segmentation.options import InferenceOptions, released_sizes
from ...text.caption_tokenizer import tokenizer_from_state
from ...text.clip_tokenizer import ClipTokenizer
from ...text.tokenizer import Tokenizer
from ..describe import check_tokenizer, load_tensors, protocol_from_dict, with_overrides
from ..hub import download, is_hub_id
from .names import architecture, place_there, to_ours
from .read import DESCRIPTION, Released, check_whole, read_authors, read_tokenizer, read_transformers

# Options of the image encoder that have no weights; its other options exist in no released format.
_BESIDE_SHAPES = ("assignment", "gumbel_noise", "straight_through", "later_tokens_std", "drop_path")


def load_released(path: str | Path, num_heads: int | None = None, text_num_heads: int | None = None,
                  image_size: int | None = None, tokenizer: Tokenizer | str | Path | None = None,
                  device: str | torch.device = "cpu", drop_path: float | None = None) -> GroupViT:
    """A model with released weights, in evaluation mode.

    The architecture is derived from the shapes of the weights: any number of stages, any size. No code in a file is
    run.

    Args:
        path: the authors' checkpoint (a file of torch.save with the weights in `model`); or a folder of
            transformers' GroupViT, or such a folder's id on the Hugging Face hub.
        num_heads, text_num_heads: attention heads of the two encoders, which shapes do not show. None: as in
            transformers' config.json, or 64 channels per head as in the paper.
        image_size: side of the images for further training, in pixels; the position embeddings are interpolated.
            None: the size of the weights' training. Inference takes other sizes anyway.
        tokenizer: a `Tokenizer`, or the path of a tokenizer.json (see `read_tokenizer`); needed for a vocabulary that
            is neither CLIP's nor stored with the weights, by this package or as a tokenizer.json.
        drop_path: rate of stochastic depth of the last block, for further training; None: as stored, or 0.1 as in the
            paper.

    Unless this package wrote the file, the inference protocol is the released one: `segment` resizes the shorter side
    of an image to twice the training size (448 pixels, and the longer at most 2048, for 224). Weights that a format
    lacks keep their initial values: `multi_label_logit_scale` in transformers, and in checkpoints of the authors
    without the multi-label loss.

    Raises ValueError for a file of another kind, and for missing or unexpected weights, with their names.
    """
    released = _read(path)
    try:
        known = _known(released.description)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"the value of '{DESCRIPTION}' in {path} is damaged: {error!r}") from error
    tensors = to_ours(released.tensors, released.form, path)
    config = architecture(tensors, released.form,
                          num_heads or released.num_heads or known.get("num_heads"),
                          text_num_heads or released.text_num_heads or known.get("text_num_heads"))
    config = replace(config, image=replace(config.image, **known.get("image", {})))
    config, tensors = with_overrides(config, tensors, image_size=image_size, drop_path=drop_path)

    tokenizer = tokenizer or known.get("tokenizer") or released.tokenizer_file or _clip(config, path)
    if isinstance(tokenizer, (str, Path)):
        tokenizer = read_tokenizer(tokenizer, config.text.context_length)
    # transformers' end id 2 means: the largest id of a text, as here.
    end_id = config.text.vocab_size - 1 if released.end_id in (None, 2) else released.end_id
    check_tokenizer(tokenizer, end_id, path)
    model = GroupViT(replace(config, tokenizer=tokenizer.name), tokenizer)
    model.protocol = known["protocol"] if known else InferenceOptions(**released_sizes(config.image.image_size))
    model.about = known.get("about", {})
    for name, value in model.state_dict().items():
        if name not in tensors and place_there(name, released.form)[0].optional:
            tensors[name] = value
    load_tensors(model, tensors, path, called=lambda name: " + ".join(place_there(name, released.form)[1]) or name)
    return model.to(device).eval()


def _read(path: str | Path) -> Released:
    expected = ("expected the authors' checkpoint (a file of torch.save with the weights in 'model'), a folder with "
                "transformers' config.json and model.safetensors, or the id of such a folder on the hub "
                "(nvidia/groupvit-gcc-yfcc)")
    if Path(path).is_dir():
        return read_transformers(Path(path))
    check_whole(Path(path))
    if Path(path).suffix == ".safetensors":
        raise ValueError(f"{path} is a safetensors file; {expected}. For checkpoints of this package: load(path)")
    if Path(path).is_file():
        return read_authors(Path(path))
    if is_hub_id(path):
        return read_transformers(download(str(path)))
    raise ValueError(f"there is nothing at {path}; {expected}")


def _known(description: dict[str, Any] | None) -> dict[str, Any]:
    """What the description in a file of this package says beyond the shapes of the weights."""
    if description is None:
        return {}
    image, text = description["config"]["image"], description["config"]["text"]
    return {
        "num_heads": image["num_heads"],
        "text_num_heads": text["num_heads"],
        "image": {name: image[name] for name in _BESIDE_SHAPES if name in image},
        "tokenizer": tokenizer_from_state(description["tokenizer"]),
        "protocol": protocol_from_dict(description["protocol"]),
        "about": description["about"],
    }


def _clip(config: GroupViTConfig, path: str | Path) -> ClipTokenizer:
    if config.text.vocab_size != ClipTokenizer.vocab_size:
        raise ValueError(
            f"the text encoder of {path} knows {config.text.vocab_size} tokens, CLIP's vocabulary has "
            f"{ClipTokenizer.vocab_size}; give the tokenizer of these weights: load(path, tokenizer=...)")
    return ClipTokenizer(config.text.context_length)
