"""The Hugging Face hub: ids of models, and their folders on this machine."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.utils import HfHubHTTPError, HFValidationError

_FILES = {".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".json"}
WEIGHTS = "model.safetensors"     # the file of weights in a folder, ours or of transformers


def is_hub_id(name: str | Path) -> bool:
    """Whether this could be the id of a model on the hub: owner/name, where the name is not a file's."""
    return bool(re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", str(name))) and Path(name).suffix not in _FILES


def download(repo_id: str, **options: Any) -> Path:
    """The folder of a model of the hub in huggingface_hub's cache, downloaded if need be.

    Configuration and safetensors; the pickle of the weights only where there are no safetensors (`released.pickles`
    reads it without running it). Raises ValueError if the hub has no such model, or cannot be reached.
    """
    try:
        folder = Path(snapshot_download(repo_id, allow_patterns=["*.json", "*.safetensors"], **options))
        if not any(folder.glob("*.safetensors")):
            folder = Path(snapshot_download(repo_id, allow_patterns=["*.json", "pytorch_model.bin"], **options))
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise ValueError(
            f"there is no file or folder {repo_id}, and no model of this id came from the Hugging Face hub: {error}"
        ) from error
    return folder
