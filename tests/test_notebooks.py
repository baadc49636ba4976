"""The notebooks as they are committed, and the scripts that keep them so. Running them all is `--nbval-lax`."""

from __future__ import annotations

import functools
import http.server
import importlib.util
import re
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import nbformat
import pytest

from minigroupvit.data.free_photographs import CREDITS, free_photograph
from minigroupvit.visual import notebook as beginning

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

import make_pages  # noqa: E402
import notebook_numbers  # noqa: E402
import notebook_setup  # noqa: E402
import run_notebooks  # noqa: E402
import student_notebooks  # noqa: E402

PATHS = sorted((ROOT / "notebooks").glob("*.ipynb"))
each = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
_PRIVATE = re.compile(r"(?<![\w.:/])/(?:home|root|tmp|usr|work|Users|opt|mnt)/|[A-Z]:\\")


def outputs(path: Path) -> list[nbformat.NotebookNode]:
    return [output for cell in nbformat.read(path, 4).cells for output in cell.get("outputs", [])]


def texts_of(path: Path) -> list[str]:
    found = []
    for output in outputs(path):
        found += [output.get("text", ""), *(str(v) for k, v in output.get("data", {}).items() if k.startswith("text/"))]
    return found


def test_there_are_notebooks():
    assert PATHS and PATHS[0].stem == "00_quickstart"


@each
def test_badge_and_setup_cell_are_those_of_the_script(path):
    notebook = nbformat.read(path, 4)
    assert not notebook_setup.set_up(notebook, path.name), "run python scripts/notebook_setup.py"
    assert [cell.id for cell in notebook.cells if cell.id in ("badge", "setup")] == ["badge", "setup"]


@each
def test_it_is_committed_as_it_ran_from_top_to_bottom(path):
    nbformat.validate(nbformat.read(path, 4))
    codes = [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in codes] == list(range(1, len(codes) + 1)), "run make notebooks"
    assert not [o for o in outputs(path) if o.output_type == "error" or o.get("name") == "stderr"]
    assert re.search(r"budget: (cpu|gpu)$", texts_of(path)[0].strip()), "commit it with the budget cpu or gpu"


@each
def test_it_is_small_and_shows_nothing_of_the_machine(path):
    assert path.stat().st_size < 3e6
    for text in texts_of(path):
        assert not _PRIVATE.search(text) and socket.gethostname() not in text and "Warning" not in text, text[:300]


@each
def test_widgets_leave_an_image(path):
    for output in outputs(path):
        data = output.get("data", {})
        assert run_notebooks.WIDGET not in data
        if re.match(r"<\w+>$", data.get("text/plain", "")):
            assert len(data["image/png"]) > 5000
    assert sum("image/png" in output.get("data", {}) for output in outputs(path)) >= 1


@each
def test_it_keeps_to_the_numbers(path):
    assert notebook_numbers.numbers_of(nbformat.read(path, 4)).broken(path.name[:2]) == []


@each
def test_it_begins_and_ends_like_all(path):
    cells = nbformat.read(path, 4).cells
    first = next(cell.source for cell in cells if cell.cell_type == "markdown" and cell.id != "badge")
    for words in ("At the end you will know", "You need", "It takes"):
        assert words in first
    headings = re.findall(r"^## (.*)$", "\n".join(c.source for c in cells if c.cell_type == "markdown"), re.MULTILINE)
    assert headings[-3] == "To think about" and headings[-2].startswith("Exercise") and headings[-1] == "Where to go on"
    questions = next(cell.source for cell in cells if cell.source.startswith("## To think about"))
    assert 3 <= len(re.findall(r"^\d\. ", questions, re.MULTILINE)) <= 5
    tags = [tag for cell in cells for tag in cell.metadata.get("tags", [])]
    blanks = [tag for tag in tags if tag in ("exercise", "solution", "check")]
    blanks = [tag for i, tag in enumerate(blanks) if i == 0 or tag != blanks[i - 1]]       # several checks count as one
    assert blanks == ["exercise", "solution", "check"] * (len(blanks) // 3) and 1 <= len(blanks) // 3 <= 7


@each
def test_students_get_the_exercise_and_its_check_but_not_the_solution(path):
    notebook = nbformat.read(path, 4)
    before = nbformat.writes(notebook)
    students = student_notebooks.student_version(notebook)
    assert nbformat.writes(notebook) == before              # the source stays as it is
    nbformat.validate(students)
    solutions = [cell.source for cell in notebook.cells if "solution" in cell.metadata.get("tags", [])]
    assert [c.source for c in students.cells] == [c.source for c in notebook.cells if c.source not in solutions]
    assert all(not cell.outputs and cell.execution_count is None for cell in students.cells if cell.cell_type == "code")
    exercises = [c.source for c in students.cells if "exercise" in c.metadata.get("tags", [])]
    assert exercises and all("NotImplementedError" in exercise for exercise in exercises)


def test_the_table_of_the_readme_is_that_of_the_script():
    assert notebook_setup.set_up_readme(write=False) == [], "run python scripts/notebook_setup.py"


def test_an_exercise_without_a_check_is_an_error():
    v = nbformat.v4
    cells = [v.new_code_cell("x", metadata={"tags": [tag]}) for tag in ("check", "exercise", "solution")]
    with pytest.raises(ValueError, match="no cell with the tag check after it"):
        student_notebooks.student_version(v.new_notebook(cells=cells))


def test_an_old_setup_cell_is_renewed_and_the_rest_stays(tmp_path):
    v = nbformat.v4
    old = v.new_notebook(cells=[v.new_markdown_cell("old", id="badge"), v.new_code_cell("old = 1", id="setup"),
                                v.new_markdown_cell("# Mine"), v.new_code_cell("x = 1", execution_count=7)])
    nbformat.write(old, tmp_path / "a.ipynb")
    nbformat.write(v.new_notebook(cells=[v.new_markdown_cell("# Other")]), tmp_path / "b.ipynb")
    assert notebook_setup.set_up_all(tmp_path, write=False) == ["a.ipynb", "b.ipynb"]
    assert notebook_setup.set_up_all(tmp_path) == ["a.ipynb", "b.ipynb"]
    assert notebook_setup.set_up_all(tmp_path) == []
    new = nbformat.read(tmp_path / "a.ipynb", 4)
    assert [cell.source for cell in new.cells[2:]] == ["# Mine", "x = 1"] and new.cells[3].execution_count == 7
    assert [cell.id for cell in new.cells[:2]] == ["badge", "setup"]
    assert new.cells[0].source.endswith("/notebooks/a.ipynb)") and notebook_setup.REPOSITORY in new.cells[1].source
    other = nbformat.read(tmp_path / "b.ipynb", 4).cells
    assert [other[0].id, other[1].source, other[2].id] == ["badge", "# Other", "setup"]


def run_setup(monkeypatch, name: str, missing: set[str], fails: str = "nothing") -> list[str]:
    """What the setup cell of a notebook installs with pip if these modules are missing."""
    asked, find_spec = [], importlib.util.find_spec

    def run_pip(command: list[str]) -> subprocess.CompletedProcess:
        asked.append(command[-1])
        return subprocess.CompletedProcess(command, int(command[-1].startswith(fails)))

    monkeypatch.setattr(importlib.util, "find_spec", lambda module: None if module in missing else find_spec(module))
    monkeypatch.setattr(subprocess, "run", run_pip)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(ROOT / "notebooks")
    exec(notebook_setup.setup(name).split("%matplotlib")[0], {})
    return asked


@pytest.mark.parametrize(("name", "missing", "asked"), [
    ("03_grouping_block.ipynb", set(), []), ("03_grouping_block.ipynb", {"transformers"}, []),
    ("03_grouping_block.ipynb", {"minigroupvit"}, ["minigroupvit @ git+"]), ("10_released_weights.ipynb", set(), []),
    ("10_released_weights.ipynb", {"transformers"}, ["transformers>=5.2"]),
    ("10_released_weights.ipynb", {"minigroupvit", "transformers"}, ["minigroupvit @ git+", "transformers>=5.2"])])
def test_the_setup_cell_installs_what_is_missing(monkeypatch, name, missing, asked):
    found = run_setup(monkeypatch, name, missing)
    assert len(found) == len(asked) and all(a.startswith(b) for a, b in zip(found, asked))


@pytest.mark.parametrize(("fails", "words"), [
    ("minigroupvit", "could not install minigroupvit @ git.* check the network, or clone the repository"),
    ("transformers", "could not install transformers>=5.2: check the network, or install it by hand; then run this again")])
def test_an_install_that_fails_says_what_to_do(monkeypatch, fails, words):
    with pytest.raises(RuntimeError, match=words):
        run_setup(monkeypatch, "10_released_weights.ipynb", {"minigroupvit", "transformers"}, fails)


def test_what_a_notebook_needs_is_in_the_requirements():
    asked = (ROOT / "requirements.txt").read_text().splitlines()
    for prefix, (module, package) in notebook_setup.NEEDS.items():
        (path,) = [path for path in PATHS if path.name.startswith(prefix)]
        assert package in asked and f"from {module} import" in path.read_text(encoding="utf-8")
    imports = {path.name[:2] for path in PATHS if "from transformers" in path.read_text(encoding="utf-8")}
    assert imports == set(notebook_setup.NEEDS)


def test_the_numbers_are_counted_as_a_reader_would():
    v = nbformat.v4
    notebook = v.new_notebook(cells=[
        v.new_markdown_cell("badge [x](https://a.b/c)", id="badge"), v.new_code_cell("a\nb\nc", id="setup"),
        v.new_markdown_cell("# Four words are here\n```python\nnot these\n```\nand [a link](https://not.this/one)"),
        v.new_code_cell("x = 1\n\n# why\ny = 2  # two\n"), v.new_code_cell("z = 3", metadata={"tags": ["exercise"]})])
    numbers = notebook_numbers.numbers_of(notebook)
    assert numbers == notebook_numbers.Numbers(text_cells=0.5, median=1.5, longest=2, words=7 / 3, lines=3, blanks=1)
    assert len(numbers.broken()) == 2
    assert len(notebook_numbers.Numbers(1.0, 9, 36, 5.9, 201, 0).broken()) == 6
    assert notebook_numbers.Numbers(1.3, 8, 35, 6, 200, 1).broken() == []
    assert notebook_numbers.Numbers(1.3, 8, 35, 6, 200, 2).broken("05") == ["2 exercises, not 3 or more"]


def test_pages_have_alternative_texts_for_images():
    v = nbformat.v4
    picture = v.new_output("display_data", {"image/png": "eA=="}, metadata={"image/png": {"alt": "a <small> cat"}})
    page, _ = make_pages.Pages().from_notebook_node(v.new_notebook(cells=[v.new_code_cell("x", outputs=[picture])]))
    assert 'alt="a &lt;small&gt; cat"' in page and "jp-Notebook" in page


def test_pages_fold_solutions():
    v = nbformat.v4
    cells = [v.new_code_cell("exercise"), v.new_code_cell("solution", metadata={"tags": ["solution"]})]
    page, _ = make_pages.Pages().from_notebook_node(v.new_notebook(cells=cells))
    folded = page[page.index("<summary>Solution"):page.index("</details>")]
    assert "solution</span>" in folded and "exercise</span>" not in folded and "exercise</span>" in page


@each
def test_pages_need_no_network_and_show_every_formula(path):
    page, _ = make_pages.Pages().from_notebook_node(nbformat.read(path, 4))
    assert "<script src=" not in page and not re.search(r"import\(\W*https?:", page)
    text = re.sub(r"(?s)<(pre|code|style|script).*?</\1>|<[^>]+>", " ", page)
    assert not re.search(r"\$[^$\n]{0,80}\\|\\(?:frac|sum|log|text)", text), "LaTeX was left in the page"


def test_only_the_image_of_a_widget_is_kept():
    v = nbformat.v4
    shown = v.new_output("execute_result", {"image/png": "eA==", run_notebooks.WIDGET: {"model_id": "1"}})
    bare = v.new_output("display_data", {"text/plain": "VBox()", run_notebooks.WIDGET: {"model_id": "2"}})
    notebook = v.new_notebook(cells=[v.new_code_cell("x", outputs=[shown, bare],
                                                     metadata={"execution": {"iopub.status.busy": "now"}})])
    notebook.cells.insert(0, v.new_markdown_cell("## A **fine** figure\ntext"))
    run_notebooks.tidy(notebook)
    del notebook.cells[0]
    assert notebook.cells[0].outputs[0].metadata["image/png"]["alt"] == "Figure of: A fine figure"
    assert list(notebook.cells[0].outputs[0].data) == ["image/png"]
    assert run_notebooks.WIDGET in notebook.cells[0].outputs[1].data    # left, for the test above to see
    assert notebook.cells[0].metadata == {} and set(notebook.metadata) == {"kernelspec", "language_info"}


@pytest.mark.parametrize("value, has_gpu, budget, device", [
    (None, False, "cpu", "cpu"), (None, True, "gpu", "cuda"), ("tiny", True, "tiny", "cpu"), ("", False, "cpu", "cpu"),
    ("cpu", True, "cpu", "cpu"), ("gpu", True, "gpu", "cuda")])
def test_the_budget(value, has_gpu, budget, device, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: has_gpu)
    monkeypatch.delenv(beginning.VARIABLE, raising=False)
    if value is not None:
        monkeypatch.setenv(beginning.VARIABLE, value)
    runtime = beginning.find_runtime()
    assert (runtime.budget, runtime.device.type) == (budget, device)
    assert runtime.pick({"tiny": 1, "cpu": 2, "gpu": 3}) == {"tiny": 1, "cpu": 2, "gpu": 3}[budget]
    with pytest.raises(ValueError, match="tiny, cpu, gpu"):
        runtime.pick({"cpu": 1})


@pytest.mark.parametrize("value, message", [("huge", "'huge'; choose one of tiny, cpu, gpu"), ("gpu", "finds no GPU")])
def test_a_budget_that_cannot_be(value, message, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setenv(beginning.VARIABLE, value)
    with pytest.raises(ValueError, match=message):
        beginning.begin()


def test_data_are_in_the_folder_that_the_variable_names(monkeypatch, tmp_path):
    (tmp_path / "flickr8k-128").mkdir()
    monkeypatch.setenv(beginning.DATA_VARIABLE, str(tmp_path))
    assert beginning.data_folder("flickr8k-128") == tmp_path / "flickr8k-128"
    assert beginning.data_folder("flickr30k") is None
    monkeypatch.delenv(beginning.DATA_VARIABLE)
    monkeypatch.chdir(tmp_path)
    assert beginning.data_folder("flickr8k-128") is None


def test_the_network_is_asked_once_and_not_for_long(monkeypatch):
    """A server that accepts the connection and never answers; no server; a server that answers."""
    with socket.socket() as silent, socket.socket() as gone:
        for listener in (silent, gone):
            listener.bind(("127.0.0.1", 0))
        silent.listen()
        started = time.perf_counter()
        assert not beginning.reaches(f"http://127.0.0.1:{silent.getsockname()[1]}", seconds=0.3)
        assert not beginning.reaches(f"http://127.0.0.1:{gone.getsockname()[1]}", seconds=5)
        assert time.perf_counter() - started < 4
    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
    monkeypatch.setattr(http.server.SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    threading.Thread(target=server.handle_request, daemon=True).start()
    assert beginning.reaches(f"http://127.0.0.1:{server.server_port}", seconds=5)
    server.server_close()


@pytest.mark.parametrize("name", CREDITS)
def test_photographs_that_anyone_may_show(name):
    picture = free_photograph(name)
    assert picture.mode == "RGB" and min(picture.size) >= 300


def test_no_photograph_of_that_name():
    with pytest.raises(ValueError, match="no photograph 'dog'; there are cat, "):
        free_photograph("dog")


def test_the_papers_weights_are_taken_from_the_folder_first(monkeypatch, tmp_path):
    cpu, tiny = (beginning.Runtime(budget, None) for budget in ("cpu", "tiny"))
    monkeypatch.delenv(beginning.DATA_VARIABLE, raising=False)
    monkeypatch.setattr(beginning, "reaches", lambda: True)
    assert beginning.paper_weights(cpu) == "nvidia/groupvit-gcc-yfcc" and beginning.paper_weights(tiny) is None
    monkeypatch.setenv(beginning.DATA_VARIABLE, str(tmp_path))
    assert beginning.paper_weights(tiny) is None
    (tmp_path / "group_vit_gcc_yfcc_30e-879422e0.pth").touch()
    assert beginning.paper_weights(tiny) == tmp_path / "group_vit_gcc_yfcc_30e-879422e0.pth"
    monkeypatch.setattr(beginning, "reaches", lambda: False)
    monkeypatch.setenv(beginning.DATA_VARIABLE, str(tmp_path / "missing"))
    assert beginning.paper_weights(cpu) is None


def test_a_file_of_the_repository_is_taken_from_the_clone_or_downloaded_once(monkeypatch, tmp_path):
    assert beginning.repository_file("results/scale.json") == ROOT / "results/scale.json"
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(ROOT))
    monkeypatch.setattr(http.server.SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    server = http.server.HTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.handle_request, daemon=True).start()
    monkeypatch.chdir(tmp_path)
    address = f"http://127.0.0.1:{server.server_port}"
    copy = beginning.repository_file("results/scale.json", tmp_path, address)
    server.server_close()
    assert copy.read_bytes() == (ROOT / "results/scale.json").read_bytes()
    assert beginning.repository_file("results/scale.json", tmp_path, address) == copy     # the server is gone
    with pytest.raises(RuntimeError, match="results/none.json is not in an installed package and could not be"):
        beginning.repository_file("results/none.json", tmp_path, address)
