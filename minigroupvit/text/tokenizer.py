"""The interface of both tokenizers: texts in, rows of token ids out.

Differences to the released code: there every text is padded to exactly 77 tokens, here only to the longest text of
the batch. No output changes, because the text encoder is causal: a token attends only to earlier ones, and the
feature is read at the end token, before the padding. It saves most of the text encoder's time: few captions have more
than 20 tokens.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch

# B texts   L tokens of the longest text of the batch, start and end included

PAD_ID = 0  # in both vocabularies; CLIP's id 0 is "!", which has no effect after the end token


def check_text(text: object) -> str:
    """The text itself. Raises ValueError for anything but a string, and for an empty one."""
    if not isinstance(text, str):
        raise ValueError(f"expected a text, got {type(text).__name__} {text!r:.60}; give a string")
    if not text.strip():
        raise ValueError(f"expected a text with a word in it, got {text!r:.60}; leave it out or write a word")
    return text


class Tokenizer(ABC):
    """Base class of the tokenizers.

    The end token has the **largest id of the vocabulary**, so `ids.argmax(-1)` is the position where the text encoder
    reads its feature.
    """

    name: str            # "captions" or "clip"; from it a checkpoint's JSON knows the class
    vocab_size: int
    context_length: int  # largest number of tokens of a text, start and end included
    start_id: int
    end_id: int          # == vocab_size - 1

    def __call__(self, texts: Sequence[str], truncate: bool = True) -> torch.LongTensor:
        """Token ids of a batch: [start] tokens [end], then zeros up to the longest text.

        Args:
            texts: list of texts, each with at least one word.
            truncate: a text that is too long loses its last tokens and keeps the end token, for training captions;
                False raises instead, for words that a user typed.

        Returns:
            (B, L) int64, L <= context_length.

        Raises:
            ValueError: not a list of strings, an empty list, an empty text; with
                `truncate=False` a text that is too long.
        """
        if isinstance(texts, str):
            # A string is a sequence of strings too: it would become a batch of letters.
            raise ValueError(f"expected a list of texts, got the string {texts!r:.60}; write [{texts!r:.60}]")
        if len(texts) == 0:
            raise ValueError("expected a list of texts, got an empty one; give at least one text")

        rows = [self._row(text, truncate) for text in texts]
        longest = max(map(len, rows))
        return torch.tensor([row + [PAD_ID] * (longest - len(row)) for row in rows])  # (B, L)

    def _row(self, text: str, truncate: bool) -> list[int]:
        ids = self._encode(check_text(text))
        if not ids:
            raise ValueError(f"expected a text with a word in it, got {text!r:.60}; leave it out or write a word")
        room = self.context_length - 2  # start and end take two places
        if len(ids) > room and not truncate:
            raise ValueError(f"text of {len(ids)} tokens, at most {room} fit into the context of "
                             f"{self.context_length}; shorten {text[:60]!r}..., or pass truncate=True")
        return [self.start_id, *ids[:room], self.end_id]

    def tokens(self, text: str) -> list[str]:
        """The tokens of a text, for display; "##" marks a token that continues the word before it.

        Not truncated, without start and end.
        """
        return self._tokens(check_text(text))

    @abstractmethod
    def decode(self, ids: torch.Tensor | Sequence[int]) -> str:
        """The text of one row of ids (L,), up to its end token; lower-case and normalised."""

    @property
    def known_words(self) -> list[str]:
        """Words seen in training, sorted; empty for CLIP, which can spell any word."""
        return []

    def unknown_words(self, text: str) -> list[str]:
        """Words of the text never seen in training, in order, without repeats; [] for CLIP."""
        return []

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """A full description for JSON; `tokenizer_from_state` reads it."""

    @abstractmethod
    def _encode(self, text: str) -> list[int]:
        """Ids of the text without start and end."""

    @abstractmethod
    def _tokens(self, text: str) -> list[str]: ...

    def _text_ids(self, ids: torch.Tensor | Sequence[int]) -> list[int]:
        """Ids between start and end."""
        ids = torch.as_tensor(ids)
        if ids.ndim != 1:
            raise ValueError(f"expected one row of ids, got shape {tuple(ids.shape)}; decode row by row")
        row = ids.tolist()
        if any(not 0 <= i < self.vocab_size for i in row):
            raise ValueError(f"expected ids from 0 to {self.vocab_size - 1}, got {row}; is it another tokenizer's?")
        if self.end_id in row:
            row = row[:row.index(self.end_id)]
        return row[1:] if row[:1] == [self.start_id] else row
