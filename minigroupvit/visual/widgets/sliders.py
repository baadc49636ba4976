"""Widgets with sliders, each about one image: inference options, scenes, groups of a patch, temperature and noise.

In `GroupExplorer` pointing happens in the browser (`explorer.js`, through anywidget), which holds all groups and needs
no kernel. Its two sliders do the same without a mouse, and where anywidget cannot run.

G groups  h, w patch grid  H, W image
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import anywidget
import ipywidgets
import numpy as np
import torch
import traitlets
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from ...data.scenes.config import SceneConfig
from ...data.scenes.make import Scene, make_scene
from ...grouping import hard_assignment, soft_assignment
from ...images import enlarge, to_batch
from ...model import GroupViT
from ...segmentation.options import InferenceOptions, protocol_for
from ...segmentation.segment import Segmentation, encode_windows
from ..palette import group_colours
from ..plots import show_groups, show_heat, show_image, show_labels, shown_pixels
from .panel import Memory, Panel, draw_group, draw_masks, group_title, mask_figure, patch_groups, row_of_axes


class ProtocolSliders(Panel):
    """Image, groups and named masks for the inference options of the sliders; the image is encoded once.

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
        choices = {"the model's own": protocol.templates, "the bare class name": ("{}",)}
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


class SceneDrawer(Panel):
    """Makes a scene for each number, and shows image, groups, named masks and true masks.

    `number`, `count` and `objects` are its controls: which scene, how many objects, of which kinds (none chosen: of
    any). `scene` and `segmentation` are what is shown, `mask` (H, W) the true class of each pixel, among all classes,
    `share_right` the share of pixels with their true class.
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
        # The scene numbers the classes of its own configuration: to numbers among all classes.
        self.mask = torch.tensor([names.index(name) for name in config.class_names])[self.scene.mask.astype(int)]
        self.segmentation = self.memory.segment(self.scene.image, names)
        self.share_right = (self.segmentation.labels[0].cpu() == self.mask).float().mean().item()
        figure, axes = row_of_axes(3 + len(self.segmentation.groups))
        draw_masks(axes[:-1], self.scene.image, self.segmentation, f"named masks: {self.share_right:.0%} right")
        axes[-2].get_legend().remove()
        show_labels(axes[-1], self.mask, names, self.scene.image, "true masks", opacity=0.68, size=8.5)
        self.say(f"Its caption: “{self.scene.caption}”")
        return figure


class PatchPointer(anywidget.AnyWidget):
    """The part that runs in the browser: the image, and its groups of each stage."""

    _esm = Path(__file__).with_name("explorer.js")
    size = traitlets.List().tag(sync=True)        # H, W
    pixels = traitlets.Bytes().tag(sync=True)     # H·W·3 bytes of red, green, blue
    stages = traitlets.List().tag(sync=True)      # per stage {groups: h rows of w numbers, titles, colours}
    row = traitlets.Int().tag(sync=True)
    column = traitlets.Int().tag(sync=True)


class GroupExplorer(Panel):
    """The group of a patch in each stage: of the patch under the mouse, or at the sliders `row` and `column`.

    `pointer` is the part in the browser. `point_with="sliders"` leaves it out: the sliders then redraw the image.
    Raises ValueError for another value, and for a model without groups.
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
            # `canvas` still holds the image for a notebook without a kernel, but is not shown beside the pointer.
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


def assignment_logits(model: GroupViT | Memory, image) -> Tensor:
    """The logits of the first stage's assignment, (G, h, w), before noise and temperature.

    They are computed back from the softmax over the groups, which fixes those of a patch up to a constant: here the
    largest one is 0. Raises ValueError for a model without groups.
    """
    stage = model.image_encoder.stages[0]
    if stage.grouping is None:
        raise ValueError("this model has no groups to assign to; take one with groups, such as 'scenes'")
    # The other inference options have no effect on the assignment.
    protocol = InferenceOptions(overlap=protocol_for(model).overlap)
    picture = to_batch(image).to(model.device, model.logit_scale.dtype)[0]
    no_words = picture.new_zeros(1, model.config.embed_dim)
    soft = encode_windows(model, [picture], no_words, protocol)[0].maps[0][0].cpu()   # (G, h, w)
    logits = stage.grouping.temperature * soft.clamp_min(torch.finfo(soft.dtype).tiny).log()
    return logits - logits.amax(dim=0)


def normalised_entropy(soft: Tensor) -> Tensor:
    """Normalised entropy of each patch's assignment (G, h, w), (h, w): 0 for one group, 1 for equal shares in all."""
    return torch.special.entr(soft).sum(dim=0) / math.log(max(2, len(soft)))


def draw_groups_once(logits: Tensor, temperature: float, noise: float, seed: int) -> Tensor:
    """The group of each patch, (h, w), of logits (G, h, w) with Gumbel noise; the same for the same seed."""
    with torch.random.fork_rng(devices=[]):                            # leaves the global random numbers as they were
        torch.manual_seed(seed)
        return hard_assignment(logits[None], temperature, noise)[0].argmax(dim=0)


def draw_assignment(axes: Sequence[Axes], image, logits: Tensor, temperature: float = 1.0, noise: float = 0.0,
                    seed: int = 0) -> Sequence[Axes]:
    """Image, groups without noise, entropy of the softmax, groups with noise: four axes. logits (G, h, w).

    Raises ValueError for other logits, a temperature that is not positive, and negative noise.
    """
    if logits.ndim != 3:
        raise ValueError(f"expected logits of one image, (G, h, w), got {tuple(logits.shape)}; "
                         "unfold the tokens with .unflatten(-1, grid)")
    if temperature <= 0 or noise < 0:
        raise ValueError(f"temperature must be above 0 and noise at least 0, got {temperature} and {noise}")
    H, W = to_batch(image).shape[-2:]
    entropy = normalised_entropy(soft_assignment(logits[None], temperature)[0])
    largest = draw_groups_once(logits, temperature, 0.0, seed)
    drawn = draw_groups_once(logits, temperature, noise, seed)
    moved = (drawn != largest).float().mean().item()
    show_image(axes[0], image, "image")
    show_groups(axes[1], enlarge(largest, (H, W)), image, "largest group")
    show_heat(axes[2], entropy, title=f"temperature {temperature:.2g}: entropy {entropy.mean():.2f}", limits=(0, 1))
    show_groups(axes[3], enlarge(drawn, (H, W)), image, f"noise {noise:.2g}: {moved:.0%} moved")
    return axes


def gumbel_figure(image, logits: Tensor, temperature: float = 1.0, noise: float = 0.0, seed: int = 0) -> Figure:
    """`draw_assignment` as a figure of its own."""
    H, W = to_batch(image).shape[-2:]
    figure, axes = row_of_axes(4, ratio=H / W)
    draw_assignment(axes, image, logits, temperature, noise, seed)
    return figure


class GumbelSliders(Panel):
    """Soft and hard assignment of an image's patches for the temperature and the Gumbel noise of the sliders.

    `temperature`, `noise` and `seed` (of the noise) are its controls. The image is encoded once: the sliders need
    only `logits` (G, h, w), those of the first stage.
    """

    def __init__(self, model: GroupViT | Memory, image, temperature: float | None = None, noise: float = 0.0,
                 seed: int = 0) -> None:
        self.image = image
        self.logits = assignment_logits(model, image)
        own = model.image_encoder.stages[0].grouping.temperature
        self.temperature = ipywidgets.FloatLogSlider(own if temperature is None else temperature, min=-2, max=1,
                                                     step=0.05, description="temperature", readout_format=".3g")
        self.noise = ipywidgets.FloatSlider(noise, min=0, max=1, step=0.01, description="noise")
        self.seed = ipywidgets.BoundedIntText(seed, 0, 9999, description="draw again")
        super().__init__([ipywidgets.HBox([self.temperature, self.noise, self.seed])])
        self.follow(self.temperature, self.noise, self.seed)
        self.redraw()

    def draw(self) -> Figure:
        self.say("")
        return gumbel_figure(self.image, self.logits, self.temperature.value, self.noise.value, self.seed.value)
