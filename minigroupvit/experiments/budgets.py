"""How much a row may compute, and what a row and a budget together mean for a training.

tiny  seconds, for tests: nothing is learnt
cpu   at most five minutes of one core a row, on easier scenes: fewer kinds of objects and backgrounds
gpu   the default scenes and the steps of the recipe `scenes`
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType
from typing import Any

from ..data.scenes.config import SceneConfig
from ..data.scenes.drawings import OBJECTS
from ..data.scenes.textures import BACKGROUNDS
from ..segmentation.options import InferenceOptions
from ..training.recipes import Recipe, recipe
from .rows import FAMILIES, Model


@dataclass(frozen=True)
class Budget:
    """The reference recipe at some size, the scenes, and how much is measured."""

    recipe: Recipe                     # of the reference: steps, batch size, sizes of the model, number of scenes
    scenes: SceneConfig
    num_test: int                      # scenes that a row is measured on
    num_validation: int                # scenes that choose the learning rates
    finetune: float = 0.25             # share of the steps, of training with masks in Table 5
    finetune_lr: float = 1e-3
    jobs: int = 1                      # processes at once, unless told otherwise
    threads: int | None = None         # of the CPU, in each process; None: as torch takes them


def _reference(steps: int, batch_size: int, num_scenes: int, text: Mapping[str, Any] = MappingProxyType({}),
               **image: Any) -> Recipe:
    """The recipe `scenes_short` at another size: one stage, soft assignment, no residual."""
    base = recipe("scenes_short")
    model = replace(base.model, image=replace(base.model.image, **image), text=replace(base.model.text, **text))
    training = replace(base.training, steps=steps, batch_size=batch_size, warmup=steps // 10, eval_every=0,
                       snapshot_every=0)
    return Recipe("the reference of the tables", model, training,
                  InferenceOptions(overlap=2, pixels="shared", balance=0.03), num_scenes)


# Half of the objects and backgrounds, one drawing of each, every second one in the colours of its class: models learn
# that in minutes (results/EXPERIMENTS.md).
_EASY = SceneConfig(objects=OBJECTS[::2], backgrounds=BACKGROUNDS[::2], num_objects=(1, 2), drawings=1,
                    natural_colour=0.5)
_TINY = SceneConfig(image_size=32, objects=OBJECTS[:3], backgrounds=BACKGROUNDS[:2], drawings=1)

BUDGETS = {
    "tiny": Budget(_reference(4, 8, 80, {"width": 16, "num_heads": 2}, image_size=32, width=16, num_heads=2,
                              stem_depth=0), _TINY, num_test=8, num_validation=6, threads=1),
    "cpu": Budget(_reference(1000, 128, 16_000, width=64, num_heads=4), _EASY, num_test=500, num_validation=300,
                  threads=1),
    "gpu": Budget(_reference(8000, 128, 40_000), SceneConfig(), num_test=1000, num_validation=500, jobs=4),
}


def budget(name: str) -> Budget:
    """The budget of this name. Raises ValueError with the names there are."""
    if name not in BUDGETS:
        raise ValueError(f"unknown budget {name!r}; the budgets are {', '.join(BUDGETS)}")
    return BUDGETS[name]


@dataclass(frozen=True)
class Setup:
    """Everything that decides how a model comes out: equal setups share a trained model."""

    task: str
    recipe: Recipe
    scenes: SceneConfig

    @property
    def key(self) -> str:
        """The name of its folder."""
        return f"{self.task}-{digest(self)}"


def digest(*parts: Any) -> str:
    """Twelve digits that differ where the content of dataclasses does."""
    content = [asdict(part) if hasattr(part, "__dataclass_fields__") else part for part in parts]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def make_setup(model: Model, size: Budget, seed: int, lr: float) -> Setup:
    """The settings of a row's model at a budget. Raises ValueError for fields that there are not."""
    if model.family not in FAMILIES:
        raise ValueError(f"there is no family {model.family!r} of models; choose {', '.join(FAMILIES)}")
    base = size.recipe
    steps = max(1, round(model.steps * base.training.steps))
    training = replace(base.training, steps=steps, warmup=steps // 10, lr=lr, min_lr=lr / 100, seed=seed,
                       **model.training)
    built = replace(base.model, image=replace(base.model.image, **model.image))
    num_scenes = max(training.batch_size, round(model.num_scenes * base.num_scenes))
    return Setup(model.task, replace(base, model=built, training=training, num_scenes=num_scenes),
                 replace(size.scenes, **model.scenes))
