"""`python -m minigroupvit bench`: how fast the package is here, beside transformers and the machine's own limit."""

from __future__ import annotations

import argparse

ABOUT = "measure speed and memory beside transformers and beside the machine's own limit"
EXAMPLES = """
examples:
  python -m minigroupvit bench
  python -m minigroupvit bench --quick
  python -m minigroupvit bench --rows forward,masks --rounds 15 --no-compile
  python -m minigroupvit bench --profile --rows train

Rows: forward, train and masks of the paper's model, small (a training step of the small model, and its texts), attention,
linear (by torch and by oneDNN), data. Writes <device>.json, a table <device>.md and a plot <device>.png into --out.
Contenders take turns, so their ratios hold on a busy machine; times by themselves do not."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rows", metavar="NAMES", help="separated by commas; default: all")
    parser.add_argument("--rounds", type=int, default=7, metavar="N",
                        help="of each line, at least 3; fewer where they would take over a minute; default: %(default)s")
    parser.add_argument("--quick", action="store_true", help="small batches, 3 rounds, no compiler, no memory: a minute")
    parser.add_argument("--no-compile", action="store_true", help="without torch.compile")
    parser.add_argument("--no-memory", action="store_true", help="without peak memory, which takes a process each")
    parser.add_argument("--profile", action="store_true",
                        help="instead, print where the time goes and write it to <device>-profile.md")
    parser.add_argument("--device", help="cpu, cuda, mps; default: a GPU if there is one")
    parser.add_argument("--out", default="results/bench", metavar="FOLDER", help="default: %(default)s")


def run(arguments: argparse.Namespace) -> None:
    from ..bench.run import run_bench, run_profile
    from ..distributed import pick_device

    rows = arguments.rows.split(",") if arguments.rows else None
    device = pick_device(arguments.device)
    options = ["--profile"] * arguments.profile + [f"--rows {arguments.rows}"] * bool(rows) + ["--quick"] * arguments.quick
    options += ["--no-compile"] * arguments.no_compile + ["--no-memory"] * arguments.no_memory
    options += [f"--rounds {arguments.rounds}"] * (arguments.rounds != 7)
    command = " ".join(["python -m minigroupvit bench", *options])
    if arguments.profile:
        run_profile(arguments.out, device, rows, arguments.quick, command)
    else:
        run_bench(arguments.out, device, rows, arguments.rounds, arguments.quick, not arguments.no_compile,
                  not arguments.no_memory, command)
