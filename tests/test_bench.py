"""The benchmark: contenders take turns, ratios and FLOPs are right, every row runs, and what is written can be read."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from torch import nn

from minigroupvit import cli
from minigroupvit.bench import measure, run as bench
from minigroupvit.bench.rows import OURS, ROWS, THEIRS, Settings, Sizes, models
from minigroupvit.config import GroupViTConfig, ImageConfig, TextConfig

TINY = Sizes(
    model=GroupViTConfig(
        image=ImageConfig(image_size=32, patch_size=8, width=24, num_heads=2, depths=(1, 1, 1),
                          num_group_tokens=(8, 3, 0), num_output_groups=(8, 3, 0)),
        text=TextConfig(width=16, num_heads=2, depth=1), embed_dim=16, head_width=32),
    batches=(2,), train_batch=2, mask_side=32, class_counts=(5,), scene_batch=8, num_scenes=8)
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def fresh():
    models.cache_clear()
    yield
    models.cache_clear()


def test_contenders_take_turns(monkeypatch):
    told = []
    clock = iter(range(1000))
    monkeypatch.setattr(measure, "timer", lambda: float(next(clock)))
    times = measure.interleave({"a": lambda: told.append("a"), "b": lambda: told.append("b")}, rounds=4)
    assert told == ["a", "b"] * 5                        # one round to warm up
    assert times == {"a": [1.0] * 4, "b": [1.0] * 4}
    assert len(measure.interleave({"a": lambda: None}, rounds=9, seconds=-1)["a"]) == measure.FEWEST_ROUNDS


def test_ratios_are_of_the_same_round():
    found = measure.ratio([2.0, 20.0, 3.0], [1.0, 10.0, 1.0])   # the second round was ten times as slow for both
    assert found == {"median": 2.0, "low": 2.0, "high": 2.5}


def test_flops_of_a_product_and_of_attention():
    layer, x = nn.Linear(5, 7), torch.randn(3, 5)
    assert measure.flops(lambda: layer(x)) == 2 * 3 * 5 * 7
    q = torch.randn(2, 4, 6, 8)
    assert measure.flops(lambda: nn.functional.scaled_dot_product_attention(q, q, q)) == 2 * 2 * (2 * 4) * 6 * 6 * 8


def test_a_precision_that_is_slow_or_missing_is_left_out(monkeypatch):
    assert measure.why_not(CPU, "fp32") is None
    monkeypatch.setattr(measure, "interleave", lambda runs, rounds: {name: [9.0 if name == "fp16" else 1.0] for name in runs})
    assert measure.why_not(CPU, "fp16") == "a matrix product takes 9 times as long as in fp32"
    assert measure.why_not(CPU, "bf16") is None

    def fails(runs, rounds):
        raise RuntimeError("not implemented for 'Half'\nmore")

    monkeypatch.setattr(measure, "interleave", fails)
    assert measure.why_not(CPU, "fp16") == "no matrix products in fp32: not implemented for 'Half'"


def test_the_peak_of_a_run():
    """In a process of its own, as the benchmark does it: an old one has freed memory to give away."""
    code = ("import torch\nfrom minigroupvit.bench.measure import peak_bytes\n"
            "print(peak_bytes(lambda: torch.ones(8_000_000), torch.device('cpu')))")         # 32 MB
    peak = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert peak == "None" or 28e6 < int(peak) < 60e6


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_every_row_runs(row, precision):
    if row in bench.ONCE and precision != "fp32":
        return
    names = []
    for case in ROWS[row](Settings(CPU, precision, TINY)):
        names.append(case.name)
        for contender in case.contenders.values():
            contender()
        if row in ("forward", "train", "masks"):
            assert list(case.contenders)[:2] == [OURS, THEIRS] and case.counts_flops
    assert names and len(set(names)) == len(names)


def test_what_is_written(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bench, "why_not", lambda device, precision: None if precision == "fp32" else "not in this test")
    monkeypatch.setattr(bench, "_in_own_process", lambda row, case, contender, settings: bench.peak_of(
        row, case, contender, torch.get_num_threads(), settings))
    record = bench.run_bench(tmp_path, CPU, ["forward"], rounds=3, compiled=False, command="a command", sizes=TINY)
    (file,) = tmp_path.glob("*.json")
    assert json.loads(file.read_text()) == record
    assert record["left_out"].keys() == {"bf16", "fp16", "compiled"} and record["threads"] == torch.get_num_threads()
    (line,) = record["lines"]
    ours, theirs = line["contenders"][OURS], line["contenders"][THEIRS]
    assert ours["over_first"] == {"median": 1.0, "low": 1.0, "high": 1.0} and theirs["over_first"]["low"] > 0
    assert 0 < ours["share_of_limit"] < 1 and line["flops"] > 0 and line["rounds"] == 3
    assert ours["peak_bytes"] is None or ours["peak_bytes"] >= 0
    text = file.with_suffix(".md").read_text()
    assert "`a command` on " in text and "| image forward, batch 2 | fp32 | minigroupvit |" in text
    assert file.with_suffix(".png").read_bytes()[:4] == b"\x89PNG"
    assert "image forward, batch 2 fp32: minigroupvit" in capsys.readouterr().out


def test_memory_is_measured_in_another_process():
    settings = Settings(CPU, "fp32", replace(TINY, train_batch=4096))
    (case,) = ROWS["linear"](settings)
    peak = bench._in_own_process("linear", case.name, "torch", settings)
    result = 4 * 4096 * (16 + 8) * 4 * 24                 # bytes of what the layer returns
    assert peak is None or peak >= result / 2             # a part may lie in memory that was held before


def test_another_answer_is_an_error():
    settings = Settings(CPU, "fp32", TINY)
    ours, _ = models(TINY, CPU)
    with torch.no_grad():
        ours.image_encoder.norm.weight.neg_()
    with pytest.raises(AssertionError, match="expected 1"):
        list(ROWS["forward"](settings))


def test_unknown_rows(capsys):
    assert cli.main(["bench", "--rows", "forward,speed"]) == 2
    assert "unknown rows speed; there are forward, train, masks, small, attention, linear, data" in capsys.readouterr().err


def test_a_profile_names_the_operations(tmp_path):
    text = bench.run_profile(tmp_path, CPU, ["linear"], command="a command", sizes=TINY)
    (file,) = tmp_path.glob("*-profile.md")
    assert file.read_text() == text and text.startswith("`a command` on ")
    assert "| linear layer 24 to 96 on 48 tokens | fp32 | torch |" in text and "addmm" in text
