"""minigroupvit: GroupViT, semantic segmentation learnt from captions, to understand, train and reuse.

    import minigroupvit
    model = minigroupvit.load("scenes")
    result = minigroupvit.segment(model, image, ["cat", "cup", "brick"])
    result.labels    # (1, H, W): the index of each pixel's class name

The paper, in the order of reading: config, layers, grouping, image_encoder, text_encoder, model, losses. Then the
folders text, segmentation, checkpoints, data, evaluation, training, visual: each imports only from the earlier ones.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

# The module of each name. It is imported on first use: `--help` does not wait for torch.
_HOME = {
    "GroupViT": "model", "GroupViTConfig": "config", "PRESETS": "config", "preset": "config", "load_image": "images",
    "InferenceOptions": "segmentation.options", "PROTOCOLS": "segmentation.options", "Segmentation": "segmentation.segment",
    "segment": "segmentation.segment", "segment_picture": "segment_files", "load": "checkpoints.native",
    "save_checkpoint": "checkpoints.native", "shipped_weights": "checkpoints.native",
    "load_released": "checkpoints.released.load", "export_released": "checkpoints.released.write",
    "export_transformers": "checkpoints.released.write",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
