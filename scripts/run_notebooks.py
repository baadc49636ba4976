"""Run notebooks and keep what they show: this is how those of the repository were made.

    MINIGROUPVIT_BUDGET=cpu python scripts/run_notebooks.py [notebooks/00_quickstart.ipynb ...]

A widget's output is its picture and the widget; only the picture is kept, since a stored widget shows
nothing (GitHub, HTML) or an error (JupyterLab) until its cell runs again. A notebook in which a cell
fails or warns stays as it was.
"""

from __future__ import annotations

import argparse
import copy
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from minigroupvit.files import write_atomically

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
WIDGET = "application/vnd.jupyter.widget-view+json"


def run(path: Path, twice: bool = False) -> float:
    """Runs a notebook in its own folder and writes it; its seconds.

    `twice`: all cells, then all again in the same kernel, as someone does who plays; nothing is written.
    Raises CellExecutionError where a cell fails, ValueError where one writes to stderr.
    """
    notebook = nbformat.read(path, as_version=4)
    if twice:
        again = copy.deepcopy(notebook.cells)
        for cell in again:
            cell.id += "-again"
        notebook.cells += again
    started = time.perf_counter()
    NotebookClient(notebook, timeout=600, kernel_name="python3", store_widget_state=False,
                   resources={"metadata": {"path": str(path.parent)}}).execute()
    seconds = time.perf_counter() - started
    tidy(notebook)
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if output.output_type == "stream" and output.name == "stderr":
                raise ValueError(f"{path.name} warns: {output.text.strip()}; repair the cell:\n{cell.source}")
    if not twice:
        write_atomically(path, lambda part: nbformat.write(notebook, part))
    return seconds


def tidy(notebook: nbformat.NotebookNode) -> None:
    """Leaves out what differs from run to run or shows nothing in a stored notebook, in place.

    Pictures get a text for who cannot see them: the heading that they stand below.
    """
    notebook.metadata = nbformat.from_dict({
        "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
        "language_info": {"name": "python"}})
    heading = "the notebook"
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)      # the time of day
        if cell.cell_type == "markdown":
            headings = [line for line in cell.source.splitlines() if line.startswith("#")]
            heading = headings[-1].replace("*", "").lstrip("# ") if headings else heading
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                output.data.pop(WIDGET, None)
                output.metadata["image/png"] = {"alt": f"Figure of: {heading}"}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebooks", nargs="*", type=Path, help="all, if none is given")
    parser.add_argument("--twice", action="store_true", help="run all cells twice in one kernel, write nothing")
    arguments = parser.parse_args()
    for notebook in arguments.notebooks or sorted(NOTEBOOKS.glob("*.ipynb")):
        try:
            seconds = run(notebook.resolve(), arguments.twice)
            print(f"{notebook.name}: {seconds:.0f} s, {notebook.stat().st_size / 1e6:.2f} MB", flush=True)
        except (CellExecutionError, ValueError) as error:
            sys.exit(f"{notebook.name}: {error}")
