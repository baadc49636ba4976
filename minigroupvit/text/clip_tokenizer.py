"""CLIP's byte-pair vocabulary of 49,408 entries: the tokenizer of the paper's model (Section 4.1)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch

from .tokenizer import Tokenizer


@lru_cache(maxsize=1)
def clip_vocabulary() -> Any:
    """open_clip's tokenizer: its `encoder` maps entries to ids, its `bpe_ranks` are the merges in order."""
    # Imported on first use: open_clip imports torchvision and timm, which takes seconds. Cached, because reading the
    # vocabulary takes another tenth of a second.
    from open_clip.tokenizer import SimpleTokenizer

    return SimpleTokenizer()


class ClipTokenizer(Tokenizer):
    """CLIP's byte-pair encoding as open_clip ships it: 49,408 entries, start 49406, end 49407.

    It can spell any word, so it has no unknown words. It does not know which words the model has seen in training.
    """

    name = "clip"
    vocab_size, start_id, end_id = 49408, 49406, 49407

    def __init__(self, context_length: int = 77) -> None:
        if context_length < 3:
            raise ValueError(f"context_length is {context_length}; at least 3, for start, one word and end")
        self.context_length = context_length

    def decode(self, ids: torch.Tensor | Sequence[int]) -> str:
        # Padding comes after the end token, where `_text_ids` stops.
        return clip_vocabulary().decode(self._text_ids(ids)).strip()

    def state(self) -> dict[str, Any]:
        return {"name": self.name, "context_length": self.context_length}

    def _encode(self, text: str) -> list[int]:
        return clip_vocabulary().encode(text)

    def _tokens(self, text: str) -> list[str]:
        # CLIP marks the end of a word ("</w>"); here the continuation is marked, as in WordPiece. And it writes each
        # byte of UTF-8 as a printable letter.
        vocabulary, found, mark = clip_vocabulary(), [], ""
        for entry in (vocabulary.decoder[i] for i in self._encode(text)):
            content = bytes(vocabulary.byte_decoder[letter] for letter in entry.removesuffix("</w>"))
            found.append(mark + content.decode("utf-8", errors="replace"))
            mark = "" if entry.endswith("</w>") else "##"
        return found
