"""What a run writes down: progress bar, metrics, validations, snapshots, checkpoints.

A run is a folder:

    config.json           model and training configuration
    metrics.jsonl         a line per logged step and per validation
    tensorboard/          the same for TensorBoard
    last.safetensors      the newest checkpoint, with the optimiser: the run goes on from it
    best.safetensors      the one with the best validation: highest mIoU, or recall of retrieval
    snapshots.safetensors groups of a few fixed images over the steps, for the time-lapse; their metrics are lines
                          of metrics.jsonl of the kind "snapshot"
"""

from __future__ import annotations

import json
import subprocess
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm.auto import tqdm

from ..checkpoints.native import load_tensors, read_checkpoint, save_checkpoint
from ..distributed import gather_lists, rank_and_size
from ..extras import missing
from ..files import write_atomically
from ..images import normalize
from ..model import GroupViT
from ..segmentation.steps import group_maps
from .config import TrainConfig
from .optimizer import optimizer_tensors, restore_optimizer

if TYPE_CHECKING:
    from .precision import MixedPrecision


def current_commit() -> str:
    """The commit of this code, "unknown" outside a clone."""
    try:
        return subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], cwd=Path(__file__).parent,
                              capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


# What changes how a step is computed and not what is learnt: a run may go on with other values, on another card.
_FREE = ("micro_batch_size", "checkpoint_activations")
_EARLY = (10, 20, *range(50, 501, 50))   # snapshots also after these steps: most groups emerge early


class Recorder:
    """Writes a run into `folder`, and goes on with the run that is there.

    Args:
        validate: model -> metrics.
        watch: the metric whose highest value makes a checkpoint the best.
        snapshot_images: (S, 3, H, W) uint8 images whose groups are kept for the time-lapse.
        watch_groups: model -> metrics of its groups, logged with every snapshot.
        log_every: steps between lines of metrics.
    """

    def __init__(self, folder: str | Path, config: TrainConfig,
                 validate: Callable[[GroupViT], dict[str, Any]] | None = None,
                 snapshot_images: Tensor | None = None, log_every: int = 20, progress: bool = True,
                 watch: str = "miou", watch_groups: Callable[[GroupViT], dict[str, Any]] | None = None) -> None:
        self.folder = Path(folder)
        self.config = config
        self.validate = validate
        self.watch = watch
        self.watch_groups = watch_groups
        self.snapshot_images = snapshot_images
        self.log_every = log_every
        self.writes = rank_and_size()[0] == 0   # of several processes, the first one writes
        self.progress = progress and self.writes
        self.last_path = self.folder / "last.safetensors"
        self.best_path = self.folder / "best.safetensors"
        self.snapshot_path = self.folder / "snapshots.safetensors"
        self.model_config: dict[str, Any] = {}
        self.data: dict[str, Any] = {}
        self.best = -1.0
        self.seconds = 0.0           # of training, over all parts of the run
        self.precision: MixedPrecision | None = None
        self.folder.mkdir(parents=True, exist_ok=True)

    def resume(self, model: GroupViT, optimizer: torch.optim.Optimizer, data: dict[str, Any] | None = None,
               precision: MixedPrecision | None = None) -> int:
        """Loads the last checkpoint, if there is one, and returns the step to go on from.

        `data`: their `Captioned.fingerprint`. `precision`: stored with every checkpoint from here on. Raises
        ValueError, which names each difference, where the folder holds a run with other settings or data, and where
        several processes do not find the same checkpoint.
        """
        start = 0
        self.precision = precision
        self.data = data or {}
        self.model_config = model.config.to_dict()   # at the start: training may anneal the assignment
        if self.last_path.exists():
            header, tensors = read_checkpoint(self.last_path)
            about = header["about"]
            # A run of an older version has no value for a field that is younger: it was trained as its default.
            settings = json.loads(json.dumps(asdict(TrainConfig()))) | about["train_config"]
            then = {"data": about.get("data", {}), "vocabulary": header["tokenizer"], **settings,
                    **(about.get("model_config") or {})}
            now = {"data": self.data, "vocabulary": model.tokenizer.state(), **asdict(self.config), **self.model_config}
            then, now = ({k: v for k, v in values.items() if k not in _FREE} for values in (then, now))
            # Of data nothing is known in runs of older versions.
            if found := differences(then, now if then["data"] else now | {"data": {}}):
                raise ValueError(
                    f"{self.folder} holds a run with other settings or data: {'; '.join(found)}. Give another folder "
                    f"(--out), or go on with the settings ({self.folder / 'config.json'}) and data of that run")
            load_tensors(model, {n.removeprefix("model."): t for n, t in tensors.items()
                                 if n.startswith("model.")}, self.last_path)
            restore_optimizer(optimizer, model, tensors, "extra.")
            start, self.best, self.seconds = about["step"], about["best"], about["seconds"]
            if precision is not None:
                precision.restore(about.get("precision", {}))
        found = gather_lists([start])
        if len(set(found)) > 1:
            raise ValueError(f"the processes find other checkpoints in {self.folder}: of steps {found}. The folder "
                             "(--out) must be one that all machines share")
        if start:
            if self.writes:
                self._drop_lines_after(start)
        elif self.writes:
            write_atomically(self.folder / "config.json", lambda p: p.write_text(json.dumps(
                {"model": model.config.to_dict(), "training": asdict(self.config), "data": self.data,
                 "commit": current_commit()}, indent=2) + "\n"))
            (self.folder / "metrics.jsonl").write_text("")
        self._clock = time.perf_counter()
        if self.writes:
            self.writer = self._tensorboard(start)
            if not start:
                self._snapshot(0, model)
        return start

    def _tensorboard(self, start: int):
        """TensorBoard's writer, or None and a warning where it is not installed: metrics.jsonl has the same numbers."""
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            warnings.warn(missing("tensorboard", error), stacklevel=2)
            return None
        return SummaryWriter(self.folder / "tensorboard", purge_step=start or None)

    def bar(self, start: int, config: TrainConfig) -> tqdm:
        return tqdm(total=config.steps, initial=start, disable=not self.progress, unit="step",
                    dynamic_ncols=True, smoothing=0.05)

    def step(self, step: int, values: dict[str, Any], bar: tqdm) -> None:
        """After each step: the bar; every `log_every` steps a line of metrics."""
        bar.update(1)
        if not self.writes or ((step + 1) % self.log_every and step + 1 != self.config.steps):
            return
        values = {k: v.item() if isinstance(v, Tensor) else v for k, v in values.items()}
        speed = (bar.format_dict["rate"] or 0.0) * self.config.batch_size
        bar.set_postfix(loss=f"{values['loss']:.3f}", images=f"{speed:.0f}/s")
        self._write(step + 1, values, "train")

    def due(self, done: int) -> set[str]:
        """What is due after `done` steps, if anything: "snapshot", "validation", "checkpoint"."""
        config, end = self.config, done == self.config.steps
        return {name for name, every, early in (("snapshot", config.snapshot_every, done in _EARLY),
                                                ("validation", config.eval_every, False),
                                                ("checkpoint", config.save_every, False))
                if every and (done % every == 0 or early or end)}

    def after_step(self, done: int, model: GroupViT, optimizer: torch.optim.Optimizer) -> None:
        """What is due after `done` steps; of several processes the first one does it."""
        due = self.due(done) if self.writes else ()
        if "snapshot" in due:
            self._snapshot(done, model)
        if "validation" in due and self.validate:
            self._validation(done, model)
        if "checkpoint" in due:
            self.save(done, model, optimizer)

    def interrupted(self, done: int, model: GroupViT, optimizer: torch.optim.Optimizer) -> None:
        if not self.writes:
            return
        self.save(done, model, optimizer)
        tqdm.write(f"stopped after {done} of {self.config.steps} steps; saved {self.last_path}. "
                   "The same command goes on from there.")

    def save(self, done: int, model: GroupViT, optimizer: torch.optim.Optimizer) -> None:
        save_checkpoint(self.last_path, model, self._about(done), optimizer_tensors(optimizer, model))

    def _about(self, done: int) -> dict[str, Any]:
        now = time.perf_counter()
        self.seconds += now - self._clock
        self._clock = now
        return {"step": done, "seed": self.config.seed, "commit": current_commit(),
                "device": device_name(), "seconds": round(self.seconds, 1),
                "best": self.best, "data": self.data,
                "train_config": asdict(self.config), "model_config": self.model_config,
                **({"precision": state} if (state := self.precision and self.precision.state()) else {})}

    def _validation(self, done: int, model: GroupViT) -> None:
        metrics = self.validate(model)
        model.train()
        self._write(done, metrics, "validation")
        shown = {k: round(metrics[k], 3) for k in (self.watch, "miou_objects", "oracle_miou", "recognition_ap",
                                                   "groups_used", "image_to_text_recall_1") if k in metrics}
        if self.progress:
            tqdm.write(f"step {done}: " + ", ".join(f"{k} {v}" for k, v in shown.items()))
        # Only checkpoints after the switch to hard assignment can be best.
        on_the_way = self.config.hard_from < 1 and done <= self.config.hard_from * self.config.steps
        if metrics[self.watch] > self.best and not on_the_way:
            self.best = metrics[self.watch]
            save_checkpoint(self.best_path, model, self._about(done) | {"validation": metrics})

    @torch.no_grad()
    def _snapshot(self, done: int, model: GroupViT) -> None:
        if self.snapshot_images is None or not self.config.snapshot_every or not model.config.image.num_group_tokens[0]:
            return
        was_training = model.training
        model.eval()
        output = model.image_encoder(normalize(self.snapshot_images.to(model.device).float() / 255))
        model.train(was_training)
        frames = load_file(self.snapshot_path) if self.snapshot_path.exists() and done else {}
        frames["images"] = self.snapshot_images.contiguous()
        # The share of each patch in each group, in 8 bits: (S, G, h, w); of earlier stages under their number.
        *earlier, last = [(maps * 255).round().to(torch.uint8).cpu() for maps in group_maps(output)]
        frames[f"maps.{done:06d}"] = last
        frames |= {f"stage{i}.{done:06d}": maps for i, maps in enumerate(earlier, start=1)}
        write_atomically(self.snapshot_path, lambda p: save_file(frames, p))
        if self.watch_groups is not None:
            self._write(done, self.watch_groups(model), "snapshot")
            model.train(was_training)

    def _write(self, done: int, values: dict[str, Any], kind: str) -> None:
        line = {"step": done, "kind": kind, "seconds": round(self.seconds + time.perf_counter() - self._clock, 1)}
        with open(self.folder / "metrics.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(line | values) + "\n")
        for name, value in values.items():
            if self.writer and isinstance(value, (int, float)):
                self.writer.add_scalar(f"{kind}/{name}", value, done)

    def _drop_lines_after(self, step: int) -> None:
        """Lines of steps that will be made again: those after the checkpoint."""
        path = self.folder / "metrics.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        kept = [line for line in lines if json.loads(line)["step"] <= step]
        write_atomically(path, lambda p: p.write_text("".join(line + "\n" for line in kept), encoding="utf-8"))


def differences(then: Mapping[str, Any], now: Mapping[str, Any], within: str = "") -> list[str]:
    """What differs between a stored run and this one, in words: "batch_size: 256 in the run, 128 now"."""
    found: list[str] = []
    now = json.loads(json.dumps(now))        # as `then` has been: JSON turns tuples into lists
    for name in dict.fromkeys((*then, *now)):
        old, new, place = then.get(name), now.get(name), f"{within}.{name}" if within else name
        if old == new:
            continue
        if isinstance(old, dict) and isinstance(new, dict) and name != "data":
            found += differences(old, new, place)
        else:
            found.append(f"{place}: {_shown(old)} in the run, {_shown(new)} now")
    return found


def _shown(value: Any) -> str:
    """A setting, or what is known of the data, in a few words."""
    if isinstance(value, dict):
        return ", ".join(f"{v} {k}" if isinstance(v, int) else f"{k} {v}" for k, v in value.items()) or "not known"
    if isinstance(value, list) and len(value) > 20:
        return f"{len(value):,} entries"
    return str(value)


def device_name() -> str:
    """The GPU's name, or how many threads of the CPU are used."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"CPU, {torch.get_num_threads()} threads"
