"""Captions."""

import random

from torch import Generator, randint

_NOUNS = ["cat", "boat", "cup", "sky", "tree", "shoe"]


def _some(words: list[str], number: int, draw: Generator) -> list[str]:
    """So many words, one may come several times."""
    return [words[i] for i in randint(len(words), (number,), generator=draw).tolist()]


def _random(draw: Generator) -> random.Random:
    return random.Random(int(randint(2**31, (), generator=draw)))


class my_prompts:
    def few(answer, draw):
        """fewer nouns than k, or none: the caption for the rest"""
        rng = _random(draw)
        found, caption = rng.sample(_NOUNS, 3), f"look, {rng.choice(_NOUNS)}"
        given = answer(caption, list(found), 5, ("a {}.",), _random(draw))
        return [sorted(given), given[3:], answer(caption, [], 2, ("a {}.",), _random(draw))]

    def drawn(answer, draw):
        """more nouns than k: k different ones, and in many draws every noun in every template"""
        found = _random(draw).sample(_NOUNS, 4)
        given = [answer("look", list(found), 2, ("a {}", "the {}"), _random(draw)) for _ in range(200)]
        lengths = {len(texts) for texts in given}
        distinct = {len({text.split()[-1] for text in texts}) for texts in given}
        mixed = {len({text.split()[0] for text in texts}) for texts in given}
        first = {texts[0] for texts in given}
        return [sorted(lengths), sorted(distinct), sorted(mixed), sorted(first)]

    def seed(answer, draw):
        """the same seed, the same prompts; and the list of nouns stays as it is"""
        found, seed = list(_NOUNS), int(randint(2**31, (), generator=draw))
        given = [answer("look", found, 6, ("a {}", "the {}", "one {}"), random.Random(seed)) for _ in range(4)]
        return [found, sorted(text.split()[-1] for text in given[0]), [texts == given[0] for texts in given]]


def _ids(draw: Generator) -> dict[str, int]:
    """A vocabulary of four words in any order, with the special entries."""
    words = _random(draw).sample(_NOUNS, 4)
    return {entry: i for i, entry in enumerate(["[PAD]", "[UNK]", "[START]", *words, "[END]"])}


class my_ids:
    def padding(answer, draw):
        """texts of different lengths, all words known"""
        id_of = _ids(draw)
        return answer([" ".join(_some(list(id_of)[3:-1], n, draw)) for n in (2, 5, 1)], id_of, 32)

    def words(answer, draw):
        """capitals, punctuation and unknown words"""
        words = [*_NOUNS, "Cat,", "BOAT!", "zebra"]
        return answer([" ".join([*_some(words, n, draw), "Sky."]) for n in (3, 6)], _ids(draw), 32)

    def long(answer, draw):
        """texts that are too long, and the length of the batch after truncation"""
        id_of, context_length = _ids(draw), int(randint(4, 8, (), generator=draw))
        known = list(id_of)[3:-1]
        return [answer([" ".join(_some(known, n, draw)) for n in (9, context_length - 2, 1)], id_of, context_length),
                answer([" ".join(_some(known, n, draw)) for n in (1, 2)], id_of, context_length)]


def _counts(draw: Generator) -> dict[str, int]:
    """Up to 12 words of two to five letters out of four, each with its own number of times."""
    words = ["".join("aest"[i] for i in randint(4, (length,), generator=draw).tolist())
             for length in randint(2, 6, (12,), generator=draw).tolist()]
    return {word: 1 + int(randint(9, (), generator=draw)) for word in words}


_LETTERS = [*"aest", *("##" + letter for letter in "aest")]


class train_bpe:
    def first(answer, draw):
        """the first merge, of the most frequent pair"""
        return answer(_counts(draw), list(_LETTERS), len(_LETTERS) + 1)

    def several(answer, draw):
        """six merges one after the other, pairs that are equally frequent among them"""
        return answer(_counts(draw), list(_LETTERS), len(_LETTERS) + 6)

    def many(answer, draw):
        """a larger vocabulary, and the words and letters that were given stay as they were"""
        counts, letters = _counts(draw), list(_LETTERS)
        return [answer(counts, letters, len(_LETTERS) + 12), sorted(counts.items()), letters]
