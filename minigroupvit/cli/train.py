"""`python -m minigroupvit train`: train a model from captions, or go on with a run."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .common import fail, split_names

if TYPE_CHECKING:
    from ..data.captioned.batches import Captioned, CaptionedImages
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
  python -m minigroupvit train --recipe photographs_gpu --data AKCIT/coco2017-captioning --out outputs/photographs_gpu
  python -m minigroupvit train --data lmms-lab/flickr30k --stream --workers 4 --out outputs/flickr30k
  python -m minigroupvit train --data "cc3m/{00000..00331}.tar" --preset groupvit_2stage --batch-size 4096 \\
      --augmentation paper,greyscale=0.1 --out outputs/cc3m

Ctrl-C saves and stops; the same command goes on from there. --data takes a folder with parquet files, a
folder of images with a metadata.jsonl, the id of a data set on the hub, or tar shards of the
webdataset kind (a folder, a pattern with a range in braces, addresses). It also recognises, as a folder
or as the one file: Flickr8k's captions.txt and Flickr8k.token.txt (with Flickr_8k.trainImages.txt and so
on beside it), Flickr30k's results.csv and other tables of images and captions, COCO's
captions_train2017.json, Karpathy's dataset_coco.json (--split train+restval), and a 1.txt beside each
1.jpg. Where the data have a split
"validation", or with --hold-out, retrieval is measured on up to 1,000 of its images, and the best
checkpoint kept. What is not given is as in the recipe.

Models of --preset groupvit_2stage, groupvit_1stage and clip_vit, and of --recipe photographs_paper and
photographs_gpu, open in transformers (see export --help); the other recipes have parts that it lacks. --recipe list
says which. Several GPUs and machines: torchrun, see docs/scale.md."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--recipe", metavar="NAME", help="list: shows them; default: scenes")
    parser.add_argument("--out", default="outputs/train", metavar="FOLDER", help="default: %(default)s")
    parser.add_argument("--device", help="cpu, cuda, mps; default: a GPU if there is one")
    parser.add_argument("--num-proc", type=int, metavar="N", help="processes that draw scenes; default: all cores")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")

    data = parser.add_argument_group("data")
    data.add_argument("--data", default="scenes", metavar="NAME",
                      help="scenes, a folder or a file of captions, shards, or a hub id; default: %(default)s")
    data.add_argument("--num-scenes", type=int, metavar="N", help="how many scenes to train on")
    data.add_argument("--split", metavar="NAME",
                      help="default: train, or the only one there is of a known set; several: train+restval")
    data.add_argument("--image-column", metavar="NAME", help="default: image; of shards: jpg, jpeg, png, webp")
    data.add_argument("--caption-columns", metavar="A,B",
                      help="default: caption, captions, text, or caption_0, caption_1, ...; of shards: txt")
    data.add_argument("--nouns-column", metavar="NAME",
                      help="nouns of each image, lists or texts with commas; default: found in the captions, if "
                      "they are English")
    data.add_argument("--cache", choices=("memory", "disk"),
                      help="images decoded once, or anew for every batch; default: memory")
    data.add_argument("--stream", action="store_true", help="read the data as they come; shards always are")
    data.add_argument("--workers", type=int, metavar="N",
                      help="processes that decode images from disk or stream; default: all cores, at most 8")
    data.add_argument("--buffer", type=int, metavar="N",
                      help="samples that each worker of a stream shuffles together; default: 2000")
    data.add_argument("--validation-data", metavar="NAME",
                      help="measure retrieval on these, whose columns have the usual names; default: as --data")
    data.add_argument("--validation-split", metavar="NAME", help="default: validation, where there is one")
    data.add_argument("--hold-out", type=int, metavar="N", help="keep N images of the split for validation instead")
    data.add_argument("--max-skipped", type=float, metavar="SHARE",
                      help="of broken images and empty captions, above which a run stops; default: 0.05")

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
            ("num-prompts", int, "prompted nouns an image; 0: no multi-label loss"),
            ("segment-weight", float, "of nouns with single segments; 0: as in the paper"), ("seed", int, ""),
            ("precision", str, "auto, bf16, fp16, tf32 or fp32; auto: what the device is good at"),
            ("micro-batch-size", int, "images encoded at a time, with the gradient of the whole batch: for cards with "
             "little memory; 0: all at once"), ("eval-every", int, "steps; 0: never"),
            ("save-every", int, "steps"), ("snapshot-every", int, "steps; 0: never")):
        training.add_argument(f"--{name}", type=kind, metavar={int: "N", float: "X", str: "NAME"}[kind], help=about)
    training.add_argument("--augmentation", metavar="NAMES",
                          help="none, flip, paper, or values such as paper,erasing=0 or "
                               "crop=0.3,greyscale=0.2,channel_permutation=0.5; default: flip")
    training.add_argument("--checkpoint-activations", action=argparse.BooleanOptionalAction, default=None,
                          help="compute activations again in the backward pass: less memory, slower")
    training.add_argument("--compile", action=argparse.BooleanOptionalAction, default=None,
                          help="torch.compile the image encoder")


def run(arguments: argparse.Namespace) -> int:
    from ..distributed import leave_processes, pick_device, rank_and_size
    from ..training.loop import TrainingStopped
    from ..training.recipes import RECIPES, recipe
    from ..training.run import train_on_dataset, train_on_scenes

    if arguments.recipe == "list":
        _list_recipes(RECIPES)
        return 0
    if arguments.recipe and arguments.preset:
        raise ValueError(f"--recipe has no effect: --preset {arguments.preset} brings its own training; give one of them")
    wanted = change_recipe(recipe(arguments.recipe or "scenes"), arguments)
    check_data_options(arguments, wanted)
    shared = {"progress": not arguments.quiet, "device": pick_device(arguments.device)}
    try:
        if arguments.data == "scenes":
            model = train_on_scenes(wanted, arguments.out, num_proc=arguments.num_proc, **shared)
        else:
            data, validation = open_data(arguments, wanted)
            model = train_on_dataset(wanted, data, arguments.out, validation=validation, **shared)
    except TrainingStopped as error:
        return fail(str(error), 1)
    first = rank_and_size()[0] == 0       # of several processes
    leave_processes()
    return _after_training(arguments.out, wanted, model) if first else 0


def _list_recipes(recipes: dict[str, Recipe]) -> None:
    """Two lines for each: what it is, and whether `export` can write it for transformers."""
    from ..checkpoints.released.write import unlike_transformers

    for name, found in recipes.items():
        problems = "; ".join(unlike_transformers(found.trained))
        opens = f"no place in transformers for {problems}" if problems else "opens in transformers (export)"
        print(f"{name:20} {found.about}\n{'':20} {opens}")


def check_data_options(arguments: argparse.Namespace, recipe: Recipe) -> None:
    """Raises ValueError for options of the data that would have no effect beside the others."""
    from ..data.captioned.open import is_streamed

    def refuse(names: Sequence[str], why: str) -> None:
        for name in names:
            if getattr(arguments, name) not in (None, False):
                raise ValueError(f"--{name.replace('_', '-')} has no effect: {why}")

    of_validation = ("hold_out", "validation_data", "validation_split")
    if arguments.data == "scenes":
        refuse((*of_validation, "split", "image_column", "caption_columns", "nouns_column", "cache", "stream",
                "workers", "buffer", "max_skipped"),
               "it belongs to captioned images, and these are the scenes; say which with --data")
        return
    refuse(("num_scenes", "num_proc"), f"it belongs to the scenes, and --data is {arguments.data}")
    if is_streamed(arguments.data):
        refuse(("cache",), "shards are always read as they come")
    elif arguments.stream:
        refuse(("cache",), "--stream keeps nothing; give one of them")
    else:
        refuse(("buffer",), "it belongs to --stream and to shards")
        refuse(("workers",) if arguments.cache != "disk" else (), "it belongs to --cache disk, --stream and shards")
    if arguments.hold_out is not None:
        refuse(of_validation[1:], "--hold-out keeps images of --data for validation; give one of them")
    refuse(of_validation if not recipe.training.eval_every else (), "nothing is validated with --eval-every 0")
    refuse(("nouns_column",) if not recipe.training.num_prompts else (), "nouns are not used with --num-prompts 0")


def open_data(arguments: argparse.Namespace, recipe: Recipe) -> tuple[Captioned, CaptionedImages | None]:
    """What to train on, and the images to measure retrieval on, if there are any."""
    from ..data.captioned.caption_files import known_split
    from ..data.captioned.open import open_captioned, open_held_out, open_validation, splits

    name, size = arguments.data, recipe.model.image.image_size
    choices = {"image": arguments.image_column, "cache": "stream" if arguments.stream else arguments.cache or "memory",
               "captions": arguments.caption_columns and split_names(arguments.caption_columns),
               "nouns": arguments.nouns_column, "num_workers": arguments.workers,
               "max_skipped": 0.05 if arguments.max_skipped is None else arguments.max_skipped}
    if arguments.hold_out is not None:
        return open_held_out(name, size, arguments.hold_out, arguments.split, **choices)
    data = open_captioned(name, size, arguments.split, **choices,
                          buffer=2000 if arguments.buffer is None else arguments.buffer)
    if not recipe.training.eval_every:
        return data, None
    if arguments.validation_data:
        return data, open_validation(arguments.validation_data, size, arguments.validation_split)
    there, trained_on = splits(name), [known_split(part) for part in (arguments.split or "").split("+")]
    if arguments.validation_split or ("validation" in there and len(there) > 1 and "validation" not in trained_on):
        return data, open_validation(name, size, arguments.validation_split, **choices)
    return data, None


def change_recipe(recipe: Recipe, arguments: argparse.Namespace) -> Recipe:
    """The recipe with what was given on the command line in its place."""
    from ..data.captioned.augment import augmentation
    from ..training.recipes import preset_recipe

    def given(config) -> dict[str, Any]:
        values = {field.name: getattr(arguments, field.name, None) for field in fields(config)}
        return {name: value for name, value in values.items() if value is not None}

    if arguments.preset:
        recipe = preset_recipe(arguments.preset, arguments.image_size)   # its own training and protocol
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
    from ..checkpoints.native import read_checkpoint

    last, best = Path(out, "last.safetensors"), Path(out, "best.safetensors")
    if read_checkpoint(last)[0]["about"]["step"] < recipe.training.steps:
        return 130  # Ctrl-C; the loop has said how to go on
    weights = best if best.exists() else last
    print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.1f} M parameters in {weights}; next:\n"
          f'  python -m minigroupvit segment PICTURE --classes "one, another" --weights {weights}')
    return 0
