"""The precision of training: which one a device is good at, autocast, and the scaling of gradients in fp16.

Autocast computes matrix products in 16 bits and keeps weights, sums and losses in 32. bf16 has the range of fp32
and few digits. fp16 has more digits and a small range: gradients below 6e-8 become 0. So the loss is multiplied by
a scale before the backward pass and the gradients are divided by it afterwards. Where they overflow (inf or NaN),
the step is skipped and the scale halved; after 2,000 good steps it is doubled (`torch.amp.GradScaler`).
"""

from __future__ import annotations

from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

PRECISIONS = ("auto", "bf16", "fp16", "tf32", "fp32")


def choose_precision(precision: str, device: torch.device) -> str:
    """"bf16", "fp16", "tf32" or "fp32": what `TrainConfig.precision` means on a device.

    "auto" is bf16 on cards from Ampere on and on CPUs with instructions for it, fp16 on the two generations of cards
    before Ampere, which have tensor cores for fp16 alone (Colab's T4), else fp32. Raises ValueError for tf32 where
    there is none.
    """
    if precision == "tf32" and not (device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)):
        raise ValueError(f"precision is 'tf32', which cards from NVIDIA's Ampere generation on have, and {device} has "
                         "not; take 'auto' or 'fp32'")
    if precision != "auto":
        return precision
    if device.type == "cuda":
        # Emulated bf16 counts as supported, too, unless told otherwise; it is slower than fp32.
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return "bf16"
        return "fp16" if torch.cuda.get_device_capability(device) >= (7, 0) else "fp32"
    fast_on_cpu = device.type == "cpu" and torch.backends.mkldnn.is_available() and (
        torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return "bf16" if fast_on_cpu else "fp32"


class MixedPrecision:
    """Autocast for the losses and a scaler for their gradients. For bf16, tf32 and fp32 the scaler does nothing."""

    def __init__(self, precision: str, device: torch.device) -> None:
        self.device = device
        self.name = choose_precision(precision, device)
        self.dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(self.name)
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.name == "fp16")
        self.skipped = 0             # steps whose gradient overflowed

    def autocast(self) -> AbstractContextManager:
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None)

    @contextmanager
    def products(self):
        """Matrix products of fp32 in TF32 where that was asked for, and as before in the end."""
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("high" if self.name == "tf32" else before)
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(before)

    def backward(self, loss: Tensor, optimizer: torch.optim.Optimizer, model: nn.Module, clip_norm: float) -> Tensor:
        """New gradients, clipped to a norm of at most `clip_norm`; returns their norm before."""
        optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(optimizer)
        return nn.utils.clip_grad_norm_(model.parameters(), clip_norm)

    def can_skip(self) -> bool:
        """Whether a gradient that is not finite may be an overflow, which a smaller scale mends."""
        return self.scaler.is_enabled() and self.scaler.get_scale() >= 1

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """A step of the optimizer, or none where the gradient overflowed."""
        scale = self.scaler.get_scale()
        self.scaler.step(optimizer)
        self.scaler.update()
        self.skipped += self.scaler.get_scale() < scale

    def log(self) -> dict[str, float]:
        """What belongs into the log of a step: in fp16 the scale and how many steps were skipped so far."""
        return {"grad_scale": self.scaler.get_scale(), "skipped_steps": self.skipped} if self.scaler.is_enabled() else {}

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds, as JSON can: empty but for fp16."""
        return {"skipped": self.skipped, "scaler": self.scaler.state_dict()} if self.scaler.is_enabled() else {}

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on from `state()`. A run that began in another precision starts with a fresh scale."""
        if state and self.scaler.is_enabled():
            self.skipped = state["skipped"]
            self.scaler.load_state_dict(state["scaler"])
