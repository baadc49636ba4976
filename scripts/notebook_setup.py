"""Write the Colab badge and the setup cell into every notebook, and the README's list of notebooks.

    python scripts/notebook_setup.py            # writes those that differ
    python scripts/notebook_setup.py --check    # writes nothing; an error if one differs

The badge is the cell with the id "badge", the setup cell has the id "setup"; a notebook without them gets them before
and after its first cell, which has its title. Outputs stay. The list in the README, between two marks, has the titles.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import nbformat

REPOSITORY = "https://github.com/minigroupvit/minigroupvit"   # the one place to change when it moves
BRANCH = "main"
NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
README = NOTEBOOKS.parent / "README.md"
BEGIN, END = "<!-- scripts/notebook_setup.py writes from here -->\n", "<!-- to here -->\n"

SETUP = """\
# In a clone this takes the clone's package; elsewhere (Colab) it installs the package if it is missing.
import importlib.util, subprocess, sys
from pathlib import Path

folders = (Path.cwd(), Path.cwd() / "minigroupvit", *Path.cwd().parents)    # a clone around the notebook or beside it
sys.path[:0] = [str(f) for f in folders if (f / "minigroupvit/__init__.py").is_file()][:1]
if getattr(importlib.util.find_spec("minigroupvit"), "origin", None) is None:
    package = "minigroupvit @ git+REPOSITORY@BRANCH"
    if subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", package]).returncode:
        raise RuntimeError(f"could not install {package}: check the network, or clone the repository beside "
                           "this notebook")
    importlib.invalidate_caches()
MORE%matplotlib inline
from minigroupvit.visual.notebook import begin

place = begin()""".replace("REPOSITORY", REPOSITORY).replace("BRANCH", BRANCH)


# Libraries that a notebook needs beside the package, by the number of the notebook: the import, and pip's name.
NEEDS = {"10": ("transformers", "transformers>=5.2")}
INSTALL = """\
if importlib.util.find_spec("{module}") is None:     # this notebook alone needs it, the package does not
    if subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "{package}"]).returncode:
        raise RuntimeError("could not install {package}: check the network, or install it by hand; then run this again")
    importlib.invalidate_caches()
"""


def setup(name: str) -> str:
    """The setup cell of the notebook of this file name."""
    module, package = NEEDS.get(name[:2], (None, None))
    return SETUP.replace("MORE", INSTALL.format(module=module, package=package) if module else "")


def badge(name: str) -> str:
    """The line that opens the notebook of this file name in Colab."""
    path = REPOSITORY.removeprefix("https://github.com/")
    return ("[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
            f"(https://colab.research.google.com/github/{path}/blob/{BRANCH}/notebooks/{name})")


def set_up(notebook: nbformat.NotebookNode, name: str) -> bool:
    """Puts both cells in place; whether that changed anything."""
    changed = False
    for place, cell in ((0, nbformat.v4.new_markdown_cell(badge(name), id="badge")),
                        (2, nbformat.v4.new_code_cell(setup(name), id="setup", metadata={"tags": ["setup"]}))):
        there = next((c for c in notebook.cells if c.id == cell.id), None)
        if there is None:
            notebook.cells.insert(place, cell)
        elif there.source != cell.source:
            there.source = cell.source
        else:
            continue
        changed = True
    return changed


def table(folder: Path = NOTEBOOKS) -> str:
    """The README's lines: one for each notebook."""
    lines = []
    for path in sorted(folder.glob("*.ipynb")):
        first = next(c.source for c in nbformat.read(path, as_version=4).cells if c.source.startswith("# "))
        lines.append(f"- [{first.splitlines()[0].removeprefix('# ')}](notebooks/{path.name})")
    return "\n".join(lines) + "\n"


def set_up_readme(write: bool = True) -> list[str]:
    """["README.md"] if its list differed; it is written unless told otherwise."""
    text = README.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    new = before + BEGIN + table() + END + rest.split(END, maxsplit=1)[1]
    if new == text:
        return []
    if write:
        README.write_text(new, encoding="utf-8")
    return [README.name]


def set_up_all(folder: Path = NOTEBOOKS, write: bool = True) -> list[str]:
    """Names of the notebooks whose cells differed; they are written unless told otherwise."""
    different = []
    for path in sorted(folder.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        if set_up(notebook, path.name):
            different.append(path.name)
            if write:
                nbformat.write(notebook, path)
    return different


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args().check
    names = set_up_all(write=not check) + set_up_readme(write=not check)
    for name in names:
        print(f"{name}: " + ("its badge, setup cell or table is old; run python scripts/notebook_setup.py" if check
                             else "written"))
    sys.exit(bool(check and names))
