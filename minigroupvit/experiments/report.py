"""results/tables.md: mean and 95 % interval over seeds beside the paper's figures, and whether its order holds.

An order of two rows holds if the 95 % interval of the difference of their means (Welch's t) lies above zero, fails
if it lies below, and cannot be told otherwise, or with fewer than two seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from ..files import write_atomically
from .models import BUDGETS
from .rows import FAMILIES, RATIOS, TABLES, TUNED_BY, Ratio, Row, Table
from .runner import Job, Runner, tuning_jobs

_COLUMNS = {"miou_objects": "objects", "miou_backgrounds": "backgrounds", "miou": "all", "oracle_miou": "oracle",
            "ari": "ARI", "recognition_ap": "recognition", "boundary_miou": "boundary", "zero_shot": "zero-shot",
            "linear_probe": "linear probe", "probing_jaccard": "Jaccard", "oracle_miou_objects": "oracle, objects",
            "class_stays": "class stays", "miou_objects_unseen": "unseen", "miou_objects_hue": "hue"}
_ALWAYS = tuple(_COLUMNS)[:6]
_MOST_SEEDS = 100     # looked for


def interval(values: Sequence[float]) -> tuple[float, float | None]:
    """The mean, and half of its 95 % interval by Student's t: None of a single value."""
    if len(values) < 2:
        return float(np.mean(values)), None
    half = stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values))
    return float(np.mean(values)), float(half)


def order(better: Sequence[float], worse: Sequence[float]) -> str:
    """"holds", "fails" or "cannot be told", of the metrics over seeds of two rows."""
    if min(len(better), len(worse)) < 2:
        return "cannot be told"
    difference = float(np.mean(better) - np.mean(worse))
    if np.ptp(better) == np.ptp(worse) == 0:     # Welch's interval has no width then
        return "holds" if difference > 0 else "fails" if difference < 0 else "cannot be told"
    low, high = stats.ttest_ind(better, worse, equal_var=False).confidence_interval(0.95)
    return "holds" if low > 0 else "fails" if high < 0 else "cannot be told"


class Results:
    """The finished rows of a budget."""

    def __init__(self, size: str, results: str | Path) -> None:
        self.runner = Runner(size, results, "unused")

    def of(self, table: str, row: Row) -> list[dict[str, Any]]:
        """The results of a row's seeds, first to last."""
        found = (self.runner.finished(Job(table, row.name, row.model, row.measures, seed))
                 for seed in range(_MOST_SEEDS))
        return [record for record in found if record]

    def figures(self, table: str, row: Row, key: str) -> list[float]:
        """One figure over the seeds, where a row has it."""
        return [record["figures"][key] for record in self.of(table, row) if key in record["figures"]]


def make_report(size: str, results: str | Path = "results/tables", out: str | Path = "results/tables.md") -> str:
    """Writes the report of a budget's finished rows, and returns it. Raises ValueError where there is none."""
    found = Results(size, results)
    parts = [_table(name, table, found) for name, table in TABLES.items()]
    if not any(parts):
        raise ValueError(f"there is no finished row of the budget {size} below {results}; run python -m minigroupvit "
                         f"experiments all --budget {size}")
    text = "\n\n".join(filter(None, [_head(size), *parts, _ratios(found), _tuning(found)])) + "\n"
    write_atomically(Path(out), lambda path: path.write_text(text, encoding="utf-8"))
    return text


def _head(size: str) -> str:
    scenes, training = BUDGETS[size].scenes, BUDGETS[size].recipe.training
    return f"""# The paper's tables in miniature

Written by `python -m minigroupvit experiments report --budget {size}`. Every row is a file below
`results/tables/{size}/`.

Scenes: {len(scenes.objects)} kinds of objects (drawings of each: {scenes.drawings or 'all'}), \
{len(scenes.backgrounds)} backgrounds, {BUDGETS[size].recipe.num_scenes:,} for training, \
{BUDGETS[size].num_test:,} for the test. The reference: {training.steps:,} steps of {training.batch_size}, one stage, \
soft assignment, no residual, trained as the recipe `scenes_short`.

Figures are percent, mean ± half of the 95 % interval over seeds (Student's t); those beside the paper's are mIoU of \
objects unless said otherwise. *Order* says for the rows that are worse in the paper whether they are here: holds, \
fails, or cannot be told at this spread (Welch's 95 % interval of the difference)."""


def _table(name: str, table: Table, found: Results) -> str:
    """One table in Markdown; empty where none of its rows is finished."""
    rows = {row.name: row for row in table.rows}
    if not any(found.of(name, row) for row in table.rows):
        return ""
    keys = [key for key in dict.fromkeys((*_ALWAYS, *table.columns))
            if any(found.figures(name, row, key) for row in table.rows)]
    heads = ["row", "paper", "ours", "order", *(_COLUMNS[key] for key in keys), "seeds", "seconds"]
    lines = [f"## {table.title}", "", table.about, "", _line(heads), _line(["---"] * len(heads))]
    for row in table.rows:
        records = found.of(name, row)
        own = found.figures(name, row, row.judged)
        orders = [f"above *{other}*: {order(own, found.figures(name, rows[other], rows[other].judged))}"
                  for other in row.above]
        seconds = [record["seconds"] for record in records if record["seconds"] is not None]
        stopped = sum("stopped" in record for record in records)
        lines.append(_line([
            row.name, "–" if row.paper is None else f"{row.paper:.1f}", f"**{_percent(own)}**" if own else "–",
            "; ".join(orders) or "–", *(_percent(found.figures(name, row, key)) for key in keys),
            f"{len(records)}" + (f", {stopped} of them not finite" if stopped else ""),
            f"{np.mean(seconds):.0f}" if seconds else "–"]))
    return "\n".join(lines)


def _ratios(found: Results) -> str:
    """The paper's ratios beside ours."""
    lines = []
    for ratio in RATIOS:
        upper, lower = (_row(ratio, name) for name in (ratio.upper, ratio.lower))
        pairs = list(zip(*(found.figures(ratio.table, row, row.judged) for row in (upper, lower))))
        if pairs and all(below > 0 for _, below in pairs):
            mean, half = interval([above / below for above, below in pairs])
            ours = f"{mean:.2f}" + ("" if half is None else f" ± {half:.2f}")
            lines.append(_line([f"{ratio.upper} over {ratio.lower}", ratio.table, f"{ratio.paper:.2f}", ours]))
    if not lines:
        return ""
    return "\n".join(["## Ratios", "", _line(["ratio", "table", "paper", "ours"]), _line(["---"] * 4), *lines])


def _row(ratio: Ratio, name: str) -> Row:
    return next(row for row in TABLES[ratio.table].rows if row.name == name)


def _tuning(found: Results) -> str:
    """What each family's learning rates reached on validation scenes."""
    lines = []
    for family in FAMILIES:
        tried = [(job.lr, found.runner.finished(job)) for job in tuning_jobs(family)]
        if all(record for _, record in tried):
            reached = [f"{rate:g}: {100 * record['figures'].get(TUNED_BY, 0):.1f}" for rate, record in tried]
            lines.append(_line([family, *reached, f"{found.runner.learning_rate(family):g}"]))
    if not lines:
        return ""
    heads = ["family", "first", "second", "third", "chosen"]
    return "\n".join(["## Learning rates", "", "mIoU on validation scenes, first seed.", "", _line(heads),
                      _line(["---"] * len(heads)), *lines])


def _percent(values: Sequence[float]) -> str:
    if not values:
        return "–"
    mean, half = interval(values)
    return f"{100 * mean:.1f}" + ("" if half is None else f" ± {100 * half:.1f}")


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
