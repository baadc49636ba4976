"""`python -m course build` and `python -m course grade FOLDER`, which `make course` and `make grade` call."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from . import build, grade
from .blanks import ROOT


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m course", description="Build the course, or mark submissions.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("build", help=build.__doc__.splitlines()[0]).add_argument(
        "--out", type=Path, default=ROOT / "outputs" / "course")
    grade.add_arguments(commands.add_parser("grade", help=grade.__doc__.splitlines()[0], description=grade.__doc__,
                                            formatter_class=argparse.RawDescriptionHelpFormatter))
    given = parser.parse_args(arguments)
    try:
        build.build(given.out) if given.command == "build" else grade.grade(given)
    except ValueError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
