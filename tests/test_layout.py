"""The layout of the package: each module imports from its own floor or from those below, and none in a circle."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import minigroupvit

PACKAGE = Path(minigroupvit.__file__).parent
# From the ground up. Imports within functions and for types alone count too.
FLOORS = (
    ("config", "distributed", "extras", "files", "images"),
    ("layers", "grouping", "image_encoder", "text_encoder", "losses", "text"),
    ("model", "hub_model"),
    ("segmentation",),
    ("checkpoints",),
    ("data",),
    ("evaluation",),
    ("training",),
    ("visual",),
    ("bench", "segment_files", "experiments"),
    ("demo", "cli"),
    ("__main__",),
)
# What people type is GroupViT.from_pretrained and save_pretrained, and checkpoints are of models.
LATE = {("hub_model", "checkpoints.native")}


def modules() -> dict[str, Path]:
    """Every module's name within the package, and its file."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    del found[""]
    return found


def imports_of(name: str, path: Path, known: dict[str, Path]) -> set[str]:
    """The modules of the package that one of them imports, anywhere in its text."""
    here = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            source = here[:len(here) - node.level + 1] + (node.module or "").split(".")
            source = ".".join(part for part in source if part)
            for alias in node.names:
                whole = f"{source}.{alias.name}".lstrip(".")
                found.add(whole if whole in known else source)
    return {target for target in found if target and target != name}


def floor_of(name: str) -> int:
    return next(level for level, names in enumerate(FLOORS) if name.split(".")[0] in names)


def test_every_module_has_a_floor() -> None:
    assert {name.split(".")[0] for name in modules()} == {name for names in FLOORS for name in names}


def test_nothing_imports_from_a_higher_floor() -> None:
    known = modules()
    upwards = {(name, target) for name, path in known.items() for target in imports_of(name, path, known)
               if floor_of(target) > floor_of(name)}
    assert upwards == LATE


def test_there_is_no_circle() -> None:
    known = modules()
    graph = {name: {target for target in imports_of(name, path, known) if (name, target) not in LATE}
             for name, path in known.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        raise AssertionError(f"these import each other in a circle: {' -> '.join(error.args[1])}") from None
