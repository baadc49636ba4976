"""`make demo`: the shipped weights segment held-out scenes and name the segments; a figure, and the metrics."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from .checkpoints.native import load
from .data.scenes.config import SceneConfig
from .data.scenes.sets import scene_arrays
from .evaluation.scenes import compare_on_scenes, format_table
from .files import write_atomically
from .model import GroupViT
from .segmentation.options import protocol_for
from .segmentation.segment import segment
from .segmentation.steps import embed_classes
from .visual.figures import demo_figure

NUM_IMAGES = 150    # scenes of each split: a demo takes a minute, the whole measurement is scripts/make_results.py
NUM_OTHERS = 75     # scenes for the other two models
NUM_FEW = 20        # scenes for the controls, objects for the interventions
NUM_SHOWN = 6       # the first scenes of the split test: shown as they come, not picked


def run_demo(out: str | Path = "outputs/demo", num_images: int = NUM_IMAGES, weights: str = "scenes",
             baseline: str = "scenes_clip_vit", groupvit: str = "scenes_groupvit",
             num_others: int = NUM_OTHERS, num_few: int = NUM_FEW) -> dict[str, Any]:
    """Writes `figure.png` and `metrics.json` into the folder `out`, and prints the table.

    Args:
        out: made if it is not there; files of an earlier demo are replaced, each whole or not at all.
        num_images: scenes of each split to measure on.
        weights: of the model with groups: shipped weights by name, or a .safetensors file.
        baseline: of a model without groups.
        groupvit: of the model with the paper's architecture, whose stages the figure shows.
        num_others: scenes to measure these two on.
        num_few: scenes for the controls, objects for the interventions.

    Returns the content of `metrics.json`. Raises ValueError where the weights are missing.
    """
    started = time.perf_counter()
    out = Path(out)
    model, without_groups, two_stages = _load(weights), _load(baseline), _load(groupvit)
    config = SceneConfig(image_size=model.config.image.image_size)
    for name, one in ((weights, model), (groupvit, two_stages), (baseline, without_groups)):
        print(f"{name}: {_describe(one)}", flush=True)
    few = min(num_few, num_images)
    metrics = compare_on_scenes(model, without_groups, num_images, config, groupvit=two_stages,
                                num_others=num_others, num_controls=few, num_interventions=few,
                                say=lambda text: print(text, flush=True))
    metrics["groupvit"] = {"weights": groupvit, "about": _origin(two_stages)} | metrics["groupvit"]
    metrics = {"weights": weights, "about": _origin(model)} | metrics
    metrics["pixelwise"] = {"weights": baseline, "about": _origin(without_groups)} | metrics["pixelwise"]
    write_atomically(out / "metrics.json", lambda path: path.write_text(
        json.dumps(metrics, indent=2, allow_nan=False) + "\n", encoding="utf-8"))

    scenes = scene_arrays("test", NUM_SHOWN, config)
    shown = metrics["groupvit"]
    classes = embed_classes(two_stages, config.class_names, protocol_for(two_stages).templates, distinct=False)
    figure = demo_figure(
        scenes.images, segment(two_stages, scenes.images, config.class_names, class_embeddings=classes), scenes.masks,
        config.class_names, scenes.captions, note=f"The first {NUM_SHOWN} scenes of the split test, as they come. In "
        f"italics: a caption as in training; the model does not see it.\n{groupvit}: mIoU {100 * shown['miou']:.0f} % on "
        f"{shown['num_images']:,} scenes; {weights}: {100 * metrics['miou']:.0f} % on {num_images:,}.")
    write_atomically(out / "figure.png", lambda path: figure.savefig(path, format="png", dpi=130))

    print(f"\n{format_table(metrics)}\n\n{out / 'figure.png'}\n{out / 'metrics.json'}\n"
          f"{time.perf_counter() - started:.0f} s in all")
    return metrics


def _load(name: str) -> GroupViT:
    try:
        return load(name)
    except ValueError as error:
        raise ValueError(f"the demo needs the weights {name!r}: {error}. In a clone, `git status data/weights` "
                         "tells whether they are gone; `make weights` trains them again") from None


def _origin(model: GroupViT) -> dict[str, Any]:
    """Where weights come from, as far as the checkpoint says."""
    return {key: model.about[key] for key in ("seed", "step", "commit") if key in model.about}


def _describe(model: GroupViT) -> str:
    millions = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    origin = ", ".join(f"{key} {value}" for key, value in _origin(model).items())
    return f"{millions:.1f} M parameters" + (f", {origin}" if origin else "")
