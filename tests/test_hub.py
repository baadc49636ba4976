"""save_pretrained, from_pretrained, push_to_hub; and `load`, which loads a model from any of these places.

The hub is a folder here: its two calls, download and upload, are replaced by copies of files.
"""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path

import pytest
import torch
from huggingface_hub import HfApi
from huggingface_hub.utils import LocalEntryNotFoundError
from safetensors.torch import load_file, save_file

import minigroupvit
from minigroupvit import GroupViT
from minigroupvit.checkpoints import hub
from minigroupvit.checkpoints.hub import is_hub_id
from minigroupvit.checkpoints.native import load
from minigroupvit.checkpoints.released.write import export_released, export_transformers
from minigroupvit.segmentation.options import InferenceOptions
from minigroupvit.text.caption_tokenizer import CaptionTokenizer
from minigroupvit.text.clip_tokenizer import ClipTokenizer


@pytest.fixture
def model(make_model) -> GroupViT:
    model = make_model(residual="none", assignment="soft")     # nothing that other formats could hold
    model.protocol = InferenceOptions(top_classes=3, templates=("a {}.", "the {}."))
    model.about = {"seed": 7}
    return model.eval()


def same(a: GroupViT, b: GroupViT) -> bool:
    weights = b.state_dict()
    return (a.config == b.config and a.protocol == b.protocol and a.tokenizer.state() == b.tokenizer.state()
            and a.state_dict().keys() == weights.keys()
            and all(torch.equal(value, weights[name]) for name, value in a.state_dict().items()))


def test_saved_and_back(model: GroupViT, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path / "runs" / "mine")
    folder = tmp_path / "runs" / "mine"
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    again = GroupViT.from_pretrained(folder)
    assert same(again, model) and again.about == {"seed": 7} and not again.training
    assert same(GroupViT.from_pretrained(str(folder), device="cpu"), model)
    assert same(load(folder), model) and same(load(str(folder)), model)
    assert same(load(str(folder / "model.safetensors")), model)     # it is a checkpoint as any
    assert json.loads((folder / "config.json").read_text())["image"]["residual"] == "none"
    card = (folder / "README.md").read_text()
    assert card.startswith("---\n") and "library_name: minigroupvit" in card and "arXiv 2202.11094" in card


def test_saved_again_after_a_change(model: GroupViT, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    model.set_assignment("hard", 0.5)
    with torch.no_grad():
        model.logit_scale.fill_(1.0)
    model.save_pretrained(tmp_path)
    assert same(GroupViT.from_pretrained(tmp_path), model)
    assert json.loads((tmp_path / "config.json").read_text())["image"]["temperature"] == 0.5


def test_a_model_is_still_a_module(model: GroupViT) -> None:
    assert same(copy.deepcopy(model), model)
    assert isinstance(model, torch.nn.Module) and len(list(model.parameters())) > 10


# ---------------------------------------------------------------- the hub


@pytest.fixture
def remote(tmp_path: Path, monkeypatch) -> Path:
    """A folder that stands for the hub: `remote / "me" / "mine"` is the model me/mine."""
    root = tmp_path / "remote"

    def upload_folder(self, repo_id: str, folder_path: Path, **options) -> str:
        shutil.copytree(folder_path, root / repo_id, dirs_exist_ok=True)
        return f"hub/{repo_id}"

    def snapshot_download(repo_id: str, allow_patterns: list[str], **options) -> str:
        cache = tmp_path / "cache" / repo_id.replace("/", "--")
        if not (root / repo_id).is_dir():
            raise LocalEntryNotFoundError("nobody there")
        cache.mkdir(parents=True, exist_ok=True)
        for pattern in allow_patterns:
            for path in (root / repo_id).glob(pattern):
                shutil.copy(path, cache)
        return str(cache)

    def hf_hub_download(repo_id: str, filename: str, **options) -> str:
        return str(root / repo_id / filename)

    monkeypatch.setattr(HfApi, "create_repo", lambda self, repo_id, **options: type("Repo", (), {"repo_id": repo_id}))
    monkeypatch.setattr(HfApi, "upload_folder", upload_folder)
    monkeypatch.setattr(hub, "snapshot_download", snapshot_download)
    monkeypatch.setattr("huggingface_hub.hub_mixin.hf_hub_download", hf_hub_download)
    return root


def test_pushed_and_back(model: GroupViT, remote: Path) -> None:
    assert model.push_to_hub("me/mine") == "hub/me/mine"
    assert sorted(path.name for path in (remote / "me/mine").iterdir()) == [
        "README.md", "config.json", "model.safetensors"]
    assert same(GroupViT.from_pretrained("me/mine"), model)
    assert same(load("me/mine"), model)


def test_models_of_transformers_on_the_hub(make_model, remote: Path) -> None:
    model = make_model()
    model.protocol = InferenceOptions()
    export_transformers(model, remote / "them/groupvit")
    assert same(load("them/groupvit"), model) and same(GroupViT.from_pretrained("them/groupvit"), model)
    assert same(minigroupvit.load_released("them/groupvit"), model)


def test_a_pickle_on_the_hub_is_fetched_only_without_safetensors(make_model, remote: Path, tmp_path: Path) -> None:
    folder, cache = remote / "them/old", tmp_path / "cache" / "them--old"
    model = make_model()
    export_transformers(model, folder)
    torch.save({}, folder / "pytorch_model.bin")
    load("them/old")
    assert not (cache / "pytorch_model.bin").exists()
    shutil.rmtree(cache)
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    assert torch.equal(load("them/old").image_encoder.norm.weight, model.image_encoder.norm.weight)
    assert (cache / "pytorch_model.bin").exists()


def test_a_hub_without_the_model(remote: Path) -> None:
    for fetch in (load, minigroupvit.load_released):
        with pytest.raises(ValueError, match="no file or folder them/none, and no model of this id came .* nobody"):
            fetch("them/none")


@pytest.mark.parametrize(("name", "expected"), [
    ("nvidia/groupvit-gcc-yfcc", True), ("me/model_2.1", True), ("scenes", False), ("a/b/c", False),
    ("/a/b", False),
    ("../b", False), ("./b", False), ("runs/model.pth", False), ("runs/last.safetensors", False), ("a /b", False),
    ("", False)])
def test_names_that_could_be_an_id(name: str, expected: bool) -> None:
    assert is_hub_id(name) is expected


# ---------------------------------------------------------------- load, from everywhere


def test_load_takes_every_format(make_model, tmp_path: Path) -> None:
    model = make_model()
    model.protocol = InferenceOptions(top_classes=2)
    minigroupvit.save_checkpoint(tmp_path / "ours.safetensors", model)
    model.save_pretrained(tmp_path / "folder")
    export_transformers(model, tmp_path / "transformers")
    export_released(model, tmp_path / "authors.pth")
    export_released(model, tmp_path / "without a suffix")
    for name in ("ours.safetensors", "folder", "transformers", "authors.pth", "without a suffix"):
        assert same(load(tmp_path / name), model), name
        assert same(load(str(tmp_path / name)), model), name


def test_load_lists_the_known_names(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no shipped weights 'modle'; there are .*scenes.* or give the path of a "
                                         ".safetensors checkpoint, .* or a hub id such as"):
        load("modle")
    with pytest.raises(ValueError, match="no shipped weights '.*missing.pth'; there are"):
        load(tmp_path / "missing.pth")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="expected transformers' GroupViT in .*; there is nothing"):
        load(tmp_path / "empty")
    (tmp_path / "text.txt").write_text("hello")
    with pytest.raises(ValueError, match="text.txt is no file of torch.save"):
        load(tmp_path / "text.txt")


# ---------------------------------------------------------------- what is given on loading


@pytest.fixture
def places(make_model, tmp_path: Path) -> dict[str, Path]:
    """One model (drop-path 0.1, 2 heads, 16 pixels) in every format."""
    model = make_model()
    minigroupvit.save_checkpoint(tmp_path / "ours.safetensors", model)
    model.save_pretrained(tmp_path / "pretrained")
    export_transformers(model, tmp_path / "transformers")
    export_released(model, tmp_path / "authors.pth")
    return {path.name: path for path in tmp_path.iterdir()}


@pytest.mark.parametrize("place", ["ours.safetensors", "pretrained", "transformers", "authors.pth"])
def test_arguments_replace_what_is_stored(places: dict[str, Path], place: str) -> None:
    given = dict(num_heads=4, text_num_heads=8, image_size=24, drop_path=0.35)
    ways = [load(places[place], **given)]
    if places[place].is_dir():
        ways.append(GroupViT.from_pretrained(places[place], **given))
    for model in ways:
        image, text = model.config.image, model.config.text
        assert (image.num_heads, text.num_heads, image.image_size, image.drop_path) == (4, 8, 24, 0.35)
        assert model.image_encoder.patch_embed.positions.shape == (1, 36, 16)
        assert model.image_encoder.stages[0].layers[0].attn.num_heads == 4
        model.train()
        pictures = torch.randn(2, 3, 24, 24)
        first, second = (model.encode_image(pictures)[0] for _ in range(2))
        assert not torch.equal(first, second)                   # drop-path is at work
    plain = load(places[place])
    assert plain.config.image.num_heads == 2 and plain.config.image.drop_path == 0.1


@pytest.mark.parametrize("place", ["ours.safetensors", "pretrained", "transformers", "authors.pth"])
def test_a_tokenizer_that_is_not_that_of_the_weights(places: dict[str, Path], place: str, tokenizer) -> None:
    words = [f"word{n}" for n in range(tokenizer.vocab_size - 4)]
    same_end = CaptionTokenizer.train(words, context_length=16)
    assert load(places[place], tokenizer=same_end).tokenizer is same_end
    for other, message in [
            (CaptionTokenizer.train(words, context_length=9), "texts of up to 9 tokens, the text encoder reads up to 16"),
            (CaptionTokenizer.train(words[1:], context_length=16),
             rf"end with token {tokenizer.end_id}, those of the tokenizer with {tokenizer.end_id - 1}; give the tokenizer"),
            (ClipTokenizer(16), rf"end with token {tokenizer.end_id}, those of the tokenizer with 49407")]:
        with pytest.raises(ValueError, match=message):
            load(places[place], tokenizer=other)


def test_a_new_model_needs_a_tokenizer_of_its_context_length(tiny_config, captions: list[str]) -> None:
    with pytest.raises(ValueError, match="of up to 20 tokens, the text encoder reads up to 16; .* context_length=16"):
        GroupViT(tiny_config, CaptionTokenizer.train(captions, context_length=20))

    class EndsEarly(CaptionTokenizer):
        def __init__(self, *arguments) -> None:
            super().__init__(*arguments)
            self.end_id = 5

    with pytest.raises(ValueError, match="ends texts with token 5; .* must be the last of the"):
        GroupViT(tiny_config, EndsEarly.train(captions, context_length=16))


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "pytorch_model.bin", "part-00002.safetensors"])
def test_one_file_of_a_folder_of_transformers_says_to_give_the_folder(places: dict[str, Path], name: str) -> None:
    folder = places["transformers"]
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    shutil.copy(folder / "model.safetensors", folder / "part-00002.safetensors")
    for opens in (load, minigroupvit.load_released):
        with pytest.raises(ValueError, match=f"{name} is one file of a GroupViT of transformers.*give the folder: "
                                             f"{folder}$"):
            opens(folder / name)


def test_safetensors_of_something_else_are_not_called_cut_off(tmp_path: Path) -> None:
    save_file({"classifier.weight": torch.ones(2, 3)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="not a minigroupvit checkpoint, but a safetensors file of something else"):
        load(tmp_path / "other.safetensors")
