"""Classifiers with labels: a pixel by its colour, an object by its shape."""

from __future__ import annotations

import pytest
import torch

from minigroupvit.data.mask_sets import MasksInMemory, scene_masks
from minigroupvit.data.scenes.config import SceneConfig
from minigroupvit.evaluation.baselines import SIDE, ColourClassifier, ShapeClassifier, grey_objects, shape_ceiling

NAMES = ("sun", "heart", "brick")
FEW = SceneConfig(image_size=32, objects=("cat", "house"), num_objects=(1, 1))


def test_colours_are_learnt_and_nothing_else():
    colours = torch.tensor([[250, 20, 20], [20, 250, 20], [20, 20, 250]], dtype=torch.uint8)
    masks = torch.randint(3, (4, 8, 8))
    images = colours[masks].permute(0, 3, 1, 2)
    training = MasksInMemory(name="fields", class_names=NAMES, num_backgrounds=1, images=images, masks=masks)
    classifier = ColourClassifier(min_samples_leaf=1).fit(training)
    assert torch.equal(classifier.predict(images), masks)
    mixed = torch.randperm(64)                                         # place and neighbours do not matter
    shuffled = classifier.predict(images.flatten(2)[:, :, mixed].unflatten(-1, (8, 8)))
    assert torch.equal(shuffled.flatten(1), masks.flatten(1)[:, mixed])
    assert classifier.evaluate(training)["miou"] == 1.0


def test_the_colour_classifier_takes_no_more_pixels_than_asked():
    images, masks = torch.randint(256, (2, 3, 8, 8), dtype=torch.uint8), torch.randint(3, (2, 8, 8))
    training = MasksInMemory(name="noise", class_names=NAMES, images=images, masks=masks)
    tree = ColourClassifier(num_pixels=50, min_samples_leaf=1).fit(training).tree
    assert tree.tree_.n_node_samples[0] == 50


def test_colours_give_backgrounds_away_more_than_objects():
    metrics = ColourClassifier().fit(scene_masks("train", 80)).evaluate(scene_masks("test", 40))
    assert metrics["miou_backgrounds"] > 0.4 and metrics["miou_objects"] < 0.15 and metrics["num_images"] == 40


def test_objects_are_cropped_in_grey() -> None:
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
