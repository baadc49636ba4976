"""Where windows lie, and how their scores become those of the picture."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings, strategies as st

from minigroupvit.segmentation.options import PROTOCOLS, InferenceOptions
from minigroupvit.segmentation.segment import encode_windows, segment
from minigroupvit.segmentation.windows import Window, canvas_size, look_through, stitch, window_starts, windows_on

RELEASED = PROTOCOLS["voc2012"]
SLIDE = InferenceOptions(mode="slide", window=4, stride=2)


@pytest.mark.parametrize("size, canvas", [
    ((375, 500), (448, 597)),       # 500 · 448 / 375 = 597.33
    ((500, 333), (673, 448)),       # 672.67 goes up
    ((448, 448), (448, 448)),
    ((100, 900), (228, 2048)),      # 4032 would be too long
    ((3000, 4000), (448, 597)),
])
def test_the_short_side_becomes_448_and_the_aspect_ratio_stays(size, canvas):
    assert canvas_size(*size, RELEASED) == canvas
    assert canvas_size(*size, replace(RELEASED, mode="direct")) == size


def test_without_a_short_side_only_the_limit_shrinks():
    whole = InferenceOptions(mode="whole", long_side=50)
    assert canvas_size(20, 100, whole) == (10, 50) and canvas_size(20, 40, whole) == (20, 40)


@pytest.mark.parametrize("length, starts", [
    (448, [0]), (300, [0]), (449, [0, 1]), (597, [0, 149]), (672, [0, 224]), (673, [0, 224, 225]),
    (900, [0, 224, 448, 452]),
])
def test_windows_of_448_every_224_pixels_and_the_last_one_at_the_end(length, starts):
    assert window_starts(length, 448, 224) == starts


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 12), st.data())
def test_every_pixel_lies_in_a_window(height, width, window, data):
    protocol = InferenceOptions(mode="slide", window=window, stride=data.draw(st.integers(1, window)), flip=True)
    windows = windows_on((height, width), protocol)
    assert len({(w.height, w.width) for w in windows}) == 1
    for mirrored in (False, True):
        count = torch.zeros(height, width)
        for w in windows:
            if w.mirrored == mirrored:
                count[w.top:w.top + w.height, w.left:w.left + w.width] += 1
                assert w.top + w.height <= height and w.left + w.width <= width
        assert count.min() >= 1


def test_stitch_equals_a_slow_loop():
    canvas, size, protocol = (5, 9), (7, 13), replace(SLIDE, flip=True)
    windows = windows_on(canvas, protocol)
    scores = [torch.randn(3, 4, 4) for _ in windows]
    views = []
    for mirrored in (False, True):
        view = torch.zeros(1, 3, *canvas)
        for y in range(5):
            for x in range(9):
                over = [s[:, y - w.top, x - w.left] for w, s in zip(windows, scores) if w.mirrored == mirrored
                        and w.top <= y < w.top + 4 and w.left <= x < w.left + 4]
                view[0, :, y, x] = sum(over) / len(over)
        view = F.interpolate(view, size=size, mode="bilinear", align_corners=False)[0].softmax(0)
        views.append(view.flip(-1) if mirrored else view)
    torch.testing.assert_close(stitch(windows, iter(scores), canvas, size, protocol), (views[0] + views[1]) / 2)


def test_direct_scores_stay_as_they_are():
    score = torch.randn(3, 5, 9)
    direct = InferenceOptions()
    assert torch.equal(stitch(windows_on((5, 9), direct), [score], (5, 9), (5, 9), direct), score)
    both = replace(direct, flip=True)
    torch.testing.assert_close(stitch(windows_on((5, 9), both), [score, score.flip(-1)], (5, 9), (5, 9), both), score)


def test_a_window_of_the_mirrored_canvas():
    canvas = torch.arange(12).view(3, 4)
    assert Window(1, 0, 2, 3).of(canvas).tolist() == [[4, 5, 6], [8, 9, 10]]
    assert Window(1, 0, 2, 3, mirrored=True).of(canvas).tolist() == [[7, 6, 5], [11, 10, 9]]


def test_what_the_model_gets_is_a_multiple_of_the_patch():
    picture = torch.rand(3, 30, 47)
    for protocol in (InferenceOptions(), InferenceOptions(short_side=16), InferenceOptions(long_side=20),
                     InferenceOptions(mode="whole", short_side=18),
                     InferenceOptions(mode="slide", short_side=16, window=14, stride=7)):
        canvas = canvas_size(30, 47, protocol)
        inputs = look_through(picture, windows_on(canvas, protocol), canvas, 4, protocol)
        assert all(pixels.shape[-2] % 4 == pixels.shape[-1] % 4 == 0 for pixels in inputs)
    # A released window goes in as it is.
    protocol = InferenceOptions(mode="slide", short_side=30, window=16, stride=8)
    first, *_ = look_through(picture, windows_on((30, 47), protocol), (30, 47), 4, protocol)
    assert torch.equal(first, picture[:, :16, :16])


def test_shrinking_without_smoothing_is_plain_bilinear():
    picture = torch.rand(3, 30, 40)
    for antialias in (False, True):
        protocol = InferenceOptions(mode="whole", short_side=12, antialias=antialias)
        (pixels,) = look_through(picture, windows_on((12, 16), protocol), (12, 16), 4, protocol)
        torch.testing.assert_close(pixels, F.interpolate(
            picture[None], size=(12, 16), mode="bilinear", align_corners=False, antialias=antialias)[0])


def test_pictures_of_several_sizes_in_any_company_give_the_same(make_model):
    model = make_model().eval()
    classes = torch.nn.functional.normalize(torch.randn(4, 12), dim=-1)
    pictures = [torch.rand(3, h, w) for h, w in ((12, 30), (40, 16), (12, 30), (25, 25))]
    protocol = InferenceOptions(mode="slide", short_side=16, background_threshold=0.2, top_classes=2, flip=True)
    together = encode_windows(model, pictures, classes, protocol)
    for picture, one in zip(pictures, together):
        for at_once in (1, 3):
            alone, = encode_windows(model, [picture], classes, protocol, windows_at_once=at_once)
            assert alone.windows == one.windows and alone.size == one.size == tuple(picture.shape[-2:])
            torch.testing.assert_close(alone.group_scores, one.group_scores)
            torch.testing.assert_close(alone.maps[-1], one.maps[-1])


def test_a_window_counts_as_a_picture_of_its_own(make_model):
    """Top classes and threshold are those of the window: what it says does not depend on the rest."""
    model = make_model().eval()
    picture = torch.rand(1, 3, 16, 32)
    protocol = InferenceOptions(top_classes=2, background_threshold=0.3, mode="slide", window=16, stride=16)
    both = segment(model, picture, ["sun", "heart", "brick"], protocol)
    for part in (slice(0, 16), slice(16, 32)):
        alone = segment(model, picture[..., part], ["sun", "heart", "brick"], protocol)
        torch.testing.assert_close(both.scores[..., part], alone.scores)
        assert torch.equal(both.labels[..., part], alone.labels)
    assert both.groups == both.maps == [] and both.group_scores.shape == (1, 2 * 3, 3)


def test_whole_and_direct_agree_where_nothing_is_resized(make_model):
    model, images = make_model().eval(), torch.rand(2, 3, 16, 24)
    direct = segment(model, images, ["sun", "heart", "brick"], background_threshold=0.3)
    whole = segment(model, images, ["sun", "heart", "brick"], background_threshold=0.3, mode="whole")
    assert torch.equal(direct.labels, whole.labels) and torch.equal(direct.groups[-1], whole.groups[-1])
    assert torch.equal(direct.image_embeddings, whole.image_embeddings)


def test_a_picture_and_its_mirror_image_give_mirrored_masks(make_model):
    model, images = make_model().eval(), torch.rand(1, 3, 16, 40)
    protocol = InferenceOptions(mode="slide", window=16, flip=True)
    one, other = (segment(model, x, ["sun", "heart", "brick"], protocol).scores for x in (images, images.flip(-1)))
    torch.testing.assert_close(one, other.flip(-1))


@pytest.mark.parametrize("choices, message", [
    ({"mode": "slide"}, "needs a window"), ({"mode": "slide", "window": 8, "stride": 9}, "stride 9 leaves gaps"),
    ({"mode": "slip"}, "mode is 'slip'; choose one of 'direct', 'whole', 'slide'"), ({"window": 0}, "window is 0"),
    ({"stride": -1}, "stride is -1"), ({"long_side": 0}, "long_side is 0"),
])
def test_windows_that_cannot_be(choices, message):
    with pytest.raises(ValueError, match=message):
        InferenceOptions(**choices)


def test_window_and_stride_follow_the_short_side():
    assert (RELEASED.window_side, RELEASED.window_stride) == (448, 224)
    small = replace(RELEASED, short_side=128)
    assert (small.window_side, small.window_stride) == (128, 64)
