"""`save_pretrained`, `from_pretrained` and `push_to_hub` of a model, by huggingface_hub's mixin.

What lies in a folder of `save_pretrained`: `model.safetensors`, which is our checkpoint and says everything
(configuration, tokenizer, protocol); `config.json`, the configuration once more for people and for the hub,
which nothing here reads; and a README.md, the hub's model card.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from huggingface_hub import ModelHubMixin

CARD = """---
{{ card_data }}
---

A GroupViT: it partitions images into segments and labels them with class names, and has learnt both from captions
alone (arXiv 2202.11094). Made with minigroupvit:

```python
import minigroupvit

model = minigroupvit.load("owner/name")      # the id of this page, or the folder
result = minigroupvit.segment(model, minigroupvit.load_image("my.png"), ["class", "names", "of", "your", "own"])
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
        native = _checkpoints()
        native.save_checkpoint(save_directory / native.WEIGHTS, self, about=getattr(self, "about", None))
        self._hub_mixin_config = self.config      # what the mixin writes to config.json

    @classmethod
    def _from_pretrained(cls, *, model_id: str, device: str | torch.device = "cpu",
                         num_heads: int | None = None, text_num_heads: int | None = None,
                         image_size: int | None = None, drop_path: float | None = None, tokenizer: Any = None,
                         config: Any = None, **options: Any) -> HubModel:
        native, folder = _checkpoints(), Path(model_id)
        # `config`, and a `tokenizer` that is only a name, are what the mixin found in config.json under names that
        # __init__ has: not needed.
        folder = folder if folder.is_dir() else native.download(model_id, **options)
        return native.load_folder(folder, device, num_heads=num_heads,
                                  text_num_heads=text_num_heads, image_size=image_size, drop_path=drop_path,
                                  tokenizer=None if tokenizer in ("captions", "clip") else tokenizer)


def _checkpoints() -> ModuleType:
    """The module of checkpoints. Imported late: checkpoints are of models, so it knows them, not the other way round."""
    from .checkpoints import native

    return native
