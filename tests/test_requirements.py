"""requirements.txt, pyproject.toml and requirements.lock name the same libraries."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from minigroupvit.extras import EXTRAS

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pytest brings it along there

ROOT = Path(__file__).parent.parent
# What is imported under another name than it is installed under.
INSTALLED_AS = {"PIL": "pillow", "sklearn": "scikit-learn", "skimage": "scikit-image", "IPython": "ipython",
                "open_clip": "open-clip-torch", "huggingface_hub": "huggingface-hub"}


def sections() -> dict[str, list[str]]:
    """requirements.txt by its headings: "the package", then the extras."""
    found: dict[str, list[str]] = {}
    for block in (ROOT / "requirements.txt").read_text().split("\n\n")[1:]:
        heading, *lines = block.strip().splitlines()
        found[heading.removeprefix("# ").split(" (")[0]] = [line.split("#")[0].strip() for line in lines]
    return found


SECTIONS = sections()
EVERYTHING = [line for lines in SECTIONS.values() for line in lines]


def test_pyproject_names_the_same_libraries():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    everything = Requirement(extras.pop("all")[0])
    assert SECTIONS == {"the package": project["dependencies"]} | extras
    assert everything.name == "minigroupvit" and everything.extras == {*extras} - {"test"} == {*EXTRAS, "notebooks"}


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


def outside(names: set[str]) -> set[str]:
    """Other projects that are needed, by the names under which they are installed."""
    return {INSTALLED_AS.get(name, name) for name in names - set(sys.stdlib_module_names) - {"minigroupvit"}}


def imports(tree: ast.AST) -> set[str]:
    """Top names of the absolute imports."""
    plain = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    parts = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and not node.level}
    return {name.split(".")[0] for name in plain | parts}


def take_out(tree: ast.AST, is_one) -> list[ast.AST]:
    """Removes the statements for which `is_one` is true, and returns them."""
    taken = []
    for node in ast.walk(tree):
        for field in ("body", "orelse", "finalbody"):
            if isinstance(children := getattr(node, field, None), list):
                taken += filter(is_one, children)
                setattr(node, field, [child for child in children if not is_one(child)])
    return taken


def extra_of(node: ast.AST) -> str | None:
    """The name in `with extra("name"):`."""
    call = node.items[0].context_expr if isinstance(node, ast.With) else None
    return call.args[0].value if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "extra" else None


def for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"


def asked_for(name: str) -> set[str]:
    return {Requirement(line).name for line in SECTIONS[name]}


@pytest.mark.parametrize("file", sorted((ROOT / "minigroupvit").rglob("*.py")),
                         ids=lambda file: str(file.relative_to(ROOT / "minigroupvit")))
def test_all_imports_of_the_package_are_required(file):
    """What is imported under `with extra("name"):` belongs to that extra, everything else to the package itself."""
    tree = ast.parse(file.read_text())
    take_out(tree, for_types)
    for node in take_out(tree, extra_of):
        missing = outside(imports(node)) - asked_for(extra_of(node))
        assert not missing, f"{sorted(missing)} belong to the extra {extra_of(node)!r}"
    allowed = asked_for("the package") | (asked_for("widgets") if "widgets" in file.parts else set())
    missing = outside(imports(tree)) - allowed
    assert not missing, f"{sorted(missing)} belong into the package's requirements, or under `with extra(...)`"
