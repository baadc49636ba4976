"""Makes the shipped weights again from their seeds: `make weights`, or one of them by name.

    python scripts/make_weights.py scenes scenes_projected

Trains each recipe in outputs/weights/NAME (a run that was stopped goes on), chooses the overlap of
patches, the number of classes kept and the balance of the class names on the validation scenes, and writes to data/weights/

    NAME.safetensors             the best checkpoint of the run, in half precision
    NAME.json                    where it comes from, and its metrics on test scenes, from the stored file
    NAME.log.jsonl               the log of the run
    NAME.snapshots.safetensors   groups of a few fixed images over the run, for the time-lapse
"""

from __future__ import annotations

import argparse
import datetime
import json
import shutil
import sys
from dataclasses import asdict, replace
from pathlib import Path

import torch

from minigroupvit.checkpoints.native import load_checkpoint, save_checkpoint
from minigroupvit.data.mask_sets import scene_masks
from minigroupvit.data.scenes.config import SceneConfig
from minigroupvit.evaluation.evaluate import evaluate
from minigroupvit.files import write_atomically
from minigroupvit.model import GroupViT
from minigroupvit.segmentation.options import InferenceOptions
from minigroupvit.training.recipes import RECIPES, recipe
from minigroupvit.training.run import train_on_scenes

SCENES = [name for name in RECIPES if name.startswith("scenes")]
# Tried on the validation scenes, one after the other: iterations of refinement, patches per side of a patch, whether
# the mirrored image is segmented too, numbers of classes kept, what is added to the means of the class scores.
CHOICES = {"refine": (0, 10), "overlap": (1, 2), "flip": (False, True), "top_classes": (4, 6),
           "balance": (None, 0.01, 0.03, 0.1)}
NUM_VALIDATION = 300
NUM_TEST = 1000


def choose_protocol(model: GroupViT, protocol: InferenceOptions) -> tuple[InferenceOptions, dict[str, dict[str, float]]]:
    """The protocol with the highest mIoU on validation scenes, one choice after the other, and the mIoU of each."""
    scenes = scene_masks("validation", NUM_VALIDATION)
    record = {}
    for name, values in CHOICES.items():
        if name == "refine" and not any(model.config.image.num_group_tokens):
            continue                                      # there are no groups whose edges could be moved
        tried = {value: evaluate(model, scenes, replace(protocol, **{name: value}), ()).metrics["miou"]
                 for value in values}
        protocol = replace(protocol, **{name: max(tried, key=tried.get)})
        record[name] = {str(value): miou for value, miou in tried.items()}
    return protocol, record


def store(name: str, run: Path, out: Path, model: GroupViT) -> tuple[GroupViT, dict]:
    """Writes a run's best model with its inference options to `out`; returns what was stored and its origin."""
    stored = out / f"{name}.safetensors"
    about = {k: model.about[k] for k in ("step", "seed", "commit", "device", "seconds", "train_config")}
    save_checkpoint(stored, model, about, dtype=torch.float16)
    shutil.copy(run / "metrics.jsonl", out / f"{name}.log.jsonl")
    model = load_checkpoint(stored)
    return model, {
        "name": name,
        "about": RECIPES[name].about,
        "date": datetime.date.today().isoformat(),
        "parameters": sum(p.numel() for p in model.parameters()),
        **about,
        "config": model.config.to_dict(),
        "protocol": asdict(model.protocol),
    }


def write_record(path: Path, record: dict) -> None:
    """A record as JSON that people can read."""
    write_atomically(path, lambda part: part.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8"))


def measure(name: str, model: GroupViT, origin: dict, tried: dict) -> dict:
    """The record of stored weights: where they come from, and their metrics on test scenes."""
    test = scene_masks("test", NUM_TEST)
    return origin | {
        "command": f"python scripts/make_weights.py {name}",
        "num_scenes": RECIPES[name].num_scenes,
        "scenes": asdict(SceneConfig(image_size=model.config.image.image_size)),
        "validation_miou": tried,
        "test": evaluate(model, test).metrics,
        "unseen": evaluate(model, scene_masks("unseen", NUM_TEST)).metrics,
        # What our own inference options are worth: the same without refinement, and with the released options.
        "test_unrefined": evaluate(model, test, replace(model.protocol, refine=0)).metrics,
        "test_read_out_as_released": evaluate(
            model, test, InferenceOptions(templates=model.protocol.templates)).metrics,
    }


def ship(name: str, run: Path, out: Path) -> dict:
    """Writes the best checkpoint of a run on scenes to `out` with its metrics."""
    model = load_checkpoint(run / "best.safetensors")
    model.protocol, tried = choose_protocol(
        model, replace(recipe(name).protocol, templates=model.protocol.templates))
    model, origin = store(name, run, out, model)
    record = measure(name, model, origin, tried)
    write_record(out / f"{name}.json", record)
    if (run / "snapshots.safetensors").exists():
        shutil.copy(run / "snapshots.safetensors", out / f"{name}.snapshots.safetensors")
    return record


def choose_again(name: str, out: Path) -> dict:
    """Chooses the protocol of stored weights anew, and measures them: nothing is trained."""
    path = out / f"{name}.safetensors"
    model, stored = load_checkpoint(path), json.loads((out / f"{name}.json").read_text(encoding="utf-8"))
    model.protocol, tried = choose_protocol(
        model, replace(recipe(name).protocol, templates=model.protocol.templates))
    save_checkpoint(path, model, model.about, dtype=torch.float16)
    record = measure(name, model, stored | {
        "date": datetime.date.today().isoformat(), "protocol": asdict(model.protocol)}, tried)
    write_record(out / f"{name}.json", record)
    return record


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(SCENES)}; all if none is given")
    parser.add_argument("--runs", type=Path, default=Path("outputs/weights"))
    parser.add_argument("--out", type=Path, default=Path("data/weights"))
    parser.add_argument("--choose-again", action="store_true",
                        help="train nothing: choose the inference options of the stored weights again, and measure")
    parser.add_argument("--device", default=None, help="cuda or cpu; found out if not given")
    parser.add_argument("--threads", type=int, default=None, help="of the CPU; all if not given")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    for name in arguments.names or SCENES:
        if arguments.choose_again:
            record = choose_again(name, arguments.out)
        else:
            train_on_scenes(recipe(name), arguments.runs / name, device=arguments.device, progress=sys.stderr.isatty())
            record = ship(name, arguments.runs / name, arguments.out)
        test = record["test"]
        print(f"{name}: mIoU {test['miou']:.3f}, objects {test['miou_objects']:.3f}")


if __name__ == "__main__":
    main()
