"""Models to the Hugging Face hub and from it, by huggingface_hub's mixin.

What lies in a folder of `save_pretrained`: `model.safetensors`, which is our checkpoint and says everything
(configuration, tokenizer, protocol); `config.json`, the configuration once more for people and for the hub,
which nothing here reads; and a README.md, the hub's model card.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import ModelHubMixin, snapshot_download
from huggingface_hub.utils import HfHubHTTPError, HFValidationError

_FILES = {".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".json"}
WEIGHTS = "model.safetensors"     # the file of the weights, in our folders and in those of transformers

CARD = """---
{{ card_data }}
---

A GroupViT: it cuts pictures into segments and names them, and has learnt both from captions alone
(arXiv 2202.11094). Made with minigroupvit:

```python
import minigroupvit

model = minigroupvit.load("owner/name")      # the id of this page, or the folder
result = minigroupvit.segment(model, minigroupvit.load_image("my.png"), ["words", "of", "your", "own"])
```
"""


class HubModel(ModelHubMixin, library_name="minigroupvit", tags=["groupvit"], pipeline_tag="image-segmentation",
               model_card_template=CARD):
    """`save_pretrained(folder)`, `from_pretrained(folder or hub id)`, `push_to_hub(id)` for `GroupViT`.

    `from_pretrained` takes huggingface_hub's arguments (`revision`, `token`, `cache_dir` ...) and those of `load`:
    `device`, `num_heads`, `text_num_heads`, `image_size`, `drop_path`, `tokenizer`.
    It opens transformers' folders as well, with what shapes cannot tell read from their config.json.
    """

    def _save_pretrained(self, save_directory: Path) -> None:
        # Imported here: checkpoints are of models, so that module knows this one's, not the other way round.
        from .checkpoint import save_checkpoint

        save_checkpoint(save_directory / WEIGHTS, self, about=getattr(self, "about", None))
        self._hub_mixin_config = self.config      # what the mixin writes to config.json

    @classmethod
    def _from_pretrained(cls, *, model_id: str, device: str | torch.device = "cpu",
                         num_heads: int | None = None, text_num_heads: int | None = None,
                         image_size: int | None = None, drop_path: float | None = None, tokenizer: Any = None,
                         config: Any = None, **options: Any) -> HubModel:
        from .checkpoint import load_folder

        folder = Path(model_id)
        # `config`, and a `tokenizer` that is only a name, are what the mixin found in config.json under names that
        # __init__ has: not needed.
        return load_folder(folder if folder.is_dir() else download(model_id, **options), device, num_heads=num_heads,
                           text_num_heads=text_num_heads, image_size=image_size, drop_path=drop_path,
                           tokenizer=None if tokenizer in ("captions", "clip") else tokenizer)


def is_hub_id(name: str | Path) -> bool:
    """Whether this could be the id of a model on the hub: an owner, a slash, a name that is no file's."""
    return bool(re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", str(name))) and Path(name).suffix not in _FILES


def download(repo_id: str, **options: Any) -> Path:
    """The folder of a model on the hub, on this machine, from huggingface_hub's cache where it is there already.

    Configuration and safetensors; the pickle of the weights only where there are no safetensors (it is read
    without running what stands in it). Raises ValueError if the hub has no such model, or cannot be reached.
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
