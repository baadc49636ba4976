"""Checkpoints: one safetensors file whose header holds the rest as JSON. Never a pickle.

The header says everything needed to build the model again: configuration, tokenizer, the
protocol for masks; and where it comes from: seed, step, commit, figures. A file is written
beside its place and then moved there, so it is there whole or not at all.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from .config import GroupViTConfig
from .model import GroupViT
from .segmentation import Protocol
from .tokenizer import tokenizer_from_state

_PACKAGE = Path(__file__).resolve().parent


def write_atomically(path: Path, write) -> None:
    """Calls write(temporary path), then moves the file to its place in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        write(temporary)
        mask = os.umask(0)  # the only way to read it; safetensors lets nobody else read its files
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def save_checkpoint(path: str | Path, model: GroupViT, about: dict[str, Any] | None = None,
                    extra: dict[str, Tensor] | None = None, dtype: torch.dtype | None = None) -> None:
    """Writes a model, and `about` (JSON-able: seed, step, commit, metrics ...), to one file.

    `extra` tensors (an optimizer's state) travel under their own names. `dtype` stores floating
    weights in half precision.
    """
    header = {
        "config": model.config.to_dict(),
        "tokenizer": model.tokenizer.state(),
        "protocol": asdict(model.protocol) if model.protocol else None,
        "about": about or {},
    }
    tensors = {}
    for name, value in model.state_dict().items():
        value = value.detach().cpu()
        tensors[f"model.{name}"] = value.to(dtype) if dtype and value.is_floating_point() else value
    for name, value in (extra or {}).items():
        tensors[f"extra.{name}"] = value.detach().cpu()
    tensors = {name: value.contiguous() for name, value in tensors.items()}
    write_atomically(Path(path), lambda file: save_file(
        tensors, file, metadata={"minigroupvit": json.dumps(header)}))


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
        raise ValueError(
            f"{path} is not a minigroupvit checkpoint, or it is cut off ({error}); "
            "expected a .safetensors file that save_checkpoint wrote") from None


def load_checkpoint(path: str | Path, device: str | torch.device = "cpu") -> GroupViT:
    """The model of a checkpoint, in evaluation mode and single precision."""
    header, tensors = read_checkpoint(path)
    model = GroupViT(GroupViTConfig.from_dict(header["config"]), tokenizer_from_state(header["tokenizer"]))
    if header["protocol"]:
        protocol = header["protocol"]
        model.protocol = Protocol(**protocol | {"templates": tuple(protocol["templates"])})
    load_tensors(model, {name.removeprefix("model."): value for name, value in tensors.items()
                         if name.startswith("model.")}, path)
    model.about = header["about"]
    return model.to(device).eval()


def load_tensors(model: torch.nn.Module, tensors: dict[str, Tensor], source: object) -> None:
    """Strict loading whose error names every key that does not match."""
    own = model.state_dict()
    problems = [f"{name} is missing" for name in own if name not in tensors]
    problems += [f"{name} has no place" for name in tensors if name not in own]
    problems += [f"{name} is {tuple(tensors[name].shape)} instead of {tuple(own[name].shape)}"
                 for name in own if name in tensors and tensors[name].shape != own[name].shape]
    if problems:
        raise ValueError(f"{source} does not fit this model: " + "; ".join(problems[:10])
                         + (f" ... and {len(problems) - 10} more" if len(problems) > 10 else ""))
    model.load_state_dict({name: value.to(own[name].dtype) for name, value in tensors.items()})


def weights_folder() -> Path:
    """Where the shipped weights lie: in the installed package, or in data/weights of a clone."""
    inside = _PACKAGE / "weights"
    return inside if inside.is_dir() else _PACKAGE.parent / "data" / "weights"


def shipped_weights() -> list[str]:
    """Names that `load` takes."""
    return sorted(path.stem for path in weights_folder().glob("*.safetensors") if "." not in path.stem)


def load(name: str = "scenes", device: str | torch.device = "cpu") -> GroupViT:
    """A model by the name of its shipped weights, or by the path of a checkpoint."""
    if Path(name).suffix == ".safetensors":
        return load_checkpoint(name, device)
    if name not in shipped_weights():
        raise ValueError(f"no shipped weights {name!r}; there are {', '.join(shipped_weights())}, "
                         "or give the path of a .safetensors checkpoint")
    return load_checkpoint(weights_folder() / f"{name}.safetensors", device)
