"""Zero-shot masks: from a model, pictures and words to a label for every pixel.

The protocol of the released evaluation, in clear steps (the paper's Section 3.4):

    1. group_maps        multiply the soft assignments of the stages: which patch is in which
                         final group
    2. pixel_groups      upsample them to the picture, take the largest group of each pixel
    3. embed_classes     words in templates, through the text encoder
    4. score_groups      how well each word names each group, given what the whole image shows
    5. label_pixels      each pixel takes its group's best word, or background

`segment` runs all five. Every choice of the protocol is a field of `Protocol`.

B images  G final groups  C classes  E shared channels  h, w patch grid  H, W picture
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from .image_encoder import ImageOutput
from .images import normalize, resize, size_for, to_batch
from .model import GroupViT
from .prompts import class_prompts
from .tokenizer import warn_unknown


@dataclass(frozen=True)
class Protocol:
    """The choices on the way to masks. The defaults are for scenes and for one's own words."""

    templates: tuple[str, ...] = ("a photo of a {}.",)   # averaged, un-normalised, as released
    top_classes: int | None = 5      # classes kept per image, nearest to its embedding; None: all
    background_threshold: float | None = None   # a probability; None: there is no background class
    assignment: str = "soft"         # "soft" (released) | "hard": what step 1 multiplies
    upsample: str = "maps"           # "maps" (released): upsample, then argmax | "groups": argmax first
    pixels: str = "largest"          # a pixel takes the scores of its "largest" group (released) | "shared": of all
    overlap: int = 1                 # patches per patch side; 1: side by side, as trained and released
    short_side: int | None = None    # pixels of the shorter side in the model; None: as it is

    def __post_init__(self) -> None:
        if self.assignment not in ("soft", "hard"):
            raise ValueError(f"assignment is {self.assignment!r}; choose 'soft' or 'hard'")
        if self.upsample not in ("maps", "groups"):
            raise ValueError(f"upsample is {self.upsample!r}; choose 'maps' or 'groups'")
        if self.top_classes is not None and self.top_classes < 1:
            raise ValueError(f"top_classes is {self.top_classes}; keep at least 1 class, or None for all")
        if self.background_threshold is not None and not 0 <= self.background_threshold <= 1:
            raise ValueError(f"background_threshold is a probability from 0 to 1, got {self.background_threshold}")
        if self.pixels not in ("largest", "shared"):
            raise ValueError(f"pixels is {self.pixels!r}; choose 'largest' or 'shared'")
        if self.overlap < 1:
            raise ValueError(f"overlap is {self.overlap}; 1 sets patches side by side, 2 every half patch")
        if self.short_side is not None and self.short_side < 1:
            raise ValueError(f"short_side is {self.short_side}; give pixels, or None to keep the size")


# The released thresholds (the paper says 0.9, 0.5 and 0.95); the short side is 448 in all three.
PROTOCOLS = {
    "scenes": Protocol(),
    "voc2012": Protocol(background_threshold=0.95, short_side=448),
    "context": Protocol(background_threshold=0.35, short_side=448),
    "coco_object": Protocol(background_threshold=0.95, short_side=448),
}


@dataclass
class Segmentation:
    """The masks of a batch and how they came about."""

    labels: Tensor              # (B, H, W) index into class_names; -1: background
    scores: Tensor              # (B, C, H, W) score of each class at each pixel
    groups: list[Tensor]        # per stage (B, H, W): each pixel's group
    group_scores: Tensor        # (B, G, C) score of each class for each final group
    maps: list[Tensor]          # per stage (B, G, h, w): share of each patch in each group
    image_embeddings: Tensor    # (B, E) unit vectors
    class_names: list[str]


def group_maps(output: ImageOutput, assignment: str = "soft") -> list[Tensor]:
    """Share of each patch in the groups of each stage, (B, G, h, w) per stage.

    A later stage groups segments, so its assignment is multiplied by those before it. A model
    without groups has each patch for a group of its own.
    """
    B = output.segment_tokens.shape[0]
    h, w = output.grid
    maps: list[Tensor] = []
    for grouping in output.groupings:
        share = getattr(grouping, assignment).float()                     # (B, G, N)
        maps.append(share if not maps else share @ maps[-1])              # (B, G, h·w)
    if not maps:
        maps = [torch.eye(h * w, device=output.segment_tokens.device).expand(B, -1, -1)]
    return [m.unflatten(-1, (h, w)) for m in maps]


def pixel_groups(maps: Tensor, size: tuple[int, int], upsample: str = "maps") -> Tensor:
    """The group of each pixel: (B, G, h, w) -> (B, H, W)."""
    if upsample == "maps":
        return F.interpolate(maps, size=size, mode="bilinear", align_corners=False).argmax(dim=1)
    groups = maps.argmax(dim=1, keepdim=True).float()                     # (B, 1, h, w)
    return F.interpolate(groups, size=size, mode="nearest")[:, 0].long()


@torch.no_grad()
def embed_classes(model: GroupViT, class_names: Sequence[str],
                  templates: Sequence[str] = ("a photo of a {}.",)) -> Tensor:
    """One unit vector per class, (C, E): mean over its templates, then length 1.

    The mean is taken of the projections before they get length 1, as released (CLIP's own
    recipe normalises first; the difference is some 2e-3).
    Raises ValueError for empty or repeated names.
    """
    prompts = class_prompts(class_names, templates)
    warn_unknown(model.tokenizer, class_names)
    flat = [text for texts in prompts for text in texts]
    features = model.text_encoder(model.tokenizer(flat).to(model.device))  # (C·T, D)
    projected = model.text_head(features).unflatten(0, (len(prompts), -1))  # (C, T, E)
    return F.normalize(projected.float().mean(dim=1), dim=-1)


def score_groups(segments: Tensor, image: Tensor, classes: Tensor, scale: Tensor | float,
                 top_classes: int | None = 5) -> Tensor:
    """Probability of each class for each group, (B, G, C), given what the image shows.

    A softmax over all classes times a softmax over the `top_classes` nearest to the whole
    image, so that a group cannot take a name that the image does not have.

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
    B, H, W = groups.shape
    index = groups.flatten(1)[:, :, None].expand(-1, -1, group_scores.shape[-1])   # (B, H·W, C)
    return group_scores.gather(1, index).transpose(1, 2).unflatten(-1, (H, W))


def shared_scores(maps: Tensor, group_scores: Tensor, size: tuple[int, int]) -> Tensor:
    """Each pixel takes the scores of all groups by its shares in them: maps (B, G, h, w) -> (B, C, H, W).

    Parts of an object that lie in several groups then agree on a name. Not in the released code.
    """
    scores = group_scores / group_scores.sum(dim=-1, keepdim=True)        # each group speaks as loud
    scores = torch.einsum("bghw,bgc->bchw", maps, scores)
    return F.interpolate(scores, size=size, mode="bilinear", align_corners=False)


def label_pixels(scores: Tensor, group_scores: Tensor, background_threshold: float | None = None) -> Tensor:
    """The best class of each pixel: scores (B, C, H, W) -> labels (B, H, W).

    With a threshold, a pixel whose best score is under min(threshold, best score of any group of
    the image) is background, -1. group_scores (B, G, C).
    """
    best, labels = scores.max(dim=1)                                      # (B, H, W) both
    if background_threshold is not None:
        limit = group_scores.amax(dim=(1, 2)).clamp(max=background_threshold)[:, None, None]
        labels = labels.masked_fill(best < limit, -1)
    return labels


@dataclass
class Encoded:
    """What a model has seen of pictures and words, before anything is cut."""

    size: tuple[int, int]       # H, W of the pictures as they were given
    output: ImageOutput         # with the assignments
    segments: Tensor            # (B, G, E) unit vectors
    image: Tensor               # (B, E) unit vectors
    classes: Tensor             # (C, E) unit vectors


def encode(model: GroupViT, images, class_names: Sequence[str], protocol: Protocol,
           class_embeddings: Tensor | None = None) -> Encoded:
    """Pictures, brought to a size the model can take, and words through both encoders."""
    # NumPy's floats are double: the model's own precision here.
    batch = to_batch(images).to(model.device, model.logit_scale.dtype)    # (B, 3, H, W)
    size = tuple(batch.shape[-2:])
    inside = size_for(*size, model.config.image.patch_size, protocol.short_side)
    if class_embeddings is not None and len(class_embeddings) != len(class_names):
        raise ValueError(f"got {len(class_names)} class names, but {len(class_embeddings)} class embeddings; "
                         "make them with embed_classes of these names")
    was_training = model.training
    model.eval()
    try:
        if class_embeddings is None:
            class_embeddings = embed_classes(model, class_names, protocol.templates)
        image, output = model.encode_image(normalize(resize(batch, inside)), protocol.overlap)
        segments = model.embed_segments(output)                           # (B, G, E)
    finally:
        model.train(was_training)
    return Encoded(size, output, segments, image, class_embeddings)


@torch.no_grad()
def segment(model: GroupViT, images, class_names: Sequence[str], protocol: Protocol | None = None,
            *, class_embeddings: Tensor | None = None, **choices) -> Segmentation:
    """Names every pixel of the pictures with one of the words.

    Args:
        model: any GroupViT; it is put into evaluation mode for the call.
        images: one picture or many of one size (`images.to_batch` says which kinds), any size:
            each side is rounded to a multiple of the patch, and the result scaled back.
        class_names: any words, each once.
        protocol: the choices of the way; None: those the model was saved with. `PROTOCOLS` has the
            released ones.
        class_embeddings: (C, E) from `embed_classes`, where many pictures share their words.
        choices: single fields of the protocol to change, such as `top_classes=3`.

    Raises ValueError for pictures or words that cannot be used.
    """
    protocol = replace(protocol or model.protocol or Protocol(), **choices)
    encoded = encode(model, images, class_names, protocol, class_embeddings)
    maps = group_maps(encoded.output, protocol.assignment)
    groups = [pixel_groups(m, encoded.size, protocol.upsample) for m in maps]
    group_scores = score_groups(encoded.segments, encoded.image, encoded.classes, model.scale(), protocol.top_classes)
    if protocol.pixels == "shared":
        scores = shared_scores(maps[-1], group_scores, encoded.size)
    else:
        scores = largest_scores(groups[-1], group_scores)
    labels = label_pixels(scores, group_scores, protocol.background_threshold)
    return Segmentation(labels, scores, groups, group_scores, maps, encoded.image, list(class_names))
