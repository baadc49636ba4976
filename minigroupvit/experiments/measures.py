"""What is measured of a trained model: each measure is a function of a model and `Conditions` to its figures.

A row names its measures (`Row.measures`). Figures are fractions from 0 to 1.

B pictures  G groups or pieces  C classes  D width  E shared channels  h, w patch grid  H, W picture
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
from sklearn.metrics import adjusted_rand_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits
from torch import Tensor
from torchvision.transforms.v2 import functional as vision

from ..data.scenes.config import SceneConfig
from ..evaluation.baselines import evaluate_pixelwise, segment_pixelwise
from ..evaluation.clusters import cluster_patches
from ..evaluation.controls import Cut, colour_clusters, superpixels
from ..evaluation.groups import probing_jaccard
from ..evaluation.metrics import BoundaryMetrics, MaskMetrics, evaluate, oracle_labels, present_objects, recognition_ap
from ..evaluation.scenes import scene_tensors
from ..image_encoder import ImageEncoder
from ..images import normalize
from ..model import GroupViT, unit
from ..segmentation.options import InferenceOptions
from ..segmentation.segment import encode_windows, name_pixels, segment
from ..segmentation.steps import balance_scores, embed_classes, largest_scores, pixel_groups, score_groups
from .pretraining import MaskTraining

_BATCH = 25          # pictures at once in a model
_NUM_LEAKING = 100   # pictures whose segments are looked at one by one
_LEAST = 0.02        # share of a picture that a segment has at least
_MASS = 0.6          # of the attention, which patches of a head's mask hold together (DINO)


@dataclass(frozen=True)
class Conditions:
    """The scenes on which a model is measured."""

    scenes: SceneConfig
    split: str
    num_scenes: int
    protocol: InferenceOptions

    @property
    def names(self) -> tuple[str, ...]:
        return self.scenes.class_names

    @property
    def num_objects(self) -> int:
        return len(self.scenes.objects)

    def pictures(self, split: str | None = None, count: int | None = None) -> tuple[Tensor, Tensor]:
        """Images (N, 3, H, W) and masks (N, H, W), uint8; None: of the split asked for, as many as asked for."""
        return _pictures(split or self.split, count or self.num_scenes, self.scenes)


@lru_cache(maxsize=4)
def _pictures(split: str, count: int, scenes: SceneConfig) -> tuple[Tensor, Tensor]:
    return scene_tensors(split, count, scenes)


def groups(model: GroupViT, on: Conditions) -> dict[str, Any]:
    """Named masks, oracle, ARI, recognition of a model with groups."""
    return evaluate(model, *on.pictures(), on.names, on.num_objects, on.protocol)


def patches(model: GroupViT, on: Conditions) -> dict[str, Any]:
    """A model without groups read out patch by patch."""
    return evaluate_pixelwise(model, *on.pictures(), on.names, on.num_objects, on.protocol)


class _Pieces:
    """Collects named masks and the pieces that they are made of, picture by picture."""

    def __init__(self, on: Conditions) -> None:
        self.on = on
        self.named, self.oracle = MaskMetrics(on.names, on.num_objects), MaskMetrics(on.names, on.num_objects)
        self.rand: list[float] = []

    def update(self, labels: Tensor, pieces: Tensor, truth: Tensor) -> None:
        """Labels, pieces and true masks, (H, W) each."""
        labels, pieces, truth = (x.cpu().long() for x in (labels, pieces, truth))
        self.named.update(labels, truth)
        self.oracle.update(oracle_labels(pieces[None], truth[None], len(self.on.names))[0], truth)
        self.rand.append(adjusted_rand_score(truth.flatten().numpy(), pieces.flatten().numpy()))

    def compute(self) -> dict[str, Any]:
        return self.named.compute() | {f"oracle_{key}": value for key, value in self.oracle.compute().items()} | {
            "ari": float(np.mean(self.rand))}


def clustered(method: str) -> Callable[[GroupViT, Conditions], dict[str, Any]]:
    """Table 4: clusters of the patches of a model without groups, in the place of groups."""

    @torch.no_grad()
    def measure(model: GroupViT, on: Conditions) -> dict[str, Any]:
        # Side by side: spectral clustering of four times as many patches takes 50 times as long.
        protocol = replace(on.protocol, overlap=1)
        classes = embed_classes(model, on.names, protocol.templates)
        found, regroup = _Pieces(on), cluster_patches(method)
        with threadpool_limits(1):
            for image, truth in zip(*on.pictures()):
                (seen,) = encode_windows(model, [image.to(model.device).float() / 255], classes, protocol, regroup=regroup)
                labels = name_pixels(seen, replace(protocol, pixels="largest"))
                found.update(labels, pixel_groups(seen.maps[-1], seen.size)[0], truth)
        return found.compute()

    return measure


def cut_and_named(cut: Cut) -> Callable[[GroupViT, Conditions], dict[str, Any]]:
    """Table 4, the classical way: pieces of a cut without learning, each named by its mean feature."""

    def measure(model: GroupViT, on: Conditions) -> dict[str, Any]:
        classes = embed_classes(model, on.names, on.protocol.templates)
        found = _Pieces(on)
        with threadpool_limits(1):
            for image, truth in zip(*on.pictures()):
                pieces = cut(image)
                found.update(name_pieces(model, image, pieces, classes, on.protocol), pieces, truth)
        return found.compute()

    return measure


@torch.no_grad()
def name_pieces(model: GroupViT, image: Tensor, pieces: Tensor, classes: Tensor, protocol: InferenceOptions) -> Tensor:
    """Labels (H, W) of a picture (3, H, W) uint8 cut into pieces (H, W) of numbers from 0.

    Each takes the name nearest to the mean feature of its pixels: features of a model without groups, upsampled.
    classes (C, E).
    """
    embedding, output = model.encode_image(normalize(image[None].to(model.device).float() / 255), protocol.overlap)
    features = output.segment_tokens.transpose(1, 2).unflatten(-1, output.grid).float()                  # (1, D, h, w)
    features = F.interpolate(features, pieces.shape, mode="bilinear", align_corners=False)[0].flatten(1)  # (D, H·W)
    own = F.one_hot(pieces.flatten().to(features.device)).float()                                        # (H·W, G)
    means = (features @ own / own.sum(dim=0).clamp_min(1)).T                                             # (G, D)
    scores = score_groups(unit(model.image_head(means))[None], embedding, classes, model.scale(), protocol.top_classes)
    pixels = largest_scores(pieces[None].to(scores.device), scores)                                      # (1, C, H, W)
    return (pixels if protocol.balance is None else balance_scores(pixels, protocol.balance)).argmax(dim=1)[0]


@torch.no_grad()
def labelled(model: MaskTraining, on: Conditions) -> dict[str, Any]:
    """A model that was trained with masks: a class for each pixel. Its pieces are the classes' regions."""
    images, masks = on.pictures()
    device = next(model.parameters()).device
    found, shown = _Pieces(on), []
    for start in range(0, len(images), _BATCH):
        logits = model(normalize(images[start:start + _BATCH].to(device).float() / 255))                 # (B, C, H, W)
        shown.append(logits.softmax(dim=1).flatten(2).amax(dim=2).cpu())
        for labels, truth in zip(logits.argmax(dim=1), masks[start:]):
            found.update(labels, labels, truth)
    probability = torch.cat(shown)[:, :on.num_objects]
    ap = recognition_ap(probability, torch.eye(on.num_objects), present_objects(masks, on.num_objects))
    return found.compute() | {"recognition_ap": ap}


@torch.no_grad()
def boundary(model: GroupViT, on: Conditions) -> dict[str, Any]:
    """Table 3, in brackets: mIoU of the pixels near contours."""
    found = BoundaryMetrics(list(on.names), on.num_objects)
    for labels, truth in zip(_labels(model, on.pictures()[0], on, on.protocol), on.pictures()[1]):
        found.update(labels, truth)
    return {f"boundary_{key}": value for key, value in found.compute().items()}


def _labels(model: GroupViT, images: Tensor, on: Conditions, protocol: InferenceOptions) -> Tensor:
    """(N, H, W) of pictures (N, 3, H, W)."""
    name = segment if model.config.image.num_group_tokens[0] else segment_pixelwise
    classes = embed_classes(model, on.names, protocol.templates)
    return torch.cat([name(model, part, on.names, protocol, class_embeddings=classes).labels.cpu()
                      for part in images.split(_BATCH)])


def leaking(model: GroupViT, on: Conditions) -> dict[str, Any]:
    """How often a segment keeps its class when everything outside of it becomes grey: `class_stays`.

    A segment is a group's pixels, where they are 2 % of the picture or more; its class is that of most of them.
    Each pixel is named by its own group, without regard to what else the picture shows.
    """
    protocol = replace(on.protocol, pixels="largest", balance=None)
    classes = embed_classes(model, on.names, protocol.templates)
    images, changed, inside, before = on.pictures()[0][:_NUM_LEAKING], [], [], []
    for part in images.split(_BATCH):
        result = segment(model, part, on.names, protocol, class_embeddings=classes)
        for image, labels, own in zip(part, result.labels.cpu(), result.groups[-1].cpu()):
            for group in own.unique():
                mask = own == group
                if mask.float().mean() >= _LEAST:
                    changed.append(torch.where(mask, image, torch.tensor(128, dtype=torch.uint8)))
                    inside.append(mask)
                    before.append(labels[mask].mode().values)
    after = _labels(model, torch.stack(changed), on, protocol)
    stays = [labels[mask].mode().values == label for labels, mask, label in zip(after, inside, before)]
    return {"class_stays": torch.stack(stays).double().mean().item(), "num_segments": len(stays)}


def shortcut(model: GroupViT, on: Conditions) -> dict[str, Any]:
    """mIoU with drawings that were never shown, and with the hue of all objects turned by 180 degrees."""
    images, masks = on.pictures()
    turned = torch.where((masks < on.num_objects)[:, None], vision.adjust_hue(images, 0.5), images)
    figures = {}
    for name, pictures, truth in (("unseen", *on.pictures("unseen")), ("hue", turned, masks)):
        found = MaskMetrics(on.names, on.num_objects)
        found.update(_labels(model, pictures, on, on.protocol), truth.long())
        figures |= {f"{key}_{name}": value for key, value in found.compute().items()}
    return figures


@torch.no_grad()
def classification(model: GroupViT, on: Conditions) -> dict[str, Any]:
    """Table C1: top 1 on scenes of one object, by the nearest name and by logistic regression on frozen features."""
    alone = replace(on, scenes=replace(on.scenes, num_objects=(1, 1), second_background=0.0))
    parts = {}
    for split, count in (("train", 4 * on.num_scenes), (on.split, on.num_scenes)):
        images, masks = alone.pictures(split, count)
        outputs = [model.encode_image(normalize(part.to(model.device).float() / 255)) for part in images.split(_BATCH)]
        parts[split] = (torch.cat([output.feature for _, output in outputs]).float().cpu().numpy(),
                        torch.cat([embedding for embedding, _ in outputs]).cpu(),
                        present_objects(masks, on.num_objects).int().argmax(dim=1).numpy())
    features, embeddings, truth = parts[on.split]
    names = embed_classes(model, on.scenes.objects, on.protocol.templates).cpu()
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    with threadpool_limits(1):
        probe.fit(parts["train"][0], parts["train"][2])
    return {"zero_shot": float(((embeddings @ names.T).argmax(dim=1).numpy() == truth).mean()),
            "linear_probe": float(probe.score(features, truth))}


@torch.no_grad()
def probing(model: GroupViT | ImageEncoder, on: Conditions) -> dict[str, Any]:
    """Table C2: the mean over objects of the best Jaccard index of one group, or of one head's attention."""
    images, masks = on.pictures()
    found = []
    if isinstance(model, GroupViT) and model.config.image.num_group_tokens[0]:
        for start in range(0, len(images), _BATCH):
            result = segment(model, images[start:start + _BATCH], on.names, replace(on.protocol, overlap=1))
            found += [probing_jaccard(own.cpu(), truth.long(), on.num_objects, len(on.names))
                      for own, truth in zip(result.groups[-1], masks[start:])]
    else:
        encoder = model.image_encoder if isinstance(model, GroupViT) else model
        for start in range(0, len(images), _BATCH):
            heads = attention_masks(encoder, images[start:start + _BATCH])                               # (B, K, H, W)
            found += [best_jaccard(own, truth.long(), on.num_objects) for own, truth in zip(heads, masks[start:])]
    return {"probing_jaccard": float(np.mean([value for value in found if value is not None]))}


@torch.no_grad()
def attention_masks(encoder: ImageEncoder, images: Tensor, mass: float = _MASS) -> Tensor:
    """The patches that each head of the last block looks at most, `mass` of its attention: (B, K heads, H, W) of bool.

    Pictures (B, 3, H, W) uint8. Without a class token, attention is the mean over all patches that look.
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
    """Mean over a picture's objects of the best Jaccard index with one of the masks (K, H, W); None without objects.

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
    "groups": groups, "patches": patches, "boundary": boundary, "leaking": leaking, "shortcut": shortcut,
    "classification": classification, "probing": probing,
    "finetuned": labelled,     # the runner trains the encoder on with masks first
    **{name: clustered(name) for name in ("kmeans", "mean_shift", "spectral")},
    "pixel_clusters": cut_and_named(colour_clusters(8)),
    **{name: cut_and_named(superpixels(name)) for name in ("slic", "felzenszwalb")},
}


def measured(model: Any, names: Sequence[str], on: Conditions) -> dict[str, float]:
    """The plain numbers of several measures: no lists, no metrics of single classes."""
    figures: dict[str, float] = {}
    for name in names:
        figures |= {key: value for key, value in MEASURES[name](model, on).items() if isinstance(value, int | float)}
    return figures
