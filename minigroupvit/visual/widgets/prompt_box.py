"""Type words, the masks change."""

from __future__ import annotations

import io
from collections.abc import Sequence

import ipywidgets
from matplotlib.figure import Figure

from ...images import load_image, to_batch
from ...model import GroupViT
from ...segmentation.segment import Segmentation
from .panel import Memory, Panel, mask_figure, split_words

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


# A picture of one's own.

_LARGEST_SHOWN = 320   # pixels of the longer side: more would take longer and not be seen


class PictureUpload(ClassPromptBox):
    """A `ClassPromptBox` with a button that takes a picture from one's own computer.

    The picture enters the model at the size of its training, unless the protocol says otherwise.
    `upload` is the button; `image` is shown until it is used.
    """

    def __init__(self, model: GroupViT | Memory, image, class_names: Sequence[str], **choices) -> None:
        super().__init__(model, image, class_names, **choices)
        self.upload = ipywidgets.FileUpload(accept="image/*", description="your picture")
        self.upload.observe(self._take, names="value")
        self.children = (self.upload, *self.children)

    def _take(self, change) -> None:
        if not change["new"]:
            return
        file = change["new"][-1]
        try:
            image = load_image(io.BytesIO(file["content"]))
        except ValueError:
            self.say(f"{file['name']} is no picture that can be read; take a PNG or JPEG file")
            return
        image.thumbnail((_LARGEST_SHOWN, _LARGEST_SHOWN))
        self.look_at(image)
