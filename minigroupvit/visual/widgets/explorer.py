"""Point at a patch: the group that it is in lights up in every stage.

Pointing happens in the browser (`explorer.js`, through anywidget): it holds all groups and asks nobody.
Two sliders do the same without a mouse, and where anywidget cannot run.

h, w patch grid  H, W picture
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import anywidget
import ipywidgets
import numpy as np
import traitlets
from matplotlib.figure import Figure

from ...model import GroupViT
from ..palette import group_colours
from ..plots import shown_pixels
from .panel import Memory, Panel, draw_group, group_title, patch_groups, row_of_axes


class PatchPointer(anywidget.AnyWidget):
    """The part that runs in the browser: a picture, and one more for each stage."""

    _esm = Path(__file__).with_name("explorer.js")
    size = traitlets.List().tag(sync=True)        # H, W
    pixels = traitlets.Bytes().tag(sync=True)     # H·W·3 bytes of red, green, blue
    stages = traitlets.List().tag(sync=True)      # per stage {groups: h rows of w numbers, titles, colours}
    row = traitlets.Int().tag(sync=True)
    column = traitlets.Int().tag(sync=True)


class GroupExplorer(Panel):
    """Shows the group of a patch in each stage, where one points, or where the sliders `row` and `column` are.

    `pointer` is the part in the browser. `point_with="sliders"` leaves it out: the sliders then move
    a plain picture.
    """

    def __init__(self, model: GroupViT | Memory, image, class_names: Sequence[str], row: int | None = None,
                 column: int | None = None, point_with: str = "mouse") -> None:
        if point_with not in ("mouse", "sliders"):
            raise ValueError(f"point_with is {point_with!r}; choose 'mouse' or 'sliders'")
        memory = model if isinstance(model, Memory) else Memory(model)
        self.image = image
        self.segmentation = memory.segment(image, class_names, refine=0)   # patches as the model has them
        if not self.segmentation.maps:
            raise ValueError("this model has no groups to explore; take one with groups, such as 'scenes'")
        h, w = self.segmentation.maps[0].shape[-2:]
        self.row = ipywidgets.IntSlider(h // 2 if row is None else row, 0, h - 1, description="row")
        self.column = ipywidgets.IntSlider(w // 2 if column is None else column, 0, w - 1, description="column")
        super().__init__([ipywidgets.HBox([self.row, self.column])])
        self.follow(self.row, self.column)
        self.redraw()
        if point_with == "mouse":
            self.pointer = self._make_pointer()
            traitlets.link((self.row, "value"), (self.pointer, "row"))
            traitlets.link((self.column, "value"), (self.pointer, "column"))
            # The plain picture is still there for whoever asks for it, but is not shown twice.
            self.children = tuple(self.pointer if child is self.canvas else child for child in self.children)

    def draw(self) -> Figure:
        H, W = self.segmentation.labels.shape[-2:]
        figure, axes = row_of_axes(1 + len(self.segmentation.maps), ratio=H / W)
        draw_group(axes, self.image, self.segmentation, self.row.value, self.column.value)
        return figure

    def _make_pointer(self) -> PatchPointer:
        pixels = (shown_pixels(self.image) * 255).round().astype(np.uint8)                            # (H, W, 3)
        stages = []
        for stage, maps in enumerate(self.segmentation.maps):
            number = maps.shape[1]
            stages.append({"groups": patch_groups(self.segmentation, stage).tolist(),
                           "titles": [group_title(self.segmentation, stage, group) for group in range(number)],
                           "colours": (group_colours(number) * 255).round().astype(int).tolist()})
        return PatchPointer(size=list(pixels.shape[:2]), pixels=pixels.tobytes(), stages=stages,
                            row=self.row.value, column=self.column.value)
