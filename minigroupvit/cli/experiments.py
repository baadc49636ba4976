"""`python -m minigroupvit experiments`: small versions of the paper's tables, and their report."""

from __future__ import annotations

import argparse

ABOUT = "run small versions of the paper's tables, and report them"
EXAMPLES = """
examples:
  python -m minigroupvit experiments table1 --seeds 3 --budget cpu
  python -m minigroupvit experiments all --seeds 3
  python -m minigroupvit experiments report

Tables: table1 to table5, c1, c2, c3; beyond, or one of its parts: residual, colours, similarity, captions, nouns, steps;
all.
A finished row is a JSON file below --results and is skipped at the next start. Ctrl-C stops, and the same command
resumes. Started twice, two processes share the rows. report writes the finished rows to tables.md beside the folder of
the results."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", nargs="+", metavar="TABLE", help="names of tables, or report")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="default: %(default)s")
    parser.add_argument("--budget", default="cpu", choices=("tiny", "live", "cpu", "gpu"),
                        help="tiny: seconds, for tests; live: a minute of one core per row, for notebooks; "
                        "cpu: 5 minutes of one core per row; gpu: all training steps; "
                        "default: %(default)s")
    parser.add_argument("--jobs", type=int, metavar="N", help="parallel processes; default: 1, or 4 with gpu")
    parser.add_argument("--results", default="results/tables", metavar="FOLDER", help="default: %(default)s")
    parser.add_argument("--work", default="outputs/tables", metavar="FOLDER",
                        help="for the trained models; default: %(default)s")
    parser.add_argument("--device", help="cpu, cuda, mps; default: a GPU if there is one")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def run(arguments: argparse.Namespace) -> None:
    from pathlib import Path

    if "report" in arguments.what:
        if len(arguments.what) > 1:
            raise ValueError("report cannot be combined with tables: run python -m minigroupvit experiments report alone")
        from ..experiments.report import make_report

        results = Path(arguments.results)
        out = results.with_name(f"{results.name}.md")
        make_report(arguments.budget, results, out)
        print(out)
        return
    from ..distributed import pick_device
    from ..experiments.runner import run_tables

    run_tables(arguments.what, arguments.seeds, arguments.budget, arguments.results, arguments.work,
               pick_device(arguments.device), arguments.jobs, not arguments.quiet)
