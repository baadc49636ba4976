"""Mask AP on the instances of the scenes, and what it costs that touching twins are one.

The connected components of a class's region pass for instances (`minigroupvit/segmentation/instances.py`). That cannot
be right where two objects of one class touch, "touching twins", and goes wrong where something in front divides an
object in two. How much is lost in these ways tells the AP of the connected components of the true masks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from scipy.ndimage import binary_dilation
from torch import Tensor
from torchmetrics.detection import MeanAveragePrecision

from ..data.scenes.config import SceneConfig
from ..data.scenes.make import Scene, make_scene
from ..extras import extra
from ..model import GroupViT
from ..segmentation.instances import SMALLEST, FoundInstance, find_instances
from ..segmentation.options import InferenceOptions, protocol_for
from ..segmentation.segment import segment
from ..segmentation.steps import embed_classes


def has_touching_twins(scene: Scene) -> bool:
    """Whether two instances of one class share an edge or a corner of a pixel."""
    objects = scene.instances
    return any(one.class_name == other.class_name and (binary_dilation(one.mask, np.ones((3, 3))) & other.mask).any()
               for i, one in enumerate(objects) for other in objects[:i])


def mask_ap(found: Sequence[Sequence[FoundInstance]], truth: Sequence[Sequence[FoundInstance]]) -> dict[str, Any]:
    """COCO's average precision of masks, mean over the classes that there truly are.

    Args:
        found: the instances of each image.
        truth: the true ones, in the same order; their scores are not looked at.

    Returns `ap`, mean over the IoU thresholds 0.5, 0.55, ... 0.95, and `ap50`, from 0 to 1, None if there
    is no true instance; `num_images` and `num_instances`, true ones.
    """
    with extra("evaluation"):
        import pycocotools  # noqa: F401 - torchmetrics counts with it
    metric = MeanAveragePrecision(iou_type="segm")
    for some, true in zip(found, truth, strict=True):
        if some or true:  # an image without either has no size of a mask, and no say
            size = (some or true)[0].mask.shape
            metric.update([_as_tensors(some, size)], [_as_tensors(true, size)])
    count = sum(map(len, truth))
    values = metric.compute() if count else {}
    # torchmetrics says -1 where nothing at all was found.
    return {name: max(0.0, float(values[key])) if count else None
            for name, key in (("ap", "map"), ("ap50", "map_50"))} | {
        "num_images": len(truth), "num_instances": count}


def _as_tensors(instances: Sequence[FoundInstance], size: tuple[int, int]) -> dict[str, Tensor]:
    masks = np.stack([i.mask for i in instances]) if instances else np.zeros((0, *size), dtype=bool)
    return {"masks": torch.from_numpy(masks), "scores": torch.tensor([i.score for i in instances]),
            "labels": torch.tensor([i.label for i in instances], dtype=torch.long)}


def evaluate_instances(model: GroupViT, num_images: int = 300, split: str = "test",
                       config: SceneConfig = SceneConfig(), seed: int = 0, protocol: InferenceOptions | None = None,
                       smallest: float = SMALLEST, batch_size: int = 25) -> dict[str, Any]:
    """Mask AP of a model on the objects of the first scenes of a split.

    Args:
        model: any GroupViT.
        num_images: scenes.
        split: of the scenes.
        config: the scenes.
        seed: of the scenes.
        protocol: None: the one that the model was saved with.
        smallest: least area of an instance, as a share of the image.
        batch_size: images at once in the model.

    Returns a dictionary that JSON can hold. `all`, `without_touching_twins` and `touching_twins`: what
    `mask_ap` tells of these scenes. `true_masks`: the same three for the connected components of the true
    masks, the best that connected components can do.

    Raises ValueError for an unknown split, a share that is none, or fewer than 1 scene.
    """
    if num_images < 1:
        raise ValueError(f"num_images is {num_images}; take at least 1 scene")
    protocol = protocol_for(model, protocol)
    names, num_objects = config.class_names, len(config.objects)
    scenes = [make_scene(i, split, config, seed) for i in range(num_images)]
    truth = [[FoundInstance(names.index(i.class_name), 1.0, i.mask) for i in scene.instances] for scene in scenes]
    classes = embed_classes(model, names, protocol.templates, distinct=False)
    found, best = [], []
    for start in range(0, num_images, batch_size):
        batch = scenes[start:start + batch_size]
        result = segment(model, np.stack([scene.image for scene in batch]), names, protocol, class_embeddings=classes)
        for scene, labels, scores in zip(batch, result.labels, result.scores):
            found.append(find_instances(labels, scores, smallest))
            best.append(find_instances(torch.from_numpy(scene.mask).long(), torch.ones_like(scores), smallest))
    # Backgrounds are no objects.
    found, best = ([[i for i in image if i.label < num_objects] for image in images] for images in (found, best))
    touching = [has_touching_twins(scene) for scene in scenes]
    parts = {"all": range(num_images),
             "without_touching_twins": [i for i, twins in enumerate(touching) if not twins],
             "touching_twins": [i for i, twins in enumerate(touching) if twins]}

    def metrics(instances: list[list[FoundInstance]]) -> dict[str, Any]:
        return {part: mask_ap([instances[i] for i in chosen], [truth[i] for i in chosen])
                for part, chosen in parts.items()}

    return {"split": split, "smallest": smallest, "num_images": num_images} | metrics(found) | {
        "true_masks": metrics(best)}
