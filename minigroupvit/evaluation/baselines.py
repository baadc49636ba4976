"""Classifiers that are trained with labels, which no other model here is: what there is to beat, and a ceiling.

`ColourClassifier` names a pixel by its colour: what the scenes give away without any vision. `ShapeClassifier` names an
object that is cropped from its scene, in grey. How often it is right on new scenes is a ceiling for recognition by shape;
how often on drawings it never saw (the split `unseen`) tells what the drawings of an object have in common.

N images or objects  C classes  H, W image  S side of a crop in pixels
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.tree import DecisionTreeClassifier
from torch import Tensor, nn
from torchvision.transforms.v2 import functional as vision

from ..data.captioned.batches import epoch_indices
from ..data.mask_sets import MasksInMemory
from ..data.scenes.config import SceneConfig
from ..data.scenes.make import make_scene
from .evaluate import Evaluation
from .metrics import draws, interval, mean_of

SIDE = 40   # pixels of a crop


class ColourClassifier:
    """Names a pixel by its own red, green and blue alone: a decision tree, trained with masks.

    Args:
        num_pixels: drawn at random from the training images.
        min_samples_leaf: the fewest of them that may share an answer.
        seed: of the draw.
    """

    def __init__(self, num_pixels: int = 300_000, min_samples_leaf: int = 20, seed: int = 0) -> None:
        self.num_pixels = num_pixels
        self.seed = seed
        self.tree = DecisionTreeClassifier(min_samples_leaf=min_samples_leaf, random_state=seed)

    def fit(self, training: MasksInMemory) -> ColourClassifier:
        """Learns from images with their true masks: two seconds for 1,000 scenes."""
        colours, classes = _colours(training.images), training.masks.cpu().numpy().reshape(-1)
        draw = np.random.default_rng(self.seed)
        chosen = draw.choice(len(classes), min(self.num_pixels, len(classes)), replace=False)
        self.tree.fit(colours[chosen], classes[chosen])
        return self

    def predict(self, images: Tensor) -> Tensor:
        """Labels (N, H, W) of images (N, 3, H, W) uint8."""
        labels = self.tree.predict(_colours(images)).astype(np.int64)
        return torch.from_numpy(labels).view(len(images), *images.shape[-2:])

    def evaluate(self, masks: MasksInMemory) -> dict[str, Any]:
        """The metrics of its masks, as in `Evaluation.metrics`."""
        found = Evaluation(masks)
        found.update(masks.names, masks.masks.long(), self.predict(masks.images))
        return found.metrics


def _colours(images: Tensor) -> np.ndarray:
    """Images (N, 3, H, W) as a list of their pixels' colours, (N·H·W, 3)."""
    return images.permute(0, 2, 3, 1).reshape(-1, 3).cpu().numpy()


def grey_objects(split: str, num_scenes: int, config: SceneConfig = SceneConfig(),
                 seed: int = 0) -> tuple[Tensor, Tensor]:
    """Every object of the first scenes, cropped by its box and resized: (N, 1, S, S) from -1 to 1, and classes (N,)."""
    crops, classes = [], []
    for index in range(num_scenes):
        scene = make_scene(index, split, config, seed)
        grey = vision.rgb_to_grayscale(torch.from_numpy(scene.image).permute(2, 0, 1))          # (1, H, W)
        for instance in scene.instances:
            left, top, right, bottom = instance.box
            crops.append(vision.resized_crop(grey, top, left, bottom - top, right - left, [SIDE, SIDE]))
            classes.append(config.objects.index(instance.class_name))
    return torch.stack(crops).float() / 127.5 - 1, torch.tensor(classes)


def _network(num_classes: int) -> nn.Sequential:
    """Four convolutions, each of which halves the image, and one matrix: 0.4 M parameters."""
    layers: list[nn.Module] = []
    for width, out in zip((1, 32, 64, 128), (32, 64, 128, 256)):
        layers += [nn.Conv2d(width, out, 3, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(256, num_classes))


class ShapeClassifier:
    """Names grey crops of objects, after training with labels."""

    def __init__(self, config: SceneConfig = SceneConfig()) -> None:
        self.config = config
        self.network: nn.Module | None = None

    def fit(self, crops: Tensor, classes: Tensor, epochs: int = 5, batch_size: int = 64,
            seed: int = 0) -> ShapeClassifier:
        """Trains on crops (N, 1, S, S), mirrored half of the time, and their classes (N,)."""
        torch.manual_seed(seed)
        self.network = _network(len(self.config.objects))
        optimizer = torch.optim.AdamW(self.network.parameters(), lr=2e-3)
        batch_size = min(batch_size, len(crops))
        steps = len(crops) // batch_size * epochs
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps + 1)
        for step in range(steps):
            rows = epoch_indices(len(crops), step, batch_size, seed)
            batch = crops[rows]
            mirrored = torch.rand(len(batch)) < 0.5
            batch = torch.where(mirrored[:, None, None, None], batch.flip(-1), batch)
            loss = F.cross_entropy(self.network(batch), classes[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        self.network.eval()
        return self

    @torch.no_grad()
    def evaluate(self, crops: Tensor, classes: Tensor) -> dict[str, Any]:
        """Share of the crops (N, 1, S, S) named right, with its 95 % interval. Raises ValueError before `fit`."""
        if self.network is None:
            raise ValueError("this classifier has learnt nothing yet; call fit first")
        right = torch.cat([self.network(part).argmax(1) for part in crops.split(500)]) == classes
        return {"accuracy": right.float().mean().item(), "num_objects": len(right),
                "accuracy_interval": interval(mean_of(right.numpy(), draws(len(right))))}


def shape_ceiling(num_train: int = 10_000, num_test: int = 1000, config: SceneConfig = SceneConfig(),
                  seed: int = 0) -> dict[str, Any]:
    """The classifier's accuracy on the splits test and unseen, after training on the scenes of `train`.

    Returns `{"chance", "test", "unseen"}`, the latter two as `ShapeClassifier.evaluate` has them.
    """
    classifier = ShapeClassifier(config).fit(*grey_objects("train", num_train, config, seed), seed=seed)
    return {"chance": 1 / len(config.objects), "num_train": num_train} | {
        split: classifier.evaluate(*grey_objects(split, num_test, config, seed)) for split in ("test", "unseen")}
