"""The training loop: captions in, groups out.

The algorithm is `train`; a step of it is `training_loss` and four lines of optimiser. What is
written down on the way (bars, logs, evaluations, checkpoints) is in `record.py`.
"""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor

from ..config import ImageConfig
from ..data.captioned.batches import Batch, Captioned, pack_texts, shared_prompts
from ..distributed import any_process, average_gradients, gather_lists, rank_and_size, synchronize_batch_norm
from ..losses import (
    assignment_information,
    image_text_loss,
    meaning_similarity_loss,
    multi_label_loss,
    pixel_similarity_loss,
)
from ..model import GroupViT
from ..segmentation.steps import group_maps
from .config import TrainConfig, uses_bf16
from .optimizer import assignment_temperature, learning_rate, make_optimizer
from .record import Recorder


def training_loss(model: GroupViT, batch: Batch, config: TrainConfig) -> dict[str, Tensor]:
    """The losses of a batch, and their weighted sum `loss`."""
    B, K = len(batch.captions), config.num_prompts
    ids, spread = pack_texts(model.tokenizer, batch)
    images, output = model.encode_image(batch.images.to(model.device))        # (B, C)
    texts = model.encode_text([i.to(model.device) for i in ids], spread.to(model.device))
    captions, prompts = texts[:B], texts[B:].unflatten(0, (B, K)) if K else None
    losses = {"image_text": image_text_loss(images, captions, model.scale())}
    losses["loss"] = config.image_text_weight * losses["image_text"]
    positives = None
    if K and config.shared_nouns:
        whole = Batch(batch.images, *(gather_lists(part) for part in (batch.captions, batch.prompts, batch.nouns)))
        positives = shared_prompts(whole, config.templates).to(model.device)  # (A, A·K)
    if K:
        losses["multi_label"] = multi_label_loss(images, prompts, model.scale(multi_label=True), positives=positives)
        losses["loss"] = losses["loss"] + config.multi_label_weight * losses["multi_label"]
    if config.meaning_similarity_weight or (K and config.segment_weight):
        maps = group_maps(output)                                             # per stage (B, G, h, w)
        areas = [m.mean((2, 3)) for m in maps]                                # per stage (B, G), sum 1
        segments = [model.embed_segments(output, stage) for stage in range(len(maps) - 1)]
        segments.append(model.embed_segments(output))                         # per stage (B, G, C)
    if K and config.segment_weight:
        losses["segments"] = sum(multi_label_loss(s, prompts, model.scale(), a, positives)
                                 for s, a in zip(segments, areas))
        losses["loss"] = losses["loss"] + config.segment_weight * losses["segments"]
    if output.groupings and (K and config.patch_weight or config.patch_similarity_weight):
        patches = model.embed_patches(output)                                 # (B, N, C)
        even = torch.full(patches.shape[:2], 1 / patches.shape[1], device=patches.device)
    if K and config.patch_weight and output.groupings:
        losses["patches"] = multi_label_loss(patches, prompts, model.scale(), even, positives)
        losses["loss"] = losses["loss"] + config.patch_weight * losses["patches"]
    if config.information_weight and len(output.groupings) > 1:
        losses["information"] = sum(assignment_information(grouping.soft) for grouping in output.groupings[1:])
        losses["loss"] = losses["loss"] - config.information_weight * losses["information"]
    if config.pixel_similarity_weight and output.groupings:
        losses["pixel_similarity"] = pixel_similarity_loss(output.groupings[0].soft, batch.images.to(model.device),
                                                           output.grid)
        losses["loss"] = losses["loss"] + config.pixel_similarity_weight * losses["pixel_similarity"]
    if config.patch_similarity_weight and output.groupings:
        losses["patch_similarity"] = meaning_similarity_loss(output.groupings[0].soft, patches, even,
                                                             config.patch_margin)
        losses["loss"] = losses["loss"] + config.patch_similarity_weight * losses["patch_similarity"]
    if config.meaning_similarity_weight and len(output.groupings) > 1:
        losses["meaning_similarity"] = sum(
            meaning_similarity_loss(grouping.soft, *before, config.meaning_margin)
            for grouping, before in zip(output.groupings[1:], zip(segments, areas)))
        losses["loss"] = losses["loss"] + config.meaning_similarity_weight * losses["meaning_similarity"]
    return losses


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


def train(model: GroupViT, data: Captioned, config: TrainConfig, recorder: Recorder) -> GroupViT:
    """Trains from captions alone, or goes on from the recorder's last checkpoint.

    Every random number of step s comes from (seed, s): on a CPU a resumed run equals an
    unbroken one bit by bit (for streams see data/captioned/streamed.py). In several processes (distributed.py)
    each takes its share of the batch. Ctrl-C and SIGTERM end the run after the step, saved.
    Raises ValueError where the folder holds a run with other settings or data, TrainingStopped when the loss is not
    finite.
    """
    of_segments = (config.segment_weight, config.patch_weight, config.meaning_similarity_weight,
                   config.patch_similarity_weight)
    if any(of_segments) and model.config.head != "linear":
        raise ValueError("segment_weight, patch_weight and the weights of similarity of meaning send segments through "
                         "the head in training, whose BatchNorm would count them beside the images; set all of them to "
                         "0 as in the paper, or take a model with a linear head")
    device = model.device
    model = synchronize_batch_norm(model)
    optimizer = make_optimizer(model, config.lr, config.weight_decay, config.text_lr)
    first = model.config.image  # as it was before any annealing
    start = recorder.resume(model, optimizer, data.fingerprint())
    anneal(model, start, first, config)  # a finished run makes no step that would do it
    bf16 = uses_bf16(config.precision, device)
    data.tag(progress=recorder.progress) if config.num_prompts else None
    batches = data.batches(start, config.steps, config.batch_size, config.seed, config.num_prompts, config.templates,
                           config.augmentation, device, recorder.folder)
    if config.compile:
        model.image_encoder.compile()  # in place: the names of the weights stay
    model.train()
    with stop_on_interrupt() as interrupted, recorder.bar(start, config) as bar:
        for step, batch in zip(range(start, config.steps), batches):
            torch.manual_seed(config.seed * 1_000_003 + step + (rank_and_size()[0] << 40))
            rate = learning_rate(step, config.steps, config.lr, config.warmup, config.min_lr)
            for group in optimizer.param_groups:
                group["lr"] = rate * group["share"]
            anneal(model, step, first, config)

            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                losses = training_loss(model, batch, at_step(config, step))
            optimizer.zero_grad(set_to_none=True)
            losses["loss"].backward()
            average_gradients(model)
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
            if not torch.isfinite(losses["loss"] + norm):
                raise TrainingStopped(_advice(step, rate, model, losses, norm, recorder))
            optimizer.step()

            recorder.step(step, losses | {"grad_norm": norm, "lr": rate}, bar)
            recorder.after_step(step + 1, model, optimizer)
            # After what was due after this step: a resumed run does not look back.
            if any_process(interrupted.is_set(), device):
                recorder.interrupted(step + 1, model, optimizer)
                return model
    return model


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
