"""Training in two or four processes on a CPU is training in one; where one of them dies, all end and say which."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

from minigroupvit import losses
from minigroupvit.checkpoints.native import read_checkpoint
from minigroupvit.config import GroupViTConfig, ImageConfig, TextConfig
from minigroupvit.data.captioned.batches import Batch, CaptionedImages
from minigroupvit.distributed import join_processes, leave_processes, pick_device, synchronize_batch_norm
from minigroupvit.model import GroupViT
from minigroupvit.text.caption_tokenizer import CaptionTokenizer
from minigroupvit.training import together
from minigroupvit.training.config import TrainConfig
from minigroupvit.training.loop import train
from minigroupvit.training.record import Recorder

CONFIG = TrainConfig(steps=5, batch_size=8, lr=1e-3, warmup=1, num_prompts=2, precision="fp32", eval_every=2,
                     save_every=3, snapshot_every=3)
# In parts; and by hard_from with a graph that could change, which it does not in these steps.
SMALL = replace(CONFIG, micro_batch_size=3, checkpoint_activations=True, hard_from=0.999)
CAPTIONS_ALONE = replace(CONFIG, num_prompts=0)      # the temperature of the multi-label loss is not used
CAPTIONS = ["a red cat on the grass", "a star at night", "a boat in the water", "the house and a tree"]


class Doubles(CaptionedImages):
    """Images in double precision. `at_step` is called whenever a batch is taken."""

    at_step = staticmethod(lambda step: None)

    def batch(self, step: int, *args) -> Batch:
        self.at_step(step)
        batch = super().batch(step, *args)
        batch.images = batch.images.double()
        return batch


def run(folder: Path, config: TrainConfig = CONFIG, at_step=None, head: str = "linear") -> None:
    """Trains a small model without noise and drop-path; BatchNorm only in an mlp head."""
    generator = torch.Generator().manual_seed(0)
    data = Doubles(torch.randint(0, 256, (16, 3, 32, 32), generator=generator, dtype=torch.uint8),
                   [[CAPTIONS[i % 4]] for i in range(16)])
    data.at_step = at_step or data.at_step
    tokenizer = CaptionTokenizer.train(data.all_captions, context_length=16, templates=CONFIG.templates)
    torch.manual_seed(0)
    model = GroupViT(GroupViTConfig(
        image=ImageConfig(image_size=32, patch_size=8, width=32, num_heads=2, depths=(1, 1), num_group_tokens=(6, 4),
                          num_output_groups=(6, 4), drop_path=0.0, assignment="soft"),
        text=TextConfig(vocab_size=tokenizer.vocab_size, context_length=16, width=32, num_heads=2, depth=1),
        embed_dim=16, head=head, head_width=32, tokenizer="captions"), tokenizer).double()
    recorder = Recorder(folder, config, lambda model: {"miou": model.logit_scale.item()}, log_every=1, progress=False)
    train(model, data, config, recorder)


def interrupt_at(last: int):
    """Ctrl-C in the first process, in that step."""
    return lambda step: os.kill(os.getpid(), signal.SIGINT) if step == last and dist.get_rank() == 0 else None


@contextmanager
def joined(rank: int, size: int, port: str):
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1",
                   "MASTER_PORT": port}
    assert join_processes(torch.device("cpu")) == torch.device("cpu")
    yield
    dist.barrier()  # none leaves while another still listens
    leave_processes()


def one_of_four(rank: int, folder: Path, ports: list[str]) -> None:
    """All that several processes are needed for, since it takes seconds to start one."""
    sys.stderr = open(folder / f"stderr-{rank}", "w", buffering=1)
    torch.set_num_threads(1)
    shapes, patience, cosines, new_group = set(), [], losses.cosines, dist.new_group

    def watched_cosines(a: Tensor, b: Tensor) -> Tensor:
        shapes.add((len(a), len(b)))
        return cosines(a, b)

    def watched_group(**options):
        patience.append(options["timeout"].total_seconds())
        return new_group(**options)

    with joined(rank, 4, ports[0]):
        losses.cosines, dist.new_group = watched_cosines, watched_group
        run(folder / "four")
        losses.cosines, dist.new_group = cosines, new_group
        (folder / f"seen-{rank}.json").write_text(json.dumps({"logits": sorted(shapes), "patience": patience}))
        run(folder / "resumed", at_step=interrupt_at(1))
        own = folder / ("resumed" if rank else "elsewhere")        # a folder that the machines do not share
        with pytest.raises(ValueError, match=r"other checkpoints in .*: of steps \[0, 2, 2, 2\]. The folder"):
            run(own)
    if rank < 2:
        with joined(rank, 2, ports[1]):
            run(folder / "two", SMALL)
            run(folder / "captions", CAPTIONS_ALONE)
            run(folder / "resumed", at_step=interrupt_at(3))
            with pytest.raises(ValueError, match="BatchNorm .*image_head.layers.1.*one process"):
                run(folder / "with BatchNorm", head="mlp")
    if rank == 0:
        del os.environ["WORLD_SIZE"]
        run(folder / "resumed")
    together.INTERVAL, together.LIMIT = 0.5, 15.0
    with joined(rank, 4, ports[2]):
        run(folder / "killed", at_step=lambda step: os.kill(os.getpid(), signal.SIGKILL) if (rank, step) == (2, 3) else None)


@pytest.fixture(scope="module")
def four(tmp_path_factory) -> SimpleNamespace:
    """The folder of what the four did, how each of them ended, and the seconds from the death of one to the last."""
    folder, sockets = tmp_path_factory.mktemp("four"), [socket.socket() for _ in range(3)]
    for free in sockets:
        free.bind(("127.0.0.1", 0))
    ports = [str(free.getsockname()[1]) for free in sockets]
    for free in sockets:
        free.close()
    processes = [mp.get_context("spawn").Process(target=one_of_four, args=(rank, folder, ports)) for rank in range(4)]
    for process in processes:
        process.start()
    processes[2].join(400)
    died = time.monotonic()
    for process in processes:
        process.join(90)
    seconds = time.monotonic() - died
    for process in processes:
        process.kill()               # of one that hangs, the exit code is None, which the tests then see
    run(folder / "one")
    run(folder / "captions in one", CAPTIONS_ALONE)
    return SimpleNamespace(folder=folder, seconds=seconds, codes=[process.exitcode for process in processes],
                           said=[(folder / f"stderr-{rank}").read_text() for rank in range(4)])


# Gradients that are zero by mathematics (tests/test_model.py says why); of qkv.bias the middle third, the keys'.
# AdamW makes steps out of their rounding errors.
ZERO = ("assign.q_proj.bias", "pre_assign_attn.attn.k_proj.bias", "mlp_inter.mlp.fc2.bias",
        "group_projector.1.mlp.fc2.bias")


def difference(folder: Path, other: Path) -> float:
    """The largest between the weights at the end of two runs."""
    (first, weights), (second, others) = (read_checkpoint(path / "last.safetensors") for path in (folder, other))
    assert first["about"]["step"] == second["about"]["step"] == CONFIG.steps
    found = {name: (weights[name] - others[name]).abs() for name in weights if name.startswith("model.")}
    for name, values in found.items():
        if name.endswith("qkv.bias"):
            values.chunk(3)[1].zero_()
    assert len(found) > 60
    return max(values.max().item() for name, values in found.items() if not name.endswith(ZERO))


@pytest.mark.parametrize(("name", "alone"), [
    ("four", "one"), ("two", "one"), ("captions", "captions in one"), ("resumed", "one")])
def test_several_processes_train_the_model_of_one(four: SimpleNamespace, name: str, alone: str) -> None:
    """Five steps in double precision; "two" in micro-batches; "resumed" in four, then in two, then in one."""
    assert difference(four.folder / name, four.folder / alone) < 1e-10, four.said
    # One of them has written, what a single process writes: the losses of all.
    assert sorted(p.name for p in (four.folder / name).iterdir()) == sorted(
        p.name for p in (four.folder / alone).iterdir())
    logs = [[json.loads(line) for line in (four.folder / run / "metrics.jsonl").read_text().splitlines()]
            for run in (name, alone)]
    for line, expected in zip(*logs, strict=True):
        assert {k: v for k, v in line.items() if k != "seconds"} == pytest.approx(
            {k: v for k, v in expected.items() if k != "seconds"}, abs=1e-10)


def test_the_runs_are_not_equal_for_want_of_training(four: SimpleNamespace) -> None:
    assert difference(four.folder / "captions", four.folder / "one") > 1e-4


def test_logits_are_of_own_rows_and_all_columns(four: SimpleNamespace) -> None:
    """B × A, never A × A: B = 2 images of each of 4 processes, A = 8 of all, K = 2 prompts an image."""
    for rank in range(4):
        seen = json.loads((four.folder / f"seen-{rank}.json").read_text())
        assert sorted(map(tuple, seen["logits"])) == [(2, 8), (2, 16), (8, 4)]
        assert seen["patience"] == [together.PATIENCE.total_seconds()] and seen["patience"][0] > 3600


def test_where_one_is_killed_all_end_and_name_it(four: SimpleNamespace) -> None:
    assert four.codes == [1, 1, -signal.SIGKILL, 1], four.said
    assert four.seconds < 60
    for rank in (0, 1, 3):
        assert f"process 2 of 4 on {socket.gethostname()} (pid " in four.said[rank]
        assert f"has given no sign of life for 15 s; process {rank} ends with it." in four.said[rank]
    assert read_checkpoint(four.folder / "killed" / "last.safetensors")[0]["about"]["step"] == 3


def test_one_process_needs_nothing() -> None:
    model = torch.nn.BatchNorm1d(3)
    assert synchronize_batch_norm(model) is model
    assert join_processes(torch.device("cpu")) == torch.device("cpu")
    leave_processes()
    with together.Together() as alone:
        alone.wait()


def test_more_processes_than_gpus(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for name, value in (("WORLD_SIZE", "4"), ("LOCAL_RANK", "2")):
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match="has 2 GPUs and at least 3 processes; .*--nproc-per-node 2"):
        join_processes(torch.device("cuda"))


@pytest.mark.parametrize("name", ["abacus", "xla:7"])
def test_a_device_that_cannot_be_used(name: str) -> None:
    assert pick_device("cpu") == pick_device(torch.device("cpu")) == torch.device("cpu")
    assert pick_device().type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(ValueError, match=f"cannot use the device {name}: .*leave it out"):
        pick_device(name)
