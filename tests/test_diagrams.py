"""Diagrams: their labels are there and can be read, arrows meet what they join, and the SVGs are those of today."""

from __future__ import annotations

import re
import sys
from itertools import combinations
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Rectangle
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from minigroupvit.visual import diagrams
from minigroupvit.visual.diagrams import DIAGRAMS, save
from minigroupvit.visual.sketch import Page

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

import make_diagrams  # noqa: E402

LABELS = {
    "architecture": ("stage 1", "stage 2", "join", "project: norm,", "64 seg-", "shared", "text head (MLP)"),
    "grouping_block": ("1  similarity", "2  softmax over groups", "3  hard assignment", "4  merge", "residual: the group",
                       "(straight-through)", "noise"),
    "two_losses": ("image-text loss", "multi-label contrastive loss", "softmax over a row", "over a column", "½"),
    "inference": ("1  group maps", "2  pixel groups", "3  embed classes", "4  score groups", "5  label pixels",
                  "threshold: background"),
}
each = pytest.mark.parametrize("name", DIAGRAMS)


def texts_of(figure: Figure) -> list[Text]:
    return [text for text in figure.findobj(Text) if text.get_text().strip()]


def corners(text: Text) -> np.ndarray:
    """The four corners of a text on the page in inches, however it is turned."""
    angle = text.get_rotation()
    if angle % 90:                                                     # measured level, then turned about its anchor
        assert text.get_rotation_mode() == "anchor"
        text.set_rotation(0)
    box, anchor = text.get_window_extent(), text.get_transform().transform(text.get_position())
    found = np.array([(box.x0, box.y0), (box.x1, box.y0), (box.x1, box.y1), (box.x0, box.y1)])
    if angle % 90:
        text.set_rotation(angle)
        cos, sin = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
        found = (found - anchor) @ np.array([[cos, sin], [-sin, cos]]) + anchor
    return found / text.figure.dpi


def overlap(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether two rectangles, turned or not, share some area (separating axes)."""
    for shape in (first, second):
        for side in np.diff(np.concatenate([shape, shape[:1]]), axis=0)[:2]:
            axis = np.array([-side[1], side[0]]) / np.linalg.norm(side)
            a, b = first @ axis, second @ axis
            if a.max() <= b.min() + 0.005 or b.max() <= a.min() + 0.005:
                return False
    return True


def covered(figure: Figure) -> list[tuple[str, str]]:
    """Pairs of texts of which one covers the other."""
    placed = [(text.get_text(), corners(text)) for text in texts_of(figure)]
    return [(a, b) for (a, one), (b, other) in combinations(placed, 2) if overlap(one, other)]


@pytest.fixture(scope="module")
def figures() -> dict[str, Figure]:
    drawn = {name: draw() for name, draw in DIAGRAMS.items()}
    for figure in drawn.values():
        FigureCanvasAgg(figure).draw()
    return drawn


@each
def test_its_labels_are_there_and_none_covers_another(name, figures):
    written = "\n".join(text.get_text() for text in texts_of(figures[name]))
    assert all(label in written for label in LABELS[name])
    assert covered(figures[name]) == []


@each
def test_texts_can_be_read_and_lie_on_the_page(name, figures):
    width, height = figures[name].get_size_inches()
    assert width == 9.5                                                # that of all figures of the notebooks
    for text in texts_of(figures[name]):
        x, y = corners(text).T
        assert text.get_size() >= 6.5 and 0 <= x.min() < x.max() <= width and 0 <= y.min() < y.max() <= height, text


@each
def test_the_text_of_a_box_fits_into_it(name, figures):
    ax = figures[name].axes[0]
    boxes = [patch.get_path().get_extents() for patch in ax.patches if isinstance(patch, FancyBboxPatch)]
    held = 0
    for text in texts_of(figures[name]):
        own = Bbox.from_extents(*corners(text).min(axis=0), *corners(text).max(axis=0))
        middle = (own.x0 + own.x1) / 2, (own.y0 + own.y1) / 2
        for box in boxes:
            if box.contains(*middle):
                held += 1
                assert box.x0 <= own.x0 and own.x1 <= box.x1 and box.y0 <= own.y0 and own.y1 <= box.y1, text.get_text()
    assert held >= 3 or name == "two_losses"


@each
def test_arrows_begin_and_end_at_something(name, figures):
    """At a side of a box, a row of tokens, a matrix, a picture, or on another arrow."""
    ax = figures[name].axes[0]
    shapes = [patch.get_path().transformed(patch.get_patch_transform()).get_extents() for patch in ax.patches
              if isinstance(patch, (FancyBboxPatch, Rectangle, Circle)) and patch.get_linestyle() == "solid"]
    paths = [patch._path_original.vertices for patch in ax.patches if isinstance(patch, FancyArrowPatch)]
    assert paths
    if name == "two_losses":                                           # two directions, which join nothing
        return

    def met(point: np.ndarray, own: np.ndarray) -> bool:
        near = [s for s in shapes if s.x0 - 0.03 <= point[0] <= s.x1 + 0.03 and s.y0 - 0.06 <= point[1] <= s.y1 + 0.06]
        inner = [s for s in near if s.x0 + 0.06 < point[0] < s.x1 - 0.06 and s.y0 + 0.06 < point[1] < s.y1 - 0.06]
        lines = [(a, b) for path in paths if path is not own for a, b in zip(path, path[1:])]
        on_line = any(min(a[0], b[0]) - 0.01 <= point[0] <= max(a[0], b[0]) + 0.01 and
                      min(a[1], b[1]) - 0.01 <= point[1] <= max(a[1], b[1]) + 0.01 for a, b in lines)
        return bool(near) and not inner or on_line

    for path in paths:
        assert met(path[0], path) and met(path[-1], path), path
        assert all(abs(a - b).min() < 0.011 for a, b in zip(path, path[1:])), path     # level or upright


@each
def test_the_svg_is_that_of_docs(name, figures, tmp_path):
    """Byte by byte where matplotlib is of the same version; elsewhere the same texts."""
    save(DIAGRAMS[name](), tmp_path / "a.svg")
    save(DIAGRAMS[name](), tmp_path / "b.svg")
    fresh = (tmp_path / "a.svg").read_text(encoding="utf-8")
    assert fresh == (tmp_path / "b.svg").read_text(encoding="utf-8")
    kept = (ROOT / "docs/diagrams" / f"{name}.svg").read_text(encoding="utf-8")
    texts = [re.findall("<!-- (.*?) -->", svg, re.DOTALL) for svg in (fresh, kept)]
    assert texts[0] == texts[1] and len(texts[0]) > 10, "run python scripts/make_diagrams.py"
    assert fresh == kept or f"Matplotlib v{matplotlib.__version__}" not in kept, "run python scripts/make_diagrams.py"


def test_the_script_writes_all(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["make_diagrams.py", "--out", str(tmp_path)])
    make_diagrams.main()
    assert sorted(path.stem for path in tmp_path.iterdir()) == sorted(DIAGRAMS)
    assert capsys.readouterr().out.count(".svg") == 4


def test_the_numbers_of_the_grouping_block_are_a_softmax(figures):
    """As they are written, with two digits: whoever adds up a column gets 1."""
    shares = [float(t.get_text()) for t in texts_of(figures["grouping_block"]) if re.fullmatch(r"0\.\d\d", t.get_text())]
    logits = [float(t.get_text()) for t in texts_of(figures["grouping_block"]) if re.fullmatch(r"\d\.\d", t.get_text())]
    shares, logits = np.reshape(shares, (3, 5)), np.reshape(logits, (3, 5))
    np.testing.assert_allclose(shares.sum(axis=0), 1, atol=1e-9)
    np.testing.assert_allclose(shares, np.exp(logits) / np.exp(logits).sum(axis=0), atol=0.006)


def test_texts_that_cover_each_other_would_be_found():
    page = Page(3, 1)
    page.text(1, 0.5, "one label")
    page.text(2.4, 0.5, "far")
    page.text(1.2, 0.5, "another", rotation=40, rotation_mode="anchor")
    FigureCanvasAgg(page.figure).draw()
    assert covered(page.figure) == [("one label", "another")]


def test_a_picture_has_a_kind():
    with pytest.raises(KeyError):
        Page(1, 1).picture(0, 0, 1, kind="nonsense")
    assert diagrams.architecture() is not diagrams.architecture()
