"""Zero-shot masks: from a model, images and class names to a label for every pixel.

`steps` has the five steps of the inference protocol, `options` its options, and `windows` the sliding
windows. Here they are put together:

    encode_windows    images of any sizes through the model, window by window
    name_pixels       labels of an image from its encoding
    segment           both, for images of one size: the function for one's own images and class names

B images  V windows of an image  G final groups  C classes  K channels: background, classes
E shared channels  h, w patch grid  a, b window  H, W image
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

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

# From a model and the results of its encoder: maps per stage (B, G, h, w), segments (B, G, E) of length 1.
Regroup = Callable[[GroupViT, ImageOutput], tuple[list[Tensor], Tensor]]

_PIXELS_AT_ONCE = 8 * 448 * 448   # of windows in the model, unless told otherwise: bounds its memory


@dataclass
class EncodedImage:
    """The encoding of one image, before any pixel is labelled: small, however large the image."""

    image_size: tuple[int, int]   # height and width of the image and of its labels
    size: tuple[int, int]       # H, W at which its masks are made: `windows.mask_size`
    canvas: tuple[int, int]     # at which they are segmented, and on which the windows lie
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
        """The image's unit vector (E,): the mean of its windows."""
        return self.embeddings[0] if len(self.embeddings) == 1 else unit(self.embeddings.mean(dim=0))


@dataclass
class Segmentation:
    """The masks of a batch of one image size, and what they were made from.

    `scores` and `groups` are as large as all pixels times all classes or groups, so they are computed when they are first
    asked for.
    """

    labels: Tensor              # (B, H, W) index into class_names; -1: background
    group_scores: Tensor        # (B, G, C) score of each class for each final group; (B, V·G, C) of V windows, of which
    #                             flip makes twice as many: the groups of the mirrored image follow as their own
    maps: list[Tensor]          # per stage (B, G, h, w): share of each patch (refined: pixel) in each group; none where
    #                             windows slide, whose groups are their own, or where patches take the place of groups
    image_embeddings: Tensor    # (B, E) unit vectors; the mean of several windows
    class_names: list[str]
    encoded: list[EncodedImage]   # B, what the model made of each image
    protocol: InferenceOptions

    @cached_property
    def scores(self) -> Tensor:
        """(B, C, H, W) score of each class at each pixel; of a large image at the size at which its masks are made
        (`windows.mask_size`)."""
        has_background = self.protocol.background_threshold is not None
        return torch.stack([pixel_channels(one, self.protocol)[int(has_background):] for one in self.encoded])

    @cached_property
    def groups(self) -> list[Tensor]:
        """Per stage (B, H, W): the group of each pixel; none where `maps` has none."""
        size, image = self.encoded[0].size, self.encoded[0].image_size
        return [enlarge(pixel_groups(maps, size, self.protocol.upsample), image) for maps in self.maps]


@torch.no_grad()
def encode_windows(model: GroupViT, images: Sequence[Tensor], classes: Tensor, protocol: InferenceOptions,
                   windows_at_once: int | None = None, regroup: Regroup | None = None) -> list[EncodedImage]:
    """Images of any sizes through the model: windows of one size are encoded together, of whichever image they are.

    Args:
        model: any GroupViT; it is put into evaluation mode for the call.
        images: (3, H, W) each, values from 0 to 1, on the model's device.
        classes: (C, E) from `embed_classes`.
        protocol: the inference options; `protocol_for` says which size is meant where they name none.
        windows_at_once: None: as many as have the pixels of 8 windows of 448 x 448.
        regroup: what makes groups of the results of the encoder; None: the model's own.

    Raises ValueError for `pixels="patches"` and a model with groups.
    """
    if protocol.pixels == "patches" and any(model.config.image.num_group_tokens):
        raise ValueError("this model groups its patches, so that none of them reaches the image head by itself; "
                         "take pixels='largest', or a model without groups such as clip_vit")
    protocol = protocol_for(model, protocol)
    sizes = [mask_size(*image.shape[-2:], len(classes)) for image in images]
    canvases = [canvas_size(*size, protocol) for size in sizes]
    windows = [windows_on(canvas, protocol) for canvas in canvases]
    inputs = [pixels for image, own, canvas in zip(images, windows, canvases)
              for pixels in look_through(image, own, canvas, model.config.image.patch_size, protocol)]
    with evaluating(model):
        results = iter(_encode(model, inputs, classes, protocol, windows_at_once, regroup))
    seen = []
    for i, image in enumerate(images):
        maps, scores, embeddings = zip(*(next(results) for _ in windows[i]))
        stages = [torch.stack(stage) for stage in zip(*maps)]
        seen.append(EncodedImage(tuple(image.shape[-2:]), sizes[i], canvases[i], windows[i], stages, torch.stack(scores),
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


def name_groups(seen: EncodedImage, v: int, protocol: InferenceOptions) -> tuple[Tensor, Tensor]:
    """The group of each pixel of window v, (1, a, b), and the channels of each group, (1, G, K).

    All pixels of a group have the same channels, so each group is treated as one pixel, which counts by its area.
    """
    groups = pixel_groups(seen.maps[-1][v:v + 1], seen.window_size, protocol.upsample)
    group_scores = seen.group_scores[v:v + 1]                             # (1, G, C)
    areas = groups.flatten().bincount(minlength=group_scores.shape[1]) / groups.numel()
    channels = _channels(group_scores.mT[..., None], group_scores, protocol, areas[:, None])   # (1, K, G, 1)
    return groups, channels[..., 0].mT


def window_channels(seen: EncodedImage, protocol: InferenceOptions) -> Iterator[Tensor]:
    """The channels of each window in turn, (K, a, b): background if there is a threshold, then the classes."""
    for v in range(len(seen.windows)):
        maps, group_scores = seen.maps[-1][v:v + 1], seen.group_scores[v:v + 1]   # (1, G, h, w), (1, G, C)
        if protocol.pixels == "largest":
            channels = largest_scores(*name_groups(seen, v, protocol))
        elif protocol.pixels == "shared":
            channels = _channels(shared_scores(maps, group_scores, seen.window_size), group_scores, protocol)
        else:
            scores = patch_scores(group_scores, tuple(maps.shape[-2:]), seen.window_size)
            channels = _channels(scores, group_scores, protocol)
        yield channels[0]


def _channels(scores: Tensor, group_scores: Tensor, protocol: InferenceOptions, areas: Tensor | None = None) -> Tensor:
    """Scores (1, C, H, W) to channels (1, K, H, W); group_scores (1, G, C), areas (H, W) as in `balance_scores`."""
    channels = add_background(scores, group_scores, protocol.background_threshold)
    if protocol.balance is None:
        return channels
    # Background was decided by the probabilities; the balance is among the classes.
    background = channels[:, :-scores.shape[1]]
    return torch.cat([background, balance_scores(scores, protocol.balance, areas)], dim=1)


def pixel_channels(seen: EncodedImage, protocol: InferenceOptions) -> Tensor:
    """The channels of each pixel of an image, (K, H, W), at the size at which its masks are made."""
    return stitch(seen.windows, window_channels(seen, protocol), seen.canvas, seen.size, protocol)


def name_pixels(seen: EncodedImage, protocol: InferenceOptions) -> Tensor:
    """Labels of an image at its own size, (H, W); -1 for background.

    Where one window covers the image and a pixel takes the scores of its largest group, the groups are labelled and
    each pixel looks its label up: no tensor has all classes for all pixels. In the other cases pixels have channels of
    their own, from the mean over windows, resizing, or shares of several groups.
    """
    has_background = protocol.background_threshold is not None
    if protocol.pixels == "largest" and len(seen.windows) == 1 and seen.canvas == seen.size:
        groups, channels = name_groups(seen, 0, protocol)                 # (1, H, W), (1, G, K)
        # The softmax of `stitch` keeps the order of the channels.
        labels = best_class(channels.mT[..., None], has_background)[0, :, 0][groups[0]]
    else:
        labels = best_class(pixel_channels(seen, protocol), has_background)
    return enlarge(labels, seen.image_size)


@torch.no_grad()
def segment(model: GroupViT, images, class_names: Sequence[str], protocol: InferenceOptions | None = None,
            *, class_embeddings: Tensor | None = None, **choices) -> Segmentation:
    """Labels every pixel of the images with one of the class names.

    Args:
        model: any GroupViT; it is put into evaluation mode for the call.
        images: one image or many of one size (`images.to_batch` says which kinds), any size: it is resized to
            the size of the protocol, and labels and groups come back at its own.
        class_names: any, each once.
        protocol: the inference options; None: those the model was saved with (`protocol_for`). `PROTOCOLS` has
            the released ones.
        class_embeddings: (C, E) from `embed_classes`, where many images share their class names.
        choices: single fields of the protocol to change, such as `top_classes=3`.

    Raises ValueError for images or class names that cannot be used.
    """
    protocol = protocol_for(model, protocol, **choices)
    # NumPy's floats are double: the model's own precision here.
    images = to_batch(images).to(model.device, model.logit_scale.dtype)  # (B, 3, H, W)
    if class_embeddings is None:
        class_embeddings = embed_classes(model, class_names, protocol.templates)
    elif len(class_embeddings) != len(class_names):
        raise ValueError(f"got {len(class_names)} class names, but {len(class_embeddings)} class embeddings; "
                         "make them with embed_classes of these names")
    encoded = encode_windows(model, images, class_embeddings, protocol)
    maps: list[Tensor] = []
    if protocol.mode != "slide" and protocol.pixels != "patches":
        maps = [torch.stack(stage) for stage in zip(*([m[0] for m in one.maps] for one in encoded))]
    return Segmentation(
        labels=torch.stack([name_pixels(one, protocol) for one in encoded]),
        group_scores=torch.stack([one.group_scores.flatten(0, 1) for one in encoded]),
        maps=maps,
        image_embeddings=torch.stack([one.embedding for one in encoded]),
        class_names=list(class_names), encoded=encoded, protocol=protocol)
