"""The objects of the scenes: 16 classes with several drawings each, shipped as masks and resampled here.

`scripts/make_drawings.py` rendered them once. Here they are only read, rotated and scaled, by a bilinear sampler of
our own: so no version of Pillow or of a drawing library can change a pixel.
"""

from __future__ import annotations

import math
from functools import lru_cache
from importlib import resources

import numpy as np

# D drawings of an object  S side of a stored drawing  h, w a patch that holds one rotated object

OBJECTS = ("cat", "rabbit", "elephant", "bird", "fish", "butterfly", "tree", "flower", "mushroom",
           "house", "car", "boat", "airplane", "umbrella", "cup", "shoe")
_CONTENT = 112 / 128  # the object's longer side within its stored square, the rest is empty


@lru_cache(maxsize=1)
def drawing_pyramids() -> dict[str, tuple[np.ndarray, ...]]:
    """Each object's drawings at 128, 64, 32 and 16 pixels: arrays (D, 5, S, S).

    Channels: `alpha`, coverage of the object; `second` and `detail`, coverage of those parts, from 0 to 1
    (the rest of alpha is the main part); `tone` from -1 (dark) to 1 (light), or the grey of a detail;
    `height` from 0 to 1. Only the split "unseen" shows the last drawing.
    """
    path = resources.files("minigroupvit.data.scenes") / "drawings.npz"
    pyramids = {}
    with path.open("rb") as file, np.load(file) as stored:
        for name in OBJECTS:
            level = stored[name].astype(np.float64)                # (D, 5, S, S), was uint8
            level[:, :3] /= 255
            # Tone is weighted by alpha, so that halving the size does not mix in the outside of the object.
            level[:, 3] = (level[:, 3] - 128) / 127 * level[:, 0]
            level[:, 4] /= 255
            pyramid = [level]
            for _ in range(3):
                level = (level[..., ::2, ::2] + level[..., ::2, 1::2]
                         + level[..., 1::2, ::2] + level[..., 1::2, 1::2]) / 4
                pyramid.append(level)
            pyramids[name] = tuple(pyramid)
    return pyramids


def num_drawings(name: str) -> int:
    """The number of drawings of an object, the unseen one included."""
    return len(drawing_pyramids()[name][0])


def cut_out(name: str, drawing: int, size: float, degrees: float, mirrored: bool = False) -> np.ndarray:
    """One object, scaled and rotated, on a patch just large enough for it.

    Args:
        name: one of `OBJECTS`.
        drawing: which of its drawings, from 0.
        size: its longer side before the rotation, in pixels.
        degrees: of the rotation, anticlockwise.
        mirrored: left and right swapped before the rotation.

    Returns:
        (5, h, w): alpha, second and detail in [0, 1], tone in [-1, 1] (times alpha), height in [0, 1].
    """
    pyramid = drawing_pyramids()[name]
    # Halve until one step on the patch is about one stored pixel: neither blurred nor aliased.
    level, step = 0, 128 * _CONTENT / size
    while step > 1.6 and level < len(pyramid) - 1:
        level, step = level + 1, step / 2
    stored = pyramid[level][drawing]                                # (5, S, S)
    S = stored.shape[-1]
    # Rounded: sine and cosine differ in the last digit between machines.
    cos = round(math.cos(math.radians(degrees)), 6)
    sin = round(math.sin(math.radians(degrees)), 6)
    radius = math.ceil(size / 2 * (abs(cos) + abs(sin))) + 1
    offset = np.arange(-radius, radius + 1, dtype=np.float64) * step
    column = (cos * offset)[None, :] - (sin * offset)[:, None]      # (h, w)
    row = (sin * offset)[None, :] + (cos * offset)[:, None]         # (h, w)
    if mirrored:
        column = -column
    # Points outside are moved to the border, which is empty.
    column = np.minimum(np.maximum(column + (S - 1) / 2, 0.0), S - 1.001)
    row = np.minimum(np.maximum(row + (S - 1) / 2, 0.0), S - 1.001)
    left, top = column.astype(np.int64), row.astype(np.int64)
    right_share, low_share = column - left, row - top               # (h, w)
    flat = stored.reshape(len(stored), S * S)
    index = top * S + left                                          # (h, w)
    upper_left, upper_right = flat.take(index, 1), flat.take(index + 1, 1)
    lower_left, lower_right = flat.take(index + S, 1), flat.take(index + S + 1, 1)
    upper = upper_left + (upper_right - upper_left) * right_share
    lower = lower_left + (lower_right - lower_left) * right_share
    patch = upper + (lower - upper) * low_share                     # (5, h, w)
    inside = patch[0] > 0.02
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    return patch[:, rows[0]:rows[-1] + 1, columns[0]:columns[-1] + 1]
