"""What a row and a budget together mean for a training, and the training itself: once for all rows that share a model.

Budgets:
    tiny  seconds, for tests: nothing is learnt
    live  a minute of one core a row, for notebooks: models begin to learn
    cpu   at most five minutes of one core a row, on easier scenes: fewer kinds of objects and backgrounds
    gpu   the default scenes and the steps of the recipe `scenes`

A trained model is a folder named after its settings (`Setup.key`). During training it holds a checkpoint with the
optimiser's state, from which a training that was stopped goes on; afterwards `model.safetensors` alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm.auto import tqdm

from ..checkpoints.native import load_checkpoint, read_checkpoint, save_checkpoint
from ..data.captioned.batches import CaptionedImages
from ..data.scenes.config import SceneConfig
from ..data.scenes.drawings import OBJECTS
from ..data.scenes.sets import SceneArrays, scene_arrays
from ..data.scenes.textures import BACKGROUNDS
from ..files import write_atomically
from ..image_encoder import ImageEncoder
from ..model import GroupViT
from ..segmentation.options import InferenceOptions
from ..training.config import TrainConfig
from ..training.loop import train
from ..training.recipes import Recipe, recipe
from ..training.record import Recorder
from ..training.run import build_model
from .pretraining import MaskTraining, fit, pretraining, resume_bar
from .rows import FAMILIES, Model


@dataclass(frozen=True)
class Budget:
    """How much a row may compute: the reference recipe at some size, the scenes, and how much is measured."""

    recipe: Recipe                     # of the reference: steps, batch size, sizes of the model, number of scenes
    scenes: SceneConfig
    num_test: int                      # scenes that a row is measured on
    num_validation: int                # scenes that choose the learning rates
    finetune: float = 0.25             # steps of the training with masks in Table 5, as a share of all steps
    finetune_lr: float = 1e-3
    jobs: int = 1                      # processes at once, unless told otherwise
    threads: int | None = None         # of the CPU, in each process; None: torch's default


def _reference(steps: int, batch_size: int, num_scenes: int, text: Mapping[str, Any] = MappingProxyType({}),
               **image: Any) -> Recipe:
    """The recipe `scenes_short` at another size: one stage, soft assignment, no residual.

    Its masks are made as released, a pixel from its largest group, but from patches at every half patch.
    """
    base = recipe("scenes_short")
    model = replace(base.model, image=replace(base.model.image, **image), text=replace(base.model.text, **text))
    training = replace(base.training, steps=steps, batch_size=batch_size, warmup=steps // 10, eval_every=0,
                       snapshot_every=0)
    return Recipe("the reference of the tables", model, training, InferenceOptions(overlap=2), num_scenes)


# Half of the objects and backgrounds, one drawing of each, every second object in the natural colour of its class:
# models learn that in minutes (results/EXPERIMENTS.md).
_EASY = SceneConfig(objects=OBJECTS[::2], backgrounds=BACKGROUNDS[::2], num_objects=(1, 2), drawings=1,
                    natural_colour=0.5)
_TINY = SceneConfig(image_size=32, objects=OBJECTS[:3], backgrounds=BACKGROUNDS[:2], drawings=1)

BUDGETS = {
    "tiny": Budget(_reference(4, 8, 80, {"width": 16, "num_heads": 2}, image_size=32, width=16, num_heads=2,
                              stem_depth=0), _TINY, num_test=8, num_validation=6, threads=1),
    "live": Budget(_reference(60, 128, 3_000, width=64, num_heads=4), _EASY, num_test=100, num_validation=100, threads=1),
    "cpu": Budget(_reference(1000, 128, 16_000, width=64, num_heads=4), _EASY, num_test=500, num_validation=300,
                  threads=1),
    "gpu": Budget(_reference(8000, 128, 40_000), SceneConfig(), num_test=1000, num_validation=500, jobs=4),
}


@dataclass(frozen=True)
class Setup:
    """Everything that decides which weights come out of a training: rows of equal setups share a trained model."""

    task: str
    recipe: Recipe
    scenes: SceneConfig

    @property
    def key(self) -> str:
        """The name of its folder. How masks are made of a trained model does not count."""
        return f"{self.task}-{digest(replace(self, recipe=replace(self.recipe, protocol=InferenceOptions())))}"


def digest(*parts: Any) -> str:
    """Twelve digits that differ where the content of dataclasses does.

    Fields that have their default do not count: a new option that changes nothing leaves finished rows valid.
    """
    content = json.dumps([_beside_defaults(part) for part in parts], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:12]


def _beside_defaults(value: Any) -> Any:
    """A dataclass as a dictionary of the fields that differ from their default, within others too."""
    if isinstance(value, Mapping):
        return {name: _beside_defaults(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_beside_defaults(one) for one in value]
    if not is_dataclass(value):
        return value
    defaults = {f.name: f.default if f.default_factory is MISSING else f.default_factory() for f in fields(value)}
    own = {name: getattr(value, name) for name in defaults}
    return {name: _beside_defaults(one) for name, one in own.items() if one != defaults[name]}


def make_setup(model: Model, budget: Budget, seed: int, lr: float) -> Setup:
    """The settings of a row's model at a budget. Raises ValueError for an unknown family."""
    if model.family not in FAMILIES:
        raise ValueError(f"there is no family {model.family!r} of models; choose {', '.join(FAMILIES)}")
    base = budget.recipe
    steps = max(1, round(model.steps * base.training.steps))
    training = replace(base.training, steps=steps, warmup=steps // 10, lr=lr, min_lr=lr / 100, seed=seed,
                       **model.training)
    built = replace(base.model, image=replace(base.model.image, **model.image))
    num_scenes = max(training.batch_size, round(model.num_scenes * base.num_scenes))
    return Setup(model.task, replace(base, model=built, training=training, num_scenes=num_scenes),
                 replace(budget.scenes, **model.scenes))


@dataclass(frozen=True)
class Trained:
    """A model and what its training took."""

    model: GroupViT | ImageEncoder | MaskTraining
    seconds: float
    steps: int


def trained_model(setup: Setup, folder: Path, bar: tqdm, device: torch.device) -> Trained:
    """The trained model of these settings, from the folder or trained now.

    Raises KeyboardInterrupt where a training was stopped: it is saved, and the next call goes on from there.
    """
    path = folder / setup.key / "model.safetensors"
    if not path.exists():
        (_train_on_captions if setup.task == "captions" else _train_encoder)(setup, path, bar, device)
    path.with_name("last.safetensors").unlink(missing_ok=True)
    if setup.task == "captions":
        model = load_checkpoint(path, device)
        return Trained(model, model.about["seconds"], model.about["steps"])
    return _load(_untrained(setup), path, device)


def finetuned_name(steps: int, lr: float) -> str:
    """The file of a model that was fine-tuned with masks, in the folder of its encoder."""
    return f"finetuned-{steps}-{lr}.safetensors"


def finetuned(encoder: ImageEncoder, setup: Setup, folder: Path, steps: int, lr: float, bar: tqdm,
              device: torch.device) -> Trained:
    """The encoder of these settings, fine-tuned with masks; `steps` and `lr` are those of the fine-tuning.

    Raises KeyboardInterrupt as `trained_model` does.
    """
    path = folder / setup.key / finetuned_name(steps, lr)
    torch.manual_seed(setup.recipe.training.seed)
    module = MaskTraining(encoder, len(setup.scenes.class_names))
    if not path.exists():
        config = replace(setup.recipe.training, steps=steps, lr=lr, min_lr=lr / 100, warmup=steps // 10)
        _fit_and_keep(module, module, setup, config, path, bar, device)
    return _load(module, path, device)


@lru_cache(maxsize=1)
def training_scenes(config: SceneConfig, count: int) -> SceneArrays:
    """The first scenes of the training split; the last set that was asked for stays in memory."""
    return scene_arrays("train", count, config)


def image_tensor(scenes: SceneArrays) -> Tensor:
    """(N, 3, S, S) uint8."""
    return torch.from_numpy(scenes.images).permute(0, 3, 1, 2).contiguous()


class _OnBar(Recorder):
    """Counts its steps on the bar of all rows."""

    def __init__(self, folder: Path, config: TrainConfig, bar: tqdm) -> None:
        super().__init__(folder, config, progress=False)
        self._bar = bar

    def bar(self, start: int, config: TrainConfig) -> nullcontext[tqdm]:
        resume_bar(self._bar, start)
        return nullcontext(self._bar)


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


def _train_encoder(setup: Setup, path: Path, bar: tqdm, device: torch.device) -> None:
    if setup.task == "none":
        return _keep(_untrained(setup), path, 0.0, 0)
    torch.manual_seed(setup.recipe.training.seed)
    module = pretraining(setup.task, setup.recipe.model.image, len(setup.scenes.class_names))
    kept = module if setup.task == "masks" else module.encoder
    _fit_and_keep(module, kept, setup, setup.recipe.training, path, bar, device)


def _untrained(setup: Setup) -> ImageEncoder | MaskTraining:
    torch.manual_seed(setup.recipe.training.seed)
    encoder = ImageEncoder(setup.recipe.model.image)
    return MaskTraining(encoder, len(setup.scenes.class_names)) if setup.task == "masks" else encoder


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
