"""Prompts: nouns of a caption in templates for the multi-label loss, class names in templates for zero-shot masks.

Paper (arXiv 2202.11094), section 3.2, "Multi-label image-text contrastive loss with text prompting": K nouns of each
caption (K = 3), each in a random one of CLIP's templates ("a photo of a {}."), are K more texts of the image. For
zero-shot semantic segmentation (section 3.3) the class names are put into templates in the same way.

Differences to the released code:
- Nouns only (Penn tags NN, NNS, NNP), as in the paper. The released code also takes verbs, like `include_verbs=True`.
- TextBlob's PatternTagger instead of NLTK's, because its lexicon comes with the package. It mostly looks up single
  words without context: "left" is always a verb, "key" always an adjective, "right", "gold" and "violet" always
  nouns, and so is the "photo" of "a photo of a cat" (notebook 01 counts such mistakes). One core tags 13,000 captions
  of Flickr8k per second.
- Captions are lower-cased before tagging: else the colours of "Blue sky" and "A Red Heart" would be names (NNP).
- The tagger is for English. Nouns of other languages come from a column or a function of your own
  (`open_captioned(..., nouns=...)`); captions that are not in Latin script give a warning.
- A noun counts once per caption. The released code may draw the second "dog" of a caption as another noun.
"""

from __future__ import annotations

import random
import re
import unicodedata
import warnings
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

# The paper's tags. Plural names (NNPS) are not among them, and cannot occur in lower-cased text.
NOUN_TAGS = frozenset({"NN", "NNS", "NNP"})
VERB_TAGS = frozenset({"VB", "VBG", "VBD", "VBN", "VBP", "VBZ"})

# For scenes, where CLIP's "a tattoo of a {}." or "a cartoon {}." would be wrong, and 80 templates are more than a
# small text encoder needs. By default zero-shot masks use the first one.
SIMPLE_TEMPLATES: tuple[str, ...] = (
    "a photo of a {}.", "a picture of a {}.", "a picture of the {}.", "there is a {}.", "there is a {} here.",
    "this is a {}.", "a scene with a {}.")

RandomSource = random.Random | np.random.Generator


@lru_cache(maxsize=1)
def imagenet_templates() -> tuple[str, ...]:
    """CLIP's 80 ImageNet templates, "a bad photo of a {}." and so on."""
    import open_clip  # on first use: the import takes seconds

    # open_clip has them as functions of the class name; called with "{}" they give format strings.
    return tuple(template("{}") for template in open_clip.OPENAI_IMAGENET_TEMPLATES)


def nouns(caption: str, include_verbs: bool = False) -> list[str]:
    """Nouns of a caption, lower-case, in order, without repeats; "two dogs and a dog" gives dogs, dog.

    Each distinct caption is tagged once (65,536 are cached). `include_verbs`: verbs too, as in the released code.
    Raises ValueError for a caption that is empty or no string.
    """
    if not isinstance(caption, str):
        raise ValueError(f"expected a caption, got {type(caption).__name__} {caption!r:.60}; give a string")
    if not caption.strip():
        raise ValueError(f"expected a caption with a word in it, got {caption!r:.60}; leave it out or write a word")
    return list(_tagged(caption, include_verbs))


@lru_cache(maxsize=65_536)
def _tagged(caption: str, include_verbs: bool) -> tuple[str, ...]:
    wanted = NOUN_TAGS | VERB_TAGS if include_verbs else NOUN_TAGS
    # The tagger takes "cat/dog" as one noun.
    text = caption.lower().replace("/", " / ")
    found = (_trim(word) for word, tag in _tagger().tag(text) if tag in wanted)
    # dict.fromkeys: a set that keeps the order. Marks such as "*" are tagged NN, and are empty after trimming.
    return tuple(dict.fromkeys(word for word in found if word))


def _trim(word: str) -> str:
    """Without marks at its ends; a hyphen or an apostrophe within stays."""
    return re.sub(r"^[\W_]+|[\W_]+$", "", word)


@lru_cache(maxsize=1)
def _tagger() -> Any:
    # Imported on first use: it takes a second or two, and segmentation does not need it.
    from textblob.en.taggers import PatternTagger

    return PatternTagger()


def warn_other_script(captions: Iterable[str]) -> None:
    """One UserWarning where most letters of the captions are not Latin: nouns are found in English only."""
    letters = [letter for caption in captions for letter in caption if letter.isalpha()]
    if sum(unicodedata.name(letter, "").startswith("LATIN") for letter in letters) < len(letters) / 2:
        warnings.warn(
            "the captions are mostly not in Latin script, and nouns for the multi-label loss are found in English "
            "captions only; name a column that has the nouns with nouns=..., in Python also a function of your "
            "own, or train without them (num_prompts=0)", UserWarning, stacklevel=2)


def tag_captions(captions: Iterable[str], include_verbs: bool = False, progress: bool = False) -> list[tuple[str, ...]]:
    """The nouns of each caption; each distinct caption is tagged once, before training.

    `progress`: show a progress bar. Raises ValueError for a caption that is empty or no string; the message has its
    number.
    """
    from tqdm import tqdm

    table: dict[str, tuple[str, ...]] = {}     # the cache of `nouns` is smaller than some data sets
    tagged = []
    for number, caption in enumerate(tqdm(list(captions), "tagging captions", unit="caption", disable=not progress)):
        if not isinstance(caption, str) or caption not in table:
            try:
                table[caption] = tuple(nouns(caption, include_verbs))
            except ValueError as error:
                raise ValueError(f"caption {number}: {error}") from None
        tagged.append(table[caption])
    return tagged


def sample_prompts(caption: str, num_prompts: int, templates: Sequence[str], generator: RandomSource,
                   include_verbs: bool = False, require_noun: bool = False) -> list[str]:
    """K texts for the multi-label loss: nouns of the caption, each in a random template.

    K = `num_prompts` nouns are drawn without replacement. If the caption has fewer, the caption itself is used for the
    rest, so that every image has exactly K texts.

    Args:
        generator: `random.Random` or `numpy.random.Generator`.
        require_noun: raise for a caption without nouns, instead of returning it K times.

    Raises:
        ValueError: an empty caption, K under 1, a template without its "{}"; with `require_noun` a caption without
            nouns.
    """
    found = nouns(caption, include_verbs)
    if require_noun and not found:
        raise ValueError(f"expected a caption with a noun, got {caption!r:.60}; name an object that can be seen")
    return prompts_from_nouns(caption, found, num_prompts, templates, generator)


def prompts_from_nouns(caption: str, caption_nouns: Sequence[str], num_prompts: int, templates: Sequence[str],
                       generator: RandomSource) -> list[str]:
    """`sample_prompts` for a caption whose nouns are known (`tag_captions`)."""
    if num_prompts < 1:
        raise ValueError(f"num_prompts is {num_prompts}; at least 1, or switch the multi-label loss off")
    _check_templates(templates)
    left = list(caption_nouns)
    prompts = []
    for _ in range(min(num_prompts, len(left))):
        noun = left.pop(_draw(len(left), generator))
        prompts.append(templates[_draw(len(templates), generator)].format(noun))
    return prompts + [caption] * (num_prompts - len(prompts))


def class_prompts(class_names: Sequence[str], templates: Sequence[str]) -> list[list[str]]:
    """Every class name in every template: (classes x templates) texts for zero-shot masks.

    Raises:
        ValueError: no classes, a name that is empty or no string, a name that comes twice (upper or lower case), no
            templates or one without its "{}".
    """
    if isinstance(class_names, str):
        raise ValueError(f"expected a list of class names, got the string {class_names!r:.60}; write "
                         f"[{class_names!r:.60}]")
    if len(class_names) == 0:
        raise ValueError("expected a list of class names, got an empty one; give at least one name")
    _check_templates(templates)
    seen: dict[str, str] = {}     # lower-case: as given
    for number, name in enumerate(class_names):
        if not isinstance(name, str) or not name.strip():
            raise ValueError(f"class name {number} is {name!r:.60}, expected a word; leave it out or write one")
        # "cat" and " Cat " are the same class.
        name = " ".join(name.split())
        if name.lower() in seen:
            raise ValueError(f"class name {name!r:.60} repeats {seen[name.lower()]!r}; give each class once (two equal "
                             "classes would get each pixel by chance)")
        seen[name.lower()] = name
    return [[template.format(name) for template in templates] for name in seen.values()]


def _draw(count: int, generator: RandomSource) -> int:
    """A uniform number from 0 to count - 1."""
    return int(generator.random() * count)


def _check_templates(templates: Sequence[str]) -> None:
    if isinstance(templates, str):
        raise ValueError(f"expected a list of templates, got the string {templates!r:.60}; write [{templates!r:.60}]")
    if len(templates) == 0:
        raise ValueError("expected a list of templates, got an empty one; give at least one, such as "
                         "'a photo of a {}.'")
    for template in templates:
        _check_template(template)


@lru_cache(maxsize=1024)  # the same few templates come with every training caption
def _check_template(template: str) -> None:
    if not isinstance(template, str) or template.count("{}") != 1 or re.search("[{}]", template.replace("{}", "")):
        raise ValueError(f"template {template!r:.60} needs '{{}}', the place for the word, exactly once, and no other "
                         "braces")
