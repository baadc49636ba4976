"""A model that looks at no picture twice and reads no word twice, so that a widget answers at once.

B images  C classes  E shared channels
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ...model import GroupViT
from ...protocol import protocol_for
from ...segmentation import Segmentation, embed_classes, segment

_PICTURES_KEPT = 16


class Memory:
    """Stands in for a model wherever one is asked for, and remembers what it has computed.

    It has no way to masks of its own: `Memory.segment` calls `segmentation.segment` with itself as
    the model, so a widget shows what the function gives. The weights must not change meanwhile.
    """

    def __init__(self, model: GroupViT) -> None:
        self.model = model
        self.num_looks = 0      # times that the image encoder ran
        self.num_readings = 0   # words in templates that the text encoder read
        self._pictures: dict[tuple, Any] = {}
        self._words: dict[tuple[str, tuple[str, ...]], Tensor] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["model"], name)

    def encode_image(self, images: Tensor, *choices: Any) -> Any:
        """`GroupViT.encode_image`, of pictures that were seen before without looking again."""
        # Not Python's own hash: two pictures must never be taken for one.
        key = (hashlib.sha256(images.cpu().numpy().tobytes()).digest(), tuple(images.shape), choices)
        if key not in self._pictures:
            while len(self._pictures) >= _PICTURES_KEPT:
                del self._pictures[next(iter(self._pictures))]
            self.num_looks += 1
            self._pictures[key] = self.model.encode_image(images, *choices)
        return self._pictures[key]

    def embed_classes(self, class_names: Sequence[str], templates: Sequence[str]) -> Tensor:
        """`embed_classes`, (C, E), of which only new words are read."""
        templates = tuple(templates)
        new = [name for name in dict.fromkeys(class_names) if (name, templates) not in self._words]
        if new:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)   # the widget says itself what is unknown
                embeddings = embed_classes(self.model, new, templates)
            self.num_readings += len(new)
            self._words |= {(name, templates): vector for name, vector in zip(new, embeddings)}
        return torch.stack([self._words[name, templates] for name in class_names])

    def segment(self, image: Any, class_names: Sequence[str], **choices: Any) -> Segmentation:
        """`segmentation.segment` of one picture; `choices` are fields of the protocol to change.

        Raises ValueError for pictures or words that cannot be used.
        """
        if not class_names:
            raise ValueError("expected at least one word; type some, with commas between them")
        protocol = protocol_for(self.model, **choices)
        embeddings = self.embed_classes(class_names, protocol.templates)
        return segment(self, image, class_names, protocol, class_embeddings=embeddings)

    def unknown_words(self, class_names: Sequence[str]) -> list[str]:
        """Words that the model never saw in training, as far as its tokenizer knows."""
        return list(dict.fromkeys(word for name in class_names for word in self.model.tokenizer.unknown_words(name)))


def split_words(text: str) -> list[str]:
    """The words of a line, with commas between them: each once, in order."""
    return list(dict.fromkeys(word for part in text.split(",") if (word := " ".join(part.split()))))
