"""The five steps from the results of the encoders to a label for every pixel, each a function of tensors.

The protocol of the released evaluation (the paper's Section 3.3):

    1. group_maps        multiply the soft assignments of the stages: which patch is in which
                         final group
    2. pixel_groups      upsample them to the image, take the largest group of each pixel
                         (refine_maps, not in the paper: first move their edges to those of the image)
    3. embed_classes     class names in templates, through the text encoder
    4. score_groups      how well each class name fits each group, given what the whole image shows
    5. best_class        each pixel takes its group's best class, or background (`add_background` first; where
                         windows slide, `segment` takes their mean between the two); `label_pixels` does both

`segment` puts them together, and labels each group once instead of each of its pixels where that is the
same. There, "image" is one window of it if windows slide.

B images  G final groups  C classes  E shared channels  h, w patch grid  H, W image
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor

from ..image_encoder import ImageOutput
from ..layers import at_least_single
from ..model import GroupViT
from ..text.caption_tokenizer import warn_unknown
from ..text.prompts import class_prompts
from ..text.tokenizer import Tokenizer


@contextmanager
def evaluating(model: GroupViT) -> Iterator[None]:
    """The model in evaluation mode, and then as it was."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def group_maps(output: ImageOutput, assignment: str = "soft") -> list[Tensor]:
    """Share of each patch in the groups of each stage, (B, G, h, w) per stage.

    A later stage groups segments, so its assignment is multiplied by those before it. A model
    without groups has each patch for a group of its own.
    """
    B = output.segment_tokens.shape[0]
    h, w = output.grid
    maps: list[Tensor] = []
    for grouping in output.groupings:
        share = at_least_single(getattr(grouping, assignment))                      # (B, G, N)
        maps.append(share if not maps else share @ maps[-1])              # (B, G, h·w)
    if not maps:
        maps = [torch.eye(h * w, device=output.segment_tokens.device).expand(B, -1, -1)]
    return [m.unflatten(-1, (h, w)) for m in maps]


def pixel_groups(maps: Tensor, size: tuple[int, int], upsample: str = "maps") -> Tensor:
    """The group of each pixel: (B, G, h, w) -> (B, H, W)."""
    if upsample == "maps":
        # On a CPU max is ten times as fast as argmax over an axis that is not the last; of equals both take the first.
        return F.interpolate(maps, size=size, mode="bilinear", align_corners=False).max(dim=1).indices
    groups = maps.argmax(dim=1, keepdim=True).float()                     # (B, 1, h, w)
    return F.interpolate(groups, size=size, mode="nearest")[:, 0].long()


def refine_maps(maps: Tensor, images: Tensor, iterations: int, reach: int, contrast: float = 0.1) -> Tensor:
    """Pixel-adaptive mask refinement (PAMR; Araslanov and Roth 2020): edges of masks move to edges of the image.

    A classical smoothing, nothing is learnt: in each iteration a pixel takes the weighted mean of the values of
    pixels around it, and those of a similar colour weigh more. The weight of a neighbour is the softmax over the
    neighbours of -|difference of colours| / (contrast · standard deviation around the pixel). Neighbours are the
    eight at a distance of 1, 2, 4, ... up to `reach`. Not in the paper.

    Args:
        maps: (B, G, h, w) share of each patch in each group; enlarged to the image first.
        images: (B, 3, H, W), any range of values.
        iterations: how often the mean is taken.
        reach: pixels from a pixel to its farthest neighbours; `segment` takes two sides of a patch.

    Returns (B, G, H, W): share of each pixel in each group; they still sum to 1.
    """
    H, W = images.shape[-2:]
    distances = [2 ** n for n in range(reach.bit_length()) if 2 ** n < min(H, W)]

    def neighbours(x: Tensor) -> Iterator[Tensor]:
        for d in distances:
            padded = F.pad(x, (d, d, d, d), mode="replicate")
            for dy, dx in ((-d, -d), (-d, 0), (-d, d), (0, -d), (0, d), (d, -d), (d, 0), (d, d)):
                yield padded[..., d + dy:d + dy + H, d + dx:d + dx + W]

    around = torch.stack(list(neighbours(images)))                        # (M, B, 3, H, W)
    spread = torch.cat([around, images[None]]).std(dim=0)                 # (B, 3, H, W)
    differences = (around - images).abs() / (contrast * spread + 1e-6)
    weights = (-differences.mean(dim=2)).softmax(dim=0)                   # (M, B, H, W)
    refined = F.interpolate(maps, size=(H, W), mode="bilinear", align_corners=False)
    for _ in range(iterations):
        mean = torch.zeros_like(refined)
        for weight, values in zip(weights, neighbours(refined)):
            mean.addcmul_(weight[:, None], values)
        refined = mean
    return refined


@torch.no_grad()
def embed_classes(model: GroupViT, class_names: Sequence[str],
                  templates: Sequence[str] = ("a photo of a {}.",), distinct: bool = True) -> Tensor:
    """One unit vector per class, (C, E): mean over its templates, then length 1.

    The mean is taken of the projections before they get length 1, as released (CLIP's own
    recipe normalises first; the difference is some 2e-3).
    Raises ValueError for empty or repeated names, for one that is too long for the text encoder, and for two that
    become the same tokens, unless `distinct` is False: of the fixed classes of the scenes and of benchmarks a model
    may not know some, and is measured all the same.
    """
    prompts = class_prompts(class_names, templates)
    room = model.tokenizer.context_length - 2                                 # start and end
    for name, texts in zip(class_names, prompts):
        count = len(model.tokenizer.tokens(max(texts, key=len)))
        if count > room:
            raise ValueError(f"the class name {name[:60]!r} is too long: in its template it has {count} tokens, and "
                             f"the model reads {room}; shorten it")
    warn_unknown(model.tokenizer, class_names)
    ids = model.tokenizer([text for texts in prompts for text in texts])   # (C·T, L)
    if distinct:
        _check_distinct(class_names, ids.unflatten(0, (len(prompts), -1)), model.tokenizer)
    with evaluating(model):
        features = model.text_encoder(ids.to(model.device))                # (C·T, D)
        projected = model.text_head(features).unflatten(0, (len(prompts), -1))  # (C, T, E)
    return F.normalize(at_least_single(projected).mean(dim=1), dim=-1)


def _check_distinct(class_names: Sequence[str], ids: Tensor, tokenizer: Tokenizer) -> None:
    """Raises ValueError, naming them, for two classes whose texts (C, T, L) become the same tokens."""
    first: dict[tuple[int, ...], str] = {}
    for name, row in zip(class_names, ids.flatten(1).tolist()):
        other = first.setdefault(tuple(row), name)
        if other is name:
            continue
        if tokenizer.unknown_words(other) and tokenizer.unknown_words(name):
            reason = "no caption of its training had either; leave one out, or take words that it knows"
        else:
            reason = "case, accents and punctuation are not read; leave one out"
        raise ValueError(f"class names {other!r} and {name!r} are one and the same to this model: {reason}")


def score_groups(segments: Tensor, image: Tensor, classes: Tensor, scale: Tensor | float,
                 top_classes: int | None = 5) -> Tensor:
    """Probability of each class for each group, (B, G, C), given what the image shows.

    A softmax over all classes times a softmax over the `top_classes` nearest to the whole
    image, so that a group cannot take the name of a class that the image does not show.

    segments (B, G, E), image (B, E), classes (C, E): unit vectors. scale: inverse temperature.
    """
    logits = scale * segments @ classes.T                                 # (B, G, C)
    probabilities = logits.softmax(dim=-1)
    if top_classes is None:
        return probabilities
    kept = (image @ classes.T).topk(min(top_classes, len(classes)), dim=-1).indices   # (B, top)
    outside = torch.ones(logits.shape[0], 1, logits.shape[2], dtype=torch.bool, device=logits.device)
    outside.scatter_(2, kept[:, None], False)
    return probabilities * logits.masked_fill(outside, float("-inf")).softmax(dim=-1)


def largest_scores(groups: Tensor, group_scores: Tensor) -> Tensor:
    """Each pixel takes the scores of its group: groups (B, H, W), scores (B, G, C) -> (B, C, H, W)."""
    return torch.stack([scores[own] for scores, own in zip(group_scores, groups)]).movedim(-1, 1)


def shared_scores(maps: Tensor, group_scores: Tensor, size: tuple[int, int]) -> Tensor:
    """Each pixel takes the scores of all groups by its shares in them: maps (B, G, h, w) -> (B, C, H, W).

    Parts of an object that lie in several groups then agree on a name. Not in the released code.
    """
    scores = group_scores / group_scores.sum(dim=-1, keepdim=True)        # each group counts alike
    scores = torch.einsum("bghw,bgc->bchw", maps, scores)
    return F.interpolate(scores, size=size, mode="bilinear", align_corners=False)


def patch_scores(group_scores: Tensor, grid: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Without groups each pixel takes the scores of the patches around it: (B, h·w, C) -> (B, C, H, W)."""
    maps = group_scores.transpose(1, 2).unflatten(-1, grid)               # (B, C, h, w)
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)


def balance_scores(scores: Tensor, least: float, areas: Tensor | None = None) -> Tensor:
    """Each class's share of a pixel over its mean share of the image: scores (B, C, H, W), the same that sum to 1.

    Divides each class score by its mean over the image, so that widespread classes do not win uncertain pixels. Without
    this, what a model is unsure of takes the name of its surroundings. Not in the released code, whose background has no
    name.

    Args:
        scores: (B, C, H, W), at least 0.
        least: a share of the image from 0 to 1, added to every mean, so that a class that is nowhere does not win.
        areas: (H, W) or (B, 1, H, W), how much each place counts in the mean, sum 1; None: all alike.
    """
    shares = scores / scores.sum(dim=1, keepdim=True).clamp_min(1e-12)
    if areas is None:
        mean = shares.mean(dim=(2, 3), keepdim=True)                      # (B, C, 1, 1)
    else:
        mean = (shares * areas).sum(dim=(2, 3), keepdim=True)
    relative = shares / (mean + least)
    return relative / relative.sum(dim=1, keepdim=True).clamp_min(1e-12)


def add_background(scores: Tensor, group_scores: Tensor, background_threshold: float | None) -> Tensor:
    """A channel for background before those of the classes: (B, C, H, W) -> (B, K = 1 + C, H, W).

    It is 1, more than any score, where the best class scores less than min(threshold, best score of
    any group of the image), and 0 elsewhere: as released. Without a threshold nothing is added.
    group_scores (B, G, C).
    """
    if background_threshold is None:
        return scores
    limit = group_scores.amax(dim=(1, 2)).clamp(max=background_threshold)[:, None, None, None]
    below = scores.amax(dim=1, keepdim=True) < limit                      # (B, 1, H, W)
    return torch.cat([below.to(scores.dtype), scores], dim=1)


def best_class(channels: Tensor, has_background: bool) -> Tensor:
    """The largest channel of each pixel as a label: (..., K, H, W) -> (..., H, W), -1 for a background before the rest."""
    return channels.argmax(dim=-3) - int(has_background)


def label_pixels(scores: Tensor, group_scores: Tensor, background_threshold: float | None = None) -> Tensor:
    """The best class of each pixel: scores (B, C, H, W) -> labels (B, H, W).

    With a threshold, a pixel whose channel of background (`add_background`) is the largest is -1.
    """
    channels = add_background(scores, group_scores, background_threshold)
    return best_class(channels, has_background=background_threshold is not None)
