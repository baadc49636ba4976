"""The drawings as code: their parts, and that rendering them gives the shipped masks."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from minigroupvit.data.scenes import drawings as shipped

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts"))
make_drawings, shapes = import_module("make_drawings"), import_module("drawings.shapes")


@pytest.mark.parametrize(("name", "number"), [("cat", 2), ("rabbit", 3), ("butterfly", 2), ("airplane", 2), ("shoe", 4),
                                              ("house", 0)])
def test_the_shipped_masks_are_those_of_the_code(name, number):
    """Some of each kind of shared part: legs, pairs, eyes, wheels. A change of the code needs a new drawings.npz."""
    layers = make_drawings.render(make_drawings.all_drawings()[name][number])
    with np.load(Path(shipped.__file__).with_name("drawings.npz")) as file:
        np.testing.assert_array_equal(layers, file[name][number])


def test_every_object_has_its_drawings():
    assert {name: len(many) for name, many in make_drawings.all_drawings().items()} == {
        name: shipped.num_drawings(name) for name in shipped.OBJECTS}


def test_a_pair_is_the_same_step_on_both_sides():
    left, right = shapes.pair(shapes.detail, shapes.ellipse(30, 5, 4, 2, 20), 0.4, axis=25, inside=True)
    assert (left.kind, left.value, left.inside) == (right.kind, right.value, right.inside) == ("detail", 0.4, True)
    np.testing.assert_allclose(left.curve.vertices[:, 0] + right.curve.vertices[:, 0], 50)
    np.testing.assert_allclose(left.curve.vertices[:, 1], right.curve.vertices[:, 1])


def test_a_leg_stands_on_the_ground():
    step = shapes.leg(10, 44, 14, (1, 12), step=-3, ground=-2, rise=6)
    assert step.kind == "main"
    assert step.curve.vertices[:4].tolist() == [[10, 44], [24, 50], [19, -2], [8, -2]]


def test_discs_lie_on_each_other():
    tyre, hub = shapes.discs(7, 3, 10, (4, 6), greys=(0.1, 0.8))
    assert [(s.kind, s.value, s.inside) for s in (tyre, hub)] == [("detail", 0.1, False), ("detail", 0.8, False)]
    for step, half in ((tyre, (10, 10)), (hub, (4, 6))):
        box = step.curve.get_extents()
        np.testing.assert_allclose([box.x0, box.x1, box.y0, box.y1],
                                   [7 - half[0], 7 + half[0], 3 - half[1], 3 + half[1]], atol=1e-3)
