"""The classifier with labels that tells how much shape there is to learn."""

import pytest
import torch

from minigroupvit.data.scenes.config import SceneConfig
from minigroupvit.evaluation.ceiling import SIDE, ShapeClassifier, grey_objects, shape_ceiling

FEW = SceneConfig(image_size=32, objects=("cat", "house"), num_objects=(1, 1))


def test_objects_are_cut_out_in_grey() -> None:
    pictures, classes = grey_objects("test", 12)
    assert pictures.shape == (len(classes), 1, SIDE, SIDE) and len(classes) >= 12
    assert -1 <= pictures.min() < -0.3 and 0.3 < pictures.max() <= 1 and classes.max() < 16


def test_labels_teach_shapes_and_shuffled_labels_do_not() -> None:
    config = SceneConfig(num_objects=(1, 1), objects=("cat", "house"))
    train, test = grey_objects("train", 400, config), grey_objects("test", 100, config)
    found = ShapeClassifier(config).fit(*train, epochs=8).evaluate(*test)
    low, high = found["accuracy_interval"]
    assert found["num_objects"] == 100 and low < found["accuracy"] < high or found["accuracy"] == high == 1
    assert found["accuracy"] > 0.8
    shuffled = train[1][torch.randperm(400, generator=torch.Generator().manual_seed(0))]
    assert ShapeClassifier(config).fit(train[0], shuffled, epochs=8).evaluate(*test)["accuracy"] < 0.75


def test_both_splits_and_chance() -> None:
    found = shape_ceiling(num_train=30, num_test=8, config=FEW)
    assert found["chance"] == 0.5 and found["test"]["num_objects"] == found["unseen"]["num_objects"] == 8


def test_nothing_learnt_yet() -> None:
    with pytest.raises(ValueError, match="call fit first"):
        ShapeClassifier().evaluate(torch.zeros(1, 1, SIDE, SIDE), torch.zeros(1))
