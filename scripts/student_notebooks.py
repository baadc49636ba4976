"""Write the notebooks as students get them: without the solutions, and nothing run yet.

    python scripts/student_notebooks.py [--out outputs/student] [notebooks/03_grouping_block.ipynb ...]

A notebook holds exercise, solution and check as cells with these tags, and is the only source: solutions are
left out here, by their tag. Pictures stay out too, some of them show what an exercise asks for.
"""

from __future__ import annotations

import argparse
import copy
from pathlib import Path

import nbformat

from minigroupvit.files import write_atomically

ROOT = Path(__file__).resolve().parent.parent


def student_version(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """A copy without solutions and outputs. Raises ValueError for an exercise without a check that follows it."""
    notebook = copy.deepcopy(notebook)
    tags = [cell.metadata.get("tags", []) for cell in notebook.cells]
    exercises = [i for i, own in enumerate(tags) if "exercise" in own]
    if any(not any("check" in own for own in tags[i:]) for i in exercises):
        raise ValueError("an exercise has no cell with the tag check after it; whoever solves it could not tell")
    notebook.cells = [cell for cell, own in zip(notebook.cells, tags) if "solution" not in own]
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return notebook


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebooks", nargs="*", type=Path, help="all, if none is given")
    parser.add_argument("--out", type=Path, default=ROOT / "outputs" / "student")
    arguments = parser.parse_args()
    for path in arguments.notebooks or sorted((ROOT / "notebooks").glob("*.ipynb")):
        notebook = student_version(nbformat.read(path, as_version=4))
        write_atomically(arguments.out / path.name, lambda part, own=notebook: nbformat.write(own, part))
        print(arguments.out / path.name)


if __name__ == "__main__":
    main()
