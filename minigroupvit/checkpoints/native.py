"""Checkpoints: one safetensors file whose header holds everything else as JSON. Never a pickle.

The header has all that is needed to build the model again: configuration, tokenizer, inference protocol; and where it
comes from: seed, step, commit, metrics. Files are written atomically (`files.write_atomically`).
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..config import GroupViTConfig
from ..files import write_atomically
from ..model import GroupViT
from ..text.caption_tokenizer import tokenizer_from_state
from ..text.tokenizer import Tokenizer
from .describe import check_tokenizer, describe, load_tensors, protocol_from_dict, with_overrides
from .hub import WEIGHTS, download, is_hub_id
from .released.load import load_released
from .released.read import check_whole, read_tokenizer

_PACKAGE = Path(__file__).resolve().parents[1]
_PHOTOGRAPHS = "photographs"     # first part of the names, and folder in data/, of weights with their own licence


def save_checkpoint(path: str | Path, model: GroupViT, about: dict[str, Any] | None = None,
                    extra: dict[str, Tensor] | None = None, dtype: torch.dtype | None = None) -> None:
    """Writes a model, and `about` (JSON-able: seed, step, commit, metrics ...), to one file.

    `extra`: other tensors, such as an optimizer's state, by their names. `dtype`: of the stored weights, such as
    torch.float16 for half precision.
    """
    tensors = {}
    for name, value in model.state_dict().items():
        value = value.detach().cpu()
        tensors[f"model.{name}"] = value.to(dtype) if dtype and value.is_floating_point() else value
    for name, value in (extra or {}).items():
        tensors[f"extra.{name}"] = value.detach().cpu()
    tensors = {name: value.contiguous() for name, value in tensors.items()}
    write_atomically(Path(path), lambda file: save_file(
        tensors, file, metadata={"minigroupvit": json.dumps(describe(model, about))}))


def read_checkpoint(path: str | Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Header and tensors of a checkpoint. Raises ValueError for a missing, cut-off or other file."""
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"there is no checkpoint at {path}; shipped weights: {', '.join(shipped_weights())}")
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})["minigroupvit"])
            return header, {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, KeyError, json.JSONDecodeError) as error:
        check_whole(path)
        if isinstance(error, KeyError):
            raise ValueError(f"{path} is not a minigroupvit checkpoint, but a safetensors file of something else; "
                             "expected one that save_checkpoint wrote") from None
        raise ValueError(
            f"{path} is not a minigroupvit checkpoint, or it is cut off ({error}); "
            "expected a .safetensors file that save_checkpoint wrote") from None


def load_checkpoint(path: str | Path, device: str | torch.device = "cpu",
                    tokenizer: Tokenizer | str | Path | None = None, **overrides: Any) -> GroupViT:
    """The model of a checkpoint, in evaluation mode and single precision. `tokenizer`, `overrides`: see `load`."""
    header, tensors = read_checkpoint(path)
    weights = {name.removeprefix("model."): value for name, value in tensors.items() if name.startswith("model.")}
    config, weights = with_overrides(GroupViTConfig.from_dict(header["config"]), weights, **overrides)
    stored = tokenizer_from_state(header["tokenizer"])
    if isinstance(tokenizer, (str, Path)):
        tokenizer = read_tokenizer(tokenizer, config.text.context_length)
    tokenizer = tokenizer or stored
    check_tokenizer(tokenizer, stored.end_id, path)
    model = GroupViT(replace(config, tokenizer=tokenizer.name), tokenizer)
    model.protocol = protocol_from_dict(header["protocol"])
    load_tensors(model, weights, path)
    model.about = header["about"]
    return model.to(device).eval()


def weights_folder(name: str = "scenes") -> Path:
    """The folder of the shipped weights of this name: in the installed package, or data/weights of a clone.

    The weights `photographs*` have their own, non-commercial licence: they are in data/photographs of a clone, and
    not in an installed package.
    """
    if name.startswith(_PHOTOGRAPHS):
        return _PACKAGE.parent / "data" / _PHOTOGRAPHS
    inside = _PACKAGE / "weights"
    return inside if inside.is_dir() else _PACKAGE.parent / "data" / "weights"


def shipped_weights() -> list[str]:
    """The names of the shipped weights, for `load`."""
    folders = (weights_folder(), weights_folder(_PHOTOGRAPHS))
    return sorted({path.stem for folder in folders for path in folder.glob("*.safetensors") if "." not in path.stem})


def load(name: str | Path = "scenes", device: str | torch.device = "cpu", *, num_heads: int | None = None,
         text_num_heads: int | None = None, image_size: int | None = None, drop_path: float | None = None,
         tokenizer: Tokenizer | str | Path | None = None) -> GroupViT:
    """A model from any kind of checkpoint. `name` is the first of these that fits:

    - the name of shipped weights (`shipped_weights()`);
    - the path of a .safetensors file that `save_checkpoint` wrote;
    - another file: a checkpoint of the authors;
    - a folder that `GroupViT.save_pretrained` wrote, or one of transformers' GroupViT;
    - the id of either kind of folder on the Hugging Face hub.

    Args:
        name: see above.
        device: of the model.
        num_heads, text_num_heads: attention heads of the two encoders. Checkpoints of the authors do not store them;
            their default is 64 channels per head.
        image_size: side of the images for further training, in pixels; the position embeddings are interpolated.
        drop_path: rate of stochastic depth of the last block, for further training.
        tokenizer: that of the weights' training, or the path of its tokenizer.json (`released.read.read_tokenizer`).
            Needed where the checkpoint has none and it is not CLIP's.

    Other arguments than None replace the stored values. Raises ValueError if `name` is none of these, cannot be read,
    or if the tokenizer is not that of the weights.
    """
    path = Path(name)
    overrides = {"num_heads": num_heads, "text_num_heads": text_num_heads, "image_size": image_size,
                 "drop_path": drop_path, "tokenizer": tokenizer}
    if str(name) in shipped_weights():
        return load_checkpoint(weights_folder(str(name)) / f"{name}.safetensors", device, **overrides)
    if path.suffix == ".safetensors":
        return load_checkpoint(path, device, **overrides)
    if path.is_file():
        return load_released(path, device=device, **overrides)
    if path.is_dir() or is_hub_id(name):
        return load_folder(path if path.is_dir() else download(str(name)), device, **overrides)
    if str(name).startswith(_PHOTOGRAPHS):
        raise ValueError(
            f"the weights {str(name)!r} are for non-commercial research only and not in an installed package; they "
            f"are in data/{_PHOTOGRAPHS} of a clone of github.com/minigroupvit/minigroupvit, with their licence: "
            f"give the path of {name}.safetensors there. Shipped here: {', '.join(shipped_weights())}")
    raise ValueError(
        f"no shipped weights {str(name)!r}; there are {', '.join(shipped_weights())}, or give the path of a "
        ".safetensors checkpoint, a checkpoint of the authors, a folder of save_pretrained or of transformers, "
        "or a hub id such as nvidia/groupvit-gcc-yfcc")


def load_folder(folder: Path, device: str | torch.device = "cpu", **overrides: Any) -> GroupViT:
    """The model of a folder: of `GroupViT.save_pretrained`, or of transformers. `overrides`: see `load`."""
    if is_ours(folder / WEIGHTS):
        return load_checkpoint(folder / WEIGHTS, device, **overrides)
    return load_released(folder, device=device, **overrides)


def is_ours(path: Path) -> bool:
    """Whether `save_checkpoint` wrote this file."""
    try:
        with safe_open(path, framework="pt") as file:
            return "minigroupvit" in (file.metadata() or {})
    except (OSError, SafetensorError):
        return False
