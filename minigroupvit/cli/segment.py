"""`python -m minigroupvit segment`: zero-shot semantic segmentation of images with your class names."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .common import add_protocol, fail, load_weights, make_parent, protocol_choices, split_names

if TYPE_CHECKING:
    from ..model import GroupViT
    from ..segmentation.options import InferenceOptions

ABOUT = "segment images: each pixel gets one of your class names"
EXAMPLES = """
examples:
  python -m minigroupvit segment scene.png --classes "cat, cup, brick" --out overlay.png
  python -m minigroupvit segment scene.png --classes "cat, grass" --top-classes all
  python -m minigroupvit segment scene.png --classes "cat, grass" --instances --out found/
  python -m minigroupvit segment one.jpg two.jpg more/ --classes @words.txt --out found/
  python -m minigroupvit segment photos/ --classes "person, tree" --weights outputs/photos/last.safetensors \\
      --background-threshold 0.6 --out found/

With a folder as --out each image gets three files, here for cat.jpg: cat.overlay.png with a legend; cat.mask.png, an
index mask of the image's size (0 background, 1, 2, ... the class names in their order; 255, ignored, is never
written); cat.json with the share of each class. Images that cannot be read are reported and skipped, and the exit
code is 1.

Images may have any size: the shorter side is resized to that of the training images, unless --short-side or the
weights say otherwise. Masks have the size of the image; above half a million pixels they are computed smaller and
enlarged. Give a class name for everything in the image, backgrounds too, or a --background-threshold."""

_OVERLAY, _FOLDER = "overlay.png", "outputs/segment"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="image files, or folders of them")
    parser.add_argument("--classes", required=True, metavar='"A, B"', help="class names: any words, separated by commas")
    parser.add_argument("--out", metavar="PATH", help="a file for the overlay, or a folder for overlay, mask and JSON; "
                        f"default: {_OVERLAY}, or {_FOLDER} for several images")
    parser.add_argument("--instances", action="store_true",
                        help="in the JSON: connected components of each class as COCO RLE, with box, area and score")
    parser.add_argument("--smallest", type=float, default=0.01, metavar="SHARE",
                        help="smallest area of an instance, as a share of the image; default: %(default)s")
    add_protocol(parser)


def run(arguments: argparse.Namespace) -> int:
    from ..distributed import pick_device
    from ..images import load_image
    from ..segment_files import list_pictures, segment_pictures
    from ..segmentation.options import protocol_for

    sources = [Path(image) for image in arguments.images]
    several = len(sources) > 1 or sources[0].is_dir()
    out = arguments.out or (_FOLDER if several else _OVERLAY)
    to_folder = out.endswith("/") or Path(out).is_dir() or not Path(out).suffix
    _check_places(sources, Path(out), several, to_folder, arguments.instances)
    pictures = [picture for source in sources for picture in (list_pictures(source) if source.is_dir() else [source])]
    if not several:
        load_image(sources[0])  # its error comes before a model is loaded
    names = split_names(arguments.classes)
    model = load_weights(arguments, arguments.weights, pick_device(arguments.device))
    protocol = protocol_for(model, **protocol_choices(arguments))
    if not to_folder:
        _write_overlay(model, sources[0], names, protocol, make_parent(out))
        print(f"written: {out}")
        return 0
    reports = segment_pictures(
        model, pictures, names, out, protocol, arguments.smallest if arguments.instances else None,
        about={"weights": arguments.weights}, say=_print_line if several else _print_shares)
    skipped = sum("problem" in report for report in reports)
    print(f"written: {out}" + (f" ({len(reports) - skipped} images)" if several else ""))
    return fail(f"{skipped} of {len(reports)} images could not be read and were skipped", 1) if skipped else 0


def _check_places(sources: list[Path], out: Path, several: bool, to_folder: bool, instances: bool) -> None:
    """Raises ValueError where --out does not fit the request, or would replace an image."""
    for source in sources:
        if out.exists() and source.exists() and out.samefile(source):
            what = "holds the images themselves" if source.is_dir() else "is the image itself"
            raise ValueError(f"--out {out} {what}; give another path")
    if several and not to_folder:
        what = f"{sources[0]} is a folder" if len(sources) == 1 else f"these are {len(sources)} images or folders"
        raise ValueError(f"{what}, so --out must be a folder; {out} looks like a file (end it with / if not)")
    if instances and not to_folder:
        raise ValueError("instances are written as JSON: give a folder such as --out found/, which gets overlay, mask "
                         "and JSON")


def _write_overlay(model: GroupViT, source: Path, names: list[str], protocol: InferenceOptions, out: Path) -> None:
    from ..segment_files import class_shares, segment_picture
    from ..visual.plots import save_overlay

    picture, result = segment_picture(model, source, names, protocol)
    save_overlay(picture, result, out)
    _print_shares(class_shares(result.labels[0].cpu().numpy(), names))


def _shares(report: dict[str, Any]) -> list[tuple[str, float]]:
    """Each class with its share, largest first; background only where there is any."""
    shares = [(c["name"] if c["index"] else "(background)", c["share"])
              for c in report["classes"] if c["index"] or c["share"]]
    return sorted(shares, key=lambda pair: -pair[1])


def _print_shares(report: dict[str, Any]) -> None:
    """A line for each class."""
    shares = _shares(report)
    width = max(len(name) for name, _ in shares)
    for name, share in shares:
        print(f"{name:{width}} {share:6.1%}")


def _print_line(report: dict[str, Any]) -> None:
    """A line for an image: its largest classes, or what is wrong with it."""
    if "problem" in report:
        fail(report["problem"], 1)
        return
    told = ", ".join(f"{name} {share:.0%}" for name, share in _shares(report)[:5] if share >= 0.005)
    print(f"{report['file']}: {told}", flush=True)
