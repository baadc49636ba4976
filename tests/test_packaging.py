"""The package as others get it: built, installed elsewhere, and used there with the weights in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import minigroupvit

ROOT = Path(__file__).parent.parent

# Runs in the installed package, in a folder of its own.
SCRIPT = """
import json
import numpy as np
import minigroupvit
from minigroupvit.checkpoints.native import load, shipped_weights, weights_folder
from minigroupvit.data.scenes.config import SceneConfig
from minigroupvit.data.scenes.make import make_scene
from minigroupvit.segmentation.segment import segment

scenes = [make_scene(index, "test") for index in range(20)]
result = segment(load("scenes"), np.stack([s.image for s in scenes]), SceneConfig().class_names)
masks = np.stack([s.mask for s in scenes])
right = (result.labels.numpy() == masks)[masks < len(SceneConfig().objects)]
try:
    minigroupvit.load("photographs_projected")
except ValueError as error:
    refused = str(error)
print(json.dumps({"package": minigroupvit.__file__, "refused": refused, "weights": str(weights_folder()),
                  "names": shipped_weights(), "right": float(right.mean())}))
"""


def call(*command: object, cwd: Path, **variables: str) -> str:
    done = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True,
                          env=os.environ | variables)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build_wheel(source: Path, into: Path) -> Path:
    call(sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps",
         "--no-build-isolation", "--wheel-dir", into, source, cwd=into)
    (wheel,) = into.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    return build_wheel(ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    target = tmp_path_factory.mktemp("elsewhere") / "site"
    call(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps",
         "--no-index", "--target", target, wheel, cwd=target.parent)
    return target


def test_the_wheel_holds_the_package_its_data_and_its_weights(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    ours = {name for name in names if not name.startswith("minigroupvit-")}
    sources = {str(path.relative_to(ROOT)) for path in (ROOT / "minigroupvit").rglob("*")
               if path.is_file() and "__pycache__" not in path.parts}
    weights = {f"minigroupvit/weights/{path.relative_to(ROOT / 'data' / 'weights')}"
               for path in (ROOT / "data" / "weights").rglob("*") if path.is_file()}
    assert "minigroupvit/data/scenes/drawings.npz" in sources and "minigroupvit/weights/scenes.safetensors" in weights
    assert ours == sources | weights
    assert not any("photographs" in name for name in weights), "these are not under the package's licence"
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_installed_package_segments(installed, tmp_path):
    said = json.loads(call(sys.executable, "-c", SCRIPT, cwd=tmp_path, PYTHONPATH=str(installed)))
    assert said["package"] == str(installed / "minigroupvit" / "__init__.py")
    assert said["weights"] == str(installed / "minigroupvit" / "weights")
    assert "scenes" in said["names"] and not any(name.startswith("photographs") for name in said["names"])
    assert "'photographs_projected' are for non-commercial research" in said["refused"]
    assert "data/photographs of a clone of github.com/minigroupvit/minigroupvit" in said["refused"]
    assert said["right"] > 0.4      # share of the objects' pixels; backgrounds alone are learnt at once


def test_the_installed_command_segments(installed, tmp_path):
    from PIL import Image

    from minigroupvit.data.scenes.make import make_scene

    Image.fromarray(make_scene(0, "test").image).save(tmp_path / "scene.png")
    said = call(installed / "bin" / "minigroupvit", "segment", "scene.png", "--classes", "butterfly, grass, cat",
                cwd=tmp_path, PYTHONPATH=str(installed))
    assert "written: overlay.png" in said and (tmp_path / "overlay.png").exists()


def test_a_source_archive_gives_the_same_wheel(wheel, tmp_path):
    call(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", tmp_path, cwd=ROOT)
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as source:
        assert not any("data/photographs" in name for name in source.getnames())
    (tmp_path / "again").mkdir()
    again = build_wheel(archive, tmp_path / "again")
    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(again) as other:
        assert {i.filename: i.CRC for i in one.infolist()} == {i.filename: i.CRC for i in other.infolist()}


def test_weights_with_a_licence_of_their_own_lie_beside_it():
    folder = ROOT / "data" / "photographs"
    assert "non-commercial" in (folder / "LICENSE.md").read_text()
    assert {path.name.split(".")[0] for path in folder.glob("*.safetensors")} == {
        "photographs", "photographs_paper", "photographs_projected"}


def test_citation():
    """The software, and the paper to cite in its place."""
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"version: {minigroupvit.__version__}\n" in citation
    assert "preferred-citation:\n  type: conference-paper" in citation
    assert "2202.11094" in citation and "year: 2022" in citation
