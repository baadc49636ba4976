"""What is measured of a trained model: each measure is a function of a model and `Conditions` to its metrics.

A row names its measures (`Row.measures`). Metrics are fractions from 0 to 1.

B images  G groups or segments  C classes  D width  E shared channels  h, w patch grid  H, W image
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits
from torch import Tensor
from torchvision.transforms.v2 import functional as vision

from ..data.mask_sets import MasksInMemory, scene_masks
from ..data.scenes.config import SceneConfig
from ..evaluation.controls import Partition, colour_clusters, superpixels
from ..evaluation.evaluate import Evaluation, evaluate
from ..evaluation.groups import probing_jaccard
from ..evaluation.metrics import present_objects
from ..image_encoder import ImageEncoder
from ..images import normalize
from ..model import GroupViT, unit
from ..segmentation.options import InferenceOptions
from ..segmentation.segment import segment
from ..segmentation.steps import balance_scores, embed_classes, largest_scores, score_groups
from .pretraining import MaskTraining

_BATCH = 25          # images at once in a model
_NUM_LEAKING = 100   # images whose segments are looked at one by one
_LEAST = 0.02        # share of an image that a segment has at least
_MASS = 0.6          # of the attention, which patches of a head's mask hold together (DINO)


@dataclass(frozen=True)
class Conditions:
    """The scenes on which a model is measured."""

    scenes: SceneConfig
    split: str
    num_scenes: int
    protocol: InferenceOptions

    def masks(self, split: str | None = None, count: int | None = None) -> MasksInMemory:
        """Scenes and their masks; None: of the split asked for, as many as asked for."""
        return _masks(split or self.split, count or self.num_scenes, self.scenes)


@lru_cache(maxsize=4)
def _masks(split: str, count: int, scenes: SceneConfig) -> MasksInMemory:
    return scene_masks(split, count, scenes)


def segmentation(model: GroupViT, on: Conditions) -> dict[str, Any]:
    """Labels and recognition, and of a model with groups oracle and ARI; a model without is segmented patch by patch."""
    return evaluate(model, on.masks(), on.protocol).metrics


def shared(model: GroupViT, on: Conditions) -> dict[str, Any]:
    """mIoU if a pixel takes the scores of all its groups, by its soft assignment, in place of its largest group's."""
    found = evaluate(model, on.masks(), replace(on.protocol, pixels="shared"), ()).metrics
    return {f"{key}_shared": value for key, value in found.items() if key.startswith("miou")}


def clustered(method: str) -> Callable[[GroupViT, Conditions], dict[str, Any]]:
    """Table 4: clusters of the patches of a model without groups, in the place of groups."""

    def measure(model: GroupViT, on: Conditions) -> dict[str, Any]:
        # Side by side: spectral clustering of four times as many patches takes 50 times as long.
        protocol = replace(on.protocol, overlap=1)
        with threadpool_limits(1):
            return evaluate(model, on.masks(), protocol, ("oracle", "groups"), clusters=method).metrics

    return measure


def partitioned(partition: Partition) -> Callable[[GroupViT, Conditions], dict[str, Any]]:
    """Table 4, the classical way: segments that need no training, each named by its mean feature."""

    def measure(model: GroupViT, on: Conditions) -> dict[str, Any]:
        classes = embed_classes(model, on.masks().class_names, on.protocol.templates)
        found = Evaluation(on.masks(), ("oracle", "groups"))
        with threadpool_limits(1):
            for example in on.masks():
                segments = partition(example.image)
                labels = name_segments(model, example.image, segments, classes, on.protocol)
                found.update([example.name], example.mask[None], labels[None], [segments[None]])
        return found.metrics

    return measure


@torch.no_grad()
def name_segments(model: GroupViT, image: Tensor, segments: Tensor, classes: Tensor,
                  protocol: InferenceOptions) -> Tensor:
    """Labels (H, W) of an image (3, H, W) uint8 and its segments (H, W), numbers from 0.

    Each takes the name nearest to the mean feature of its pixels: features of a model without groups, upsampled.
    classes (C, E).
    """
    embedding, output = model.encode_image(normalize(image[None].to(model.device).float() / 255), protocol.overlap)
    features = output.segment_tokens.transpose(1, 2).unflatten(-1, output.grid).float()                  # (1, D, h, w)
    features = F.interpolate(features, segments.shape, mode="bilinear", align_corners=False)[0].flatten(1)  # (D, H·W)
    own = F.one_hot(segments.flatten().to(features.device)).float()                                      # (H·W, G)
    means = (features @ own / own.sum(dim=0).clamp_min(1)).T                                             # (G, D)
    scores = score_groups(unit(model.image_head(means))[None], embedding, classes, model.scale(), protocol.top_classes)
    pixels = largest_scores(segments[None].to(scores.device), scores)                                    # (1, C, H, W)
    return (pixels if protocol.balance is None else balance_scores(pixels, protocol.balance)).argmax(dim=1)[0]


@torch.no_grad()
def labelled(model: MaskTraining, on: Conditions) -> dict[str, Any]:
    """A model that was trained with masks: a class for each pixel. Its segments are the classes' regions."""
    masks, device = on.masks(), next(model.parameters()).device
    found = Evaluation(masks, ("oracle", "groups", "recognition"))
    for start in range(0, len(masks), _BATCH):
        rows = slice(start, start + _BATCH)
        logits = model(normalize(masks.images[rows].to(device).float() / 255))                           # (B, C, H, W)
        labels = logits.argmax(dim=1)
        shown = logits.softmax(dim=1).flatten(2).amax(dim=2)[:, :masks.num_objects]     # the surest pixel of each object
        found.update(masks.names[rows], masks.masks[rows].long(), labels, [labels], scores=shown)
    return found.metrics


def boundary(model: GroupViT, on: Conditions) -> dict[str, Any]:
    """Table 3, in brackets: mIoU of the pixels near contours."""
    found = evaluate(model, on.masks(), on.protocol, ("boundary",)).metrics
    return {key: value for key, value in found.items() if key.startswith("boundary_")}


def leaking(model: GroupViT, on: Conditions) -> dict[str, Any]:
    """How often a segment keeps its class when everything outside of it becomes grey: `class_stays`.

    A segment is a group's pixels, where they are 2 % of the image or more; its class is that of most of them.
    """
    names, protocol = on.scenes.class_names, on.protocol
    classes = embed_classes(model, names, protocol.templates)
    images, changed, inside, before = on.masks().images[:_NUM_LEAKING], [], [], []
    for part in images.split(_BATCH):
        result = segment(model, part, names, protocol, class_embeddings=classes)
        for image, labels, own in zip(part, result.labels.cpu(), result.groups[-1].cpu()):
            for group in own.unique():
                mask = own == group
                if mask.float().mean() >= _LEAST:
                    changed.append(torch.where(mask, image, torch.tensor(128, dtype=torch.uint8)))
                    inside.append(mask)
                    before.append(labels[mask].mode().values)
    after = torch.cat([segment(model, part, names, protocol, class_embeddings=classes).labels.cpu()
                       for part in torch.stack(changed).split(_BATCH)])
    stays = [labels[mask].mode().values == label for labels, mask, label in zip(after, inside, before)]
    return {"class_stays": torch.stack(stays).double().mean().item(), "num_segments": len(stays)}


def shortcut(model: GroupViT, on: Conditions) -> dict[str, Any]:
    """mIoU with drawings that were never shown, and with the hue of all objects turned by 180 degrees."""
    scenes = on.masks()
    objects = (scenes.masks < scenes.num_objects)[:, None]                                               # (N, 1, H, W)
    turned = replace(scenes, images=torch.where(objects, vision.adjust_hue(scenes.images, 0.5), scenes.images))
    return {f"{key}_{name}": value for name, masks in (("unseen", on.masks("unseen")), ("hue", turned))
            for key, value in evaluate(model, masks, on.protocol, ()).metrics.items() if key.startswith("miou")}


@torch.no_grad()
def classification(model: GroupViT, on: Conditions) -> dict[str, Any]:
    """Table C1: top 1 on scenes of one object, by the nearest name and by logistic regression on frozen features.

    In the drawings of the training, and in drawings that it never showed.
    """
    alone = replace(on, scenes=replace(on.scenes, num_objects=(1, 1), second_background=0.0))

    def seen(split: str, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Features (N, D), embeddings (N, E) and true classes (N,)."""
        scenes = alone.masks(split, count)
        outputs = [model.encode_image(normalize(part.to(model.device).float() / 255))
                   for part in scenes.images.split(_BATCH)]
        return (torch.cat([output.feature for _, output in outputs]).float().cpu().numpy(),
                torch.cat([embedding for embedding, _ in outputs]).cpu().numpy(),
                present_objects(scenes.masks, scenes.num_objects).int().argmax(dim=1).numpy())

    names = embed_classes(model, on.scenes.objects, on.protocol.templates).cpu().numpy()
    probe, found = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)), {}
    features, _, truth = seen("train", 4 * on.num_scenes)
    with threadpool_limits(1):
        probe.fit(features, truth)
        for split, ending in ((on.split, ""), ("unseen", "_unseen")):
            features, embeddings, truth = seen(split, on.num_scenes)
            found |= {f"zero_shot{ending}": float(((embeddings @ names.T).argmax(axis=1) == truth).mean()),
                      f"linear_probe{ending}": float(probe.score(features, truth))}
    return found


@torch.no_grad()
def probing(model: GroupViT | ImageEncoder, on: Conditions) -> dict[str, Any]:
    """Table C2: the mean over objects of the best Jaccard index of one group, or of one head's attention."""
    if isinstance(model, GroupViT) and model.config.image.num_group_tokens[0]:
        found = evaluate(model, on.masks(), replace(on.protocol, overlap=1), ("probing",)).metrics
        return {"probing_jaccard": found["probing_jaccard"]}
    encoder, masks = model.image_encoder if isinstance(model, GroupViT) else model, on.masks()
    found = []
    for start in range(0, len(masks), _BATCH):
        heads = attention_masks(encoder, masks.images[start:start + _BATCH])                             # (B, K, H, W)
        found += [best_jaccard(own, truth.long(), masks.num_objects) for own, truth in zip(heads, masks.masks[start:])]
    return {"probing_jaccard": float(np.mean([value for value in found if value is not None]))}


def pixel_probing(model: Any, on: Conditions) -> dict[str, Any]:
    """Table C2, the control: the best of 16 clusters of an image's raw pixels, which have learnt nothing."""
    masks, partition = on.masks(), colour_clusters(16)
    with threadpool_limits(1):
        found = [probing_jaccard(partition(example.image), example.mask, masks.num_objects, len(masks.class_names))
                 for example in masks]
    return {"probing_jaccard": float(np.mean([value for value in found if value is not None]))}


@torch.no_grad()
def attention_masks(encoder: ImageEncoder, images: Tensor, mass: float = _MASS) -> Tensor:
    """The patches that each head of the last block looks at most, `mass` of its attention: (B, K heads, H, W) of bool.

    Images (B, 3, H, W) uint8. Without a class token, attention is the mean over all patches that look.
    """
    block, inputs = encoder.stages[-1].layers[-1], []
    handle = block.attn.register_forward_pre_hook(lambda module, given: inputs.append(given[0]))
    try:
        device = next(encoder.parameters()).device
        output = encoder(normalize(images.to(device).float() / 255))
    finally:
        handle.remove()
    attention = block.attn.weights(inputs[0]).mean(dim=2)                                                # (B, K, N)
    values, order = attention.sort(dim=-1, descending=True)
    kept = (values.cumsum(dim=-1) - values < mass).to(values.dtype)      # the first are enough to reach the mass
    masks = torch.zeros_like(values).scatter(-1, order, kept).unflatten(-1, output.grid)                 # (B, K, h, w)
    return F.interpolate(masks, images.shape[-2:], mode="nearest").bool().cpu()


def best_jaccard(masks: Tensor, truth: Tensor, num_objects: int) -> float | None:
    """Mean over an image's objects of the best Jaccard index with one of the masks (K, H, W); None without objects.

    As `evaluation.groups.probing_jaccard`, for masks that may overlap. truth (H, W): objects come first.
    """
    best = []
    for label in truth.unique():
        if label < num_objects:
            own = truth == label
            best.append(((masks & own).sum((1, 2)) / (masks | own).sum((1, 2))).max().item())
    return float(np.mean(best)) if best else None


Measure = Callable[[Any, Conditions], dict[str, Any]]
MEASURES: dict[str, Measure] = {
    "groups": segmentation, "patches": segmentation, "shared": shared, "boundary": boundary, "leaking": leaking,
    "shortcut": shortcut, "classification": classification, "probing": probing,
    "finetuned": labelled,     # the runner trains the encoder on with masks first
    **{name: clustered(name) for name in ("kmeans", "mean_shift", "spectral")},
    "pixel_clusters": partitioned(colour_clusters(8)),
    "pixel_probing": pixel_probing,
    **{name: partitioned(superpixels(name)) for name in ("slic", "felzenszwalb")},
}


def measured(model: Any, names: Sequence[str], on: Conditions) -> dict[str, float]:
    """The plain numbers of several measures: no lists, no metrics of single classes."""
    metrics: dict[str, float] = {}
    for name in names:
        metrics |= {key: value for key, value in MEASURES[name](model, on).items() if isinstance(value, int | float)}
    return metrics
