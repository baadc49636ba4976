"""A picture of one's own."""

from __future__ import annotations

import io
from collections.abc import Sequence

import ipywidgets

from ...images import load_image
from ...model import GroupViT
from .memory import Memory
from .prompt_box import ClassPromptBox

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
