"""Recipes: a model and how it is trained, by name. `python -m minigroupvit train --recipe NAME`.

`scripts/make_weights.py` makes the shipped weights of the scenes again, `scripts/make_photographs.py`
those of the photographs; `data/weights/NAME.json` (`data/photographs/NAME.json`) holds their metrics.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from ..config import GroupViTConfig, ImageConfig, TextConfig, preset
from ..data.captioned.augment import PAPER, Augmentation
from ..segmentation.options import InferenceOptions, released_sizes
from .config import TrainConfig


@dataclass(frozen=True)
class Recipe:
    """Everything that decides how a model comes out, but the data."""

    about: str                                             # one line for `--help`
    model: GroupViTConfig
    training: TrainConfig = TrainConfig()
    protocol: InferenceOptions = field(default_factory=InferenceOptions)   # how its masks are made
    num_scenes: int = 40_000                               # of the split train
    grown_from: str | None = None                          # weights that it starts from, where they fit: see `load`

    @property
    def trained(self) -> GroupViTConfig:
        """The model as training leaves it: its temperature may be annealed, and its assignment switched to hard."""
        image, training = self.model.image, self.training
        return replace(self.model, image=replace(
            image, temperature=training.final_temperature or image.temperature,
            assignment="hard" if training.hard_from < 1 else image.assignment))


def _scenes(**image: object) -> GroupViTConfig:
    """The small model with other choices in its image encoder."""
    base = preset("scenes")
    return replace(base, image=replace(base.image, **image))


def _photographs(**choices: object) -> GroupViTConfig:
    """A model for photographs of 128 pixels, small enough for two cores and six thousand images.

    `choices` of the whole model, or of its image encoder as `image={...}`.
    """
    base = preset("scenes")
    return replace(
        base, embed_dim=192, text=replace(base.text, width=192, num_heads=6, depth=2), text_head=None,
        **choices | {"image": replace(
            base.image, image_size=128, patch_size=16, width=192, num_heads=6, num_group_tokens=(8,),
            num_output_groups=(8,), **dict(stem_depth=0, temperature=1.0) | choices.get("image", {}))})


# A patch at every quarter of a patch: masks are finer than what the model was trained on.
_DENSE = InferenceOptions(overlap=4, pixels="shared")
# A patch at every half of a patch, edges moved to those of the image, each pixel named by all its groups, and
# each class score divided by its mean over the image. Chosen on validation scenes.
_REFINED = InferenceOptions(overlap=2, pixels="shared", balance=0.03, refine=10)
# The temperature is annealed: in the end a group holds what its mask shows, and nothing else. Nouns are compared with
# single segments, too, so that each segment learns to be matched to its name by itself.
_ANNEALED = TrainConfig(final_temperature=0.1, segment_weight=1.0)
# Shapes are learnt by single patches first, the finest segments there are, from nouns that are true of all images
# whose captions have them, by texts that change slowly: else the embeddings of all class names become one, and it takes
# thousands of steps to separate them (results/EXPERIMENTS.md).
_SHAPES = replace(_ANNEALED, steps=8000, batch_size=128, final_temperature=0.03, patch_weight=1.0, shared_nouns=True,
                  image_text_weight=0.2, text_lr=0.1, patch_similarity_weight=1.0, meaning_from=0.3,
                  eval_every=500, snapshot_every=250)
_SHORT = replace(_SHAPES, steps=2000, patch_similarity_weight=0.0, meaning_from=0.0, eval_every=250)

# Few images, each seen fifty times: other crops and colours each time reduce overfitting.
_FEW_PHOTOGRAPHS = replace(_ANNEALED, steps=1000, warmup=100, eval_every=100, save_every=50,
                           augmentation=Augmentation(crop=0.3, colour_jitter=0.2))

# The paper's model with two thirds of its width and half its side in pixels and patches: as many tokens, 0.45 of the
# operations, and all images fit into 5 GB of memory. COCO has 118,287 captioned images: a batch of 1,024 sees each of
# them once in 115 steps, and 40 times in all. A card of 16 GB encodes 256 of them at a time. docs/scale.md derives the
# memory and the hours; no card has measured them yet, nor chosen the learning rate.
_PHOTOGRAPHS_GPU = GroupViTConfig(
    image=ImageConfig(image_size=112, patch_size=8, width=256, num_heads=4),
    text=TextConfig(context_length=77, width=256, num_heads=4, depth=6), head_width=1024)
_ONE_CARD = TrainConfig(steps=4600, batch_size=1024, lr=5e-4, min_lr=1e-5, warmup=300, augmentation=PAPER,
                        micro_batch_size=256, eval_every=230, save_every=115, snapshot_every=115)

RECIPES: dict[str, Recipe] = {
    "scenes": Recipe(
        "the best model of the scenes: one stage, soft assignment, no residual", _scenes(), _SHAPES, _REFINED),
    "scenes_groupvit": Recipe(
        "the paper's architecture in small: two blocks, a grouping, a block, a second grouping, hard in the end; grown "
        "from `scenes`",
        _scenes(depths=(2, 1), num_group_tokens=(16, 8), num_output_groups=(16, 8), later_tokens_std=0.02,
                gumbel_noise=0.0, straight_through=False, merge_weights="patches", temperature=0.05,
                blocks_std=0.06),
        replace(_SHAPES, steps=2000, lr=5e-4, warmup=50, eval_every=500, final_temperature=0.015, hard_from=0.95,
                meaning_from=0.0, meaning_similarity_weight=1.0, meaning_margin=0.9),
        _REFINED, grown_from="scenes"),
    "scenes_short": Recipe(
        "what a first training shows in 15 minutes of two cores: `scenes` with a quarter of its steps",
        _scenes(), _SHORT, _REFINED),
    "scenes_projected": Recipe(
        "the same as `scenes` with the paper's residual",
        _scenes(residual="projected"), _SHAPES, _REFINED),
    "scenes_clip_vit": Recipe(
        "a Transformer of as many blocks without groups, image-text loss alone",
        _scenes(depths=(3,), num_group_tokens=(0,), num_output_groups=(0,)),
        TrainConfig(steps=8000, batch_size=128, num_prompts=0, snapshot_every=0, text_lr=0.1, eval_every=500), _DENSE),
    "photographs": Recipe(
        "photographs with captions: one stage of 8 groups, soft assignment, no residual",
        _photographs(), _FEW_PHOTOGRAPHS, _DENSE),
    "photographs_projected": Recipe(
        "the same with the paper's residual", _photographs(image={"residual": "projected"}), _FEW_PHOTOGRAPHS, _DENSE),
    "photographs_paper": Recipe(
        "photographs with captions: the paper's kinds of parts, few and small",
        _photographs(head="mlp", head_width=384, image=dict(
            depths=(2,), stem="linear", positions="learned", assignment="hard", residual="projected", drop_path=0.1)),
        replace(_FEW_PHOTOGRAPHS, final_temperature=None, segment_weight=0.0), InferenceOptions()),
    "photographs_gpu": Recipe(
        "118,000 captioned photographs, such as COCO's, on one card of 16 GB in a few hours: the paper's parts, two stages",
        _PHOTOGRAPHS_GPU, _ONE_CARD, InferenceOptions(**released_sizes(112))),
}


def preset_recipe(name: str, image_size: int | None = None) -> Recipe:
    """A preset trained as in the paper: both losses and nothing else, the paper's augmentation, masks as released.

    Section 4.1: batches of 4,096, learning rate 1.6e-3, 30 epochs of CC12M and YFCC's 26 million images. On
    one card give a smaller batch and rate. `image_size`: pixels a side in training; None: the preset's, 224.
    Masks are then made of images twice as large, as released. Raises ValueError with the names there are.
    """
    model = preset(name)
    if name == "scenes":
        return RECIPES["scenes"]
    if image_size is not None:
        model = replace(model, image=replace(model.image, image_size=image_size))
    sizes = released_sizes(model.image.image_size)
    groups = bool(model.image.num_group_tokens[0])
    return Recipe(f"{name}, trained as in the paper", model, replace(
        _PAPER, num_prompts=3 if groups else 0), InferenceOptions(**sizes, pixels="largest" if groups else "patches"))


_PAPER = TrainConfig(steps=190_000, batch_size=4096, lr=1.6e-3, min_lr=4e-5, warmup=12_700, augmentation=PAPER,
                     eval_every=5000, save_every=1000, snapshot_every=5000)


def recipe(name: str) -> Recipe:
    """The recipe of this name. Raises ValueError with the names there are."""
    if name not in RECIPES:
        raise ValueError(f"unknown recipe {name!r}; the recipes are {', '.join(RECIPES)}")
    return RECIPES[name]
