"""`python -m minigroupvit train`: train a model from captions, or go on with a run."""

from __future__ import annotations

import argparse
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .common import fail, split_names

if TYPE_CHECKING:
    from ..data.captioned import Captioned, CaptionedImages
    from ..model import GroupViT
    from ..training.recipes import Recipe

ABOUT = "train a model from captions, or go on with a run"
EXAMPLES = """
examples:
  python -m minigroupvit train                                   the recipe "scenes" into outputs/train
  python -m minigroupvit train --recipe list                     the recipes there are
  python -m minigroupvit train --steps 500 --residual projected --out outputs/residual
  python -m minigroupvit train --data photos/ --hold-out 500 --image-size 96 --steps 5000 --out outputs/photos
  python -m minigroupvit train --data jxie/flickr8k --image-size 128 --augmentation paper --out outputs/flickr8k
  python -m minigroupvit train --data AKCIT/coco2017-captioning --cache disk --preset groupvit_2stage --out outputs/coco
  python -m minigroupvit train --data lmms-lab/flickr30k --stream --workers 4 --out outputs/flickr30k
  python -m minigroupvit train --data "cc3m/{00000..00331}.tar" --preset groupvit_2stage --batch-size 4096 \
      --augmentation paper,greyscale=0.1 --out outputs/cc3m

Ctrl-C saves and stops; the same command goes on from there. --data takes a folder with parquet files, a
folder of pictures with a metadata.jsonl, the id of a data set on the hub, or tar shards of the
webdataset kind (a folder, a pattern with a range in braces, addresses). Where the data have a split
"validation", or with --hold-out, retrieval is measured on up to 1,000 of its pictures, and the best
checkpoint kept. What is not given is as in the recipe."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--recipe", default="scenes", metavar="NAME", help="list: shows them; default: %(default)s")
    parser.add_argument("--out", default="outputs/train", metavar="FOLDER", help="default: %(default)s")
    parser.add_argument("--device", help="cpu, cuda, mps; default: a GPU if there is one")
    parser.add_argument("--num-proc", type=int, metavar="N", help="processes that draw scenes; default: all cores")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")

    data = parser.add_argument_group("data")
    data.add_argument("--data", default="scenes", metavar="NAME",
                      help="scenes, a folder, or a hub id; default: %(default)s")
    data.add_argument("--num-scenes", type=int, metavar="N", help="how many scenes to train on")
    data.add_argument("--split", metavar="NAME", help="default: train, or the only one there is of a known set")
    data.add_argument("--image-column", metavar="NAME", help="default: image; of shards: jpg, jpeg, png, webp")
    data.add_argument("--caption-columns", metavar="A,B",
                      help="default: caption, captions, text, or caption_0, caption_1, ...; of shards: txt")
    data.add_argument("--cache", choices=("memory", "disk"), default="memory",
                      help="pictures decoded once, or anew for every batch; default: %(default)s")
    data.add_argument("--stream", action="store_true", help="read the data as they come; shards always are")
    data.add_argument("--workers", type=int, metavar="N",
                      help="processes that decode pictures from disk or stream; default: all cores, at most 8")
    data.add_argument("--buffer", type=int, default=2000, metavar="N",
                      help="samples that each worker of a stream shuffles together; default: %(default)s")
    data.add_argument("--validation-data", metavar="NAME",
                      help="measure retrieval on these, whose columns have the usual names; default: as --data")
    data.add_argument("--validation-split", metavar="NAME", help="default: validation, where there is one")
    data.add_argument("--hold-out", type=int, metavar="N", help="keep N pictures of the split for validation instead")
    data.add_argument("--max-skipped", type=float, default=0.05, metavar="SHARE",
                      help="of broken pictures and empty captions, above which a run stops; default: %(default)s")

    model = parser.add_argument_group("model")
    model.add_argument("--preset", metavar="NAME",
                       help="a model of config.PRESETS, trained as in the paper, instead of the recipe")
    model.add_argument("--image-size", type=int, metavar="PIXELS")
    model.add_argument("--patch-size", type=int, metavar="PIXELS")
    model.add_argument("--assignment", metavar="hard|soft")
    model.add_argument("--residual", metavar="projected|learned|none", help="of the merge; projected: the paper's")

    training = parser.add_argument_group("training")
    for name, kind, about in (
            ("steps", int, ""), ("batch-size", int, ""), ("lr", float, "learning rate at its highest"),
            ("warmup", int, "steps of warm-up"), ("weight-decay", float, ""),
            ("num-prompts", int, "prompted nouns a picture; 0: no multi-label loss"),
            ("segment-weight", float, "of nouns with single segments; 0: as in the paper"), ("seed", int, ""),
            ("precision", str, "auto, bf16 or fp32"), ("eval-every", int, "steps; 0: never"),
            ("save-every", int, "steps"), ("snapshot-every", int, "steps; 0: never")):
        training.add_argument(f"--{name}", type=kind, metavar={int: "N", float: "X", str: "NAME"}[kind], help=about)
    training.add_argument("--augmentation", metavar="NAMES",
                          help="none, flip, paper, or values such as paper,erasing=0 or "
                               "crop=0.3,greyscale=0.2,channel_permutation=0.5; default: flip")
    training.add_argument("--compile", action=argparse.BooleanOptionalAction, default=None,
                          help="torch.compile the encoders")


def run(arguments: argparse.Namespace) -> int:
    from ..distributed import pick_device
    from ..training.loop import TrainingStopped
    from ..training.recipes import RECIPES, recipe
    from ..training.run import train_on_dataset, train_on_scenes

    if arguments.recipe == "list":
        for name, found in RECIPES.items():
            print(f"{name:20} {found.about}")
        return 0
    wanted = change_recipe(recipe(arguments.recipe), arguments)
    shared = {"progress": not arguments.quiet, "device": pick_device(arguments.device)}
    try:
        if arguments.data == "scenes":
            model = train_on_scenes(wanted, arguments.out, num_proc=arguments.num_proc, **shared)
        else:
            data, validation = open_data(arguments, wanted)
            model = train_on_dataset(wanted, data, arguments.out, validation=validation, **shared)
    except TrainingStopped as error:
        return fail(str(error), 1)
    return _after_training(arguments.out, wanted, model)


def open_data(arguments: argparse.Namespace, recipe: Recipe) -> tuple[Captioned, CaptionedImages | None]:
    """What to train on, and the pictures to measure retrieval on, if there are any."""
    from ..data.open_dataset import splits
    from ..data.sources import open_captioned, open_held_out, open_validation

    name, size = arguments.data, recipe.model.image.image_size
    choices = {"image": arguments.image_column, "cache": "stream" if arguments.stream else arguments.cache,
               "captions": arguments.caption_columns and split_names(arguments.caption_columns),
               "num_workers": arguments.workers, "max_skipped": arguments.max_skipped}
    if arguments.hold_out is not None:
        for option in ("validation_data", "validation_split"):
            if getattr(arguments, option):
                raise ValueError(f"--hold-out keeps pictures of --data for validation, --{option.replace('_', '-')} "
                                 "names others; give one of them")
        return open_held_out(name, size, arguments.hold_out, arguments.split, **choices)
    data = open_captioned(name, size, arguments.split, buffer=arguments.buffer, **choices)
    if not recipe.training.eval_every:
        return data, None
    if arguments.validation_data:
        return data, open_validation(arguments.validation_data, size, arguments.validation_split)
    if arguments.validation_split or ("validation" in splits(name) and arguments.split != "validation"):
        return data, open_validation(name, size, arguments.validation_split, **choices)
    return data, None


def change_recipe(recipe: Recipe, arguments: argparse.Namespace) -> Recipe:
    """The recipe with what was given on the command line in its place."""
    from ..data.augment import augmentation
    from ..training.recipes import preset_recipe

    def given(config) -> dict[str, Any]:
        values = {field.name: getattr(arguments, field.name, None) for field in fields(config)}
        return {name: value for name, value in values.items() if value is not None}

    if arguments.preset:
        recipe = preset_recipe(arguments.preset)   # a model brings its own training and inference protocol
    model = recipe.model
    training = given(recipe.training)
    if "augmentation" in training:
        training["augmentation"] = augmentation(training["augmentation"])
    return replace(
        recipe,
        model=replace(model, image=replace(model.image, **given(model.image))),
        training=replace(recipe.training, **training),
        num_scenes=arguments.num_scenes or recipe.num_scenes)


def _after_training(out: str, recipe: Recipe, model: GroupViT) -> int:
    from ..checkpoint import read_checkpoint

    last, best = Path(out, "last.safetensors"), Path(out, "best.safetensors")
    if read_checkpoint(last)[0]["about"]["step"] < recipe.training.steps:
        return 130  # Ctrl-C; the loop has said how to go on
    weights = best if best.exists() else last
    print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.1f} M parameters in {weights}; next:\n"
          f'  python -m minigroupvit segment PICTURE --classes "one, another" --weights {weights}')
    return 0
