"""Captions."""

from torch import Generator, randint


def _counts(draw: Generator) -> dict[str, int]:
    """Up to 12 words of two to five letters out of four, each with its own number of times."""
    words = ["".join("aest"[i] for i in randint(4, (length,), generator=draw).tolist())
             for length in randint(2, 6, (12,), generator=draw).tolist()]
    return {word: 1 + int(randint(9, (), generator=draw)) for word in words}


_LETTERS = [*"aest", *("##" + letter for letter in "aest")]


class learn_pieces:
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
