"""minigroupvit: GroupViT to understand, train and reuse.

    import minigroupvit
    model = minigroupvit.load("scenes")
    result = minigroupvit.segment(model, picture, ["cat", "cup", "brick"])
    result.labels    # (1, H, W): which word each pixel has

The parts, in the order of reading: config, layers, grouping, image_encoder, text_encoder, model, losses,
tokenizer, prompts, segmentation, checkpoint; then the folders data, training, evaluation, visual.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

# Where each name is defined. Imported when it is first asked for: `--help` need not wait for torch.
_HOME = {
    "GroupViT": "model", "GroupViTConfig": "config", "PRESETS": "config", "PROTOCOLS": "segmentation",
    "Protocol": "segmentation", "Segmentation": "segmentation", "export_released": "released",
    "export_transformers": "released", "load": "checkpoint", "load_image": "images", "load_released": "released",
    "preset": "config", "save_checkpoint": "checkpoint", "segment": "segmentation",
    "segment_picture": "own_pictures", "shipped_weights": "checkpoint",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
