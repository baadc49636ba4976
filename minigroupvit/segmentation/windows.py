"""Sliding windows: where they lie on an image, and how their scores become those of the image.

The released evaluation slides a window over the resized image. Everything else of the protocol
happens within a window; here is only where windows lie, and what is done with their scores:

    mask_size      the size at which masks are made: a bound for memory
    canvas_size    the size to which an image is resized for the windows
    windows_on     the windows that cover it
    look_through   the pixels of an image in each of them, at the size of the model
    stitch         mean of the windows' scores, resized, softmax, mean with the mirrored image

The released order matters: background is a channel of 0 and 1 beside the scores of the classes, so
that windows vote on it, and the softmax weighs the votes of the image and its mirror image.

H, W masks, as large as the image or less  h, w canvas  a, b window
K channels: background, if there is one, then the classes
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch.nn.functional as F
from torch import Tensor

from ..images import resize, size_for
from .options import InferenceOptions

# Scores of all classes for all pixels take most of the memory. More pixels than a screen has add nothing: even at 448
# pixels a patch is a 28th of the shorter side.
MOST_PIXELS = 500_000
_MOST_SCORES = 25_000_000      # pixels times classes: 80 classes fit an image of 640 x 480


@dataclass(frozen=True)
class Window:
    """A part of a canvas, or of the mirrored canvas. In pixels."""

    top: int
    left: int
    height: int
    width: int
    mirrored: bool = False

    def of(self, canvas: Tensor) -> Tensor:
        """This part of a canvas (..., h, w): (..., a, b)."""
        canvas = canvas.flip(-1) if self.mirrored else canvas
        return canvas[..., self.top:self.top + self.height, self.left:self.left + self.width]


def mask_size(height: int, width: int, num_classes: int) -> tuple[int, int]:
    """The size at which the masks of an image are made: its own, unless that is half a million pixels or more, or
    25 million pixels times classes. Labels are then enlarged (`images.enlarge`)."""
    return bounded_size(height, width, min(MOST_PIXELS, _MOST_SCORES // max(1, num_classes)))


def bounded_size(height: int, width: int, most: int) -> tuple[int, int]:
    """The largest size of this aspect ratio with about `most` pixels, and no larger than it is."""
    factor = (most / (height * width)) ** 0.5
    return (height, width) if factor >= 1 else (max(1, round(height * factor)), max(1, round(width * factor)))


def canvas_size(height: int, width: int, protocol: InferenceOptions) -> tuple[int, int]:
    """The size at which masks are made, and on which windows lie, of masks (height, width).

    In mode "direct" that is the same. Else its shorter side becomes `short_side`, or less
    if the longer one would go over `long_side`; the aspect ratio stays, halves are rounded up.
    """
    if protocol.mode == "direct":
        return height, width
    factor = 1.0 if protocol.short_side is None else protocol.short_side / min(height, width)
    if protocol.long_side is not None:
        factor = min(factor, protocol.long_side / max(height, width))
    return max(1, int(height * factor + 0.5)), max(1, int(width * factor + 0.5))


def resize_image(image: Tensor, size: tuple[int, int], antialias: bool = True, mode: str = "bilinear") -> Tensor:
    """Resize of an image (3, H, W) with values from 0 to 1. The released code does not smooth, and is bilinear."""
    if antialias or tuple(image.shape[-2:]) == tuple(size):
        return resize(image[None], size, mode)[0]
    return F.interpolate(image[None], size=size, mode="bilinear", align_corners=False)[0]


def window_starts(length: int, window: int, stride: int) -> list[int]:
    """Where windows begin along a side, in pixels: every stride; the last one ends with the side.

    A side shorter than the window has one window that begins at 0.
    """
    last = max(length - window, 0)
    return [*range(0, last, stride), last]


def windows_on(canvas: tuple[int, int], protocol: InferenceOptions) -> list[Window]:
    """The windows that cover a canvas, row by row; with `flip` those of the mirrored canvas after them.

    All have one size: the window's, or the canvas's own where that is smaller. Outside of mode
    "slide" there is one that covers all.
    """
    h, w = canvas
    a, b = h, w
    if protocol.mode == "slide":
        a, b = min(protocol.window_side, h), min(protocol.window_side, w)
    stride = protocol.window_stride if protocol.mode == "slide" else max(h, w)
    return [Window(top, left, a, b, mirrored)
            for mirrored in ([False, True] if protocol.flip else [False])
            for top in window_starts(h, a, stride) for left in window_starts(w, b, stride)]


def look_through(image: Tensor, windows: Sequence[Window], canvas: tuple[int, int], patch_size: int,
                 protocol: InferenceOptions) -> list[Tensor]:
    """What is in each window of an image (3, H, W), at a size that the model can take: (3, a', b') each.

    A window of the released protocol is a multiple of the patch. Where one is not, the released code
    crops the rest and stretches the masks over it; here the window is resized, so they stay in place.

    In mode "direct" the image goes to the model's size in one step, resized as images are for training: bicubic.
    A small model is sensitive to blur (bilinear costs the shipped ones a fifth of the right pixels).
    """
    if protocol.mode == "direct":
        height, width = image.shape[-2:]
        short = min(canvas_size(height, width, replace(protocol, mode="whole")))
        pixels = resize_image(image, size_for(height, width, patch_size, short), protocol.antialias, "bicubic")
        return [pixels.flip(-1) if window.mirrored else pixels for window in windows]
    on_canvas = resize_image(image, canvas, protocol.antialias)       # (3, h, w)
    inside = size_for(windows[0].height, windows[0].width, patch_size)
    return [resize_image(window.of(on_canvas), inside, protocol.antialias) for window in windows]


def stitch(windows: Sequence[Window], scores: Iterable[Tensor], canvas: tuple[int, int], size: tuple[int, int],
           protocol: InferenceOptions) -> Tensor:
    """The scores of windows, (K, a, b) each, become those of the image, (K, H, W).

    Each pixel takes the mean of the windows that it lies in. Then, as released, the mean is resized
    to the image, and a softmax runs over the channels; in mode "direct" there is nothing to
    resize, and the scores stay as they are. With `flip` the result is the mean over both views.

    `scores` may be a generator: one window is held at a time.
    """
    sums: dict[bool, Tensor] = {}
    counts: dict[bool, Tensor] = {}
    for window, score in zip(windows, scores, strict=True):
        if len(windows) == (2 if protocol.flip else 1):                   # covers all: nothing to add up
            sums[window.mirrored] = score
            continue
        if window.mirrored not in sums:
            sums[window.mirrored] = score.new_zeros(len(score), *canvas)
            counts[window.mirrored] = score.new_zeros(canvas)
        part = slice(window.top, window.top + window.height), slice(window.left, window.left + window.width)
        sums[window.mirrored][(slice(None), *part)] += score
        counts[window.mirrored][part] += 1
    views = []
    for mirrored in sorted(sums):
        view = sums.pop(mirrored)                                         # (K, h, w)
        if mirrored in counts:
            view /= counts[mirrored]
        if protocol.mode != "direct":
            if tuple(view.shape[-2:]) != tuple(size):
                view = F.interpolate(view[None], size=size, mode="bilinear", align_corners=False)[0]
            view = view.softmax(dim=0)
        views.append(view.flip(-1) if mirrored else view)
    return views[0] if len(views) == 1 else (views[0] + views[1]) / 2     # (K, H, W)
