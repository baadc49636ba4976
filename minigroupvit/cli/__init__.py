"""The command line: `python -m minigroupvit demo | train | evaluate | segment | export | import | experiments | bench`.

Each command has a module. Slow imports (torch, datasets, matplotlib) are inside the functions that need them, so that
`--help` is instant. Errors of the user (ValueError) and missing libraries (`extras`) give one line on stderr and exit
code 2.
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
    """Runs one command. Returns the exit code: 0, 2 for an error of the user, 1 for a run that failed."""
    arguments = make_parser().parse_args(argv)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _short_warning(warnings.showwarning, arguments)
            return arguments.run(arguments) or 0
    except (ValueError, MissingExtra) as error:
        return fail(in_options(str(error), arguments), 2)
    except OSError as error:  # a folder that cannot be written, a full disk
        return fail(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}", 2)
    except KeyboardInterrupt:  # outside of the training loop, which saves and stops by itself
        return fail("stopped", 130)


def _short_warning(default, arguments: argparse.Namespace):
    """Shows warnings of this package without the line of code."""
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
        description="GroupViT: semantic segmentation learnt from captions alone.",
        epilog="\n".join(["examples:", *(c.EXAMPLES.strip().splitlines()[1] for c in COMMANDS.values())])
        + "\n\nEach command has its own --help.",
        formatter_class=raw)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        made = commands.add_parser(name, help=command.ABOUT, epilog=command.EXAMPLES, formatter_class=raw,
                                   description=f"{command.ABOUT[0].upper()}{command.ABOUT[1:]}.")
        made.set_defaults(run=command.run)
        command.add_arguments(made)
    return parser
