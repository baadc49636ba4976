"""Build what a course hands out, from the notebooks and the texts beside this file.

    python -m course build [--out outputs/course]

`student/` has the assignments (notebooks without solutions), the syllabus and the glossary; `teacher/` the same
notebooks with solutions, hidden tests and answers to the questions, the rubric of the report, and typical errors;
`figures/` the diagrams as SVG.
"""

from __future__ import annotations

import importlib
import inspect
import re
import shutil
import sys
from pathlib import Path

import nbformat

from .blanks import ASSIGNMENTS, ROOT, blanks_of, release, source_of

sys.path.insert(0, str(ROOT / "scripts"))

from student_notebooks import student_version  # noqa: E402

TEXTS = Path(__file__).parent
RULES = """\
**Assignment {assignment}: {title} · release `{release}`**

Write each answer into the cell of its exercise, and helpers of yours above it in the same notebook. Keep the names of
functions. The checks below an exercise are for you; marks come from other inputs. Leave this cell as it is, and hand in
the notebook under its name, with outputs cleared."""


def answers() -> dict[str, list[tuple[str, str]]]:
    """The questions of each notebook, or their beginnings, and the answers: from answers.md, which has one source for both."""
    found = {}
    for section in re.split(r"(?m)^## ", (TEXTS / "answers.md").read_text(encoding="utf-8"))[1:]:
        parts = re.findall(r"(?ms)^\d\. \*\*(.+?)\*\*\s+(.+?)(?=^\d\. |\Z)", section)
        found[section[:2]] = [(flat(question), text.strip()) for question, text in parts]
    return found


def flat(text: str) -> str:
    """A text in one line, to compare it whatever its line breaks."""
    return " ".join(text.split())


def questions(notebook: nbformat.NotebookNode) -> list[str]:
    """What stands under "To think about"."""
    (cell,) = [c for c in notebook.cells if c.cell_type == "markdown" and c.source.startswith("## To think about")]
    return [flat(text) for text in re.split(r"(?m)^\d\. ", cell.source)[1:]]


def for_students(path: Path, assignment: str) -> nbformat.NotebookNode:
    """A notebook without solutions and outputs, with a cell on top that says what it belongs to."""
    notebook = nbformat.read(path, as_version=4)
    rules = RULES.format(assignment=assignment, title=ASSIGNMENTS[assignment].title, release=release(notebook))
    student = student_version(notebook)
    student.cells.insert(0, nbformat.v4.new_markdown_cell(rules, id="course"))
    return student


def for_teachers(path: Path) -> nbformat.NotebookNode:
    """A notebook as it is, with the answers below the questions and the hidden tests at the end."""
    notebook = nbformat.read(path, as_version=4)
    texts = [f"{n}. {text}" for n, (_, text) in enumerate(answers()[path.name[:2]], start=1)]
    place = next(i for i, cell in enumerate(notebook.cells) if cell.source.startswith("## To think about"))
    cells = [nbformat.v4.new_markdown_cell("\n".join(["**Answers**", "", *texts]), id="answers")]
    notebook.cells[place + 1:place + 1] = cells
    hidden = TEXTS / "hidden" / f"notebook_{path.name[:2]}.py"
    if hidden.is_file():
        text = f"**Hidden tests** (`course/hidden/{hidden.name}`)\n\n```python\n{hidden.read_text(encoding='utf-8')}```"
        notebook.cells.append(nbformat.v4.new_markdown_cell(text, id="hidden"))
    return notebook


def table() -> str:
    """The assignments and their blanks, as a Markdown table."""
    lines = ["| | notebook | write | points | minutes | difficulty |", "|---|---|---|---|---|---|"]
    for name, assignment in ASSIGNMENTS.items():
        blanks = [blank for number in assignment.notebooks for blank in blanks_of(source_of(number))]
        lines += [f"| {name} | {b.notebook} | `{b.name}` | {b.points} | {b.minutes or ''} | {'●' * b.difficulty} |"
                  for b in blanks]
        if assignment.report:
            lines += [f"| {name} | {' and '.join(assignment.notebooks)} | report | {assignment.report} | | |"]
        total = sum(b.points for b in blanks) + assignment.report
        lines += [f"| **{name}** | | **{assignment.title}** | **{total}** | **{sum(b.minutes for b in blanks) or ''}** | |"]
    return "\n".join(lines)


def draw_figures(folder: Path) -> int:
    """The diagrams of the package, and every SVG that a notebook shows; how many."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        diagrams = importlib.import_module("minigroupvit.visual.diagrams")
    except ModuleNotFoundError:                       # an older package
        diagrams = None
    for name, draw in inspect.getmembers(diagrams, inspect.isfunction):
        if draw.__module__ == diagrams.__name__ and name[0] != "_" and not inspect.signature(draw).parameters:
            draw().savefig(folder / f"{name}.svg")
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        shown = [o.data["image/svg+xml"] for c in nbformat.read(path, as_version=4).cells for o in c.get("outputs", [])
                 if "image/svg+xml" in o.get("data", {})]
        for number, svg in enumerate(shown, start=1):
            (folder / f"{path.stem}_{number}.svg").write_text(svg, encoding="utf-8")
    return len(list(folder.iterdir()))


def build(out: Path) -> None:
    """Writes student/, teacher/ and figures/ below `out`, anew."""
    for part in ("student", "teacher", "figures"):
        shutil.rmtree(out / part, ignore_errors=True)
    for name, assignment in ASSIGNMENTS.items():
        for number in assignment.notebooks:
            path = source_of(number)
            for part, notebook in (("student", for_students(path, name)), ("teacher", for_teachers(path))):
                (out / part / name).mkdir(parents=True, exist_ok=True)
                nbformat.write(notebook, out / part / name / path.name)
        if assignment.report:
            shutil.copy(TEXTS / "report.md", out / "student" / name)
    in_assignments = {source_of(number) for a in ASSIGNMENTS.values() for number in a.notebooks}
    (out / "student" / "reading").mkdir()             # the others; their exercises are for practice
    for path in sorted({*(ROOT / "notebooks").glob("*.ipynb")} - in_assignments):
        nbformat.write(student_version(nbformat.read(path, as_version=4)), out / "student" / "reading" / path.name)
    syllabus = (TEXTS / "syllabus.md").read_text(encoding="utf-8").replace("TABLE", table())
    for part in ("student", "teacher"):
        (out / part / "syllabus.md").write_text(syllabus, encoding="utf-8")
        shutil.copy(TEXTS / "glossary.md", out / part)
    for name in ("answers.md", "rubric.md", "errors.md"):
        shutil.copy(TEXTS / name, out / "teacher")
    print(f"{out}: {len(ASSIGNMENTS)} assignments, {draw_figures(out / 'figures')} figures")
