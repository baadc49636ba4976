"""Live curves without a front end: values from a loop or from the folder of a training, drawn at most once a second."""

from __future__ import annotations

import io
import json

import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from minigroupvit.images import normalize
from minigroupvit.segmentation.steps import group_maps, pixel_groups
from minigroupvit.training.config import TrainConfig
from minigroupvit.training.loop import train
from minigroupvit.training.record import Recorder
from minigroupvit.visual.widgets import LiveCurves, live_curves, train_live


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(live_curves, "time", clock)
    return clock


@pytest.fixture
def pictures() -> torch.Tensor:
    return torch.rand(2, 3, 16, 16)


def titles(figure: Figure) -> list[str]:
    return [ax.get_title() for ax in figure.axes if ax.get_title()]


def test_curves_show_what_was_added():
    live = LiveCurves(ylabel="loss of a batch")
    assert Image.open(io.BytesIO(live.canvas.value)).format == "PNG"      # before there is anything
    for step, value in ((1, 4.0), (2, 3.0), (5, 2.5)):
        live.add(step, {"image-text": torch.tensor(value), "multi-label": value + 1})
    ax, = live.draw().axes
    assert [line.get_label() for line in ax.lines] == ["image-text", "multi-label"]
    assert ax.lines[0].get_xydata().tolist() == [[1, 4.0], [2, 3.0], [5, 2.5]]
    assert ax.lines[1].get_xydata().tolist() == [[1, 5.0], [2, 4.0], [5, 3.5]]
    assert ax.get_ylabel() == "loss of a batch" and len(ax.get_legend().get_texts()) == 2


def test_a_look_holds_the_model_s_groups(make_model, pictures):
    model = make_model()
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter))
    live = LiveCurves(pictures)
    model.train()
    before = torch.get_rng_state()
    live.look(7, model)
    assert model.training and torch.equal(torch.get_rng_state(), before)   # the training does not notice
    with torch.no_grad():
        maps = group_maps(model.eval().image_encoder(normalize(pictures)))[-1]
    assert torch.equal(live.looks[7], pixel_groups(maps, (16, 16))) and len(live.looks[7].unique()) > 1
    assert titles(live.draw()) == ["image", "step 7"] and len(live.draw().axes) == 1 + 2 * 2


def test_of_many_looks_the_first_and_the_last_are_shown(make_model, pictures):
    live = LiveCurves(pictures)
    for step in range(0, 101, 10):
        live.look(step, make_model())
    assert titles(live.draw()) == ["image", "step 0", "step 30", "step 70", "step 100"]
    live.look(102, make_model())                   # just after the last: what lies between stays evenly spread
    assert titles(live.draw()) == ["image", "step 0", "step 30", "step 70", "step 102"]


def test_it_is_drawn_again_once_a_second(clock):
    live = LiveCurves()
    drawn = []
    draw, live.draw = live.draw, lambda: drawn.append(len(live.curves["loss"][0])) or draw()
    for step in range(50):
        clock.now += 0.1
        live.add(step, {"loss": step})
    assert len(drawn) in (4, 5) and drawn[0] in (10, 11)


def test_a_slow_drawing_leaves_the_training_nine_tenths_of_the_time(clock):
    live = LiveCurves()

    def draw() -> Figure:
        clock.now += 2.0
        return Figure()

    live.draw = draw
    live.redraw()
    started, steps = clock.now, 0
    while clock.now < started + 200:
        clock.now += 0.1
        steps += 1
        live.add(steps, {"loss": 0.0})
    assert 0.85 <= steps * 0.1 / (clock.now - started) <= 0.95


def test_the_end_is_drawn_even_after_an_error(clock, monkeypatch):
    shown = []

    class Handle:
        def update(self, what) -> None:
            shown.append(what.canvas.value)

    monkeypatch.setattr(live_curves, "get_ipython", lambda: object())
    monkeypatch.setattr(live_curves, "display", lambda what, display_id: shown.append(what.canvas.value) or Handle())
    with pytest.raises(KeyboardInterrupt), LiveCurves() as live:
        for step in range(3):
            live.add(step, {"loss": float(step)})
        raise KeyboardInterrupt
    assert len(shown) == 2 and shown[0] != shown[1] == live.canvas.value
    assert live._repr_mimebundle_()["text/plain"] == "<LiveCurves>" and "image/png" in live._repr_mimebundle_()


def test_outside_of_a_notebook_nothing_is_printed(capsys):
    with LiveCurves() as live:
        live.add(1, {"loss": 1.0})
    assert capsys.readouterr().out == "" and live.canvas.value


def test_values_are_read_from_the_folder_of_a_training(make_model, captioned, tmp_path):
    live = LiveCurves()
    config = TrainConfig(steps=6, batch_size=8, warmup=2, num_prompts=2, snapshot_every=3, eval_every=0)
    train(make_model(), captioned, config, Recorder(tmp_path, config, None, captioned.images[:5], log_every=2,
                                                    progress=False))
    with open(tmp_path / "metrics.jsonl", "a", encoding="utf-8") as file:
        file.write('{"step": 8, "kind": "tr')          # a run in another process is just writing this
    live.read(tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()[:-1]]
    assert live.curves == {name: ([2, 4, 6], [line[name] for line in lines]) for name in ("image_text", "multi_label")}
    assert list(live.looks) == [0, 3, 6] and live.looks[3].shape == (3, 16, 16)      # three of the five pictures
    live.read(tmp_path, ["loss"])                        # again: in place of what was there
    assert list(live.curves) == ["loss"] and titles(live.draw()) == ["image", "step 0", "step 3", "step 6"]


def test_errors_say_what_to_do(make_model, tmp_path):
    with pytest.raises(ValueError, match="up to 3 images, got 4"):
        LiveCurves(torch.rand(4, 3, 8, 8))
    with pytest.raises(ValueError, match="no images to segment"):
        LiveCurves().look(0, make_model())
    with pytest.raises(ValueError, match="no metrics.jsonl"):
        LiveCurves().read(tmp_path / "nothing")


def test_a_training_is_shown_while_it_runs(make_model, captioned, pictures, tmp_path, monkeypatch):
    read = []
    monkeypatch.setattr(LiveCurves, "read", lambda self, folder, found=LiveCurves.read: (found(self, folder), read.append(self)))
    config = TrainConfig(steps=4, batch_size=16, warmup=1, precision="fp32", snapshot_every=2, save_every=4)
    model = make_model()
    model.train()
    assert train_live(model, captioned, config, tmp_path / "run", pictures) is model and not model.training
    live = read[-1]
    assert len(read) == 4 and list(live.looks) == [0, 2, 4]                    # three snapshots, and the end
    assert live.curves["image_text"][0] == [1, 2, 3, 4]
    assert torch.allclose(live.pictures, pictures, atol=0.51 / 255)            # images that are no part of the data
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert all(len(line) == 3 for line in lines if line["kind"] == "snapshot")
