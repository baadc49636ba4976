"""What the commands share: names, devices, files and the choices of the protocol."""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..files import read_text

if TYPE_CHECKING:
    from ..model import GroupViT


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
    from ..checkpoint import load

    return load(name, device, num_heads=arguments.num_heads, text_num_heads=arguments.text_num_heads,
                tokenizer=arguments.tokenizer)


def add_protocol(parser: argparse.ArgumentParser) -> None:
    """Weights and the choices of the protocol, which `evaluate` and `segment` share."""
    parser.add_argument("--weights", default="scenes", metavar="NAME", help=f"{WEIGHTS}; default: %(default)s")
    add_weight_choices(parser)
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
