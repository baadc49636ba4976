"""The two kinds of released weights as they lie on the disk: the authors' checkpoint, transformers' folder."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from ...files import read_text
from ..hub import WEIGHTS
from .names import place_here
from .pickles import StoredTensor, read_torch_file

TOKENIZER = "tokenizer.json"      # the vocabulary, as the tokenizers library writes it
DESCRIPTION = "minigroupvit"      # beside weights that we wrote: `formats.describe` of the model, as JSON

# What this model has in one kind only; a config.json that says something else is of another model.
ONLY = {
    "vision_config": {"hidden_act": "gelu", "layer_norm_eps": 1e-5, "num_channels": 3, "assign_eps": 1.0,
                      "assign_mlp_ratio": [0.5, 4]},
    "text_config": {"hidden_act": "quick_gelu", "layer_norm_eps": 1e-5},
}


@dataclass
class Released:
    """Weights under the names they have there, and what is known beside them."""

    form: str                                    # "authors" | "transformers": the column in the table of names
    tensors: dict[str, Tensor]
    num_heads: int | None = None                 # of the image encoder; None: nobody says
    text_num_heads: int | None = None
    end_id: int | None = None                    # the token at which the text's feature is read
    description: dict[str, Any] | None = None    # of a model of ours
    tokenizer_file: Path | None = None           # tokenizer.json of a folder


def read_authors(path: Path) -> Released:
    """A checkpoint as the authors' training writes it: torch.save of a dictionary with the weights in `model`.

    Raises ValueError for anything else. Nothing in the file is run (`pickles`).
    """
    content = read_torch_file(path)
    if not isinstance(content, dict) or not isinstance(content.get("model"), dict):
        found = f"one with {', '.join(map(str, list(content)[:10]))}" if isinstance(content, dict) else "something else"
        raise ValueError(
            f"expected the authors' checkpoint, a dictionary with the weights in 'model'; {path} holds {found}")
    description = content.get(DESCRIPTION)
    return Released("authors", _load(content["model"], path),
                    description=_json(description, path) if isinstance(description, str) else None)


def read_transformers(folder: Path) -> Released:
    """A folder of `GroupViTModel.save_pretrained`: config.json and weights, in one file or in several.

    Raises ValueError for a folder without these, and for choices that this model does not have.
    """
    if not (folder / "config.json").is_file():
        there = ", ".join(sorted(path.name for path in folder.iterdir())[:10]) or "nothing"
        raise ValueError(
            f"expected transformers' GroupViT in {folder}: config.json and {WEIGHTS}; there is {there}")
    config = read_json(folder / "config.json")
    if config.get("model_type") != "groupvit":
        raise ValueError(f"{folder / 'config.json'} is of a model_type {config.get('model_type')!r}, not 'groupvit'")
    # Old files have the parts under a second name as well; what stands there counts (as in transformers).
    parts = {name: (config.get(name) or {}) | (config.get(f"{name}_dict") or {}) for name in ONLY}
    for name, only in ONLY.items():
        for field, value in only.items():
            if parts[name].get(field, value) != value:
                raise ValueError(f"{folder / 'config.json'} has {name}.{field} {parts[name][field]!r}; "
                                 f"a GroupViT here has {value!r} and nothing else")
    image, text = parts["vision_config"], parts["text_config"]
    description, tokenizer = folder / f"{DESCRIPTION}.json", folder / TOKENIZER
    return Released(     # the numbers are transformers' own where a file leaves them out
        "transformers", _weights(folder), image.get("num_attention_heads", 6), text.get("num_attention_heads", 4),
        text.get("eos_token_id", 49407), read_json(description) if description.is_file() else None,
        tokenizer if tokenizer.is_file() else None)


def check_whole(path: Path) -> None:
    """Raises ValueError, which says to give the folder, for one file of a GroupViT in transformers' form."""
    if path.is_file() and _is_transformers(path):
        raise ValueError(f"{path} is one file of a GroupViT of transformers, which is a folder with a config.json; "
                         f"give the folder: {path.parent}")


def _is_transformers(path: Path) -> bool:
    """Whether this is a file of weights, or the config.json, of a GroupViT in transformers' form."""
    try:
        if path.suffix == ".json":
            return read_json(path).get("model_type") == "groupvit"
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as file:
                names = list(file.keys())
        else:
            content = read_torch_file(path)
            names = list(content) if isinstance(content, dict) else []
    except (ValueError, SafetensorError):
        return False
    return any(place_here(str(name), "transformers") for name in names if "." in str(name))


def _weights(folder: Path) -> dict[str, Tensor]:
    """The tensors of a folder of transformers, whichever way it stores them."""
    index = folder / f"{WEIGHTS}.index.json"
    pickled = folder / "pytorch_model.bin"
    try:
        if (folder / WEIGHTS).is_file():
            return load_file(folder / WEIGHTS)
        if index.is_file():
            files = sorted(set(read_json(index)["weight_map"].values()))
            return {name: value for file in files for name, value in load_file(folder / Path(file).name).items()}
    except (SafetensorError, OSError, KeyError) as error:
        raise ValueError(f"the weights in {folder} cannot be read, is a file cut off or missing? {error}") from error
    if pickled.is_file():
        return _load(read_torch_file(pickled), pickled)
    raise ValueError(f"there are no weights in {folder}; expected {WEIGHTS}, {index.name} or {pickled.name}")


def _load(stored: Any, path: Path) -> dict[str, Tensor]:
    """The tensors of a dictionary of a torch file."""
    if not isinstance(stored, dict):
        raise ValueError(f"expected a dictionary of tensors in {path}, got {type(stored).__name__}")
    tensors = {}
    for name, value in stored.items():
        if not isinstance(value, StoredTensor):
            raise ValueError(f"{name} in {path} is no tensor, but {type(value).__name__}")
        try:
            tensors[str(name)] = value.load()
        except Exception as error:     # sizes and places are whatever the file says
            raise ValueError(f"{name} in {path} cannot be read, the file is damaged: {error}") from error
    return tensors


def read_json(path: Path) -> dict[str, Any]:
    return _json(read_text(path), path)


def _json(text: str, source: Path) -> dict[str, Any]:
    try:
        values = json.loads(text)
    except ValueError as error:
        raise ValueError(f"the JSON in {source} is damaged: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"the JSON in {source} is {type(values).__name__}, expected an object with fields")
    return values
