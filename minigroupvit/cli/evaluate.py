"""`python -m minigroupvit evaluate`: measure a model on held-out scenes."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from typing import Any

from .common import add_protocol, make_parent, pick_device, protocol_choices

ABOUT = "measure a model on held-out scenes"
EXAMPLES = """
examples:
  python -m minigroupvit evaluate
  python -m minigroupvit evaluate --split unseen --json unseen.json
  python -m minigroupvit evaluate --weights outputs/train/best.safetensors --num-images 200 --json -

The figures are fractions from 0 to 1; the scenes are drawn at the size that the model was trained on."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--split", default="test", choices=("test", "validation", "unseen", "train"),
                        help="default: %(default)s; unseen: colours and pairs never seen in training")
    parser.add_argument("--num-images", type=int, default=1000, metavar="N", help="default: %(default)s")
    parser.add_argument("--json", metavar="FILE", help="write the figures to a file; -: print them as JSON")
    add_protocol(parser)


def run(arguments: argparse.Namespace) -> None:
    from ..checkpoint import load
    from ..data.scene_config import SceneConfig
    from ..evaluation.scenes import scene_tensors
    from ..segmentation import Protocol
    from ..training.run import evaluate_on_scenes

    model = load(arguments.weights, pick_device(arguments.device))
    protocol = replace(model.protocol or Protocol(), **protocol_choices(arguments))
    scenes = SceneConfig(image_size=model.config.image.image_size)
    images, masks = scene_tensors(arguments.split, arguments.num_images, scenes)
    figures = {"weights": arguments.weights, "split": arguments.split}
    figures |= evaluate_on_scenes(model, images, masks, protocol)
    if arguments.json == "-":  # nothing else on stdout, so that it can be piped
        print(json.dumps(figures, indent=2))
        return
    if arguments.json:
        make_parent(arguments.json).write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    _print_figures(figures)


def _print_figures(figures: dict[str, Any]) -> None:
    print(f"{figures['weights']} on {figures['num_images']} scenes of the split {figures['split']}\n")
    for name, value in figures.items():
        if isinstance(value, float):
            print(f"  {name:22} {value:7.3f}")
    print("\n  IoU per class")
    for name, value in sorted(figures["iou_per_class"].items(), key=lambda pair: -pair[1]):
        print(f"  {name:22} {value:7.3f}")
