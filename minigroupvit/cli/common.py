"""What the commands share: names, devices, files and the choices of the protocol."""

from __future__ import annotations

import argparse
import csv
import re
import sys
from pathlib import Path
from typing import Any

from ..files import read_text


_MOST_LETTERS = 1500     # of a message: more is a value that was meant to be short

# What the package calls in Python what the command line has an option for; where they differ by more than dashes.
_OPTIONS = {"captions=[...]": "--caption-columns", "image=...": "--image-column", "cache='memory'": "--cache memory",
            "num_workers": "--workers"}


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


def pick_device(name: str | None):
    """The device of that name, a GPU if there is one, or the CPU; ValueError if it cannot be used."""
    import torch

    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(f"cannot use --device {name}: {str(error).splitlines()[0]}") from None
    return torch.device(name)


def make_parent(path: str) -> Path:
    """The path, whose folder is made if need be."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    return Path(path)


def protocol_choices(arguments: argparse.Namespace) -> dict[str, Any]:
    """The fields of the protocol that were given."""
    given = {name: getattr(arguments, name, None)
             for name in ("background_threshold", "short_side", "overlap", "balance", "top_classes", "mode", "window",
                          "stride", "flip")}
    given = {name: value for name, value in given.items() if value is not None}
    if given.get("top_classes") == "all":
        given["top_classes"] = None
    return given


def count_or_all(text: str) -> int | str:
    return text if text == "all" else int(text)


def add_protocol(parser: argparse.ArgumentParser) -> None:
    """Weights and the choices of the protocol, which `evaluate` and `segment` share."""
    parser.add_argument("--weights", default="scenes", metavar="NAME",
                        help="shipped weights by name, or a .safetensors file; default: %(default)s")
    parser.add_argument("--top-classes", type=count_or_all, metavar="N",
                        help="words kept per picture, or all; default: as stored with the weights")
    parser.add_argument("--overlap", type=int, metavar="N",
                        help="patches per patch side: finer masks, slower; default: as with the weights")
    parser.add_argument("--balance", type=float, metavar="X",
                        help="words that are everywhere have to be surer: added to each word's mean share of the "
                        "picture, such as 0.03; default: as with the weights")
    parser.add_argument("--background-threshold", type=float, metavar="P",
                        help="a probability: what scores less is background; without it there is none")
    parser.add_argument("--short-side", type=int, metavar="PIXELS",
                        help="of the picture in the model; default: as in training")
    parser.add_argument("--mode", choices=("direct", "whole", "slide"),
                        help="masks cut at the picture's size, or as released: at the size in the model, of the whole "
                        "picture or of a sliding window")
    parser.add_argument("--window", type=int, metavar="PIXELS", help="of slide: its side; default: the short side")
    parser.add_argument("--stride", type=int, metavar="PIXELS", help="of slide; default: half a window")
    parser.add_argument("--flip", action=argparse.BooleanOptionalAction, default=None,
                        help="look at the mirrored picture too")
    parser.add_argument("--device", help="cpu, cuda, mps; default: a GPU if there is one")
