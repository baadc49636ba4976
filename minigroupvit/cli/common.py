"""What the commands share: names, devices, files and the choices of the protocol."""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path
from typing import Any

from ..files import read_text


def fail(message: str, code: int) -> int:
    """One line on stderr; the exit code comes back."""
    print(f"minigroupvit: {' '.join(message.split())}", file=sys.stderr)
    return code


def split_names(text: str) -> list[str]:
    """Words separated by commas or lines, as csv has them: "b, c" in quotes is one; or @FILE with a word a line.

    Raises ValueError where the file is not there.
    """
    if text.startswith("@"):
        file = Path(text[1:])
        if not file.is_file():
            raise ValueError(f"there is no file {file}; after @ comes a text file with a name a line")
        return [line.strip() for line in read_text(file).splitlines() if line.strip()]
    return [name.strip() for row in csv.reader(text.splitlines(), skipinitialspace=True) for name in row]


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
