"""`python -m minigroupvit import`: a model of transformers or of the authors as one checkpoint of this package."""

from __future__ import annotations

import argparse
from pathlib import Path

from .common import WEIGHTS, add_weight_choices, load_weights

ABOUT = "convert a model of transformers, or of the authors, to one checkpoint of this package"
EXAMPLES = """
examples:
  python -m minigroupvit import nvidia/groupvit-gcc-yfcc groupvit.safetensors
  python -m minigroupvit import groupvit.pth groupvit.safetensors
  python -m minigroupvit import small.pth small.safetensors --num-heads 6 --text-num-heads 6 --tokenizer tokenizer.json

`segment`, `evaluate` and `minigroupvit.load` also open such models directly. A checkpoint of this package is one file
with everything in it, also the number of heads, the vocabulary and the inference protocol. All weights and the
vocabulary are kept, an optimizer's state is not. Weights that a format lacks keep their initial values: the temperature
of the multi-label loss in transformers. Unless this package wrote the model, its inference protocol is the released
one, with images of twice the training size."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SOURCE", help=WEIGHTS)
    parser.add_argument("out", metavar="OUT", help="the file to write; it ends in .safetensors")
    add_weight_choices(parser)


def run(arguments: argparse.Namespace) -> None:
    from ..checkpoints.native import save_checkpoint

    source, out = Path(arguments.source), Path(arguments.out)
    if out.suffix != ".safetensors" or out.is_dir():
        raise ValueError(f"{out} is no name of a checkpoint; give a file that ends in .safetensors")
    if out.exists() and source.exists() and out.samefile(source):
        raise ValueError(f"{out} is the model itself; give another name")
    model = load_weights(arguments, arguments.source)
    save_checkpoint(out, model, about=model.about)
    image, text = model.config.image, model.config.text
    print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.1f} M parameters, {image.num_heads} and "
          f"{text.num_heads} heads, {text.vocab_size:,} tokens, images of {image.image_size} pixels\nwritten: {out}")
