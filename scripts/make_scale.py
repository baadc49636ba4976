"""Calculates what training takes on one card and on many: memory, operations, traffic, logits.

    python scripts/make_scale.py           writes results/scale.json and the tables of docs/scale.md

Nothing here needs a GPU and nothing is measured on one. The bytes that a forward pass keeps for its backward pass
are counted on a CPU, with autocast to 16 bits and the attention kernel that GPUs use, and so are its operations.
"""

from __future__ import annotations

import argparse
import datetime
import json
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from minigroupvit import layers
from minigroupvit.config import GroupViTConfig
from minigroupvit.data.captioned.batches import Batch
from minigroupvit.files import write_atomically
from minigroupvit.model import GroupViT
from minigroupvit.training.config import TrainConfig
from minigroupvit.training.loop import training_loss
from minigroupvit.training.memory import recomputed_blocks
from minigroupvit.training.recipes import preset_recipe, recipe
from minigroupvit.training.record import current_commit

ROOT = Path(__file__).resolve().parent.parent
PAGE, RESULTS = ROOT / "docs" / "scale.md", ROOT / "results" / "scale.json"
BEGIN, END = "<!-- scripts/make_scale.py writes from here -->\n", "<!-- to here -->\n"
MODELS = ("groupvit_2stage", "photographs_gpu")
GIB = 2 ** 30
CARD = 14 * GIB           # of a card of 16 GB for tensors; the rest is the driver's and lost between tensors
K = 3                     # prompts an image
T4 = 65e12                # its matrix products in fp16, operations a second, as the maker states them
SHARES = (0.1, 0.2, 0.3)  # of that which training may reach: assumed
WORDS = "dog horse street table glass river child window bench kite train plate clock field bird".split()


def batch_of(count: int, size: int) -> Batch:
    """Captions and prompts as long as those of photographs, of which no two are equal."""
    captions = [f"a {WORDS[i % 15]} and a {WORDS[(i + 1) % 15]} beside a {WORDS[(i + 2) % 15]}, number {i}"
                for i in range(count)]
    prompts = [[f"a photo of the {WORDS[(i + k) % 15]} {i} {k}." for k in range(K)] for i in range(count)]
    return Batch(torch.zeros(count, 3, size, size), captions, prompts, [[] for _ in captions])


def kept_bytes(model: GroupViT, count: int, config: TrainConfig, recompute: bool = False) -> int:
    """What a step with `count` images keeps between its forward and its backward pass, without the weights."""
    batch, kept = batch_of(count, model.config.image.image_size), {}

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    def fused(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=None if mask is None else mask.to(q.dtype))

    plain, layers.attend = layers.attend, fused
    try:
        with (recomputed_blocks(model, recompute), saved_tensors_hooks(pack, lambda tensor: tensor),
              torch.autocast("cpu", torch.bfloat16)):
            losses = training_loss(model, batch, config)
    finally:
        layers.attend = plain
    for tensor in (*model.parameters(), *model.buffers()):
        kept.pop(tensor.untyped_storage().data_ptr(), None)
    return sum(kept.values()) + batch.images.nbytes + 0 * len(losses)


def count(config: GroupViTConfig) -> dict[str, float]:
    """Bytes that an image with its texts adds to a step, in each way to train, and operations of a forward pass."""
    torch.manual_seed(0)
    model = GroupViT(config).train()
    whole = TrainConfig(num_prompts=K)
    ways = {"all kept": (whole, False), "blocks recomputed": (whole, True),
            "micro-batches: all images": (replace(whole, micro_batch_size=1), False)}
    found = {name: (kept_bytes(model, 4, *way) - kept_bytes(model, 2, *way)) / 2 for name, way in ways.items()}
    with FlopCounterMode(display=False) as counter:
        training_loss(model, batch_of(2, config.image.image_size), whole)
    return {"parameters": sum(p.numel() for p in model.parameters()), "embed_dim": config.embed_dim,
            "image_size": config.image.image_size, "bytes_per_image": found,
            "forward_operations_per_image": counter.get_total_flops() / 2}


def fixed_bytes(found: dict) -> float:
    """Weights, gradients and the two moments of AdamW in 32 bits, and a copy of the weights in 16."""
    return found["parameters"] * (4 + 4 + 8 + 2)


def logits_bytes(rows: int, columns: int) -> int:
    """Logits of both losses in both directions, their log-softmax and their targets: 32 bits each."""
    return 3 * 4 * rows * columns * (2 + 2 * K)


def memory(found: dict, way: str, images: int, micro: int = 0, cards: int = 1) -> float:
    """Bytes on a card with so many images of its own, `micro` of them encoded at a time."""
    each = found["bytes_per_image"]
    if micro:
        kept = each["micro-batches: all images"] * images + each[way] * min(micro, images)
    else:
        kept = each[way] * images
    return fixed_bytes(found) + kept + logits_bytes(images, images * cards)


def largest(found: dict, way: str, micro: int = 0) -> int:
    """The largest batch on a card of 16 GB, a multiple of 8."""
    images = 8
    while memory(found, way, images + 8, micro) <= CARD:
        images += 8
    return images


def in_units(number: float) -> str:
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= size:
            return f"{number / size:.{0 if number >= 100 * size else 1}f} {unit}"
    return "0"


def table(record: dict) -> str:
    """The tables of docs/scale.md."""
    paper, small = (record["models"][name] for name in MODELS)
    ways = (("everything kept", "all kept", 0), ("`--checkpoint-activations`", "blocks recomputed", 0),
            ("`--micro-batch-size 64`", "all kept", 64), ("both", "blocks recomputed", 64))
    lines = ["**Memory of one card by its batch, calculated**, in GiB: the paper's model (`--preset groupvit_2stage`, "
             f"224 pixels, {paper['parameters'] / 1e6:.1f} M parameters), 16-bit autocast, {K} prompts an image, no two "
             "texts equal.", "", "| images on the card | " + " | ".join(name for name, _, _ in ways) + " |",
             "|---|" + "---|" * len(ways)]
    for images in (32, 64, 128, 256, 512, 1024, 4096):
        cells = [memory(paper, way, images, micro) / GIB for _, way, micro in ways]
        lines.append(f"| {images:,} | " + " | ".join(f"{cell:.1f}" for cell in cells) + " |")
    lines.append("| **largest on 16 GB** | " + " | ".join(f"**{largest(paper, way, micro):,}**"
                                                          for _, way, micro in ways) + " |")
    lines.append("| the same, `photographs_gpu` | " + " | ".join(f"{largest(small, way, micro):,}"
                                                                 for _, way, micro in ways) + " |")
    lines += ["", f"{CARD / GIB:.0f} GiB of the card count as free for tensors. An image with its texts adds "
              + ", ".join(f"{in_units(value)} ({name})" for name, value in paper["bytes_per_image"].items())
              + f"; weights, gradients and AdamW are {in_units(fixed_bytes(paper))}.", "",
              "**What grows with the number of cards, calculated**: the paper's model, B = 256 images on each card, "
              "A = B × cards; bytes of one card in one step.", "",
              "| cards | A | gradients, sent (ring) | features of the others, received | gradients of the features, "
              "received | logits B × A | the same as A × A |", "|---|---|---|---|---|---|---|"]
    for cards in (1, 8, 16, 64, 512):
        B, A, C = 256, 256 * cards, paper["embed_dim"]
        ring = 2 * (cards - 1) / cards * 4 * paper["parameters"]
        features = 4 * C * (A - B) * (2 + K)
        lines.append(f"| {cards} | {A:,} | {in_units(ring)} | {in_units(features)} | {in_units(features)} | "
                     f"{in_units(logits_bytes(B, A))} | {in_units(logits_bytes(A, A))} |")
    lines += ["", f"With {cards} cards the features and their gradients are {2 * features / ring:.1f} times the traffic of "
              f"the gradients, and the logits take {in_units(logits_bytes(B, A))} of each card: there a smaller B on each "
              "card costs less. Each card sends as many bytes as it receives."]
    training, images = recipe("photographs_gpu").training, record["images"]
    seen = training.steps * training.batch_size
    each = 4 * small["forward_operations_per_image"]      # forward, again forward in micro-batches, and twice that back
    hours = ", ".join(f"{seen * each / (share * T4) / 3600:.1f} h at {share:.0%}" for share in SHARES)
    lines += ["", f"**On a T4 (derived, not measured)**: `photographs_gpu` has {small['parameters'] / 1e6:.1f} M "
              f"parameters and takes {each / 1e9:.1f} GFLOP an image and step, micro-batches included (the paper's model "
              f"{4 * paper['forward_operations_per_image'] / 1e9:.1f}). It sees {seen / 1e6:.1f} M images, "
              f"{seen / images:.0f} times each of {images:,}. Of the T4's {T4 / 1e12:.0f} TFLOP/s in fp16 training reaches "
              f"a share that we could not measure: {hours}. It needs "
              f"{memory(small, 'all kept', training.batch_size, training.micro_batch_size) / GIB:.1f} GiB there, and "
              f"{in_units(3 * small['image_size'] ** 2 * images)} of the machine's memory for the images."]
    return "\n".join(lines) + "\n"


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    configs = {"groupvit_2stage": preset_recipe("groupvit_2stage").model, "photographs_gpu": recipe("photographs_gpu").model}
    record = {"command": "python scripts/make_scale.py", "commit": current_commit(), "torch": torch.__version__,
              "date": datetime.date.today().isoformat(), "images": 118_287,
              "models": {name: count(configs[name]) for name in MODELS}}
    write_atomically(RESULTS, lambda path: path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8"))
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    text = before + BEGIN + table(record) + END + rest.split(END, 1)[1]
    write_atomically(PAGE, lambda path: path.write_text(text, encoding="utf-8"))


if __name__ == "__main__":
    main()
