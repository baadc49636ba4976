"""Widgets with a text box: class names, whose masks are shown, and captions, whose nouns, prompts and tokens are shown.

`CaptionBox` needs a tokenizer and no model.
"""

from __future__ import annotations

import io
import random
import string
from collections.abc import Sequence
from dataclasses import dataclass

import ipywidgets
from matplotlib.figure import Figure

from ...images import load_image, to_batch
from ...model import GroupViT
from ...segmentation.segment import Segmentation
from ...text.caption_tokenizer import UNKNOWN
from ...text.prompts import SIMPLE_TEMPLATES, nouns, prompts_from_nouns
from ...text.tokenizer import Tokenizer
from .panel import Memory, Panel, mask_figure

_WIDE = {"width": "min(700px, 100%)"}
_LARGEST_SHOWN = 320                                      # pixels of the longer side of an uploaded image, for speed
_PLAIN, _NOUN, _FRAME, _STRANGE = "#f4f4f4", "#bcdcf5", "#dddddd", "#f7c9a0"
_INK, _GREY = "#222222", "#777777"
_WIDTH, _LEFT = 9.5, 1.0                                  # inches: the figure, the labels of the lines
_LINE, _WITH_IDS = 0.34, 0.46                             # inches: a line, one with ids below
_SIZE = 10.0                                              # points
_LETTER = 0.602 * _SIZE / 72                              # inches: of every letter, in a monospaced typeface
_LONGEST = int((_WIDTH - _LEFT) / _LETTER) - 3            # letters of a line


class ClassPromptBox(Panel):
    """Image, groups and named masks for the class names in a text box; Enter shows them.

    Args:
        model: any GroupViT, or a `Memory` of one that several widgets share.
        image: one image of any kind that `images.to_batch` takes.
        class_names: those to begin with.
        choices: inference options to change, such as `top_classes=3`.

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
        """Shows another image. Raises ValueError for what is no image."""
        to_batch(image)
        self.image = image
        self.redraw()

    def draw(self) -> Figure:
        class_names = typed_names(self.words.value)
        self.segmentation = self.memory.segment(self.image, class_names, **self.choices)
        unknown = self.memory.unknown_words(class_names)
        self.say(f"In no caption of the training, so a guess at best: {', '.join(unknown)}." if unknown else "")
        return mask_figure(self.image, self.segmentation)


def typed_names(text: str) -> list[str]:
    """The class names of a line, separated by commas: each once, in order."""
    return list(dict.fromkeys(name for part in text.split(",") if (name := " ".join(part.split()))))


class PictureUpload(ClassPromptBox):
    """A `ClassPromptBox` with a button that uploads an image.

    The image is resized to the training size, unless the inference options say otherwise. `upload` is the button;
    `image` is shown until it is used.
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
            self.say(f"{file['name']} is no image that can be read; choose a PNG or JPEG file")
            return
        image.thumbnail((_LARGEST_SHOWN, _LARGEST_SHOWN))
        self.look_at(image)


@dataclass(frozen=True)
class Chip:
    """A text in a coloured box."""

    text: str
    colour: str = _PLAIN
    below: str = ""            # in small letters, such as a token's id


class CaptionBox(Panel):
    """The words, nouns, prompts and tokens of a caption in a text box; Enter shows another caption.

    Args:
        tokenizer: of any model, or made by `CaptionTokenizer.train`.
        caption: the one to begin with.
        num_prompts: K of the multi-label loss, to begin with.
        templates: for the prompts.

    `caption`, `count` and `draw_number` are its controls; the last one is the seed that draws nouns and templates.
    `found`, `prompts` and `ids` are what is shown.
    """

    found: list[str]           # the nouns
    prompts: list[str]         # K texts
    ids: list[int]             # of the caption, with start and end

    def __init__(self, tokenizer: Tokenizer, caption: str, num_prompts: int = 3,
                 templates: Sequence[str] = SIMPLE_TEMPLATES) -> None:
        self.tokenizer, self.templates = tokenizer, templates
        self.caption = ipywidgets.Text(caption, description="caption", continuous_update=False,
                                       layout={"width": "min(700px, 100%)"})
        self.count = ipywidgets.IntSlider(num_prompts, 1, 5, description="prompts")
        self.draw_number = ipywidgets.IntSlider(0, 0, 20, description="draw")
        super().__init__([self.caption, ipywidgets.HBox([self.count, self.draw_number])])
        self.follow(self.caption, self.count, self.draw_number)
        self.redraw()

    def draw(self) -> Figure:
        caption = self.caption.value
        found, tokens, ids = nouns(caption), self.tokenizer.tokens(caption), self.tokenizer([caption])[0].tolist()
        rng = random.Random(self.draw_number.value)
        self.prompts = prompts_from_nouns(caption, found, self.count.value, self.templates, rng)
        self.found, self.ids = found, ids
        room = len(ids) - 2                               # without start and end
        said = [] if found else ["No noun found: the caption itself takes the place of every prompt."]
        if unknown := self.tokenizer.unknown_words(caption):
            said.append(f"In no caption of the training: {', '.join(unknown)}.")
        if len(tokens) > room:
            said.append(f"Only {room} of {len(tokens)} tokens fit into the context; the rest is truncated.")
        self.say(" ".join(said))
        return caption_figure(caption, found, self.prompts, tokens[:room], ids)


def caption_figure(caption: str, caption_nouns: Sequence[str], prompts: Sequence[str], tokens: Sequence[str],
                   ids: Sequence[int]) -> Figure:
    """A caption with its nouns marked, the prompts made of them, and its tokens with their ids.

    Args:
        tokens: n of them, without start and end.
        ids: n + 2, of start, tokens and end.
    """
    words = [Chip(word, _NOUN if word.strip(string.punctuation).lower() in caption_nouns else _PLAIN)
             for word in caption.replace("/", " / ").split()]
    framed = [Chip("start", _FRAME, str(ids[0])),
              *(Chip(token, _STRANGE if token == UNKNOWN else _PLAIN, str(i)) for token, i in zip(tokens, ids[1:])),
              Chip("end", _FRAME, str(ids[-1]))]
    lines = [("caption", words), ("nouns", [Chip(noun, _NOUN) for noun in caption_nouns] or [Chip("none")])]
    lines += [("prompts" if k == 0 else "", [Chip(prompt)]) for k, prompt in enumerate(prompts)]
    lines += [("tokens", framed)]
    broken = [("" if k else label, line) for label, chips in lines for k, line in enumerate(_break(chips))]

    height = y = sum(_height(chips) for _, chips in broken) + 0.15
    y -= 0.22
    fig = Figure(figsize=(_WIDTH, height), dpi=96, facecolor="white")
    for label, chips in broken:
        x = _LEFT
        fig.text(0.08 / _WIDTH, y / height, label, size=_SIZE, color=_GREY, va="center")
        for chip in chips:
            fig.text(x / _WIDTH, y / height, chip.text, size=_SIZE, family="monospace", color=_INK, va="center",
                     parse_math=False, bbox={"boxstyle": "round,pad=0.3", "facecolor": chip.colour, "edgecolor": _GREY,
                                             "linewidth": 0.5})
            middle = x + _LETTER * len(chip.text) / 2
            fig.text(middle / _WIDTH, (y - 0.23) / height, chip.below, size=6.5, color=_GREY, ha="center", va="center")
            x += _width(chip)
        y -= _height(chips)
    return fig


def _height(chips: Sequence[Chip]) -> float:
    """Inches from this line to the next."""
    return _WITH_IDS if any(chip.below for chip in chips) else _LINE


def _width(chip: Chip) -> float:
    """Inches that a chip takes, with the gap after it: two letters more than its text, or than its id."""
    return _LETTER * (max(len(chip.text), len(chip.below)) + 1.9)


def _break(chips: Sequence[Chip]) -> list[list[Chip]]:
    """Chips in lines that fit into the figure; a text that is longer than a line is shortened."""
    lines: list[list[Chip]] = [[]]
    for chip in chips:
        if len(chip.text) > _LONGEST:
            chip = Chip(chip.text[:_LONGEST - 1] + "…", chip.colour, chip.below)
        if lines[-1] and sum(map(_width, [*lines[-1], chip])) > _WIDTH - _LEFT:
            lines.append([])
        lines[-1].append(chip)
    return lines
