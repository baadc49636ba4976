"""Whole runs: from a recipe and a data set to a trained model in a folder."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..checkpoint import load, load_checkpoint
from ..data.captioned import CaptionedImages
from ..data.scene_config import SceneConfig
from ..data.scene_sets import scene_arrays
from ..evaluation.baselines import evaluate_pixelwise
from ..evaluation.metrics import evaluate
from ..evaluation.scenes import scene_tensors
from ..model import GroupViT
from ..segmentation import Protocol
from ..tokenizer import CaptionTokenizer
from .distributed import join_processes
from .loop import train
from .recipes import Recipe
from .record import Recorder

if TYPE_CHECKING:
    from datasets import Dataset

NUM_VALIDATION = 500    # scenes on which a run is watched, and choices are made
NUM_SNAPSHOTS = 8       # of their pictures are kept for the time-lapse


def pick_device(device: str | torch.device | None = None) -> torch.device:
    """The device asked for, else a GPU if there is one, else the CPU."""
    if device is not None:
        return torch.device(device)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def build_model(recipe: Recipe, data: CaptionedImages) -> GroupViT:
    """A fresh model for the data: its tokenizer trained on the captions where the recipe says so."""
    config = recipe.model
    tokenizer = None
    if config.tokenizer == "captions":
        tokenizer = CaptionTokenizer.train(
            data.all_captions, vocab_size=config.text.vocab_size,
            context_length=config.text.context_length, templates=recipe.training.templates)
        config = replace(config, text=replace(config.text, vocab_size=tokenizer.vocab_size))
    torch.manual_seed(recipe.training.seed)
    model = GroupViT(config, tokenizer)
    if recipe.grown_from:
        grow(model, load(recipe.grown_from))
    model.protocol = replace(recipe.protocol, templates=recipe.training.templates)
    return model


def grow(model: GroupViT, smaller: GroupViT) -> None:
    """Copies the weights of a model that has the same words and fewer stages; the new stages keep their own.

    Raises ValueError, naming them, if weights of the smaller model have no place of their size.
    """
    own = model.state_dict()
    homeless = [name for name, value in smaller.state_dict().items()
                if name not in own or own[name].shape != value.shape]
    if homeless or model.tokenizer.state() != smaller.tokenizer.state():
        raise ValueError("cannot grow from these weights: " + (
            f"no place for {', '.join(homeless[:5])}" if homeless else "they were trained with another vocabulary")
            + "; take a model with the same widths, heads and captions")
    model.load_state_dict(own | smaller.state_dict())


def evaluate_on_scenes(model: GroupViT, images: torch.Tensor, masks: torch.Tensor,
                       protocol: Protocol | None = None) -> dict[str, Any]:
    """The figures of a model with groups, or pixel by pixel of one without, on scenes."""
    scenes = SceneConfig()
    judge = evaluate if model.config.image.num_group_tokens[0] else evaluate_pixelwise
    return judge(model, images, masks, scenes.class_names, len(scenes.objects), protocol)


def train_on_scenes(recipe: Recipe, out: str | Path, num_proc: int | None = None, progress: bool = True,
                    device: str | torch.device | None = None) -> GroupViT:
    """Trains on the scenes, watched on the validation scenes. Goes on with the run that `out` holds.

    Returns the best model of the run by validation mIoU.
    """
    scenes = SceneConfig(image_size=recipe.model.image.image_size)
    num_proc = num_proc or os.cpu_count() or 1
    training = scene_arrays("train", recipe.num_scenes, scenes, num_proc=num_proc)
    images, masks = scene_tensors("validation", NUM_VALIDATION, scenes)
    data = CaptionedImages(torch.from_numpy(training.images).permute(0, 3, 1, 2).contiguous(),
                           [[caption] for caption in training.captions])

    def validate(model: GroupViT) -> dict[str, Any]:
        return evaluate_on_scenes(model, images, masks)

    return _run(recipe, data, out, validate, images[:NUM_SNAPSHOTS], progress, device)


def train_on_dataset(recipe: Recipe, dataset: Dataset, out: str | Path, image_column: str = "image",
                     caption_columns: Sequence[str] | None = None, progress: bool = True,
                     device: str | torch.device | None = None) -> GroupViT:
    """Trains on captioned pictures from anywhere; a picture with several captions shows one at random.

    There are no masks to validate on: the run keeps its last model.
    """
    data = CaptionedImages.from_dataset(dataset, recipe.model.image.image_size, image_column, caption_columns)
    return _run(recipe, data, out, None, data.images[:NUM_SNAPSHOTS], progress, device)


def _run(recipe: Recipe, data: CaptionedImages, out: str | Path, validate, snapshots: torch.Tensor,
         progress: bool, device: str | torch.device | None) -> GroupViT:
    model = build_model(recipe, data).to(join_processes(pick_device(device)))
    recorder = Recorder(out, recipe.training, validate, snapshots, progress=progress)
    train(model, data, recipe.training, recorder)
    if recorder.best_path.exists():
        return load_checkpoint(recorder.best_path, model.device)
    return model.eval()
