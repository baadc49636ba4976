"""Texts to token ids: a tokenizer trained on one's own captions, and CLIP's, behind one interface.

Paper (arXiv 2202.11094), section 4.1, "Implementation details": the text encoder reads at most
77 tokens of CLIP's byte-pair vocabulary of 49,408 words. `ClipTokenizer` is that vocabulary. A
model of a few million parameters would spend most of them on its embedding table, so small models
get a `CaptionTokenizer`, trained on the captions that the model is trained on.

What differs from the released code: there every text is padded to exactly 77 tokens, here only to
the longest text of the batch. That changes no number, because the text encoder is causal: a token
never sees what stands after it, and the feature is read at the end token, before the padding.
It saves most of the text encoder's time, since few captions have more than 20 tokens.

Which model the caption tokenizer uses, and why: **WordPiece**. It reads a word by taking the
longest entry of the vocabulary again and again, so a word that is in the vocabulary is always one
token. If all words of the captions fit into `vocab_size`, the vocabulary is just those words: each
gets one embedding of its own, any other word becomes [UNK], and nothing is spent on fragments. If
they do not fit (photographs: Flickr8k's training captions have 7,519 words, half of them seen once or
twice), the vocabulary is trained: frequent words stay whole, rare ones are spelt in pieces ("hand"
"##ra" "##il"); with 4,096 entries 97 % of those captions' words are one token. Byte-pair encoding
would do the second job as well, but it never drops the steps towards its words ("te", "tele",
"telep": 118 entries for the 33 words of five captions), and it spells an unknown word where [UNK]
is the honest answer. A plain word list turns every rare word into [UNK]. WordPiece does both jobs.
"""

from __future__ import annotations

import re
import unicodedata
import warnings
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from functools import lru_cache
from typing import Any

import torch

# B texts   L tokens of the longest text of the batch, start and end included

PAD, UNKNOWN, START, END = "[PAD]", "[UNK]", "[START]", "[END]"
PAD_ID = 0  # in both vocabularies; CLIP's id 0 is "!", which does no harm after the end token

# Letters and digits of any script; "_" is the one punctuation mark that \w would let through.
_WORD = re.compile(r"[^\W_]+")
_MAX_WORDS_IN_WARNING = 100


def split_words(text: str) -> list[str]:
    """The words of a text: lower-case, without accents and punctuation.

    "A man's T-shirt, blue!" gives a, man, s, t, shirt, blue. Splitting at the apostrophe keeps
    "man" one known word, which a possessive should not change.
    """
    if not text.isascii():  # nearly all captions are, and this takes most of the time
        # NFKD takes an accented letter apart; dropping the marks leaves the letter ("é" -> "e").
        letters = unicodedata.normalize("NFKD", text)
        text = "".join(letter for letter in letters if not unicodedata.combining(letter))
    return _WORD.findall(text.lower())


class Tokenizer(ABC):
    """What the model needs to know of a tokenizer.

    The end token has the **largest id of the vocabulary**, so `ids.argmax(-1)` finds the place
    where the text encoder reads its feature.
    """

    name: str  # "captions" or "clip"; a checkpoint's JSON tells by it which class to make
    vocab_size: int
    context_length: int  # most tokens of a text, start and end included
    start_id: int
    end_id: int  # == vocab_size - 1

    def __call__(self, texts: Sequence[str], truncate: bool = True) -> torch.LongTensor:
        """Token ids of a batch: [start] tokens [end], then zeros up to the longest text.

        Args:
            texts: list of texts, each with at least one word.
            truncate: a text that is too long loses its last tokens and keeps the end token. Right
                for training captions; False raises instead, for words that someone typed.

        Returns:
            (B, L) int64, L <= context_length.

        Raises:
            ValueError: not a list of strings, an empty list, an empty text; with
                `truncate=False` a text that is too long.
        """
        if isinstance(texts, str):
            # A string is a sequence of strings too: it would become a batch of letters.
            raise ValueError(f"expected a list of texts, got the string {texts!r}; write [{texts!r}]")
        if len(texts) == 0:
            raise ValueError("expected a list of texts, got an empty one; give at least one text")

        rows = [self._row(text, truncate) for text in texts]
        longest = max(map(len, rows))
        return torch.tensor([row + [PAD_ID] * (longest - len(row)) for row in rows])  # (B, L)

    def _row(self, text: str, truncate: bool) -> list[int]:
        ids = self._encode(_check_text(text))
        if not ids:
            raise ValueError(f"expected a text with a word in it, got {text!r}; leave it out or write a word")
        room = self.context_length - 2  # start and end take two places
        if len(ids) > room and not truncate:
            raise ValueError(
                f"text of {len(ids)} tokens, at most {room} fit into the context of {self.context_length}; "
                f"shorten {text[:60]!r}..., or pass truncate=True to cut it"
            )
        return [self.start_id, *ids[:room], self.end_id]

    def tokens(self, text: str) -> list[str]:
        """The text taken apart, for showing; "##" marks a piece that goes on with the word before.

        Neither cut nor framed by start and end.
        """
        return self._tokens(_check_text(text))

    @abstractmethod
    def decode(self, ids: torch.Tensor | Sequence[int]) -> str:
        """The text of one row of ids (L,), up to its end token; spelling and case as normalised."""

    @property
    def known_words(self) -> list[str]:
        """Words seen in training, sorted; empty if the vocabulary is open."""
        return []

    def unknown_words(self, text: str) -> list[str]:
        """Words of the text never seen in training, in order, without repeats; [] for CLIP."""
        return []

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """All there is to know of this tokenizer, for JSON; `tokenizer_from_state` reads it."""

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
            row = row[: row.index(self.end_id)]
        return row[1:] if row[:1] == [self.start_id] else row


class CaptionTokenizer(Tokenizer):
    """WordPiece over the words of the training captions; made by `CaptionTokenizer.train`.

    Ids: 0 [PAD], 1 [UNK], 2 [START], then the entries, [END] last. With all words whole, entries
    stand in order of frequency, equally frequent ones in alphabetical order.
    """

    name = "captions"

    def __init__(self, vocabulary: Sequence[str], known_words: Iterable[str], context_length: int = 32) -> None:
        """Takes a finished vocabulary in the order of its ids (see `train`)."""
        from tokenizers.models import WordPiece

        if context_length < 3:
            raise ValueError(f"context_length is {context_length}; at least 3, for start, one word and end")
        if tuple(vocabulary[:3]) != (PAD, UNKNOWN, START) or vocabulary[-1] != END:
            raise ValueError(f"expected a vocabulary {PAD}, {UNKNOWN}, {START}, ..., {END}; make it with train()")
        if len(set(vocabulary)) != len(vocabulary):
            raise ValueError("the vocabulary has an entry twice; make it with train()")
        self.vocabulary = list(vocabulary)
        self.vocab_size = len(self.vocabulary)
        self.context_length = context_length
        self.start_id, self.end_id = 2, self.vocab_size - 1
        self._known = frozenset(known_words)
        self._model = WordPiece({entry: i for i, entry in enumerate(self.vocabulary)}, unk_token=UNKNOWN)
        # Captions repeat few words, so each is looked up once. This also keeps the library's thread
        # pool out of the training loop, which warns when a data loader forks after using it.
        self._ids_of_word: dict[str, list[int]] = {}

    @classmethod
    def train(
        cls,
        captions: Iterable[str],
        vocab_size: int = 8192,
        context_length: int = 32,
        templates: Iterable[str] = (),
    ) -> CaptionTokenizer:
        """Makes the vocabulary from captions.

        It depends on how often each word occurs and on nothing else: neither on the order of the
        captions nor on the process.

        Args:
            captions: the training captions; a caption counts as often as it is given.
            vocab_size: the most entries the vocabulary may have, its four special ones included.
                The result's `vocab_size` is smaller where fewer are needed.
            context_length: most tokens of a text, start and end included.
            templates: of the prompts that the model will read. Their words ("photo") get tokens
                as well, else they would be [UNK]; they do not become `known_words`, because no
                caption shows what they look like.

        Raises:
            ValueError: no captions, a caption that is empty or no string, or a vocabulary that
                is too small even for the letters.
        """
        if isinstance(captions, str):
            raise ValueError(f"expected a list of captions, got the string {captions!r}; write [{captions!r}]")
        counts: Counter[str] = Counter()
        for caption in captions:
            counts.update(split_words(_check_text(caption)))
        if not counts:
            raise ValueError("expected captions with words in them, got none; is the data set empty?")
        known_words = frozenset(counts)
        # A word of the templates is in many prompts: it counts like the commonest word.
        most = max(counts.values())
        for template in templates:
            for word in split_words(_check_text(template)):
                counts.setdefault(word, most)

        num_entries = vocab_size - 4
        if len(counts) <= num_entries:
            # Sorted by word within equal counts: a Counter's own order is that of the captions.
            entries = sorted(counts, key=lambda word: (-counts[word], word))
        else:
            entries = _train_pieces(counts, num_entries)
        return cls([PAD, UNKNOWN, START, *entries, END], known_words, context_length)

    @property
    def known_words(self) -> list[str]:
        return sorted(self._known)

    def unknown_words(self, text: str) -> list[str]:
        # dict.fromkeys: a set that keeps the order.
        return [word for word in dict.fromkeys(split_words(_check_text(text))) if word not in self._known]

    def decode(self, ids: torch.Tensor | Sequence[int]) -> str:
        entries = (self.vocabulary[i] for i in self._text_ids(ids) if i != PAD_ID)
        return " ".join(entries).replace(" ##", "")

    def state(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "context_length": self.context_length,
            "vocabulary": list(self.vocabulary),
            "known_words": self.known_words,
        }

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = []
        for word in split_words(text):
            if word not in self._ids_of_word:
                self._ids_of_word[word] = [token.id for token in self._model.tokenize(word)]
            ids += self._ids_of_word[word]
        return ids

    def _tokens(self, text: str) -> list[str]:
        return [self.vocabulary[i] for i in self._encode(text)]


def _train_pieces(counts: Counter[str], num_entries: int) -> list[str]:
    """WordPiece entries for captions with more words than entries, in the order of training."""
    from tokenizers import Tokenizer as Pipeline
    from tokenizers.models import WordPiece
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from tokenizers.trainers import WordPieceTrainer

    first = sorted({word[0] for word in counts})
    later = sorted({"##" + letter for word in counts for letter in word[1:]})
    if len(first) + len(later) > num_entries:
        raise ValueError(
            f"vocab_size {num_entries + 4} is too small: the captions' letters alone take "
            f"{len(first) + len(later) + 4}; raise vocab_size"
        )
    pipeline = Pipeline(WordPiece(unk_token=UNKNOWN))
    pipeline.pre_tokenizer = WhitespaceSplit()
    trainer = WordPieceTrainer(
        vocab_size=num_entries,
        min_frequency=2,
        show_progress=False,
        # Left alone, the trainer numbers the letters as they turn up in a hash map, which differs
        # from process to process, and breaks ties between merges by those numbers. Handing it all
        # letters as "special tokens" in sorted order fixes the numbers, and with them the ties.
        special_tokens=first + later,
    )
    pipeline.train_from_iterator(
        (" ".join([word] * count) for word, count in sorted(counts.items())), trainer
    )
    vocabulary = pipeline.get_vocab()
    return sorted(vocabulary, key=vocabulary.__getitem__)


@lru_cache(maxsize=1)
def _clip_vocabulary() -> Any:
    # Imported on first use: open_clip brings torchvision and timm along and takes seconds. Shared,
    # because reading the vocabulary takes another tenth of a second and it never changes.
    from open_clip.tokenizer import SimpleTokenizer

    return SimpleTokenizer()


class ClipTokenizer(Tokenizer):
    """CLIP's byte-pair encoding as open_clip ships it: 49,408 entries, start 49406, end 49407.

    It can spell anything, so no word is unknown to it; whether the model has seen a word in
    training is another question, which this tokenizer cannot answer.
    """

    name = "clip"
    vocab_size, start_id, end_id = 49408, 49406, 49407

    def __init__(self, context_length: int = 77) -> None:
        if context_length < 3:
            raise ValueError(f"context_length is {context_length}; at least 3, for start, one word and end")
        self.context_length = context_length

    def decode(self, ids: torch.Tensor | Sequence[int]) -> str:
        # Padding only ever follows the end token, where `_text_ids` has cut already.
        return _clip_vocabulary().decode(self._text_ids(ids)).strip()

    def state(self) -> dict[str, Any]:
        return {"name": self.name, "context_length": self.context_length}

    def _encode(self, text: str) -> list[int]:
        return _clip_vocabulary().encode(text)

    def _tokens(self, text: str) -> list[str]:
        # CLIP marks the end of a word ("</w>"); here the continuation is marked, as in WordPiece.
        entries = [_clip_vocabulary().decoder[i] for i in self._encode(text)]
        goes_on = [False] + [not entry.endswith("</w>") for entry in entries[:-1]]
        return ["##" * inside + _clip_bytes_to_text(entry) for entry, inside in zip(entries, goes_on)]


def _clip_bytes_to_text(entry: str) -> str:
    """A vocabulary entry as readable text: CLIP writes each byte of UTF-8 as a printable letter."""
    byte_of = _clip_vocabulary().byte_decoder
    return bytes(byte_of[letter] for letter in entry.removesuffix("</w>")).decode("utf-8", errors="replace")


def tokenizer_from_state(state: dict[str, Any]) -> Tokenizer:
    """The tokenizer that `Tokenizer.state` described.

    Raises:
        ValueError: `state` is no description of a tokenizer.
    """
    try:
        if state["name"] == "captions":
            return CaptionTokenizer(state["vocabulary"], state["known_words"], state["context_length"])
        if state["name"] == "clip":
            return ClipTokenizer(state["context_length"])
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError(f"expected what Tokenizer.state() returns, got {state!r:.80}; {error!r}") from error
    raise ValueError(f"expected a tokenizer 'captions' or 'clip', got {state['name']!r}; is the checkpoint newer?")


def warn_unknown(tokenizer: Tokenizer, words: Sequence[str]) -> list[str]:
    """One UserWarning for all words never seen in training; it lists the known ones.

    Args:
        words: class names as typed; of "traffic light" each word is looked at.

    Returns:
        The unknown words, in order, without repeats; nothing is warned about if there are none.
    """
    unknown = list(dict.fromkeys(word for name in words for word in tokenizer.unknown_words(name)))
    if not unknown:
        return unknown
    known = tokenizer.known_words
    close = {word: get_close_matches(word, known, n=3) for word in unknown}
    hints = "".join(f"; for {word!r} try {' or '.join(map(repr, near))}" for word, near in close.items() if near)
    # Thousands of words (photographs) would bury the message.
    shown = ", ".join(known[:_MAX_WORDS_IN_WARNING])
    more = f", ... ({len(known)} in all: tokenizer.known_words)" if len(known) > _MAX_WORDS_IN_WARNING else ""
    warnings.warn(
        f"never seen in training: {', '.join(unknown)}; the model cannot know what they look like{hints}. "
        f"Known words: {shown}{more}",
        UserWarning,
        stacklevel=2,
    )
    return unknown


def _check_text(text: object) -> str:
    if not isinstance(text, str):
        raise ValueError(f"expected a text, got {type(text).__name__} {text!r:.60}; give a string")
    if not text.strip():
        raise ValueError(f"expected a text with a word in it, got {text!r}; leave it out or write a word")
    return text
