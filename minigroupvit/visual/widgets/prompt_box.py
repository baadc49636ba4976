"""Type words, the masks change."""

from __future__ import annotations

from collections.abc import Sequence

import ipywidgets
from matplotlib.figure import Figure

from ...images import to_batch
from ...model import GroupViT
from ...segmentation import Segmentation
from .figures import mask_figure
from .memory import Memory, split_words
from .panel import Panel

_WIDE = {"width": "min(700px, 100%)"}


class ClassPromptBox(Panel):
    """Picture, groups and masks with the words that one types; Enter shows them.

    Args:
        model: any GroupViT, or a `Memory` of one that several widgets share.
        image: one picture of any kind that `images.to_batch` takes.
        class_names: the words to begin with.
        choices: fields of the protocol to change, such as `top_classes=3`.

    `words` is the text box, `segmentation` what is shown.
    """

    segmentation: Segmentation

    def __init__(self, model: GroupViT | Memory, image, class_names: Sequence[str], **choices) -> None:
        self.memory = model if isinstance(model, Memory) else Memory(model)
        self.image = image
        self.choices = choices
        self.words = ipywidgets.Text(", ".join(class_names), description="words", continuous_update=False,
                                     layout=_WIDE)
        super().__init__([self.words])
        self.follow(self.words)
        self.redraw()

    def look_at(self, image) -> None:
        """Takes another picture. Raises ValueError for what is none."""
        to_batch(image)
        self.image = image
        self.redraw()

    def draw(self) -> Figure:
        class_names = split_words(self.words.value)
        self.segmentation = self.memory.segment(self.image, class_names, **self.choices)
        unknown = self.memory.unknown_words(class_names)
        self.say(f"Never seen in training, so a guess at best: {', '.join(unknown)}." if unknown else "")
        return mask_figure(self.image, self.segmentation)
