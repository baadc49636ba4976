"""Mark a folder of submissions: a table of marks, and a page of feedback for each student.

    python -m course grade submissions/ [--assignment A1] [--seed SEED] [--out outputs/course/marks]

Each student has a folder, with notebooks named as they were handed out. Every assignment is marked of which somebody
handed in a notebook. Each blank runs by itself (course/sandbox.py), so what crashes, loops or fills the memory costs
its own points and no others. What the answer returns is compared with what the solution returns, here, in a process
that runs no code of students. The seed of the hidden tests is drawn anew unless it is given, and written beside the marks.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import inspect
import re
import secrets
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

import nbformat
import torch

from minigroupvit.files import write_atomically

from . import sandbox
from .blanks import ASSIGNMENTS, ROOT, Blank, answer, blanks_of, release, source_of

ROUNDS = 3                        # how often each part is tried, with new inputs
MOST_BYTES, MOST_CODE = 32 * 2**20, 10**6         # of a notebook: bytes, and letters of code
WORDS = 30                        # that a section of the report has at least, to count as written


@dataclass
class Mark:
    """What became of one blank."""

    blank: Blank
    parts: dict[str, str]                          # what each part says: "" if it is right
    error: str = ""                                # what went wrong with all of them
    tried: list[str] = field(default_factory=list)     # what the answer may not use

    @property
    def points(self) -> float:
        right = 0 if self.error else list(self.parts.values()).count("")
        return round(self.blank.points * right / len(self.parts), 2)


class Grader:
    """Marks one assignment. Raises ValueError where a solution of the notebooks does not run."""

    def __init__(self, assignment: str, seed: str, seconds: int = 10, memory: int = 2000):
        self.seed, self.seconds, self.memory = seed, seconds, memory
        self.blanks = {name: blanks_of(source_of(name)) for name in ASSIGNMENTS[assignment].notebooks}
        self.releases = {name: release(nbformat.read(source_of(name), as_version=4)) for name in self.blanks}
        self.context = sandbox.start_server()
        self.right = {}
        for name, blanks in self.blanks.items():
            notebook = nbformat.read(source_of(name), as_version=4)
            for blank in blanks:
                tests = self.tests(blank)
                self.right[blank] = found = self.run(answer(notebook, blank, blanks), blank)
                if "error" in found or any(isinstance(found[part], str) for part in tests):
                    raise ValueError(f"the solution of {blank.title} does not pass its hidden tests: {found}")
        self.offline = all(found["offline"] for found in self.right.values())

    @staticmethod
    def tests(blank: Blank) -> dict:
        """The parts of a blank's hidden tests. Raises ValueError where there are none."""
        hidden = getattr(import_module(f"course.hidden.notebook_{blank.notebook}"), blank.name, None)
        if hidden is None:
            raise ValueError(f"{blank.name} has points, but course/hidden/notebook_{blank.notebook}.py has no class of "
                             "that name with its hidden tests")
        return sandbox.parts(hidden)

    def run(self, source: str, blank: Blank) -> dict:
        seeds = tuple(int(hashlib.sha256(f"{self.seed}/{blank.title}/{i}".encode()).hexdigest()[:12], 16)
                      for i in range(ROUNDS))
        return sandbox.run(self.context, sandbox.Job(blank.notebook, blank.name, source, blank.forbid, seeds,
                                                     self.memory, self.seconds))

    def mark(self, folder: Path) -> list[Mark]:
        """All blanks of one student."""
        marks = []
        for name, blanks in self.blanks.items():
            notebook, error = self.read(folder, name)
            marks += [Mark(b, dict.fromkeys(self.tests(b), error), error) if error else self.mark_blank(notebook, b)
                      for b in blanks]
        return marks

    def read(self, folder: Path, name: str) -> tuple[nbformat.NotebookNode | None, str]:
        """The newest notebook that begins with this number, or why there is none to mark."""
        paths = [p for p in folder.glob(f"{name}*.ipynb") if p.is_file() and not p.is_symlink()]
        if not paths:
            return None, f"there is no notebook {source_of(name).name}"
        path = max(paths, key=lambda p: p.stat().st_mtime)
        try:
            if path.stat().st_size > MOST_BYTES:
                raise ValueError("it is too large; clear the outputs")
            notebook = nbformat.read(path, as_version=4)
            if sum(len(cell.source) for cell in notebook.cells if cell.cell_type == "code") > MOST_CODE:
                raise ValueError("it has more code than anyone could have written")
            said = re.findall(r"release `([0-9a-f]{8})`", "\n".join(c.source for c in notebook.cells))
        except Exception as error:
            return None, f"{path.name} cannot be read: {type(error).__name__}: {error}"[:300]
        if self.releases[name] not in said:
            return None, (f"{path.name} is of release {said[0] if said else '(it names none)'}, and marked is "
                          f"{self.releases[name]}; copy the answers into a new copy of that one")
        return notebook, ""

    def mark_blank(self, notebook: nbformat.NotebookNode, blank: Blank) -> Mark:
        """One blank. Nothing that the student's process sends is believed, but what is equal to the right result."""
        mark = Mark(blank, dict.fromkeys(self.tests(blank), "another result"))
        try:
            found = self.run(answer(notebook, blank, self.blanks[blank.notebook]), blank)
        except Exception as error:                       # whatever a notebook may hold: it costs itself only
            found = {"error": f"{type(error).__name__}: {error}"}
        if not isinstance(found, dict):
            found = {"error": "what it returned cannot be read"}
        mark.error = str(found.get("error", ""))[:300]
        mark.tried = [str(name)[:200] for name in found.get("tried") or []][:20]
        for part in mark.parts:
            got = found.get(part)
            if same(self.right[blank][part], got):
                mark.parts[part] = ""
            elif isinstance(got, str) and got:
                mark.parts[part] = got[:300]
        return mark


def same(right: object, given: object) -> bool:
    """Whether two results are equal, numbers nearly so. `given` may be anything that torch.load gives."""
    if isinstance(right, list):
        return isinstance(given, list) and len(right) == len(given) and all(map(same, right, given))
    if isinstance(right, (torch.Tensor, float)) and isinstance(given, (torch.Tensor, float, int)):
        right, given = torch.as_tensor(right), torch.as_tensor(given)
        usual = given.layout == torch.strided and given.device.type == "cpu" and not given.is_complex()
        return usual and right.shape == given.shape and torch.allclose(
            given.double(), right.double(), rtol=1e-4, atol=1e-5, equal_nan=True)
    return type(right) is type(given) and right == given


def page(student: str, assignment: str, marks: list[Mark], report: str) -> str:
    """The feedback for one student, as Markdown."""
    total, most = sum(m.points for m in marks), sum(m.blank.points for m in marks)
    lines = [f"# {student}: {assignment}, {ASSIGNMENTS[assignment].title}", "",
             f"**{total:g} of {most:g} points** for the code.", *([report] if report else []), ""]
    for mark in marks:
        lines += [f"## {mark.blank.title}: {mark.points:g} of {mark.blank.points}", ""]
        lines += [f"Not marked: {mark.error}"] if mark.error else [
            f"- {'right' if not says else 'wrong'}: {inspect.getdoc(Grader.tests(mark.blank)[part])}"
            + (f" ({says})" if says else "") for part, says in mark.parts.items()]
        lines += [f"\nThe answer tried to use what it may not: {', '.join(mark.tried[:5])}"] if mark.tried else []
        lines += [""]
    return "\n".join(lines)


def read_report(folder: Path) -> str:
    """What a program can say of report.md: its words, and sections in which hardly anything is written."""
    path = folder / "report.md"
    if not path.is_file() or path.is_symlink():
        return "There is no report.md."
    sections = re.split(r"(?m)^## ", path.read_text(encoding="utf-8", errors="replace")[:10**6])[1:]
    texts = {s.splitlines()[0]: re.sub(r"<!--.*?-->", "", "\n".join(s.splitlines()[1:]), flags=re.DOTALL) for s in sections}
    bare = [title for title, text in texts.items() if len(text.split()) < WORDS]
    words = sum(len(text.split()) for text in texts.values())
    return f"The report has {words} words" + (f"; hardly anything is written under: {', '.join(bare)}." if bare else ".")


def mark_all(submissions: Path, assignment: str, out: Path, grader: Grader, jobs: int = 2) -> Path:
    """Marks all students and writes marks.csv and their pages; where the table lies."""
    folders = sorted(path for path in submissions.iterdir() if path.is_dir() and not path.name.startswith("."))
    with ThreadPoolExecutor(jobs) as pool:
        marked = list(pool.map(grader.mark, folders))
    with_report = ASSIGNMENTS[assignment].report > 0
    blanks = [blank for own in grader.blanks.values() for blank in own]
    rows = [["student", *(f"{b.title} ({b.points})" for b in blanks), "code", f"of {sum(b.points for b in blanks)}",
             *([f"report of {ASSIGNMENTS[assignment].report}, by hand"] if with_report else []), "notes"]]
    for folder, marks in zip(folders, marked):
        total = sum(mark.points for mark in marks)
        notes = [f"{m.blank.name}: {m.error or 'tried ' + ', '.join(m.tried[:3])}" for m in marks if m.error or m.tried]
        rows.append([folder.name, *(f"{m.points:g}" for m in marks), f"{total:g}",
                     f"{total / sum(b.points for b in blanks):.0%}", *([""] if with_report else []), "; ".join(notes)])
        text = page(folder.name, assignment, marks, read_report(folder) if with_report else "")
        write_atomically(out / assignment / f"{folder.name}.md", lambda part, own=text: part.write_text(own, "utf-8"))
    write_atomically(out / assignment / "seed.txt", lambda part: part.write_text(grader.seed + "\n"))
    write_atomically(out / assignment / "marks.csv", lambda part: write_table(part, rows))
    return out / assignment / "marks.csv"


def write_table(path: Path, rows: list[list[str]]) -> None:
    """A CSV file. A text of students that begins like a formula gets a quote before it, or a spreadsheet would run it."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["'" + cell if cell[:1] in "=+-@" and cell else cell for cell in row] for row in rows])


def handed_in(submissions: Path) -> list[str]:
    """The assignments of which there is something."""
    return [name for name, a in ASSIGNMENTS.items() if any(submissions.glob("*/report.md")) and a.report
            or any(path for n in a.notebooks for path in submissions.glob(f"*/{n}*.ipynb"))]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("submissions", type=Path)
    parser.add_argument("--assignment", choices=ASSIGNMENTS, help="all of which there is something, if none is given")
    parser.add_argument("--seed", help="of the hidden tests: any text; drawn if it is not given")
    parser.add_argument("--out", type=Path, default=ROOT / "outputs" / "course" / "marks")
    parser.add_argument("--seconds", type=int, default=10, help="of the processor for each blank (default 10)")
    parser.add_argument("--memory", type=int, default=2000, help="MB for each blank (default 2000)")
    parser.add_argument("--jobs", type=int, default=2, help="blanks that run at the same time (default 2)")


def grade(given: argparse.Namespace) -> None:
    """Marks what was handed in, as the arguments say. Raises ValueError where there is nothing."""
    if not given.submissions.is_dir():
        raise ValueError(f"{given.submissions} is no folder; make grade SUBMISSIONS=folder, with a folder for each student")
    names = [given.assignment] if given.assignment else handed_in(given.submissions)
    if not names:
        raise ValueError(f"no folder in {given.submissions} has a notebook of an assignment, such as "
                         "alice/03_grouping_block.ipynb")
    for name in names:
        grader = Grader(name, given.seed or secrets.token_hex(8), given.seconds, given.memory)
        table = mark_all(given.submissions, name, given.out, grader, given.jobs)
        print(table, "(the network was out of reach of the answers)" if grader.offline else
              "(this system gave no way to cut the answers off from the network; only a hook refused them sockets)")
