"""Interventions: what does a model go by? Change one property of an object, keep the rest, and count.

Looking at images does not tell whether an object is named by its shape, its colour or what lies around it.
So each intervention changes one of them on hundreds of objects that are alone in their scene, and two numbers
say what happened: how many keep their name, and how many keep the group that holds most of them.

B images  H, W image  C classes
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count, islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.transforms.v2 import functional as vision

from ..data.scenes.config import SceneConfig
from ..data.scenes.dice import Dice
from ..data.scenes.make import make_scene
from ..data.scenes.textures import cut_texture
from ..model import GroupViT
from ..segmentation.options import InferenceOptions, protocol_for
from ..segmentation.segment import segment
from ..segmentation.steps import embed_classes
from .metrics import kept_interval

LEAST_SATURATION = 0.3   # of an object's mean pixel (HSV): turning the hue of a grey object changes nothing
_MOST_SCENES = 12        # looked through for each object that is asked for


@dataclass(frozen=True)
class Subject:
    """An object that is alone in its scene."""

    image: Tensor        # (3, H, W) uint8
    mask: Tensor         # (H, W) bool, its pixels
    label: int           # its class
    same: Tensor         # (3, H, W) uint8, a new sample of the background that it lies on
    other: Tensor        # (3, H, W) uint8, a sample of another background


# From a subject to the changed image (3, H, W) and where its object is now, (H, W).
Intervention = Callable[[Subject], tuple[Tensor, Tensor]]


def turn_hue(degrees: float) -> Intervention:
    """The hue of the object's pixels turned by so many degrees; saturation and value stay."""
    def change(subject: Subject) -> tuple[Tensor, Tensor]:
        turned = vision.adjust_hue(subject.image, (degrees / 360 + 0.5) % 1 - 0.5)
        return torch.where(subject.mask, turned, subject.image), subject.mask

    return change


def to_grey(subject: Subject) -> tuple[Tensor, Tensor]:
    """The object's pixels lose their colour."""
    grey = vision.rgb_to_grayscale(subject.image, num_output_channels=3)
    return torch.where(subject.mask, grey, subject.image), subject.mask


def mean_colour(subject: Subject) -> Tensor:
    """The mean colour of the object: (3, 1, 1) uint8."""
    return subject.image[:, subject.mask].float().mean(dim=1).round().to(torch.uint8)[:, None, None]


def to_silhouette(subject: Subject) -> tuple[Tensor, Tensor]:
    """The outline filled with the object's mean colour: the drawing inside is gone."""
    return torch.where(subject.mask, mean_colour(subject), subject.image), subject.mask


def to_disc(subject: Subject) -> tuple[Tensor, Tensor]:
    """A disc of its mean colour and area in its place, on a new sample of its background.

    On the old sample the shadow of the object would still show its outline.
    """
    rows, columns = torch.nonzero(subject.mask, as_tuple=True)
    y, x = (torch.arange(side) + 0.5 for side in subject.mask.shape)
    distance = (y - rows.float().mean())[:, None] ** 2 + (x - columns.float().mean())[None, :] ** 2   # (H, W)
    disc = distance <= len(rows) / torch.pi
    return torch.where(disc, mean_colour(subject), subject.same), disc


def to_other_background(subject: Subject) -> tuple[Tensor, Tensor]:
    """The object moved onto another background."""
    return torch.where(subject.mask, subject.image, subject.other), subject.mask


def to_nothing_outside(subject: Subject) -> tuple[Tensor, Tensor]:
    """Everything outside the object becomes middle grey."""
    return torch.where(subject.mask, subject.image, torch.tensor(128, dtype=torch.uint8)), subject.mask


INTERVENTIONS: dict[str, Intervention] = {
    **{f"hue_{degrees}": turn_hue(degrees) for degrees in (60, 120, 180, 240, 300)},
    "grey": to_grey, "silhouette": to_silhouette, "disc": to_disc,
    "background": to_other_background, "outside": to_nothing_outside,
}


def lone_objects(config: SceneConfig, seed: int = 0, split: str = "test") -> Iterator[Subject | None]:
    """The scenes of a split in turn: their object, or None where it is not alone or has too little colour."""
    for index in count():
        scene = make_scene(index, split, config, seed)
        if len(scene.instances) != 1:
            yield None
            continue
        (instance,) = scene.instances
        pixels = scene.image[instance.mask].astype(float)                                             # (n, 3)
        saturation = (pixels.max(1) - pixels.min(1)) / np.maximum(pixels.max(1), 1)
        if saturation.mean() <= LEAST_SATURATION:
            yield None
            continue
        outside = np.bincount(scene.mask[~instance.mask], minlength=len(config.class_names))
        own = config.class_names[int(outside.argmax())]
        dice = Dice(seed, 2026, index)
        others = [name for name in config.backgrounds if name != own] or [own]
        same, other = (cut_texture(name, config.image_size, dice) for name in (own, dice.choice(others)))
        yield Subject(torch.from_numpy(scene.image).permute(2, 0, 1), torch.from_numpy(instance.mask),
                      config.class_names.index(instance.class_name), *(
                          torch.from_numpy(np.clip(texture, 0, 255).astype(np.uint8)) for texture in (same, other)))


def _look(model: GroupViT, images: Sequence[Tensor], masks: Sequence[Tensor], names: tuple[str, ...], classes: Tensor,
          protocol: InferenceOptions) -> tuple[Tensor, Tensor | None]:
    """The label and the last stage's group that most pixels of each object have, (B,) both."""
    result = segment(model, torch.stack(list(images)), names, protocol, class_embeddings=classes)
    labels = [own[mask].mode().values for own, mask in zip(result.labels.cpu(), masks)]
    if not result.groups:
        return torch.stack(labels), None
    groups = [own[mask].mode().values for own, mask in zip(result.groups[-1].cpu(), masks)]
    return torch.stack(labels), torch.stack(groups)


def _share(key: str, kept: Tensor) -> dict[str, Any]:
    """A share and its 95 % interval (Wilson)."""
    share, low, high = kept_interval(kept)
    return {key: share, f"{key}_interval": [low, high]}


def _named_right(look: Callable, num_objects: int, config: SceneConfig, seed: int,
                 batch_size: int) -> tuple[list[Subject], Tensor | None, float]:
    """The first objects that are named right, the group of each, and the share of those looked at that are."""
    subjects: list[Subject] = []
    groups: list[Tensor] = []
    looked_at = right = 0
    scenes = islice(lone_objects(config, seed), _MOST_SCENES * num_objects)
    found = (subject for subject in scenes if subject is not None)
    while len(subjects) < num_objects and (part := list(islice(found, batch_size))):
        labels, own = look([s.image for s in part], [s.mask for s in part])
        good = labels == torch.tensor([s.label for s in part])
        looked_at, right = looked_at + len(part), right + int(good.sum())
        subjects += [s for s, is_good in zip(part, good) if is_good]
        groups += [] if own is None else [own[good]]
    group = torch.cat(groups)[:num_objects] if groups else None
    return subjects[:num_objects], group, right / max(1, looked_at)


@torch.no_grad()
def evaluate_interventions(model: GroupViT, num_objects: int = 300, config: SceneConfig = SceneConfig(), seed: int = 0,
                           protocol: InferenceOptions | None = None, batch_size: int = 25,
                           chosen: dict[str, Intervention] = INTERVENTIONS) -> dict[str, dict[str, Any]]:
    """What each intervention does to the names and groups of objects that were named right before it.

    Args:
        model: any; without groups there is no `group_kept`.
        num_objects: that are alone, coloured (`LEAST_SATURATION`) and named right: most of their pixels have
            their class. Fewer are counted if a model names so few of them right.
        config, seed: of the scenes, split `test`.
        protocol: None: the model's own.

    Returns:
        By name of the intervention: `class_kept`, the share of objects whose pixels are still mostly named so;
        `group_kept`, the share whose pixels are still mostly in the same group of the last stage; a 95 % interval
        of each; `num_objects`, how many were counted; `right_before`, the share of those looked at named right.
    """
    protocol = protocol_for(model, protocol)
    classes = embed_classes(model, config.class_names, protocol.templates, distinct=False)

    def look(images: Sequence[Tensor], masks: Sequence[Tensor]) -> tuple[Tensor, Tensor | None]:
        return _look(model, images, masks, config.class_names, classes, protocol)

    subjects, group, right_before = _named_right(look, num_objects, config, seed, batch_size)
    label = torch.tensor([subject.label for subject in subjects])
    found: dict[str, dict[str, Any]] = {}
    for name, change in chosen.items():
        found[name] = {"num_objects": len(subjects), "right_before": right_before}
        parts = [look(*zip(*map(change, subjects[start:start + batch_size])))
                 for start in range(0, len(subjects), batch_size)]
        if parts:
            labels, groups = zip(*parts)
            found[name] |= _share("class_kept", torch.cat(labels) == label)
            if group is not None:
                found[name] |= _share("group_kept", torch.cat(groups) == group)
    return found


@contextmanager
def without_blocks(model: GroupViT) -> Iterator[GroupViT]:
    """Within it, the image encoder has no Transformer blocks: do the groups need them?"""
    kept = [stage.layers for stage in model.image_encoder.stages]
    try:
        for stage in model.image_encoder.stages:
            stage.layers = nn.ModuleList()
        yield model
    finally:
        for stage, layers in zip(model.image_encoder.stages, kept):
            stage.layers = layers
