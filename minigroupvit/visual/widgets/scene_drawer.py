"""A new scene for every number, and what the model makes of it."""

from __future__ import annotations

import ipywidgets
import torch
from matplotlib.figure import Figure

from ...data.scenes.config import SceneConfig
from ...data.scenes.make import Scene, make_scene
from ...model import GroupViT
from ...segmentation.segment import Segmentation
from ..plots import show_labels
from .panel import Memory, Panel, draw_masks, row_of_axes


class SceneDrawer(Panel):
    """Draws scenes and shows picture, groups, named masks and, to compare, the true ones.

    `number`, `count` and `objects` are its controls: which scene, how many objects, of which kinds
    (none chosen: of any). `scene` and `segmentation` are what is shown, `mask` (H, W) the truth in all classes,
    `share_right` the share of pixels with their true name.
    """

    scene: Scene
    segmentation: Segmentation
    mask: torch.Tensor
    share_right: float

    def __init__(self, model: GroupViT | Memory, number: int = 0, split: str = "test",
                 config: SceneConfig | None = None) -> None:
        self.memory = model if isinstance(model, Memory) else Memory(model)
        self.split = split
        self.config = config or SceneConfig(image_size=model.config.image.image_size)
        self.number = ipywidgets.IntSlider(number, 0, 999, description="scene")
        self.count = ipywidgets.IntSlider(2, 1, 4, description="objects")
        self.objects = ipywidgets.SelectMultiple(options=self.config.objects, rows=4, description="of these")
        super().__init__([ipywidgets.HBox([ipywidgets.VBox([self.number, self.count]), self.objects])])
        self.follow(self.number, self.count, self.objects)
        self.redraw()

    def draw(self) -> Figure:
        names = self.config.class_names
        chosen = self.objects.value or self.config.objects
        config = SceneConfig(**{**vars(self.config), "objects": chosen, "num_objects": (self.count.value,) * 2})
        self.scene = make_scene(self.number.value, self.split, config)
        # The mask counts in the classes of its own configuration.
        self.mask = torch.tensor([names.index(name) for name in config.class_names])[self.scene.mask.astype(int)]
        self.segmentation = self.memory.segment(self.scene.image, names)
        self.share_right = (self.segmentation.labels[0].cpu() == self.mask).float().mean().item()
        figure, axes = row_of_axes(3 + len(self.segmentation.groups))
        draw_masks(axes[:-1], self.scene.image, self.segmentation, f"named masks: {self.share_right:.0%} right")
        axes[-2].get_legend().remove()
        show_labels(axes[-1], self.mask, names, self.scene.image, "true masks", opacity=0.68, size=8.5)
        self.say(f"Its caption: “{self.scene.caption}”")
        return figure
