"""Released weights, both ways: the authors' checkpoints and transformers' GroupViT.

In the order of reading: `names` (the table), `pickles` (files of torch.save, read safely), `read`, `architecture`,
`load`; then `tokenizer_files` and `write` for the way back.
"""

from __future__ import annotations

from .load import load_released
from .write import export_released, export_transformers

__all__ = ["export_released", "export_transformers", "load_released"]
