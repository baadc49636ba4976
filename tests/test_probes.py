"""Probes of groups: what they count is what a slow loop counts, and controls have as many groups as they should."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import adjusted_rand_score

from minigroupvit.config import preset
from minigroupvit.data.captioned.batches import CaptionedImages
from minigroupvit.data.scenes.make import make_scene
from minigroupvit.evaluation import probes
from minigroupvit.evaluation.metrics import kept_interval, mean_interval
from minigroupvit.segmentation.steps import pixel_groups
from minigroupvit.training.config import TrainConfig
from minigroupvit.training.recipes import recipe
from minigroupvit.training.run import build_model
from minigroupvit.training.trial import NUM_SNAPSHOTS, train_shortly
from minigroupvit.visual.widgets.time_lapse import read_snapshots


@pytest.fixture(scope="module")
def scenes():
    return [make_scene(i, "test") for i in range(12)]


@pytest.fixture(scope="module")
def model(scenes):
    images = probes.scene_stack(scenes)[0]
    return build_model(recipe("scenes"), CaptionedImages(images, [[scene.caption] for scene in scenes])).eval()


def hard_shares(groups: torch.Tensor, num_groups: int) -> torch.Tensor:
    """(B, h, w) -> (B, G, h, w) of 0 and 1."""
    return torch.nn.functional.one_hot(groups, num_groups).permute(0, 3, 1, 2).float()


def test_the_stack_is_that_of_the_scenes(scenes) -> None:
    images, masks, parts = probes.scene_stack(scenes)
    assert images.shape == (12, 3, 64, 64) and images.dtype == torch.uint8
    np.testing.assert_array_equal(images[3].permute(1, 2, 0), scenes[3].image)
    np.testing.assert_array_equal(masks[5], scenes[5].mask)
    np.testing.assert_array_equal(parts[5], scenes[5].parts)


def test_shares_and_features_of_a_model(scenes, model) -> None:
    images = probes.scene_stack(scenes)[0]
    shares = probes.group_shares(model, images)
    assert shares.shape == (12, 16, 8, 8)
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(12, 8, 8))
    torch.testing.assert_close(probes.group_shares(model, images[4:5]), shares[4:5])
    features = probes.patch_features(model, images)
    torch.testing.assert_close(features.norm(dim=-1), torch.ones(12, 64))      # embeddings
    assert preset("scenes").image.num_group_tokens == (16,)


def test_clusters_are_as_many_as_asked(scenes) -> None:
    features = torch.randn(3, 64, 5, generator=torch.Generator().manual_seed(0))
    shares = probes.cluster_shares(features, [2, 5, 1])
    assert shares.shape == (3, 5, 8, 8) and set(shares.unique().tolist()) == {0.0, 1.0}
    assert [len(own.unique()) for own in shares.argmax(dim=1)] == [2, 5, 1]
    features[0] = torch.tensor([[0.0] * 5, [9.0] * 5]).repeat(32, 1)           # patch by patch in turn
    assert probes.cluster_shares(features[:1], [2])[0].argmax(dim=0).flatten()[::2].unique().numel() == 1
    with pytest.raises(ValueError, match="a number of clusters for each of 3 images, got 2"):
        probes.cluster_shares(features, [2, 5])


def test_true_masks_as_groups_are_judged_perfect_and_noise_is_not(scenes) -> None:
    masks = probes.scene_stack(scenes)[1]
    own = torch.nn.functional.one_hot(masks, 24).movedim(-1, 1).float()
    found = probes.judge_shares(own, masks, 24)
    assert found["ari"] == found["oracle_miou"] == 1 and found["ari_interval"] == [1, 1]
    assert found["groups_used"] >= 2 and len(found["ari_of_each"]) == 12
    noise = torch.rand(12, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    found = probes.judge_shares(noise, masks, 24)
    groups = pixel_groups(noise, (64, 64))
    slow = [adjusted_rand_score(m.flatten(), g.flatten()) for m, g in zip(masks, groups)]
    assert found["ari"] == pytest.approx(np.mean(slow)) and found["ari"] < 0.1
    low, high = found["oracle_miou_interval"]
    assert low < found["oracle_miou"] < high < 0.6


def test_contents_are_counted_pixel_by_pixel(scenes) -> None:
    masks = probes.scene_stack(scenes)[1][:2]
    shares = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    slow = torch.zeros(3, 24, dtype=torch.long)
    for groups, mask in zip(pixel_groups(shares, (64, 64)), masks):
        for group, kind in zip(groups.flatten().tolist(), mask.flatten().tolist()):
            slow[group, kind] += 1
    assert torch.equal(probes.contents(shares, masks, 24), slow)


def test_properties_are_those_of_the_patches(scenes) -> None:
    images, masks, parts = probes.scene_stack(scenes)
    found = probes.patch_properties(images, masks, parts)
    assert all(values.shape == (12 * 64,) and values.dtype == torch.long for values in found.values())
    image, row, column = 7, 3, 5
    patch = image * 64 + row * 8 + column
    window = (image, slice(8 * row, 8 * row + 8), slice(8 * column, 8 * column + 8))
    assert found["class"][patch] == masks[window].flatten().mode().values
    assert found["part"][patch] == parts[window].flatten().mode().values
    assert found["place"][patch] == row * 8 + column
    assert found["random"].unique().numel() == 24 and found["colour"].max() == found["texture"].max() == 23
    flat = images.clone()
    flat[:6], flat[6:] = 10, 200                                               # two colours, no texture
    found = probes.patch_properties(flat, masks, parts, num_values=2)
    assert found["colour"][:384].unique().numel() == found["colour"][384:].unique().numel() == 1
    assert found["colour"][0] != found["colour"][-1]


def test_parts_that_share_a_group_and_parts_that_do_not(scenes) -> None:
    whole = probes.parts_together(torch.ones(12, 1, 8, 8), scenes)             # one group has everything
    assert len(whole["across parts"]) > 5 and set(whole["across parts"]) == set(whole["within a part"]) == {1.0}
    parts = probes.scene_stack(scenes)[2]
    split = probes.parts_together(hard_shares(parts, 4), scenes)               # at the size of the pixels
    assert set(split["within a part"]) == {1.0} and set(split["across parts"]) == {0.0}
    half = probes.parts_together(torch.full((12, 2, 64, 64), 0.5) + 0.1 * torch.rand(
        12, 2, 64, 64, generator=torch.Generator().manual_seed(0)), scenes)    # by chance
    assert np.mean(half["across parts"]) == pytest.approx(0.5, abs=0.05)
    large = sum(min((i.mask & (s.parts == number)).sum() for number in (1, 2)) >= probes.LEAST_PIXELS
                for s in scenes for i in s.instances)
    assert len(split["across parts"]) == large


def test_intervals_of_means_and_of_what_is_kept() -> None:
    mean, low, high = mean_interval([0.0, 1.0] * 50)
    assert mean == 0.5 and 0.38 < low < 0.43 and 0.57 < high < 0.62
    share, low, high = kept_interval(torch.tensor([True] * 9 + [False]))
    assert share == 0.9 and low == pytest.approx(0.5958, abs=1e-3) and high == pytest.approx(0.9821, abs=1e-3)


def test_a_trial_trains_and_leaves_snapshots(scenes, model) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    config = TrainConfig(steps=2, batch_size=4, warmup=0, num_prompts=1, snapshot_every=1, precision="fp32")
    path, found = train_shortly(model, scenes, scenes[:6], config)
    film = read_snapshots(path)
    assert film.steps == (0, 1, 2) and len(film.images) == min(6, NUM_SNAPSHOTS)
    assert {"ari", "oracle_miou", "groups_used"} == set(found)
    assert any(not torch.equal(value, before[name]) for name, value in model.state_dict().items())
