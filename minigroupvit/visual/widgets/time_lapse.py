"""How groups emerge: the groups of a few fixed images over a training, with a slider or as an animation.

A training keeps such snapshots (`training/record.py`); those of the shipped weights are in NAME.snapshots.safetensors
beside the log NAME.log.jsonl.

T snapshots  S images  G groups of a stage  h, w patch grid  H, W image
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import ipywidgets
import numpy as np
import torch
import traitlets
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ...files import write_atomically
from ...segmentation.steps import pixel_groups
from ..palette import group_colours
from ..plots import show_curves, show_groups, show_image
from .panel import Panel

Curves = Mapping[str, tuple[Sequence[float], Sequence[float]]]   # by name: steps and values

_SIDE, _GAP, _CURVE, _TOP, _FOOT, _LEFT, _KEY = 1.45, 0.06, 1.35, 0.32, 0.5, 0.55, 1.75   # inches
_MOST_PICTURES = 4                                                 # shown unless told otherwise
_KINDS = {".gif": "GIF", ".png": "PNG", ".apng": "PNG"}            # an animated PNG; a viewer that cannot play it shows one frame


@dataclass(frozen=True)
class Snapshots:
    """The groups of a few images at some steps of a training. Raises ValueError if shapes do not fit together."""

    images: Tensor             # (S, 3, H, W) uint8
    steps: tuple[int, ...]     # T, rising
    maps: tuple[Tensor, ...]   # of each stage (T, S, G, h, w) uint8: share of each patch in each group, 255 is 1

    def __post_init__(self) -> None:
        if not self.maps:
            raise ValueError("expected the maps of one stage or more, got none")
        for maps in self.maps:
            if maps.ndim != 5 or maps.shape[:2] != (len(self.steps), len(self.images)):
                raise ValueError(f"expected maps (T, S, G, h, w) of {len(self.steps)} steps and {len(self.images)} "
                                 f"images, got {tuple(maps.shape)}")

    def of_stage(self, stage: int = -1) -> Tensor:
        """The maps of a stage, (T, S, G, h, w): 0 is the first one, -1 the last. Raises ValueError for another."""
        if not -len(self.maps) <= stage < len(self.maps):
            raise ValueError(f"there is no stage {stage}; the snapshots have {len(self.maps)}: choose from 0 to "
                             f"{len(self.maps) - 1}, or -1 for the last")
        return self.maps[stage]

    def shares(self, step: int, stage: int = -1) -> Tensor:
        """Share of each patch in each group after so many steps: (S, G, h, w), from 0 to 1.

        Raises ValueError for a step without a snapshot.
        """
        if step not in self.steps:
            raise ValueError(f"there is no snapshot of step {step}; there are {', '.join(map(str, self.steps))}")
        return self.of_stage(stage)[self.steps.index(step)].float() / 255

    def groups(self, step: int, stage: int = -1) -> Tensor:
        """The group of each pixel after so many steps: (S, H, W)."""
        return pixel_groups(self.shares(step, stage), tuple(self.images.shape[-2:]))


def read_snapshots(path: str | Path) -> Snapshots:
    """Reads a training's snapshots.safetensors, all stages. Raises ValueError for a missing or another file."""
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"there are no snapshots at {path}; a training keeps some if snapshot_every is above 0")
    try:
        frames = load_file(path)
        steps = sorted(name.removeprefix("maps.") for name in frames if name.startswith("maps."))
        # "maps" is the last stage; those before it are "stage1", "stage2", ...
        earlier = sorted({name.split(".")[0] for name in frames if name.startswith("stage")},
                         key=lambda name: int(name.removeprefix("stage")))
        maps = tuple(torch.stack([frames[f"{stage}.{step}"] for step in steps]) for stage in (*earlier, "maps"))
        return Snapshots(frames["images"], tuple(map(int, steps)), maps)
    except (SafetensorError, KeyError, RuntimeError) as error:
        raise ValueError(f"{path} holds no snapshots ({error}); expected the snapshots.safetensors of a training") from None


def read_curve(path: str | Path, key: str, kind: str | None = None) -> tuple[list[int], list[float]]:
    """Steps and values of one metric in the log of a training: its metrics.jsonl.

    Args:
        path: of the log.
        key: the metric.
        kind: of the lines: "train", "validation" or "snapshot". Some metrics are in several kinds, measured on
            different images. None: the kind that has the metric; "validation", with most images, if several have it.

    Raises ValueError if the metric is not there.
    """
    lines = [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]
    kinds = list(dict.fromkeys(line["kind"] for line in lines if key in line))
    if not kinds:
        known = sorted({name for line in lines for name, value in line.items() if isinstance(value, float)})
        raise ValueError(f"{path} has no {key!r}; it has {', '.join(known)}")
    if kind not in (None, *kinds):
        raise ValueError(f"{path} has no {key!r} in lines of the kind {kind!r}; those of {', '.join(kinds)} have it")
    chosen = kind or ("validation" if "validation" in kinds else kinds[0])
    steps, values = zip(*((line["step"], line[key]) for line in lines if key in line and line["kind"] == chosen))
    return list(steps), list(values)


def time_lapse_figure(snapshots: Snapshots, step: int, curves: Curves, ylabel: str = "",
                      pictures: Sequence[int] | None = None, dpi: int = 96, stage: int = -1) -> Figure:
    """Images, their groups after so many steps, and below them curves with a mark at the step.

    Args:
        snapshots: see `read_snapshots`.
        step: one of `snapshots.steps`.
        curves: see `read_curve`; all on one axis, `ylabel` says what they are.
        pictures: which of the S images; None: the first four.
        dpi: pixels per inch.
        stage: whose groups; 0 is the first stage, -1 the last.

    Raises ValueError for a step, an image or a stage that is not in the snapshots.
    """
    return _Film(snapshots, curves, ylabel, pictures, dpi, stage).at(step)


def snapshot_strip(snapshots: Snapshots, steps: Sequence[int], pictures: Sequence[int] = (0, 1, 2, 3),
                   stage: int = -1) -> Figure:
    """The groups after each of these steps beside each other, a row a picture: for paper, where nothing moves.

    Raises ValueError for a step or a stage that there is not.
    """
    groups = [snapshots.groups(step, stage) for step in steps]             # (S, H, W) each
    titles = ["image", *(f"step {step:,}" for step in steps)]
    side = 9.5 / len(titles)
    fig = Figure(figsize=(9.5, side * len(pictures) + 0.25), layout="constrained", dpi=96, facecolor="white")
    rows = fig.subplots(len(pictures), len(titles), squeeze=False)
    for row, picture in zip(rows, pictures):
        show_image(row[0], snapshots.images[picture])
        for ax, own in zip(row[1:], groups):
            show_groups(ax, own[picture], snapshots.images[picture], numbers=False)
    for ax, title in zip(rows[0], titles):
        ax.set_title(title, size=10, pad=4)
    return fig


def measures_figure(films: Mapping[str, Snapshots], measures: Mapping[str, Callable[[Tensor], float]]) -> Figure:
    """Measures of the shares (S, G, N) over the steps of several runs: axes for each measure, a curve for each run."""
    fig = Figure(figsize=(9.5, 2.9), layout="constrained", dpi=96, facecolor="white")
    for ax, (name, measure) in zip(fig.subplots(1, len(measures), squeeze=False)[0], measures.items()):
        show_curves(ax, {label: (film.steps, [measure(film.shares(step).flatten(2)) for step in film.steps])
                         for label, film in films.items()}, name)
        ax.set_ylim(bottom=0)
        if ax.get_legend() and ax is not fig.axes[0]:
            ax.get_legend().remove()                                       # the same as in the first
    return fig


class _Film:
    """A figure that is laid out once; `at` changes only what differs between steps, in half of the time."""

    def __init__(self, snapshots: Snapshots, curves: Curves, ylabel: str, pictures: Sequence[int] | None,
                 dpi: int, stage: int) -> None:
        count = len(snapshots.images)
        self.pictures = list(range(min(count, _MOST_PICTURES)) if pictures is None else pictures)
        if not self.pictures or not 0 <= min(self.pictures) <= max(self.pictures) < count:
            raise ValueError(f"pictures are {self.pictures}; choose some from 0 to {count - 1}")
        self.snapshots, self.stage = snapshots, stage
        num_stages, num_groups = len(snapshots.maps), snapshots.of_stage(stage).shape[2]
        width = _LEFT + len(self.pictures) * (_SIDE + _GAP) + _KEY
        height = _TOP + 2 * (_SIDE + _GAP) + 0.2 + _CURVE + _FOOT
        self.figure = Figure(figsize=(width, height), dpi=dpi, facecolor="white")

        def place(x: float, y: float, w: float, h: float) -> Axes:
            """Axes by inches from the left and from the top."""
            return self.figure.add_axes((x / width, 1 - (y + h) / height, w / width, h / height))

        self.below = []
        for column, picture in enumerate(self.pictures):
            x = _LEFT + column * (_SIDE + _GAP)
            above = show_image(place(x, _TOP, _SIDE, _SIDE), snapshots.images[picture])
            self.below.append(place(x, _TOP + _SIDE + _GAP, _SIDE, _SIDE))
            if column == 0:
                above.set_ylabel("image")
                self.below[0].set_ylabel("groups" if num_stages == 1 else f"groups, stage {stage % num_stages + 1}")
        draw_key(place(width - _KEY + 0.08, _TOP + 0.18, 0.8, 2 * _SIDE - 0.18), num_groups)
        self.curve = place(_LEFT, height - _FOOT - _CURVE, width - _LEFT - _KEY - _GAP, _CURVE)
        show_curves(self.curve, curves, ylabel, xlabel="training step")
        self.curve.set_xlim(snapshots.steps[0], max(snapshots.steps[-1], snapshots.steps[0] + 1))
        # A fixed place, because the best one changes from step to step.
        self.curve.legend(frameon=False, fontsize=8.5, loc="center left", bbox_to_anchor=(1.01, 0.5))
        self.lines = list(self.curve.lines)
        self.title = self.figure.text(_LEFT / width, 1 - 0.62 * _TOP / height, "", size=11, weight="bold")

    def at(self, step: int) -> Figure:
        groups = self.snapshots.groups(step, self.stage)
        for ax, picture in zip(self.below, self.pictures):
            for old in (*ax.images, *ax.collections):
                old.remove()
            show_groups(ax, groups[picture], self.snapshots.images[picture], numbers=False)
        for old in self.curve.lines[len(self.lines):]:
            old.remove()
        self.curve.axvline(step, color="#333333", linewidth=1.2)
        for line in self.lines:                                            # a dot, if the curve has a value there
            x, y = line.get_xdata(), line.get_ydata()
            if x[0] <= step <= x[-1]:
                self.curve.plot(step, np.interp(step, x, y), "o", color=line.get_color(), markersize=6, clip_on=False)
        self.title.set_text(f"after {step} steps")
        return self.figure


def draw_key(ax: Axes, num_groups: int) -> Axes:
    """The colour of every group with its number on it; drawing a legend of so many entries would take longer."""
    columns = -(-num_groups // 8)
    rows = -(-num_groups // columns)
    cells = np.ones((rows * columns, 3))
    cells[:num_groups] = group_colours(num_groups)
    ax.imshow(cells.reshape(rows, columns, 3), aspect="auto")
    for g in range(num_groups):
        ax.text(g % columns, g // columns, str(g), size=8, ha="center", va="center_baseline",
                color="black" if cells[g].mean() > 0.5 else "white")
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_visible(False)
    ax.set_title("group", size=9, pad=3)
    return ax


def save_time_lapse(path: str | Path, snapshots: Snapshots, curves: Curves, ylabel: str = "",
                    pictures: Sequence[int] | None = None, steps: Sequence[int] | None = None,
                    milliseconds: int = 250, dpi: int = 80, stage: int = -1) -> None:
    """Writes the figures of all steps (or of those given) as an animation that repeats: .gif or .png (animated PNG).

    Browsers and notebooks play both, some notebook viewers only PNG. With four images of scenes, a step takes some
    30 kB in a PNG and 20 kB in a GIF.
    The other arguments are those of `time_lapse_figure`. Raises ValueError for another file type.
    """
    path = Path(path)
    kind = _KINDS.get(path.suffix.lower())
    if kind is None:
        raise ValueError(f"{path} has no file type of an animation; use one of {', '.join(_KINDS)}")
    steps = snapshots.steps if steps is None else steps
    film = _Film(snapshots, curves, ylabel, pictures, dpi, stage)
    frames = [_pixels(film.at(step)) for step in steps]
    # One palette for all frames, or colours would flicker; made of all frames, because groups come and go.
    palette = Image.fromarray(np.concatenate([np.asarray(frame)[::2, ::2] for frame in frames])).quantize(256)
    frames = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    lengths = [milliseconds] * (len(frames) - 1) + [6 * milliseconds]      # a pause at the end
    write_atomically(path, lambda part: frames[0].save(
        part, format=kind, save_all=True, append_images=frames[1:], duration=lengths, loop=0, optimize=True))


class TimeLapse(Panel):
    """The groups of a few images at any step of a training: drag `slider`, or press `play`.

    The arguments are those of `time_lapse_figure`; `snapshots` may be the path of a file, and without a step the last
    one is shown first. Each step is drawn once.
    """

    def __init__(self, snapshots: Snapshots | str | Path, curves: Curves, ylabel: str = "",
                 pictures: Sequence[int] | None = None, step: int | None = None, stage: int = -1) -> None:
        self.snapshots = snapshots if isinstance(snapshots, Snapshots) else read_snapshots(snapshots)
        self.curves, self.ylabel, self.pictures, self.stage = curves, ylabel, pictures, stage
        self._film = _Film(self.snapshots, curves, ylabel, pictures, 96, stage)
        steps = self.snapshots.steps
        if step is not None:
            self.snapshots.shares(step)                                    # raises for an unknown step
        self.slider = ipywidgets.SelectionSlider(options=steps, value=steps[-1] if step is None else step,
                                                 description="step", layout={"width": "min(480px, 100%)"})
        self.play = ipywidgets.Play(value=self.slider.index, min=0, max=len(steps) - 1, interval=300)
        super().__init__([ipywidgets.HBox([self.play, self.slider])])
        traitlets.link((self.play, "value"), (self.slider, "index"))
        self.follow(self.slider)
        self._drawn: dict[int, bytes] = {}
        self.redraw()

    def draw(self) -> Figure:
        return self._film.at(self.slider.value)

    def redraw(self, *_) -> None:
        step = self.slider.value
        if step in self._drawn:
            self.canvas.value = self._drawn[step]
        else:
            super().redraw()
            self._drawn[step] = self.canvas.value

    def save_animation(self, path: str | Path, steps: Sequence[int] | None = None, milliseconds: int = 250) -> None:
        """Writes all steps, or those given, as an animation, .gif or .png; see `save_time_lapse`."""
        save_time_lapse(path, self.snapshots, self.curves, self.ylabel, self.pictures, steps, milliseconds,
                        stage=self.stage)


def _pixels(figure: Figure) -> Image.Image:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())
