"""Zero-shot masks: from a model, pictures and words to a label for every pixel.

`steps` has the five steps of the inference protocol, `options` its options, and `windows` what
there is to a window that slides over a picture. Here they become one:

    encode_windows    pictures of any sizes through the model, window by window
    name_pixels       what was encoded of a picture becomes its labels
    segment           both, for pictures of one size: the way in for one's own pictures and words

B images  V windows of an image  G final groups  C classes  K channels: background, classes
E shared channels  h, w patch grid  a, b window  H, W picture
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..image_encoder import ImageOutput
from ..images import enlarge, normalize, to_batch
from ..model import GroupViT, unit
from .options import InferenceOptions, protocol_for
from .steps import (
    add_background,
    balance_scores,
    best_class,
    embed_classes,
    evaluating,
    group_maps,
    largest_scores,
    patch_scores,
    pixel_groups,
    refine_maps,
    score_groups,
    shared_scores,
)
from .windows import Window, canvas_size, look_through, mask_size, stitch, windows_on

# From a model and what its encoder saw: maps per stage (B, G, h, w), segments (B, G, E) of length 1.
Regroup = Callable[[GroupViT, ImageOutput], tuple[list[Tensor], Tensor]]

_PIXELS_AT_ONCE = 8 * 448 * 448   # of windows in the model, unless told otherwise: bounds its memory


@dataclass
class Segmentation:
    """The masks of a batch and how they came about."""

    labels: Tensor              # (B, H, W) index into class_names; -1: background
    scores: Tensor              # (B, C, H, W) score of each class at each pixel; of a large picture at the size at
    #                             which its masks are made (`windows.mask_size`)
    groups: list[Tensor]        # per stage (B, H, W): each pixel's group; none where windows slide or patches speak
    group_scores: Tensor        # (B, G, C) score of each class for each final group; (B, V·G, C) of V windows, of which
    #                             flip makes twice as many: the groups of the mirrored picture follow as their own
    maps: list[Tensor]          # per stage (B, G, h, w): share of each patch (refined: pixel) in each group; as `groups`
    image_embeddings: Tensor    # (B, E) unit vectors; the mean of many windows
    class_names: list[str]


@dataclass
class EncodedImage:
    """What a model makes of one picture before any pixel is named: small, however large the picture."""

    picture: tuple[int, int]    # its height and width, and those of its labels
    size: tuple[int, int]       # H, W at which its masks are made: `windows.mask_size`
    canvas: tuple[int, int]     # at which they are cut, and on which the windows lie
    windows: list[Window]       # V, all of one size (a, b)
    maps: list[Tensor]          # per stage (V, G, h, w): share of each patch (refined: pixel) in each group
    group_scores: Tensor        # (V, G, C) score of each class for each final group
    embeddings: Tensor          # (V, E) unit vectors

    @property
    def window_size(self) -> tuple[int, int]:
        """Height and width of the windows."""
        return self.windows[0].height, self.windows[0].width

    @property
    def embedding(self) -> Tensor:
        """The picture's unit vector (E,): the mean of its windows."""
        return self.embeddings[0] if len(self.embeddings) == 1 else unit(self.embeddings.mean(dim=0))


@torch.no_grad()
def encode_windows(model: GroupViT, pictures: Sequence[Tensor], classes: Tensor, protocol: InferenceOptions,
        windows_at_once: int | None = None, regroup: Regroup | None = None) -> list[EncodedImage]:
    """Pictures of any sizes through the model: windows of one size go in together, whosever they are.

    Args:
        model: any GroupViT; it is put into evaluation mode for the call.
        pictures: (3, H, W) each, values from 0 to 1, on the model's device.
        classes: (C, E) from `embed_classes`.
        protocol: the inference options; `protocol_for` says which size they mean where they name none.
        windows_at_once: None: as many as have the pixels of 8 released ones.
        regroup: what makes groups of the encoder's output; None: the model's own.

    Raises ValueError for `pixels="patches"` and a model with groups.
    """
    if protocol.pixels == "patches" and any(model.config.image.num_group_tokens):
        raise ValueError("this model groups its patches, so that none of them reaches the image head by itself; "
                         "take pixels='largest', or a model without groups such as clip_vit")
    protocol = protocol_for(model, protocol)
    sizes = [mask_size(*picture.shape[-2:], len(classes)) for picture in pictures]
    canvases = [canvas_size(*size, protocol) for size in sizes]
    windows = [windows_on(canvas, protocol) for canvas in canvases]
    inputs = [pixels for picture, own, canvas in zip(pictures, windows, canvases)
              for pixels in look_through(picture, own, canvas, model.config.image.patch_size, protocol)]
    with evaluating(model):
        results = iter(_encode(model, inputs, classes, protocol, windows_at_once, regroup))
    seen = []
    for i, picture in enumerate(pictures):
        maps, scores, embeddings = zip(*(next(results) for _ in windows[i]))
        stages = [torch.stack(stage) for stage in zip(*maps)]
        seen.append(EncodedImage(tuple(picture.shape[-2:]), sizes[i], canvases[i], windows[i], stages, torch.stack(scores),
                         torch.stack(embeddings)))
    return seen


def _encode(model: GroupViT, inputs: list[Tensor], classes: Tensor, protocol: InferenceOptions,
            at_once: int | None, regroup: Regroup | None) -> list[tuple[list[Tensor], Tensor, Tensor]]:
    """Maps per stage (G, h, w), scores of the groups (G, C), embedding (E,) of each input (3, a, b)."""
    results: list = [None] * len(inputs)
    patch = model.config.image.patch_size
    by_size: dict[torch.Size, list[int]] = {}
    for n, pixels in enumerate(inputs):
        by_size.setdefault(pixels.shape, []).append(n)
    for shape, numbers in by_size.items():
        step = at_once or max(1, _PIXELS_AT_ONCE // (shape[-2] * shape[-1]))
        for part in (numbers[start:start + step] for start in range(0, len(numbers), step)):
            pixels = torch.stack([inputs[n] for n in part])               # (B, 3, a, b)
            image, output = model.encode_image(normalize(pixels), protocol.overlap)
            if regroup is None:
                maps, segments = group_maps(output, protocol.assignment), model.embed_segments(output)
            else:
                maps, segments = regroup(model, output)
            scores = score_groups(segments, image, classes, model.scale(), protocol.top_classes)
            for k, n in enumerate(part):
                own = [stage[k] for stage in maps]                        # (G, h, w)
                if protocol.refine:
                    own = [refine_maps(stage[None], pixels[k][None], protocol.refine, 2 * patch)[0] for stage in own]
                results[n] = own, scores[k], image[k]
    return results


def window_scores(seen: EncodedImage, protocol: InferenceOptions) -> Iterator[Tensor]:
    """The channels of each window in turn, (K, a, b): background if there is a threshold, then the classes."""
    for v in range(len(seen.windows)):
        maps, group_scores = seen.maps[-1][v:v + 1], seen.group_scores[v:v + 1]   # (1, G, h, w), (1, G, C)
        if protocol.pixels == "largest":
            groups = pixel_groups(maps, seen.window_size, protocol.upsample)
            scores = largest_scores(groups, group_scores)                 # (1, C, a, b)
        elif protocol.pixels == "shared":
            scores = shared_scores(maps, group_scores, seen.window_size)
        else:
            scores = patch_scores(group_scores, tuple(maps.shape[-2:]), seen.window_size)
        channels = add_background(scores, group_scores, protocol.background_threshold)
        if protocol.balance is not None:  # among the words; what is background was settled by their probabilities
            words = balance_scores(scores, protocol.balance)
            channels = torch.cat([channels[:, :-words.shape[1]], words], dim=1)
        yield channels[0]


def name_pixels(seen: EncodedImage, protocol: InferenceOptions) -> tuple[Tensor, Tensor]:
    """Labels of a picture at its own size, -1 for background, and the scores of the classes (C, H, W).

    The scores have the size at which the masks are made: of large pictures less than their own.
    """
    channels = stitch(seen.windows, window_scores(seen, protocol), seen.canvas, seen.size, protocol)   # (K, H, W)
    has_background = protocol.background_threshold is not None
    labels = best_class(channels, has_background)                         # (H, W)
    return enlarge(labels, seen.picture), channels[int(has_background):]


@torch.no_grad()
def segment(model: GroupViT, images, class_names: Sequence[str], protocol: InferenceOptions | None = None,
            *, class_embeddings: Tensor | None = None, **choices) -> Segmentation:
    """Names every pixel of the pictures with one of the words.

    Args:
        model: any GroupViT; it is put into evaluation mode for the call.
        images: one picture or many of one size (`images.to_batch` says which kinds), any size: it is brought to
            the size at which the model looks at pictures, and labels and groups come back at its own.
        class_names: any words, each once.
        protocol: the inference options; None: those the model was saved with (`protocol_for`). `PROTOCOLS` has
            the released ones.
        class_embeddings: (C, E) from `embed_classes`, where many pictures share their words.
        choices: single fields of the protocol to change, such as `top_classes=3`.

    Raises ValueError for pictures or words that cannot be used.
    """
    protocol = protocol_for(model, protocol, **choices)
    # NumPy's floats are double: the model's own precision here.
    pictures = to_batch(images).to(model.device, model.logit_scale.dtype)  # (B, 3, H, W)
    if class_embeddings is None:
        class_embeddings = embed_classes(model, class_names, protocol.templates)
    elif len(class_embeddings) != len(class_names):
        raise ValueError(f"got {len(class_names)} class names, but {len(class_embeddings)} class embeddings; "
                         "make them with embed_classes of these names")
    seen = encode_windows(model, pictures, class_embeddings, protocol)
    labels, scores = zip(*(name_pixels(one, protocol) for one in seen))
    maps: list[Tensor] = []
    # Windows have groups of their own, and a patch is no group.
    if protocol.mode != "slide" and protocol.pixels != "patches":
        maps = [torch.stack(stage) for stage in zip(*([m[0] for m in one.maps] for one in seen))]
    groups = [enlarge(pixel_groups(m, seen[0].size, protocol.upsample), seen[0].picture) for m in maps]
    embeddings = torch.stack([one.embedding for one in seen])
    group_scores = torch.stack([one.group_scores.flatten(0, 1) for one in seen])
    return Segmentation(torch.stack(labels), torch.stack(scores), groups, group_scores, maps, embeddings,
                        list(class_names))
