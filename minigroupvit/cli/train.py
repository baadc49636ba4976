"""`python -m minigroupvit train`: train a model from captions, or go on with a run."""

from __future__ import annotations

import argparse
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .common import fail, pick_device, split_names

if TYPE_CHECKING:
    from ..model import GroupViT
    from ..training.recipes import Recipe

ABOUT = "train a model from captions, or go on with a run"
EXAMPLES = """
examples:
  python -m minigroupvit train                                   the recipe "scenes" into outputs/train
  python -m minigroupvit train --recipe list                     the recipes there are
  python -m minigroupvit train --steps 500 --residual projected --out outputs/residual
  python -m minigroupvit train --data photos/ --image-size 96 --steps 5000 --out outputs/photos
  python -m minigroupvit train --data jxie/flickr8k --out outputs/flickr8k

Ctrl-C saves and stops; the same command goes on from there. --data takes a folder with parquet files,
a folder of pictures with a metadata.jsonl, or the id of a data set on the hub. What is not given is
as in the recipe."""


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
    data.add_argument("--split", default="train", help="of a folder or hub data set; default: %(default)s")
    data.add_argument("--image-column", default="image", metavar="NAME", help="default: %(default)s")
    data.add_argument("--caption-columns", metavar="A,B",
                      help="default: caption, captions, text, or caption_0, caption_1, ...")

    model = parser.add_argument_group("model")
    model.add_argument("--preset", metavar="NAME", help="its model instead of the recipe's (see config.PRESETS)")
    model.add_argument("--image-size", type=int, metavar="PIXELS")
    model.add_argument("--patch-size", type=int, metavar="PIXELS")
    model.add_argument("--assignment", metavar="hard|soft")
    model.add_argument("--residual", metavar="projected|learned|none", help="of the merge; projected: the paper's")

    training = parser.add_argument_group("training")
    for name, kind, about in (
            ("steps", int, ""), ("batch-size", int, ""), ("lr", float, "learning rate at its highest"),
            ("warmup", int, "steps of warm-up"), ("weight-decay", float, ""),
            ("num-prompts", int, "prompted nouns a picture; 0: no multi-label loss"), ("seed", int, ""),
            ("precision", str, "auto, bf16 or fp32"), ("eval-every", int, "steps; 0: never"),
            ("save-every", int, "steps"), ("snapshot-every", int, "steps; 0: never")):
        training.add_argument(f"--{name}", type=kind, metavar={int: "N", float: "X", str: "NAME"}[kind], help=about)
    training.add_argument("--compile", action=argparse.BooleanOptionalAction, default=None,
                          help="torch.compile the encoders")


def run(arguments: argparse.Namespace) -> int:
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
            from ..data.open_dataset import open_dataset

            columns = arguments.caption_columns and split_names(arguments.caption_columns)
            dataset = open_dataset(arguments.data, arguments.split)
            model = train_on_dataset(wanted, dataset, arguments.out, arguments.image_column, columns, **shared)
    except TrainingStopped as error:
        return fail(str(error), 1)
    return _after_training(arguments.out, wanted, model)


def change_recipe(recipe: Recipe, arguments: argparse.Namespace) -> Recipe:
    """The recipe with what was given on the command line in its place."""
    from ..config import preset

    def given(config) -> dict[str, Any]:
        values = {field.name: getattr(arguments, field.name, None) for field in fields(config)}
        return {name: value for name, value in values.items() if value is not None}

    model = preset(arguments.preset) if arguments.preset else recipe.model
    return replace(
        recipe,
        model=replace(model, image=replace(model.image, **given(model.image))),
        training=replace(recipe.training, **given(recipe.training)),
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
