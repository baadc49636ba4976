"""Recipes: a model and how it is trained, by name. `python -m minigroupvit train --recipe NAME`.

Those of the scenes are the shipped weights; `scripts/make_weights.py` makes them again, and
`data/weights/NAME.json` holds their measured figures.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from ..config import GroupViTConfig, preset
from ..segmentation import Protocol
from .loop import TrainConfig


@dataclass(frozen=True)
class Recipe:
    """Everything that decides how a model comes out, but the data."""

    about: str                                             # one line for `--help`
    model: GroupViTConfig
    training: TrainConfig = TrainConfig()
    protocol: Protocol = field(default_factory=Protocol)   # how its masks are made
    num_scenes: int = 40_000                               # of the split train
    grown_from: str | None = None                          # weights that it starts from, where they fit: see `load`


def _scenes(**image: object) -> GroupViTConfig:
    """The small model with other choices in its image encoder."""
    base = preset("scenes")
    return replace(base, image=replace(base.image, **image))


# A patch at every quarter of a patch: masks are finer than what the model was trained on.
_DENSE = Protocol(overlap=4, pixels="shared")
# Each pixel named by all its groups, and words that are everywhere have to be surer. Chosen on validation scenes.
_BALANCED = replace(_DENSE, balance=0.03)
# Sharper from step to step: in the end a group holds what its mask shows, and nothing else. And
# nouns look for single segments too, so that each piece learns to say its name by itself.
_SHARPENED = TrainConfig(final_temperature=0.1, segment_weight=1.0)

RECIPES: dict[str, Recipe] = {
    "scenes": Recipe(
        "the best model of the scenes: one stage, soft assignment, no residual", _scenes(), _SHARPENED, _BALANCED),
    "scenes_projected": Recipe(
        "the same with the paper's residual: names part from places",
        _scenes(residual="projected"), _SHARPENED, _BALANCED),
    "scenes_2stage": Recipe(
        "two stages, 16 groups and then 8, hard in the end; grown from the one stage of `scenes`",
        _scenes(depths=(0, 0), num_group_tokens=(16, 8), num_output_groups=(16, 8), gumbel_noise=0.01, temperature=0.1),
        replace(_SHARPENED, steps=600, lr=5e-4, warmup=50, final_temperature=0.05, hard_from=0.8, eval_every=100,
                information_weight=1.0), _BALANCED, grown_from="scenes"),
    "scenes_clip_vit": Recipe(
        "the same Transformer without groups, image-text loss alone",
        _scenes(num_group_tokens=(0,), num_output_groups=(0,)), TrainConfig(num_prompts=0, snapshot_every=0),
        _DENSE),
}


def recipe(name: str) -> Recipe:
    """The recipe of this name. Raises ValueError with the names there are."""
    if name not in RECIPES:
        raise ValueError(f"unknown recipe {name!r}; the recipes are {', '.join(RECIPES)}")
    return RECIPES[name]
