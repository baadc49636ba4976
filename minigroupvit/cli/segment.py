"""`python -m minigroupvit segment`: name every pixel of a picture with one of your words."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from .common import add_protocol, make_parent, pick_device, protocol_choices, split_names

ABOUT = "name every pixel of a picture with one of your words"
EXAMPLES = """
examples:
  python -m minigroupvit segment scene.png --classes "sun, heart, brick" --out overlay.png
  python -m minigroupvit segment scene.png --classes "cat, grass" --top-classes all
  python -m minigroupvit segment me.jpg --classes "person, tree" --weights outputs/photos/last.safetensors \\
      --background-threshold 0.6

The picture may have any size and shape: its shorter side is brought to the size of the model's training
pictures, since that is the size at which the model knows things, unless --short-side or the weights
say otherwise. Give a name for everything in the picture, backgrounds too, or a --background-threshold."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("image", metavar="IMAGE", help="a picture file")
    parser.add_argument("--classes", required=True, metavar='"A, B"', help="any words, separated by commas")
    parser.add_argument("--out", default="overlay.png", metavar="FILE", help="default: %(default)s")
    add_protocol(parser)


def run(arguments: argparse.Namespace) -> None:
    from ..checkpoint import load
    from ..images import load_image
    from ..segmentation import Protocol, segment
    from ..visual.plots import save_overlay

    out = make_parent(arguments.out)
    if out.exists() and Path(arguments.image).exists() and out.samefile(arguments.image):
        raise ValueError(f"--out {out} is the picture itself; give another name")
    picture = load_image(arguments.image)
    model = load(arguments.weights, pick_device(arguments.device))
    protocol = replace(model.protocol or Protocol(), **protocol_choices(arguments))
    if protocol.short_side is None:
        # A model has seen things at one size: a scene saved at 512 pixels is not what it learnt from.
        protocol = replace(protocol, short_side=model.config.image.image_size)
    names = split_names(arguments.classes)
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
