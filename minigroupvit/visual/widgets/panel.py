"""What all widgets are: controls, a picture below them, a line that says what went wrong."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from typing import Any

import ipywidgets
from matplotlib.figure import Figure


class Panel(ipywidgets.VBox):
    """Controls above a picture. A subclass says in `draw` what the picture is; `redraw` shows it.

    `canvas` holds the picture as PNG, `message` a line below it. Where no front end runs, the picture
    is what is left of the panel: it is shown as `image/png` too.
    """

    def __init__(self, controls: Sequence[ipywidgets.Widget]) -> None:
        self.canvas = ipywidgets.Image(format="png", layout={"max_width": "100%", "align_self": "flex-start"})
        self.message = ipywidgets.HTML()
        super().__init__([*controls, self.canvas, self.message])

    def draw(self) -> Figure:
        """The picture for what the controls now say. Raises ValueError where they cannot be followed."""
        raise NotImplementedError

    def redraw(self, *_: Any) -> None:
        """Shows what `draw` gives; a ValueError becomes the message, and the picture stays."""
        try:
            figure = self.draw()
        except ValueError as error:
            self.say(str(error))
        else:
            self.canvas.value = to_png(figure)

    def say(self, text: str) -> None:
        """Writes a line below the picture."""
        self.message.value = html.escape(text)

    def follow(self, *controls: ipywidgets.Widget) -> None:
        """Draws again when one of these changes."""
        for control in controls:
            control.observe(self.redraw, names="value")

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        bundle = super()._repr_mimebundle_(**options)
        return bundle | {"text/plain": repr(self), "image/png": base64.b64encode(self.canvas.value).decode()}

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"   # the default lists everything inside, pictures too


def to_png(figure: Figure) -> bytes:
    """A figure as PNG. Little compression: it is looked at once, and speed shows."""
    file = io.BytesIO()
    figure.savefig(file, format="png", pil_kwargs={"compress_level": 1})
    return file.getvalue()
