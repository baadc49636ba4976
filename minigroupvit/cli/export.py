"""`python -m minigroupvit export`: a model in the format of transformers, or of the authors' code."""

from __future__ import annotations

import argparse
from pathlib import Path

from .common import WEIGHTS, add_weight_choices, load_weights

ABOUT = "write a model in the format of transformers, or of the authors' code"
EXAMPLES = """
examples:
  python -m minigroupvit export photographs_paper --to transformers outputs/transformers
  python -m minigroupvit export outputs/coco/best.safetensors --to original groupvit.pth
  python -m minigroupvit export groupvit.pth --to transformers outputs/transformers

What is kept:
  transformers   a folder for GroupViTModel, AutoTokenizer and AutoImageProcessor: the weights, the vocabulary, size
                 and statistics of the images. Not the temperature of the multi-label loss. The inference protocol and
                 the settings of training are in minigroupvit.json, which only this package reads: they are lost where
                 transformers saves the folder again.
  original       a file of torch.save: all weights. Vocabulary and inference protocol are there for this package; the
                 authors' code ignores them. It has CLIP's vocabulary only, and soft assignment must be set in it too.

Both formats have the parts of the paper's model only: the presets groupvit_2stage, groupvit_1stage and clip_vit, and
the recipes photographs_paper and photographs_gpu (see `train --recipe list`). For another model the error names the
parts that they lack."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help=WEIGHTS)
    parser.add_argument("--to", required=True, choices=("transformers", "original"), help="the format")
    parser.add_argument("out", metavar="OUT", help="a folder for transformers, a file for original")
    add_weight_choices(parser)


def run(arguments: argparse.Namespace) -> None:
    from ..checkpoints.native import WEIGHTS as WEIGHTS_FILE, is_ours
    from ..checkpoints.released.write import export_released, export_transformers

    source, out = Path(arguments.checkpoint), Path(arguments.out)
    if out.exists() and source.exists() and out.samefile(source):
        raise ValueError(f"{out} is the checkpoint itself; give another name")
    if arguments.to == "transformers" and out.is_file():
        raise ValueError(f"{out} is a file; --to transformers writes a folder, give another name")
    if arguments.to == "original" and (out.is_dir() or out.suffix == ".safetensors"):
        raise ValueError(f"--to original writes a file of torch.save, which {out} cannot be; give a name such as "
                         "groupvit.pth")
    if arguments.to == "transformers" and is_ours(out / WEIGHTS_FILE):
        raise ValueError(f"{out / WEIGHTS_FILE} is a checkpoint of this package and would be replaced; give another "
                         "folder")
    model = load_weights(arguments, arguments.checkpoint)
    (export_transformers if arguments.to == "transformers" else export_released)(model, out)
    print(f"written: {out}")
