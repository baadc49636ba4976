"""How far the workers of a stream are, and how a run remembers it."""

from __future__ import annotations

import json
import warnings
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from ..checkpoint import write_atomically
from ..distributed import rank_and_size


@dataclass(frozen=True)
class Place:
    """How far a worker is: in a pass over its shards, in a buffer that begins at a sample of a shard."""

    pass_number: int = 0
    shard: int = 0       # which of the pass's shards has the first sample of the buffer
    sample: int = 0      # which of that shard's samples that is
    given: int = 0       # samples of the shuffled buffer that are used up


class Diary:
    """The file in a run's folder that says after each step how far the worker is whose turn it was."""

    def __init__(self, folder: Path, workers: int, shards: int, buffer: int) -> None:
        rank, size = rank_and_size()
        self.path = folder / f"stream-{rank}.jsonl"
        self.workers = workers
        # Places mean the same again only where all of these are the same.
        self.about = {"processes": size, "workers": workers, "shards": shards, "buffer": buffer}

    def resume(self, start: int) -> dict[int, Place]:
        """Where each worker goes on after `start` steps, and drops what was written of later ones."""
        lines = self._lines() if start else []
        first_pass = 0
        if lines and self.about == {key: lines[0].get(key) for key in self.about}:
            first_pass = lines[0]["first_pass"]
            lines = [line for line in lines[1:] if line["step"] <= start]
        elif start:
            first_pass = 1 + max((line["place"][0] for line in lines[1:]), default=0)
            lines = []
            warnings.warn("the stream cannot go on where it was: processes, workers, shards and buffer must be as "
                          "before; a new pass begins, in which samples of the last one come again", stacklevel=2)
        last = {line["worker"]: line for line in lines}
        text = "".join(json.dumps(line) + "\n" for line in (self.about | {"first_pass": first_pass}, *last.values()))
        write_atomically(self.path, lambda path: path.write_text(text, encoding="utf-8"))
        return {worker: Place(*last[worker]["place"]) if worker in last else Place(first_pass)
                for worker in range(self.workers)}

    def write(self, step: int, worker: int, place: Place) -> None:
        """After `step` steps this worker, whose turn it was, is here."""
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, "worker": worker, "place": astuple(place)}) + "\n")

    def _lines(self) -> list[dict[str, Any]]:
        """All whole lines: the last one may be cut off."""
        lines = []
        for line in self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []:
            try:
                lines.append(json.loads(line))
            except json.JSONDecodeError:
                break
        return lines
