"""Figures of experiments with groups: intervals, contents, prototypes, strips of snapshots, measures over steps."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from minigroupvit.visual import plots
from minigroupvit.visual.palette import group_colours
from minigroupvit.visual.widgets.time_lapse import Snapshots, measures_figure, snapshot_strip


@pytest.fixture
def film() -> Snapshots:
    """Three steps, two images, three groups: everything is in group 0, then 1, then 2."""
    maps = torch.zeros(3, 2, 3, 4, 4, dtype=torch.uint8)
    for step in range(3):
        maps[step, :, step] = 255
    images = torch.full((2, 3, 16, 16), 128, dtype=torch.uint8)
    return Snapshots(images, (0, 5, 9), (maps,))


def test_intervals_have_a_row_a_name_and_a_dot_a_series() -> None:
    series = {"ARI": {"groups": (0.5, 0.4, 0.7), "control": (0.2, 0.1, 0.3)}, "oracle": {"control": (0.6, 0.5, 0.8)}}
    ax = plots.show_intervals(plots.figure().subplots(), series, "value")
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["groups", "control"]
    assert ax.get_ylim()[0] > ax.get_ylim()[1] and ax.get_xlabel() == "value"            # the first name is at the top
    lines = [line.get_xdata() for line in ax.lines if len(line.get_xdata()) == 2]
    assert [tuple(x) for x in lines] == [(0.4, 0.7), (0.1, 0.3), (0.5, 0.8)]
    dots = [(line.get_xdata()[0], line.get_ydata()[0]) for line in ax.lines if line.get_marker() != "None"]
    assert [x for x, _ in dots] == [0.5, 0.2, 0.6]
    assert 0.2 < abs(dots[1][1] - dots[2][1]) < 0.5          # beside each other, and nearer than to the next row
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["ARI", "oracle"]
    alone = plots.show_intervals(plots.figure().subplots(), {"ARI": series["ARI"]})
    assert alone.get_legend() is None and [line.get_ydata()[0] for line in alone.lines[::2]] == [0, 1]


def test_contents_are_sorted_into_a_staircase() -> None:
    pixels = torch.tensor([[0, 10, 0, 0], [0, 0, 0, 0], [90, 0, 5, 0], [0, 3, 0, 37]])
    ax = plots.show_contents(plots.figure().subplots(), pixels, ["a", "b", "c", "d"])
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["group 2", "group 3", "group 0"]   # 1 holds nothing
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["a", "c", "d", "b"]
    np.testing.assert_allclose(ax.images[0].get_array(), [[90 / 95, 5 / 95, 0, 0], [0, 0, 37 / 40, 3 / 40], [0, 0, 0, 1]])


def test_images_have_titles_over_their_columns() -> None:
    image = torch.zeros(3, 8, 8, dtype=torch.uint8)
    figure = plots.images_figure([[image, image + 255]] * 3, ["before", "after"])
    assert [ax.get_title() for ax in figure.axes] == ["before", "after", "", "", "", ""]
    assert figure.axes[5].images[0].get_array().min() == 1 and figure.axes[4].images[0].get_array().max() == 0


def test_prototypes_are_the_patches_with_the_largest_share() -> None:
    images = torch.zeros(3, 3, 16, 16, dtype=torch.uint8)
    images[2, :, 4:8, 8:12] = 90                                                             # row 1, column 2
    images[0, :, 12:, 12:] = 200                                                             # row 3, column 3: the edge
    shares = torch.full((3, 2, 4, 4), 0.1)
    shares[2, 1, 1, 2], shares[0, 1, 3, 3] = 0.9, 0.8
    figure = plots.prototypes_figure(images, shares, [1], count=2)
    (ax,) = figure.axes
    pixels = np.asarray(ax.images[0].get_array())                                            # (22, 44, 3): 20 + 2 each
    assert pixels.shape == (22, 44, 3) and ax.get_ylabel() == "group 1"
    assert np.allclose(pixels[10:12, 10:12], 90 / 255)                                       # the best first, framed
    assert np.allclose(pixels[8, 8:14], 1) and np.allclose(pixels[13, 8:14], 1)
    assert np.allclose(pixels[10:12, 32:34], 200 / 255) and np.allclose(pixels[18, 40], 128 / 255)   # grey outside


def test_a_strip_has_a_column_a_step(film) -> None:
    figure = snapshot_strip(film, (0, 9), pictures=(1,))
    assert [ax.get_title() for ax in figure.axes] == ["image", "step 0", "step 9"]
    first, last = (np.asarray(ax.images[0].get_array())[8, 8] for ax in figure.axes[1:])
    for shown, group in ((first, 0), (last, 2)):
        distances = [np.abs(shown - (0.72 * colour + 0.28 * 128 / 255)).max() for colour in group_colours(3)]
        assert int(np.argmin(distances)) == group
    with pytest.raises(ValueError, match="no snapshot of step 7; there are 0, 5, 9"):
        snapshot_strip(film, (7,))


def test_measures_have_axes_and_runs_have_curves(film) -> None:
    measures = {"largest group": lambda shares: float(shares.mean(dim=(0, 2)).argmax()), "sum": lambda s: float(s.sum())}
    figure = measures_figure({"one": film, "two": film}, measures)
    assert [ax.get_title() or ax.get_ylabel() for ax in figure.axes] == ["largest group", "sum"]
    assert list(figure.axes[0].lines[0].get_ydata()) == [0, 1, 2] and len(figure.axes[1].lines) == 2
    assert set(figure.axes[1].lines[0].get_ydata()) == {32.0}
    assert figure.axes[0].get_legend() and figure.axes[1].get_legend() is None
