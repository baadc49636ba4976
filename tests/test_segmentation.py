"""Each step of the zero-shot protocol on tiny tensors made by hand, and `segment` as a whole."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from minigroupvit.grouping import Grouping
from minigroupvit.image_encoder import ImageOutput, StageOutput
from minigroupvit.images import normalize
from minigroupvit.model import GroupViT
from minigroupvit.segmentation.options import PROTOCOLS, InferenceOptions
from minigroupvit.segmentation.segment import segment
from minigroupvit.segmentation.steps import (
    add_background,
    embed_classes,
    group_maps,
    label_pixels,
    largest_scores,
    patch_scores,
    pixel_groups,
    score_groups,
    shared_scores,
)

WORDS = ["sun", "heart", "brick"]


# Step 1: group maps

def image_output(*assignments: Tensor, grid: tuple[int, int]) -> ImageOutput:
    """What the encoder would return with these soft assignments (B, G, N), one per stage."""
    stages = [StageOutput(torch.zeros(1), None, Grouping(soft)) for soft in assignments]
    return ImageOutput(torch.zeros(1, 2), torch.zeros(1, 2, 2), stages, grid)


FIRST = torch.tensor([[[0.6, 0.1, 0.0, 0.2], [0.3, 0.8, 0.1, 0.2], [0.1, 0.1, 0.9, 0.6]]])   # (1, 3, 4)
SECOND = torch.tensor([[[0.9, 0.4, 0.0], [0.1, 0.6, 1.0]]])                                  # (1, 2, 3)


def test_the_stages_are_multiplied() -> None:
    first, second = group_maps(image_output(FIRST, SECOND, grid=(2, 2)))
    torch.testing.assert_close(first, FIRST.view(1, 3, 2, 2))
    assert second[0, 0, 0, 0].item() == pytest.approx(0.9 * 0.6 + 0.4 * 0.3 + 0.0 * 0.1)
    assert second[0, 1, 1, 0].item() == pytest.approx(0.1 * 0.0 + 0.6 * 0.1 + 1.0 * 0.9)
    torch.testing.assert_close(second.sum(dim=1), torch.ones(1, 2, 2))
    third = torch.tensor([[[0.0, 1.0], [1.0, 0.0]]])                      # changes the two groups over
    torch.testing.assert_close(group_maps(image_output(FIRST, SECOND, third, grid=(2, 2)))[2], second.flip(1))


def test_hard_assignments_on_demand() -> None:
    _, maps = group_maps(image_output(FIRST, SECOND, grid=(1, 4)), "hard")
    # Patches go to segments 0, 1, 2, 2; segments to groups 0, 1, 1.
    assert maps[0, :, 0].tolist() == [[1, 0, 0, 0], [0, 1, 1, 1]]


def test_without_groups_each_patch_is_its_own() -> None:
    maps, = group_maps(ImageOutput(torch.zeros(2, 3), torch.zeros(2, 6, 3), [], (2, 3)))
    assert maps.shape == (2, 6, 2, 3)
    for n in range(6):
        assert maps[1, n].nonzero().tolist() == [[n // 3, n % 3]]


# Step 2: groups of pixels

def test_maps_are_upsampled_before_the_largest_is_taken() -> None:
    """Between a sure patch and an unsure one, the border is nearer to the unsure one."""
    maps = torch.tensor([[[[1.0, 0.4]], [[0.0, 0.6]]]])                   # (1, 2, 1, 2)
    assert pixel_groups(maps, (1, 8))[0, 0].tolist() == [0, 0, 0, 0, 0, 1, 1, 1]
    assert pixel_groups(maps, (1, 8), "groups")[0, 0].tolist() == [0, 0, 0, 0, 1, 1, 1, 1]


def test_pixels_of_odd_sizes() -> None:
    maps = torch.rand(2, 3, 4, 5).softmax(dim=1)
    for upsample in ("maps", "groups"):
        groups = pixel_groups(maps, (17, 3), upsample)
        assert groups.shape == (2, 17, 3) and groups.dtype == torch.int64
        torch.testing.assert_close(pixel_groups(maps, (4, 5), upsample), maps.argmax(dim=1))


# Step 3: class embeddings

def test_class_embeddings_are_means_of_unnormalised_projections(make_model) -> None:
    model = make_model().eval()
    templates = ("a photo of a {}.", "there is a {}.")
    with torch.no_grad():
        for word, embedding in zip(WORDS, embed_classes(model, WORDS, templates)):
            projections = [model.text_head(model.text_encoder(model.tokenizer([t.format(word)]))) for t in templates]
            expected = F.normalize((projections[0] + projections[1]) / 2, dim=-1)[0]
            torch.testing.assert_close(embedding, expected)


def test_words_are_embedded_in_evaluation_and_the_mode_comes_back(make_model) -> None:
    model = make_model()
    expected = embed_classes(model.eval(), WORDS)
    torch.testing.assert_close(embed_classes(model.train(), WORDS), expected)
    assert model.training


def test_unknown_words_bring_a_warning(make_model) -> None:
    with pytest.warns(UserWarning, match="never seen in training: giraffe"):
        embed_classes(make_model().eval(), ["sun", "giraffe"])


# Step 4: scores of groups

SEGMENTS = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])                       # (1, 2, 2)
CLASSES = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])              # (3, 2)


def test_without_a_limit_scores_are_a_softmax_over_all_classes() -> None:
    scores = score_groups(SEGMENTS, torch.tensor([[1.0, 0.0]]), CLASSES, 10.0, top_classes=None)
    torch.testing.assert_close(scores[0, 0], torch.tensor([10.0, 8.0, 0.0]).softmax(0))
    torch.testing.assert_close(scores[0, 1], torch.tensor([0.0, 6.0, 10.0]).softmax(0))


def test_only_the_classes_nearest_to_the_image_are_kept() -> None:
    scores = score_groups(SEGMENTS, torch.tensor([[1.0, 0.0]]), CLASSES, 10.0, top_classes=2)
    first = torch.tensor([10.0, 8.0, 0.0]).softmax(0)
    torch.testing.assert_close(scores[0, 0, :2], first[:2] * torch.tensor([10.0, 8.0]).softmax(0))
    # The second group is most like class 2, but the image is not.
    assert scores[0, :, 2].tolist() == [0, 0] and scores[0, 1].argmax() == 1


def test_each_image_keeps_its_own_classes() -> None:
    images = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    scores = score_groups(SEGMENTS.expand(2, -1, -1), images, CLASSES, 10.0, top_classes=1)
    assert scores.gt(0).nonzero()[:, [0, 2]].unique(dim=0).tolist() == [[0, 0], [1, 2]]


# Step 5: labels

GROUPS = torch.tensor([[[0, 1], [1, 2]]])                                 # (1, 2, 2)
SCORES = torch.tensor([[[0.7, 0.2], [0.1, 0.4], [0.3, 0.05]]])            # (1, 3 groups, 2 classes)


def test_pixels_take_the_best_class_of_their_group() -> None:
    scores = largest_scores(GROUPS, SCORES)
    labels = label_pixels(scores, SCORES)
    assert labels.tolist() == [[[0, 1], [1, 0]]]
    assert scores.shape == (1, 2, 2, 2) and scores[0, :, 1, 1].tolist() == pytest.approx([0.3, 0.05])


@pytest.mark.parametrize(("threshold", "expected"), [
    (0.0, [[0, 1], [1, 0]]),
    (0.35, [[0, 1], [1, -1]]),
    (0.5, [[0, -1], [-1, -1]]),
    (0.95, [[0, -1], [-1, -1]]),    # above all: then the largest score of the image, which stays
])
def test_background_is_below_the_smaller_of_threshold_and_largest(threshold: float, expected: list) -> None:
    labels = label_pixels(largest_scores(GROUPS, SCORES), SCORES, threshold)
    assert labels[0].tolist() == expected


def test_the_largest_score_counts_even_if_its_group_has_no_pixel() -> None:
    scores = torch.cat([SCORES, torch.tensor([[[0.9, 0.0]]])], dim=1)     # group 3 owns nothing
    labels = label_pixels(largest_scores(GROUPS, scores), scores, 0.8)
    assert labels[0].tolist() == [[-1, -1], [-1, -1]]


def test_background_is_a_channel_of_ones_before_the_classes() -> None:
    scores = largest_scores(GROUPS, SCORES)
    channels = add_background(scores, SCORES, 0.5)
    assert channels.shape == (1, 3, 2, 2) and channels[0, 0].tolist() == [[0, 1], [1, 1]]
    assert torch.equal(channels[:, 1:], scores) and add_background(scores, SCORES, None) is scores


def test_patches_share_pixels_without_groups() -> None:
    scores = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])                     # (1, 2 patches, 2 classes)
    found = patch_scores(scores, (1, 2), (1, 8))
    assert found[0, 0, 0].tolist() == pytest.approx([1, 1, 0.875, 0.625, 0.375, 0.125, 0, 0])


def test_shared_pixels_listen_to_all_their_groups() -> None:
    # Two groups of 0.3 say class 1 with 0.9; one of 0.4 says class 0 with 0.6: two against one.
    maps = torch.tensor([0.4, 0.3, 0.3]).view(1, 3, 1, 1).expand(-1, -1, 2, 2)
    scores = torch.tensor([[[0.6, 0.4], [0.1, 0.9], [0.01, 0.09]]])       # the third speaks softly: no matter
    shared = shared_scores(maps, scores, (4, 6))
    assert shared.shape == (1, 2, 4, 6)
    torch.testing.assert_close(shared[0, :, 1, 2], torch.tensor([0.3, 0.7]))
    assert (label_pixels(shared, scores) == 1).all()
    assert (label_pixels(largest_scores(pixel_groups(maps, (4, 6)), scores), scores) == 0).all()


def test_the_largest_score_is_that_of_each_image() -> None:
    scores = torch.cat([SCORES, SCORES / 10])
    labels = label_pixels(largest_scores(GROUPS.expand(2, -1, -1), scores), scores, 0.5)
    assert labels[0].tolist() == labels[1].tolist() == [[0, -1], [-1, -1]]


# All steps together

@pytest.fixture
def model(make_model) -> GroupViT:
    return make_model()


def test_segment_goes_through_the_steps(model: GroupViT) -> None:
    images = torch.rand(2, 3, 16, 24)
    result = segment(model, images, WORDS, top_classes=2)
    model.eval()
    with torch.no_grad():
        embedding, output = model.encode_image(normalize(images))
        group_scores = score_groups(
            model.embed_segments(output), embedding, embed_classes(model, WORDS), model.scale(), 2)
    maps = group_maps(output)
    scores = largest_scores(pixel_groups(maps[-1], (16, 24)), group_scores)
    labels = label_pixels(scores, group_scores)
    assert torch.equal(result.labels, labels) and torch.equal(result.scores, scores)
    assert torch.equal(result.group_scores, group_scores) and torch.equal(result.image_embeddings, embedding)
    assert [m.shape for m in result.maps] == [(2, 6, 4, 6), (2, 3, 4, 6)]
    assert [g.shape for g in result.groups] == [(2, 16, 24)] * 2
    assert result.class_names == WORDS


def test_segment_shares_pixels_if_asked_to(model: GroupViT) -> None:
    images = torch.rand(2, 3, 16, 24)
    largest, shared = segment(model, images, WORDS), segment(model, images, WORDS, pixels="shared")
    torch.testing.assert_close(shared.scores, shared_scores(largest.maps[-1], largest.group_scores, (16, 24)))
    torch.testing.assert_close(shared.scores.sum(dim=1), torch.ones(2, 16, 24))
    with pytest.raises(ValueError, match="pixels is 'all'; choose one of 'largest', 'shared', 'patches'"):
        InferenceOptions(pixels="all")


@pytest.mark.parametrize("size", [(16, 16), (17, 23), (5, 40), (1, 1), (64, 33)])
@pytest.mark.parametrize("short_side", [None, 12])
def test_any_size_comes_back_in_its_size(model: GroupViT, size: tuple[int, int], short_side: int | None) -> None:
    result = segment(model, torch.rand(1, 3, *size), WORDS, short_side=short_side)
    assert result.labels.shape == (1, *size) and result.scores.shape == (1, 3, *size)
    assert all(groups.shape == (1, *size) for groups in result.groups)
    if short_side:
        assert min(result.maps[-1].shape[-2:]) == 12 // 4
    assert set(result.labels.unique().tolist()) <= {0, 1, 2}


def test_all_kinds_of_pictures_give_the_same(model: GroupViT) -> None:
    array = np.random.default_rng(0).integers(0, 256, (18, 14, 3), dtype=np.uint8)
    expected = segment(model, array, WORDS)
    for same in (Image.fromarray(array), array / 255, torch.from_numpy(array).permute(2, 0, 1)):
        torch.testing.assert_close(segment(model, same, WORDS).scores, expected.scores)


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_of_the_model_is_restored(model: GroupViT, training: bool) -> None:
    model.train(training)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    segment(model, torch.rand(1, 3, 16, 16), WORDS)
    with pytest.raises(ValueError):
        segment(model, torch.rand(1, 3, 16, 16), [])
    assert all(module.training == training for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_class_embeddings_made_before_give_the_same(model: GroupViT) -> None:
    image = torch.rand(1, 3, 16, 16)
    embeddings = embed_classes(model.eval(), WORDS)
    expected = segment(model, image, WORDS)
    assert torch.equal(segment(model, image, WORDS, class_embeddings=embeddings).scores, expected.scores)
    with pytest.raises(ValueError, match="got 2 class names, but 3 class embeddings"):
        segment(model, image, WORDS[:2], class_embeddings=embeddings)


@pytest.mark.parametrize(("names", "message"), [
    ([], "expected a list of class names, got an empty one"),
    (["sun", ""], "class name 1 is ''"),
    (["sun", "heart", "Sun "], "class name 'Sun' repeats 'sun'"),
    ("sun", "got the string 'sun'"),
])
def test_class_names_that_cannot_be_used(model: GroupViT, names: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        segment(model, torch.rand(1, 3, 16, 16), names)


def test_background_and_single_choices(model: GroupViT) -> None:
    image = torch.rand(1, 3, 16, 16)
    assert (segment(model, image, WORDS).labels >= 0).all()
    plain = segment(model, image, WORDS)
    strict = segment(model, image, WORDS, InferenceOptions(background_threshold=1.0))
    best = plain.scores.amax(dim=1) >= plain.group_scores.amax()          # pixels of the best group, if it has any
    assert torch.equal(strict.labels >= 0, best)
    other = segment(model, image, WORDS, assignment="hard", upsample="groups", templates=("a {}.",))
    assert not torch.equal(plain.scores, other.scores)


def test_the_protocol_that_a_model_brings_is_used(model: GroupViT) -> None:
    image = torch.rand(1, 3, 16, 16)
    expected = segment(model, image, WORDS, InferenceOptions(top_classes=1))
    model.protocol = InferenceOptions(top_classes=1)
    assert torch.equal(segment(model, image, WORDS).scores, expected.scores)
    assert not torch.equal(segment(model, image, WORDS, top_classes=None).scores, expected.scores)


def test_released_values() -> None:
    thresholds = {name: protocol.background_threshold for name, protocol in PROTOCOLS.items()}
    assert thresholds == {"scenes": None, "voc2012": 0.95, "context": 0.35, "coco_object": 0.95}
    for name in ("voc2012", "context", "coco_object"):
        protocol = PROTOCOLS[name]
        assert (protocol.short_side, protocol.top_classes, protocol.assignment) == (448, 5, "soft")
        assert protocol.templates == ("a photo of a {}.",) and protocol.upsample == "maps"
        assert (protocol.mode, protocol.window_side, protocol.window_stride) == ("slide", 448, 224)
        assert protocol.long_side == 2048 and not protocol.antialias and not protocol.flip


@pytest.mark.parametrize("choice", [
    {"assignment": "firm"}, {"upsample": "masks"}, {"top_classes": 0}, {"background_threshold": 1.5},
    {"background_threshold": -0.1}, {"overlap": 0}, {"short_side": 0}, {"mode": "slip"}, {"window": 0}, {"stride": 0},
    {"long_side": 0}, {"pixels": "some"}])
def test_choices_that_there_are_not(model: GroupViT, choice: dict) -> None:
    (name, value), = choice.items()
    assert name in {field.name for field in fields(InferenceOptions)}
    with pytest.raises(ValueError, match=f"{name}.*{value}"):
        segment(model, torch.rand(1, 3, 16, 16), WORDS, **choice)


# Class names that become one

@pytest.mark.parametrize(("names", "message"), [
    (["sun", "zebra", "heart", "okapi"], "class names 'zebra' and 'okapi' are one .* no caption of its training had either"),
    (["brick", "brïck!"], "class names 'brick' and 'brïck!' are one .* case, accents and punctuation"),
    (["red " * 20 + "sun", "red " * 20 + "cloud"], "is too long: in its template it has 2. tokens, .* reads 14"),
])
@pytest.mark.filterwarnings("ignore:never seen in training")
def test_two_names_that_become_one_vector_are_named(make_model, names: list[str], message: str) -> None:
    for templates in (("a photo of a {}.",), ("{}", "the {}")):
        with pytest.raises(ValueError, match=message):
            embed_classes(make_model().eval(), names, templates)
    with pytest.raises(ValueError, match=message):
        segment(make_model(), torch.zeros(3, 16, 16), names)


def test_the_mirrored_picture_has_groups_of_its_own(make_model) -> None:
    model, picture = make_model(), torch.rand(3, 16, 16)
    plain = segment(model, picture, WORDS)
    both = segment(model, picture, WORDS, flip=True)
    count = plain.group_scores.shape[1]
    assert both.group_scores.shape[1] == 2 * count and both.maps[-1].shape == plain.maps[-1].shape
    torch.testing.assert_close(both.group_scores[:, :count], plain.group_scores)
    torch.testing.assert_close(both.group_scores[:, count:], segment(model, picture.flip(-1), WORDS).group_scores)


# A model without groups, patch by patch (Table 4, "pixel-wise")

FOUR_NAMES = [*WORDS, "cloud"]


@pytest.fixture
def plain(make_model) -> GroupViT:
    return make_model(depths=(2,), num_group_tokens=(0,), num_output_groups=(0,)).eval()


@pytest.fixture
def images() -> Tensor:
    return torch.rand(3, 3, 16, 16)


def test_pixelwise_equals_a_slow_loop_over_patches(plain, images):
    found = segment(plain, images, FOUR_NAMES, top_classes=2, pixels="patches")
    words = embed_classes(plain, FOUR_NAMES)
    for b in range(3):
        with torch.no_grad():
            picture, output = plain.encode_image(normalize(images[b:b + 1]))
            kept = sorted(range(4), key=lambda c: -float(picture[0] @ words[c]))[:2]
            scores = torch.zeros(4, 4, 4)                              # (C, h, w)
            for n, token in enumerate(output.segment_tokens[0]):
                patch = F.normalize(plain.image_head(token[None]), dim=-1)[0]
                logits = plain.scale() * words @ patch
                own = torch.stack([logits[c] for c in kept]).softmax(0)
                for c, value in zip(kept, own):
                    scores[c, n // 4, n % 4] = logits.softmax(0)[c] * value
        large = F.interpolate(scores[None], size=(16, 16), mode="bilinear", align_corners=False)[0]
        torch.testing.assert_close(found.scores[b], large)
        assert torch.equal(found.labels[b], large.argmax(0))
        assert set(found.labels[b].unique().tolist()) <= set(kept)


def test_patches_score_as_if_each_were_a_group_but_without_steps_between_them(plain, images):
    smooth, stepped = segment(plain, images, FOUR_NAMES, pixels="patches"), segment(plain, images, FOUR_NAMES)
    torch.testing.assert_close(smooth.group_scores, stepped.group_scores)   # (B, N, C)
    jumps = [s.scores.diff(dim=-1).abs().max() for s in (smooth, stepped)]
    assert jumps[0] < jumps[1]


def test_pixelwise_has_no_groups_and_takes_other_sizes(plain):
    found = segment(plain, torch.rand(2, 3, 21, 34), FOUR_NAMES, pixels="patches")
    assert found.labels.shape == (2, 21, 34) and found.scores.shape == (2, 4, 21, 34)
    assert found.groups == [] and found.maps == []


def test_pixelwise_background_is_what_scores_low(plain, images):
    scores = segment(plain, images, FOUR_NAMES, pixels="patches").scores
    threshold = scores.amax(1).median().item()
    labels = segment(plain, images, FOUR_NAMES, background_threshold=threshold, pixels="patches").labels
    for b in range(3):
        limit = min(threshold, scores[b].max().item())
        assert torch.equal(labels[b] == -1, scores[b].amax(0) < limit)


def test_pixelwise_refuses_a_model_with_groups(make_model, images):
    with pytest.raises(ValueError, match="groups its patches.*clip_vit"):
        segment(make_model(), images, FOUR_NAMES, pixels="patches")
