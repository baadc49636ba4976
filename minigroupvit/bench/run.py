"""Runs the rows and writes what they gave: `<device>.json`, a table `<device>.md` and a plot `<device>.png`."""

from __future__ import annotations

import datetime
import gc
import json
import multiprocessing
import re
import statistics
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch.profiler import ProfilerActivity, profile

from ..files import write_atomically
from ..training.record import current_commit, device_name
from .measure import flops, interleave, matrix_product, peak_bytes, ratio, why_no_compiler, why_not
from .rows import HAS_TRANSFORMERS, OURS, QUICK, ROWS, Case, Settings, Sizes, models

LIMIT = "large matrix product"
ONCE = ("data",)                 # rows that have no precision
WITHOUT_FP16 = ("train", "small")   # gradients in fp16 need a scaler


def run_bench(out: str | Path, device: torch.device, rows: Sequence[str] | None = None, rounds: int = 7,
              quick: bool = False, compiled: bool = True, memory: bool = True, command: str = "",
              sizes: Sizes | None = None) -> dict[str, Any]:
    """Measures rows in all precisions that the device has, and writes the results into a folder.

    Args:
        out: the folder.
        device: a GPU or the CPU.
        rows: names of `rows.ROWS`; None: all.
        rounds: of each line; fewer where they would take over a minute.
        quick: small batches, 3 rounds, no compiler, no memory: a minute.
        compiled: with torch.compile as a contender, where there is a compiler.
        memory: with the peak memory of each contender, in a process of its own.
        command: kept beside the results.
        sizes: None: `rows.Sizes()`, the paper's model.

    Returns what the JSON file has. Raises ValueError for an unknown row.
    """
    _check(rows)
    sizes = sizes or (QUICK if quick else Sizes())
    rounds, compiled, memory = (3, False, False) if quick else (rounds, compiled, memory)
    left_out = {precision: why_not(device, precision) for precision in ("fp32", "bf16", "fp16")}
    no_compiler = why_no_compiler(device) if compiled else "not asked for"
    lines = []
    for row in rows or ROWS:
        for precision, reason in left_out.items():
            if reason or (row in ONCE and precision != "fp32") or (row in WITHOUT_FP16 and precision == "fp16"):
                continue
            settings = Settings(device, precision, sizes, compiled=not no_compiler)
            for case in ROWS[row](settings):
                lines.append(_measure(row, case, settings, rounds, memory))
                print(_in_words(lines[-1]), flush=True)
        models.cache_clear()
        gc.collect()
    record = _about(device, command) | {
        "left_out": {name: reason for name, reason in left_out.items() if reason} | (
            {"compiled": no_compiler} if no_compiler else {}) | (
            {} if HAS_TRANSFORMERS else {"transformers": "it is not installed (pip install transformers)"}),
        "lines": lines}
    for suffix, text in ((".json", json.dumps(record, indent=2) + "\n"), (".md", table(record))):
        _write(out, record, suffix, lambda path, text=text: path.write_text(text, encoding="utf-8"))
    _write(out, record, ".png", lambda path: plot(record).savefig(path, format="png", dpi=120))
    return record


def _check(rows: Sequence[str] | None) -> None:
    unknown = sorted(set(rows or ()) - set(ROWS))
    if unknown:
        raise ValueError(f"unknown rows {', '.join(unknown)}; there are {', '.join(ROWS)}")


def _measure(row: str, case: Case, settings: Settings, rounds: int, memory: bool) -> dict[str, Any]:
    """A line of the results: of each contender median seconds, ratio to ours, share of the limit, peak bytes."""
    contenders, first = dict(case.contenders), next(iter(case.contenders))
    if case.counts_flops:
        contenders[LIMIT], limit_flops = matrix_product(settings.device, settings.precision)
    times = interleave(contenders, rounds)
    line: dict[str, Any] = {"row": row, "name": case.name, "precision": settings.precision,
                            "rounds": len(times[first]), "contenders": {}}
    if row in ONCE:
        line["precision"] = None
    if case.counts_flops:
        line["flops"] = flops(case.contenders[first])
        line["limit_flops_per_second"] = limit_flops / statistics.median(times.pop(LIMIT))
    for name, own in times.items():
        seconds = statistics.median(own)
        found = line["contenders"][name] = {"seconds": seconds, "over_first": ratio(own, times[first])}
        if case.items:
            found["items_per_second"] = case.items / seconds
        if case.counts_flops and name.startswith(OURS):
            found["share_of_limit"] = line["flops"] / seconds / line["limit_flops_per_second"]
        if memory and case.remembered and not name.endswith("compiled"):   # compiling again takes a minute
            found["peak_bytes"] = _in_own_process(row, case.name, name, settings)
    return line


def _in_own_process(row: str, case: str, contender: str, settings: Settings) -> int | None:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(peak_of, row, case, contender, torch.get_num_threads(), settings).result()


def peak_of(row: str, case: str, contender: str, threads: int, settings: Settings) -> int | None:
    """Peak bytes of one contender above the models that it uses."""
    torch.set_num_threads(threads)
    own = next(one for one in ROWS[row](replace(settings, compiled=False)) if one.name == case)
    return peak_bytes(own.contenders[contender], settings.device)


def _cpu_name() -> str:
    """The processor as Linux names it, and the threads in use."""
    info = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*:\s*(.+)", info.read_text(encoding="utf-8")) if info.exists() else None
    return f"CPU {found[1].strip() + ', ' if found else ''}{torch.get_num_threads()} threads"


def _in_words(line: dict[str, Any]) -> str:
    parts = [f"{name} {1000 * found['seconds']:.1f} ms" + (
        f" ({found['over_first']['median']:.2f} times)" if number else "")
        for number, (name, found) in enumerate(line["contenders"].items())]
    return f"{line['name']} {line['precision'] or ''}: {', '.join(parts)}"


def table(record: dict[str, Any]) -> str:
    """The results as a table in Markdown, one contender a line."""
    rows = [f"{_origin(record)} Times are medians of rounds in which the contenders take turns. Ratio: the contender's time "
            "over that of the first line, median and quartiles of the rounds; above 1 the first is faster. Of the limit: "
            "its FLOP/s over those of a large matrix product in the same precision. Peak: memory above the models "
            "themselves, in a process of its own.", ""]
    rows += [f"Left out: {name}: {reason}." for name, reason in record["left_out"].items()] + [""]
    rows += ["| what | precision | contender | ms | ratio | of the limit | peak MiB | a second |",
             "|---|---|---|---:|---:|---:|---:|---:|"]
    for line in record["lines"]:
        for number, (name, found) in enumerate(line["contenders"].items()):
            over = found["over_first"]
            cells = ["" if number else line["name"], "" if number else line["precision"] or "", name,
                     f"{1000 * found['seconds']:.1f}",
                     f"{over['median']:.2f} ({over['low']:.2f} to {over['high']:.2f})" if number else "",
                     f"{100 * found['share_of_limit']:.0f} %" if "share_of_limit" in found else "",
                     f"{found['peak_bytes'] / 2 ** 20:.0f}" if found.get("peak_bytes") is not None else "",
                     f"{found['items_per_second']:.1f}" if "items_per_second" in found else ""]
            rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def plot(record: dict[str, Any]) -> Figure:
    """The ratios of the contenders to ours, with their quartiles."""
    bars = [(f"{line['name']}, {line['precision']}: {name}", found["over_first"]) for line in record["lines"]
            for number, (name, found) in enumerate(line["contenders"].items()) if number]
    figure = Figure(figsize=(9, 1.2 + 0.32 * max(1, len(bars))), layout="constrained")
    ax = figure.subplots()
    for place, (_, over) in enumerate(bars):
        ax.barh(place, over["median"], color="#4477AA", height=0.6)
        ax.plot([over["low"], over["high"]], [place, place], color="black", linewidth=1.5)
    ax.axvline(1, color="black", linewidth=0.8, linestyle="--")
    ax.set_yticks(range(len(bars)), [label for label, _ in bars], fontsize=8)
    ax.invert_yaxis()
    ax.set_xlabel("time over that of minigroupvit (above 1: minigroupvit is faster); bar: median, line: quartiles")
    ax.set_title(record["device"], fontsize=10)
    return figure


def run_profile(out: str | Path, device: torch.device, rows: Sequence[str] | None = None, quick: bool = False,
                command: str = "", sizes: Sizes | None = None, most: int = 7) -> str:
    """Where the time of rows goes: prints and writes a table of the operations that take most of it themselves.

    Args: as of `run_bench`. rows: None: forward, train and masks. most: operations named of each line.
    Raises ValueError for an unknown row.
    """
    _check(rows)
    kinds = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (device.type == "cuda")
    field = "self_device_time_total" if device.type == "cuda" else "self_cpu_time_total"
    record = _about(device, command)
    lines = [f"{_origin(record)} Of each operation: the share of the time that it takes itself.", "",
             "| what | precision | model | ms | operations, % |", "|---|---|---|---:|---|"]
    print("\n".join(lines))
    for row in rows or ("forward", "train", "masks"):
        for precision in ("fp32", "bf16"):
            for case in ROWS[row](Settings(device, precision, sizes or (QUICK if quick else Sizes()))):
                for name, run in case.contenders.items():
                    run()
                    with profile(activities=kinds) as found:
                        run()
                    times: dict[str, float] = {}
                    for event in found.key_averages():
                        key = event.key.removeprefix("aten::").lstrip("_")       # softmax calls _softmax: one operation
                        times[key] = times.get(key, 0) + getattr(event, field)
                    whole = sum(times.values())
                    shares = ", ".join(f"{key} {100 * times[key] / whole:.0f}"
                                       for key in sorted(times, key=times.get, reverse=True)[:most])
                    lines.append(f"| {case.name} | {precision} | {name} | {whole / 1000:.0f} | {shares} |")
                    print(lines[-1], flush=True)
    text = "\n".join(lines) + "\n"
    _write(out, record, "-profile.md", lambda path: path.write_text(text, encoding="utf-8"))
    return text


def _about(device: torch.device, command: str) -> dict[str, Any]:
    """Where results come from."""
    return {"command": command, "commit": current_commit(), "date": datetime.date.today().isoformat(),
            "device": device_name() if device.type == "cuda" else _cpu_name(), "threads": torch.get_num_threads(),
            "torch": torch.__version__}


def _origin(record: dict[str, Any]) -> str:
    return (f"`{record['command']}` on {record['device']}, torch {record['torch']}, commit {record['commit']}, "
            f"{record['date']}.")


def _write(out: str | Path, record: dict[str, Any], suffix: str, write: Callable[[Path], object]) -> None:
    Path(out).mkdir(parents=True, exist_ok=True)
    write_atomically(Path(out) / (re.sub(r"[^a-z0-9]+", "-", record["device"].lower()).strip("-") + suffix), write)
