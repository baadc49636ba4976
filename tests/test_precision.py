"""Which precision a device trains in, and the scaling of gradients in fp16; cards are mocked."""

from __future__ import annotations

import itertools
import json
import os
import signal
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from minigroupvit.checkpoints.native import read_checkpoint
from minigroupvit.data.captioned.batches import CaptionedImages
from minigroupvit.training import loop
from minigroupvit.training.config import TrainConfig
from minigroupvit.training.loop import TrainingStopped, train
from minigroupvit.training.precision import MixedPrecision, choose_precision
from minigroupvit.training.record import Recorder

SCALE = 2.0 ** 4
CPU, CUDA = torch.device("cpu"), torch.device("cuda")
SHORT = TrainConfig(steps=5, batch_size=16, warmup=0, num_prompts=2, precision="fp16", eval_every=0, save_every=5,
                    snapshot_every=0)


def card(monkeypatch, capability: tuple[int, int]) -> None:
    """A CUDA card as torch describes it; from before Ampere, too, it says that it emulates bf16."""
    ampere = capability >= (8, 0)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or ampere)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: capability)


@pytest.mark.parametrize(("capability", "expected"), [
    ((6, 1), "fp32"), ((7, 0), "fp16"), ((7, 5), "fp16"), ((8, 0), "bf16"), ((8, 9), "bf16"), ((9, 0), "bf16")])
def test_auto_on_cards(monkeypatch, capability: tuple[int, int], expected: str) -> None:
    """(7, 5) is Colab's T4, whose bf16 is emulated."""
    card(monkeypatch, capability)
    assert choose_precision("auto", CUDA) == expected
    if capability >= (8, 0):
        assert choose_precision("tf32", CUDA) == "tf32"
    else:
        with pytest.raises(ValueError, match="Ampere generation on have, and cuda has not; take 'auto' or 'fp32'"):
            choose_precision("tf32", CUDA)


@pytest.mark.parametrize("fast", [True, False])
def test_auto_on_cpus(monkeypatch, fast: bool) -> None:
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: fast)
    assert choose_precision("auto", CPU) == ("bf16" if fast else "fp32")
    assert choose_precision("auto", torch.device("mps")) == "fp32"
    assert [choose_precision(name, CPU) for name in ("bf16", "fp16", "fp32")] == ["bf16", "fp16", "fp32"]
    with pytest.raises(ValueError, match="cpu has not"):
        choose_precision("tf32", CPU)


@pytest.mark.parametrize(("precision", "inside"), [("tf32", "high"), ("bf16", "highest"), ("fp32", "highest")])
def test_tf32_is_switched_on_for_the_training_alone(monkeypatch, precision: str, inside: str) -> None:
    card(monkeypatch, (8, 0))
    monkeypatch.setattr(torch.amp, "GradScaler", lambda device, enabled: None)
    with pytest.raises(KeyboardInterrupt), MixedPrecision(precision, CUDA).products():
        assert torch.get_float32_matmul_precision() == inside
        raise KeyboardInterrupt
    assert torch.get_float32_matmul_precision() == "highest"


@pytest.mark.parametrize(("precision", "product"), [
    ("fp16", torch.float16), ("bf16", torch.bfloat16), ("fp32", torch.float32)])
def test_autocast(precision: str, product: torch.dtype) -> None:
    mixed = MixedPrecision(precision, CPU)
    with mixed.autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == product
    assert mixed.scaler.is_enabled() == (precision == "fp16")
    assert (mixed.state() == mixed.log() == {}) == (precision != "fp16")


# The scaler of fp16

def overflow(monkeypatch, steps: set[int], interrupt_at: int | None = None) -> list[list[torch.Tensor]]:
    """A training whose gradients are infinite at some steps; the parameters after each of them."""
    seen, after = itertools.count(), []
    losses, take_step = loop.training_loss, MixedPrecision.step
    # From torch's 2¹⁶ the first steps of this model overflow by themselves.
    monkeypatch.setattr(torch.amp, "GradScaler", partial(torch.amp.GradScaler, init_scale=SCALE))

    def broken(model, batch, config):
        found, step = losses(model, batch, config), next(seen)
        if step in steps:        # in the backward pass alone, as where a scaled gradient leaves the range of fp16
            found["loss"].register_hook(lambda gradient: gradient * float("inf"))
        if step == interrupt_at:
            os.kill(os.getpid(), signal.SIGINT)
        return found

    def watched(self, optimizer):
        take_step(self, optimizer)
        after.append([p.detach().clone() for group in optimizer.param_groups for p in group["params"]])

    monkeypatch.setattr(loop, "training_loss", broken)
    monkeypatch.setattr(MixedPrecision, "step", watched)
    return after


def run(make_model, data: CaptionedImages, folder: Path, config: TrainConfig = SHORT) -> dict:
    """The header of the last checkpoint of a run."""
    train(make_model(assignment="soft", drop_path=0.1), data, config, Recorder(folder, config, log_every=1, progress=False))
    return read_checkpoint(folder / "last.safetensors")[0]["about"]


def test_a_step_that_overflows_is_skipped_and_counted(make_model, captioned: CaptionedImages, tmp_path: Path,
                                                      monkeypatch) -> None:
    after = overflow(monkeypatch, {1, 2})
    about = run(make_model, captioned, tmp_path)
    same = [all(map(torch.equal, before, now)) for before, now in zip(after, after[1:])]
    assert same == [True, True, False, False]
    assert about["precision"]["skipped"] == 2 and about["precision"]["scaler"]["scale"] == SCALE / 4
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(line["skipped_steps"], line["grad_scale"]) for line in lines] == [
        (0, SCALE), (1, SCALE / 2), (2, SCALE / 4), (2, SCALE / 4), (2, SCALE / 4)]
    run(make_model, captioned, tmp_path / "fp32", replace(SHORT, precision="fp32", steps=1))
    expected = json.loads((tmp_path / "fp32" / "metrics.jsonl").read_text())
    assert lines[0]["grad_norm"] == pytest.approx(expected["grad_norm"], rel=0.2), "of the gradient, not of the scaled one"


def test_the_scale_goes_on_with_the_run(make_model, captioned: CaptionedImages, tmp_path: Path, monkeypatch) -> None:
    with monkeypatch.context() as patch:
        overflow(patch, {1})
        unbroken = run(make_model, captioned, tmp_path / "unbroken")
    with monkeypatch.context() as patch:
        overflow(patch, {1}, interrupt_at=2)
        assert run(make_model, captioned, tmp_path / "broken")["step"] == 3
    resumed = run(make_model, captioned, tmp_path / "broken")
    assert resumed["precision"] == unbroken["precision"] != MixedPrecision("fp16", CPU).state()
    first, second = (read_checkpoint(tmp_path / name / "last.safetensors")[1] for name in ("unbroken", "broken"))
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_gradients_that_no_scale_mends_stop_the_run(make_model, captioned: CaptionedImages, tmp_path: Path,
                                                    monkeypatch) -> None:
    overflow(monkeypatch, set(range(30)))
    with pytest.raises(TrainingStopped, match="step 5: the loss or its gradient is not finite"):   # 2⁴ halved 5 times
        run(make_model, captioned, tmp_path, replace(SHORT, steps=30))


def test_a_loss_that_is_not_finite_is_no_overflow(make_model, captioned: CaptionedImages, tmp_path: Path,
                                                  monkeypatch) -> None:
    monkeypatch.setattr(loop, "image_text_loss", lambda images, texts, scale: images.sum() * float("nan"))
    with pytest.raises(TrainingStopped, match="step 0: "):
        run(make_model, captioned, tmp_path)
