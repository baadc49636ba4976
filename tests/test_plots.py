"""Figures: what is drawn where, colours that people can tell apart, and no figure left in pyplot."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from minigroupvit.data.scenes.config import SceneConfig
from minigroupvit.segmentation.segment import segment
from minigroupvit.visual import plots
from minigroupvit.visual.figures import demo_figure
from minigroupvit.visual.palette import (
    CLASS_COLOURS,
    GROUP_COLOURS,
    NO_CLASS,
    class_colours,
    family_colours,
    group_colours,
)

NAMES = ["sun", "heart", "brick", "cloud"]


@pytest.fixture
def ax():
    return Figure(figsize=(2, 2)).add_axes((0, 0, 1, 1))


def _painted(ax):
    return np.asarray(ax.images[0].get_array())


def _words(ax):
    return {text.get_text(): text.get_position() for text in ax.texts}


# --- the palettes ---

# What people see who lack one kind of cones, in linear RGB: Machado, Oliveira and Fernandes 2009.
VISION = {
    "normal": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def _oklab(rgb):
    """Ottosson's space in which distances are about as large as they look."""
    lms = np.cbrt(rgb @ np.array([[0.4122, 0.5363, 0.0514], [0.2119, 0.6807, 0.1074], [0.0883, 0.2817, 0.6300]]).T)
    return lms @ np.array([[0.2105, 0.7936, -0.0041], [1.9780, -2.4286, 0.4506], [0.0259, 0.7828, -0.8087]]).T


def _least_distance(colours, vision):
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    seen = _oklab(np.clip(linear @ np.array(VISION[vision]).T, 0, 1))
    distances = np.linalg.norm(seen[:, None] - seen[None], axis=-1)
    return distances[~np.eye(len(colours), dtype=bool)].min()


@pytest.mark.parametrize("vision, least", [("normal", 0.06), ("protanopia", 0.045), ("deuteranopia", 0.045),
                                           ("tritanopia", 0.035)])
def test_people_can_tell_the_colours_apart(vision, least):
    # A step that one just notices is about 0.02.
    assert _least_distance(class_colours(SceneConfig().class_names), vision) > least
    assert _least_distance(group_colours(16), vision) > least
    assert _least_distance(group_colours(32), vision) > 0.025


def test_a_class_has_one_colour_in_all_figures():
    assert set(CLASS_COLOURS) == set(SceneConfig().class_names)
    few, all_of_them = class_colours(["brick", "cat"]), class_colours(SceneConfig().class_names)
    assert np.array_equal(few[1], all_of_them[0])
    foreign = class_colours(["zebra", "cat", "road"])
    assert np.array_equal(foreign[1], few[1])
    assert len(np.unique(foreign, axis=0)) == 3
    assert len(np.unique(class_colours([f"word {i}" for i in range(60)]), axis=0)) == 60


def test_there_are_colours_for_the_papers_64_groups():
    assert len(set(GROUP_COLOURS)) == 32
    colours = group_colours(64)
    assert len(np.unique(colours, axis=0)) == 64 and np.array_equal(colours[:8], group_colours(8))


# --- the helpers ---


def test_show_image_takes_every_kind(ax):
    array = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    tensor = torch.from_numpy(array).permute(2, 0, 1)
    for image in (array, Image.fromarray(array), tensor, tensor.float() / 255):
        fresh = Figure().add_subplot()
        assert plots.show_image(fresh, image) is fresh
        assert np.allclose(_painted(fresh), array / 255)
    assert plots.show_image(ax, array, title="a picture").get_title() == "a picture"


def test_labels_get_their_colour_and_name(ax):
    labels = torch.zeros(20, 20, dtype=torch.long)
    labels[:, 10:] = 2
    assert plots.show_labels(ax, labels, NAMES) is ax
    colours = class_colours(NAMES)
    assert np.allclose(_painted(ax)[5, 5], colours[0]) and np.allclose(_painted(ax)[5, 15], colours[2])
    words = _words(ax)
    assert set(words) == {"sun", "brick"}
    assert words["sun"][0] < 9.5 < words["brick"][0]


def test_background_is_grey_and_named(ax):
    plots.show_labels(ax, np.full((20, 20), -1), NAMES)
    assert np.ptp(_painted(ax)[0, 0]) == 0 and set(_words(ax)) == {"background"}


def test_an_image_is_visible_through_the_colours(ax):
    image = torch.zeros(3, 4, 4)
    plots.show_groups(ax, torch.zeros(4, 4), image, opacity=0.5)
    assert np.allclose(_painted(ax), group_colours(1)[0] / 2)


def test_groups_have_numbers_where_they_are(ax):
    groups = np.zeros((20, 20), dtype=int)
    groups[:, :10] = 7
    plots.show_groups(ax, groups)
    words = _words(ax)
    assert set(words) == {"0", "7"} and words["7"][0] < 10 <= words["0"][0]
    silent = plots.show_groups(Figure().add_subplot(), groups, numbers=False)
    assert not silent.texts


def test_names_stand_inside_their_region_even_if_it_is_a_ring(ax):
    ring = np.zeros((40, 40), dtype=int)
    ring[4:36, 4:36] = 1
    ring[10:30, 10:30] = 2
    plots.write_on_regions(ax, ring, ["out", "ring", "in"])
    for name, (x, y) in _words(ax).items():
        assert ring[y, x] == ["out", "ring", "in"].index(name)


def test_each_connected_component_is_named_unless_it_is_tiny(ax):
    labels = np.zeros((40, 40), dtype=int)
    labels[:12, :12] = labels[28:, 28:] = 1
    labels[30, 3] = 3
    plots.write_on_regions(ax, labels, NAMES)
    assert sorted(text.get_text() for text in ax.texts) == ["heart", "heart", "sun"]
    once = plots.write_on_regions(Figure().add_subplot(), labels, NAMES, largest_only=True)
    assert sorted(text.get_text() for text in once.texts) == ["heart", "sun"]


def test_names_do_not_cover_each_other():
    fig = Figure(figsize=(1.9, 1.9))
    ax = fig.add_axes((0, 0, 1, 1))
    labels = np.zeros((64, 64), dtype=int)
    labels[20:32, 24:40], labels[32:44, 24:40] = 1, 2
    plots.show_labels(ax, labels, ["butterfly", "mushroom", "umbrella"])
    boxes = [text.get_window_extent() for text in ax.texts]
    assert len(boxes) == 3
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    frame = ax.get_window_extent()
    assert all(frame.x0 <= b.x0 and b.x1 <= frame.x1 for b in boxes)


def test_borders_run_between_the_pixels(ax):
    plots.draw_borders(ax, [[0, 0], [0, 1]])
    for lines in ax.collections:                                       # a dark one below a white one
        segments = {tuple(map(tuple, s)) for s in lines.get_segments()}
        assert segments == {((0.5, 0.5), (0.5, 1.5)), ((0.5, 0.5), (1.5, 0.5))}


def test_legends_name_what_occurs_largest_first(ax):
    labels = np.array([[2, 2, 2], [0, 0, -1]])
    assert [t.get_text() for t in plots.class_legend(ax, labels, NAMES).get_texts()] == ["brick", "sun", "background"]


@pytest.mark.parametrize("labels, names, message", [
    (np.zeros((2, 4, 4)), NAMES, "one image of the batch"),
    (np.full((4, 4), 4), NAMES, "only|4 class names"),
    (np.full((4, 4), -2), NAMES, "from -2"),
])
def test_maps_that_cannot_be_drawn(ax, labels, names, message):
    with pytest.raises(ValueError, match=message):
        plots.show_labels(ax, labels, names)


# --- whole figures ---


@pytest.mark.parametrize("stages, titles", [
    ({}, ["image", "stage 1", "stage 2", "names", "truth"]),
    ({"depths": (1,), "num_group_tokens": (4,), "num_output_groups": (4,)}, ["image", "segments", "names", "truth"]),
    ({"depths": (1,), "num_group_tokens": (0,), "num_output_groups": (0,)}, ["image", "names", "truth"]),
])
def test_the_demo_figure_has_a_column_for_each_stage(make_model, tmp_path, stages, titles):
    images = torch.rand(3, 3, 16, 16)
    masks = torch.randint(4, (3, 16, 16))
    found = segment(make_model(**stages), images, NAMES, pixels="patches" if len(titles) == 3 else "largest")
    fig = demo_figure(images, found, masks, NAMES, captions=["one", "two " * 100, "three"], note="a note " * 40)
    assert len(fig.axes) == 3 * len(titles)
    assert [ax.get_title() for ax in fig.axes[:len(titles)]] == titles
    assert np.allclose(_painted(fig.axes[len(titles)]), images[1].permute(1, 2, 0))
    assert np.allclose(_painted(fig.axes[-1]), class_colours(NAMES)[masks[2]])
    assert np.allclose(_painted(fig.axes[-2]), class_colours(NAMES)[found.labels[2]])
    inside = fig.bbox
    for text in (*fig.texts, *fig.legends):
        box = text.get_window_extent()
        assert inside.x0 <= box.x0 and box.x1 <= inside.x1 and inside.y0 <= box.y0, text
    fig.savefig(tmp_path / "figure.png")
    assert Image.open(tmp_path / "figure.png").size[0] > 500


def test_the_demo_figure_has_one_palette():
    """Two segments of a first stage that join one of the second, which is named heart; the rest is sun."""
    second, first = torch.ones(1, 12, 12, dtype=torch.long), torch.full((1, 12, 12), 3)
    second[:, 4:10, 2:10], first[:, 4:10, 2:8], first[:, 4:10, 8:10] = 0, 5, 1
    labels = torch.where(second == 0, 1, 0)
    labels[:, 4, 2] = -1                                                   # a pixel without a name
    image = torch.rand(1, 3, 12, 12)
    maps = [torch.zeros(1, groups, 3, 3) for groups in (6, 2)]
    found = SimpleNamespace(labels=labels, groups=[first, second], group_scores=torch.zeros(1, 2, 4), maps=maps,
                            class_names=NAMES)
    truth = torch.full((1, 12, 12), 3)
    fig = demo_figure(image, found, truth, NAMES)
    colours = class_colours(NAMES)
    named = colours[torch.where(second == 0, 1, 0)[0].numpy()]
    grey = image[0].mean(dim=0)[:, :, None].numpy()
    assert np.allclose(_painted(fig.axes[2]), 0.8 * named + 0.2 * grey, atol=1e-6)
    # In the first stage the larger part of the heart has its colour, the smaller a shade that can be told from it.
    small = first[0].numpy() == 1
    assert np.allclose(_painted(fig.axes[1])[~small], _painted(fig.axes[2])[~small], atol=1e-6)
    assert np.abs(_painted(fig.axes[1])[small] - _painted(fig.axes[2])[small]).max(axis=-1).min() > 0.05
    assert {"1", "3", "5"} < set(_words(fig.axes[1])) and {"0", "1"} < set(_words(fig.axes[2]))
    legend, = fig.legends
    assert [text.get_text() for text in legend.get_texts()] == ["sun", "heart", "cloud", "background"]
    shown = [patch.get_facecolor()[:3] for patch in legend.get_patches()]
    assert np.allclose(shown, [*colours[[0, 1, 3]], to_rgb(NO_CLASS)])


def test_segments_of_one_parent_have_shades_of_its_colour():
    groups = np.repeat([0, 1, 2, 5], (4, 3, 2, 7)).reshape(4, 4)
    parents = np.where(groups == 5, 1, 0)
    parents.flat[0] = 1                                                    # one pixel does not make a parent
    colours = family_colours(groups, parents, np.array([[0.2, 0.4, 0.8], [0.9, 0.1, 0.1]]))
    assert colours.shape == (6, 3)
    assert np.allclose(colours[0], [0.2, 0.4, 0.8]) and np.allclose(colours[5], [0.9, 0.1, 0.1])
    assert (colours[1] > colours[0]).all() and (colours[2] < colours[0]).all()     # paler, darker


def test_an_overlay_is_written_whole_or_not_at_all(make_model, tmp_path):
    image = Image.new("RGB", (40, 20), "orange")
    found = segment(make_model(), image, NAMES)
    plots.save_overlay(image, found, tmp_path / "overlay.PNG")
    assert Image.open(tmp_path / "overlay.PNG").width > 1000
    with pytest.raises(ValueError, match=r"overlay\.xyz.*\.png"):
        plots.save_overlay(image, found, tmp_path / "overlay.xyz")
    assert [path.name for path in tmp_path.iterdir()] == ["overlay.PNG"]


def test_intervals_of_two_series_stand_in_the_rows_of_their_names(ax):
    plots.show_intervals(ax, {"ours": {"soft": (11, 8, 14), "hard": (float("nan"),) * 3}, "paper": {"hard": (37, 37, 37)}})
    assert [text.get_text() for text in ax.get_yticklabels()] == ["soft", "hard"]
    assert ax.get_ylim()[0] > ax.get_ylim()[1]                             # the first one on top
    drawn = [(line.get_xdata().tolist(), round(line.get_ydata()[0])) for line in ax.lines]
    assert drawn[:2] == [([8, 14], 0), ([11], 0)] and drawn[-2:] == [([37, 37], 1), ([37], 1)]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["ours", "paper"]


def test_pyplot_knows_of_no_figure(make_model):
    import matplotlib.pyplot as plt

    before = plt.get_fignums()
    images = torch.rand(1, 3, 16, 16)
    demo_figure(images, segment(make_model(), images, NAMES), torch.zeros(1, 16, 16), NAMES)
    assert plt.get_fignums() == before
