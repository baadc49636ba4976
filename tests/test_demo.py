"""The demo from end to end, with untrained models and few images."""

import json

import pytest
from matplotlib.figure import Figure
from PIL import Image

from minigroupvit import demo
from minigroupvit.checkpoints.native import save_checkpoint
from minigroupvit.segmentation.options import InferenceOptions

pytestmark = pytest.mark.filterwarnings("ignore:never seen in training")  # the tiny vocabulary lacks most words


@pytest.fixture
def weights(make_model, tmp_path):
    model = make_model()
    model.protocol = InferenceOptions(top_classes=7)
    save_checkpoint(tmp_path / "groups.safetensors", model, {"seed": 3, "step": 5, "commit": "abc"})
    plain = make_model(depths=(2,), num_group_tokens=(0,), num_output_groups=(0,))
    save_checkpoint(tmp_path / "plain.safetensors", plain)
    two = make_model(depths=(1, 1), num_group_tokens=(6, 3), num_output_groups=(6, 3))
    save_checkpoint(tmp_path / "two.safetensors", two)
    return {"weights": str(tmp_path / "groups.safetensors"), "baseline": str(tmp_path / "plain.safetensors"),
            "groupvit": str(tmp_path / "two.safetensors")}


def test_the_demo_writes_a_figure_and_metrics(weights, tmp_path, capsys):
    out = tmp_path / "new" / "demo"
    metrics = demo.run_demo(out, num_images=6, **weights)
    assert sorted(path.name for path in out.iterdir()) == ["figure.png", "metrics.json"]
    assert json.loads((out / "metrics.json").read_text()) == json.loads(json.dumps(metrics))
    assert metrics["num_images"] == 6 and metrics["protocol"]["top_classes"] == 7
    assert metrics["about"] == {"seed": 3, "step": 5, "commit": "abc"}
    with Image.open(out / "figure.png") as figure:
        assert figure.format == "PNG" and figure.width > 800
    printed = capsys.readouterr().out
    for words in ("GroupViT, from captions", "oracle", str(out / "figure.png"), str(out / "metrics.json")):
        assert words in printed


def test_the_same_weights_give_the_same_metrics(weights, tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "demo_figure", lambda *_, **__: Figure())
    first, second = (demo.run_demo(tmp_path / name, num_images=4, **weights) for name in "ab")
    assert first == second


def test_a_demo_that_breaks_leaves_the_earlier_figure(weights, tmp_path, monkeypatch):
    (tmp_path / "figure.png").write_text("earlier")

    class Broken:
        def savefig(self, path, **_):
            path.write_text("half")
            raise OSError("disk full")

    monkeypatch.setattr(demo, "demo_figure", lambda *_, **__: Broken())
    with pytest.raises(OSError, match="disk full"):
        demo.run_demo(tmp_path, num_images=2, **weights)
    assert (tmp_path / "figure.png").read_text() == "earlier"
    assert not list(tmp_path.glob(".*.part"))


@pytest.mark.parametrize("missing", ["weights", "baseline"])
def test_missing_weights_are_named_with_what_to_do(weights, tmp_path, missing):
    with pytest.raises(ValueError, match="'no_such'.*make weights"):
        demo.run_demo(tmp_path / "out", num_images=2, **weights | {missing: "no_such"})
    assert not (tmp_path / "out").exists()
