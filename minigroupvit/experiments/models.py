"""Trains the model of a row, once for all rows that share it, and goes on with a training that was stopped.

A model is a folder named after its settings (`Setup.key`): while it is trained, a checkpoint with the optimiser's
state; then `model.safetensors` alone.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm.auto import tqdm

from ..checkpoints.native import load_checkpoint, read_checkpoint, save_checkpoint
from ..data.captioned.batches import CaptionedImages
from ..data.scenes.config import SceneConfig
from ..data.scenes.sets import SceneArrays, scene_arrays
from ..files import write_atomically
from ..image_encoder import ImageEncoder
from ..model import GroupViT
from ..training.config import TrainConfig
from ..training.loop import train
from ..training.record import Recorder
from ..training.run import build_model
from .budgets import Setup
from .pretraining import MaskTraining, fit, pretraining, resume_bar


@dataclass(frozen=True)
class Trained:
    """A model and what it cost."""

    model: GroupViT | ImageEncoder | MaskTraining
    seconds: float      # of training
    steps: int


class _OnBar(Recorder):
    """Counts its steps on the bar of all rows."""

    def __init__(self, folder: Path, config: TrainConfig, bar: tqdm) -> None:
        super().__init__(folder, config, progress=False)
        self._bar = bar

    def bar(self, start: int, config: TrainConfig) -> nullcontext[tqdm]:
        resume_bar(self._bar, start)
        return nullcontext(self._bar)


def trained_model(setup: Setup, folder: Path, bar: tqdm, device: torch.device) -> Trained:
    """The trained model of these settings, from the folder or trained now.

    Raises KeyboardInterrupt where a training was stopped: it is saved, and the next call goes on from there.
    """
    path = folder / setup.key / "model.safetensors"
    if not path.exists():
        (_train_on_captions if setup.task == "captions" else _train_encoder)(setup, path, bar, device)
    for stale in path.parent.glob("last.safetensors"):
        stale.unlink()
    if setup.task == "captions":
        model = load_checkpoint(path, device)
        return Trained(model, model.about["seconds"], model.about["steps"])
    return _load(_empty(setup), path, device)


def finetuned(encoder: ImageEncoder, setup: Setup, folder: Path, steps: int, lr: float, bar: tqdm,
              device: torch.device) -> Trained:
    """The encoder of these settings trained on with masks; `steps` and `lr` of that training."""
    path = folder / setup.key / f"finetuned-{steps}-{lr}.safetensors"
    torch.manual_seed(setup.recipe.training.seed)
    module = MaskTraining(encoder, len(setup.scenes.class_names))
    if not path.exists():
        config = replace(setup.recipe.training, steps=steps, lr=lr, min_lr=lr / 100, warmup=steps // 10)
        _fit_and_keep(module, module, setup, config, path, bar, device)
    return _load(module, path, device)


@lru_cache(maxsize=1)
def training_scenes(config: SceneConfig, count: int) -> SceneArrays:
    """The first scenes of the split train; the last set that was asked for stays in memory."""
    return scene_arrays("train", count, config)


def image_tensor(scenes: SceneArrays) -> Tensor:
    """(N, 3, S, S) uint8."""
    return torch.from_numpy(scenes.images).permute(0, 3, 1, 2).contiguous()


def _train_on_captions(setup: Setup, path: Path, bar: tqdm, device: torch.device) -> None:
    scenes = training_scenes(setup.scenes, setup.recipe.num_scenes)
    data = CaptionedImages(image_tensor(scenes), [[caption] for caption in scenes.captions])
    model = build_model(setup.recipe, data).to(device)
    recorder = _OnBar(path.parent, setup.recipe.training, bar)
    train(model, data, setup.recipe.training, recorder)
    done = read_checkpoint(recorder.last_path)[0]["about"]["step"]
    if done < setup.recipe.training.steps:     # Ctrl-C or SIGTERM: the loop has saved
        raise KeyboardInterrupt
    save_checkpoint(path, model, {"seconds": recorder.seconds, "steps": done})


def _empty(setup: Setup) -> ImageEncoder | MaskTraining:
    torch.manual_seed(setup.recipe.training.seed)
    encoder = ImageEncoder(setup.recipe.model.image)
    return MaskTraining(encoder, len(setup.scenes.class_names)) if setup.task == "masks" else encoder


def _train_encoder(setup: Setup, path: Path, bar: tqdm, device: torch.device) -> None:
    if setup.task == "none":
        return _keep(_empty(setup), path, 0.0, 0)
    torch.manual_seed(setup.recipe.training.seed)
    module = pretraining(setup.task, setup.recipe.model.image, len(setup.scenes.class_names))
    kept = module if setup.task == "masks" else module.encoder
    _fit_and_keep(module, kept, setup, setup.recipe.training, path, bar, device)


def _fit_and_keep(module: nn.Module, kept: nn.Module, setup: Setup, config: TrainConfig, path: Path, bar: tqdm,
                  device: torch.device) -> None:
    """Trains a module, and writes the part of it that is kept."""
    scenes = training_scenes(setup.scenes, setup.recipe.num_scenes)
    last = path.with_name(f"last-{path.name}")
    seconds = fit(module, image_tensor(scenes), torch.from_numpy(scenes.masks), config, last, bar, device)
    _keep(kept, path, seconds, config.steps)
    last.unlink()


def _keep(module: nn.Module, path: Path, seconds: float, steps: int) -> None:
    tensors = {name: value.detach().cpu().contiguous() for name, value in module.state_dict().items()}
    about = {"seconds": str(seconds), "steps": str(steps)}
    write_atomically(path, lambda file: save_file(tensors, file, metadata=about))


def _load(module: ImageEncoder | MaskTraining, path: Path, device: torch.device) -> Trained:
    with safe_open(path, framework="pt") as file:
        about = file.metadata()
        module.load_state_dict({name: file.get_tensor(name) for name in file.keys()})
    return Trained(module.to(device).eval(), float(about["seconds"]), int(about["steps"]))
