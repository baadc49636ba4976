"""A tokenizer trained on the captions of a data set; and `tokenizer_from_state`, which makes either tokenizer.

Paper (arXiv 2202.11094), section 4.1, "Implementation details": the text encoder reads at most 77 tokens of CLIP's
byte-pair vocabulary of 49,408 entries: `ClipTokenizer`. In a model of a few million parameters most of them would be
in its embedding table, so small models get a `CaptionTokenizer`, trained on their training captions.

It uses **WordPiece**, which splits a word by taking the longest matching entry of the vocabulary again and again, so
a word in the vocabulary is always one token. If all words of the captions fit into `vocab_size`, the vocabulary
consists of these words: each has one embedding, any other word becomes [UNK], and there are no fragments. If they do
not fit, the vocabulary is trained: frequent words stay whole, rare ones are split ("hand" "##ra" "##il"). Flickr8k's
training captions have 7,519 words, half of them seen once or twice; with 4,096 entries 97 % of the words are one
token. Byte-pair encoding (BPE) keeps the intermediate steps of its words ("te", "tele", "telep": 118 entries for the
33 words of five captions) and spells unknown words, where [UNK] is right. A plain word list turns every rare word
into [UNK].
"""

from __future__ import annotations

import unicodedata
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any

import regex
import torch

from .clip_tokenizer import ClipTokenizer
from .tokenizer import PAD_ID, Tokenizer, check_text

PAD, UNKNOWN, START, END = "[PAD]", "[UNK]", "[START]", "[END]"

# A word is letters and digits of any script with their combining marks (Hindi writes vowels as marks). Scripts
# without spaces between words are read character by character.
_UNSPACED = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]"
WORD = rf"{_UNSPACED}\p{{M}}*|(?:(?!{_UNSPACED})[\p{{L}}\p{{N}}]\p{{M}}*)+"
ACCENTS = "[\u0300-\u036f]"   # of Latin, Greek and Cyrillic letters
_WORD, _ACCENTS = regex.compile(WORD), regex.compile(ACCENTS)
_MAX_WORDS_IN_WARNING = 100


def split_words(text: str) -> list[str]:
    """The words of a text: lower-case, without accents and punctuation.

    "A man's T-shirt, blue!" gives a, man, s, t, shirt, blue: with or without a possessive s, "man" is one known word.
    """
    if not text.isascii():  # nearly all captions are ASCII, and this takes most of the time
        # NFKD splits an accented letter into letter and mark; the mark is removed ("é" -> "e").
        text = unicodedata.normalize("NFKC", _ACCENTS.sub("", unicodedata.normalize("NFKD", text)))
    return _WORD.findall(text.lower())


class CaptionTokenizer(Tokenizer):
    """WordPiece over the words of the training captions; made by `CaptionTokenizer.train`.

    Ids: 0 [PAD], 1 [UNK], 2 [START], then the entries, [END] last. If all words fit, entries are in order of
    frequency, equally frequent ones in alphabetical order.
    """

    name = "captions"

    def __init__(self, vocabulary: Sequence[str], known_words: Iterable[str], context_length: int = 32) -> None:
        """Takes a vocabulary in the order of its ids (see `train`)."""
        from tokenizers.models import WordPiece

        if context_length < 3:
            raise ValueError(f"context_length is {context_length}; at least 3, for start, one word and end")
        if tuple(vocabulary[:3]) != (PAD, UNKNOWN, START) or vocabulary[-1] != END:
            raise ValueError(f"expected a vocabulary {PAD}, {UNKNOWN}, {START}, ..., {END}; make it with train()")
        if len(set(vocabulary)) != len(vocabulary):
            raise ValueError("the vocabulary has an entry twice; expected one from train()")
        self.vocabulary = list(vocabulary)
        self.vocab_size = len(self.vocabulary)
        self.context_length = context_length
        self.start_id, self.end_id = 2, self.vocab_size - 1
        self._known = frozenset(known_words)
        self._model = WordPiece({entry: i for i, entry in enumerate(self.vocabulary)}, unk_token=UNKNOWN)
        # Captions repeat few words, so each is tokenized once. It also avoids the library's thread pool in the training
        # loop, which warns when a data loader forks after using it.
        self._ids_of_word: dict[str, list[int]] = {}

    @classmethod
    def train(cls, captions: Iterable[str], vocab_size: int = 8192, context_length: int = 32,
              templates: Iterable[str] = ()) -> CaptionTokenizer:
        """Makes the vocabulary from captions.

        It depends on the frequency of each word alone, not on the order of the captions or the process.

        Args:
            captions: the training captions; a caption counts as often as it is given.
            vocab_size: the largest number of entries, the four special ones included. The result's `vocab_size` is
                smaller where fewer are needed.
            context_length: largest number of tokens of a text, start and end included.
            templates: of the prompts that the model will read. Their words ("photo") get tokens too, else they would
                be [UNK]; they do not become `known_words`, because no caption shows what they look like.

        Raises:
            ValueError: no captions, a caption that is empty or no string, or a vocabulary that is too small even for
                the letters.
        """
        if isinstance(captions, str):
            raise ValueError(f"expected a list of captions, got the string {captions!r:.60}; write [{captions!r:.60}]")
        counts: Counter[str] = Counter()
        for caption in captions:
            counts.update(split_words(check_text(caption)))
        if not counts:
            raise ValueError("expected captions with words in them, got none; is the data set empty?")
        known_words = frozenset(counts)
        # A word of the templates is in many prompts: it counts like the most frequent word.
        most = max(counts.values())
        for template in templates:
            for word in split_words(check_text(template)):
                counts.setdefault(word, most)

        num_entries = vocab_size - 4
        if len(counts) <= num_entries:
            # Sorted by word within equal counts: a Counter's own order is that of the captions.
            entries = sorted(counts, key=lambda word: (-counts[word], word))
        else:
            entries = _train_wordpiece(counts, num_entries)
        return cls([PAD, UNKNOWN, START, *entries, END], known_words, context_length)

    @property
    def known_words(self) -> list[str]:
        return sorted(self._known)

    def unknown_words(self, text: str) -> list[str]:
        # dict.fromkeys: a set that keeps the order.
        return [word for word in dict.fromkeys(split_words(check_text(text))) if word not in self._known]

    def decode(self, ids: torch.Tensor | Sequence[int]) -> str:
        entries = (self.vocabulary[i] for i in self._text_ids(ids) if i != PAD_ID)
        return " ".join(entries).replace(" ##", "")

    def state(self) -> dict[str, Any]:
        return {"name": self.name, "context_length": self.context_length, "vocabulary": list(self.vocabulary),
                "known_words": self.known_words}

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = []
        for word in split_words(text):
            if word not in self._ids_of_word:
                self._ids_of_word[word] = [token.id for token in self._model.tokenize(word)]
            ids += self._ids_of_word[word]
        return ids

    def _tokens(self, text: str) -> list[str]:
        return [self.vocabulary[i] for i in self._encode(text)]


def _train_wordpiece(counts: Counter[str], num_entries: int) -> list[str]:
    """WordPiece entries for captions with more words than entries, in the order of training."""
    from tokenizers import Tokenizer as Pipeline
    from tokenizers.models import WordPiece
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from tokenizers.trainers import WordPieceTrainer

    first = sorted({word[0] for word in counts})
    later = sorted({"##" + letter for word in counts for letter in word[1:]})
    if len(first) + len(later) > num_entries:
        raise ValueError(f"vocab_size {num_entries + 4} is too small: the captions' letters alone take "
                         f"{len(first) + len(later) + 4}; raise vocab_size")
    pipeline = Pipeline(WordPiece(unk_token=UNKNOWN))
    pipeline.pre_tokenizer = WhitespaceSplit()
    # By default the trainer numbers the letters in the order of a hash map, which differs between processes, and
    # breaks ties between merges by these numbers. All letters as "special tokens" in sorted order fix both.
    trainer = WordPieceTrainer(vocab_size=num_entries, min_frequency=2, show_progress=False,
                               special_tokens=first + later)
    pipeline.train_from_iterator((" ".join([word] * count) for word, count in sorted(counts.items())), trainer)
    vocabulary = pipeline.get_vocab()
    return sorted(vocabulary, key=vocabulary.__getitem__)


def tokenizer_from_state(state: dict[str, Any]) -> Tokenizer:
    """The tokenizer that `Tokenizer.state` describes. Raises ValueError for anything else."""
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
        words: class names; each word of "traffic light" is checked.

    Returns the unknown words, in order, without repeats; without any there is no warning.
    """
    unknown = list(dict.fromkeys(word for name in words for word in tokenizer.unknown_words(name)))
    if not unknown:
        return unknown
    known = tokenizer.known_words
    close = {word: get_close_matches(word, known, n=3) for word in unknown}
    hints = "".join(f"; for {word!r} try {' or '.join(map(repr, near))}" for word, near in close.items() if near)
    # Not thousands of words, as after training on photographs.
    shown = ", ".join(known[:_MAX_WORDS_IN_WARNING])
    more = f", ... ({len(known)} in all: tokenizer.known_words)" if len(known) > _MAX_WORDS_IN_WARNING else ""
    warnings.warn(f"never seen in training: {', '.join(unknown)}; the model cannot know what they look like{hints}. "
                  f"Known words: {shown}{more}", UserWarning, stacklevel=2)
    return unknown
