"""What the commands share: names, devices, files and the inference options."""

from __future__ import annotations

import argparse
import csv
import re
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..files import read_text
from ..segmentation.options import InferenceOptions

_HOW = "What is not given is as stored with the weights; `evaluate` says where it is as released."

if TYPE_CHECKING:
    from ..model import GroupViT


_MOST_LETTERS = 1500     # of a message: more is a value that was meant to be short

# What the package calls in Python what the command line has an option for; where they differ by more than dashes.
_OPTIONS = {"captions=[...]": "--caption-columns", "image=...": "--image-column", "nouns=...": "--nouns-column",
            "cache='memory'": "--cache memory", "num_workers": "--workers", "load(path, tokenizer=...)": "--tokenizer"}


def fail(message: str, code: int) -> int:
    """One line on stderr; the exit code comes back."""
    message = " ".join(message.split())
    if len(message) > _MOST_LETTERS:
        message = f"{message[:_MOST_LETTERS // 2]} [...] {message[-_MOST_LETTERS // 2:]}"
    print(f"minigroupvit: {message}", file=sys.stderr)
    return code


def in_options(message: str, arguments: argparse.Namespace) -> str:
    """A message of the package in the words of the command line: `batch_size` is --batch-size there."""
    own = vars(arguments)
    words = {word: option for word, option in _OPTIONS.items() if option.split()[0][2:].replace("-", "_") in own}
    words |= {name: f"--{name.replace('_', '-')}" for name in own if "_" in name}
    for word, option in words.items():
        # Not within a path or a longer name.
        message = re.sub(rf"(?<![\w/\\.-]){re.escape(word)}(?![\w/\\.-]\w|\w)", option, message)
    return message


def split_names(text: str) -> list[str]:
    """Words separated by commas or lines, as csv has them: "b, c" in quotes is one; or @FILE with a word a line.

    Raises ValueError where the file is not there, or a name has no end.
    """
    if text.startswith("@"):
        file = Path(text[1:])
        if not file.is_file():
            raise ValueError(f"there is no file {file}; after @ comes a text file with a name a line")
        return [line.strip() for line in read_text(file).splitlines() if line.strip()]
    try:
        return [name.strip() for row in csv.reader(text.splitlines(), skipinitialspace=True) for name in row]
    except csv.Error as error:
        raise ValueError(f"{text[:60]!r}... is no list of names separated by commas: {error}") from None


def make_parent(path: str) -> Path:
    """The path, whose folder is made if need be."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    return Path(path)


def protocol_choices(arguments: argparse.Namespace) -> dict[str, Any]:
    """The inference options that were given, each by the option of its name; "all" and "none" are None."""
    given = {field.name: getattr(arguments, field.name, None) for field in fields(InferenceOptions)}
    given = {name: value for name, value in given.items() if value is not None}
    if "templates" in given:
        given["templates"] = tuple(split_names(given["templates"]))
    return {name: None if value in ("all", "none") else value for name, value in given.items()}


def _or(word: str, number: Callable[[str], float]) -> Callable[[str], float | str]:
    """The type of an option that takes a number or a word."""
    def parse(text: str) -> float | str:
        return text if text == word else number(text)

    parse.__name__ = f"{number.__name__} or {word!r}"    # argparse names it where a value is neither
    return parse


WEIGHTS = ("shipped weights by name, a .safetensors file, a checkpoint of the authors, a folder of save_pretrained or "
           "of transformers, or the id of such a folder on the hub")


def add_weight_choices(parser: argparse.ArgumentParser) -> None:
    """What weights of others may need to be told, wherever a model is loaded."""
    parser.add_argument("--num-heads", type=int, metavar="N",
                        help="attention heads of the image encoder, which checkpoints of the authors do not say; "
                        "default: as stored, or one for 64 channels")
    parser.add_argument("--text-num-heads", type=int, metavar="N", help="the same of the text encoder")
    parser.add_argument("--tokenizer", metavar="FILE",
                        help="tokenizer.json of these weights, where none lies beside them and it is not CLIP's")


def load_weights(arguments: argparse.Namespace, name: str, device: Any = "cpu") -> GroupViT:
    """The model of that name, with what was given of `add_weight_choices`."""
    from ..checkpoints.native import load

    return load(name, device, num_heads=arguments.num_heads, text_num_heads=arguments.text_num_heads,
                tokenizer=arguments.tokenizer)


def add_protocol(parser: argparse.ArgumentParser) -> None:
    """Weights, device and an option for each of the inference options, which `evaluate` and `segment` share."""
    parser.add_argument("--weights", default="scenes", metavar="NAME", help=f"{WEIGHTS}; default: %(default)s")
    add_weight_choices(parser)
    parser.add_argument("--device", help="cpu, cuda, mps; default: a GPU if there is one")
    group = parser.add_argument_group("inference options", _HOW)
    group.add_argument("--short-side", type=int, metavar="PIXELS",
                       help="of the image in the model; where the weights name none, that of their training images")
    group.add_argument("--long-side", type=int, metavar="PIXELS", help="at most; default: 8 times the short side")
    group.add_argument("--antialias", action=argparse.BooleanOptionalAction, default=None,
                       help="smooth before shrinking an image; released: no")
    group.add_argument("--mode", choices=("direct", "whole", "slide"),
                       help="masks at the image's own size, or as released: at the size in the model, of the whole "
                       "image or of a sliding window")
    group.add_argument("--window", type=int, metavar="PIXELS", help="of slide: its side; default: the short side")
    group.add_argument("--stride", type=int, metavar="PIXELS", help="of slide; default: half a window")
    group.add_argument("--flip", action=argparse.BooleanOptionalAction, default=None,
                       help="average with the mirrored image; released: no")
    group.add_argument("--refine", type=int, metavar="N",
                       help="iterations in which the edges of masks move to edges of the image; released: 0")
    group.add_argument("--overlap", type=int, metavar="N",
                       help="patches per patch side: finer masks, slower; released: 1")
    group.add_argument("--assignment", choices=("soft", "hard"), help="of patches to groups; released: soft")
    group.add_argument("--upsample", choices=("maps", "groups"),
                       help="what is enlarged: the groups' maps (released), or the largest group of each patch")
    group.add_argument("--pixels", choices=("largest", "shared", "patches"),
                       help="a pixel is named by its largest group (released), by all its groups, or, without groups, "
                       "by its patch")
    group.add_argument("--templates", metavar='"A, B"',
                       help='sentences for the class names, such as "a photo of a {}.", as --classes takes words')
    group.add_argument("--top-classes", type=_or("all", int), metavar="N",
                       help="class names kept per image, those nearest to it, or all; released: 5")
    group.add_argument("--balance", type=_or("none", float), metavar="X",
                       help="divide each class score by its mean over the image plus this share, such as 0.03, so "
                       "that widespread classes do not win uncertain pixels; released: none")
    group.add_argument("--background-threshold", type=_or("none", float), metavar="P",
                       help="a probability: what scores less is background; none: there is no background")
