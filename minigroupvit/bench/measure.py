"""Time, FLOPs and memory of functions that do the same work.

Contenders take turns in one process, so that whatever else the machine does slows all of them; of each round there is a
ratio, and of the ratios the median and the quartiles. Peak memory is measured in a process of its own.
"""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.benchmark.utils.timer import timer
from torch.utils.flop_counter import FlopCounterMode

Run = Callable[[], object]
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
FEWEST_ROUNDS = 3


def interleave(contenders: Mapping[str, Run], rounds: int, seconds: float = 60.0) -> dict[str, list[float]]:
    """Seconds of each contender in each round, after one round to warm up.

    At least 3 rounds; then it ends after `rounds` of them, or when `seconds` are over.
    """
    for run in contenders.values():
        run()
    times: dict[str, list[float]] = {name: [] for name in contenders}
    start = time.monotonic()
    for done in range(max(rounds, FEWEST_ROUNDS)):
        if done >= FEWEST_ROUNDS and time.monotonic() - start > seconds:
            break
        for name, run in contenders.items():
            before = timer()                              # waits for a GPU
            run()
            times[name].append(timer() - before)
    return times


def ratio(times: list[float], reference: list[float]) -> dict[str, float]:
    """Time over that of the reference, round by round: `median`, and the quartiles `low` and `high`."""
    ratios = [own / other for own, other in zip(times, reference, strict=True)]
    low, median, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return {"median": median, "low": low, "high": high}


def flops(run: Run) -> int:
    """Floating-point operations of matrix products and convolutions in a run, its backward pass included."""
    # The counter knows no fused attention of CPUs; in plain products it is counted.
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        run()
    return counter.get_total_flops()


def matrix_product(device: torch.device, precision: str) -> tuple[Run, int]:
    """The machine's limit: a large square product in this precision, and its FLOPs."""
    side = 8192 if device.type == "cuda" else 2048
    a, b = (torch.randn(side, side, device=device).to(DTYPES[precision]) for _ in range(2))

    def product() -> None:
        torch.mm(a, b)

    return product, 2 * side ** 3


def why_not(device: torch.device, precision: str) -> str | None:
    """Why a precision is of no use on a device; None: it works and is no more than twice as slow as fp32."""
    if precision == "fp32":
        return None
    seconds = {}
    for name in ("fp32", precision):
        a = torch.randn(1024, 1024, device=device).to(DTYPES[name])
        try:
            seconds[name] = min(interleave({name: lambda: torch.mm(a, a)}, FEWEST_ROUNDS)[name])
        except RuntimeError as error:
            return f"no matrix products in {name}: {str(error).splitlines()[0]}"
    if seconds[precision] > 2 * seconds["fp32"]:
        return f"a matrix product takes {seconds[precision] / seconds['fp32']:.0f} times as long as in fp32"
    return None


def why_no_compiler(device: torch.device) -> str | None:
    """Why torch.compile does not work here, in a line; None: it works."""
    try:
        torch.compile(lambda x: x * 2 + 1)(torch.ones(8, device=device))
    except Exception as error:  # noqa: BLE001 - there are many ways to have no compiler
        return f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"[:200]
    return None


def peak_bytes(run: Run, device: torch.device) -> int | None:
    """Bytes that a run needs at its peak above what the process held before. None where the system does not tell."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return torch.cuda.max_memory_allocated() - before
    status = Path("/proc/self/status")
    if not status.exists():
        return None

    def kibibytes(field: str) -> int:
        return int(re.search(rf"{field}:\s*(\d+)", status.read_text(encoding="utf-8"))[1])

    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")     # the peak begins at what is held now
    before = kibibytes("VmRSS")
    run()
    return 1024 * (kibibytes("VmHWM") - before)
