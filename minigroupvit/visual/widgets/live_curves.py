"""Curves of a training that are redrawn in place while it runs, and the groups of a few images after some steps.

P images  G groups  h, w patch grid  H, W image
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from IPython import get_ipython
from IPython.display import DisplayHandle, display
from matplotlib.figure import Figure
from safetensors.torch import load_file

from ...data.captioned.batches import Captioned
from ...images import normalize, to_batch
from ...model import GroupViT
from ...segmentation.steps import group_maps, pixel_groups
from ...training.config import TrainConfig
from ...training.loop import train
from ...training.record import Recorder
from ..plots import show_curves, show_groups, show_image
from .panel import Panel

_MOST_IMAGES, _MOST_LOOKS = 3, 4       # rows and columns: more would be too small to see
_SIDE, _GAP, _TOP, _LEFT, _BOTTOM = 1.08, 0.08, 0.4, 0.62, 0.52   # inches
_REST = 9                              # times as long as drawing takes until it is drawn again: a tenth of the time


class LiveCurves(Panel):
    """Curves on the left, on the right a row for each image: itself, and its groups after some steps.

        with LiveCurves(images) as live:              # shows itself; the last figure stays in the notebook
            for step in range(steps):
                ...
                live.add(step + 1, {"image-text": loss.item()})
                if (step + 1) % 50 == 0:
                    live.look(step + 1, model)

    `live.read(folder)` reads what a `Recorder` has written instead, as often as you like, also while another process
    trains. `live.draw()` is the figure.

    Args:
        pictures: up to three images, of any kind that `images.to_batch` takes; None: curves alone.
        ylabel: of the curves.
        smooth: length of the moving average that is drawn over the paler raw values.
        pause: seconds between two drawings at least; longer if drawing is slow.

    `curves` holds steps and values by name, `looks` the groups (P, H, W) by step. Raises ValueError for more than three
    images.
    """

    def __init__(self, pictures: Any = None, ylabel: str = "loss", smooth: int = 1, pause: float = 1.0) -> None:
        self.pictures = None if pictures is None else to_batch(pictures)                # (P, 3, H, W)
        if self.pictures is not None and len(self.pictures) > _MOST_IMAGES:
            raise ValueError(f"expected up to {_MOST_IMAGES} images, got {len(self.pictures)}; choose some of them")
        self.ylabel, self.smooth, self.pause = ylabel, smooth, pause
        self.curves: dict[str, tuple[list[int], list[float]]] = {}
        self.looks: dict[int, torch.Tensor] = {}
        self._handle: DisplayHandle | None = None
        super().__init__([])
        self.redraw()

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Adds one value to each of these curves."""
        for name, value in values.items():
            steps, numbers = self.curves.setdefault(name, ([], []))
            steps.append(step)
            numbers.append(float(value))
        self._redraw_if_due()

    @torch.no_grad()
    def look(self, step: int, model: GroupViT) -> None:
        """Keeps the model's present groups of the images. Draws no random numbers, and restores the model's mode.

        Raises ValueError if there are no images.
        """
        if self.pictures is None:
            raise ValueError("there are no images to segment; give some: LiveCurves(images)")
        was_training = model.training
        model.eval()
        maps = group_maps(model.image_encoder(normalize(self.pictures.to(model.device))))[-1]   # (P, G, h, w)
        model.train(was_training)
        self.looks[step] = pixel_groups(maps, self.pictures.shape[-2:]).cpu()                    # (P, H, W)
        self._redraw_if_due()

    def read(self, folder: str | Path, names: Sequence[str] = ("image_text", "multi_label")) -> None:
        """Reads curves and groups from the folder of a training, in place of the present ones; `names`: of its metrics.

        Raises ValueError if there is no training.
        """
        metrics, snapshots = Path(folder) / "metrics.jsonl", Path(folder) / "snapshots.safetensors"
        if not metrics.is_file():
            raise ValueError(f"{folder} holds no training: there is no metrics.jsonl; give the folder of a Recorder")
        # The training may be writing: a last line without its end is left out.
        lines = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines(True) if line[-1] == "\n"]
        lines = [line for line in lines if line["kind"] == "train"]
        self.curves = {name: ([line["step"] for line in lines], [line[name] for line in lines])
                       for name in names if all(name in line for line in lines)}
        if snapshots.is_file():
            frames = load_file(snapshots)
            self.pictures = to_batch(frames.pop("images")[:_MOST_IMAGES])
            self.looks = {int(name.removeprefix("maps.")): pixel_groups(maps[:_MOST_IMAGES].float(),
                                                                        self.pictures.shape[-2:])
                          for name, maps in sorted(frames.items()) if name.startswith("maps.")}
        self._redraw_if_due()

    def draw(self) -> Figure:
        rows, columns = (0, 0) if self.pictures is None else (len(self.pictures), 1 + _MOST_LOOKS)
        width, height = 9.5, max(2.8, _TOP + rows * (_SIDE + _GAP))
        fig = Figure(figsize=(width, height), dpi=96, facecolor="white")
        right = columns * (_SIDE + _GAP) + (0.35 if columns else 0.1)
        curves = fig.add_axes((_LEFT / width, _BOTTOM / height, (width - right - _LEFT) / width,
                               (height - _BOTTOM - _TOP) / height))
        show_curves(curves, {name: points for name, points in self.curves.items() if points[0]}, self.ylabel,
                    smooth=self.smooth)
        steps = _spread(list(self.looks), _MOST_LOOKS)
        for row in range(rows):
            for column in range(1 + len(steps)):
                left = width - (columns - column) * (_SIDE + _GAP)
                bottom = height - _TOP - (row + 1) * (_SIDE + _GAP) + _GAP
                ax = fig.add_axes((left / width, bottom / height, _SIDE / width, _SIDE / height))
                if column == 0:
                    show_image(ax, self.pictures[row])
                    title = "image"
                else:
                    show_groups(ax, self.looks[steps[column - 1]][row], numbers=False)
                    title = f"step {steps[column - 1]}"
                if row == 0:
                    ax.set_title(title, size=9.5, pad=4)
        return fig

    def _redraw_if_due(self) -> None:
        """Redraws, unless that was a moment ago, so that drawing does not hold the training up."""
        if time.perf_counter() >= self._due:
            self.redraw()

    def redraw(self, *_: Any) -> None:
        started = time.perf_counter()
        super().redraw()
        now = time.perf_counter()
        self._due = now + max(self.pause, _REST * (now - started))

    def __enter__(self) -> LiveCurves:
        if get_ipython() is not None:
            self._handle = display(self, display_id=True)
        return self

    def __exit__(self, *_: Any) -> None:
        """Draws the last figure, after an error or Ctrl-C too, and puts it into the stored notebook."""
        self.redraw()
        if self._handle is not None:
            self._handle.update(self)


def _spread(steps: list[int], count: int) -> list[int]:
    """At most so many of the steps, spread evenly, with the first and the last one."""
    if len(steps) <= count:
        return steps
    even = np.linspace(min(steps), max(steps), count)
    return sorted({min(steps, key=lambda step: abs(step - place)) for place in even})


def train_live(model: GroupViT, data: Captioned, config: TrainConfig, folder: str | Path, pictures: Any,
               num_lines: int = 30) -> GroupViT:
    """Trains a model with the package's loop and shows `LiveCurves` meanwhile, redrawn at every snapshot.

    Args:
        model, data, config: as `training.loop.train` takes them; `config.snapshot_every` must not be 0.
        folder: for what the run writes; a run that is there goes on.
        pictures: up to three images of any kind that `images.to_batch` takes; they need not belong to the data. The
            groups of the model on them are the snapshots.
        num_lines: about so many points of each curve.

    Returns the model in evaluation mode.
    """
    live = LiveCurves(pictures, smooth=max(1, min(num_lines, config.steps) // 6))
    snapshots = (live.pictures * 255).round().to(torch.uint8)          # (P, 3, H, W)

    def redraw(model: GroupViT) -> dict[str, Any]:
        live.read(folder)
        return {}                                                      # no metrics of its own

    recorder = Recorder(folder, config, snapshot_images=snapshots, log_every=max(1, config.steps // num_lines),
                        progress=False, watch_groups=redraw)
    with live:
        train(model, data, config, recorder)
        live.read(folder)
    return model.eval()
