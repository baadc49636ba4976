"""minigroupvit: GroupViT to understand, train and reuse.

    import minigroupvit
    model = minigroupvit.load("scenes")
    result = minigroupvit.segment(model, picture, ["sun", "heart", "brick"])
    result.labels    # (1, H, W): which word each pixel has

The parts, in the order of reading: config, layers, grouping, image_encoder, text_encoder, model, losses,
tokenizer, prompts, segmentation, checkpoint; then the folders data, training, evaluation, visual.
"""

from .checkpoint import load, save_checkpoint, shipped_weights
from .config import PRESETS, GroupViTConfig, preset
from .images import load_image
from .model import GroupViT
from .segmentation import PROTOCOLS, Protocol, Segmentation, segment

__version__ = "0.1.0"

__all__ = ["GroupViT", "GroupViTConfig", "PRESETS", "PROTOCOLS", "Protocol", "Segmentation", "load", "load_image",
           "preset", "save_checkpoint", "segment", "shipped_weights"]
