"""The rows of the tables, as data: which model is trained, what is measured of it, and the paper's metric.

A row describes its model by the differences to the budget's reference (models.py): one stage, soft assignment, no
residual, trained as the recipe `scenes_short`, in small. Rows whose settings come out equal share one trained model.
To add a row, add five lines here.

Metrics of the paper: arXiv 2202.11094 v2, mIoU on VOC 2012 in percent unless a table says otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True)
class Model:
    """A model to train, by its differences to the budget's reference."""

    family: str = "reference"                                      # of `FAMILIES`: shares one tuned learning rate
    task: str = "captions"                                         # "captions" | "labels" | "moco" | "dino" | "masks"
    #                                                                | "none": not trained
    image: Mapping[str, Any] = field(default_factory=dict)         # fields of ImageConfig
    training: Mapping[str, Any] = field(default_factory=dict)      # fields of TrainConfig
    scenes: Mapping[str, Any] = field(default_factory=dict)        # fields of SceneConfig
    num_scenes: float = 1.0                                        # share of the budget's training scenes
    steps: float = 1.0                                             # share of the budget's steps


@dataclass(frozen=True)
class Row:
    """One row of a table."""

    name: str
    model: Model
    measures: tuple[str, ...] = ("groups",)    # names of `measures.MEASURES`
    judged: str = "miou_objects"               # the metric that is compared with the paper's
    paper: float | None = None                 # the paper's, in percent
    above: tuple[str, ...] = ()                # rows of the table that are worse in the paper


@dataclass(frozen=True)
class Table:
    """Rows that are compared."""

    title: str
    isolates: str                              # the question that the comparison answers, in one sentence
    rows: tuple[Row, ...]
    scale: str = ""                            # how it differs from the paper's
    columns: tuple[str, ...] = ()              # metrics beside those of all tables

    def __post_init__(self) -> None:
        names = [row.name for row in self.rows]
        unknown = {name for row in self.rows for name in row.above} - set(names)
        if len({slug(name) for name in names}) < len(names) or unknown:
            raise ValueError(f"{self.title}: no two rows may share a name, and `above` names rows of the same table; "
                             f"got {', '.join(names)}" + (f", without {', '.join(sorted(unknown))}" if unknown else ""))


def slug(name: str) -> str:
    """A name in a form that fits into a file name."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


REFERENCE = Model()
# The paper's two losses and nothing else, at the paper's temperature from the first step to the last.
_PAPER = {"image_text_weight": 1.0, "shared_nouns": False, "segment_weight": 0.0, "patch_weight": 0.0,
          "patch_similarity_weight": 0.0, "final_temperature": None}
_SOFT = {"assignment": "soft", "temperature": 1.0}
# The paper's noise has scale 1, at which a small model hardly learns (results/EXPERIMENTS.md).
_HARD = {"assignment": "hard", "temperature": 1.0, "gumbel_noise": 0.1}
_CAPTIONS_ALONE = {"num_prompts": 0}
_PROJECTED = {"residual": "projected"}
_VIT = {"depths": (2,), "num_group_tokens": (0,), "num_output_groups": (0,)}
_TWO_STAGES = {"depths": (0, 1), "num_group_tokens": (16, 8), "num_output_groups": (16, 8), "later_tokens_std": 0.02,
               "merge_weights": "patches"}
_BY_MEANING = {"meaning_similarity_weight": 1.0, "meaning_margin": 0.9}

SOFT = Model("soft", image=_SOFT | _PROJECTED, training=_PAPER)
HARD = Model("hard", image=_HARD | _PROJECTED, training=_PAPER)
CLIP_VIT = Model("plain", image=_VIT, training=_PAPER | _CAPTIONS_ALONE)
# A step encodes two views or more, with student and teacher: fewer steps, so that a training takes as long as others.
MOCO = Model("pretraining", "moco", _VIT, steps=0.4)
DINO = Model("pretraining", "dino", _VIT, steps=0.3)
LABELS = Model("pretraining", "labels", _VIT)
UNTRAINED = Model("pretraining", "none", _VIT)


@dataclass(frozen=True)
class Family:
    """Models that share a learning rate: it is tuned with one of them, on validation scenes and the first seed."""

    model: Model
    measures: tuple[str, ...]
    rates: tuple[float, ...]


FAMILIES = {
    "reference": Family(REFERENCE, ("groups",), (5e-4, 1e-3, 2e-3)),
    "soft": Family(SOFT, ("groups",), (5e-4, 1e-3, 2e-3)),
    "hard": Family(HARD, ("groups",), (5e-4, 1e-3, 2e-3)),
    "plain": Family(CLIP_VIT, ("patches",), (1e-3, 2e-3, 4e-3)),
    "pretraining": Family(MOCO, ("finetuned",), (5e-4, 1e-3, 2e-3)),
}
TUNED_BY = "miou"      # the metric that chooses the learning rate
_BOTH_MASKS = ("groups", "shared")     # a pixel from its largest group, and from all of them


def _table1() -> Table:
    rows = []
    for residual, behind in ((_PROJECTED, ""), ({}, ", no residual")):
        for name, model, paper, above in (
                ("soft", Model("soft", image=_SOFT | residual, training=_PAPER | _CAPTIONS_ALONE), 12.0, ()),
                ("soft, multi-label", Model("soft", image=_SOFT | residual, training=_PAPER), 25.1, ("soft",)),
                ("hard", Model("hard", image=_HARD | residual, training=_PAPER | _CAPTIONS_ALONE), 36.7, ("soft",)),
                ("hard, multi-label", Model("hard", image=_HARD | residual, training=_PAPER), 39.3,
                 ("hard", "soft, multi-label"))):
            rows.append(Row(name + behind, model, _BOTH_MASKS, paper=None if behind else paper,
                            above=tuple(other + behind for other in above)))
    return Table(
        "Table 1: soft and hard assignment, with and without the multi-label loss",
        "Does hard assignment beat soft, does the multi-label loss help, and does the order of soft and hard come from "
        "the residual of the merge?", (*rows, Row("the reference", REFERENCE, _BOTH_MASKS)),
        "One stage, the paper's two losses alone. The paper always has the residual (trained on CC12M); the rows "
        "without it are ours, and so is the last row, the reference of the other tables with all losses of its recipe.",
        ("miou_objects_shared",))


def _tokens(tokens: int, groups: int) -> Model:
    return Model(image={"num_group_tokens": (tokens,), "num_output_groups": (groups,)})


def _stages(two: bool, share: float, training: Mapping[str, Any] = {}) -> Model:
    return Model(image=_TWO_STAGES if two else {}, training=training, num_scenes=share)


def _over_steps(name: str, image: Mapping[str, Any]) -> tuple[Row, ...]:
    return tuple(Row(f"{name}, {words} of the steps", Model(image=image, steps=share), ("groups", "leaking"))
                 for words, share in (("a quarter", 0.25), ("half", 0.5), ("all", 1.0)))


TABLES: dict[str, Table] = {
    "table1": _table1(),
    "table2": Table(
        "Table 2: numbers of group tokens and output tokens",
        "How many groups does an image need, and does it help to have more group tokens than output tokens?",
        (Row("8 to 2 (paper: 16 to 4)", _tokens(8, 2), paper=28.6),
         Row("8 to 4 (paper: 16 to 8)", _tokens(8, 4), paper=37.1, above=("8 to 2 (paper: 16 to 4)",)),
         Row("16 to 4 (paper: 32 to 8)", _tokens(16, 4), paper=38.3, above=("8 to 4 (paper: 16 to 8)",)),
         Row("32 to 4 (paper: 64 to 8)", _tokens(32, 4), paper=39.3,
             above=("32 to 8 (paper: 64 to 16)", "16 to 4 (paper: 32 to 8)")),
         Row("32 to 8 (paper: 64 to 16)", _tokens(32, 8), paper=38.0)),
        "The paper's five pairs, halved: a scene has 64 patches and at most five objects and backgrounds, a photograph "
        "196 patches. One stage; the paper's on CC12M."),
    "table3": Table(
        "Table 3: one and two stages, on a smaller and a larger set of captions",
        "Does a second stage of groups help, and does it need more data to do so?",
        (Row("one stage, smaller set", _stages(False, 1 / 8), ("groups", "boundary"), paper=39.3),
         Row("two stages, smaller set", _stages(True, 1 / 8), ("groups", "boundary"), paper=41.1,
             above=("one stage, smaller set",)),
         Row("one stage, larger set", _stages(False, 1), ("groups", "boundary"), paper=37.2),
         Row("two stages, larger set", _stages(True, 1), ("groups", "boundary"), paper=52.3,
             above=("one stage, larger set",)),
         Row("two stages by meaning, smaller set", _stages(True, 1 / 8, _BY_MEANING), ("groups", "boundary"),
             above=("one stage, smaller set",)),
         Row("two stages by meaning, larger set", _stages(True, 1, _BY_MEANING), ("groups", "boundary"),
             above=("one stage, larger set",))),
        "The smaller set has an eighth of the scenes, and all rows take as many steps. In models of this size the "
        "second stage merges all segments, unless segments with similar embeddings are pulled into one group "
        "(losses.meaning_similarity_loss): the last two rows add that. The paper's on CC12M, and on CC12M with YFCC.",
        ("boundary_miou",)),
    "table4": Table(
        "Table 4: learnt groups, and clusters of a model without groups",
        "Does learning to group beat grouping the features of a model without groups afterwards?",
        (Row("pixel by pixel", CLIP_VIT, ("patches",), paper=20.1),
         Row("k-means", CLIP_VIT, ("kmeans",), paper=25.0,
             above=("pixel by pixel", "mean-shift", "spectral clustering")),
         Row("mean-shift", CLIP_VIT, ("mean_shift",), paper=20.7),
         Row("spectral clustering", CLIP_VIT, ("spectral",), paper=19.7),
         Row("GroupViT", REFERENCE, paper=52.3, above=("k-means", "pixel by pixel")),
         Row("k-means of raw pixels", CLIP_VIT, ("pixel_clusters",)),
         Row("superpixels, SLIC", CLIP_VIT, ("slic",)),
         Row("superpixels, Felzenszwalb", CLIP_VIT, ("felzenszwalb",))),
        "All rows but GroupViT share one Transformer without groups, trained with the image-text loss (CLIP). The last "
        "three, ours, partition the pixels without learning and classify each region by the mean of that Transformer's "
        "features in it."),
    "table5": Table(
        "Table 5: transfer with masks, beside GroupViT without any mask",
        "Can captions alone replace masks: how near does GroupViT come to encoders that are fine-tuned with masks?",
        (Row("from nothing", UNTRAINED, ("finetuned",)),
         Row("MoCo v3", MOCO, ("finetuned",), paper=36.1),
         Row("DINO", DINO, ("finetuned",), paper=37.6, above=("MoCo v3",)),
         Row("GroupViT, no mask", REFERENCE, paper=52.3, above=("DINO", "MoCo v3")),
         Row("supervised by image labels", LABELS, ("finetuned",), paper=53.0, above=("GroupViT, no mask",)),
         Row("upper bound, masks all the time", Model("pretraining", "masks", _VIT), ("finetuned",))),
        "The Transformer of Table 4, pre-trained on the images of the same scenes, then fine-tuned with a 1 x 1 "
        "convolution on the masks of all of them for a quarter of the steps. The upper bound has the masks from the "
        "first step on. The paper's: DeiT on ImageNet, MoCo v3 and DINO on CC12M and YFCC, fine-tuned on VOC."),
    "c1": Table(
        "Table C1: classification of scenes with one object",
        "Do groups cost anything in classification of whole images?",
        (Row("ViT, zero-shot", CLIP_VIT, ("patches", "classification"), "zero_shot_unseen", 42.4),
         Row("GroupViT, zero-shot", REFERENCE, ("groups", "classification"), "zero_shot_unseen", 42.9,
             ("ViT, zero-shot",)),
         Row("ViT, linear probe", CLIP_VIT, ("patches", "classification"), "linear_probe_unseen", 69.2),
         Row("GroupViT, linear probe", REFERENCE, ("groups", "classification"), "linear_probe_unseen", 69.8,
             ("ViT, linear probe",))),
        "Top-1 accuracy, zero-shot (the nearest class name) and by logistic regression on frozen features (linear "
        "probe), in drawings that training never showed (chance: one over the number of kinds of objects). In those of "
        "the training all are near 100 %. The paper's on ImageNet.",
        ("zero_shot_unseen", "linear_probe_unseen", "zero_shot", "linear_probe")),
    "c2": Table(
        "Table C2: mask probing",
        "How well does the best mask inside a model fit an object, before any class name is involved?",
        (Row("random", UNTRAINED, ("probing",), "probing_jaccard", 23.6),
         Row("supervised by image labels", LABELS, ("probing",), "probing_jaccard", 24.6, ("random",)),
         Row("MoCo v3", MOCO, ("probing",), "probing_jaccard", 28.2, ("supervised by image labels",)),
         Row("CLIP", CLIP_VIT, ("probing",), "probing_jaccard", 28.6, ("MoCo v3",)),
         Row("DINO", DINO, ("probing",), "probing_jaccard", 45.9, ("CLIP",)),
         Row("GroupViT", REFERENCE, ("probing",), "probing_jaccard", 51.8, ("DINO",)),
         Row("16 clusters of raw pixels", UNTRAINED, ("pixel_probing",), "probing_jaccard")),
        "The Jaccard index (IoU) of each object with the best mask of a model. GroupViT's masks are its 16 groups; those "
        "of the others are the patches with 60 % of the attention of each of the last block's four heads, as in DINO "
        "(the mean over all queries, as there is no class token). The best of 16 is easier than the best of 4: *random* is the "
        "control for 4 masks, the last row, ours, that for 16.",
        ("probing_jaccard",)),
    "c3": Table(
        "Table C3: plain and oracle labels of the same groups",
        "How much is lost by wrong class names, and how much by the grouping itself?",
        (Row("plain labels", REFERENCE, paper=52.3),
         Row("oracle labels", REFERENCE, judged="oracle_miou_objects", paper=73.7, above=("plain labels",))),
        "The oracle gives each group the class that most of its pixels truly have; what it misses is the grouping. "
        "One model, two ways to label its groups.", ("oracle_miou_objects",)),
    "residual": Table(
        "Beyond: the residual of the merge, and what is merged",
        "Does a segment hold what is inside its mask, or does information leak in from the rest of the image?",
        (*_over_steps("residual projected", _PROJECTED), *_over_steps("residual learned", {"residual": "learned"}),
         *_over_steps("no residual", {}),
         *_over_steps("values after the block", {"depths": (1,), "merged_values": "after"}),
         *_over_steps("values before the block", {"depths": (1,), "merged_values": "before"})),
        "Everything outside a segment becomes grey; *class stays* is how often its class is the same. The rows "
        "about values have one Transformer block before the grouping, and merge its outputs or its inputs.",
        ("class_stays",)),
    "colours": Table(
        "Beyond: how a shortcut takes over",
        "If colour predicts the class, does the model still learn shape?",
        tuple(Row(f"{percent} % natural colours", Model(scenes={"natural_colour": percent / 100}),
                  ("groups", "shortcut")) for percent in (0, 25, 50, 75, 100)),
        "That share of the objects has the natural colour of its class, in training and in test. *Unseen*: "
        "drawings that training never showed; *hue*: the hue of all objects rotated by 180 degrees.",
        ("miou_objects_unseen", "miou_objects_hue")),
    "similarity": Table(
        "Beyond: a loss that asks similar pixels to share a group",
        "Does the similarity of pixels help the grouping beside the captions?",
        (Row("without", REFERENCE), Row("with", Model(training={"pixel_similarity_weight": 0.3}))),
        "losses.pixel_similarity_loss on the first stage."),
    "captions": Table(
        "Beyond: how many captions", "How much does the number of different captioned images matter?",
        tuple(Row(f"{share} of the scenes", Model(num_scenes=part)) for share, part in (
            ("a fortieth", 1 / 40), ("an eighth", 1 / 8), ("half", 1 / 2), ("all", 1.0))),
        "All rows take as many steps: fewer scenes are seen more often."),
    "nouns": Table(
        "Beyond: how many prompted nouns",
        "How many nouns of a caption should the multi-label loss ask for?",
        tuple(Row(f"K = {count}", Model(training={"num_prompts": count})) for count in (0, 1, 2, 3, 5)),
        "K nouns of each caption; 0 leaves out all losses of nouns: with images, segments and patches."),
    "steps": Table(
        "Beyond: one and two stages with twice the steps",
        "Are two stages below one in Table 3 because they are trained too briefly?",
        (Row("one stage", REFERENCE), Row("one stage, twice the steps", replace(REFERENCE, steps=2.0)),
         Row("two stages", _stages(True, 1), above=("one stage",)),
         Row("two stages, twice the steps", replace(_stages(True, 1), steps=2.0), above=("one stage, twice the steps",))),
        "The rows of Table 3 with the larger set, and the same with twice the steps."),
}

BEYOND = ("residual", "colours", "similarity", "captions", "nouns", "steps")
NAMES = {**{name: (name,) for name in TABLES if name not in BEYOND}, "beyond": BEYOND, "all": tuple(TABLES)}


@dataclass(frozen=True)
class Ratio:
    """How many times larger the metric of one row is than that of another row of the table, in the paper."""

    table: str
    upper: str
    lower: str
    paper: float


RATIOS = (
    Ratio("table1", "hard, multi-label", "soft", 39.3 / 12.0),
    Ratio("table3", "two stages, larger set", "one stage, larger set", 52.3 / 37.2),
    Ratio("table4", "GroupViT", "k-means", 52.3 / 25.0),
    Ratio("table4", "GroupViT", "pixel by pixel", 52.3 / 20.1),
    Ratio("table5", "GroupViT, no mask", "supervised by image labels", 52.3 / 53.0),
    Ratio("c3", "oracle labels", "plain labels", 73.7 / 52.3),
)
