"""What a GroupViT is made of, as frozen dataclasses, and the presets that have names.

A preset is a constant of `PRESETS`; a variant of it is `dataclasses.replace(preset.image, ...)`.
Sizes of the paper's models: Section 4.1 of the paper (arXiv 2202.11094).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any


def check_choice(name: str, value: str, *allowed: str) -> None:
    """Raises ValueError unless a value is one of those allowed."""
    if value not in allowed:
        raise ValueError(f"{name} is {value!r}; choose one of {', '.join(map(repr, allowed))}")


def _positive(config: object, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} is {value!r}; it must be a whole number of at least 1")


@dataclass(frozen=True)
class ImageConfig:
    """The image encoder. The defaults are the paper's 2-stage model."""

    image_size: int = 224                            # pixels a side in training
    patch_size: int = 16                             # pixels a side of a patch
    width: int = 384                                 # channels of every token
    num_heads: int = 6                               # heads of the Transformer blocks
    depths: tuple[int, ...] = (6, 3, 3)              # Transformer blocks per stage
    num_group_tokens: tuple[int, ...] = (64, 8, 0)   # per stage; 0: this stage does not group
    num_output_groups: tuple[int, ...] = (64, 8, 0)  # segments that leave each grouping block
    drop_path: float = 0.1                           # of the last block; rises linearly from 0
    stem: str = "linear"                             # "linear" (paper) | "convolution"
    stem_depth: int = 0                              # residual 3 x 3 convolutions at the end of a convolution stem
    positions: str = "learned"                       # "learned" (paper) | "sincos" (fixed) | "none"
    assignment: str = "hard"                         # "hard" (paper) | "soft"
    straight_through: bool = True                    # hard assignment has the gradient of the soft one; False: none
    gumbel_noise: float = 1.0                        # scale of the noise on hard assignment in training
    temperature: float = 1.0                         # of the softmax over groups
    residual: str = "projected"                      # of the merge: "projected" (paper) | "learned" | "none"
    merged_values: str = "after"                     # tokens whose values are merged: "after" a stage's blocks
    #                                                  (paper) | "before" them; the assignment is always from after
    merge_weights: str = "tokens"                    # of a merge: all "tokens" count alike (paper) | a segment
    #                                                  counts as the "patches" that it holds, an empty one not at all
    later_tokens_std: float = 0.0                    # of the first values of later stages' group tokens; paper: 0
    blocks_std: float = 0.02                         # of the first weights of the Transformer blocks; paper: 0.02

    def __post_init__(self) -> None:
        _positive(self, "image_size", "patch_size", "width", "num_heads")
        for name in ("depths", "num_group_tokens", "num_output_groups"):
            values = tuple(getattr(self, name))                         # JSON gives lists
            if any(not isinstance(value, int) or value < 0 for value in values):
                raise ValueError(f"{name} is {values}; it must be whole numbers of at least 0, one per stage")
            object.__setattr__(self, name, values)
        if self.image_size % self.patch_size:
            raise ValueError(
                f"image_size {self.image_size} is not a multiple of patch_size {self.patch_size}; "
                f"take {max(1, self.image_size // self.patch_size) * self.patch_size}")
        if self.width % self.num_heads:
            raise ValueError(f"width {self.width} cannot be shared evenly by {self.num_heads} heads")
        lengths = {len(self.depths), len(self.num_group_tokens), len(self.num_output_groups)}
        if len(lengths) != 1 or not self.depths:
            raise ValueError(
                "depths, num_group_tokens and num_output_groups name one value per stage; got "
                f"{self.depths}, {self.num_group_tokens} and {self.num_output_groups}")
        for tokens, groups in zip(self.num_group_tokens, self.num_output_groups):
            if (tokens > 0) != (groups > 0) or min(tokens, groups) < 0:
                raise ValueError(
                    "num_group_tokens and num_output_groups of a stage must both be positive or both 0; "
                    f"got {self.num_group_tokens} and {self.num_output_groups}")
        grouping = [tokens > 0 for tokens in self.num_group_tokens]
        if sorted(grouping, reverse=True) != grouping:
            raise ValueError(
                f"stages that group come before those that do not; got {self.num_group_tokens}")
        check_choice("stem", self.stem, "linear", "convolution")
        check_choice("positions", self.positions, "learned", "sincos", "none")
        check_choice("assignment", self.assignment, "hard", "soft")
        check_choice("residual", self.residual, "projected", "learned", "none")
        check_choice("merged_values", self.merged_values, "after", "before")
        check_choice("merge_weights", self.merge_weights, "tokens", "patches")
        if self.stem == "convolution" and (self.patch_size < 2 or self.patch_size & (self.patch_size - 1)):
            raise ValueError(
                f"the convolution stem halves the image step by step: patch_size {self.patch_size} "
                "is no power of two above 1; take 4, 8 or 16, or stem='linear'")
        if not isinstance(self.stem_depth, int) or self.stem_depth < 0 or self.stem_depth and self.stem == "linear":
            raise ValueError(f"stem_depth counts the residual convolutions of a stem of convolutions; got "
                             f"{self.stem_depth!r} with stem={self.stem!r}; take 0, or stem='convolution'")
        if self.positions == "sincos" and self.width % 4:
            raise ValueError(f"sine-cosine positions need a width divisible by 4, got {self.width}")
        if min(self.temperature, self.blocks_std) <= 0 or min(self.gumbel_noise, self.later_tokens_std) < 0:
            raise ValueError(
                "temperature and blocks_std must be above 0, later_tokens_std and gumbel_noise at least 0; got "
                f"{self.temperature}, {self.blocks_std}, {self.later_tokens_std} and {self.gumbel_noise}")
        if not 0 <= self.drop_path < 1:
            raise ValueError(f"drop_path is a probability from 0 to below 1; got {self.drop_path}")

    @property
    def grid_size(self) -> int:
        """Patches a side of a training image."""
        return self.image_size // self.patch_size


@dataclass(frozen=True)
class TextConfig:
    """The text encoder: CLIP's causal Transformer at the paper's size."""

    vocab_size: int = 49408      # tokens known
    context_length: int = 77     # longest text in tokens, start and end included
    width: int = 256             # channels of every token
    num_heads: int = 4           # heads of the Transformer blocks
    depth: int = 12              # Transformer blocks

    def __post_init__(self) -> None:
        _positive(self, "vocab_size", "context_length", "width", "num_heads", "depth")
        if self.width % self.num_heads:
            raise ValueError(f"width {self.width} cannot be shared evenly by {self.num_heads} heads")


HEADS = ("mlp", "linear", "normed")


@dataclass(frozen=True)
class GroupViTConfig:
    """Both encoders and what joins them."""

    image: ImageConfig = field(default_factory=ImageConfig)
    text: TextConfig = field(default_factory=TextConfig)
    embed_dim: int = 256         # channels of the space that images and texts share
    head: str = "mlp"            # "mlp": linear, BatchNorm, ReLU, linear (released) | "linear"
    #                              | "normed": BatchNorm, linear
    text_head: str | None = None  # the same of the texts; None: as `head`
    head_width: int = 4096       # hidden channels of the mlp head
    tokenizer: str = "clip"      # "clip": CLIP's byte pairs | "captions": trained on the captions

    def __post_init__(self) -> None:
        _positive(self, "embed_dim", "head_width")
        check_choice("head", self.head, *HEADS)
        if self.text_head is not None:
            check_choice("text_head", self.text_head, *HEADS)
        check_choice("tokenizer", self.tokenizer, "clip", "captions")

    def to_dict(self) -> dict[str, Any]:
        """A dictionary that JSON can hold."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> GroupViTConfig:
        """The inverse of `to_dict`. Raises ValueError naming fields that do not exist."""
        values = dict(values)
        for name, part in (("image", ImageConfig), ("text", TextConfig)):
            values[name] = part(**_known(part, values.get(name, {})))
        return cls(**_known(cls, values))


def _known(cls: type, values: dict[str, Any]) -> dict[str, Any]:
    names = {f.name for f in fields(cls)}
    unknown = sorted(set(values) - names)
    if unknown:
        raise ValueError(f"{cls.__name__} has no field {', '.join(unknown)}; it has {', '.join(sorted(names))}")
    return values


# The paper's models: 224 pixels, CLIP's tokens.
GROUPVIT_2STAGE = GroupViTConfig()
# Released never; the paper gives 12 blocks and one grouping of 64 -> 8. Six blocks before the
# grouping and six after it is the natural split, and ours.
GROUPVIT_1STAGE = GroupViTConfig(
    image=ImageConfig(depths=(6, 6), num_group_tokens=(64, 0), num_output_groups=(8, 0)))
# The baseline of Table 4: the same Transformer without groups, trained with the CLIP loss alone.
CLIP_VIT = GroupViTConfig(
    image=ImageConfig(depths=(12,), num_group_tokens=(0,), num_output_groups=(0,)))

# A small model for the scenes: 1 M parameters, and choices that let it learn from 40,000 images.
# No positions and no Transformer block before the grouping: a patch knows its surroundings only, so
# that nothing but grouping can tell what a shape is (results/EXPERIMENTS.md).
SCENES = GroupViTConfig(
    image=ImageConfig(image_size=64, patch_size=8, width=128, num_heads=4, depths=(0,), num_group_tokens=(16,),
                      num_output_groups=(16,), drop_path=0.0, stem="convolution", stem_depth=2, positions="none",
                      assignment="soft", temperature=0.1, residual="none"),
    text=TextConfig(vocab_size=4096, context_length=32, width=128, num_heads=4, depth=1),
    embed_dim=128, head="linear", text_head="normed", tokenizer="captions")

PRESETS: dict[str, GroupViTConfig] = {
    "groupvit_2stage": GROUPVIT_2STAGE,
    "groupvit_1stage": GROUPVIT_1STAGE,
    "clip_vit": CLIP_VIT,
    "scenes": SCENES,
}


def preset(name: str) -> GroupViTConfig:
    """The preset of this name. Raises ValueError with the names there are."""
    if name not in PRESETS:
        raise ValueError(f"unknown preset {name!r}; the presets are {', '.join(PRESETS)}")
    return PRESETS[name]
