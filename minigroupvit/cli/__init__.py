"""The command line: `python -m minigroupvit demo | train | evaluate | segment | export | import | experiments | bench`.

A module for each; argparse, because it is in the standard library and eight commands need no more. What takes time to
import (torch, datasets, matplotlib) is imported by the command that needs it: `--help` is instant.
Mistakes of the user are ValueErrors of the package, and libraries may be missing (`extras`): one line on stderr
and exit code 2.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Sequence
from pathlib import Path

from ..extras import MissingExtra
from . import bench, demo, evaluate, experiments, export, import_weights, segment, train
from .common import fail, in_options

COMMANDS = {"demo": demo, "train": train, "evaluate": evaluate, "segment": segment, "export": export,
            "import": import_weights, "experiments": experiments, "bench": bench}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command. Returns the exit code: 0, 2 for the user's mistakes, 1 for a run that failed."""
    arguments = make_parser().parse_args(argv)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _short_warning(warnings.showwarning, arguments)
            return arguments.run(arguments) or 0
    except (ValueError, MissingExtra) as error:
        return fail(in_options(str(error), arguments), 2)
    except OSError as error:  # a folder that cannot be written, a full disk
        return fail(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}", 2)
    except KeyboardInterrupt:  # before or after the training loop, which has its own way to stop
        return fail("stopped", 130)


def _short_warning(default, arguments: argparse.Namespace):
    """Our own warnings without the line of code that they come from."""
    own = str(Path(__file__).parents[1])

    def show(message, category, filename, *rest) -> None:
        if str(filename).startswith(own):
            fail(in_options(str(message), arguments), 0)
        else:
            default(message, category, filename, *rest)

    return show


def make_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="python -m minigroupvit",
        description="GroupViT: a model that learns from captions alone to cut pictures into named segments.",
        epilog="\n".join(["examples:", *(c.EXAMPLES.strip().splitlines()[1] for c in COMMANDS.values())])
        + "\n\nEach command has a --help of its own.",
        formatter_class=raw)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        made = commands.add_parser(name, help=command.ABOUT, epilog=command.EXAMPLES, formatter_class=raw,
                                   description=f"{command.ABOUT[0].upper()}{command.ABOUT[1:]}.")
        made.set_defaults(run=command.run)
        command.add_arguments(made)
    return parser
