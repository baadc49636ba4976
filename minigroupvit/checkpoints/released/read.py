"""Reads released weights from the disk: the authors' checkpoint, transformers' folder, a tokenizer.json."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from ...files import read_text
from ...text.caption_tokenizer import END, PAD, START, UNKNOWN, CaptionTokenizer
from ...text.clip_tokenizer import ClipTokenizer, clip_vocabulary
from ...text.tokenizer import Tokenizer
from ..hub import WEIGHTS
from .names import place_here
from .pickles import StoredTensor, read_torch_file

TOKENIZER = "tokenizer.json"      # the vocabulary, as the tokenizers library writes it
KNOWN_WORDS = "known_words"       # words seen in training, in tokenizer_config.json, which transformers keeps
DESCRIPTION = "minigroupvit"      # with weights of this package: `describe.describe` of the model, as JSON

# Settings with one possible value here; a config.json with another value is of a different model.
ONLY = {
    "vision_config": {"hidden_act": "gelu", "layer_norm_eps": 1e-5, "num_channels": 3, "assign_eps": 1.0,
                      "assign_mlp_ratio": [0.5, 4]},
    "text_config": {"hidden_act": "quick_gelu", "layer_norm_eps": 1e-5},
}


@dataclass
class Released:
    """Weights under their names in the file, and what else the file says."""

    form: str                                    # "authors" | "transformers": the column in the table of names
    tensors: dict[str, Tensor]
    num_heads: int | None = None                 # of the image encoder; None: unknown
    text_num_heads: int | None = None
    end_id: int | None = None                    # the token at which the text encoder reads its feature
    description: dict[str, Any] | None = None    # of a model of this package
    tokenizer_file: Path | None = None           # tokenizer.json of a folder


def read_authors(path: Path) -> Released:
    """A checkpoint as the authors' training writes it: torch.save of a dictionary with the weights in `model`.

    Raises ValueError for anything else. No code in the file is run (`pickles`).
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

    Raises ValueError for a folder without these, and for settings that this model does not have.
    """
    if not (folder / "config.json").is_file():
        there = ", ".join(sorted(path.name for path in folder.iterdir())[:10]) or "nothing"
        raise ValueError(
            f"expected transformers' GroupViT in {folder}: config.json and {WEIGHTS}; there is {there}")
    config = read_json(folder / "config.json")
    if config.get("model_type") != "groupvit":
        raise ValueError(f"{folder / 'config.json'} is of a model_type {config.get('model_type')!r}, not 'groupvit'")
    # Old files have the parts under a second name too, which takes precedence (as in transformers).
    parts = {name: (config.get(name) or {}) | (config.get(f"{name}_dict") or {}) for name in ONLY}
    for name, only in ONLY.items():
        for field, value in only.items():
            if parts[name].get(field, value) != value:
                raise ValueError(f"{folder / 'config.json'} has {name}.{field} {parts[name][field]!r}; "
                                 f"a GroupViT here has {value!r} and nothing else")
    image, text = parts["vision_config"], parts["text_config"]
    description, tokenizer = folder / f"{DESCRIPTION}.json", folder / TOKENIZER
    return Released(     # transformers' defaults where a file leaves them out
        "transformers", _weights(folder), image.get("num_attention_heads", 6), text.get("num_attention_heads", 4),
        text.get("eos_token_id", 49407), read_json(description) if description.is_file() else None,
        tokenizer if tokenizer.is_file() else None)


def check_whole(path: Path) -> None:
    """Raises ValueError for a single file of transformers' GroupViT: its folder is needed."""
    if path.is_file() and _is_transformers(path):
        raise ValueError(f"{path} is one file of a GroupViT of transformers, which needs the folder with a config.json; "
                         f"give the folder: {path.parent}")


def _is_transformers(path: Path) -> bool:
    """Whether this is a file of weights, or the config.json, of transformers' GroupViT."""
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
    """The tensors of a folder of transformers: one safetensors file, several, or a pickle."""
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
        except Exception as error:     # sizes and offsets may be any numbers
            raise ValueError(f"{name} in {path} cannot be read, the file is damaged: {error}") from error
    return tensors


def read_tokenizer(path: str | Path, context_length: int) -> Tokenizer:
    """The tokenizer of a tokenizer.json (or its folder) that `write_tokenizer` or transformers wrote.

    It must be CLIP's or a `CaptionTokenizer`'s. `context_length`: largest number of tokens of a text, which the file
    does not say. The words seen in training are in the tokenizer_config.json beside it; without it all whole words of
    the vocabulary count as seen. Raises ValueError for a file of another kind.
    """
    path = Path(path)
    path = path / TOKENIZER if path.is_dir() else path
    if not path.is_file():
        raise ValueError(f"there is no tokenizer at {path}; give a tokenizer.json, or a folder that has one")
    model = read_json(path).get("model")
    ids = model.get("vocab") if isinstance(model, dict) else None
    if not isinstance(ids, dict) or set(ids.values()) != set(range(len(ids))):
        raise ValueError(f"{path} has no vocabulary with the ids 0, 1, 2, ...; expected a tokenizer.json of the "
                         "tokenizers library with a model of entries and ids")
    entries = sorted(ids, key=ids.__getitem__)
    if model.get("type") == "BPE" and entries[:ClipTokenizer.start_id] == [
            clip_vocabulary().decoder[i] for i in range(ClipTokenizer.start_id)]:     # start and end have other names
        return ClipTokenizer(context_length)
    if model.get("type") == "WordPiece" and entries[:3] == [PAD, UNKNOWN, START] and entries[-1:] == [END]:
        config = path.with_name("tokenizer_config.json")
        known = read_json(config).get(KNOWN_WORDS) if config.is_file() else None
        return CaptionTokenizer(entries, known or [e for e in entries[3:-1] if not e.startswith("##")], context_length)
    raise ValueError(f"{path} has a vocabulary of {len(entries)} entries of the kind {model.get('type')}, which is "
                     f"neither CLIP's nor one of captions ({PAD}, {UNKNOWN}, {START}, words, {END}); give the "
                     "tokenizer of these weights: load(path, tokenizer=...)")


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
