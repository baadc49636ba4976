"""Measures what the code's choices for speed are worth, each against its alternative in one run.

    python scripts/benchmark.py            prints a table and writes results/benchmark.json

Each row is the median of several rounds in which the two take turns, so that a busy machine slows both.
"""

from __future__ import annotations

import argparse
import datetime
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from minigroupvit.data.captioned.batches import CaptionedImages, pack_texts
from minigroupvit.data.scenes.make import make_scene
from minigroupvit.data.scenes.sets import scene_arrays
from minigroupvit.distributed import pick_device
from minigroupvit.files import write_atomically
from minigroupvit.layers import attend
from minigroupvit.training.loop import training_loss
from minigroupvit.training.recipes import recipe
from minigroupvit.training.record import current_commit, device_name
from minigroupvit.training.run import build_model

ROOT = Path(__file__).resolve().parent.parent


def compare(first: Callable[[], object], second: Callable[[], object], rounds: int) -> tuple[float, float]:
    """Median seconds of each, in turns, after one round to warm up."""
    times: tuple[list[float], list[float]] = ([], [])
    for round_ in range(rounds + 1):
        for function, kept in zip((first, second), times):
            start = time.perf_counter()
            function()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if round_:
                kept.append(time.perf_counter() - start)
    return statistics.median(times[0]), statistics.median(times[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "benchmark.json")
    arguments = parser.parse_args()
    B, device = arguments.batch_size, pick_device()

    scenes = scene_arrays("train", max(500, B))
    data = CaptionedImages(torch.from_numpy(scenes.images).permute(0, 3, 1, 2).contiguous(),
                           [[caption] for caption in scenes.captions])
    chosen = recipe("scenes")
    training = replace(chosen.training, batch_size=B)
    model = build_model(chosen, data).to(device).train()
    batch = data.batch(0, B, 0, training.num_prompts, training.templates)

    def step(bf16: bool) -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            loss = training_loss(model, batch, training)["loss"]
        loss.backward()
        model.zero_grad(set_to_none=True)

    def texts(once: bool) -> None:
        ids, spread = pack_texts(model.tokenizer, batch)
        if not once:  # every caption and prompt by itself, all as long as the longest
            every = batch.captions + [p for prompts in batch.prompts for p in prompts]
            ids, spread = [model.tokenizer(every)], None
        with torch.autocast(device.type, torch.bfloat16):
            embeddings = model.encode_text([i.to(device) for i in ids], None if spread is None else spread.to(device))
        embeddings.sum().backward()
        model.zero_grad(set_to_none=True)

    def attention(fused: bool) -> None:
        q, k, v = (torch.randn(B, 4, 80, 32, device=device, dtype=torch.bfloat16, requires_grad=True) for _ in range(3))
        product = torch.nn.functional.scaled_dot_product_attention if fused else attend
        product(q, k, v).sum().backward()

    rows = {
        f"training step of {B} scenes": ("bf16 autocast", lambda: step(True), "single precision", lambda: step(False)),
        f"texts of {B} scenes, K = 3": ("equal texts once, two lengths", lambda: texts(True),
                                        "every text, one length", lambda: texts(False)),
        "attention with gradient, 80 tokens": ("layers.attend", lambda: attention(False),
                                               "scaled_dot_product_attention", lambda: attention(True)),
    }
    results = {}
    for what, (ours, first, other, second) in rows.items():
        a, b = compare(first, second, arguments.rounds)
        results[what] = {ours: a, other: b}
        print(f"{what:36} {ours} {1000 * a:.0f} ms, {other} {1000 * b:.0f} ms: {b / a:.2f} times", flush=True)
    start = time.process_time()
    for index in range(1000):
        make_scene(index)
    results["1,000 scenes of 64 x 64"] = {"make_scene, one core": time.process_time() - start}
    print(f"1,000 scenes of 64 x 64 take {time.process_time() - start:.1f} s of one core")
    record = {"command": "python scripts/benchmark.py", "commit": current_commit(), "seed": 0,
              "device": device_name(), "torch": torch.__version__, "date": datetime.date.today().isoformat(),
              "median_seconds": results}
    write_atomically(arguments.out, lambda path: path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8"))


if __name__ == "__main__":
    main()
