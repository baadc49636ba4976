"""A trial: a training so short that a notebook can afford several, to see what one setting does to the groups."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from ..data.captioned.batches import CaptionedImages
from ..data.scenes.config import SceneConfig
from ..data.scenes.make import Scene
from ..evaluation.groups import emergence
from ..evaluation.probes import scene_stack
from ..model import GroupViT
from .config import TrainConfig
from .loop import train
from .record import Recorder

NUM_SNAPSHOTS = 20    # of the watched scenes are in the snapshots


def train_shortly(model: GroupViT, training: Sequence[Scene], watched: Sequence[Scene],
                  config: TrainConfig) -> tuple[Path, dict[str, float]]:
    """Trains a model, in place, on a few scenes.

    Returns the file with the snapshots of the first `watched` scenes, and how far groups have emerged on all of them
    at the end (`evaluation.groups.emergence`).
    """
    images, masks, _ = scene_stack(watched)
    data = CaptionedImages(scene_stack(training)[0], [[scene.caption] for scene in training])
    recorder = Recorder(tempfile.mkdtemp(), config, snapshot_images=images[:NUM_SNAPSHOTS], progress=False)
    train(model, data, config, recorder)
    with torch.no_grad():
        return recorder.snapshot_path, emergence(model, images, masks, len(SceneConfig().class_names))
