"""results/tables.md: mean and 95 % interval over seeds beside the paper's metrics, and whether its orderings hold.

An ordering of two rows holds if the 95 % interval of the difference of their means lies above zero, fails if it lies
below, and cannot be told otherwise, or with fewer than two seeds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from ..files import write_atomically
from .rows import FAMILIES, RATIOS, TABLES, TUNED_BY, Row, Table
from .runner import Job, Runner, tuning_jobs

# Metrics by key: the name of the column, and what it means.
COLUMNS = {
    "miou_objects": ("objects", "mIoU of the classes that are objects"),
    "miou_backgrounds": ("backgrounds", "mIoU of the classes that are backgrounds"),
    "miou": ("all", "mIoU of all classes"),
    "oracle_miou": ("oracle", "mIoU of all classes if each group took the class that most of its pixels truly have"),
    "ari": ("ARI", "adjusted Rand index of groups and true masks: 0 is chance, 100 the same partition"),
    "recognition_ap": ("recognition", "average precision with which the whole image's embedding tells the objects in it"),
    "boundary_miou": ("boundary", "mIoU of all classes near contours"),
    "zero_shot": ("zero-shot, known", "top-1 accuracy by the nearest class name, in the drawings of the training"),
    "linear_probe": ("linear probe, known", "top-1 accuracy of logistic regression on frozen features, in those too"),
    "zero_shot_unseen": ("zero-shot", "top-1 accuracy by the nearest class name, in drawings that training never showed"),
    "linear_probe_unseen": ("linear probe", "top-1 accuracy of logistic regression on frozen features, in those too"),
    "probing_jaccard": ("Jaccard", "IoU of each object with the best mask of the model"),
    "oracle_miou_objects": ("oracle, objects", "*oracle*, of objects"),
    "class_stays": ("class stays", "segments that keep their class when everything outside them becomes grey"),
    "miou_objects_shared": ("shared", "*objects*, if a pixel takes the scores of all its groups, by its soft assignment"),
    "miou_objects_unseen": ("unseen", "*objects*, in drawings that training never showed"),
    "miou_objects_hue": ("hue", "*objects*, with the hue of all objects rotated by 180 degrees"),
}
_ALWAYS = tuple(COLUMNS)[:6]
_MOST_SEEDS = 100     # looked for


def interval(values: Sequence[float]) -> tuple[float, float | None]:
    """The mean, and half of its 95 % interval by Student's t: None for a single value."""
    if len(values) < 2:
        return float(np.mean(values)), None
    half = stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values))
    return float(np.mean(values)), float(half)


@dataclass(frozen=True)
class Comparison:
    """How far a row lies above another: the difference of their means and its 95 % interval."""

    mean: float
    low: float      # -inf to inf with fewer than two seeds
    high: float

    @property
    def verdict(self) -> str:
        """Whether the ordering "holds", "fails" or "cannot be told"."""
        return "holds" if self.low > 0 else "fails" if self.high < 0 else "cannot be told"


def compare(better: Sequence[float], worse: Sequence[float], paired: bool = False) -> Comparison:
    """Two rows by one metric over their seeds, of which each has one at least.

    paired: both are measured on the same models, so the interval is that of the differences seed by seed (Student's t).
    Else it is Welch's.
    """
    mean = float(np.mean(better) - np.mean(worse))
    if min(len(better), len(worse)) < 2:
        return Comparison(mean, -np.inf, np.inf)
    if paired:
        half = interval(np.subtract(better, worse))[1]
        return Comparison(mean, mean - half, mean + half)
    if np.ptp(better) == np.ptp(worse) == 0:     # Welch's interval has no width then
        return Comparison(mean, mean, mean)
    return Comparison(mean, *map(float, stats.ttest_ind(better, worse, equal_var=False).confidence_interval(0.95)))


class Results:
    """The finished rows of a budget.

    Args:
        budget: its name.
        results: folder of the finished rows.
    """

    def __init__(self, budget: str, results: str | Path = "results/tables") -> None:
        self.runner = Runner(budget, results, "unused")

    def of(self, table: str, row: Row) -> list[dict[str, Any]]:
        """The records of a row's seeds, first to last."""
        found = (self.runner.finished(Job(table, row.name, row.model, row.measures, seed))
                 for seed in range(_MOST_SEEDS))
        return [record for record in found if record]

    def metric(self, table: str, row: Row, key: str) -> list[float]:
        """One metric over the seeds, where a row has it."""
        return [record["metrics"][key] for record in self.of(table, row) if key in record["metrics"]]

    def judged(self, table: str) -> dict[str, list[float]]:
        """The metric of each row that is compared with the paper's, over its seeds; none for a row not trained yet."""
        return {row.name: self.metric(table, row, row.judged) for row in TABLES[table].rows}


    def comparisons(self, table: str) -> Iterator[tuple[Row, Row, Comparison | None]]:
        """The table's orderings: a row, one that is worse in the paper, and ours; None where one is not trained yet."""
        rows = {row.name: row for row in TABLES[table].rows}
        for better, worse in ((row, rows[name]) for row in rows.values() for name in row.above):
            ours = [self.metric(table, row, row.judged) for row in (better, worse)]
            models = [[record["model"] for record in self.of(table, row)] for row in (better, worse)]
            yield better, worse, compare(*ours, paired=models[0] == models[1]) if all(ours) else None


def make_report(budget: str, results: str | Path = "results/tables", out: str | Path = "results/tables.md") -> str:
    """Writes the report of a budget's finished rows, and returns it. Raises ValueError where there is none."""
    found = Results(budget, results)
    parts = [_table(name, table, found) for name, table in TABLES.items()]
    if not any(parts):
        raise ValueError(f"there is no finished row of the budget {budget} below {results}; run "
                         f"python -m minigroupvit experiments all --budget {budget}")
    text = "\n\n".join(filter(None, [_head(found), _orderings(found), *parts, _ratios(found), _tuning(found)])) + "\n"
    write_atomically(Path(out), lambda path: path.write_text(text, encoding="utf-8"))
    return text


def _head(found: Results) -> str:
    name, budget = found.runner.name, found.runner.budget
    scenes, training = budget.scenes, budget.recipe.training
    measured = {key for table in TABLES for row in TABLES[table].rows for record in found.of(table, row)
                for key in record["metrics"]}
    columns = "\n".join(f"- *{column}*: {meaning}" for key, (column, meaning) in COLUMNS.items() if key in measured)
    return f"""# The paper's tables in miniature

Written by `python -m minigroupvit experiments report --budget {name}`. Every row has a file for each seed in
`results/tables/{name}/`, with its command, commit, device and date.

**Data and model.** Scenes of {len(scenes.objects)} kinds of objects (drawings of each: {scenes.drawings or 'all'}) on \
{len(scenes.backgrounds)} backgrounds: {budget.recipe.num_scenes:,} for training, {budget.num_test:,} for the test. \
*The reference* has one stage, soft assignment and no residual, and is trained as the recipe `scenes_short`, with more \
losses than the paper's two, for {training.steps:,} steps of {training.batch_size} images. It is the GroupViT of \
Tables 4, 5, C1 and C2. Masks are made as the paper makes them: a pixel takes the class of its largest group, among \
the {budget.recipe.protocol.top_classes} classes nearest to the image's embedding. The paper trains on millions of \
photographs, so its numbers cannot be reached here; orderings and ratios can be compared.

**How to read.** All numbers are percent: mean ± half of the 95 % interval over seeds (Student's t). The bold column is \
the metric that stands beside the paper's. *ordering* says whether a row lies above another one, as the paper has it or \
expects it: it **holds** if the 95 % interval of the difference lies above zero, **fails** if it lies below, and \
otherwise **cannot be told** at this spread, or with fewer than two seeds. The interval is Welch's; where both rows are \
measured on the same models, it is that of the differences seed by seed.

{columns}
- *seconds*: of training, the median over seeds; it includes pauses and shares the machine with other rows"""


def _orderings(found: Results) -> str:
    """All orderings of rows that are trained, and how many hold."""
    lines, verdicts = [], []
    for name in TABLES:
        for better, worse, ours in found.comparisons(name):
            if ours is None:
                continue
            verdicts.append(ours.verdict)
            span = "" if np.isinf(ours.low) else f" [{100 * ours.low:+.1f}, {100 * ours.high:+.1f}]"
            paper = f"{better.paper - worse.paper:+.1f}" if better.paper and worse.paper else "–"
            lines.append(_line([name, f"{better.name} above {worse.name}", paper, f"{100 * ours.mean:+.1f}{span}",
                                ours.verdict]))
    if not lines:
        return ""
    held, failed = verdicts.count("holds"), verdicts.count("fails")
    about = (f"Of {len(lines)} orderings {held} hold, {failed} fail, {len(lines) - held - failed} cannot be told. "
             "Differences are in percentage points, ours with the 95 % interval.")
    return "\n".join(["## Orderings", "", about, "", *_header(["table", "ordering", "paper", "ours", "verdict"]), *lines])


def _table(name: str, table: Table, found: Results) -> str:
    """One table in Markdown; empty where none of its rows is finished."""
    if not any(found.of(name, row) for row in table.rows):
        return ""
    judged, bold = found.judged(name), list(dict.fromkeys(row.judged for row in table.rows))
    keys = [key for key in dict.fromkeys((*_ALWAYS, *table.columns)) if [key] != bold
            and any(found.metric(name, row, key) for row in table.rows)]
    heads = ["row", "paper", "ours: " + " or ".join(COLUMNS[key][0] for key in bold), "ordering",
             *(COLUMNS[key][0] for key in keys), "seeds", "seconds"]
    lines = [f"## {table.title}", "", f"**{table.isolates}** {table.scale}", "", *_header(heads)]
    compared = list(found.comparisons(name))
    for row in table.rows:
        records = found.of(name, row)
        orders = [f"above *{worse.name}*: {ours.verdict if ours else 'not trained yet'}"
                  for better, worse, ours in compared if better is row]
        seconds = [record["seconds"] for record in records if record["seconds"] is not None]
        stopped = sum("stopped" in record for record in records)
        ours = f"**{in_percent(judged[row.name])}**" if judged[row.name] else "–" if records else "not trained yet"
        lines.append(_line([
            row.name, "–" if row.paper is None else f"{row.paper:.1f}", ours, "; ".join(orders) or "–",
            *(in_percent(found.metric(name, row, key)) for key in keys),
            f"{len(records)}" + (f", {stopped} of them stopped: not finite" if stopped else ""),
            f"{np.median(seconds):.0f}" if seconds else "–"]))
    return "\n".join(lines)


def _ratios(found: Results) -> str:
    """The paper's ratios beside ours."""
    lines = []
    for ratio in RATIOS:
        judged = found.judged(ratio.table)
        pairs = list(zip(judged[ratio.upper], judged[ratio.lower]))
        if pairs and all(below > 0 for _, below in pairs):
            mean, half = interval([above / below for above, below in pairs])
            ours = f"{mean:.2f}" + ("" if half is None else f" ± {half:.2f}")
            lines.append(_line([f"{ratio.upper} over {ratio.lower}", ratio.table, f"{ratio.paper:.2f}", ours]))
    if not lines:
        return ""
    return "\n".join(["## Ratios", "", "One metric over another, seed by seed: mean ± half of the 95 % interval.", "",
                      *_header(["ratio", "table", "paper", "ours"]), *lines])


def _tuning(found: Results) -> str:
    """What each family's learning rates reached on validation scenes."""
    lines = []
    for family in FAMILIES:
        tried = [(job.lr, found.runner.finished(job)) for job in tuning_jobs(family)]
        if all(record for _, record in tried):
            reached = [f"{rate:g}: {100 * record['metrics'].get(TUNED_BY, 0):.1f}" for rate, record in tried]
            lines.append(_line([family, *reached, f"{found.runner.learning_rate(family):g}"]))
    if not lines:
        return ""
    return "\n".join(["## Learning rates", "", "Tuned once for each family of models: mIoU of all classes on validation "
                      "scenes, first seed.", "", *_header(["family", "first", "second", "third", "chosen"]), *lines])


def in_percent(values: Sequence[float]) -> str:
    """The mean over seeds and half of its 95 % interval, in percent."""
    if not values:
        return "–"
    mean, half = interval(values)
    return f"{100 * mean:.1f}" + ("" if half is None else f" ± {100 * half:.1f}")


def _header(cells: Sequence[str]) -> list[str]:
    return [_line(cells), _line(["---"] * len(cells))]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
