"""The training loop: captions in, groups out.

The algorithm is `train`; a step of it is `training_loss` and four lines of optimiser. What is
written down on the way (bars, logs, evaluations, checkpoints) is in `record.py`.
"""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from ..config import ImageConfig
from ..data.captioned.batches import Batch, Captioned, pack_texts, shared_prompts
from ..distributed import (
    any_process,
    data_parallel,
    gather_lists,
    mean_over_processes,
    rank_and_size,
    synchronize_batch_norm,
)
from ..losses import (
    assignment_information,
    image_text_loss,
    meaning_similarity_loss,
    multi_label_loss,
    pixel_similarity_loss,
)
from ..model import GroupViT, unit
from ..segmentation.steps import group_maps
from .config import TrainConfig
from .memory import Features, check_parts, in_parts, recomputed_blocks
from .optimizer import assignment_temperature, learning_rate, make_optimizer
from .precision import MixedPrecision
from .record import Recorder
from .together import Together


def image_features(model: GroupViT, images: Tensor, config: TrainConfig) -> Features:
    """What the losses need of images (B, 3, H, W), before the head: the feature, and what has a weight in them."""
    output = model.image_encoder(images)
    features = {"images": [output.feature]}                                   # (B, D)
    nouns, groups = config.num_prompts > 0, bool(output.groupings)
    if config.meaning_similarity_weight or (nouns and config.segment_weight):
        maps = group_maps(output)                                             # per stage (B, G, h, w)
        features["areas"] = [m.mean((2, 3)) for m in maps]                    # per stage (B, G), sum 1
        features["segments"] = [model.embed_segments(output, stage) for stage in range(len(maps) - 1)]
        features["segments"].append(model.embed_segments(output))             # per stage (B, G, C)
    if groups and (nouns and config.patch_weight or config.patch_similarity_weight):
        features["patches"] = [model.embed_patches(output)]                   # (B, N, C)
    if groups and (config.information_weight or config.pixel_similarity_weight or config.patch_similarity_weight
                   or config.meaning_similarity_weight):
        features["soft"] = [grouping.soft for grouping in output.groupings]   # per stage (B, G, N)
    return features


def text_features(model: GroupViT, ids: Tensor) -> Features:
    """Token ids (M, L) to features (M, D), before the head."""
    return {"texts": [model.text_encoder(ids)]}


def training_loss(model: GroupViT, batch: Batch, config: TrainConfig) -> dict[str, Tensor]:
    """The losses of a batch, and their weighted sum `loss`."""
    B, K, device = len(batch.captions), config.num_prompts, model.device
    pixels, part = batch.images.to(device), config.micro_batch_size
    ids, spread = pack_texts(model.tokenizer, batch)
    seen = in_parts(partial(image_features, model, config=config), pixels, part)
    read = [in_parts(partial(text_features, model), rows.to(device), part * (1 + K))["texts"][0] for rows in ids]
    # The heads see the whole batch at once: their BatchNorm counts every text as often as it occurs.
    images = unit(model.image_head(seen["images"][0]))                        # (B, C)
    texts = unit(model.text_head(torch.cat(read)[spread.to(device)]))         # (B + B·K, C)
    captions, prompts = texts[:B], texts[B:].unflatten(0, (B, K)) if K else None
    segments, areas, soft = (seen.get(name, []) for name in ("segments", "areas", "soft"))

    losses = {"image_text": image_text_loss(images, captions, model.scale())}
    losses["loss"] = config.image_text_weight * losses["image_text"]
    positives = None
    if K and config.shared_nouns:
        whole = Batch(batch.images, *(gather_lists(part) for part in (batch.captions, batch.prompts, batch.nouns)))
        positives = shared_prompts(whole, config.templates).to(device)        # (A, A·K)
    if K:
        losses["multi_label"] = multi_label_loss(images, prompts, model.scale(multi_label=True), positives=positives)
        losses["loss"] = losses["loss"] + config.multi_label_weight * losses["multi_label"]
    if K and config.segment_weight:
        losses["segments"] = sum(multi_label_loss(s, prompts, model.scale(), a, positives)
                                 for s, a in zip(segments, areas))
        losses["loss"] = losses["loss"] + config.segment_weight * losses["segments"]
    if "patches" in seen:
        patches = seen["patches"][0]
        even = torch.full(patches.shape[:2], 1 / patches.shape[1], device=device)
    if K and config.patch_weight and "patches" in seen:
        losses["patches"] = multi_label_loss(patches, prompts, model.scale(), even, positives)
        losses["loss"] = losses["loss"] + config.patch_weight * losses["patches"]
    if config.information_weight and len(soft) > 1:
        losses["information"] = sum(assignment_information(shares) for shares in soft[1:])
        losses["loss"] = losses["loss"] - config.information_weight * losses["information"]
    if config.pixel_similarity_weight and soft:
        grid = tuple(side // model.config.image.patch_size for side in pixels.shape[-2:])
        losses["pixel_similarity"] = pixel_similarity_loss(soft[0], pixels, grid)
        losses["loss"] = losses["loss"] + config.pixel_similarity_weight * losses["pixel_similarity"]
    if config.patch_similarity_weight and soft:
        losses["patch_similarity"] = meaning_similarity_loss(soft[0], patches, even, config.patch_margin)
        losses["loss"] = losses["loss"] + config.patch_similarity_weight * losses["patch_similarity"]
    if config.meaning_similarity_weight and len(soft) > 1:
        losses["meaning_similarity"] = sum(
            meaning_similarity_loss(shares, *before, config.meaning_margin)
            for shares, before in zip(soft[1:], zip(segments, areas)))
        losses["loss"] = losses["loss"] + config.meaning_similarity_weight * losses["meaning_similarity"]
    return losses


class TrainingStep(nn.Module):
    """The model and its losses as one module. Several processes share its `forward` and `backward`."""

    def __init__(self, model: GroupViT) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Batch, config: TrainConfig) -> dict[str, Tensor]:
        return training_loss(self.model, batch, config)


def at_step(config: TrainConfig, step: int) -> TrainConfig:
    """The weights of the losses at a step."""
    if step >= config.meaning_from * config.steps:
        return config
    return replace(config, meaning_similarity_weight=0.0, patch_similarity_weight=0.0)


def anneal(model: GroupViT, step: int, first: ImageConfig, config: TrainConfig) -> None:
    """Sets temperature and kind of the assignment for a step, if the run goes from soft to hard."""
    if config.final_temperature is None and config.hard_from == 1:
        return
    last = config.final_temperature or first.temperature
    temperature = assignment_temperature(step, config.steps, first.temperature, last, config.hard_from)
    hard = step >= config.hard_from * config.steps
    model.set_assignment("hard" if hard else first.assignment, temperature)


class TrainingStopped(RuntimeError):
    """The loss was not finite. The last good checkpoint, if there is one, is untouched."""

    in_all_processes = True     # each of several processes finds it by itself


def train(model: GroupViT, data: Captioned, config: TrainConfig, recorder: Recorder) -> GroupViT:
    """Trains from captions alone, or goes on from the recorder's last checkpoint.

    Every random number of step s comes from (seed, s): on a CPU a resumed run equals an
    unbroken one bit by bit (for streams see data/captioned/streamed.py). In several processes (distributed.py)
    each takes its share of the batch. Ctrl-C and SIGTERM end the run after the step, saved.
    Raises ValueError where the folder holds a run with other settings or data, TrainingStopped when the loss is not
    finite.
    """
    _check(model, config)
    device, first = model.device, model.config.image  # the image encoder as it was before any annealing
    model = synchronize_batch_norm(model)
    optimizer = make_optimizer(model, config.lr, config.weight_decay, config.text_lr)
    precision = MixedPrecision(config.precision, device)
    start = recorder.resume(model, optimizer, data.fingerprint(), precision)
    anneal(model, start, first, config)  # a finished run makes no step that would do it
    data.tag(progress=recorder.progress) if config.num_prompts else None
    batches = data.batches(start, config.steps, config.batch_size, config.seed, config.num_prompts, config.templates,
                           config.augmentation, device, recorder.folder)
    if config.compile:
        model.image_encoder.compile()  # in place: the names of the weights stay
    model.train()
    step_of_all = data_parallel(TrainingStep(model), static_graph=config.hard_from == 1 and not config.meaning_from)
    with (stop_on_interrupt() as interrupted, Together() as together, precision.products(),
          recomputed_blocks(model, config.checkpoint_activations), recorder.bar(start, config) as bar):
        for step, batch in zip(range(start, config.steps), batches):
            torch.manual_seed(config.seed * 1_000_003 + step + (rank_and_size()[0] << 40))
            rate = learning_rate(step, config.steps, config.lr, config.warmup, config.min_lr)
            for group in optimizer.param_groups:
                group["lr"] = rate * group["share"]
            anneal(model, step, first, config)

            with precision.autocast():
                losses = step_of_all(batch, at_step(config, step))
            norm = precision.backward(losses["loss"], optimizer, model, config.clip_norm)
            losses = mean_over_processes(losses)
            if not torch.isfinite(losses["loss"]) or not (torch.isfinite(norm) or precision.can_skip()):
                raise TrainingStopped(_advice(step, rate, model, losses, norm, recorder))
            precision.step(optimizer)

            recorder.step(step, losses | {"grad_norm": norm, "lr": rate} | precision.log(), bar)
            if recorder.due(step + 1):
                recorder.after_step(step + 1, model, optimizer)
                together.wait()
            # After what was due after this step: a resumed run does not look back.
            if any_process(interrupted.is_set(), device):
                recorder.interrupted(step + 1, model, optimizer)
                together.wait()
                return model
    return model


def _check(model: GroupViT, config: TrainConfig) -> None:
    """Raises ValueError where model and configuration do not fit together."""
    of_segments = (config.segment_weight, config.patch_weight, config.meaning_similarity_weight,
                   config.patch_similarity_weight)
    if any(of_segments) and model.config.head != "linear":
        raise ValueError("segment_weight, patch_weight and the weights of similarity of meaning send segments through "
                         "the head in training, whose BatchNorm would count them beside the images; set all of them to "
                         "0 as in the paper, or take a model with a linear head")
    check_parts(model.image_encoder, config.micro_batch_size)


def _advice(step: int, rate: float, model: GroupViT, losses: dict[str, Tensor], norm: Tensor,
            recorder: Recorder) -> str:
    values = ", ".join(f"{name} {value.item():.4g}" for name, value in losses.items())
    kept = (f"The last good checkpoint is {recorder.last_path}." if recorder.last_path.exists() else
            "There is no checkpoint yet.")
    return (f"step {step}: the loss or its gradient is not finite ({values}, gradient norm {norm.item():.4g}) at "
            f"learning rate {rate:.2e} and logit scales {model.scale().item():.1f} and "
            f"{model.scale(multi_label=True).item():.1f}. {kept} "
            "Try half the learning rate, a longer warm-up, or precision fp32.")


@contextmanager
def stop_on_interrupt():
    """An event that the first Ctrl-C or SIGTERM sets instead of breaking into a step; a second one breaks."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    # SIGTERM is how clusters and Colab end a job: the same, and there is time to save.
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def handle(number, frame):
        event.set()
        signal.signal(number, before[number])

    for number in before:
        signal.signal(number, handle)
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
