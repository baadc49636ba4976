"""The pictures of the widgets, without the widgets: each function draws into axes that it is given.

S stages that group  h, w patch grid  H, W picture
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ...segmentation import Segmentation
from ..palette import group_colours
from ..plots import class_legend, draw_borders, show_groups, show_image, show_labels, shown_pixels

_SIDE, _TOP, _GAP = 2.6, 0.34, 0.1   # inches


def row_of_axes(columns: int, names: Sequence[str] = (), ratio: float = 1.0) -> tuple[Figure, list[Axes]]:
    """A figure with a row of axes; on its right there is room for a legend of these names, if there are any.

    ratio: height of the pictures over their width.
    """
    legend = 0.95 + 0.085 * min(26, max(map(len, [*names, "background"]))) if names else 0.0
    side_y = _SIDE * min(ratio, 1.3)
    width, height = columns * (_SIDE + _GAP) + _GAP + legend, side_y + _TOP + _GAP
    fig = Figure(figsize=(width, height), dpi=96, facecolor="white")
    axes = [fig.add_axes(((_GAP + c * (_SIDE + _GAP)) / width, _GAP / height, _SIDE / width, side_y / height))
            for c in range(columns)]
    return fig, axes


def draw_masks(axes: Sequence[Axes], image, segmentation: Segmentation, title: str = "named masks") -> Sequence[Axes]:
    """Picture, groups of each stage, named masks with a legend: 2 + S axes, or less without the groups of all.

    The first axes show the picture, the last the masks, those between them the last stages.
    """
    show_image(axes[0], image, "picture")
    stages = len(segmentation.groups)
    shown = min(len(axes) - 2, stages)
    for ax, stage in zip(axes[1:], range(stages - shown, stages)):
        show_groups(ax, segmentation.groups[stage][0], image, "groups" if stages == 1 else f"groups, stage {stage + 1}")
    labels = segmentation.labels[0]
    show_labels(axes[-1], labels, segmentation.class_names, image, title, opacity=0.68, size=8.5)
    class_legend(axes[-1], labels, segmentation.class_names, shares=True, fontsize=8.5)
    return axes


def mask_figure(image, segmentation: Segmentation) -> Figure:
    """`draw_masks` as a figure of its own."""
    H, W = segmentation.labels.shape[-2:]
    fig, axes = row_of_axes(2 + len(segmentation.groups), segmentation.class_names, H / W)
    draw_masks(axes, image, segmentation)
    return fig


def draw_group(axes: Sequence[Axes], image, segmentation: Segmentation, row: int, column: int) -> Sequence[Axes]:
    """A patch, and the group that it is in, lit up in each stage: 1 + S axes.

    row, column: of the patch grid (h, w) of the first stage, which all maps share.
    """
    pixels = shown_pixels(image)                                       # (H, W, 3)
    H, W = pixels.shape[:2]
    h, w = segmentation.maps[0].shape[-2:]
    high, wide = H / h, W / w                                          # of a patch, in pixels
    show_image(axes[0], image, "picture and patch")
    axes[0].add_patch(Rectangle((column * wide - 0.5, row * high - 0.5), wide, high, fill=False, edgecolor="white",
                                linewidth=3.5))
    axes[0].add_patch(Rectangle((column * wide - 0.5, row * high - 0.5), wide, high, fill=False, edgecolor="#d00000",
                                linewidth=2))
    for ax, stage in zip(axes[1:], range(len(segmentation.maps))):
        groups = patch_groups(segmentation, stage)
        group = int(groups[row, column])
        lit = np.repeat(np.repeat(groups == group, -(-H // h), axis=0), -(-W // w), axis=1)[:H, :W]
        grey = 0.35 * pixels.mean(axis=-1, keepdims=True) + 0.6
        shown = (np.where(lit[..., None], pixels, grey).clip(0, 1) * 255 + 0.5).astype(np.uint8)
        show_image(ax, shown, group_title(segmentation, stage, group))
        draw_borders(ax, lit.astype(int), colour=tuple(group_colours(group + 1)[group]), width=2.2)
    return axes


def patch_groups(segmentation: Segmentation, stage: int) -> np.ndarray:
    """The largest group of each patch, (h, w)."""
    return segmentation.maps[stage][0].argmax(dim=0).cpu().numpy()


def group_title(segmentation: Segmentation, stage: int, group: int) -> str:
    """What a group is called: its number, and in the last stage the word that names it best."""
    prefix = "" if len(segmentation.maps) == 1 else f"stage {stage + 1}, "
    if stage < len(segmentation.maps) - 1:
        return f"{prefix}group {group}"
    return f"{prefix}group {group}: {segmentation.class_names[int(segmentation.group_scores[0, group].argmax())]}"
