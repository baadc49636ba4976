"""`python -m minigroupvit demo`: segment held-out scenes with the shipped weights and print the metrics."""

from __future__ import annotations

import argparse

ABOUT = "segment held-out scenes with the shipped weights and print the metrics"
EXAMPLES = """
examples:
  python -m minigroupvit demo
  python -m minigroupvit demo --out outputs/again"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", default="outputs/demo", metavar="FOLDER", help="default: %(default)s")


def run(arguments: argparse.Namespace) -> None:
    from ..demo import run_demo

    run_demo(arguments.out)
