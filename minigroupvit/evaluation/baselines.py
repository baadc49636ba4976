"""What there is to beat: a model without groups, and a classifier that knows colours only.

Table 4 of the paper reads a plain ViT, trained with the CLIP loss, out "pixel-wise": each patch is
named by itself. A colour classifier says what the pictures give away without any vision: unlike
all other models here it was trained with masks.

B images  N patches  C classes  E shared channels  h, w patch grid  H, W picture
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from sklearn.tree import DecisionTreeClassifier
from torch import Tensor

from ..model import GroupViT
from ..segmentation.options import InferenceOptions, protocol_for
from ..segmentation.segment import Segmentation, segment
from ..segmentation.steps import embed_classes
from .metrics import MaskMetrics, present_objects, recognition_ap


def segment_pixelwise(model: GroupViT, images, class_names: Sequence[str], protocol: InferenceOptions | None = None,
                      *, class_embeddings: Tensor | None = None, **choices) -> Segmentation:
    """Names every pixel with a model that has no groups: patch by patch (Table 4, "pixel-wise").

    Each patch goes through the image head and is scored like a group, under the same rule of the
    top classes; the scores are upsampled bilinearly, and each pixel takes its best class.

    The arguments are those of `segment`. In the result there are no `groups` and no `maps`;
    `group_scores` (B, N, C) are those of the patches.
    Raises ValueError for a model with groups, whose segments are no patches.
    """
    protocol = protocol_for(model, protocol, **choices)
    return segment(model, images, class_names, replace(protocol, pixels="patches"), class_embeddings=class_embeddings)


@torch.no_grad()
def evaluate_pixelwise(model: GroupViT, images: Tensor, masks: Tensor, class_names: Sequence[str],
                       num_objects: int, protocol: InferenceOptions | None = None, batch_size: int = 25) -> dict[str, Any]:
    """What `metrics.evaluate` tells of a model, as far as it exists without groups. Same arguments."""
    protocol = protocol_for(model, protocol)
    figures = MaskMetrics(class_names, num_objects)
    classes = embed_classes(model, class_names, protocol.templates, distinct=False)
    embeddings = []
    for start in range(0, len(images), batch_size):
        picture, truth = images[start:start + batch_size], masks[start:start + batch_size].long()
        result = segment_pixelwise(model, picture, class_names, protocol, class_embeddings=classes)
        figures.update(result.labels, truth)
        embeddings.append(result.image_embeddings.cpu())
    recognition = recognition_ap(torch.cat(embeddings), classes.cpu()[:num_objects],
                                 present_objects(masks, num_objects))
    return figures.compute() | {"recognition_ap": recognition, "num_images": len(images)}


class ColourClassifier:
    """Names a pixel by its own red, green and blue alone: a decision tree, trained with masks.

    Args:
        num_pixels: drawn at random from the training pictures.
        min_samples_leaf: the fewest of them that may share an answer.
        seed: of the draw.
    """

    def __init__(self, num_pixels: int = 300_000, min_samples_leaf: int = 20, seed: int = 0) -> None:
        self.num_pixels = num_pixels
        self.seed = seed
        self.tree = DecisionTreeClassifier(min_samples_leaf=min_samples_leaf, random_state=seed)

    def fit(self, images: Tensor, masks: Tensor) -> ColourClassifier:
        """Learns from pictures (N, 3, H, W) uint8 with their true masks (N, H, W): two seconds."""
        colours, classes = _colours(images), masks.cpu().numpy().reshape(-1)
        draw = np.random.default_rng(self.seed)
        chosen = draw.choice(len(classes), min(self.num_pixels, len(classes)), replace=False)
        self.tree.fit(colours[chosen], classes[chosen])
        return self

    def predict(self, images: Tensor) -> Tensor:
        """Labels (N, H, W) of pictures (N, 3, H, W) uint8."""
        labels = self.tree.predict(_colours(images)).astype(np.int64)
        return torch.from_numpy(labels).view(len(images), *images.shape[-2:])

    def evaluate(self, images: Tensor, masks: Tensor, class_names: Sequence[str], num_objects: int) -> dict[str, Any]:
        """The metrics of its masks, as in `metrics.evaluate`."""
        figures = MaskMetrics(class_names, num_objects)
        figures.update(self.predict(images), masks.long())
        return figures.compute() | {"num_images": len(images)}


def _colours(images: Tensor) -> np.ndarray:
    """Pictures (N, 3, H, W) as a list of their pixels' colours, (N·H·W, 3)."""
    return images.permute(0, 2, 3, 1).reshape(-1, 3).cpu().numpy()
