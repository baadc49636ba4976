"""Widgets without a front end: a control changes, and the image changes without needless work."""

from __future__ import annotations

import base64
import io
from datetime import datetime, timezone

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from minigroupvit.data.scenes.config import SceneConfig
from minigroupvit.segmentation.options import InferenceOptions
from minigroupvit.segmentation.segment import segment
from minigroupvit.visual.palette import class_colours
from minigroupvit.visual.widgets import (
    ClassPromptBox,
    GroupExplorer,
    Memory,
    PictureUpload,
    ProtocolSliders,
    SceneDrawer,
    draw_group,
    draw_masks,
    models_figure,
    panel,
)
from minigroupvit.visual.widgets.text_boxes import typed_names

NOW = datetime.now(timezone.utc)
WORDS = ["sun", "heart", "brick"]


class Counted:
    """Counts how often the two encoders of a model run."""

    def __init__(self, model) -> None:
        self.model, self.images, self.texts = model, 0, 0
        model.image_encoder.register_forward_hook(lambda *_: self._add(images=1))
        model.text_encoder.register_forward_hook(lambda _, inputs, __: self._add(texts=len(inputs[0])))

    def _add(self, images: int = 0, texts: int = 0) -> None:
        self.images, self.texts = self.images + images, self.texts + texts

    def since(self, before: tuple[int, int]) -> tuple[int, int]:
        return self.images - before[0], self.texts - before[1]

    @property
    def so_far(self) -> tuple[int, int]:
        return self.images, self.texts


@pytest.fixture
def counted(make_model) -> Counted:
    model = make_model()
    # Untrained groups are all alike; larger weights make images and class names matter.
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    model.protocol = InferenceOptions(templates=("a {}", "the {}"), top_classes=2)
    return Counted(model.eval())


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)


def size_of(png: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(png)) as image:
        assert image.format == "PNG"
        return image.size


@pytest.mark.parametrize("choices", [{}, {"pixels": "shared", "background_threshold": 0.4}, {"flip": True},
                                     {"mode": "slide", "short_side": 16, "window": 8}])
def test_memory_returns_what_segment_returns(counted, image, choices):
    memory = Memory(counted.model)
    expected = segment(counted.model, image, WORDS, **choices)
    for _ in range(2):
        result = memory.segment(image, WORDS, **choices)
        assert torch.equal(result.labels, expected.labels)
        torch.testing.assert_close(result.scores, expected.scores)


def test_memory_tells_images_apart_and_forgets_the_oldest(counted):
    memory = Memory(counted.model)
    images = torch.rand(20, 3, 16, 16)
    for one in images:
        torch.testing.assert_close(memory.segment(one, WORDS).scores, segment(counted.model, one, WORDS).scores)
    before = memory.num_looks
    memory.segment(images[-1], WORDS)
    assert memory.num_looks == before
    memory.segment(images[0], WORDS)
    assert memory.num_looks == before + 1


def test_class_names_change_the_masks_and_only_new_ones_are_encoded(counted, image):
    box = ClassPromptBox(counted.model, image, WORDS)
    assert box.words.value == "sun, heart, brick"
    assert torch.equal(box.segmentation.labels, segment(counted.model, image, WORDS).labels)
    png, before = box.canvas.value, counted.so_far
    box.words.value = "heart, cloud"
    assert counted.since(before) == (0, 2)        # cloud, in two templates
    assert box.segmentation.class_names == ["heart", "cloud"] and box.canvas.value != png
    box.words.value = "sun, heart, brick"
    assert counted.since(before) == (0, 2) and box.canvas.value == png


def test_wrong_and_unknown_words_are_reported_and_the_image_stays(counted, image):
    box = ClassPromptBox(counted.model, image, WORDS)
    png = box.canvas.value
    box.words.value = " , "
    assert "at least one class name" in box.message.value and box.canvas.value == png
    box.words.value = "sun, zebra"
    assert "zebra" in box.message.value
    box.say("<b>")                                # what someone typed is text, not HTML
    assert box.message.value == "&lt;b&gt;"
    box.words.value = "sun"
    assert box.message.value == ""


def test_typed_names():
    assert typed_names(" sun,the  starry night ,, sun") == ["sun", "the starry night"]
    assert typed_names(" , ") == []


def test_a_slider_of_the_inference_options_encodes_no_image_again(counted, image):
    sliders = ProtocolSliders(counted.model, image, WORDS)
    before = counted.so_far
    sliders.threshold.value = 1.0
    assert (sliders.segmentation.labels == -1).any()
    expected = segment(counted.model, image, WORDS, background_threshold=1.0)
    assert torch.equal(sliders.segmentation.labels, expected.labels)
    before = counted.so_far
    sliders.threshold.value = 0.0
    assert (sliders.segmentation.labels >= 0).all()
    sliders.top_classes.value = 1
    assert counted.since(before) == (0, 0)
    assert sliders.segmentation.labels.unique().numel() == 1
    sliders.templates.value = ("{}",)
    assert counted.since(before) == (0, 3)        # each class name again, the image not
    sliders.templates.value = sliders.templates.options["the model's own"]
    assert counted.since(before) == (0, 3)


@pytest.mark.filterwarnings("ignore:never seen in training")
def test_a_new_scene(counted):
    drawer = SceneDrawer(counted.model, number=3, config=SceneConfig(image_size=32))
    png, before = drawer.canvas.value, counted.so_far
    drawer.number.value = 4
    assert counted.since(before) == (1, 0) and drawer.canvas.value != png
    assert drawer.scene.caption in drawer.message.value
    drawer.objects.value, drawer.count.value = ("cat", "boat"), 2
    assert {thing.class_name for thing in drawer.scene.instances} <= {"cat", "boat"}
    assert len(drawer.scene.instances) == 2
    # The mask of a scene with two kinds of objects counts in its own classes: here told in those of all.
    names, own = drawer.config.class_names, SceneConfig(objects=("cat", "boat")).class_names
    truth = np.array([names.index(name) for name in own])[drawer.scene.mask]
    np.testing.assert_array_equal(drawer.mask, truth)
    assert drawer.share_right == pytest.approx((drawer.segmentation.labels[0].numpy() == truth).mean())


def test_an_uploaded_image(counted, image):
    panel = PictureUpload(counted.model, image, WORDS)
    png = panel.canvas.value
    file = io.BytesIO()
    Image.new("RGB", (1000, 500), "green").save(file, "PNG")
    panel.upload.value = ({"name": "green.png", "type": "image/png", "size": 1, "content": file.getvalue(),
                           "last_modified": NOW},)
    assert panel.image.size == (320, 160) and panel.canvas.value != png
    assert tuple(panel.segmentation.labels.shape) == (1, 160, 320)
    assert tuple(panel.segmentation.maps[0].shape[-2:]) == (4, 8)       # it was looked at 16 pixels high
    png = panel.canvas.value
    panel.upload.value = ({"name": "notes.txt", "type": "text/plain", "size": 1, "content": b"no image",
                           "last_modified": NOW},)
    assert "notes.txt is no image" in panel.message.value and panel.canvas.value == png


def test_the_group_of_a_patch_is_shown(counted, image):
    explorer = GroupExplorer(counted.model, image, WORDS, row=0, column=0)
    png, before = explorer.canvas.value, counted.so_far
    explorer.pointer.row, explorer.pointer.column = 3, 2                # as a click in the browser does
    assert (explorer.row.value, explorer.column.value) == (3, 2)
    explorer.row.value = 1
    assert explorer.pointer.row == 1 and explorer.canvas.value != png
    assert counted.since(before) == (0, 0)
    stages, maps = explorer.pointer.stages, explorer.segmentation.maps
    assert len(stages) == len(maps) == 2
    for stage, own in zip(stages, maps):
        assert stage["groups"] == own[0].argmax(dim=0).tolist() and len(stage["titles"]) == own.shape[1]
    assert bytes(explorer.pointer.pixels) == image.tobytes()
    assert explorer.pointer in explorer.children and explorer.canvas not in explorer.children
    plain = GroupExplorer(counted.model, image, WORDS, point_with="sliders")
    assert plain.canvas in plain.children


def test_a_model_without_groups_has_none_to_explore(make_model, image):
    model = make_model(depths=(2,), num_group_tokens=(0,), num_output_groups=(0,))
    model.protocol = InferenceOptions(pixels="patches")
    with pytest.raises(ValueError, match="no groups to explore"):
        GroupExplorer(model, image, WORDS)


def test_without_a_front_end_an_image_is_left(counted, image):
    box = ClassPromptBox(counted.model, image, WORDS)
    bundle = box._repr_mimebundle_()
    assert base64.b64decode(bundle["image/png"]) == box.canvas.value
    assert min(size_of(box.canvas.value)) > 200
    assert bundle["text/plain"] == "<ClassPromptBox>"
    assert "application/vnd.jupyter.widget-view+json" in bundle


def test_the_images_without_any_widget(counted, image):
    result = segment(counted.model, image, WORDS)
    axes = list(Figure(figsize=(12, 3)).subplots(1, 4))
    assert draw_masks(axes, image, result) is axes
    assert [ax.get_title() for ax in axes] == ["image", "groups, stage 1", "groups, stage 2", "named masks"]
    axes = list(Figure(figsize=(9, 3)).subplots(1, 3))
    assert draw_group(axes, image, result, row=1, column=2) is axes
    group = int(result.maps[0][0, :, 1, 2].argmax())
    assert axes[1].get_title() == f"stage 1, group {group}"
    assert any(axes[2].get_title().endswith(word) for word in WORDS)
    # Where the group is, the image has its colours; elsewhere it is pale and grey.
    shown = axes[1].images[0].get_array()
    lit = (result.maps[0][0].argmax(dim=0) == group).repeat_interleave(4, 0).repeat_interleave(4, 1).numpy()
    np.testing.assert_allclose(shown[lit], image[lit] / 255, atol=2e-3)
    assert (np.ptp(shown[~lit], axis=-1) == 0).all() and shown[~lit].min() > 0.55


def test_a_group_has_a_shade_of_the_class_that_it_becomes(counted, image, monkeypatch):
    result, shown = segment(counted.model, image, WORDS), []
    monkeypatch.setattr(panel, "show_groups", lambda ax, groups, *_, colours: shown.append((groups, colours)))
    draw_masks(list(Figure(figsize=(12, 3)).subplots(1, 4)), image, result)
    labels, classes = result.labels[0].numpy(), class_colours(WORDS)
    for groups, colours in shown:
        becomes = {g: np.bincount(labels[groups == g]).argmax() for g in np.unique(groups)}
        for label in {*becomes.values()}:        # the largest group of a class has the colour of the class itself
            largest = max((g for g in becomes if becomes[g] == label), key=lambda g: (groups == g).sum())
            np.testing.assert_allclose(colours[largest], classes[label])
    assert len(shown) == 2


def test_several_models_beside_each_other(counted, image):
    """A row each, in their order; a text where there are no masks."""
    found = segment(counted.model, image, WORDS)
    figure = models_figure(image, {"small": found, "large": "The large one is out of reach.", "again": found})
    assert [figure.axes[i].get_title() for i in (0, 3, 6)] == ["small", "large", "again"]
    assert len(figure.axes) == 9 and all(len(figure.axes[i].images) == 1 for i in (0, 1, 2, 3, 6, 7, 8))
    assert not figure.axes[4].images and "out of reach" in figure.axes[4].texts[0].get_text()
    assert all(figure.axes[i].get_legend() is not None for i in (2, 8))
    tops = [figure.axes[i].get_position().y1 for i in (0, 3, 6)]
    assert 1 > tops[0] > tops[1] > tops[2] > 0
    with pytest.raises(ValueError, match="no masks to draw; give the segmentation of one model"):
        models_figure(image, {"large": "The large one is out of reach."})
