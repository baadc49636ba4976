"""The configuration of the scenes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .drawings import OBJECTS
from .textures import BACKGROUNDS

# "unseen" is "test" with another drawing of every object, one that no other split shows.
SPLITS = ("train", "validation", "test", "unseen")


def check_split(split: str) -> None:
    """Raises ValueError for a split that does not exist."""
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {split!r}; choose one of them")


@dataclass(frozen=True)
class SceneConfig:
    """How the scenes look and how they are described. All reported metrics are of the defaults.

    Raises:
        ValueError: for a value outside its range, or names that are not in the vocabulary.
    """

    image_size: int = 64                             # side of the square image in pixels
    num_objects: tuple[int, int] = (1, 3)            # fewest and most objects, all numbers equally likely
    object_size: tuple[float, float] = (0.45, 0.85)  # longer side of an object, as a fraction of image_size
    objects: tuple[str, ...] = OBJECTS               # vocabulary of objects
    backgrounds: tuple[str, ...] = BACKGROUNDS       # vocabulary of backgrounds
    drawings: int | None = None                      # of each object, in every split but unseen; None: all there are
    rotation: float = 20.0                           # objects are rotated by at most so many degrees
    natural_colour: float = 0.0                      # probability of the colours usual for the object
    repeat: float = 0.12                             # probability that a further object repeats a class
    second_background: float = 0.2                   # probability of two backgrounds
    noise: float = 5.0                               # amplitude of the grain, in grey levels of 255
    # The captions: each a probability.
    omit_object: float = 1 / 7                       # one of the classes of objects is left out
    omit_background: float = 1 / 6                   # no background is named
    adjective: float = 0.4                           # colours or other adjectives are named
    synonym: float = 0.15                            # a class is called by a synonym
    plural: float = 0.8                              # two of a class are "two cats", not "a cat and a cat"
    position: float = 0.3                            # says what is left of, right of, above, below
    false_mention: float = 0.0                       # names an object that is not there

    @property
    def class_names(self) -> tuple[str, ...]:
        """All classes in the order of the mask's values: objects, then backgrounds."""
        return self.objects + self.backgrounds

    def __post_init__(self) -> None:
        for field in ("num_objects", "object_size", "objects", "backgrounds"):
            if isinstance(getattr(self, field), list):  # as JSON gives them back
                object.__setattr__(self, field, tuple(getattr(self, field)))
        if not isinstance(self.image_size, int) or not 16 <= self.image_size <= 512:
            raise ValueError(f"image_size must be a whole number from 16 to 512, got {self.image_size!r}; 64 is usual")
        for field, low, high in (("num_objects", 1, 12), ("object_size", 0.1, 0.95)):
            value = getattr(self, field)
            if not isinstance(value, tuple) or len(value) != 2 or not low <= value[0] <= value[1] <= high:
                raise ValueError(f"{field} must be (least, most) between {low} and {high}, got {value!r}; "
                                 "give two numbers in this order")
        if not all(isinstance(number, int) for number in self.num_objects):
            raise ValueError(f"num_objects counts objects, got {self.num_objects}; give whole numbers")
        for field, known in (("objects", OBJECTS), ("backgrounds", BACKGROUNDS)):
            value = getattr(self, field)
            wrong = [name for name in value if name not in known]
            if isinstance(value, str) or not value or wrong or len(set(value)) != len(value):
                raise ValueError(f"{field} must be different names out of {', '.join(known)}; got {value!r}; "
                                 "leave out what is unknown or repeated")
        if self.drawings is not None and (not isinstance(self.drawings, int) or self.drawings < 1):
            raise ValueError(f"drawings counts the drawings of each object, got {self.drawings!r}; give 1 or more, or "
                             "None for all")
        for field in ("natural_colour", "repeat", "second_background", "omit_object", "omit_background",
                      "adjective", "synonym", "plural", "position", "false_mention"):
            value = getattr(self, field)
            if not 0 <= value <= 1:
                raise ValueError(f"{field} is a probability from 0 to 1, got {value!r}; one in five is 0.2")
        for field, high in (("rotation", 180), ("noise", 64)):
            value = getattr(self, field)
            if not 0 <= value <= high:
                raise ValueError(f"{field} must be from 0 to {high}, got {value!r}; choose a value between")


@dataclass(frozen=True, eq=False)
class Instance:
    """One object of a scene."""

    class_name: str                  # one of the objects of the configuration
    colour: str                      # of its main part: a name of `textures.PALETTE`
    second_colour: str               # of its second part
    drawing: int                     # which of the object's drawings, from 0
    mask: np.ndarray                 # (H, W) bool, its visible pixels
    box: tuple[int, int, int, int]   # x0, y0, x1, y1 around them; x1 and y1 are just outside
