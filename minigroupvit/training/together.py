"""Several processes end together: where one dies, the others say which and end within a minute.

Without this they would wait for it in the next collective operation, with NCCL for ten minutes. Each process has a
thread that counts up a number in the store by which the processes found each other, and looks at the number of the
next one. That is little traffic: a number written and two read every five seconds, however many processes there are.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from datetime import timedelta

import torch
import torch.distributed as dist

from ..distributed import rank_and_size

INTERVAL = 5.0                  # seconds between two signs of life
LIMIT = 30.0                    # seconds without one after which a process counts as dead
PATIENCE = timedelta(hours=12)  # how long the others wait while the first process validates and saves


class Together:
    """A context in which the processes look after each other. In one process it does nothing.

    with Together() as together:
        ...
        together.wait()         # for the first process, however long it validates
    """

    def __init__(self, interval: float | None = None, limit: float | None = None) -> None:
        self.rank, self.size = rank_and_size()
        self.interval, self.limit = interval or INTERVAL, limit or LIMIT
        self.over = threading.Event()
        self.next = (self.rank + 1) % self.size

    def __enter__(self) -> Together:
        if self.size == 1:
            return self
        # A group of its own: a short time-out for the steps and a long one for a validation cannot be one.
        self.patient = dist.new_group(backend="gloo", timeout=PATIENCE)
        # And a connection of its own: one that waits for something must not keep the signs of life waiting.
        store = dist.TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False,
                              wait_for_workers=False, timeout=timedelta(seconds=self.limit))
        self.store = dist.PrefixStore(f"together/{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", store)
        self.store.set(f"where/{self.rank}", f"on {socket.gethostname()} (pid {os.getpid()})")
        self.store.set(f"alive/{self.rank}", "0")
        if self.rank == 0:
            self.store.delete_key("failed")    # of an earlier training of this program
        self.wait()
        self.thread = threading.Thread(target=self._watch, name="together", daemon=True)
        self.thread.start()
        return self

    def wait(self) -> None:
        """Until all processes are here, `PATIENCE` at most."""
        if self.size > 1:
            dist.barrier(group=self.patient)

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> None:
        if self.size == 1:
            return
        if error is not None and _of_another(error):
            self.over.wait(self.limit + 4 * self.interval)    # the thread finds out whose, says it and ends this one
        self.over.set()
        if error is not None and not getattr(error, "in_all_processes", False):
            text = " ".join(f"{kind.__name__}: {error}".split())[:500]
            self.store.set("failed", f"process {self.rank} of {self.size} {self._where(self.rank)} failed: {text}")
            time.sleep(2 * self.interval)                     # the store may go with this process: let the others read
        dist.destroy_process_group(self.patient)

    def _where(self, rank: int) -> str:
        return self.store.get(f"where/{rank}").decode()

    def _watch(self) -> None:
        """The thread: signs of life, and a look for those of the next process."""
        count, seen, since = 0, b"", time.monotonic()
        while not self.over.wait(self.interval):
            try:
                count += 1
                self.store.set(f"alive/{self.rank}", str(count))
                if self.store.check(["failed"]):
                    return self._end(self.store.get("failed").decode())
                found = self.store.get(f"alive/{self.next}")
                if found != seen:
                    seen, since = found, time.monotonic()
                elif time.monotonic() - since > self.limit:
                    text = (f"process {self.next} of {self.size} {self._where(self.next)} has given no sign of life "
                            f"for {self.limit:.0f} s")
                    self.store.set("failed", text)
                    return self._end(text)
            except RuntimeError as error:      # the store is with the first process, or with torchrun on its machine
                return self._end(f"process 0 of {self.size}, or its machine {os.environ['MASTER_ADDR']}, does not "
                                 f"answer ({str(error).splitlines()[0]})")

    def _end(self, why: str) -> None:
        if self.over.is_set():
            return
        print(f"minigroupvit: {why}; process {self.rank} ends with it. The same command, with any number of processes, "
              "goes on from the last checkpoint.", file=sys.stderr, flush=True)
        time.sleep(2 * self.interval)          # the store may go with this process: let the others read
        os._exit(1)                            # the main thread waits in an operation that cannot be broken off


def _of_another(error: BaseException) -> bool:
    """Whether an operation failed because another process is gone."""
    return isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error)
                                                 and not isinstance(error, torch.OutOfMemoryError))
