"""The command line: `python -m minigroupvit demo | train | evaluate | segment`.

argparse, because it is in the standard library and four commands need no more. What takes time to
import (torch, datasets, matplotlib) is imported by the command that needs it: `--help` is instant.
Mistakes of the user are ValueErrors of the package: one line on stderr and exit code 2.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .model import GroupViT
    from .training.recipes import Recipe

EXAMPLES = {
    "demo": """
examples:
  python -m minigroupvit demo
  python -m minigroupvit demo --out outputs/again""",
    "train": """
examples:
  python -m minigroupvit train                                   the recipe "scenes" into outputs/train
  python -m minigroupvit train --recipe list                     the recipes there are
  python -m minigroupvit train --steps 500 --residual projected --out outputs/residual
  python -m minigroupvit train --data photos/ --image-size 96 --steps 5000 --out outputs/photos
  python -m minigroupvit train --data jxie/flickr8k --out outputs/flickr8k

Ctrl-C saves and stops; the same command goes on from there. --data takes a folder with parquet files,
a folder of pictures with a metadata.jsonl, or the id of a data set on the hub. What is not given is
as in the recipe.""",
    "evaluate": """
examples:
  python -m minigroupvit evaluate
  python -m minigroupvit evaluate --split unseen --json unseen.json
  python -m minigroupvit evaluate --weights outputs/train/best.safetensors --num-images 200 --json -

The figures are fractions from 0 to 1; the scenes are drawn at the size that the model was trained on.""",
    "segment": """
examples:
  python -m minigroupvit segment scene.png --classes "sun, heart, brick" --out overlay.png
  python -m minigroupvit segment scene.png --classes "cat, grass" --top-classes all
  python -m minigroupvit segment me.jpg --classes "person, tree" --weights outputs/photos/last.safetensors \\
      --background-threshold 0.6

The picture may have any size and shape: its shorter side is brought to the size of the model's training
pictures, since that is the size at which the model knows things, unless --short-side or the weights
say otherwise. Give a name for everything in the picture, backgrounds too, or a --background-threshold.""",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command. Returns the exit code: 0, 2 for the user's mistakes, 1 for a run that failed."""
    arguments = _parser().parse_args(argv)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _short_warning(warnings.showwarning)
            return arguments.command(arguments) or 0
    except ValueError as error:
        return _fail(str(error), 2)
    except OSError as error:  # a folder that cannot be written, a full disk
        return _fail(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}", 2)
    except KeyboardInterrupt:  # before or after the training loop, which has its own way to stop
        return _fail("stopped", 130)


def _fail(message: str, code: int) -> int:
    print(f"minigroupvit: {' '.join(message.split())}", file=sys.stderr)
    return code


def _short_warning(default):
    """Our own warnings without the line of code that they come from."""
    own = str(Path(__file__).parent)

    def show(message, category, filename, *rest) -> None:
        if str(filename).startswith(own):
            print(f"minigroupvit: {message}", file=sys.stderr)
        else:
            default(message, category, filename, *rest)

    return show


# --- demo ----------------------------------------------------------------------------------------


def _demo(arguments: argparse.Namespace) -> None:
    from .demo import run_demo

    run_demo(arguments.out)


# --- train ---------------------------------------------------------------------------------------


def _train(arguments: argparse.Namespace) -> int:
    from .training.loop import TrainingStopped
    from .training.recipes import RECIPES, recipe
    from .training.run import train_on_dataset, train_on_scenes

    if arguments.recipe == "list":
        for name, found in RECIPES.items():
            print(f"{name:20} {found.about}")
        return 0
    wanted = change_recipe(recipe(arguments.recipe), arguments)
    shared = {"progress": not arguments.quiet, "device": _device(arguments.device)}
    try:
        if arguments.data == "scenes":
            model = train_on_scenes(wanted, arguments.out, num_proc=arguments.num_proc, **shared)
        else:
            from .data.open_dataset import open_dataset

            columns = arguments.caption_columns and _names(arguments.caption_columns)
            dataset = open_dataset(arguments.data, arguments.split)
            model = train_on_dataset(wanted, dataset, arguments.out, arguments.image_column, columns, **shared)
    except TrainingStopped as error:
        return _fail(str(error), 1)
    return _after_training(arguments.out, wanted, model)


def change_recipe(recipe: Recipe, arguments: argparse.Namespace) -> Recipe:
    """The recipe with what was given on the command line in its place."""
    from .config import preset

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
    from .checkpoint import read_checkpoint

    last, best = Path(out, "last.safetensors"), Path(out, "best.safetensors")
    if read_checkpoint(last)[0]["about"]["step"] < recipe.training.steps:
        return 130  # Ctrl-C; the loop has said how to go on
    weights = best if best.exists() else last
    print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.1f} M parameters in {weights}; next:\n"
          f'  python -m minigroupvit segment PICTURE --classes "one, another" --weights {weights}')
    return 0


# --- evaluate ------------------------------------------------------------------------------------


def _evaluate(arguments: argparse.Namespace) -> None:
    from .checkpoint import load
    from .data.scene_config import SceneConfig
    from .evaluation.scenes import scene_tensors
    from .segmentation import Protocol
    from .training.run import evaluate_on_scenes

    model = load(arguments.weights, _device(arguments.device))
    protocol = replace(model.protocol or Protocol(), **_choices(arguments))
    scenes = SceneConfig(image_size=model.config.image.image_size)
    images, masks = scene_tensors(arguments.split, arguments.num_images, scenes)
    figures = {"weights": arguments.weights, "split": arguments.split}
    figures |= evaluate_on_scenes(model, images, masks, protocol)
    if arguments.json == "-":  # nothing else on stdout, so that it can be piped
        print(json.dumps(figures, indent=2))
        return
    if arguments.json:
        _make_parent(arguments.json).write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    _print_figures(figures)


def _print_figures(figures: dict[str, Any]) -> None:
    print(f"{figures['weights']} on {figures['num_images']} scenes of the split {figures['split']}\n")
    for name, value in figures.items():
        if isinstance(value, float):
            print(f"  {name:22} {value:7.3f}")
    print("\n  IoU per class")
    for name, value in sorted(figures["iou_per_class"].items(), key=lambda pair: -pair[1]):
        print(f"  {name:22} {value:7.3f}")


# --- segment -------------------------------------------------------------------------------------


def _segment(arguments: argparse.Namespace) -> None:
    from .checkpoint import load
    from .images import load_image
    from .segmentation import Protocol, segment
    from .visual.plots import save_overlay

    out = _make_parent(arguments.out)
    if out.exists() and Path(arguments.image).exists() and out.samefile(arguments.image):
        raise ValueError(f"--out {out} is the picture itself; give another name")
    picture = load_image(arguments.image)
    model = load(arguments.weights, _device(arguments.device))
    protocol = replace(model.protocol or Protocol(), **_choices(arguments))
    if protocol.short_side is None:
        # A model has seen things at one size: a scene saved at 512 pixels is not what it learnt from.
        protocol = replace(protocol, short_side=model.config.image.image_size)
    names = _names(arguments.classes)
    result = segment(model, picture, names, protocol)
    save_overlay(picture, result, out)
    _print_shares(result.labels[0].cpu(), names)
    print(f"written: {out}")


def _print_shares(labels, names: list[str]) -> None:
    """How much of the picture each name has, largest first; background is -1."""
    shares = {name: (labels == i).float().mean().item() for i, name in enumerate(names)}
    if (labels < 0).any():
        shares["(background)"] = (labels < 0).float().mean().item()
    width = max(map(len, shares))
    for name, share in sorted(shares.items(), key=lambda pair: -pair[1]):
        print(f"{name:{width}} {share:6.1%}")


# --- what they share -----------------------------------------------------------------------------


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]


def _device(name: str | None):
    """The device of that name, a GPU if there is one, or the CPU; ValueError if it cannot be used."""
    import torch

    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(f"cannot use --device {name}: {str(error).splitlines()[0]}") from None
    return torch.device(name)


def _make_parent(path: str) -> Path:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    return Path(path)


def _choices(arguments: argparse.Namespace) -> dict[str, Any]:
    """The fields of the protocol that were given."""
    given = {name: getattr(arguments, name, None)
             for name in ("background_threshold", "short_side", "overlap", "top_classes")}
    given = {name: value for name, value in given.items() if value is not None}
    if given.get("top_classes") == "all":
        given["top_classes"] = None
    return given


def _count_or_all(text: str) -> int | str:
    return text if text == "all" else int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m minigroupvit",
        description="GroupViT: a model that learns from captions alone to cut pictures into named segments.",
        epilog="\n".join(["examples:"] + [text.strip().splitlines()[1] for text in EXAMPLES.values()])
        + "\n\nEach command has a --help of its own.",
        formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(name: str, function, about: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=about, description=about[0].upper() + about[1:] + ".",
                                   epilog=EXAMPLES[name], formatter_class=argparse.RawDescriptionHelpFormatter)
        made.set_defaults(command=function)
        return made

    demo = command("demo", _demo, "segment held-out scenes with the shipped weights and print the figures")
    demo.add_argument("--out", default="outputs/demo", metavar="FOLDER", help="default: %(default)s")

    _add_train(command("train", _train, "train a model from captions, or go on with a run"))

    evaluate = command("evaluate", _evaluate, "measure a model on held-out scenes")
    evaluate.add_argument("--split", default="test", choices=("test", "validation", "unseen", "train"),
                          help="default: %(default)s; unseen: colours and pairs never seen in training")
    evaluate.add_argument("--num-images", type=int, default=1000, metavar="N", help="default: %(default)s")
    evaluate.add_argument("--json", metavar="FILE", help="write the figures to a file; -: print them as JSON")

    segment = command("segment", _segment, "name every pixel of a picture with one of your words")
    segment.add_argument("image", metavar="IMAGE", help="a picture file")
    segment.add_argument("--classes", required=True, metavar='"A, B"', help="any words, separated by commas")
    segment.add_argument("--out", default="overlay.png", metavar="FILE", help="default: %(default)s")
    segment.add_argument("--background-threshold", type=float, metavar="P",
                         help="a probability: what scores less is background; without it there is none")
    segment.add_argument("--short-side", type=int, metavar="PIXELS",
                         help="of the picture in the model; default: as in training")

    for made in (evaluate, segment):
        made.add_argument("--weights", default="scenes", metavar="NAME",
                          help="shipped weights by name, or a .safetensors file; default: %(default)s")
        made.add_argument("--top-classes", type=_count_or_all, metavar="N",
                          help="words kept per picture, or all; default: as stored with the weights")
        made.add_argument("--overlap", type=int, metavar="N",
                          help="patches per patch side: finer masks, slower; default: as with the weights")
        made.add_argument("--device", help="cpu, cuda, mps; default: a GPU if there is one")
    return parser


def _add_train(train: argparse.ArgumentParser) -> None:
    train.add_argument("--recipe", default="scenes", metavar="NAME", help="list: shows them; default: %(default)s")
    train.add_argument("--out", default="outputs/train", metavar="FOLDER", help="default: %(default)s")
    train.add_argument("--device", help="cpu, cuda, mps; default: a GPU if there is one")
    train.add_argument("--num-proc", type=int, metavar="N", help="processes that draw scenes; default: all cores")
    train.add_argument("--quiet", action="store_true", help="no progress bar")

    data = train.add_argument_group("data")
    data.add_argument("--data", default="scenes", metavar="NAME",
                      help="scenes, a folder, or a hub id; default: %(default)s")
    data.add_argument("--num-scenes", type=int, metavar="N", help="how many scenes to train on")
    data.add_argument("--split", default="train", help="of a folder or hub data set; default: %(default)s")
    data.add_argument("--image-column", default="image", metavar="NAME", help="default: %(default)s")
    data.add_argument("--caption-columns", metavar="A,B",
                      help="default: caption, captions, text, or caption_0, caption_1, ...")

    model = train.add_argument_group("model")
    model.add_argument("--preset", metavar="NAME", help="its model instead of the recipe's (see config.PRESETS)")
    model.add_argument("--image-size", type=int, metavar="PIXELS")
    model.add_argument("--patch-size", type=int, metavar="PIXELS")
    model.add_argument("--assignment", metavar="hard|soft")
    model.add_argument("--residual", metavar="projected|learned|none", help="of the merge; projected: the paper's")

    training = train.add_argument_group("training")
    for name, kind, about in (
            ("steps", int, ""), ("batch-size", int, ""), ("lr", float, "learning rate at its highest"),
            ("warmup", int, "steps of warm-up"), ("weight-decay", float, ""),
            ("num-prompts", int, "prompted nouns a picture; 0: no multi-label loss"), ("seed", int, ""),
            ("precision", str, "auto, bf16 or fp32"), ("eval-every", int, "steps; 0: never"),
            ("save-every", int, "steps"), ("snapshot-every", int, "steps; 0: never")):
        training.add_argument(f"--{name}", type=kind, metavar={int: "N", float: "X", str: "NAME"}[kind], help=about)
    training.add_argument("--compile", action=argparse.BooleanOptionalAction, default=None,
                          help="torch.compile the encoders")
