"""What processes say when one of them fails, dies or takes the store along; two of them in one process, without a network.

tests/test_distributed.py kills a real one.
"""

from __future__ import annotations

import os

import pytest
import torch
import torch.distributed as dist

from minigroupvit.training import together
from minigroupvit.training.loop import TrainingStopped
from minigroupvit.training.together import Together


class Ended(BaseException):
    pass


class Store:
    """What a TCPStore is to a process."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}

    def set(self, key: str, value: str) -> None:
        self.values[key] = value.encode()

    def get(self, key: str) -> bytes:
        return self.values[key]

    def check(self, keys: list[str]) -> bool:
        return all(key in self.values for key in keys)


@pytest.fixture
def two(monkeypatch) -> list[Together]:
    """Processes 0 and 1 that share a store."""
    def leave(code: int) -> None:
        raise Ended(code)

    monkeypatch.setattr(os, "_exit", leave)
    monkeypatch.setattr(dist, "destroy_process_group", lambda group: None)
    monkeypatch.setenv("MASTER_ADDR", "first-machine")
    store, found = Store(), []
    for rank in range(2):
        monkeypatch.setattr(together, "rank_and_size", lambda: (rank, 2))
        found.append(Together(interval=0.01, limit=0.1))
        found[-1].store, found[-1].patient = store, None
        store.set(f"where/{rank}", f"on machine-{rank} (pid {rank})")
        store.set(f"alive/{rank}", "0")
    return found


def fails_with(process: Together, error: BaseException) -> None:
    process.__exit__(type(error), error, None)


def test_a_process_that_fails_says_why_and_the_others_end_with_it(two: list[Together], capsys) -> None:
    fails_with(two[1], MemoryError("no room for\na batch"))
    with pytest.raises(Ended, match="1"):
        two[0]._watch()
    assert capsys.readouterr().err == (
        "minigroupvit: process 1 of 2 on machine-1 (pid 1) failed: MemoryError: no room for a batch; process 0 ends with it. "
        "The same command, with any number of processes, goes on from the last checkpoint.\n")


def test_a_process_without_a_sign_of_life_is_named_to_all(two: list[Together], capsys) -> None:
    with pytest.raises(Ended):
        two[0]._watch()
    text = "process 1 of 2 on machine-1 (pid 1) has given no sign of life for 0 s"
    assert text in capsys.readouterr().err and two[1].store.get("failed").decode() == text


def test_a_store_that_is_gone_is_that_of_the_first_process(two: list[Together], capsys, monkeypatch) -> None:
    class Gone:
        def set(self, key: str, value: str) -> None:
            raise dist.DistNetworkError("connection closed\nC++ frames")

    two[1].store = Gone()
    with pytest.raises(Ended):
        two[1]._watch()
    assert "process 0 of 2, or its machine first-machine, does not answer (connection closed)" in capsys.readouterr().err


def test_what_all_find_by_themselves_and_an_orderly_end_are_no_failures(two: list[Together]) -> None:
    fails_with(two[0], TrainingStopped("step 3: not finite"))
    two[1].__exit__(None, None, None)
    assert not two[0].store.check(["failed"]) and two[0].over.is_set() and two[1].over.is_set()
    two[1]._watch()                       # it is over: nothing to look for
    assert two[1].store.get("alive/1") == b"0"


@pytest.mark.parametrize(("error", "expected"), [
    (RuntimeError("[/gloo/transport/tcp/pair.cc:534] Connection closed by peer"), True),
    (dist.DistBackendError("NCCL error"), True), (RuntimeError("shapes cannot be multiplied"), False),
    (torch.OutOfMemoryError("CUDA out of memory, gloo"), False), (ValueError("gloo"), False)])
def test_an_operation_that_broke_off_is_the_failure_of_another(error: BaseException, expected: bool) -> None:
    assert together._of_another(error) == expected
