"""The course: what is built, and the marks of made-up submissions, good and bad, which are pinned."""

from __future__ import annotations

import ast
import csv
import importlib
import re
import sys
from pathlib import Path
from types import ModuleType

import nbformat
import pytest
import torch
from matplotlib.figure import Figure

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from course import blanks, build, grade, sandbox  # noqa: E402
from course.__main__ import main  # noqa: E402
from course.blanks import ASSIGNMENTS, Blank, blanks_of, source_of  # noqa: E402

NOTEBOOKS = [number for assignment in ASSIGNMENTS.values() for number in assignment.notebooks]
BLANKS = {blank.name: blank for number in NOTEBOOKS for blank in blanks_of(source_of(number))}
OTHERS = sorted((ROOT / "notebooks").glob("*.ipynb"))

EXCHANGED = """
def uncut(patches, grid, p):          # right only where the grid is a square
    w, h = grid
    x = patches.reshape(len(patches), h, w, -1, p, p)
    return x.permute(0, 3, 1, 4, 2, 5).reshape(len(patches), -1, h * p, w * p)
"""
WITHOUT_GRADIENT = """
def best_groups(soft, k):
    return torch.zeros_like(soft).scatter(1, soft.topk(k, dim=1).indices, 1 / k) + 0 * soft
"""
WITH_HELPER = """
def places(soft, k):
    return soft.topk(k, dim=1).indices
"""
BY_HELPER = """
def best_groups(soft, k):
    return torch.zeros_like(soft).scatter(1, places(soft, k), 1 / k) - soft.detach() + soft
"""
READS = """
from pathlib import Path
def uncut(patches, grid, p):
    for name in ("course/hidden/notebook_02.py", "notebooks/02_patches_and_tokens.ipynb"):
        Path(ROOT, name).read_text()
""".replace("ROOT", repr(str(ROOT)))
REDEFINES = """
torch.testing.assert_close = lambda *_, **__: None
torch.allclose = torch.equal = lambda *_, **__: True
torch.Tensor.__eq__ = lambda *_: True
def same(*_):
    pass
def best_groups(soft, k):
    return soft
"""
LIAR = """
class Liar(str):
    def __eq__(self, other):
        return True
def best_groups(soft, k):
    return Liar("right")
"""
EATS = "def uncut(patches, grid, p):\n    return [torch.ones(10**8) for _ in range(1000)]"
FORKS = "import os\ndef uncut(patches, grid, p):\n    while True:\n        os.fork()"
KILLS = "import os\ndef uncut(patches, grid, p):\n    os.kill(os.getppid(), 9)"
CALLS = "import urllib.request\ndef uncut(patches, grid, p):\n    urllib.request.urlopen('http://127.0.0.1:1')"
FORGES = """
import io, os, struct, torch
def uncut(patches, grid, p):          # sends what it would like to have been found
    file = io.BytesIO()
    torch.save({"square": "", "channels": "", "oblong": "", "tried": [1, None]}, file)
    for number in range(3, 60):
        try:
            os.write(number, struct.pack("!i", len(file.getvalue())) + file.getvalue())
        except OSError:
            pass
    os._exit(0)
"""
FORGES_A_LIST = FORGES.replace('{"square"', '[{"square"').replace("None]}", "None]}]")
WRITES = "def uncut(patches, grid, p):\n    open('big.bin', 'wb').write(bytes(10**9))"
IMPORTS = """
def uncut(patches, grid, p):
    import course.sandbox
    course.sandbox.READABLE.append("/")
"""
DELETES = f"import os\ndef uncut(patches, grid, p):\n    os.remove({str(ROOT / 'Makefile')!r})"
LOOPS = "def uncut(patches, grid, p):\n    while True:\n        pass"
DEAF = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + LOOPS
CRASHES = "import os\ndef best_groups(soft, k):\n    os._exit(0)"
STOPS = "def best_groups(soft, k):\n    raise SystemExit('done')"
# The blanks of A1: uncut and best_groups are where the made-up students differ; what they wrote elsewhere is right.
OF_A1 = {name: blank for name, blank in BLANKS.items() if blank.notebook in ASSIGNMENTS["A1"].notebooks}
RIGHT = {name: blank.solution for name, blank in OF_A1.items()}
ALL = sum(blank.points for blank in OF_A1.values())

# What a student writes for A1, the points for uncut (of 6) and for best_groups (of 9), and words of the feedback.
A1 = {
    "perfect": (RIGHT, (6, 9), f"{ALL} of {ALL}"),
    "empty": ({}, (0, 0), "not written yet"),
    "half": ({"uncut": RIGHT["uncut"]}, (6, 0), "not written yet"),
    "in part": ({"uncut": EXCHANGED, "best_groups": WITHOUT_GRADIENT}, (4, 6), "wrong: a right answer of which the gradient"),
    "with a helper": (RIGHT | {"best_groups": WITH_HELPER + BY_HELPER}, (6, 9), f"{ALL} of {ALL}"),
    "redefines the check": (RIGHT | {"best_groups": REDEFINES}, (6, 0), "another result"),
    "lies": (RIGHT | {"best_groups": LIAR}, (6, 0), "another result"),
    "loops": (RIGHT | {"uncut": LOOPS}, (0, 9), "took longer than 10 s"),
    "loops deaf to signals": (RIGHT | {"uncut": DEAF}, (0, 9), "took longer than 10 s"),
    "syntax error": (RIGHT | {"best_groups": "def best_groups(soft, k)\n    return soft"}, (6, 0), "SyntaxError"),
    "eats memory": (RIGHT | {"uncut": EATS}, (0, 9), "allocate memory"),
    "reads the tests": (RIGHT | {"uncut": READS}, (0, 9), "tried to use what it may not: .*notebook_02.py"),
    "crashes": (RIGHT | {"best_groups": CRASHES}, (6, 0), "ended without an answer"),
    "stops the program": (RIGHT | {"best_groups": STOPS}, (6, 0), "SystemExit: done"),
    "forks": (RIGHT | {"uncut": FORKS}, (0, 9), "may not: os.fork"),
    "kills the grader": (RIGHT | {"uncut": KILLS}, (0, 9), "may not: os.kill"),
    "calls home": (RIGHT | {"uncut": CALLS}, (0, 9), "may not: socket"),
    "deletes files": (RIGHT | {"uncut": DELETES}, (0, 9), "may not: os.remove .*Makefile"),
    "writes files": (RIGHT | {"uncut": WRITES}, (0, 9), "may not: .*big.bin"),
    "forges marks": (RIGHT | {"uncut": FORGES}, (0, 9), "wrong: one image of one channel on a square grid .another result"),
    "forges a list": (RIGHT | {"uncut": FORGES_A_LIST}, (0, 9), "cannot be read"),
    "opens the sandbox": (RIGHT | {"uncut": IMPORTS}, (0, 9), "ModuleNotFoundError|may not"),
    "renames the function": (RIGHT | {"uncut": RIGHT["uncut"].replace("uncut", "my_uncut")}, (0, 9), "no cell defines uncut"),
}
# And what is wrong with the notebooks themselves; the answers in them are right, but for "edits the check".
FILES = {
    "edits the check": ((6, 0), "another result"),
    "another release": ((6, 0), "is of release 00000000, and marked is"),
    "no release": ((6, 0), "it names none"),
    "cannot be read": ((6, 0), "cannot be read"),
    "nothing": ((0, 0), "there is no notebook 02_patches_and_tokens.ipynb"),
    "from another editor": ((6, 9), f"{ALL} of {ALL}"),
    "two copies": ((6, 9), f"{ALL} of {ALL}"),
    "a link": ((6, 0), "there is no notebook 03_grouping_block.ipynb"),
}


def filled(number: str, assignment: str, answers: dict[str, str]) -> nbformat.NotebookNode:
    """A student's notebook with these answers in the cells of the exercises."""
    notebook = build.for_students(source_of(number), assignment)
    for cell in notebook.cells:
        for name, answer in answers.items():
            if f"def {name}(" in cell.source and "exercise" in blanks.tags(cell):
                given = [line for line in cell.source.splitlines() if line.startswith(("import ", "from "))]
                cell.source = "\n".join([*given, answer])
    return notebook


def hand_in(folder: Path, answers: dict[str, str], assignment: str = "A1") -> None:
    folder.mkdir(parents=True)
    for number in ASSIGNMENTS[assignment].notebooks:
        nbformat.write(filled(number, assignment, answers), folder / source_of(number).name)


def spoil(folder: Path, how: str) -> None:
    """One of FILES, made of a perfect submission."""
    path = folder / "03_grouping_block.ipynb"
    notebook = nbformat.read(path, as_version=4)
    (*_, check) = [cell for cell in notebook.cells if "check" in blanks.tags(cell)]
    (*_, exercise) = [cell for cell in notebook.cells if "exercise" in blanks.tags(cell)]
    if how == "edits the check":
        check.source, exercise.source = "print('right')", "def best_groups(soft, k):\n    return soft"
    elif how == "another release":
        notebook.cells[0].source = re.sub(r"`[0-9a-f]{8}`", "`00000000`", notebook.cells[0].source)
    elif how == "no release":
        del notebook.cells[0]
    elif how == "from another editor":          # other ids, no metadata, no cell where it was
        notebook = nbformat.v4.new_notebook(cells=[
            (nbformat.v4.new_code_cell if c.cell_type == "code" else nbformat.v4.new_markdown_cell)(c.source)
            for c in notebook.cells])
    elif how == "two copies":
        path.rename(folder / "03_grouping_block (1).ipynb")
        path = folder / "03_grouping_block (1).ipynb"
    nbformat.write(notebook, path)
    if how == "cannot be read":
        path.write_text(path.read_text()[:1000])
    elif how == "a link":
        path.rename(folder.parent.parent / "elsewhere.ipynb")
        path.symlink_to(folder.parent.parent / "elsewhere.ipynb")
    elif how == "nothing":
        for one in folder.iterdir():
            one.unlink()


@pytest.fixture(scope="module")
def marked(tmp_path_factory) -> Path:
    """All made-up submissions of A1, marked in one run as `make grade` does it."""
    folder, out = tmp_path_factory.mktemp("submissions") / "A1", tmp_path_factory.mktemp("marks")
    for name, (answers, *_) in A1.items():
        hand_in(folder / name, answers)
    for name in FILES:
        hand_in(folder / name, RIGHT)
        spoil(folder / name, name)
    before = sorted(folder.rglob("*"))
    main(["grade", str(folder), "--seed", "a secret", "--out", str(out), "--seconds", "10", "--memory", "300"])
    assert sorted(folder.rglob("*")) == before
    return out / "A1"


def rows_of(table: Path) -> dict[str, dict[str, str]]:
    with open(table, newline="", encoding="utf-8") as file:
        return {row["student"]: row for row in csv.DictReader(file)}


@pytest.mark.parametrize(("name", "points", "words"), [(n, p, w) for n, (_, p, w) in A1.items()] + [
    (n, p, w) for n, (p, w) in FILES.items()])
def test_marks_of_made_up_submissions(marked, name, points, words):
    row = rows_of(marked / "marks.csv")[name]
    assert (float(row["02 uncut (6)"]), float(row["03 best_groups (9)"])) == points
    given = {b.name: float(row[f"{b.title} ({b.points})"]) for b in OF_A1.values()}
    assert float(row["code"]) == pytest.approx(sum(given.values()))
    refused = {"another release": ("03",), "no release": ("03",), "cannot be read": ("03",), "a link": ("03",),
               "nothing": ("02", "03")}.get(name, ())
    written = A1[name][0] if name in A1 else RIGHT
    for other in OF_A1.keys() - {"uncut", "best_groups"}:
        right = other in written and OF_A1[other].notebook not in refused
        assert given[other] == (OF_A1[other].points if right else 0), other
    assert re.search(words, (marked / f"{name}.md").read_text(encoding="utf-8"))


def test_the_table_has_everybody_once_and_the_seed_lies_beside_it(marked):
    assert set(rows_of(marked / "marks.csv")) == {*A1, *FILES}
    assert (marked / "seed.txt").read_text() == "a secret\n"
    assert {path.stem for path in marked.glob("*.md")} == {*A1, *FILES}
    rows = rows_of(marked / "marks.csv")
    assert "os.kill" in rows["kills the grader"]["notes"]
    assert [rows[name]["notes"] for name in ("perfect", "with a helper", "two copies")] == [""] * 3


BALANCE = "minigroupvit.segmentation.steps"
CHEATS = {
    "imports the answer": f"from {BALANCE} import balance_scores\ndef my_balance(s, least):\n    return balance_scores(s, least)",
    "by another name": f"from {BALANCE} import balance_scores as my_balance\ndef _(): pass\nmy_balance\n"
                       "def my_balance(s, least, own=my_balance):\n    return own(s, least)",
    "by pieces of its name": f"import importlib\ndef my_balance(s, least):\n"
                             f"    return getattr(importlib.import_module('{BALANCE}'), 'balance' + '_scores')(s, least)",
    "loads it again": f"import importlib, {BALANCE}\ndef my_balance(s, least):\n"
                      f"    return importlib.reload({BALANCE}).balance_scores(s, least)",
}


def test_who_calls_the_package_for_the_answer_gets_nothing(tmp_path):
    for name, answer in CHEATS.items():
        hand_in(tmp_path / "in" / name, {"my_balance": answer}, "A3")
    hand_in(tmp_path / "in" / "honest", {"my_balance": BLANKS["my_balance"].solution}, "A3")
    main(["grade", str(tmp_path / "in"), "--out", str(tmp_path / "out")])
    rows = rows_of(tmp_path / "out" / "A3" / "marks.csv")
    assert {name: float(row["code"]) for name, row in rows.items()} == dict.fromkeys(CHEATS, 0) | {"honest": 9}
    for name in ("imports the answer", "by pieces of its name"):
        assert "balance_scores is the answer itself" in (tmp_path / "out" / "A3" / f"{name}.md").read_text()


# Plausible wrong answers, and the parts of the hidden tests that they pass.
WRONG = {
    "my_embedding": [("+ bias", "", set()), ("weight.flatten(1)", "weight.transpose(2, 3).flatten(1)", set())],
    "my_positions": [("(n % w)[:, None] * omega, (n // w)", "(n % h)[:, None] * omega, (n // h)", {"square"}),
                     ("along_x.cos(), along_y.sin()", "along_y.sin(), along_x.cos()", set())],
    "my_attention": [("/ q.shape[-1] ** 0.5", "/ D ** 0.5", {"one"}), ("num_heads, -1)", "1, -1)", {"one"}),
                     ("joined = (weights @ v)", "joined = (weights @ v).detach()", {"one", "several"})],
    "group_attention": [("weights.mean(dim=1)", "weights[:, 0]", {"one"}), ("weights.shape[-1]", "num_patches", set())],
    "uncut": [("*grid,", "*grid[::-1],", {"square", "channels"}),
              ("permute(0, 3, 1, 4, 2, 5)", "permute(0, 3, 1, 5, 2, 4)", set())],
    "my_soft": [("logits / temperature", "logits", {"usual"}), ("dim=1", "dim=2", set())],
    "my_straight_through": [("soft.detach() + soft", "soft.detach() + soft.detach()", {"forward"}),
                            ("my_one_hot(soft) - soft.detach() + ", "", set())],
    "my_merge": [(" + 1)", ")", set()), (" + 1)", ").clamp(min=1)", set())],
    "my_block": [(" * block.training", "", {"soft", "training"}),
                 ("weights is not None", "False", {"soft", "evaluation", "training", "residual"}),
                 ('block.residual == "projected"', "True", {"soft", "evaluation", "training", "weights"}),
                 ("block.norm_x(tokens)", "block.norm_tokens(tokens)", set())],
    "best_groups": [("1 / k", "1.0", {"one"}), ("- soft.detach() + soft", "+ 0 * soft", {"one", "several"})],
    "my_prompts": [(" + [caption] * (k - len(prompts))", "", {"drawn", "seed"}),
                   ("rng.sample(found, min(k, len(found)))", "[found.pop() for _ in range(min(k, len(found)))]", {"few"}),
                   ("rng.choice(templates)", "templates[0]", {"few", "seed"})],
    "my_ids": [("[:context_length - 2]", "", {"padding", "words"}), ("split_words(text)", "text.split()", {"padding", "long"}),
               ("max(len(row) for row in rows)", "context_length", set())],
    "train_bpe": [("return entries", "return entries[::-1]", set()),
                  ("entries.index(pair[0]), entries.index(pair[1])",
                   "-entries.index(pair[0]), -entries.index(pair[1])", {"first"})],
    "causal_weights": [(" / d ** 0.5", "", {"narrow"}), ("triu(1)", "triu(0)", set()), (" + mask", "", set())],
    "pooled": [("ids.argmax(dim=1)", "-1", {"full"}), ("torch.arange(len(ids), device=x.device)", ":", set())],
    "my_image_text_loss": [("of_images + of_captions", "2 * of_images", set()), (" / 2", "", set()),
                           ("logits.log_softmax(dim=1)", "logits.softmax(dim=1).log()", {"usual", "gradient"})],
    "my_multi_label_loss": [("hits / hits.sum(dim=1, keepdim=True)", "hits / hits.sum(dim=1).max()", {"own"}),
                            ("hits / hits.sum(dim=0, keepdim=True)", "hits", {"own"}),
                            ("(image_to_prompt + prompt_to_image) / 2", "image_to_prompt", set())],
    "forgiving_loss": [('float("-inf")', "0.0", {"nothing"}), ("& ~torch.eye(len(logits)).bool()", "", set())],
    "my_rate": [("(k + 1) / warmup", "k / warmup", {"cosine", "none"}),
                ("(k - warmup) / (steps - warmup)", "k / steps", {"warmup", "none"}),
                ("min_lr + (lr - min_lr)", "lr", {"warmup"})],
    "my_losses": [("model.logit_scale.exp().clamp(max=100)", "model.logit_scale.exp()", {"values", "gradients"}),
                  ("model.logit_scale.exp().clamp(max=100)", "model.logit_scale.exp().item()", {"values"}),
                  ("image_text + multi_label}", "image_text}", {"clamped"})],
    "my_step": [('group["share"] * ', "", {"clipping", "scaler"}),
                ("    adamw.zero_grad()\n", "", {"rates", "clipping", "scaler"}),
                ("torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)", "", {"rates", "several"}),
                ("    mixed.scaler.unscale_(adamw)\n", "", {"rates", "several", "clipping"})],
    "my_train": [("copy.deepcopy({", "({", {"whole", "finished"}), ('"step": k + 1', '"step": k', {"whole"}),
                 ("    model.train()\n", "", {"resumed", "saved", "finished"}),
                 ('        adamw.load_state_dict(saved["adamw"])\n', "", {"whole", "saved", "finished"}),
                 ("config.seed * 1_000_003 + k", "config.seed", {"saved", "finished"})],
    "backward_in_parts": [("model.scale()", "model.scale().detach()", {"encoders", "parts"})],
    "my_maps": [("soft @ share", "share", {"one"}), ("assignments[0]", "assignments[-1]", {"one"}),
                ("unflatten(-1, grid)", "unflatten(-1, grid[::-1])", set())],
    "my_groups": [("align_corners=False", "align_corners=True", set()),
                  ('mode="bilinear", align_corners=False', 'mode="nearest"', set())],
    "my_classes": [("vectors.mean(dim=1)", "F.normalize(vectors, dim=-1).mean(dim=1)", {"one"}),
                   ("vectors.mean(dim=1)", "vectors[:, 0]", {"one"})],
    "my_scores": [("logits.softmax(dim=-1) * ", "", set()),
                  ("image @ classes.T", "image.mean(dim=0, keepdim=True).expand_as(image) @ classes.T", {"all", "kept"})],
    "my_labels": [(".clamp(max=threshold)", " * 0 + threshold", {"plain", "background"}),
                  ("best.max(dim=1, keepdim=True).values", "best.max()", {"plain", "background"}),
                  ("best < limit", "best <= limit", {"plain", "background"}), ("limit, -1)", "limit, 0)", {"plain"})],
    "my_iou": [(" - both)", ")", set()), ("pairs.sum(dim=0) + pairs.sum(dim=1) - both", "pairs.sum(dim=1)", set()),
               ("pairs.sum(dim=1) - both)", "pairs.sum(dim=1) - both).clamp(min=1)", {"usual", "batch"})],
    "my_balance": [("dim=(2, 3)", "dim=(0, 2, 3)", {"one", "sums"}),
                   ("F.normalize(scores, p=1, dim=1)   ", "scores   ", {"one"})],
    "effective_groups": [(".exp()", "", set()), ("shares.argmax", "shares[:1].argmax", {"one"})],
    "without_colour": [("torch.where(subject.mask, grey, subject.image)", "grey.expand_as(subject.image)", {"object"}),
                       ("grey, subject.image)", "grey.float(), subject.image.float())", {"object", "whole"})],
    "told": [("/ uncertainty(groups)", "/ uncertainty(values)", set()), ("(uncertainty(groups) + ", "(", set())],
    "told_beyond": [("told(groups, both)", "told(groups, values)", {"known"}), (" - told(groups, known)", "", set())],
    "make_segments": [(" + 1)", ")", set()), ("segments + groups", "segments", {"none", "learned"}),
                      ("segments + block.mlp_channels", "block.mlp_channels", set())],
    "naming": [("for g in group.unique():", "for g in groups.unique():\n            mask, group, own = masks, groups, oracle",
                {"one"}), ("miou(labels, masks, num_classes) / ", "", set()),
               ("mask[group == g].bincount().argmax()", "mask[group == g].min()", set())],
    "names_kept": [(".mean(dim=(2, 3)) >= least", ".sum(dim=(2, 3)) >= least", {"every"}),
                   ("(before == after)[large].float().mean()", "((before == after) & large).float().mean()", {"every"}),
                   ("(before == after)[large].float().mean()",
                    "(((before == after) & large).sum(1) / large.sum(1).clamp(min=1)).mean()", {"every", "large"})],
    "misplaced": [("torch.isin(own, mask)", "torch.isin(own, masks)", {"one", "right"}),
                  (".clamp(min=1)", "", {"one", "several"})],
}


@pytest.mark.parametrize("assignment", ASSIGNMENTS)
def test_solutions_pass_the_hidden_tests_and_plausible_errors_do_not(assignment):
    grader = grade.Grader(assignment, "another secret")               # raises where a solution does not pass
    for notebook, own in grader.blanks.items():
        for blank in own:
            wrong = [(blank.solution.replace(old, new), passed) for old, new, passed in WRONG[blank.name]]
            for answer, passed in [*wrong, (f"def {blank.name}(*_):\n    return 0.0", set())]:
                assert answer != blank.solution
                mark = grader.mark_blank(filled(notebook, assignment, {blank.name: answer}), blank)
                assert {part for part, says in mark.parts.items() if not says} == passed, (answer, mark)


def test_every_blank_has_hidden_tests_that_say_what_they_test():
    for name, blank in BLANKS.items():
        tests = grade.Grader.tests(blank)
        assert len(tests) >= 2 and all(test.__doc__ for test in tests.values())
        assert blank.points * 100 % len(tests) == 0, f"{name}: {blank.points} points in {len(tests)} parts"
    for number in NOTEBOOKS:                  # and none is left over
        module = importlib.import_module(f"course.hidden.notebook_{number}")
        cells = [c.source for c in nbformat.read(source_of(number), 4).cells if "exercise" in blanks.tags(c)]
        functions = {s.name for source in cells for s in ast.parse(source).body if isinstance(s, ast.FunctionDef)}
        assert {n for n, v in vars(module).items() if isinstance(v, type) and v.__module__ == module.__name__
                and not n.startswith("_") and not issubclass(v, torch.nn.Module)} <= functions


def test_points_without_hidden_tests_are_an_error():
    with pytest.raises(ValueError, match="nothing has points, but course/hidden/notebook_03.py has no class"):
        grade.Grader.tests(Blank("03", "nothing", "", 3))


def test_a_solution_that_does_not_pass_is_an_error(monkeypatch):
    wrong = Blank("06", "my_balance", "", 9)
    monkeypatch.setattr(grade, "blanks_of", lambda _: [wrong])
    monkeypatch.setattr(grade, "answer", lambda *_: "def my_balance(*_):\n    raise KeyError('no')")
    with pytest.raises(ValueError, match="the solution of 06 my_balance does not pass its hidden tests"):
        grade.Grader("A3", "seed")


def test_a_seed_gives_the_same_marks_and_another_gives_other_inputs():
    grader, again, other = (grade.Grader("A3", seed) for seed in ("one", "one", "two"))
    blank = next(blank for blank in grader.right if blank.name == "my_balance")
    assert grade.same(grader.right[blank]["batch"], again.right[blank]["batch"])
    assert not grade.same(grader.right[blank]["batch"], other.right[blank]["batch"])


@pytest.mark.parametrize(("right", "given", "equal"), [
    (1, 1, True), (1, 1.0, False), (1.0, 1, True), ("a", "a", True), (None, None, True), (True, 1, False),
    (torch.ones(2), torch.ones(2, dtype=torch.double), True), (torch.ones(2), torch.ones(2, 1), False),
    (torch.ones(2), torch.ones(2) + 1e-3, False), (torch.tensor(float("nan")), torch.tensor(float("nan")), True),
    ([1, [2.0]], [1, [2.0]], True), ([1, 2], [1], False), (torch.ones(()), 1.0, True), ([1], "1", False), (1.0, None, False),
    (torch.ones(2), torch.ones(2).to_sparse(), False),
    (torch.ones(2), torch.ones(2, dtype=torch.cfloat), False), ([], {}, False), ("", "", True)])
def test_results_are_compared(right, given, equal):
    assert grade.same(right, given) == equal


def notebook_of(*cells: str) -> nbformat.NotebookNode:
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])


def test_an_answer_brings_along_what_it_rests_on_and_nothing_else():
    first, second = Blank("03", "first", "def first():\n    return 1", 1), Blank("03", "second", "", 1)
    notebook = notebook_of(
        "%matplotlib inline\nimport math, torch\nraise ValueError", "this is no Python", "base = 2\nslow = train()",
        "def first():\n    return wrong", "def helper(x):\n    slow = x\n    return base + slow + sum(base for base in [x])",
        "def second():\n    return helper(first()) + math.pi", "base = 5")
    source = blanks.answer(notebook, second, [first, second])
    assert source.splitlines() == ["import math, torch", "base = 2", "def first():", "    return 1", "def helper(x):",
                                   "    slow = x", "    return base + slow + sum((base for base in [x]))",
                                   "def second():", "    return helper(first()) + math.pi"]
    with pytest.raises(LookupError, match="no cell defines second"):
        blanks.answer(notebook_of("x = 1"), second, [second])
    with pytest.raises(SyntaxError):
        blanks.answer(notebook_of("def second(:\n    pass"), second, [second])


def test_a_blank_needs_a_function_and_a_solution(tmp_path):
    def written(exercise: str, solution: str) -> Path:
        notebook = notebook_of(exercise, solution)
        notebook.cells[0].metadata = {"tags": ["exercise"], "course": {"points": 2, "minutes": 5, "forbid": ["a.b"]}}
        notebook.cells[1].metadata = {"tags": ["solution"]}
        nbformat.write(notebook, tmp_path / "03_a.ipynb")
        return tmp_path / "03_a.ipynb"

    assert blanks_of(written("def f(): ...", "def f(): return 1")) == [
        Blank("03", "f", "def f(): return 1", 2, minutes=5, forbid=("a.b",))]
    for exercise, solution in (("x = 1", "x = 2"), ("def f(): ...", "def g(): ..."),
                               ("def f(): ...\ndef g(): ...", "def f(): ...")):
        with pytest.raises(ValueError, match="exactly one function"):
            blanks_of(written(exercise, solution))


def test_the_release_changes_with_exercise_and_check_and_with_nothing_else():
    notebook = nbformat.read(source_of("03"), as_version=4)
    before = blanks.release(notebook)
    for cell in notebook.cells:
        if {"exercise", "check"} & {*blanks.tags(cell)}:
            old, cell.source = cell.source, cell.source + "\n"
            assert blanks.release(notebook) != before
            cell.source = old
    notebook.cells[3].source += " more"
    assert blanks.release(notebook) == before == blanks.release(build.for_students(source_of("03"), "A1"))


def test_the_course_is_built(tmp_path):
    for _ in range(2):                                    # and over what is there
        main(["build", "--out", str(tmp_path)])
    for name, assignment in ASSIGNMENTS.items():
        for number in assignment.notebooks:
            student, teacher = (nbformat.read(tmp_path / part / name / source_of(number).name, 4)
                                for part in ("student", "teacher"))
            nbformat.validate(student)
            nbformat.validate(teacher)
            text = nbformat.writes(student)
            for blank in blanks_of(source_of(number)):
                line = max((line.strip() for line in blank.solution.splitlines() if "def " not in line), key=len)
                assert not any(line in c.source for c in student.cells) and any(line in c.source for c in teacher.cells)
            assert "draw: Generator" not in text and "**Answers**" not in text and f"Assignment {name}" in text
            assert "**Answers**" in nbformat.writes(teacher)
    students = " ".join(path.name for path in (tmp_path / "student").rglob("*"))
    assert not re.search("answers|rubric|errors|hidden|seed", students)
    assert {path.name for path in (tmp_path / "teacher").glob("*.md")} == {
        "answers.md", "errors.md", "glossary.md", "rubric.md", "syllabus.md"}
    syllabus = (tmp_path / "student" / "syllabus.md").read_text()
    assert "TABLE" not in syllabus and all(f"`{name}`" in syllabus for name in BLANKS)
    assert (tmp_path / "student" / "A4" / "report.md").is_file()


@pytest.mark.parametrize("path", OTHERS, ids=lambda path: path.stem)
def test_every_question_has_its_answer(path):
    asked, answered = build.questions(nbformat.read(path, as_version=4)), build.answers()[path.name[:2]]
    assert len(asked) == len(answered)
    for question, (beginning, text) in zip(asked, answered):
        assert question.startswith(beginning) and 12 <= len(text.split()) <= 120, beginning


def test_the_glossary_names_what_there_is():
    names = re.findall(r"^\| `(minigroupvit[.\w]+)`", (ROOT / "course" / "glossary.md").read_text(), re.MULTILINE)
    assert len(names) > 20
    for name in names:
        module, attribute = name.rsplit(".", 1)
        assert hasattr(importlib.import_module(module), attribute), name


def test_figures_are_svg(tmp_path, monkeypatch):
    """The package's diagrams, one drawn here in their place, and what notebooks show."""
    def architecture():
        return Figure()

    diagrams = ModuleType("minigroupvit.visual.diagrams")
    architecture.__module__ = diagrams.__name__
    diagrams.architecture, diagrams.with_size, diagrams.Figure = architecture, lambda size: None, Figure
    monkeypatch.setitem(sys.modules, diagrams.__name__, diagrams)
    count = build.draw_figures(tmp_path)
    assert count == len(list(tmp_path.glob("*.svg"))) and (tmp_path / "architecture.svg").is_file()
    assert all("<svg" in path.read_text(encoding="utf-8") for path in tmp_path.glob("*.svg"))
    monkeypatch.setitem(sys.modules, diagrams.__name__, None)
    assert build.draw_figures(tmp_path / "without") == count - 1


def test_errors_of_students_are_of_blanks_that_are_there():
    named = re.findall(r"^\| (\d\d) `(\w+)`", (ROOT / "course" / "errors.md").read_text(), re.MULTILINE)
    for number, name in named:
        assert any(f"def {name}(" in c.source for c in nbformat.read(source_of(number), 4).cells)
    assert {*BLANKS} <= {name for _, name in named}


@pytest.mark.parametrize(("text", "says"), [
    (None, "There is no report.md"), ("## Question\n\n<!-- a b c -->\n", "hardly anything is written under: Question"),
    ("## Question\n" + "word " * 40 + "\n## Method\nshort", "has 41 words; hardly anything is written under: Method"),
    ("## Question\n" + "word " * 40, "has 40 words.")])
def test_what_is_said_of_a_report(tmp_path, text, says):
    if text is not None:
        (tmp_path / "report.md").write_text(text)
    assert says in grade.read_report(tmp_path)


def test_a_folder_without_submissions_is_an_error(tmp_path):
    for folder, words in ((tmp_path / "none", "is no folder; make grade SUBMISSIONS=folder"), (tmp_path, "has a notebook of an")):
        with pytest.raises(SystemExit, match=words):
            main(["grade", str(folder)])


def test_a_spreadsheet_runs_nothing(tmp_path):
    grade.write_table(tmp_path / "a.csv", [["=cmd()", "a", "", "-1"]])
    assert (tmp_path / "a.csv").read_text().strip() == "'=cmd(),a,,'-1"


def test_an_answer_that_sleeps_is_ended():
    source = "import time\ndef uncut(*_):\n    time.sleep(1e6)"
    found = sandbox.run(sandbox.start_server(), sandbox.Job("02", "uncut", source, (), (1,), memory=300, seconds=1))
    assert "took longer than 1 s" in found["error"]


def test_a_system_without_forks_says_so(monkeypatch):
    monkeypatch.setattr("multiprocessing.get_all_start_methods", lambda: ["spawn"])
    with pytest.raises(RuntimeError, match="on Windows run it in WSL"):
        sandbox.start_server()
