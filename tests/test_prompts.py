"""Nouns, the prompts made of them, and class prompts."""

import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from minigroupvit.text import prompts
from minigroupvit.text.prompts import (
    SIMPLE_TEMPLATES,
    class_prompts,
    nouns,
    prompts_from_nouns,
    sample_prompts,
    tag_captions,
)

PHOTO = ("a photo of a {}.",)


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("a red heart and a cloud over the grass", ["heart", "cloud", "grass"]),
        ("there is an old telephone on the sand", ["telephone", "sand"]),
        ("two stars above a castle at night", ["stars", "castle", "night"]),
        ("kitty next to a yellow sun on the left", ["kitty", "sun"]),  # "left" is a verb to the tagger
        ("A Red Heart.", ["heart"]),  # as it stands, "Red" would be a name
        ("Blue sky over snow", ["sky", "snow"]),
        ("sun/moon, * scissors!", ["sun", "moon", "scissors"]),
        ("a dog and a dog and a Dog", ["dog"]),
        ("it is red", []),
    ],
)
def test_nouns(caption: str, expected: list[str]) -> None:
    assert nouns(caption) == expected


def test_verbs_are_taken_on_demand_and_in_order() -> None:
    caption = "the dog is chasing a cat which ran and eats"
    assert nouns(caption) == ["dog", "cat"]
    assert nouns(caption, include_verbs=True) == ["dog", "is", "chasing", "cat", "ran", "eats"]


def test_the_tags_are_those_of_the_paper_and_the_released_code() -> None:
    assert prompts.NOUN_TAGS == {"NN", "NNS", "NNP"}
    assert prompts.VERB_TAGS == {"VB", "VBG", "VBD", "VBN", "VBP", "VBZ"}


def test_changing_a_result_does_not_change_the_memory() -> None:
    nouns("a cat on a wall").append("dog")
    assert nouns("a cat on a wall") == ["cat", "wall"]


@pytest.mark.parametrize("bad", ["", " \t", None, 3, b"a cat", ["a cat"]])
def test_a_caption_that_is_none(bad: object) -> None:
    with pytest.raises(ValueError, match="expected a caption"):
        nouns(bad)
    with pytest.raises(ValueError, match="expected a caption"):
        sample_prompts(bad, 3, PHOTO, random.Random(0))
    with pytest.raises(ValueError, match="caption 1: expected a caption"):
        tag_captions(["a cat", bad])


def test_tag_captions_tags_each_distinct_caption_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Counter()

    def count(caption: str, include_verbs: bool = False) -> list[str]:
        calls[caption] += 1
        return nouns(caption, include_verbs)

    monkeypatch.setattr(prompts, "nouns", count)
    captions = ["a cat runs", "the sun", "a cat runs"]
    assert tag_captions(captions) == [("cat",), ("sun",), ("cat",)]
    assert calls == {"a cat runs": 1, "the sun": 1}
    assert tag_captions(iter(captions), include_verbs=True, progress=True)[0] == ("cat", "runs")


# ---------------------------------------------------------------- prompts for training


@pytest.mark.parametrize("make", [random.Random, np.random.default_rng])
def test_nouns_are_drawn_without_replacement_each_as_often(make) -> None:
    caption, generator = "a cat, a dog, a sun and a wall", make(0)
    counts = Counter()
    for _ in range(2000):
        drawn = sample_prompts(caption, 3, PHOTO, generator)
        assert len(set(drawn)) == 3
        counts.update(drawn)
    assert set(counts) == {f"a photo of a {noun}." for noun in ("cat", "dog", "sun", "wall")}
    # Each is drawn in three of four cases: 1500 of 2000, standard deviation 19.
    assert all(abs(count - 1500) < 100 for count in counts.values())


def test_each_prompt_draws_its_own_template() -> None:
    generator, counts, equal = random.Random(0), Counter(), 0
    for _ in range(1000):
        first, second = sample_prompts("a cat and a dog", 2, ["A {}", "B {}", "C {}", "D {}"], generator)
        counts.update([first[0], second[0]])
        equal += first[0] == second[0]
    assert all(abs(counts[letter] - 500) < 100 for letter in "ABCD")
    assert 180 < equal < 320  # one in four, if they are independent


def test_captions_with_few_nouns_are_padded_with_themselves() -> None:
    caption = "A cat, it is red"
    assert sample_prompts(caption, 3, PHOTO, random.Random(0)) == ["a photo of a cat.", caption, caption]
    assert sample_prompts("It is red", 2, PHOTO, random.Random(0)) == ["It is red"] * 2
    with pytest.raises(ValueError, match="expected a caption with a noun, got 'It is red'"):
        sample_prompts("It is red", 2, PHOTO, random.Random(0), require_noun=True)


def test_verbs_reach_the_prompts() -> None:
    assert sample_prompts("cat runs", 2, ["{}"], random.Random(0)) == ["cat", "cat runs"]
    assert sorted(sample_prompts("cat runs", 2, ["{}"], random.Random(0), include_verbs=True)) == ["cat", "runs"]


def test_same_seed_same_prompts() -> None:
    def draw(seed: int) -> list[list[str]]:
        generator = random.Random(seed)
        return [sample_prompts("a cat, a dog, a sun", 2, SIMPLE_TEMPLATES, generator) for _ in range(5)]

    assert draw(1) == draw(1) != draw(2)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.sampled_from("cat dog sun moon wall sea".split()), unique=True),
    st.integers(1, 5),
    st.integers(0, 1000),
)
def test_always_k_prompts(words: list[str], num_prompts: int, seed: int) -> None:
    given_words = list(words)
    result = prompts_from_nouns("the caption", words, num_prompts, ["{}"], random.Random(seed))
    taken = min(num_prompts, len(words))
    assert len(result) == num_prompts
    assert set(result[:taken]) <= set(words) and len(set(result[:taken])) == taken
    assert result[taken:] == ["the caption"] * (num_prompts - taken)
    assert words == given_words  # drawn from a copy


@pytest.mark.parametrize("templates", [[], "a {}.", ["a photo."], ["{} {}"], ["{0}"], ["{} {"], [None]])
def test_templates_that_are_none(templates: object) -> None:
    with pytest.raises(ValueError, match="template"):
        sample_prompts("a cat", 1, templates, random.Random(0))
    with pytest.raises(ValueError, match="template"):
        class_prompts(["cat"], templates)


def test_no_prompts_is_no_number() -> None:
    with pytest.raises(ValueError, match="num_prompts is 0"):
        sample_prompts("a cat", 0, PHOTO, random.Random(0))


# ---------------------------------------------------------------- templates and class prompts


def test_the_80_templates_of_clip() -> None:
    import open_clip

    templates = prompts.imagenet_templates()
    assert len(templates) == len(set(templates)) == 80
    assert "a photo of a {}." in templates and "a tattoo of the {}." in templates
    assert [template.format("cat") for template in templates] == [
        function("cat") for function in open_clip.OPENAI_IMAGENET_TEMPLATES
    ]


def test_simple_templates_add_no_noun_but_the_words_of_pictures() -> None:
    assert len(set(SIMPLE_TEMPLATES)) == len(SIMPLE_TEMPLATES) >= 5
    for template in SIMPLE_TEMPLATES:
        assert set(nouns(template.format("cat"))) <= {"cat", "photo", "picture", "scene"}


def test_class_prompts_are_classes_by_templates() -> None:
    assert class_prompts(["sun", "traffic  light "], ["a {}.", "the {}."]) == [
        ["a sun.", "the sun."],
        ["a traffic light.", "the traffic light."],
    ]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "got an empty one"),
        ("sun", "got the string 'sun'"),
        (["sun", ""], "class name 1 is ''"),
        (["sun", "  "], "class name 1 is '  '"),
        (["sun", None], "class name 1 is None"),
        (["sun", "moon", " Sun"], "'Sun' repeats 'sun'"),
    ],
)
def test_class_names_that_are_none(names: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        class_prompts(names, PHOTO)
