"""The embedded scenes: the same everywhere, and as described."""

import json
import subprocess
import sys
import zlib
from collections import Counter
from dataclasses import asdict, replace

import numpy as np
import pytest
from scipy.ndimage import affine_transform

from minigroupvit.data.mask_sets import scene_masks
from minigroupvit.data.scenes import captions, textures
from minigroupvit.data.scenes.captions import SYNONYMS, flip_caption, plural
from minigroupvit.data.scenes.config import SPLITS
from minigroupvit.data.scenes.dice import Dice
from minigroupvit.data.scenes.drawings import OBJECTS, cut_out, drawing_pyramids, num_drawings
from minigroupvit.data.scenes.make import PARTS, SceneConfig, make_scene
from minigroupvit.data.scenes.sets import load_scenes
from minigroupvit.data.scenes.textures import BACKGROUNDS
from minigroupvit.evaluation.baselines import ColourClassifier

NUM_SCENES = 2000


def checksum(scene):
    return zlib.crc32(scene.image.tobytes() + scene.mask.tobytes() + scene.caption.encode())


@pytest.fixture(scope="module")
def scenes():
    return [make_scene(i) for i in range(NUM_SCENES)]


@pytest.fixture(scope="module")
def unseen():
    return [make_scene(i, "unseen") for i in range(400)]


def backgrounds_of(scene, config=SceneConfig()):
    """Named by the pixels: a background that is wholly covered does not count."""
    return {config.class_names[i] for i in np.unique(scene.mask)} - set(config.objects)


# 20 scenes: five of each split. When they change, so do all published figures: raise SCENES_VERSION.
PINNED = {
    "train": [306452279, 4019904758, 224675603, 1596749466, 372432961],
    "validation": [674676470, 708768931, 840696092, 559574933, 2815670802],
    "test": [1847074731, 1495167137, 2945382871, 2158072112, 3644574477],
    "unseen": [3876248885, 1854493587, 2517063404, 3595179052, 954272688],
}


def test_pinned_scenes():
    got = {split: [checksum(make_scene(i, split)) for i in range(5)] for split in SPLITS}
    assert got == PINNED


def test_pinned_scenes_of_another_process():
    code = ("import json, zlib; from minigroupvit.data.scenes.make import make_scene\n"
            "def c(s): return zlib.crc32(s.image.tobytes() + s.mask.tobytes() + s.caption.encode())\n"
            f"print(json.dumps({{p: [c(make_scene(i, p)) for i in range(4, -1, -1)][::-1] for p in {SPLITS!r}}}))")
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(out.stdout) == PINNED


def test_neither_order_nor_neighbours_matter():
    expected = checksum(make_scene(3))
    make_scene(8, config=SceneConfig(image_size=32))
    assert checksum(make_scene(3)) == expected
    assert checksum(make_scene(3, seed=1)) != expected


def test_words_do_not_change_the_picture():
    plain, wordy = make_scene(5), make_scene(5, config=SceneConfig(adjective=1.0, synonym=1.0, omit_object=0.0))
    assert (plain.image == wordy.image).all() and plain.caption != wordy.caption


def test_vocabulary():
    assert len(OBJECTS) == len(set(OBJECTS)) == 16 and len(BACKGROUNDS) == len(set(BACKGROUNDS)) == 8
    names = OBJECTS + BACKGROUNDS
    assert SceneConfig().class_names == names and set(SYNONYMS) == set(names)
    assert not [(a, b) for a in names for b in names if a != b and a in b]
    assert not set(names) & set(textures.PALETTE)
    # No other word is the name of another class, none stands for two classes.
    words = [word for others in SYNONYMS.values() for word in others]
    assert len(words) == len(set(words)) and not set(words) & set(names)
    # With natural colours each object has a pair of its own.
    assert set(textures.NATURAL_COLOURS) == set(OBJECTS) and len(set(textures.NATURAL_COLOURS.values())) == 16
    assert all(set(pair) <= set(textures.PALETTE) for pair in textures.NATURAL_COLOURS.values())


def test_instances_agree_with_the_mask(scenes):
    names = SceneConfig().class_names
    for scene in scenes[:400]:
        assert scene.image.shape == (64, 64, 3) and scene.image.dtype == np.uint8
        assert scene.mask.shape == (64, 64) and scene.mask.dtype == np.uint8
        covered = np.zeros((64, 64), dtype=int)
        for instance in scene.instances:
            assert (scene.mask[instance.mask] == names.index(instance.class_name)).all()
            x0, y0, x1, y1 = instance.box
            assert instance.mask[y0:y1, x0:x1].sum() == instance.mask.sum() > 0
            assert instance.mask[y0].any() and instance.mask[y1 - 1].any()
            assert instance.mask[:, x0].any() and instance.mask[:, x1 - 1].any()
            assert instance.colour in textures.PALETTE and instance.second_colour in textures.PALETTE
            assert instance.colour != instance.second_colour
            assert 0 <= instance.drawing < num_drawings(instance.class_name) - 1
            covered += instance.mask
        assert covered.max() == 1
        assert ((scene.mask < len(OBJECTS)) == covered).all()
        assert ((scene.parts > 0) == covered).all() and scene.parts.max() < len(PARTS)


def test_every_object_stays_visible_and_sharp():
    config = SceneConfig(num_objects=(6, 6))
    for i in range(60):
        scene = make_scene(i, config=config)
        assert len(scene.instances) == 6
        assert min(instance.mask.sum() for instance in scene.instances) >= 8


def solid(name):
    """The drawings of an object without their empty margin's details: (D, 128, 128) bool."""
    return drawing_pyramids()[name][0][:, 0] >= 0.5


def largest_overlap(one, other):
    """IoU of two masks after the best shift, scale, mirroring and turn, at 32 x 32 pixels."""
    def small(mask):
        return mask.reshape(32, 4, 32, 4).mean((1, 3))

    fixed, best, middle = small(one) >= 0.5, 0.0, np.array([15.5, 15.5])
    spectrum = np.fft.rfft2(fixed, (64, 64))
    for mirror in (1, -1):
        for degrees in range(0, 360, 15):
            cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
            for scale in (0.8, 0.9, 1.0, 1.1, 1.25):
                matrix = np.array([[cos, -sin], [sin, cos]]) @ np.diag([1, mirror]) * scale
                moved = affine_transform(small(other), matrix, middle - matrix @ middle, order=1) >= 0.5
                # All shifts at once: a correlation counts the common pixels of each.
                common = np.fft.irfft2(spectrum * np.conj(np.fft.rfft2(moved, (64, 64))), (64, 64)).max()
                best = max(best, common / (fixed.sum() + moved.sum() - common))
    return best


@pytest.mark.parametrize("name", OBJECTS)
def test_drawings_of_an_object_differ(name):
    drawings = solid(name)
    assert len(drawings) >= 5
    for i in range(len(drawings)):
        assert 0.12 < drawings[i].mean() < 0.72, (name, i)
        second = drawing_pyramids()[name][0][i, 1]
        assert second.sum() > 0.03 * drawings[i].sum(), f"{name} {i} has no second colour"
        for j in range(i):
            assert largest_overlap(drawings[i], drawings[j]) < 0.75, (name, j, i)


def test_no_two_objects_look_the_same():
    """No drawing covers another object's by more than 0.85, upright and as large."""
    every = [(name, i, mask) for name in OBJECTS for i, mask in enumerate(solid(name))]
    for k, (name, i, mask) in enumerate(every):
        for other, j, its in every[:k]:
            if name != other:
                assert (mask & its).sum() / (mask | its).sum() < 0.85, (name, i, other, j)


def test_every_colour_keeps_its_name():
    """Shades vary, and nobody would call one by another colour's name: ranges do not meet."""
    dice = Dice(0)
    for name in textures.PALETTE:
        shades = np.array([textures.draw_shade(name, dice) for _ in range(200)])
        assert 0 <= shades.min() and shades.max() <= 255 and len(np.unique(shades, axis=0)) == 200
        assert shades.std(axis=0).max() > 5
    ranges = [(name, span) for name, span in textures.PALETTE.items() if name not in ("black", "white", "grey")]
    for k, (one, (hue, _, light)) in enumerate(ranges):
        for other, (its_hue, _, its_light) in ranges[:k]:
            apart = hue[0] > its_hue[1] or its_hue[0] > hue[1] or light[0] > its_light[1] or its_light[0] > light[1]
            assert apart, (one, other)


def test_colour_says_nothing_about_the_object():
    """A classifier of colours that was shown masks stays below 15 % on objects."""
    train, test = scene_masks("train", 600), scene_masks("test", 300)
    found = ColourClassifier().fit(train).evaluate(test)
    assert found["miou_objects"] < 0.15
    assert found["miou_backgrounds"] > 0.2      # it does work where colour tells something


def test_cut_out():
    upright = cut_out("house", 0, 40, 0)
    assert abs(max(upright.shape[1:]) - 41) <= 2
    assert np.allclose(cut_out("house", 0, 40, 0, mirrored=True), upright[..., ::-1])
    turned = cut_out("house", 0, 40, 90)
    assert np.allclose(turned, np.rot90(upright, axes=(1, 2)), atol=1e-9)
    areas = [(cut_out("fish", 1, size, 17)[0] >= 0.5).sum() / size**2 for size in (20, 40, 80, 160)]
    assert max(areas) / min(areas) < 1.05


def test_default_proportions(scenes):
    """Within four standard deviations of a draw, and a little for what the rules forbid."""
    def close(share, expected, n=NUM_SCENES, slack=0.0):
        return abs(share - expected) < 4 * (expected * (1 - expected) / n) ** 0.5 + slack

    counts = Counter(len(scene.instances) for scene in scenes)
    assert set(counts) == {1, 2, 3} and all(close(c / NUM_SCENES, 1 / 3) for c in counts.values())
    instances = [instance for scene in scenes for instance in scene.instances]
    seen = Counter((i.class_name, i.drawing) for i in instances)
    assert len(seen) == sum(num_drawings(name) - 1 for name in OBJECTS)
    for which in ("colour", "second_colour"):      # every object in every colour
        pairs = Counter((i.class_name, getattr(i, which)) for i in instances)
        assert len(pairs) == len(OBJECTS) * len(textures.PALETTE)
    assert close(np.mean([len(backgrounds_of(scene)) == 2 for scene in scenes]), 0.2, slack=0.01)
    classes = Counter(i.class_name for i in instances)
    assert min(classes.values()) > 0.6 * len(instances) / 16 and max(classes.values()) < 1.5 * len(instances) / 16
    sides = [max(b[2] - b[0], b[3] - b[1]) / 64 for s in scenes if len(s.instances) == 1
             for b in [s.instances[0].box]]
    assert 0.33 < min(sides) and max(sides) <= 1.0 and 0.5 < np.mean(sides) < 0.75

    def names(caption, class_name):
        words = [w for word in (class_name, *SYNONYMS[class_name]) for w in (word, plural(word))]
        return any(word in caption.lower().replace(".", "").replace(",", "").split() for word in words)

    omitted = [any(not names(s.caption, i.class_name) for i in s.instances) for s in scenes]
    assert close(np.mean(omitted), 1 / 7)
    no_background = [not any(names(s.caption, b) for b in BACKGROUNDS) for s in scenes]
    assert close(np.mean(no_background), 1 / 6 * (1 - 1 / 21), slack=0.01)
    adjectives = {*textures.PALETTE, *captions._ADJECTIVES, *captions._SMALL, *captions._LARGE}
    with_adjective = [bool(adjectives & set(s.caption.lower().rstrip(".").split())) for s in scenes]
    assert close(np.mean(with_adjective), 0.4, slack=0.02)


def test_captions_tell_the_truth(scenes):
    """Without false mentions, whatever is named is there, and its colour is right when it is alone."""
    for scene in scenes[:600]:
        words = scene.caption.lower().replace(",", "").rstrip(".").split()
        there = {i.class_name for i in scene.instances} | {
            SceneConfig().class_names[i] for i in np.unique(scene.mask)}
        for name in OBJECTS:
            if set(words) & {w for word in (name, *SYNONYMS[name]) for w in (word, plural(word))}:
                assert name in there, (name, scene.caption)
        for colour in set(words) & set(textures.PALETTE):
            assert colour in {i.colour for i in scene.instances}, scene.caption


def test_every_position_word_is_true():
    config = SceneConfig(num_objects=(2, 2), position=1.0, omit_object=0.0, repeat=0.0, synonym=0.0)
    met = Counter()
    for i in range(300):
        scene = make_scene(i, config=config)
        words = scene.caption.lower().replace(".", "").replace(",", "").split()
        one, two = sorted(scene.instances, key=lambda instance: words.index(instance.class_name))
        middle = [((i.box[0] + i.box[2]) / 2, (i.box[1] + i.box[3]) / 2) for i in (one, two)]
        for side, sign in (("left", 1), ("right", -1)):
            if side in words:
                met[side] += 1
                assert sign * (middle[1][0] - middle[0][0]) > 0, scene.caption
    assert met["left"] > 50 and met["right"] > 50


def test_captions_have_many_forms_and_nouns(scenes):
    tag = pytest.importorskip("textblob.en.taggers").PatternTagger().tag
    for scene in scenes:
        assert any(kind.startswith("NN") for _, kind in tag(scene.caption)), scene.caption
    assert len({scene.caption for scene in scenes}) > 0.85 * NUM_SCENES
    for name in SceneConfig().class_names:  # as they stand in a caption
        for word in (name, *SYNONYMS[name]):
            assert dict(tag(f"a red {word} on the left"))[word].startswith("NN"), word


def test_plurals():
    words = ["butterfly", "fish", "shoe", "cat", "daisy", "birdie", "automobile", "elephant"]
    assert [plural(w) for w in words] == ["butterflies", "fish", "shoes", "cats", "daisies", "birdies",
                                          "automobiles", "elephants"]
    config = SceneConfig(num_objects=(2, 2), repeat=1.0, plural=1.0, omit_object=0.0, adjective=0.0, synonym=0.0)
    for i in range(40):
        scene = make_scene(i, config=config)
        assert plural(scene.instances[0].class_name) in scene.caption.lower()
        assert "two" in scene.caption.lower() or "some" in scene.caption.lower()
        assert " is two" not in scene.caption and " is some" not in scene.caption


def test_false_mentions():
    config = SceneConfig(false_mention=1.0, synonym=0.0, omit_object=0.0, repeat=0.0)
    for i in range(40):
        scene = make_scene(i, config=config)
        words = scene.caption.lower().replace(",", "").rstrip(".").split()
        assert len(set(words) & set(OBJECTS)) == len(scene.instances) + 1


def test_flip():
    assert flip_caption("a cat left of a tree, right there") == "a cat right of a tree, left there"
    assert flip_caption("Left is bright, leftover.") == "Right is bright, leftover."
    assert flip_caption("a cat above a dog") == "a cat above a dog"
    for i in range(50):
        caption = make_scene(i, config=SceneConfig(position=1.0)).caption
        assert flip_caption(flip_caption(caption)) == caption


def test_splits_share_no_scene(scenes, unseen):
    streams = {"train": scenes[:400], "unseen": unseen,
               **{split: [make_scene(i, split) for i in range(400)] for split in ("validation", "test")}}
    pictures = [scene.image.tobytes() for part in streams.values() for scene in part]
    assert len(set(pictures)) == len(pictures) == 1600


def test_unseen_differs_from_test_in_the_drawing_alone(scenes, unseen):
    for i, scene in enumerate(unseen):
        twin = make_scene(i, "test")
        assert [x.class_name for x in scene.instances] == [x.class_name for x in twin.instances]
        assert backgrounds_of(scene) | backgrounds_of(twin) <= set(BACKGROUNDS)
        assert all(x.drawing == num_drawings(x.class_name) - 1 for x in scene.instances)
    others = scenes[:500] + [make_scene(i, s) for i in range(200) for s in ("validation", "test")]
    assert all(x.drawing < num_drawings(x.class_name) - 1 for scene in others for x in scene.instances)


def test_natural_colours_are_a_knob():
    shortcut = SceneConfig(natural_colour=1.0)
    for i in range(30):
        for x in make_scene(i, config=shortcut).instances:
            assert (x.colour, x.second_colour) == textures.NATURAL_COLOURS[x.class_name]


@pytest.mark.parametrize("size", [32, 65, 224])
def test_other_sizes(size):
    for i in range(4):
        scene = make_scene(i, config=SceneConfig(image_size=size))
        assert scene.image.shape == (size, size, 3) and scene.mask.shape == (size, size)
        assert scene.image.std() > 10
    # The same texture, only finer: its mean colour stays.
    for name in BACKGROUNDS:
        means = [textures.texture_tile(name, s).mean((1, 2)) for s in (64, size)]
        assert np.abs(means[0] - means[1]).max() < 22, name


def test_small_vocabulary():
    config = SceneConfig(objects=("cat", "cup", "car"), backgrounds=("grass", "sky"), num_objects=(3, 3))
    for i in range(30):
        scene = make_scene(i, config=config)
        assert scene.mask.max() < 5 and len(scene.instances) == 3
        assert {i.class_name for i in scene.instances} <= {"cat", "cup", "car"}


def test_config_comes_back_from_json():
    config = SceneConfig(num_objects=(2, 4), objects=("cat", "cup", "car"))
    assert SceneConfig(**json.loads(json.dumps(asdict(config)))) == config


@pytest.mark.parametrize("change, message", [
    ({"image_size": 8}, "image_size must be a whole number from 16 to 512, got 8"),
    ({"image_size": 64.0}, "image_size must be a whole number"),
    ({"num_objects": (3, 1)}, r"num_objects must be \(least, most\)"),
    ({"num_objects": (1, 2.5)}, "give whole numbers"),
    ({"num_objects": 2}, "give two numbers in this order"),
    ({"object_size": (0.4, 1.5)}, "object_size must be"),
    ({"objects": ("cat", "dragon")}, "objects must be different names out of cat, rabbit"),
    ({"objects": ()}, "objects must be different names"),
    ({"objects": ("cat", "cat")}, "leave out what is unknown or repeated"),
    ({"backgrounds": ("lava",)}, "backgrounds must be different names out of grass"),
    ({"adjective": 1.2}, "adjective is a probability from 0 to 1, got 1.2"),
    ({"false_mention": -0.1}, "false_mention is a probability"),
    ({"rotation": 270}, "rotation must be from 0 to 180"),
])
def test_config_errors(change, message):
    with pytest.raises(ValueError, match=message):
        replace(SceneConfig(), **change)


def test_call_errors():
    with pytest.raises(ValueError, match="split must be one of train, validation, test, unseen, got 'valid'"):
        make_scene(0, "valid")
    with pytest.raises(ValueError, match="0 or more"):
        make_scene(-1)
    with pytest.raises(ValueError, match="num_scenes must be 1 or more"):
        load_scenes("test", 0)


def test_dataset_columns(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    data = load_scenes("validation", num_scenes=6)
    assert len(data) == 6
    assert data.column_names == ["image", "caption", "mask", "instances", "instance_mask", "part_mask"]
    for i, row in enumerate(data):
        scene = make_scene(i, "validation")
        assert row["image"].mode == "RGB" and (np.asarray(row["image"]) == scene.image).all()
        assert row["mask"].mode == "L" and (np.asarray(row["mask"]) == scene.mask).all()
        assert row["caption"] == scene.caption and (np.asarray(row["part_mask"]) == scene.parts).all()
        instance_mask = np.asarray(row["instance_mask"])
        assert instance_mask.max() <= len(scene.instances) == len(row["instances"])
        for k, (stored, made) in enumerate(zip(row["instances"], scene.instances)):
            assert stored == {"class_name": made.class_name, "colour": made.colour, "box": list(made.box),
                              "second_colour": made.second_colour, "drawing": made.drawing}
            assert ((instance_mask == k + 1) == made.mask).all()
