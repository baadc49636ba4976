"""Captions for the scenes, in many forms, as people write them.

A caption is correct, unless `SceneConfig.false_mention` says otherwise, but incomplete: it leaves out objects,
backgrounds and colours, uses synonyms, and seldom names positions. Class names are never given as labels: the nouns
of the multi-label loss are found in these texts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .dice import Dice

if TYPE_CHECKING:
    from .config import Instance, SceneConfig

# Synonyms of a class, each a single noun to the tagger. Not every class has some.
SYNONYMS: dict[str, tuple[str, ...]] = {
    "cat": ("kitty", "kitten"), "rabbit": ("bunny", "hare"), "elephant": (), "bird": ("sparrow", "birdie"),
    "fish": ("goldfish",), "butterfly": ("moth",), "tree": (), "flower": ("daisy", "bloom"),
    "mushroom": ("toadstool",), "house": ("home", "cottage"), "car": ("automobile", "auto"),
    "boat": ("ship", "yacht"), "airplane": ("plane", "jet"), "umbrella": ("parasol",), "cup": ("mug",), "shoe": (),
    "grass": ("lawn", "meadow"), "sand": ("beach", "desert"), "water": ("sea", "lake"), "brick": ("bricks", "wall"),
    "sky": ("heaven", "air"), "night": ("midnight",), "snow": ("ice", "frost"), "wood": ("timber", "planks"),
}

_PLACES: dict[str, tuple[str, ...]] = {  # where an object on this background is
    "grass": ("on the {}", "in the {}", "over the {}", "on {}"),
    "sand": ("on the {}", "in the {}", "over the {}", "on {}"),
    "water": ("on the {}", "in the {}", "over the {}", "by the {}"),
    "brick": ("on the {}", "before the {}", "against the {}", "on {}"),
    "sky": ("in the {}", "against the {}", "up in the {}", "across the {}"),
    "night": ("at {}", "in the {}", "at {}", "by {}"),
    "snow": ("in the {}", "on the {}", "over the {}", "on {}"),
    "wood": ("on the {}", "on {}", "against the {}", "before the {}"),
}
_NEEDS_THE = ("lawn", "meadow", "beach", "desert", "sea", "lake", "wall", "air")  # not "on lawn"

_ADJECTIVES = ("old", "new", "lovely", "nice", "cute", "beautiful", "funny", "shiny", "strange")
_SMALL, _LARGE = ("small", "little", "tiny"), ("big", "large", "huge")
_NUMBERS = ("no", "one", "two", "three", "four", "five", "six",
            "seven", "eight", "nine", "ten", "eleven", "twelve")
_IRREGULAR = {"fish": "fish", "goldfish": "goldfish"}


def flip_caption(caption: str) -> str:
    """The caption of the mirrored image: the words left and right are swapped."""
    other = {"left": "right", "right": "left", "Left": "Right", "Right": "Left", "LEFT": "RIGHT", "RIGHT": "LEFT"}
    return re.sub(r"\b(left|right|Left|Right|LEFT|RIGHT)\b", lambda m: other[m.group()], caption)


def plural(noun: str) -> str:
    """The plural of a class name or synonym."""
    if noun in _IRREGULAR:
        return _IRREGULAR[noun]
    if noun.endswith(("s", "sh", "ch", "x")):
        return noun + "es"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + "s"


def _with_article(phrase: str, dice: Dice) -> str:
    draw = dice.unit()
    if draw < 0.12:
        return f"the {phrase}"
    if draw < 0.17:
        return f"one {phrase}"
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"


def _word(name: str, config: SceneConfig, dice: Dice) -> str:
    words = SYNONYMS[name]
    return dice.choice(words) if dice.chance(config.synonym) and words else name


def _adjective(instance: Instance, image_size: int, dice: Dice) -> str:
    """Mostly the colour, else an unusual size, else any other adjective."""
    if dice.chance(0.7):
        return instance.colour
    x0, y0, x1, y1 = instance.box
    size = max(x1 - x0, y1 - y0) / image_size
    if size < 0.45:
        return dice.choice(_SMALL)
    return dice.choice(_LARGE if size > 0.7 else _ADJECTIVES)


def _describe(group: Sequence[Instance], adjective: bool, config: SceneConfig, dice: Dice) -> str:
    """One class of objects: "a red cat", "two cats", "the kitty and another kitty"."""
    word = _word(group[0].class_name, config, dice)
    colours = {instance.colour for instance in group}
    if len(group) > 1 and dice.chance(config.plural):
        # Two cats of different colours are not "two red cats".
        before = f"{group[0].colour} " if adjective and len(colours) == 1 else ""
        count = _NUMBERS[len(group)] if dice.chance(0.75) else "some"
        return f"{count} {before}{plural(word)}"
    phrases = []
    for instance in group:
        before = f"{_adjective(instance, config.image_size, dice)} " if adjective else ""
        phrases.append(_with_article(before + word, dice) if not phrases else f"another {before}{word}")
    return " and ".join(phrases)


def _relation(first: Instance, second: Instance, dice: Dice) -> str:
    """The position of the first relative to the second, by the centres of their boxes."""
    across = (first.box[0] + first.box[2] - second.box[0] - second.box[2]) / 2
    down = (first.box[1] + first.box[3] - second.box[1] - second.box[3]) / 2
    if abs(across) > abs(down):
        side = "left" if across < 0 else "right"
        return dice.choice((f"to the {side} of", f"{side} of", f"on the {side} of"))
    return dice.choice(("above", "over")) if down < 0 else dice.choice(("below", "under"))


def _join(phrases: list[str], dice: Dice) -> str:
    """Phrases of several objects as one."""
    if len(phrases) == 1:
        return phrases[0]
    if len(phrases) == 2:
        link = dice.choice(("and", "and", "and", "with", "next to", "beside", "near", "by"))
        return f"{phrases[0]} {link} {phrases[1]}"
    last = dice.choice((" and ", " and ", ", ", " with "))
    return ", ".join(phrases[:-1]) + last + phrases[-1]


def _background_phrases(backgrounds: Sequence[str], config: SceneConfig, dice: Dice) -> tuple[str, str]:
    """The backgrounds, upper one first, as a place ("on the grass") and as a noun ("the grass")."""
    words = [_word(name, config, dice) for name in backgrounds]
    form = dice.choice(_PLACES[backgrounds[0]])
    if words[0] in _NEEDS_THE and " the " not in form:
        form = form.replace("{}", "the {}")
    place, noun = form.format(words[0]), f"the {words[0]}"
    if len(words) == 2:
        link = dice.choice(("and", "and", "above", "over"))
        place, noun = f"{place} {link} the {words[1]}", f"{noun} {link} the {words[1]}"
    return place, noun


def write_caption(instances: Sequence[Instance], backgrounds: Sequence[str],
                  config: SceneConfig, dice: Dice) -> str:
    """The caption of a scene.

    Args:
        instances: all objects.
        backgrounds: one or two, the upper one first.
        config: the probabilities.
        dice: the scene's random numbers for captions.
    """
    groups: dict[str, list[Instance]] = {}
    for instance in dice.shuffled(instances):
        groups.setdefault(instance.class_name, []).append(instance)
    names = list(groups)
    if dice.chance(config.omit_object):
        names.remove(dice.choice(names))
    adjective = dice.chance(config.adjective)
    # With an adjective for at least one class, and seldom for all of them.
    lucky = dice.choice(names) if names else None
    phrases = {name: _describe(groups[name], adjective and (name == lucky or dice.chance(0.4)), config, dice)
               for name in names}
    named = list(phrases.values())
    if dice.chance(config.false_mention):
        absent = [name for name in config.objects if name not in groups]
        if absent:
            named.append(_with_article(_word(dice.choice(absent), config, dice), dice))

    single = [name for name in names if len(groups[name]) == 1]
    if len(single) >= 2 and dice.chance(config.position):
        first, second = single[:2]
        relation = _relation(groups[first][0], groups[second][0], dice)
        pair = f"{phrases[first]} {relation} {phrases[second]}"
        objects = _join([pair] + [p for p in named if p not in (phrases[first], phrases[second])], dice)
    else:
        objects = _join(named, dice) if named else ""

    if len(backgrounds) == 2 and dice.chance(0.35):
        backgrounds = [dice.choice(backgrounds)]
    # A caption without any object names the background: it must say something.
    if objects and dice.chance(config.omit_background):
        forms = ("{objects}", "{objects}", "there {be} {objects}", "here we see {objects}", "just {objects}",
                 "look, {objects}", "a photo of {objects}", "here {be} {objects}")
        place = noun = ""
    else:
        place, noun = _background_phrases(backgrounds, config, dice)
        forms = ("{objects} {place}", "{objects} {place}", "{objects} {place}", "{objects} {place}",
                 "there {be} {objects} {place}", "{place} there {be} {objects}", "{place} we see {objects}",
                 "{objects} and {noun}", "{noun} with {objects}", "{noun} and {objects}",
                 "a photo of {objects} {place}", "look, {objects} {place}")
        if not objects:
            forms = ("{noun}", "only {noun}", "just {noun}", "here is {noun}",
                     "a photo of {noun}", "here we are {place}")
    be = "are" if objects.split(" ")[0] in (*_NUMBERS[2:], "some") else "is"
    caption = dice.choice(forms).format(objects=objects, place=place, noun=noun, be=be)
    if dice.chance(0.2):
        caption = caption[0].upper() + caption[1:] + "."
    return caption
