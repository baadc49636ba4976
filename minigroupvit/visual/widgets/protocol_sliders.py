"""The choices on the way to masks, as sliders: threshold of the background, classes kept, templates."""

from __future__ import annotations

from collections.abc import Sequence

import ipywidgets
from matplotlib.figure import Figure

from ...model import GroupViT
from ...protocol import protocol_for
from ...segmentation import Segmentation
from .figures import mask_figure
from .memory import Memory
from .panel import Panel


class ProtocolSliders(Panel):
    """Picture, groups and masks for the choices of the sliders; the picture is looked at once.

    `threshold` (0: no background), `top_classes` and `templates` are its controls, `segmentation` is what is shown.
    """

    segmentation: Segmentation

    def __init__(self, model: GroupViT | Memory, image, class_names: Sequence[str], threshold: float = 0.0) -> None:
        self.memory = model if isinstance(model, Memory) else Memory(model)
        self.image, self.class_names = image, list(class_names)
        protocol = protocol_for(model)
        kept = min(protocol.top_classes or len(class_names), len(class_names))
        self.threshold = ipywidgets.FloatSlider(threshold, min=0, max=1, step=0.01, description="threshold")
        self.top_classes = ipywidgets.IntSlider(kept, 1, len(class_names), description="classes kept")
        choices = {"the model's own": protocol.templates, "the bare word": ("{}",)}
        choices |= {template: (template,) for template in protocol.templates}
        self.templates = ipywidgets.Dropdown(options=choices, description="templates")
        super().__init__([self.threshold, self.top_classes, self.templates])
        self.follow(self.threshold, self.top_classes, self.templates)
        self.redraw()

    def draw(self) -> Figure:
        self.segmentation = self.memory.segment(
            self.image, self.class_names, top_classes=self.top_classes.value, templates=self.templates.value,
            background_threshold=self.threshold.value or None)
        self.say("")
        return mask_figure(self.image, self.segmentation)
