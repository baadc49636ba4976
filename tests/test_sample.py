"""The sample of the scenes in data/: it opens with `datasets`, and holds what the generator makes."""

from __future__ import annotations

from pathlib import Path

import datasets
import numpy as np
import pytest

from minigroupvit.data.scenes.config import SceneConfig
from minigroupvit.data.scenes.make import make_scene

SAMPLE = Path(__file__).parent.parent / "data" / "scenes-sample.parquet"


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
        yield datasets.Dataset.from_parquet(str(SAMPLE))


def test_it_is_small_and_has_the_columns_of_the_scenes(sample):
    assert SAMPLE.stat().st_size < 1_000_000
    assert sample.column_names == ["image", "caption", "mask", "instances", "instance_mask", "part_mask"]
    assert len(sample) == 100


def test_images_and_masks_are_decoded(sample):
    row = sample[0]
    assert row["image"].size == row["mask"].size == (64, 64) and row["image"].mode == "RGB"
    assert np.asarray(row["mask"]).max() < len(SceneConfig().class_names)


def test_the_rows_are_the_first_test_scenes(sample):
    for index in range(len(sample)):
        row, scene = sample[index], make_scene(index, "test")
        assert row["caption"] == scene.caption, "the scenes have changed: run scripts/make_sample.py"
        np.testing.assert_array_equal(np.asarray(row["image"]), scene.image)
        np.testing.assert_array_equal(np.asarray(row["part_mask"]), scene.parts)
        np.testing.assert_array_equal(np.asarray(row["mask"]), scene.mask)
        assert [i["class_name"] for i in row["instances"]] == [i.class_name for i in scene.instances]
        assert np.asarray(row["instance_mask"]).max() <= len(scene.instances)
