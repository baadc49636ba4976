"""How a model is trained: every setting of the loop, as a frozen dataclass."""

from __future__ import annotations

from dataclasses import dataclass

from ..data.captioned.augment import Augmentation
from ..text.prompts import SIMPLE_TEMPLATES
from .precision import PRECISIONS


@dataclass(frozen=True)
class TrainConfig:
    """How a model is trained. The defaults train the small model on the scenes."""

    steps: int = 2000
    batch_size: int = 256
    lr: float = 1e-3                  # at its highest
    min_lr: float = 1e-5              # at the end of the cosine
    text_lr: float = 1.0              # learning rate of text encoder and text head, as a share of the others
    warmup: int = 200                 # steps of linear warm-up
    weight_decay: float = 0.05
    clip_norm: float = 5.0            # largest norm of the gradient
    num_prompts: int = 3              # K prompted nouns an image; 0: no multi-label loss
    shared_nouns: bool = False        # a prompted noun is true of all images whose captions have it, not of one alone
    image_text_weight: float = 1.0
    multi_label_weight: float = 1.0
    segment_weight: float = 0.0       # of nouns with the segments of each stage (losses.likeness); 0 in the paper
    patch_weight: float = 0.0         # of nouns with single patches, the finest grouping; 0 in the paper
    information_weight: float = 0.0   # of what the groups of later stages tell about segments; 0 in the paper
    pixel_similarity_weight: float = 0.0    # of losses.pixel_similarity_loss on the first stage; 0 in the paper
    meaning_similarity_weight: float = 0.0  # of losses.meaning_similarity_loss on later stages; 0 in the paper
    meaning_margin: float = 0.85      # cosine from which two segments mean the same
    patch_similarity_weight: float = 0.0    # of losses.meaning_similarity_loss of patches, on the first stage; paper: 0
    patch_margin: float = 0.5         # cosine from which two patches mean the same
    meaning_from: float = 0.0         # share of the steps after which these two losses count: a meaning comes first
    templates: tuple[str, ...] = SIMPLE_TEMPLATES
    augmentation: Augmentation = Augmentation()   # of the images; by itself only mirrors them
    final_temperature: float | None = None   # of the assignment at hard_from; None: as the model's, always
    hard_from: float = 1.0            # share of the steps after which the model is switched to hard assignment
    precision: str = "auto"           # "bf16" | "fp16" autocast | "tf32" | "fp32" | "auto": see choose_precision
    compile: bool = False             # torch.compile the image encoder
    micro_batch_size: int = 0         # images a process encodes at a time, see memory.py; 0: all of its batch
    checkpoint_activations: bool = False   # blocks are computed again in the backward pass, see memory.py
    seed: int = 0
    eval_every: int = 250             # steps between validations; 0: never
    save_every: int = 250             # steps between checkpoints
    snapshot_every: int = 50          # steps between snapshots of a few images' groups; 0: never

    def __post_init__(self) -> None:
        object.__setattr__(self, "templates", tuple(self.templates))
        for name, least in (("steps", 1), ("batch_size", 2), ("warmup", 0), ("num_prompts", 0),
                            ("micro_batch_size", 0), ("eval_every", 0), ("save_every", 1), ("snapshot_every", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least {least}")
        if not self.lr > 0 or min(self.min_lr, self.text_lr) < 0 or self.clip_norm <= 0:
            raise ValueError(f"lr and clip_norm must be above 0, min_lr and text_lr at least 0; got "
                             f"{self.lr}, {self.clip_norm}, {self.min_lr} and {self.text_lr}")
        if not 0 <= self.meaning_from <= 1:
            raise ValueError(f"meaning_from is a share of the steps from 0 to 1; got {self.meaning_from}")
        if not 0 <= self.hard_from <= 1 or (self.final_temperature or 1) <= 0:
            raise ValueError(f"hard_from is a share from 0 to 1 and final_temperature above 0; got "
                             f"{self.hard_from} and {self.final_temperature}")
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision is {self.precision!r}; choose one of {', '.join(map(repr, PRECISIONS))}")
