"""Print how much text and code the notebooks have, and where they break a rule.

    python scripts/notebook_numbers.py [notebooks/00_quickstart.ipynb ...]

The setup cell, which is the same everywhere, empty lines and comments are not counted. Solutions are counted like
other code.
"""

from __future__ import annotations

import argparse
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import nbformat

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
LEAST_TEXT_CELLS, MOST_MEDIAN, LONGEST, LEAST_WORDS, MOST_LINES = 1.3, 8, 35, 6, 200
LEAST_BLANKS = dict.fromkeys(("02", "03", "04", "05", "06", "07", "08"), 3)     # by number; 1 in the others


@dataclass(frozen=True)
class Numbers:
    """The statistics of one notebook."""

    text_cells: float   # text cells for each code cell
    median: float       # lines of the median code cell
    longest: int        # lines of the longest code cell
    words: float        # words of prose for each line of code
    lines: int          # lines of code in all
    blanks: int         # exercises

    def broken(self, number: str = "") -> list[str]:
        """The rules that the notebook of this number ("03") breaks."""
        least = LEAST_BLANKS.get(number, 1)
        rules = [
            (self.text_cells >= LEAST_TEXT_CELLS,
             f"{self.text_cells:.2f} text cells per code cell, not {LEAST_TEXT_CELLS}"),
            (self.median <= MOST_MEDIAN, f"the median code cell has {self.median:g} lines, not at most {MOST_MEDIAN}"),
            (self.longest <= LONGEST, f"the longest code cell has {self.longest} lines, not at most {LONGEST}"),
            (self.words >= LEAST_WORDS, f"{self.words:.1f} words of prose per line of code, not {LEAST_WORDS}"),
            (self.lines <= MOST_LINES, f"{self.lines} lines of code, not at most {MOST_LINES}"),
            (self.blanks >= least, f"{self.blanks} exercises, not {least} or more"),
        ]
        return [text for kept, text in rules if not kept]


def numbers_of(notebook: nbformat.NotebookNode) -> Numbers:
    """Counts one notebook. Raises ValueError if it has no code beside the setup cell."""
    texts = [cell.source for cell in notebook.cells if cell.cell_type == "markdown" and cell.id != "badge"]
    codes = [lines_of_code(cell.source) for cell in notebook.cells if cell.cell_type == "code" and cell.id != "setup"]
    if not codes:
        raise ValueError("the notebook has no code but its setup cell; there is nothing to count")
    words = sum(len(re.findall(r"[^\W_]+(?:['’-][^\W_]+)*", prose(text))) for text in texts)
    blanks = sum("exercise" in cell.metadata.get("tags", []) for cell in notebook.cells)
    return Numbers(len(texts) / len(codes), median(codes), max(codes), words / sum(codes), sum(codes), blanks)


def lines_of_code(source: str) -> int:
    """Lines that are neither empty nor all comment."""
    return sum(1 for line in source.splitlines() if line.strip() and not line.strip().startswith("#"))


def prose(markdown: str) -> str:
    """Text without blocks of code and the addresses of links."""
    return re.sub(r"```.*?```|\]\([^)]*\)", " ", markdown, flags=re.DOTALL)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebooks", nargs="*", type=Path, help="all, if none is given")
    complaints = []
    print(f"{'':32}text/code  median  longest  words/line  lines  blanks")
    for path in parser.parse_args().notebooks or sorted(NOTEBOOKS.glob("*.ipynb")):
        n = numbers_of(nbformat.read(path, as_version=4))
        print(f"{path.name:32}{n.text_cells:9.2f}{n.median:8g}{n.longest:9}{n.words:12.1f}{n.lines:7}{n.blanks:8}")
        complaints += [f"{path.name}: {text}" for text in n.broken(path.name[:2])]
    print("\n".join(complaints))
    sys.exit(bool(complaints))
