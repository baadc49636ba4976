"""What all widgets are made of: `Panel`, `Memory`, and functions that draw without any widget.

A `Panel` has controls, an image below them, and a line for messages. A `Memory` stands in for a model and encodes no
image and no class name twice, so that a widget answers at once. `draw_masks` and `draw_group` draw into axes that they
are given.

S stages that group  C classes  E shared channels  h, w patch grid  H, W image
"""

from __future__ import annotations

import base64
import hashlib
import html
import io
import warnings
from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import Any

import ipywidgets
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from ...images import enlarge
from ...model import GroupViT
from ...segmentation.options import protocol_for
from ...segmentation.segment import Segmentation, segment
from ...segmentation.steps import embed_classes
from ..palette import group_colours, stage_colours
from ..plots import class_legend, draw_borders, show_groups, show_image, show_labels, shown_pixels

_IMAGES_KEPT = 16
_SIDE, _TOP, _GAP = 2.6, 0.34, 0.1   # of an image, above it, between two: inches


class Panel(ipywidgets.VBox):
    """Controls above an image. A subclass draws the image in `draw`; `redraw` shows it.

    `canvas` holds the image as PNG, `message` the line below it. Without a kernel (GitHub, HTML) the image alone is
    shown: the panel's output has it as `image/png` too.
    """

    def __init__(self, controls: Sequence[ipywidgets.Widget]) -> None:
        self.canvas = ipywidgets.Image(format="png", layout={"max_width": "100%", "align_self": "flex-start"})
        self.message = ipywidgets.HTML()
        super().__init__([*controls, self.canvas, self.message])

    def draw(self) -> Figure:
        """The image for the present values of the controls. Raises ValueError if there is none."""
        raise NotImplementedError

    def redraw(self, *_: Any) -> None:
        """Shows what `draw` returns; the text of a ValueError becomes the message, and the image stays."""
        try:
            figure = self.draw()
        except ValueError as error:
            self.say(str(error))
        else:
            self.canvas.value = to_png(figure)

    def say(self, text: str) -> None:
        """Writes the line below the image."""
        self.message.value = html.escape(text)

    def follow(self, *controls: ipywidgets.Widget) -> None:
        """Redraws when one of these changes."""
        for control in controls:
            control.observe(self.redraw, names="value")

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        bundle = super()._repr_mimebundle_(**options)
        return bundle | {"text/plain": repr(self), "image/png": base64.b64encode(self.canvas.value).decode()}

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"   # the default lists everything inside, images too


def to_png(figure: Figure) -> bytes:
    """A figure as PNG, with little compression, for speed."""
    file = io.BytesIO()
    figure.savefig(file, format="png", pil_kwargs={"compress_level": 1})
    return file.getvalue()


class Memory:
    """Stands in for a model, and keeps the embeddings that it has computed.

    `Memory.segment` calls `segmentation.segment` with itself as the model, so that a widget shows what the function
    returns. The weights must not change meanwhile.
    """

    def __init__(self, model: GroupViT) -> None:
        self.model = model
        self.num_looks = 0      # calls of the image encoder
        self._pictures: dict[tuple, Any] = {}
        self._words: dict[tuple[str, tuple[str, ...]], Tensor] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["model"], name)

    def encode_image(self, images: Tensor, *choices: Any) -> Any:
        """`GroupViT.encode_image`; the result is kept for the last images."""
        # Not Python's own hash: two images must never be taken for one.
        key = (hashlib.sha256(images.cpu().numpy().tobytes()).digest(), tuple(images.shape), choices)
        if key not in self._pictures:
            while len(self._pictures) >= _IMAGES_KEPT:
                del self._pictures[next(iter(self._pictures))]
            self.num_looks += 1
            self._pictures[key] = self.model.encode_image(images, *choices)
        return self._pictures[key]

    def embed_classes(self, class_names: Sequence[str], templates: Sequence[str]) -> Tensor:
        """`embed_classes`, (C, E); only new class names are encoded."""
        templates = tuple(templates)
        new = [name for name in dict.fromkeys(class_names) if (name, templates) not in self._words]
        if new:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)   # the widget itself names unknown words
                embeddings = embed_classes(self.model, new, templates, distinct=False)
            self._words |= {(name, templates): vector for name, vector in zip(new, embeddings)}
        return torch.stack([self._words[name, templates] for name in class_names])

    def segment(self, image: Any, class_names: Sequence[str], **choices: Any) -> Segmentation:
        """`segmentation.segment` of one image; `choices` are inference options to change.

        Raises ValueError for an image or class names that cannot be used.
        """
        if not class_names:
            raise ValueError("expected at least one class name; type some, with commas between them")
        protocol = protocol_for(self.model, **choices)
        embeddings = self.embed_classes(class_names, protocol.templates)
        return segment(self, image, class_names, protocol, class_embeddings=embeddings)

    def unknown_words(self, class_names: Sequence[str]) -> list[str]:
        """Words that were not in the training captions, as far as the tokenizer knows."""
        return list(dict.fromkeys(word for name in class_names for word in self.model.tokenizer.unknown_words(name)))


def row_of_axes(columns: int, names: Sequence[str] = (), ratio: float = 1.0, rows: int = 1) -> tuple[Figure, list[Axes]]:
    """A figure with rows of axes, and room on its right for a legend of these names, if there are any.

    ratio: height of the images over their width. The axes come row by row, from the top.
    """
    legend = 0.95 + 0.085 * min(26, max(map(len, [*names, "background"]))) if names else 0.0
    side_y = _SIDE * min(ratio, 1.3)
    row_height = side_y + _TOP + _GAP
    width, height = columns * (_SIDE + _GAP) + _GAP + legend, rows * row_height
    fig = Figure(figsize=(width, height), dpi=96, facecolor="white")
    axes = [fig.add_axes(((_GAP + c * (_SIDE + _GAP)) / width, (_GAP + (rows - 1 - r) * row_height) / height,
                          _SIDE / width, side_y / height))
            for r in range(rows) for c in range(columns)]
    return fig, axes


def draw_masks(axes: Sequence[Axes], image, segmentation: Segmentation, title: str = "named masks") -> Sequence[Axes]:
    """Image, groups of each stage, named masks with a legend: 2 + S axes.

    The first axes show the image, the last the masks; with fewer axes the first stages are left out. Groups have
    `stage_colours`: the colour of another class would look like a name.
    """
    show_image(axes[0], image, "image")
    stages = len(segmentation.groups)
    shown = min(len(axes) - 2, stages)
    labels = segmentation.labels[0]
    groups = [_numbers(stage[0]) for stage in segmentation.groups]
    colours = stage_colours(groups, _numbers(labels), segmentation.class_names)
    for ax, stage in zip(axes[1:], range(stages - shown, stages)):
        show_groups(ax, groups[stage], image, "groups" if stages == 1 else f"groups, stage {stage + 1}",
                    colours=colours[stage])
    show_labels(axes[-1], labels, segmentation.class_names, image, title, opacity=0.68, size=8.5)
    class_legend(axes[-1], labels, segmentation.class_names, shares=True, fontsize=8.5)
    return axes


def _numbers(regions: Tensor) -> np.ndarray:
    return regions.cpu().numpy().astype(int)


def mask_figure(image, segmentation: Segmentation) -> Figure:
    """`draw_masks` as a figure of its own."""
    H, W = segmentation.labels.shape[-2:]
    fig, axes = row_of_axes(2 + len(segmentation.groups), segmentation.class_names, H / W)
    draw_masks(axes, image, segmentation)
    return fig


def models_figure(image, results: Mapping[str, Segmentation | str]) -> Figure:
    """What several models make of one image: a row for each, with the image, the groups and the named masks.

    results: by name of the model. A text stands for masks that are not there, and is written in their place.

    Raises ValueError if there are texts alone.
    """
    found = [result for result in results.values() if not isinstance(result, str)]
    if not found:
        raise ValueError("there are no masks to draw; give the segmentation of one model at least")
    H, W = found[0].labels.shape[-2:]
    class_names = [name for result in found for name in result.class_names]
    fig, axes = row_of_axes(3, class_names, H / W, rows=len(results))
    for row, (name, result) in enumerate(results.items()):
        own = axes[3 * row:3 * row + 3]
        if isinstance(result, str):
            show_image(own[0], image)
            own[1].text(0.02, 0.5, "\n".join(wrap(result, 58)), size=9.5, va="center", transform=own[1].transAxes)
            own[1].set_axis_off()
            own[2].set_axis_off()
        else:
            draw_masks(own, image, result)
        own[0].set_title(name, size=9.5, weight="bold")
    return fig


def draw_group(axes: Sequence[Axes], image, segmentation: Segmentation, row: int, column: int) -> Sequence[Axes]:
    """A patch, and its group in each stage, in colour on grey: 1 + S axes.

    row, column: of the patch grid (h, w) of the first stage, which all maps share.
    """
    pixels = shown_pixels(image)                                       # (H, W, 3)
    H, W = pixels.shape[:2]
    h, w = segmentation.maps[0].shape[-2:]
    high, wide = H / h, W / w                                          # of a patch, in pixels
    show_image(axes[0], image, "image and patch")
    axes[0].add_patch(Rectangle((column * wide - 0.5, row * high - 0.5), wide, high, fill=False, edgecolor="white",
                                linewidth=3.5))
    axes[0].add_patch(Rectangle((column * wide - 0.5, row * high - 0.5), wide, high, fill=False, edgecolor="#d00000",
                                linewidth=2))
    for ax, stage in zip(axes[1:], range(len(segmentation.maps))):
        groups = patch_groups(segmentation, stage)
        group = int(groups[row, column])
        lit = enlarge(torch.from_numpy(groups == group), (H, W)).numpy()
        grey = 0.35 * pixels.mean(axis=-1, keepdims=True) + 0.6
        shown = (np.where(lit[..., None], pixels, grey).clip(0, 1) * 255 + 0.5).astype(np.uint8)
        show_image(ax, shown, group_title(segmentation, stage, group))
        draw_borders(ax, lit.astype(int), colour=tuple(group_colours(group + 1)[group]), width=2.2)
    return axes


def patch_groups(segmentation: Segmentation, stage: int) -> np.ndarray:
    """The largest group of each patch, (h, w)."""
    return segmentation.maps[stage][0].argmax(dim=0).cpu().numpy()


def group_title(segmentation: Segmentation, stage: int, group: int) -> str:
    """The number of a group, and in the last stage the class name with the highest score."""
    prefix = "" if len(segmentation.maps) == 1 else f"stage {stage + 1}, "
    if stage < len(segmentation.maps) - 1:
        return f"{prefix}group {group}"
    return f"{prefix}group {group}: {segmentation.class_names[int(segmentation.group_scores[0, group].argmax())]}"
