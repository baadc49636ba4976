"""Checkpoints: what is saved is loaded again, and a bad file gives a clear error."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from minigroupvit.checkpoints import native as checkpoint
from minigroupvit.checkpoints.native import load, load_checkpoint, load_tensors, read_checkpoint, save_checkpoint
from minigroupvit.files import write_atomically
from minigroupvit.model import GroupViT
from minigroupvit.segmentation.options import InferenceOptions


@pytest.fixture
def model(make_model) -> GroupViT:
    model = make_model(residual="learned")
    with torch.no_grad():
        for value in model.state_dict().values():
            if value.is_floating_point():
                value.add_(torch.rand_like(value))
    model.protocol = InferenceOptions(templates=("a {}.", "the {}."), top_classes=3, background_threshold=0.5)
    return model


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "model.safetensors"


def files(path: Path) -> list[str]:
    return sorted(file.name for file in path.parent.iterdir())


def test_everything_comes_back_exactly(model: GroupViT, path: Path) -> None:
    save_checkpoint(path, model, about={"seed": 7, "metrics": {"miou": 0.5}})
    loaded = load_checkpoint(path)
    assert loaded.state_dict().keys() == model.state_dict().keys()
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in loaded.state_dict().items())
    assert loaded.config == model.config
    assert loaded.protocol == model.protocol
    assert loaded.about == {"seed": 7, "metrics": {"miou": 0.5}}
    assert not loaded.training
    texts = ["a red sun", "a zebra"]
    assert torch.equal(loaded.tokenizer(texts), model.tokenizer(texts))
    assert files(path) == ["model.safetensors"]

    images, ids = torch.randn(2, 3, 16, 16), model.tokenizer(texts)
    with torch.no_grad():
        ours, theirs = loaded(images, ids), model.eval()(images, ids)
    assert torch.equal(ours.image_embeddings, theirs.image_embeddings)
    assert torch.equal(ours.text_embeddings, theirs.text_embeddings)


def test_a_model_without_a_protocol(model: GroupViT, path: Path) -> None:
    model.protocol = None
    save_checkpoint(path, model)
    loaded = load_checkpoint(path)
    assert loaded.protocol is None and loaded.about == {}


def test_half_precision_halves_the_file_and_loads_as_single(model: GroupViT, path: Path) -> None:
    save_checkpoint(path, model)
    whole, size = load_checkpoint(path), path.stat().st_size
    save_checkpoint(path, model, dtype=torch.float16)
    half = load_checkpoint(path)
    header = len(json.dumps(read_checkpoint(path)[0]))
    assert path.stat().st_size - header < 0.75 * (size - header)
    for name, value in half.state_dict().items():
        assert value.dtype == whole.state_dict()[name].dtype
        expected = model.state_dict()[name]
        assert torch.equal(value, expected.half().float() if value.is_floating_point() else expected), name


def test_extra_tensors_are_saved_under_their_own_names(model: GroupViT, path: Path) -> None:
    save_checkpoint(path, model, extra={"momentum": torch.arange(3.0)}, dtype=torch.float16)
    _, tensors = read_checkpoint(path)
    assert torch.equal(tensors["extra.momentum"], torch.arange(3.0))
    assert load_checkpoint(path).config == model.config


def test_tensors_that_share_memory_or_are_views_can_be_saved(model: GroupViT, path: Path) -> None:
    table = torch.arange(12.0).view(3, 4)
    save_checkpoint(path, model, extra={"turned": table.T})
    assert torch.equal(read_checkpoint(path)[1]["extra.turned"], table.T)


@pytest.mark.parametrize("keep", [0, 5, 100, 0.5, 0.999])
def test_a_truncated_file(model: GroupViT, path: Path, keep: float) -> None:
    save_checkpoint(path, model)
    content = path.read_bytes()
    path.write_bytes(content[:keep if isinstance(keep, int) else int(keep * len(content))])
    with pytest.raises(ValueError, match="model.safetensors is not a minigroupvit checkpoint, or it is cut off"):
        load_checkpoint(path)


def test_other_files(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("{}" * 100)
    with pytest.raises(ValueError, match="is not a minigroupvit checkpoint"):
        read_checkpoint(path)
    save_file({"weight": torch.ones(2)}, path)  # safetensors, but of somebody else
    with pytest.raises(ValueError, match="is not a minigroupvit checkpoint"):
        read_checkpoint(path)
    save_file({"weight": torch.ones(2)}, path, metadata={"minigroupvit": "{no json"})
    with pytest.raises(ValueError, match="is not a minigroupvit checkpoint"):
        read_checkpoint(path)


def test_a_missing_file_and_a_folder(path: Path) -> None:
    with pytest.raises(ValueError, match="there is no checkpoint at .*model.safetensors; shipped weights"):
        load_checkpoint(path)
    path.mkdir(parents=True)
    with pytest.raises(ValueError, match="there is no checkpoint at"):
        load_checkpoint(path)


def test_unknown_shipped_weights_are_listed(path: Path, model: GroupViT, monkeypatch) -> None:
    save_checkpoint(path, model)
    monkeypatch.setattr(checkpoint, "weights_folder", lambda name="scenes": path.parent)
    assert checkpoint.shipped_weights() == ["model"]
    assert load("model").config == load(str(path)).config == model.config
    with pytest.raises(ValueError, match="no shipped weights 'modle'; there are model"):
        load("modle")


def test_all_that_does_not_fit_is_named(model: GroupViT) -> None:
    tensors = model.state_dict()
    del tensors["image_encoder.norm.weight"]
    tensors["image_encoder.extra"] = torch.ones(1)
    tensors["logit_scale"] = torch.ones(2)
    with pytest.raises(ValueError) as error:
        load_tensors(model, tensors, "file.safetensors")
    assert str(error.value) == (
        "file.safetensors does not fit this model: image_encoder.norm.weight is missing; "
        "image_encoder.extra has no place; logit_scale is (2,) instead of ()")


def test_a_model_that_fits_in_nothing_names_ten(model: GroupViT) -> None:
    with pytest.raises(ValueError, match=r"is missing; .* and \d+ more$"):
        load_tensors(model, {}, "file")


def test_a_checkpoint_of_another_shape_changes_nothing(model: GroupViT, make_model) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    other = make_model(width=32).state_dict()
    with pytest.raises(ValueError, match=r"image_encoder.norm.weight is \(32,\) instead of \(16,\)|and \d+ more"):
        load_tensors(model, other, "file")
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(model: GroupViT, path: Path, monkeypatch) -> None:
    save_checkpoint(path, model)
    before = path.read_bytes()

    def cut_off(tensors, file, metadata) -> None:
        Path(file).write_bytes(b"half of it")
        raise OSError("no space left on device")

    monkeypatch.setattr(checkpoint, "save_file", cut_off)
    with pytest.raises(OSError, match="no space left"):
        save_checkpoint(path, model)
    assert path.read_bytes() == before and files(path) == ["model.safetensors"]


def test_an_interrupted_write_too(path: Path) -> None:
    def interrupted(file: Path) -> None:
        file.write_text("half of it")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, interrupted)
    assert files(path) == []
