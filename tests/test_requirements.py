"""What is asked for in requirements.txt, pyproject.toml and requirements.lock is the same."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pytest brings it along there

ROOT = Path(__file__).parent.parent
# What is imported under another name than it is installed under.
INSTALLED_AS = {"PIL": "pillow", "sklearn": "scikit-learn", "skimage": "scikit-image", "IPython": "ipython",
                "open_clip": "open-clip-torch", "huggingface_hub": "huggingface-hub"}


def sections() -> dict[str, list[str]]:
    """requirements.txt by its headings: "the package", "notebooks", "tables", "tests"."""
    found: dict[str, list[str]] = {}
    for block in (ROOT / "requirements.txt").read_text().split("\n\n")[1:]:
        heading, *lines = block.strip().splitlines()
        found[heading.removeprefix("# ").split(" (")[0]] = [line.split("#")[0].strip() for line in lines]
    return found


SECTIONS = sections()
EVERYTHING = [line for lines in SECTIONS.values() for line in lines]


def test_pyproject_asks_for_the_same():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert SECTIONS == {
        "the package": project["dependencies"],
        "notebooks": project["optional-dependencies"]["notebooks"],
        "tables": project["optional-dependencies"]["tables"],
        "tests": project["optional-dependencies"]["test"],
    }


@pytest.mark.parametrize("line", EVERYTHING)
def test_a_range_has_a_lower_end_only(line):
    """A pin, or an upper end, would replace the torch that an environment such as Colab brings."""
    specifiers = list(Requirement(line).specifier)
    assert [s.operator for s in specifiers] == [">="]


def test_the_lock_holds_versions_within_the_ranges():
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9._+!-]+", line) for line in lines)
    locked = {canonicalize_name(name): version for name, version in (line.split("==") for line in lines)}
    assert len(locked) == len(lines) and "minigroupvit" not in locked
    for line in EVERYTHING:
        wanted = Requirement(line)
        assert wanted.specifier.contains(locked[canonicalize_name(wanted.name)]), line


def test_what_the_package_imports_is_asked_for():
    imported = set()
    for file in (ROOT / "minigroupvit").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                imported.add(node.module.split(".")[0])
    outside = {INSTALLED_AS.get(name, name) for name in imported - set(sys.stdlib_module_names) - {"minigroupvit"}}
    asked_for = {Requirement(line).name for line in SECTIONS["the package"] + SECTIONS["tables"]}
    assert outside <= asked_for, f"{sorted(outside - asked_for)} belong into requirements.txt and pyproject.toml"
