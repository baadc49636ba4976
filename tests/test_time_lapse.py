"""The time-lapse over made-up snapshots: what it reads, shows, and writes."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from minigroupvit.segmentation.segment import segment
from minigroupvit.training.config import TrainConfig
from minigroupvit.training.record import Recorder
from minigroupvit.visual.palette import group_colours
from minigroupvit.visual.widgets import TimeLapse
from minigroupvit.visual.widgets.panel import to_png
from minigroupvit.visual.widgets.time_lapse import (
    Snapshots,
    read_curve,
    read_snapshots,
    save_time_lapse,
    time_lapse_figure,
)

STEPS = (0, 50, 100)
CURVES = {"mIoU": ([50, 100], [0.2, 0.6]), "oracle": ([0, 100], [0.3, 0.9])}


@pytest.fixture
def snapshots() -> Snapshots:
    """Two images of 16 pixels in 2 × 2 patches, three groups: in snapshot k all patches are in group k, but one in 2."""
    maps = torch.zeros(3, 2, 3, 2, 2)
    for k in range(3):
        maps[k, :, k] = 1
    maps[:, 0, :, 0, 0] = maps[:, 1, :, 1, 1] = torch.tensor([0.0, 0.0, 1.0])    # in each picture another one
    images = torch.randint(0, 256, (2, 3, 16, 16), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    return Snapshots(images, STEPS, ((255 * maps).to(torch.uint8),))


@pytest.fixture
def two_stages(snapshots) -> Snapshots:
    """The same, after a stage of five groups on 4 × 4 patches, of which snapshot k has all patches in group 4 - k."""
    earlier = torch.zeros(3, 2, 5, 4, 4, dtype=torch.uint8)
    for k in range(3):
        earlier[k, :, 4 - k] = 255
    return Snapshots(snapshots.images, STEPS, (earlier, *snapshots.maps))


def test_snapshots_of_a_file(snapshots, tmp_path):
    path = tmp_path / "snapshots.safetensors"
    # Out of order, as a file may list them.
    maps, = snapshots.maps
    save_file({"maps.000100": maps[2].clone(), "maps.000000": maps[0].clone(),
               "images": snapshots.images, "maps.000050": maps[1].clone()}, path)
    read = read_snapshots(path)
    assert read.steps == STEPS and torch.equal(*read.maps, maps) and torch.equal(read.images, snapshots.images)
    assert read.groups(50).shape == (2, 16, 16)
    assert (read.groups(50)[0, :4, :4] == 2).all() and (read.groups(50)[0, 8:] == 1).all()
    torch.testing.assert_close(read.shares(50).sum(dim=1), torch.ones(2, 2, 2))


def write(snapshots: Snapshots, path) -> None:
    """As a training does."""
    names = [*(f"stage{i}" for i in range(1, len(snapshots.maps))), "maps"]
    save_file({"images": snapshots.images} | {
        f"{name}.{step:06d}": maps[t].clone() for name, maps in zip(names, snapshots.maps)
        for t, step in enumerate(snapshots.steps)}, path)


def test_every_stage_of_a_file_is_read_and_can_be_shown(two_stages, tmp_path):
    write(two_stages, tmp_path / "snapshots.safetensors")
    read = read_snapshots(tmp_path / "snapshots.safetensors")
    assert [maps.shape for maps in read.maps] == [(3, 2, 5, 4, 4), (3, 2, 3, 2, 2)]
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(read.maps, two_stages.maps))
    assert (read.groups(50, stage=0) == 3).all() and torch.equal(read.groups(50), two_stages.groups(50, 1))
    for stage, num_groups, label in ((0, 5, "groups, stage 1"), (-1, 3, "groups, stage 2")):
        panel = TimeLapse(read, CURVES, step=100, stage=stage)
        axes = panel.draw().axes
        assert axes[1].get_ylabel() == label and len(axes[-2].texts) == num_groups
        assert panel.canvas.value == to_png(time_lapse_figure(read, 100, CURVES, stage=stage))
        grey = read.images[0].float().mean(dim=0)[:, :, None].numpy() / 255
        expected = 0.72 * group_colours(num_groups)[read.groups(100, stage)[0].numpy()] + 0.28 * grey
        np.testing.assert_allclose(axes[1].images[0].get_array(), expected, atol=1e-6)
    panel = TimeLapse(read, CURVES, stage=0)
    panel.save_animation(tmp_path / "first.png")
    save_time_lapse(tmp_path / "last.png", read, CURVES)
    assert (tmp_path / "first.png").read_bytes() != (tmp_path / "last.png").read_bytes()


def test_ten_stages_are_in_their_order(snapshots, tmp_path):
    maps, = snapshots.maps
    eleven = tuple(maps.roll(n, 2) for n in range(11))
    write(Snapshots(snapshots.images, STEPS, eleven), tmp_path / "film")
    read = read_snapshots(tmp_path / "film").maps
    assert len(read) == 11 and all(torch.equal(ours, theirs) for ours, theirs in zip(read, eleven))


def test_errors_say_what_there_is(snapshots, two_stages, tmp_path):
    with pytest.raises(ValueError, match="no snapshots at .*snapshot_every"):
        read_snapshots(tmp_path / "none.safetensors")
    save_file({"other": torch.zeros(1)}, tmp_path / "other.safetensors")
    (tmp_path / "cut.safetensors").write_bytes(b"\x40")
    for name in ("other", "cut"):
        with pytest.raises(ValueError, match="holds no snapshots"):
            read_snapshots(tmp_path / f"{name}.safetensors")
    with pytest.raises(ValueError, match="no snapshot of step 60; there are 0, 50, 100"):
        snapshots.groups(60)
    with pytest.raises(ValueError, match="of 2 steps and 2 images"):
        Snapshots(snapshots.images, (0, 50), snapshots.maps)
    with pytest.raises(ValueError, match="one stage or more"):
        Snapshots(snapshots.images, STEPS, ())
    for stage in (2, -3):
        with pytest.raises(ValueError, match=f"no stage {stage}; .*from 0 to 1, or -1"):
            TimeLapse(two_stages, CURVES, stage=stage)
    write(two_stages, tmp_path / "whole.safetensors")
    frames = load_file(tmp_path / "whole.safetensors")
    del frames["stage1.000050"]
    save_file(frames, tmp_path / "gap.safetensors")
    with pytest.raises(ValueError, match=r"holds no snapshots .*stage1\.000050"):
        read_snapshots(tmp_path / "gap.safetensors")
    with pytest.raises(ValueError, match="from 0 to 1"):
        time_lapse_figure(snapshots, 50, CURVES, pictures=[2])
    with pytest.raises(ValueError, match=r"\.gif"):
        save_time_lapse(tmp_path / "film.mp4", snapshots, CURVES)
    assert not list(tmp_path.glob("*film*"))


def test_a_curve_of_a_log(tmp_path):
    path = tmp_path / "metrics.jsonl"
    lines = [{"step": 0, "kind": "snapshot", "ari": 0.1}, {"step": 20, "kind": "train", "loss": 3.5},
             {"step": 20, "kind": "snapshot", "ari": 0.7}, {"step": 40, "kind": "validation", "miou": 0.25, "ari": 0.3},
             {"step": 40, "kind": "snapshot", "ari": 0.8, "groups_used_stage1": 4.5},
             {"step": 40, "kind": "train", "loss": 2.5}]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert read_curve(path, "loss") == ([20, 40], [3.5, 2.5])
    assert read_curve(path, "miou") == ([40], [0.25])
    assert read_curve(path, "groups_used_stage1") == ([40], [4.5])
    # What two kinds measured, on different pictures, is never one curve.
    assert read_curve(path, "ari") == read_curve(path, "ari", "validation") == ([40], [0.3])
    assert read_curve(path, "ari", kind="snapshot") == ([0, 20, 40], [0.1, 0.7, 0.8])
    with pytest.raises(ValueError, match="no 'ari' in lines of the kind 'train'; those of snapshot, validation have"):
        read_curve(path, "ari", "train")
    with pytest.raises(ValueError, match="no 'accuracy'; it has ari, groups_used_stage1, loss, miou"):
        read_curve(path, "accuracy")


def test_the_figure_shows_the_groups_and_marks_the_curves(snapshots):
    figure = time_lapse_figure(snapshots, 50, CURVES, "share", pictures=[1])
    above, below, key, curve = figure.axes
    pixels = snapshots.images[1].permute(1, 2, 0).numpy() / 255
    np.testing.assert_allclose(above.images[0].get_array(), pixels, atol=1e-6)
    grey = snapshots.images[1].float().mean(dim=0)[:, :, None].numpy() / 255
    expected = 0.72 * group_colours(3)[snapshots.groups(50)[1].numpy()] + 0.28 * grey
    np.testing.assert_allclose(below.images[0].get_array(), expected, atol=1e-6)
    assert [text.get_text() for text in key.texts] == ["0", "1", "2"]
    np.testing.assert_allclose(key.images[0].get_array()[:, 0], group_colours(3))
    dots = [(line.get_xdata(), line.get_ydata()) for line in curve.lines if line.get_marker() == "o"]
    assert dots == [(50, 0.2), (50, pytest.approx(0.6))]
    assert curve.get_xlim() == (0, 100) and curve.get_ylabel() == "share"
    assert [text.get_text() for text in curve.get_legend().get_texts()] == list(CURVES)
    # The first curve has not begun at step 0.
    first = time_lapse_figure(snapshots, 0, CURVES).axes[-1]
    assert sum(line.get_marker() == "o" for line in first.lines) == 1


def test_the_slider_draws_each_step_once_and_play_moves_it(snapshots, monkeypatch):
    panel = TimeLapse(snapshots, CURVES, step=50)
    drawn = []
    draw = panel.draw
    monkeypatch.setattr(panel, "draw", lambda: drawn.append(panel.slider.value) or draw())
    at_50 = panel.canvas.value
    assert panel.slider.value == 50 and panel.play.value == 1
    panel.play.value = 2                                     # as the button does in the browser
    assert panel.slider.value == 100 and panel.canvas.value != at_50
    assert panel.canvas.value == to_png(time_lapse_figure(snapshots, 100, CURVES))     # nothing is left of step 50
    panel.slider.value = 50
    assert panel.play.value == 1 and panel.canvas.value == at_50
    assert drawn == [100]
    assert TimeLapse(snapshots, CURVES).slider.value == 100
    with pytest.raises(ValueError, match="no snapshot of step 7"):
        TimeLapse(snapshots, CURVES, step=7)


@pytest.mark.parametrize("ending", [".gif", ".png"])
def test_the_animation_has_all_steps_and_stays_at_the_end(snapshots, tmp_path, ending):
    path = tmp_path / f"film{ending}"
    TimeLapse(snapshots, CURVES).save_animation(path, milliseconds=100)
    with Image.open(path) as film:
        assert film.n_frames == 3 and film.info["loop"] == 0
        lengths, tinted = [], np.zeros((3, 3))
        # A colour over a grey of about the middle, as groups are drawn.
        tints = 255 * (0.72 * group_colours(3) + 0.28 * 0.5)
        for k in range(3):
            film.seek(k)
            lengths.append(film.info["duration"])
            frame = np.asarray(film.convert("RGB")).astype(int)
            frame = frame[:, :int(0.66 * frame.shape[1])]         # without the key of colours
            tinted[k] = [(np.abs(frame - tint).max(axis=-1) < 45).mean() for tint in tints]
        assert lengths == [100, 100, 600]
        # One patch in four is always in group 2, the others are in the group of the step.
        assert (np.diag(tinted) > 0.06).all() and (tinted.argmax(axis=1) == range(3)).all()
        assert tinted[1, 0] < 0.02 and tinted[0, 1] < 0.02
    assert path.stat().st_size < 200_000
    assert list(tmp_path.iterdir()) == [path]


def test_without_a_front_end_an_image_is_left(snapshots):
    bundle = TimeLapse(snapshots, CURVES)._repr_mimebundle_()
    assert bundle["text/plain"] == "<TimeLapse>" and len(bundle["image/png"]) > 5000


def test_a_training_of_two_stages_can_be_shown(make_model, tmp_path):
    """What `training.record` writes is what is read: every stage, with every snapshot."""
    images = torch.randint(0, 256, (2, 3, 16, 16), generator=torch.Generator().manual_seed(1)).to(torch.uint8)
    model = make_model(depths=(1, 1), num_group_tokens=(6, 3), num_output_groups=(6, 3))
    config = TrainConfig(steps=2, batch_size=2, snapshot_every=1)
    recorder = Recorder(tmp_path, config, snapshot_images=images, progress=False)
    optimizer = torch.optim.AdamW(model.parameters())
    recorder.resume(model, optimizer)
    for done in (1, 2):
        recorder.after_step(done, model, optimizer)
    film = read_snapshots(recorder.snapshot_path)
    assert film.steps == (0, 1, 2) and [maps.shape[:3] for maps in film.maps] == [(3, 2, 6), (3, 2, 3)]
    for stage, maps in enumerate(segment(model, images, ["red"]).maps):
        torch.testing.assert_close(film.shares(2, stage), maps.float(), atol=0.003, rtol=0)
