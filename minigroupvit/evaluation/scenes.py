"""How good a model is on the scenes, beside what there is to beat: the content of `metrics.json`."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from ..data.scene_config import SceneConfig
from ..data.scene_sets import scene_arrays
from ..model import GroupViT
from ..segmentation import Protocol
from .baselines import ColourClassifier, evaluate_pixelwise
from .metrics import evaluate


def scene_tensors(split: str, num_images: int, config: SceneConfig = SceneConfig(),
                  seed: int = 0) -> tuple[Tensor, Tensor]:
    """The first scenes of a split: images (N, 3, S, S) uint8 and masks (N, S, S) uint8."""
    scenes = scene_arrays(split, num_images, config, seed)
    return torch.from_numpy(scenes.images).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(scenes.masks)


def evaluate_scenes(model: GroupViT, baseline: GroupViT | None = None, num_images: int = 1000,
                    config: SceneConfig = SceneConfig(), seed: int = 0, batch_size: int = 25,
                    say: Callable[[str], None] = lambda text: None) -> dict[str, Any]:
    """All figures on the split `test`, and on `unseen`: colours and pairs never seen in training.

    Args:
        model: with groups.
        baseline: without groups, read out patch by patch: the figures under `pixelwise`. None: left out.
        num_images: scenes of each of the two splits, and of `train` for the colour classifier.
        config: the scenes.
        seed: of the scenes.
        batch_size: pictures at once in a model; small batches stay in a processor's caches.
        say: told now and then what is done, and since when.

    Returns:
        A dictionary that JSON can hold, with fractions from 0 to 1: what `metrics.evaluate` tells of
        the model, and under `pixelwise` and `colour_classifier` (the only one trained with masks)
        what exists without groups. `unseen` holds the figures of the model and of the colour
        classifier for the other split.
    """
    started = time.perf_counter()
    names, num_objects = config.class_names, len(config.objects)

    def tell(text: str) -> None:
        say(f"{time.perf_counter() - started:5.1f} s  {text}")

    tell(f"a classifier of colours learns from {num_images:,} training scenes and their masks")
    colours = ColourClassifier().fit(*scene_tensors("train", num_images, config, seed))
    figures = {}
    for split in ("test", "unseen"):
        tell(f"making {num_images:,} scenes of the split {split}")
        images, masks = scene_tensors(split, num_images, config, seed)
        tell("segmenting them")
        figures[split] = evaluate(model, images, masks, names, num_objects, batch_size=batch_size)
        if baseline is not None and split == "test":
            figures[split]["pixelwise"] = evaluate_pixelwise(
                baseline, images, masks, names, num_objects, batch_size=batch_size)
        figures[split]["colour_classifier"] = colours.evaluate(images, masks, names, num_objects)
    protocols = {"protocol": asdict(model.protocol or Protocol())}
    if baseline is not None:
        figures["test"]["pixelwise"]["protocol"] = asdict(baseline.protocol or Protocol())
    return figures["test"] | protocols | {"unseen": figures["unseen"]}


# Key in metrics.json, and its heading in the table.
_COLUMNS = {"miou": "mIoU", "miou_objects": "objects", "miou_backgrounds": "backgrounds",
            "oracle_miou": "oracle", "naming": "naming", "recognition_ap": "recognition", "ari": "ARI"}
_ROWS = {None: "GroupViT, from captions", "pixelwise": "ViT patch by patch, from captions",
         "colour_classifier": "colour of the pixel, from masks"}


def format_table(metrics: dict[str, Any]) -> str:
    """The content of `metrics.json` as a plain text table, in percent."""
    width = 2 + max(len(row) for row in _ROWS.values())
    lines = []
    for title, figures in (("scenes of the split test", metrics),
                           ("scenes with colours and pairs never seen in training", metrics.get("unseen"))):
        if figures is None:
            continue
        lines += [f"{figures['num_images']:,} {title}, in percent", "",
                  " " * width + "".join(f"{heading:>{_width(heading)}}" for heading in _COLUMNS.values())]
        for name, row in _ROWS.items():
            part = figures if name is None else figures.get(name)
            if part is not None:
                lines.append(f"{row:<{width}}" + "".join(
                    f"{_percent(part.get(key)):>{_width(heading)}}" for key, heading in _COLUMNS.items()))
        lines.append("")
    lines += ["IoU of each class in the split test, GroupViT", ""]
    classes = [f"{name:<12}{100 * value:5.1f}" for name, value in metrics["iou_per_class"].items()]
    rows = -(-len(classes) // 5)
    lines += ["     ".join(classes[row::rows]) for row in range(rows)]
    return "\n".join(lines)


def _width(heading: str) -> int:
    return max(len(heading), 5) + 2


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"
