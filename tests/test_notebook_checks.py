"""The checks of the exercises: the solution passes, and each of these plausible wrong answers fails.

To add a notebook, add its wrong answers below: name of the function, then the body of each wrong answer.
"""

from __future__ import annotations

import math
from pathlib import Path

import nbformat
import pytest
import torch

ROOT = Path(__file__).parent.parent
SEVEN = "07_group_emergence"
WRONG = {
    (SEVEN, "effective_groups"): {
        "soft shares for owners": "p = shares.mean(dim=(0, 2)); return torch.special.entr(p).sum().exp().item()",
        "how many groups own anything": "return float(len(shares.argmax(dim=1).unique()))",
        "by image": "return sum(effective_of(one[None]) for one in shares) / len(shares)",
        "entropy without the exponential": "return math.log(effective_of(shares))",
        "bits": "return math.log2(effective_of(shares)) * 1.0",
        "the same number always": "return 7.0",
    },
    (SEVEN, "without_colour"): {
        "the whole image": "grey = subject.image.float().mean(dim=0, keepdim=True).to(torch.uint8)\n"
                           "    return grey.expand_as(subject.image), subject.mask",
        "the background in its place": "grey = subject.image.float().mean(dim=0, keepdim=True).to(torch.uint8)\n"
                                       "    return torch.where(subject.mask, subject.image, grey), subject.mask",
        "in place": "subject.image[:, subject.mask] = subject.image[:, subject.mask].float().mean(0).to(torch.uint8)\n"
                    "    return subject.image, subject.mask",
        "a sum that overflows": "grey = subject.image.sum(dim=0, keepdim=True, dtype=torch.uint8) // 3\n"
                                "    return torch.where(subject.mask, grey, subject.image), subject.mask",
        "one channel": "return torch.where(subject.mask, subject.image[:1], subject.image), subject.mask",
        "floats": "grey = subject.image.float().mean(dim=0, keepdim=True).floor()\n"
                  "    return torch.where(subject.mask, grey, subject.image.float()), subject.mask",
        "one grey for the whole object": "grey = subject.image[:, subject.mask].float().mean().to(torch.uint8)\n"
                                         "    return torch.where(subject.mask, grey, subject.image), subject.mask",
    },
    (SEVEN, "told"): {
        "over the entropy of the values": "return told_of(values, groups)",
        "over the mean of both": "a, b = told_of(groups, values), told_of(values, groups)\n    return 2 * a * b / (a + b)",
        "not divided": "return told_of(groups, values) * uncertainty(groups).item()",
        "how often the commonest group is right": "return 1 - len(groups.unique()) / len(groups)",
        "scikit-learn's": "from sklearn.metrics import homogeneity_score\n    return homogeneity_score(groups, values)",
    },
    (SEVEN, "told_beyond"): {
        "a difference of two": "return told(groups, values) - told(groups, known)",
        "what both tell": "return told(groups, known * (values.max() + 1) + values)",
        "nothing taken off": "return told(groups, values)",
        "the other way": "return told(groups, known * (values.max() + 1) + values) - told(groups, values)",
    },
}


def blank(notebook: str, name: str) -> tuple[str, str, str]:
    """The cells of an exercise: what the student gets, the solution, and the first check after it."""
    cells = nbformat.read(ROOT / "notebooks" / f"{notebook}.ipynb", 4).cells
    tagged = [(next(iter(cell.metadata.get("tags", [""])), ""), cell.source) for cell in cells]
    start = next(i for i, (tag, source) in enumerate(tagged) if tag == "exercise" and f"def {name}(" in source)
    exercise = tagged[start][1]
    solution, check = (next(source for tag, source in tagged[start:] if tag == kind) for kind in ("solution", "check"))
    return exercise, solution, check


def names_before(notebook: str) -> dict[str, object]:
    """What the cells before an exercise have made, as far as the exercises need it."""
    names: dict[str, object] = {"torch": torch, "math": math}
    for key, name in WRONG:
        if key == notebook:                                      # one exercise may use another one's function
            exercise, solution, _ = blank(notebook, name)
            exec(exercise, names)
            exec(solution, names)
            names[f"{name.split('_')[0]}_of"] = names[name]      # the right answer, for the wrong ones to use
    names["told_of"] = names["told"]
    return names


@pytest.mark.parametrize(("notebook", "name"), WRONG)
def test_the_solution_passes_and_the_stub_does_not(notebook, name):
    exercise, solution, check = blank(notebook, name)
    names = names_before(notebook)
    exec(solution, names)
    exec(check, names)
    exec(exercise, names)
    with pytest.raises(NotImplementedError):
        exec(check, names)


@pytest.mark.parametrize(("notebook", "name", "wrong"), [(*key, wrong) for key, found in WRONG.items() for wrong in found])
def test_a_wrong_answer_fails(notebook, name, wrong):
    exercise, _, check = blank(notebook, name)
    names = names_before(notebook)
    header = next(line for line in exercise.splitlines() if line.startswith(f"def {name}("))
    exec(f"{header}\n    {WRONG[notebook, name][wrong]}", names)
    with pytest.raises((AssertionError, RuntimeError, ValueError)):
        exec(check, names)
