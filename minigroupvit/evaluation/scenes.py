"""A model on the scenes, beside baselines and controls: the content of `metrics.json`."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from ..data.mask_sets import MasksInMemory, scene_masks
from ..data.scenes.config import SceneConfig
from ..model import GroupViT
from .baselines import ColourClassifier
from .controls import against_controls, controls
from .evaluate import Evaluation, evaluate
from .interventions import evaluate_interventions, without_blocks


def compare_on_scenes(model: GroupViT, baseline: GroupViT | None = None, num_images: int = 1000,
                      config: SceneConfig = SceneConfig(), seed: int = 0, groupvit: GroupViT | None = None,
                      num_others: int | None = None, num_controls: int = 300, num_interventions: int = 300,
                      say: Callable[[str], None] = lambda text: None) -> dict[str, Any]:
    """All metrics on the split `test`, and on `unseen`: the same scenes with drawings never seen in training.

    Args:
        model: with groups.
        baseline: without groups, segmented patch by patch: the metrics under `pixelwise`. None: left out.
        num_images: scenes of each of the two splits, and of `train` for the colour classifier.
        config: the scenes.
        seed: of the scenes.
        groupvit: a second model with groups, measured in the same way under `groupvit`, and there under `blocks` with
            and without its Transformer blocks on `num_controls` scenes. None: left out.
        num_others: scenes to measure `baseline` and `groupvit` on; None: all of them.
        num_controls: scenes on which clusters of colours are compared with the model's groups.
        num_interventions: objects on which one property is changed at a time.
        say: told now and then what is done, and since when.

    Returns:
        A dictionary that JSON can hold, with fractions from 0 to 1: `Evaluation.metrics` of the model, and under
        `pixelwise` and `colour_classifier` (the only one trained with masks) what exists without groups. `unseen` holds
        the metrics of the model and of the colour classifier for the other split. `controls` (`controls.controls`) stand
        beside `controls_model_ari`, the model's ARI on the same scenes, each with the paired difference between the two
        (`controls.against_controls`); `interventions`: see `evaluate_interventions`.
    """
    started = time.perf_counter()

    def tell(text: str) -> None:
        say(f"{time.perf_counter() - started:5.1f} s  {text}")

    tell(f"a classifier of colours learns from {num_images:,} training scenes and their masks")
    training = scene_masks("train", num_images, config, seed)
    colours = ColourClassifier().fit(training)

    def measure(split: str) -> tuple[MasksInMemory, Evaluation, dict[str, Any]]:
        tell(f"making {num_images:,} scenes of the split {split}")
        masks = scene_masks(split, num_images, config, seed)
        tell("segmenting them")
        found = evaluate(model, masks)
        return masks, found, found.metrics | {"colour_classifier": colours.evaluate(masks)}

    masks, found, metrics = measure("test")
    metrics |= {"protocol": asdict(found.protocol), "unseen": measure("unseen")[-1]}
    grouped = [(model, found, metrics)]
    few, others = masks.first(num_controls), masks.first(num_others or num_images)
    if baseline is not None:
        tell("segmenting with the model without groups")
        found = evaluate(baseline, others)
        metrics["pixelwise"] = found.metrics | {"protocol": asdict(found.protocol)}
    if groupvit is not None:
        tell("segmenting with the second model")
        found = evaluate(groupvit, others)
        metrics["groupvit"] = found.metrics | {"protocol": asdict(found.protocol)}
        grouped.append((groupvit, found, metrics["groupvit"]))
        tell("and with it less its Transformer blocks")
        metrics["groupvit"]["blocks"] = _worth_of_blocks(groupvit, found.first(num_controls), few)
    tell(f"clustering the colours of {len(few)} scenes")
    clusters = controls(few, training.first(num_controls).images)
    for one, found, part in grouped:
        found = found.first(num_controls)
        part |= {"num_controls": len(found.names), "controls_model_ari": found.metrics["ari"],
                 "controls_model_ari_interval": found.metrics["ari_interval"],
                 "controls": against_controls(found.ari_of_each, clusters)}
        tell(f"changing one property at a time of about {num_interventions} objects")
        part["interventions"] = evaluate_interventions(one, num_interventions, config, seed)
    return metrics


def _worth_of_blocks(model: GroupViT, found: Evaluation, masks: MasksInMemory) -> dict[str, Any]:
    """The metrics of a model with its Transformer blocks, `found`, and without them, on the same scenes."""
    with without_blocks(model):
        without = evaluate(model, masks.first(len(found.names)))
    return {"num_images": len(found.names), "with": _main(found.metrics), "without": _main(without.metrics)}


def _main(metrics: dict[str, Any]) -> dict[str, Any]:
    """The metrics of the table alone, with their intervals."""
    return {key: value for key, value in metrics.items() if key.removesuffix("_interval") in _COLUMNS}


# Key in metrics.json, and its heading in the table.
_COLUMNS = {"miou": "mIoU", "miou_objects": "objects", "miou_backgrounds": "backgrounds",
            "oracle_miou": "oracle", "naming": "naming", "recognition_ap": "recognition", "ari": "ARI"}
_ROWS = {None: "GroupViT, from captions", "groupvit": "GroupViT, two stages, from captions",
         "pixelwise": "ViT patch by patch, from captions",
         "colour_classifier": "colour of the pixel, from masks"}


def format_table(metrics: dict[str, Any]) -> str:
    """The content of `metrics.json` as a plain text table, in percent."""
    width = 16 + max(len(row) for row in _ROWS.values())   # some rows say on how many scenes
    lines = []
    for title, split in (("scenes of the split test", metrics),
                         ("of them with drawings never seen in training", metrics.get("unseen"))):
        if split is None:
            continue
        lines += [f"{split['num_images']:,} {title}, in percent", "",
                  " " * width + "".join(f"{heading:>{_width(heading)}}" for heading in _COLUMNS.values())]
        for name, row in _ROWS.items():
            part = split if name is None else split.get(name)
            if part is not None:
                row += "" if part["num_images"] == split["num_images"] else f" ({part['num_images']} scenes)"
                lines.append(f"{row:<{width}}" + "".join(
                    f"{_percent(part.get(key)):>{_width(heading)}}" for key, heading in _COLUMNS.items()))
        lines.append("")
    lines += ["95 % intervals of GroupViT in the split test: " + ", ".join(
        f"{_COLUMNS[key]} {' to '.join(map(_percent, metrics[f'{key}_interval']))}"
        for key in _COLUMNS if f"{key}_interval" in metrics), ""]
    lines += _control_lines(metrics) + _intervention_lines(metrics)
    lines += ["IoU of each class in the split test, GroupViT", ""]
    classes = [f"{name:<12}{100 * value:5.1f}" for name, value in metrics["iou_per_class"].items()]
    rows = -(-len(classes) // 5)
    lines += ["     ".join(classes[row::rows]) for row in range(rows)]
    return "\n".join(lines)


def _control_lines(metrics: dict[str, Any]) -> list[str]:
    """ARI of the models' groups beside that of clusters of colours on the same scenes."""
    lines = ["ARI of the groups on the same scenes beside k-means of colours, which needs no captions", ""]
    lines += [f"{row:<40}{_percent(part['controls_model_ari']):>6}" for row, part in _grouped(metrics)]
    for method in ("pixels", "pixels, refined", "patches"):
        own = [c for c in metrics["controls"] if c["method"] == method and c["per_picture"]]
        lines.append(f"{'k-means of ' + method + ', K = ' + ', '.join(str(c['clusters']) for c in own):<40}"
                     + "".join(f"{_percent(c['ari']):>6}" for c in own))
    lines += [f"{'one set of ' + str(c['clusters']) + ' clusters for all images':<40}{_percent(c['ari']):>6}"
              for c in metrics["controls"] if not c["per_picture"]]
    for row, part in _grouped(metrics):
        best = max(part["controls"], key=lambda c: c["ari"])
        lines.append(f"{row} less the best of them: {_percent(best['ari_difference'])}  "
                     f"[{', '.join(map(_percent, best['ari_difference_interval']))}]")
    return lines + [""]


def _intervention_lines(metrics: dict[str, Any]) -> list[str]:
    """How many objects keep their name when one property is changed."""
    lines = []
    for row, part in _grouped(metrics):
        found = part["interventions"]
        first = next(iter(found.values()))
        lines += [f"{row}: of {first['num_objects']} lone, coloured objects named right "
                  f"({_percent(first['right_before'])} % of those looked at), so many keep their name", ""]
        lines += [f"{name:<12}{_percent(one['class_kept']):>6}  "
                  f"[{', '.join(map(_percent, one['class_kept_interval']))}]"
                  for name, one in found.items() if "class_kept" in one] + [""]
    return lines


def _grouped(metrics: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The models with groups: their row in the table, and their metrics."""
    return [(_ROWS[None], metrics)] + ([(_ROWS["groupvit"], metrics["groupvit"])] if "groupvit" in metrics else [])


def _width(heading: str) -> int:
    return max(len(heading), 5) + 2


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"
