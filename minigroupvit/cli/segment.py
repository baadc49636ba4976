"""`python -m minigroupvit segment`: name every pixel of pictures with one of your words."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .common import add_protocol, fail, make_parent, protocol_choices, split_names

if TYPE_CHECKING:
    from ..model import GroupViT
    from ..protocol import Protocol

ABOUT = "name every pixel of a picture, or of a folder of pictures, with one of your words"
EXAMPLES = """
examples:
  python -m minigroupvit segment scene.png --classes "cat, cup, brick" --out overlay.png
  python -m minigroupvit segment scene.png --classes "cat, grass" --top-classes all
  python -m minigroupvit segment scene.png --classes "cat, grass" --instances --out found/
  python -m minigroupvit segment photos/ --classes "person, tree" --weights outputs/photos/last.safetensors \\
      --background-threshold 0.6 --out found/

A folder as --out gets three files for each picture, here of cat.jpg: cat.overlay.png with a legend;
cat.mask.png, an index mask of the picture's size (0 background, 1, 2, ... the words in their order; 255,
not judged, is never written); cat.json with the share of each word. Pictures of a folder that cannot be
read are reported and skipped, and the exit code is 1.

A picture may have any size and shape: its shorter side is brought to the size of the model's training
pictures, since that is the size at which the model knows things, unless --short-side or the weights
say otherwise. Give a name for everything in the picture, backgrounds too, or a --background-threshold."""

_OVERLAY, _FOLDER = "overlay.png", "outputs/segment"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("image", metavar="IMAGE", help="a picture file, or a folder of them")
    parser.add_argument("--classes", required=True, metavar='"A, B"', help="any words, separated by commas")
    parser.add_argument("--out", metavar="PATH", help="a file for the overlay, or a folder for overlay, mask and JSON; "
                        f"default: {_OVERLAY}, or {_FOLDER} for a folder of pictures")
    parser.add_argument("--instances", action="store_true",
                        help="in the JSON: connected pieces of each word as COCO RLE, with box, area and score")
    parser.add_argument("--smallest", type=float, default=0.01, metavar="SHARE",
                        help="of the picture, that an instance has at least; default: %(default)s")
    add_protocol(parser)


def run(arguments: argparse.Namespace) -> int:
    from ..checkpoint import load
    from ..distributed import pick_device
    from ..images import load_image
    from ..own_pictures import list_pictures, protocol_for, segment_pictures
    from ..protocol import Protocol

    source, is_folder = Path(arguments.image), Path(arguments.image).is_dir()
    out = arguments.out or (_FOLDER if is_folder else _OVERLAY)
    to_folder = out.endswith("/") or Path(out).is_dir() or not Path(out).suffix
    _check_places(source, Path(out), to_folder, arguments.instances)
    pictures = list_pictures(source) if is_folder else [source]
    if not is_folder:
        load_image(source)  # tells what is wrong with it before a model is loaded
    names = split_names(arguments.classes)
    model = load(arguments.weights, pick_device(arguments.device))
    protocol = protocol_for(model, replace(model.protocol or Protocol(), **protocol_choices(arguments)))
    if not to_folder:
        _write_overlay(model, source, names, protocol, make_parent(out))
        print(f"written: {out}")
        return 0
    reports = segment_pictures(
        model, pictures, names, out, protocol, arguments.smallest if arguments.instances else None,
        about={"weights": arguments.weights}, say=_print_line if is_folder else _print_shares)
    skipped = sum("problem" in report for report in reports)
    print(f"written: {out}" + (f" ({len(reports) - skipped} pictures)" if is_folder else ""))
    return fail(f"{skipped} of {len(reports)} pictures could not be read and were skipped", 1) if skipped else 0


def _check_places(source: Path, out: Path, to_folder: bool, instances: bool) -> None:
    """That nothing is asked for which has no place, and no picture would be replaced."""
    if out.exists() and source.exists() and out.samefile(source):
        what = "holds the pictures themselves" if source.is_dir() else "is the picture itself"
        raise ValueError(f"--out {out} {what}; give another name")
    if source.is_dir() and not to_folder:
        raise ValueError(f"{source} is a folder, so --out must be one; {out} looks like a file (end it with / if not)")
    if instances and not to_folder:
        raise ValueError("instances are written as JSON: give a folder such as --out found/, which gets overlay, mask "
                         "and JSON")


def _write_overlay(model: GroupViT, source: Path, names: list[str], protocol: Protocol, out: Path) -> None:
    from ..images import load_image
    from ..own_pictures import class_shares, segment_picture
    from ..visual.plots import save_overlay

    picture, result = segment_picture(model, load_image(source), names, protocol)
    save_overlay(picture, result, out)
    _print_shares(class_shares(result.labels[0].cpu().numpy(), names))


def _shares(report: dict[str, Any]) -> list[tuple[str, float]]:
    """Each word with its share, largest first; background only where there is any."""
    shares = [(c["name"] if c["index"] else "(background)", c["share"])
              for c in report["classes"] if c["index"] or c["share"]]
    return sorted(shares, key=lambda pair: -pair[1])


def _print_shares(report: dict[str, Any]) -> None:
    """A line for each word."""
    shares = _shares(report)
    width = max(len(name) for name, _ in shares)
    for name, share in shares:
        print(f"{name:{width}} {share:6.1%}")


def _print_line(report: dict[str, Any]) -> None:
    """A line for each picture: what there is most of, or what is wrong with it."""
    if "problem" in report:
        fail(report["problem"], 1)
        return
    told = ", ".join(f"{name} {share:.0%}" for name, share in _shares(report)[:5] if share >= 0.005)
    print(f"{report['file']}: {told}", flush=True)
