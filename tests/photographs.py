"""Where the real photographs of some tests lie: the folder that MINIGROUPVIT_DATA names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def photographs(name: str) -> Path:
    """The folder of one data set, such as "flickr8k-128".

    The photographs may not be handed on with the project. Without them a test skips and says so; where
    CI=true it fails, so that no run counts as complete that did not see them.
    """
    root = os.environ.get("MINIGROUPVIT_DATA")
    folder = Path(root or "", name)
    if root and folder.is_dir():
        return folder
    problem = (f"MINIGROUPVIT_DATA is {root}, which has no folder {name}" if root else
               f"MINIGROUPVIT_DATA is not set: it names the folder that has {name}")
    if os.environ.get("CI", "").lower() == "true":
        pytest.fail(f"{problem}; with CI=true the photographs must be there")
    pytest.skip(problem)
