"""Whole runs: from a recipe and a data set to a trained model in a folder."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from tqdm.auto import tqdm

from ..checkpoints.native import load, load_checkpoint
from ..data.captioned.batches import Captioned, CaptionedImages, FindNouns
from ..data.captioned.on_disk import CaptionedFiles
from ..data.mask_sets import scene_masks
from ..data.scenes.config import SceneConfig
from ..data.scenes.sets import scene_arrays
from ..distributed import join_processes, pick_device, rank_and_size
from ..evaluation.evaluate import evaluate
from ..evaluation.groups import emergence
from ..evaluation.image_level import evaluate_retrieval
from ..model import GroupViT
from ..text.caption_tokenizer import CaptionTokenizer
from .config import TrainConfig
from .loop import train
from .recipes import Recipe
from .record import Recorder

if TYPE_CHECKING:
    from datasets import Dataset

NUM_VALIDATION = 500    # scenes on which a run is watched, and choices are made
NUM_EMERGENCE = 200     # of them show how far groups have emerged, at every snapshot
NUM_SNAPSHOTS = 8       # of their images are kept for the time-lapse


def build_model(recipe: Recipe, data: Captioned) -> GroupViT:
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
    # Its inference options go with it, and the size of images: a model knows objects at the size of its training.
    model.protocol = replace(recipe.protocol, templates=recipe.training.templates,
                             short_side=recipe.protocol.short_side or config.image.image_size)
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


def train_on_scenes(recipe: Recipe, out: str | Path, num_proc: int | None = None, progress: bool = True,
                    device: str | torch.device | None = None) -> GroupViT:
    """Trains on the scenes, watched on the validation scenes. Goes on with the run that `out` holds.

    Returns the best model of the run by validation mIoU.
    """
    scenes = SceneConfig(image_size=recipe.model.image.image_size)
    num_proc = num_proc or os.cpu_count() or 1
    training = scene_arrays("train", recipe.num_scenes, scenes, num_proc=num_proc)
    validation = scene_masks("validation", NUM_VALIDATION, scenes)
    data = CaptionedImages(torch.from_numpy(training.images).permute(0, 3, 1, 2).contiguous(),
                           [[caption] for caption in training.captions], origin="scenes")

    def validate(model: GroupViT) -> dict[str, Any]:
        return evaluate(model, validation).metrics

    def watch_groups(model: GroupViT) -> dict[str, Any]:
        few = validation.first(NUM_EMERGENCE)
        return emergence(model, few.images, few.masks, len(few.class_names))

    return _run(recipe, data, out, validate, validation.images[:NUM_SNAPSHOTS], progress, device,
                watch_groups=watch_groups)


def train_on_dataset(recipe: Recipe, dataset: Dataset | Captioned, out: str | Path, image_column: str | None = None,
                     caption_columns: Sequence[str] | None = None, progress: bool = True,
                     device: str | torch.device | None = None, validation: Dataset | CaptionedImages | None = None,
                     cache: str = "memory", num_workers: int | None = None, max_skipped: float = 0.05,
                     nouns: str | FindNouns | None = None) -> GroupViT:
    """Trains on captioned images from anywhere; an image with several captions shows one at random.

    Goes on with the run that `out` holds. At the end it says how many rows were left out, and why.

    Args:
        dataset: a `datasets.Dataset` (`open_dataset`), or any source that `open_captioned` gives.
        image_column, caption_columns: of a `datasets.Dataset`; None: as they mostly are.
        validation: captioned images that are not trained on, such as a split of their own or those
            that `hold_out` gives. Every `eval_every` steps retrieval is measured on them, and the
            checkpoint with the highest mean of recall@1, 5, 10 in both directions is the run's best.
            None: there are no masks to judge by, so the run keeps its last model.
        cache: "memory": images are decoded once; "disk": whenever a batch needs them, by `num_workers`
            processes.
        max_skipped: share of the rows that may have no readable image or no caption.
        nouns: of a `datasets.Dataset`: the column that has them, or a function of a caption; see `open_captioned`.

    Returns the best model of the run by retrieval, or its last one.
    """
    size = recipe.model.image.image_size

    def source(given: Dataset | Captioned, kind: str, nouns: str | FindNouns | None = None) -> Captioned:
        if isinstance(given, Captioned):
            return given
        if kind == "disk":
            return CaptionedFiles(given, size, image_column, caption_columns, num_workers=num_workers,
                                  max_skipped=max_skipped, nouns=nouns)
        return CaptionedImages.from_dataset(given, size, image_column, caption_columns, max_skipped=max_skipped,
                                            nouns=nouns)

    if cache not in ("memory", "disk"):
        raise ValueError(f"cache is {cache!r}; choose 'memory' or 'disk' (open_captioned opens streams)")
    data = source(dataset, cache, nouns)
    if validation is None:
        return _run(recipe, data, out, None, data.first_pictures(NUM_SNAPSHOTS), progress, device)
    held = source(validation, "memory")
    if held.skipped.count:
        tqdm.write(f"for validation: {held.skipped.report()}")
    return _run(recipe, data, out, lambda model: evaluate_retrieval(model, held), held.first_pictures(NUM_SNAPSHOTS),
                progress, device, watch="mean_recall")


def fit_batch(config: TrainConfig, data: Captioned) -> TrainConfig:
    """The configuration with a batch as large as the data allow, which is said where it is smaller than it was."""
    count = len(data) if isinstance(data, (CaptionedImages, CaptionedFiles)) else config.batch_size
    rank, processes = rank_and_size()
    largest = count // processes * processes
    if config.batch_size <= count or largest < 2:    # of one image nothing can be learnt: the training says so
        return config
    if rank == 0:
        tqdm.write(f"batches are of {largest:,} images, not of {config.batch_size:,}: there are no more to train on")
    return replace(config, batch_size=largest)


def _run(recipe: Recipe, data: Captioned, out: str | Path, validate, snapshots: torch.Tensor, progress: bool,
         device: str | torch.device | None, watch: str = "miou", watch_groups=None) -> GroupViT:
    device = join_processes(pick_device(device))
    recipe = replace(recipe, training=fit_batch(recipe.training, data))
    model = build_model(recipe, data).to(device)
    recorder = Recorder(out, recipe.training, validate, snapshots, progress=progress, watch=watch,
                        watch_groups=watch_groups)
    train(model, data, recipe.training, recorder)
    if recorder.writes and data.skipped.seen:
        tqdm.write(data.skipped.report())
    if recorder.best_path.exists():
        return load_checkpoint(recorder.best_path, model.device)
    return model.eval()
