"""Both tokenizers: their common interface, and what is special to one of them."""

import json
import random
import subprocess
import sys
import warnings

import pytest
import torch
from hypothesis import given, settings, strategies as st

from minigroupvit.text.caption_tokenizer import CaptionTokenizer, split_words, tokenizer_from_state, warn_unknown
from minigroupvit.text.clip_tokenizer import ClipTokenizer
from minigroupvit.text.tokenizer import Tokenizer

CAPTIONS = [
    "a red heart and a cloud over the grass",
    "there is an old telephone on the sand",
    "Two stars above a castle at night.",
    "kitty next to a yellow sun, on the left!",
]
WORDS = sorted({word for caption in CAPTIONS for word in split_words(caption)})


@pytest.fixture(scope="module")
def captions() -> CaptionTokenizer:
    return CaptionTokenizer.train(CAPTIONS, context_length=12)


@pytest.fixture(scope="module")
def clip() -> ClipTokenizer:
    return ClipTokenizer()


@pytest.fixture(params=["captions", "clip"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return request.getfixturevalue(request.param)


def many_words(count: int = 400) -> list[str]:
    """Captions of more words than a small vocabulary holds, many of them equally frequent."""
    rng = random.Random(0)
    words = ["".join(rng.choices("abcdefghij", k=rng.randint(2, 8))) for _ in range(count)]
    return ["the " + " ".join(rng.sample(words, 6)) for _ in range(300)]


# ---------------------------------------------------------------- the interface


def test_batch_is_framed_and_padded_to_its_longest_text(tokenizer: Tokenizer) -> None:
    ids = tokenizer(["a heart", "a red heart and a cloud"])
    assert ids.dtype == torch.long and ids.shape == (2, 6 + 2)
    assert (ids[:, 0] == tokenizer.start_id).all()
    assert ids[0, 3] == tokenizer.end_id and ids[1, 7] == tokenizer.end_id
    assert (ids[0, 4:] == 0).all()
    assert tokenizer(["a heart"]).shape == (1, 4)  # not the context length


def test_argmax_finds_the_end(tokenizer: Tokenizer) -> None:
    ids = tokenizer([*CAPTIONS, "sun"])
    ends = ids.argmax(-1)
    assert tokenizer.end_id == tokenizer.vocab_size - 1
    assert (ids.gather(1, ends[:, None]) == tokenizer.end_id).all()
    assert (ids == tokenizer.end_id).sum(-1).tolist() == [1] * 5
    assert ends.tolist() == [len(tokenizer.tokens(text)) + 1 for text in [*CAPTIONS, "sun"]]


def test_round_trip(tokenizer: Tokenizer) -> None:
    texts = ["a red heart and a cloud", "the sun"]
    assert [tokenizer.decode(row) for row in tokenizer(texts)] == texts
    assert tokenizer.decode(tokenizer(texts)[0].tolist()) == texts[0]


def test_too_long_texts_are_truncated_and_keep_their_end_token(tokenizer: Tokenizer) -> None:
    text = "sun " * 200
    ids = tokenizer([text])
    assert ids.shape == (1, tokenizer.context_length) and ids[0, -1] == tokenizer.end_id
    assert tokenizer.decode(ids[0]).split() == ["sun"] * (tokenizer.context_length - 2)
    fits = "sun " * (tokenizer.context_length - 2)
    assert torch.equal(tokenizer([fits], truncate=False), ids)
    with pytest.raises(ValueError, match=f"200 tokens, at most {tokenizer.context_length - 2} fit"):
        tokenizer([text], truncate=False)


def test_state_survives_json(tokenizer: Tokenizer) -> None:
    again = tokenizer_from_state(json.loads(json.dumps(tokenizer.state())))
    assert type(again) is type(tokenizer) and again.state() == tokenizer.state()
    assert (again.vocab_size, again.context_length) == (tokenizer.vocab_size, tokenizer.context_length)
    assert torch.equal(again([*CAPTIONS, "zebra"]), tokenizer([*CAPTIONS, "zebra"]))
    assert again.unknown_words("sun zebra") == tokenizer.unknown_words("sun zebra")


@pytest.mark.parametrize("bad", ["", "  \n", 7, None, b"sun"])
def test_a_text_that_is_none(tokenizer: Tokenizer, bad: object) -> None:
    with pytest.raises(ValueError, match="expected a text"):
        tokenizer(["sun", bad])
    with pytest.raises(ValueError, match="expected a text"):
        tokenizer.tokens(bad)


def test_a_batch_that_is_none(tokenizer: Tokenizer) -> None:
    with pytest.raises(ValueError, match="expected a list of texts, got the string 'sun'"):
        tokenizer("sun")
    with pytest.raises(ValueError, match="empty"):
        tokenizer([])
    with pytest.raises(ValueError, match="one row"):
        tokenizer.decode(tokenizer(CAPTIONS))
    with pytest.raises(ValueError, match="another tokenizer"):
        tokenizer.decode([tokenizer.vocab_size])


@pytest.mark.parametrize("state", [{}, {"name": "words"}, {"name": "clip"}, {"name": "captions"}, [], None])
def test_state_that_is_none(state: object) -> None:
    with pytest.raises(ValueError, match="expected"):
        tokenizer_from_state(state)


# ---------------------------------------------------------------- captions


def test_words_of_the_captions_are_whole_and_others_unknown(captions: CaptionTokenizer) -> None:
    assert captions.known_words == WORDS
    assert captions.vocab_size == len(WORDS) + 4
    for word in WORDS:
        assert captions.tokens(word) == [word]
    # Not the known word "sun" and a rest: an unknown word must be seen to be unknown.
    assert captions.tokens("sunny Suns sun") == ["[UNK]", "[UNK]", "sun"]
    assert captions.decode(captions(["a zebra"])[0]) == "a [UNK]"


def test_case_accents_and_punctuation_do_not_matter(captions: CaptionTokenizer) -> None:
    assert split_words("A man's T-shirt, blue! Café_no.2") == ["a", "man", "s", "t", "shirt", "blue", "cafe", "no", "2"]
    assert torch.equal(captions(["A RED, heárt!"]), captions(["a red heart"]))
    with pytest.raises(ValueError, match="with a word in it, got '!!'"):
        captions(["!!"])


def test_ids_go_by_frequency_then_alphabet() -> None:
    assert CaptionTokenizer.train(["b a c", "c b", "d"]).vocabulary[3:-1] == ["b", "c", "a", "d"]


@settings(max_examples=30, deadline=None)
@given(st.permutations(CAPTIONS))
def test_order_of_captions_does_not_matter(shuffled: list[str]) -> None:
    assert CaptionTokenizer.train(shuffled).state() == CaptionTokenizer.train(CAPTIONS).state()


def test_small_vocabulary_spells_rare_words() -> None:
    captions = many_words()
    tokenizer = CaptionTokenizer.train(captions, vocab_size=120, context_length=64)
    assert tokenizer.vocab_size == 120
    assert tokenizer.tokens("the") == ["the"]  # in every caption: whole
    assert any(len(tokenizer.tokens(word)) > 1 for word in tokenizer.known_words)
    for caption in captions[:50]:
        assert "[UNK]" not in tokenizer.tokens(caption)
        assert tokenizer.decode(tokenizer([caption])[0]) == caption
    # It can be spelt, and still was never seen.
    assert "[UNK]" not in tokenizer.tokens("abcabcabc") and tokenizer.unknown_words("the abcabcabc") == ["abcabcabc"]
    assert tokenizer.tokens("zzz") == ["[UNK]"]
    again = tokenizer_from_state(json.loads(json.dumps(tokenizer.state())))
    assert torch.equal(again(captions), tokenizer(captions))


def test_small_vocabulary_is_the_same_in_every_process() -> None:
    """The library's trainer alone is not: it numbers letters in the order of a hash map."""
    captions = many_words()
    expected = CaptionTokenizer.train(captions, vocab_size=120).vocabulary
    for seed in range(3):  # several times within a process: each training hashes differently
        random.Random(seed).shuffle(captions)
        assert CaptionTokenizer.train(captions, vocab_size=120).vocabulary == expected
    program = (
        "import json, sys; from minigroupvit.text.caption_tokenizer import CaptionTokenizer;"
        "print(json.dumps(CaptionTokenizer.train(json.load(sys.stdin), vocab_size=120).vocabulary))"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], input=json.dumps(captions), capture_output=True, text=True, check=True
    )
    assert json.loads(run.stdout) == expected


def test_vocabulary_exactly_large_enough_keeps_words_whole() -> None:
    captions = many_words()
    words = {word for caption in captions for word in caption.split()}
    exact = CaptionTokenizer.train(captions, vocab_size=len(words) + 4)
    assert set(exact.vocabulary[3:-1]) == words
    one_less = CaptionTokenizer.train(captions, vocab_size=len(words) + 3)
    assert any(entry.startswith("##") for entry in one_less.vocabulary)


def test_words_of_templates_have_tokens_but_are_not_known() -> None:
    tokenizer = CaptionTokenizer.train(CAPTIONS, templates=["a photo of a {}.", "this is a {}."])
    assert tokenizer.tokens("a photo of a sun.") == ["a", "photo", "of", "a", "sun"]
    assert tokenizer.known_words == WORDS and tokenizer.unknown_words("photo of a sun") == ["photo", "of"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"captions": []}, "got none"),
        ({"captions": ["!"]}, "got none"),
        ({"captions": "a sun"}, "got the string 'a sun'"),
        ({"captions": ["a sun", ""]}, "expected a text"),
        ({"captions": ["a sun", None]}, "got NoneType None"),
        ({"captions": CAPTIONS, "vocab_size": 20}, "letters alone take 37; raise vocab_size"),
        ({"captions": CAPTIONS, "context_length": 2}, "at least 3"),
    ],
)
def test_training_refuses(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CaptionTokenizer.train(**arguments)


def test_vocabulary_of_the_wrong_form() -> None:
    with pytest.raises(ValueError, match="make it with train"):
        CaptionTokenizer(["sun", "moon", "[END]"], [])
    with pytest.raises(ValueError, match="twice"):
        CaptionTokenizer(["[PAD]", "[UNK]", "[START]", "sun", "sun", "[END]"], [])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(min_size=1), min_size=1, max_size=4))
def test_any_text_gives_a_valid_row_or_a_value_error(captions: CaptionTokenizer, texts: list[str]) -> None:
    if not all(split_words(text) for text in texts):
        with pytest.raises(ValueError):
            captions(texts)
        return
    ids = captions(texts)
    assert ids.shape[1] == min(12, 2 + max(len(split_words(text)) for text in texts))
    assert (ids.amax(-1) == captions.end_id).all() and ids.min() >= 0


# ---------------------------------------------------------------- clip


def test_clip_is_open_clips_truncated_to_the_longest(clip: ClipTokenizer) -> None:
    import open_clip

    texts = [*CAPTIONS, "A skateboarder's grindrail, naïve!", "sun " * 200]
    expected = open_clip.get_tokenizer("ViT-B-32")(texts)
    assert torch.equal(clip(texts), expected)
    assert torch.equal(clip(CAPTIONS), expected[:4, : clip(CAPTIONS).shape[1]])
    assert (expected[:4, clip(CAPTIONS).shape[1] :] == 0).all()
    assert (clip.vocab_size, clip.end_id, clip.context_length) == (49408, 49407, 77)


def test_clip_tokens_and_words(clip: ClipTokenizer) -> None:
    assert clip.tokens("A skateboarder's é") == ["a", "skate", "##boarder", "'s", "é"]
    assert "".join(clip.tokens("grindrail é")).replace("##", "") == "grindrailé"
    assert clip.unknown_words("qwertyuiop") == [] and clip.known_words == []


def test_importing_the_module_is_cheap() -> None:
    program = ("import sys, minigroupvit.text.caption_tokenizer, minigroupvit.text.prompts; "
               "print('open_clip' in sys.modules, 'textblob' in sys.modules)")
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["False", "False"]


# ---------------------------------------------------------------- the warning


def test_one_warning_for_all_unknown_words(captions: CaptionTokenizer) -> None:
    with pytest.warns(UserWarning) as caught:
        unknown = warn_unknown(captions, ["sun", "traffic light", "Hearts", "light"])
    assert unknown == ["traffic", "light", "hearts"]
    assert len(caught) == 1
    message = str(caught[0].message)
    assert "never seen in training: traffic, light, hearts" in message
    assert "for 'hearts' try 'heart'" in message
    assert ", ".join(WORDS) in message
    assert caught[0].filename == __file__  # points at the caller


def test_no_warning_without_unknown_words(captions: CaptionTokenizer, clip: ClipTokenizer) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert warn_unknown(captions, ["sun", "red heart"]) == []
        assert warn_unknown(clip, ["qwertyuiop"]) == []


def test_long_lists_of_known_words_are_shortened() -> None:
    tokenizer = CaptionTokenizer.train(many_words())
    with pytest.warns(UserWarning, match=rf"\({len(tokenizer.known_words)} in all") as caught:
        warn_unknown(tokenizer, ["zebra"])
    assert str(caught[0].message).count(", ") < 110
