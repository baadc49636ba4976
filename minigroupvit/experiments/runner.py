"""Runs the rows: which is next, shared by several processes, stopped and continued at any time.

A finished row is a file, RESULTS/BUDGET/TABLE/ROW-seedN.json, written whole or not at all; it is skipped on the next
start. So are the trainings that choose the learning rates, RESULTS/BUDGET/tuning/FAMILY-RATE-seed0.json. Trained
models lie in WORK/BUDGET, each beside a lock file that a process holds while it works on the model. The operating
system releases the lock when the process ends, however it ends.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from tqdm.auto import tqdm

from ..files import write_atomically
from ..training.loop import TrainingStopped
from ..training.record import current_commit, device_name
from .measures import Conditions, measured
from .models import BUDGETS, Budget, Setup, Trained, digest, finetuned, finetuned_name, make_setup, trained_model
from .rows import FAMILIES, NAMES, TABLES, TUNED_BY, Model, slug

TUNING = "tuning"
_WAIT = 2.0      # seconds, while other processes work on all the rows that are left


@dataclass(frozen=True)
class Job:
    """A row to run with a seed, or one that chooses a learning rate."""

    table: str
    name: str
    model: Model
    measures: tuple[str, ...]
    seed: int
    lr: float | None = None      # None: the best one of its family

    @property
    def split(self) -> str:
        return "validation" if self.table == TUNING else "test"


def tables_of(names: Sequence[str]) -> list[str]:
    """The tables that names such as "table1", "beyond" and "all" stand for. Raises ValueError for an unknown name."""
    unknown = [name for name in names if name not in NAMES and name not in TABLES]
    if unknown or not names:
        raise ValueError(f"there is no table {', '.join(unknown) or 'named'}; choose from "
                         f"{', '.join(dict.fromkeys([*NAMES, *TABLES]))}")
    return list(dict.fromkeys(table for name in names for table in NAMES.get(name, (name,))))


def tuning_jobs(family: str) -> list[Job]:
    """The trainings that choose the family's learning rate."""
    return [Job(TUNING, f"{family} {rate:g}", FAMILIES[family].model, FAMILIES[family].measures, 0, rate)
            for rate in FAMILIES[family].rates]


def jobs_of(tables: Sequence[str], seeds: int) -> list[Job]:
    """All rows of the tables, one seed after the other; first the trainings that choose their learning rates."""
    rows = [(table, row) for table in tables for row in TABLES[table].rows]
    families = dict.fromkeys(row.model.family for _, row in rows)
    tuning = [job for family in families for job in tuning_jobs(family)]
    return tuning + [Job(table, row.name, row.model, row.measures, seed)
                     for seed in range(seeds) for table, row in rows]


class Runner:
    """Runs jobs of a budget.

    Args:
        budget: its name, one of `models.BUDGETS`.
        results: folder of the finished rows.
        work: folder of the trained models.
        device: on which they are trained; None: a GPU if there is one.

    Raises ValueError for an unknown budget.
    """

    def __init__(self, budget: str, results: str | Path, work: str | Path, device: torch.device | None = None) -> None:
        if budget not in BUDGETS:
            raise ValueError(f"unknown budget {budget!r}; the budgets are {', '.join(BUDGETS)}")
        self.name, self.budget = budget, BUDGETS[budget]
        self.results, self.work = Path(results, budget), Path(work, budget)
        self.device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def path(self, job: Job) -> Path:
        """The file of its result."""
        return self.results / job.table / f"{slug(job.name)}-seed{job.seed}.json"

    def finished(self, job: Job) -> dict[str, Any] | None:
        """Its result, or None; a result of another definition of the row or the budget does not count."""
        record = read_json(self.path(job))
        return record if record and record.get("definition") == definition(job, self.budget) else None

    def learning_rate(self, family: str) -> float | None:
        """The family's best one on validation scenes; None until all have been tried."""
        tried = [(job, self.finished(job)) for job in tuning_jobs(family)]
        if not all(record for _, record in tried):
            return None
        return max(tried, key=lambda one: one[1]["metrics"].get(TUNED_BY, -1.0))[0].lr

    def setup(self, job: Job) -> Setup | None:
        """The settings of its training; None until its learning rate is known."""
        rate = job.lr or self.learning_rate(job.model.family)
        return rate and make_setup(job.model, self.budget, job.seed, rate)

    def run(self, jobs: Sequence[Job], progress: bool = True) -> None:
        """Runs what is not finished. Raises KeyboardInterrupt on Ctrl-C or SIGTERM; the training is saved before."""
        if self.budget.threads:
            torch.set_num_threads(self.budget.threads)
        left = [job for job in jobs if not self.finished(job)]
        total, done = len(jobs), len(jobs) - len(left)
        with tqdm(total=self._steps(left), unit="step", disable=not progress, dynamic_ncols=True, smoothing=0) as bar:
            while left:
                job = self._next(left, bar, f"row {done + 1} of {total}")
                if job is None:
                    bar.set_description(f"row {done + 1} of {total}: waiting for another process")
                    time.sleep(_WAIT)
                    continue
                left.remove(job)
                done += 1
                # Without the models that other processes or other rows have trained meanwhile.
                bar.total = bar.n + self._steps(left)
                bar.refresh()
            bar.set_description(f"{total} rows")

    def _steps(self, left: Sequence[Job]) -> int:
        """Training steps that are left; a model that several rows share counts once."""
        steps: dict[str, int] = {}
        for job in left:
            # While its rate is not known yet, nothing is trained with it either.
            setup = self.setup(job) or make_setup(job.model, self.budget, job.seed, self.budget.recipe.training.lr)
            folder, then = self.work / setup.key, finetuned_name(self._finetune_steps, self.budget.finetune_lr)
            if job.model.task != "none" and not (folder / "model.safetensors").exists():
                steps[setup.key] = setup.recipe.training.steps
            if self._finetunes(job) and not (folder / then).exists():
                steps[setup.key + then] = self._finetune_steps
        return sum(steps.values())

    def _finetunes(self, job: Job) -> bool:
        return "finetuned" in job.measures and job.model.task != "masks"

    @property
    def _finetune_steps(self) -> int:
        return max(1, round(self.budget.finetune * self.budget.recipe.training.steps))

    def _next(self, left: Sequence[Job], bar: tqdm, where: str) -> Job | None:
        """Runs the first job whose learning rate is known and whose model is not locked, and returns it; else None."""
        for job in left:
            if self.finished(job):
                return job
            setup = self.setup(job)
            if setup is None:
                continue
            self.work.mkdir(parents=True, exist_ok=True)
            try:
                with FileLock(self.work / f"{setup.key}.lock", blocking=False):
                    if not self.finished(job):
                        bar.set_description(f"{where}: {job.table}, {job.name}, seed {job.seed}")
                        self._run(job, setup, bar)
                    return job
            except Timeout:
                continue
        return None

    def _run(self, job: Job, setup: Setup, bar: tqdm) -> None:
        record: dict[str, Any] = {
            "table": job.table, "row": job.name, "seed": job.seed, "budget": self.name,
            "command": f"python -m minigroupvit experiments {self._command(job)} --seeds {job.seed + 1} "
                       f"--budget {self.name}",
            "commit": current_commit(), "device": device_name(), "date": date.today().isoformat(),
            "definition": definition(job, self.budget), "model": setup.key, "family": job.model.family,
            "learning_rate": setup.recipe.training.lr, "split": job.split}
        try:
            trained = self._trained(job, setup, bar)
            on = Conditions(setup.scenes, job.split, self.budget.num_validation if job.table == TUNING
                            else self.budget.num_test, setup.recipe.protocol)
            began = time.perf_counter()
            metrics = measured(trained.model, job.measures, on)
            record |= {"seconds": round(trained.seconds, 1), "steps": trained.steps,
                       "seconds_of_measuring": round(time.perf_counter() - began, 1), "metrics": metrics}
        except TrainingStopped as error:     # not finite at this learning rate: a result too
            record |= {"seconds": None, "steps": None, "metrics": {}, "stopped": str(error)}
        text = json.dumps(record, indent=2, allow_nan=False) + "\n"
        write_atomically(self.path(job), lambda path: path.write_text(text, encoding="utf-8"))

    def _trained(self, job: Job, setup: Setup, bar: tqdm) -> Trained:
        """The row's model, fine-tuned with masks if the row measures that."""
        trained = trained_model(setup, self.work, bar, self.device)
        if not self._finetunes(job):
            return trained
        after = finetuned(trained.model, setup, self.work, self._finetune_steps, self.budget.finetune_lr, bar,
                          self.device)
        return replace(after, seconds=trained.seconds + after.seconds, steps=trained.steps + after.steps)

    def _command(self, job: Job) -> str:
        """The table that the command names; for a learning rate, the first table that has its family."""
        if job.table != TUNING:
            return job.table
        return next(name for name, table in TABLES.items()
                    if any(row.model.family == job.model.family for row in table.rows))


def definition(job: Job, budget: Budget) -> str:
    """A digest that differs between jobs of different trainings or measurements."""
    return digest(job.model, list(job.measures), job.lr, list(FAMILIES[job.model.family].rates), budget)


def read_json(path: Path) -> dict[str, Any] | None:
    """The content of a result; None if the file is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def run_tables(names: Sequence[str], seeds: int, budget: str, results: str | Path = "results/tables",
               work: str | Path = "outputs/tables", device: torch.device | None = None, jobs: int | None = None,
               progress: bool = True) -> None:
    """Runs all rows of tables that are not finished yet.

    Args:
        names: of tables, "beyond" or "all".
        seeds: how many; they are 0, 1, 2, ...
        budget: "tiny", "cpu" or "gpu", see `models.BUDGETS`.
        results: folder of the finished rows, one JSON file each, below the name of the budget.
        work: folder of the trained models, below the name of the budget too.
        jobs: processes at once; None: as the budget says. More of them may be started by hand.

    Raises ValueError for an unknown table or budget.
    """
    if seeds < 1 or (jobs is not None and jobs < 1):
        raise ValueError(f"seeds and jobs are at least 1, got {seeds} and {jobs}")
    runner, wanted = Runner(budget, results, work, device), jobs_of(tables_of(names), seeds)
    context = torch.multiprocessing.get_context("spawn")
    others = [context.Process(target=_run_silently, args=(runner, wanted))
              for _ in range((jobs or runner.budget.jobs) - 1)]
    for other in others:
        other.start()
    try:
        runner.run(wanted, progress)
    except BaseException:
        for other in others:
            other.terminate()     # its training saves and stops
        raise
    finally:
        for other in others:
            other.join()


def _run_silently(runner: Runner, jobs: Sequence[Job]) -> None:
    """Runs the jobs without a bar; the process that has the bar reports an interrupt."""
    try:
        runner.run(jobs, progress=False)
    except KeyboardInterrupt:
        pass
