"""A small model whose weights follow from their names, pictures made of formulas, and the protocol less a step."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor

from minigroupvit.model import GroupViT
from minigroupvit.segmentation import segment as segmentation, steps, windows as sliding
from minigroupvit.segmentation.options import InferenceOptions

WORDS = ["sun", "heart", "brick", "cloud", "left", "red"]
# Every released step at a hundredth of the size, and the mirrored picture, which the release can do too.
PROTOCOL = InferenceOptions(templates=("a photo of a {}.", "the {} on the left"), top_classes=2, background_threshold=0.95,
                    short_side=16, long_side=24, antialias=False, mode="slide", window=16, stride=6, flip=True)


def telling_weights(model: GroupViT, gain: float = 2.0, seed: int = 23) -> GroupViT:
    """Weights drawn by their names alone: large enough that groups and words differ; in double precision."""
    for name, parameter in model.named_parameters():
        draw = torch.Generator().manual_seed(zlib.crc32(name.encode()) + seed)
        values = torch.randn(parameter.shape, generator=draw)
        if parameter.ndim >= 2:
            values *= gain / (1 if parameter.ndim == 3 else math.sqrt(parameter[0].numel()))
        elif "norm" in name and name.endswith("weight"):
            values = 1 + 0.3 * values
        else:
            values *= 0.3
        parameter.data = values
    model.logit_scale.data = torch.tensor(math.log(150.0))                # is to be clamped at 100
    return model.double().eval()


def picture(height: int, width: int) -> Tensor:
    """Two rectangles on a ramp, (3, H, W)."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    image = torch.stack([x / (width - 1), y / (height - 1), (x + y) / (height + width - 2)])
    image[:, height // 6:2 * height // 3, width // 8:2 * width // 5] = torch.tensor([0.9, 0.1, 0.1])[:, None, None]
    image[:, 2 * height // 5:, 3 * width // 5:9 * width // 10] = torch.tensor([0.1, 0.2, 0.9])[:, None, None]
    return image


def _without_softmax() -> AbstractContextManager:
    softmax = Tensor.softmax
    return patch.object(Tensor, "softmax", lambda self, dim: self if (self.ndim, dim) == (3, 0) else softmax(self, dim))


def _last_window_wins(windows, scores, canvas, size, protocol) -> Tensor:
    """`stitch` without the mean over windows."""
    views = []
    for mirrored in (False, True):
        view = None
        for window, score in zip(windows, scores):
            view = score.new_zeros(len(score), *canvas) if view is None else view
            view[:, window.top:window.top + window.height, window.left:window.left + window.width] = score
            if window == [w for w in windows if w.mirrored == mirrored][-1]:
                break
        view = F.interpolate(view[None], size=size, mode="bilinear")[0].softmax(dim=0)
        views.append(view.flip(-1) if mirrored else view)
    return (views[0] + views[1]) / 2


def _one_softmax(segments, image, classes, scale, top_classes):
    """`score_groups` without the softmax over all classes."""
    logits = scale * segments @ classes.T
    kept = (image @ classes.T).topk(top_classes, dim=-1).indices
    outside = torch.ones_like(logits, dtype=torch.bool).scatter(2, kept[:, None].expand(-1, logits.shape[1], -1), False)
    return logits.masked_fill(outside, float("-inf")).softmax(dim=-1)


def _background_at_the_end(seen, protocol):
    """`name_pixels` whose windows do not vote on background."""
    scores = segmentation.pixel_channels(seen, replace(protocol, background_threshold=None))
    return steps.label_pixels(scores[None], seen.group_scores.flatten(0, 1)[None], 0.95)[0]


def _fixed_background(scores, group_scores, threshold):
    """`add_background` with the threshold alone, and not the image's largest score if that is less."""
    return torch.cat([(scores.amax(dim=1, keepdim=True) < threshold).to(scores), scores], dim=1)


def _hard_first_stage(output, assignment="soft"):
    first, second = output.groupings
    return [(second.soft @ first.hard).float().unflatten(-1, output.grid)]


def _nearest(picture, size, antialias=True):
    return F.interpolate(picture[None], size=size, mode="nearest")[0]


def _of(module, name: str, value) -> Callable[[GroupViT], AbstractContextManager]:
    return lambda model: patch.object(module, name, value)


# A step: how the protocol is changed, or what takes its place.
LEFT_OUT: dict[str, tuple[dict, Callable[[GroupViT], AbstractContextManager]]] = {
    "resize to the short side": ({"short_side": 18, "long_side": 30}, lambda model: nullcontext()),
    "limit of the long side": ({"long_side": None}, lambda model: nullcontext()),
    "no smoothing before shrinking": ({"antialias": True}, lambda model: nullcontext()),
    "bilinear resize": ({}, _of(sliding, "resize_image", _nearest)),
    "ImageNet's mean and deviation": ({}, _of(segmentation, "normalize", lambda images: images)),
    "windows": ({"mode": "whole"}, lambda model: nullcontext()),
    "overlap of windows": ({"stride": 16}, lambda model: nullcontext()),
    "mean over windows": ({}, _of(segmentation, "stitch", _last_window_wins)),
    "mirrored picture": ({"flip": False}, lambda model: nullcontext()),
    "mean over templates": ({"templates": PROTOCOL.templates[:1]}, lambda model: nullcontext()),
    "soft assignment": ({"assignment": "hard"}, lambda model: nullcontext()),
    "soft assignment of the first stage": ({}, _of(segmentation, "group_maps", _hard_first_stage)),
    "upsample, then argmax": ({"upsample": "groups"}, lambda model: nullcontext()),
    "largest group of each pixel": ({"pixels": "shared"}, lambda model: nullcontext()),
    "classes nearest to the picture": ({"top_classes": None}, lambda model: nullcontext()),
    "softmax over all classes": ({}, _of(segmentation, "score_groups", _one_softmax)),
    "inverse temperature of at most 100": ({}, lambda model: patch.object(
        type(model), "scale", lambda self: self.logit_scale.exp())),
    "background": ({"background_threshold": None}, lambda model: nullcontext()),
    "largest score bounds the threshold": ({}, _of(segmentation, "add_background", _fixed_background)),
    "windows vote on background": ({}, _of(segmentation, "name_pixels", _background_at_the_end)),
    "softmax over the channels": ({}, lambda model: _without_softmax()),
    "scores resized to the mask": ({"mode": "direct"}, lambda model: nullcontext()),
}
