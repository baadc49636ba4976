"""What the notebooks say of the course: assignments, their blanks, and the code that an answer rests on.

A blank is a code cell with the tag `exercise` that defines one function, whose name is the name of the blank. Cells
with the tags `hint`, `solution` and `check` follow it. It counts in an assignment if its metadata say so:

    "tags": ["exercise"],
    "course": {"points": 6, "difficulty": 2, "minutes": 15, "importance": 3, "forbid": ["minigroupvit.grouping.merge"]}

Only `points` has to be there. `forbid` lists functions of the package that are the answer already.
"""

from __future__ import annotations

import ast
import hashlib
import re
import symtable
from dataclasses import dataclass
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "notebooks"


@dataclass(frozen=True)
class Assignment:
    """What is handed in together."""

    title: str
    notebooks: tuple[str, ...]   # how their names begin
    report: int = 0              # points that a person gives, by course/rubric.md


ASSIGNMENTS = {
    "A1": Assignment("The grouping block", ("02", "03")),
    "A2": Assignment("Losses and training", ("01", "04", "05")),
    "A3": Assignment("Zero-shot masks and mIoU", ("06",)),
    "A4": Assignment("A report: do groups emerge?", ("07", "08"), report=24),
}


@dataclass(frozen=True)
class Blank:
    """A function that a student writes."""

    notebook: str               # how its name begins: "03"
    name: str
    solution: str
    points: int
    difficulty: int = 0         # 1 to 5; 0: not said
    minutes: int = 0
    importance: int = 0
    forbid: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        return f"{self.notebook} {self.name}"


def tags(cell: nbformat.NotebookNode) -> list[str]:
    return cell.metadata.get("tags", [])


def source_of(notebook: str) -> Path:
    """The notebook that begins so. Raises ValueError where it is not one."""
    found = sorted(NOTEBOOKS.glob(f"{notebook}_*.ipynb"))
    if len(found) != 1:
        raise ValueError(f"expected one notebook that begins with {notebook}_, found {len(found)}")
    return found[0]


def blanks_of(path: Path) -> list[Blank]:
    """The blanks of a notebook that count. Raises ValueError for one without a function, or without a solution."""
    cells, found = nbformat.read(path, as_version=4).cells, []
    for place, cell in enumerate(cells):
        if "exercise" not in tags(cell) or "course" not in cell.metadata:
            continue
        names = [s.name for s in ast.parse(cell.source).body if isinstance(s, ast.FunctionDef)]
        solutions = [c.source for c in cells[place:] if "solution" in tags(c) and c.cell_type == "code"
                     and names and f"def {names[0]}(" in c.source]
        if len(names) != 1 or not solutions:
            raise ValueError(f"{path.name}, cell {cell.id}: an exercise with points needs exactly one function, and a "
                             f"cell with the tag solution that defines it after it; found {names}")
        course = dict(cell.metadata.course)
        found.append(Blank(path.name[:2], names[0], solutions[0], forbid=tuple(course.pop("forbid", ())), **course))
    return found


def release(notebook: nbformat.NotebookNode) -> str:
    """Eight digits that change with what students are asked: with any exercise or check of a notebook."""
    asked = "\n".join(cell.source for cell in notebook.cells if {"exercise", "check"} & {*tags(cell)})
    return hashlib.sha256(asked.encode()).hexdigest()[:8]


def statements(source: str) -> list[str]:
    """A cell's statements. Lines for IPython (%, !) are left out. Raises SyntaxError."""
    plain = re.sub(r"(?m)^[%!].*$", "", source)
    return [ast.unparse(statement) for statement in ast.parse(plain).body]


def names_of(statement: str) -> tuple[set[str], set[str]]:
    """The names that a statement gives a meaning to, and those that it needs from before it."""
    top = symtable.symtable(statement, "cell", "exec")
    bound = {s.get_name() for s in top.get_symbols() if s.is_assigned() or s.is_imported()}
    used, tables = {s.get_name() for s in top.get_symbols() if s.is_referenced()}, top.get_children()
    for table in tables:
        tables += table.get_children()
        used |= {s.get_name() for s in table.get_symbols() if s.is_global()}
    return bound, used


def answer(notebook: nbformat.NotebookNode, blank: Blank, others: list[Blank]) -> str:
    """The code of an answer and of what it rests on, out of a notebook; nothing else of it has to run.

    In place of the other blanks stand their solutions: who missed one of them can still get points for the next.
    Raises SyntaxError where the cell of the answer cannot be read, LookupError where there is none.
    """
    codes = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    places = [i for i, code in enumerate(codes) if re.search(rf"(?m)^(async )?(def|class) {blank.name}\b", code)]
    if not places:
        raise LookupError(f"no cell defines {blank.name}")
    solved, found = {other.name: other.solution for other in others if other != blank}, []
    for place, code in enumerate(codes[:places[-1] + 1]):
        try:
            cell = statements(code)
        except SyntaxError:
            if place == places[-1]:
                raise
            continue
        for statement in cell:
            own = names_of(statement)[0] & {*solved}
            found += statements(solved[own.pop()]) if own else [statement]
    tables = [names_of(statement) for statement in found]
    wanted, kept = {blank.name}, set()
    while more := {i for i, (bound, _) in enumerate(tables) if bound & wanted} - kept:
        kept |= more
        wanted |= set().union(*(tables[i][1] for i in more))
    return "\n".join(found[i] for i in sorted(kept))
