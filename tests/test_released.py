"""Released weights in, our weights out: complete round trips, against transformers' own forward."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from random_models import draw_everything, random_texts, their_model
from torch import Tensor
from transformers import AutoImageProcessor, AutoTokenizer, GroupViTModel

import minigroupvit
from minigroupvit.checkpoints.released.load import load_released
from minigroupvit.checkpoints.released.read import read_tokenizer
from minigroupvit.checkpoints.released.write import export_released, export_transformers, write_tokenizer
from minigroupvit.config import GroupViTConfig, ImageConfig, TextConfig
from minigroupvit.images import normalize, to_batch
from minigroupvit.model import GroupViT
from minigroupvit.segmentation.options import InferenceOptions
from minigroupvit.text.caption_tokenizer import CaptionTokenizer
from minigroupvit.text.clip_tokenizer import ClipTokenizer

TOLERANCE = dict(rtol=0, atol=1e-9)
TOKENIZER = CaptionTokenizer.train(["a red sun over the sea", "a cat and a dog", "an old house at night"],
                                   templates=["a photo of a {}."], context_length=12)
HEADS = dict(num_heads=3, text_num_heads=2)
STAGES = {
    "two stages": dict(depths=(2, 1, 1), num_group_tokens=(8, 4, 0), num_output_groups=(8, 4, 0)),
    "one stage": dict(depths=(2, 1), num_group_tokens=(8, 0), num_output_groups=(4, 0)),
    "no groups": dict(depths=(2,), num_group_tokens=(0,), num_output_groups=(0,)),
}


def our_model(stages: str = "two stages", tokenizer=TOKENIZER, **image) -> GroupViT:
    torch.manual_seed(3)
    config = GroupViTConfig(
        image=ImageConfig(**dict(image_size=16, patch_size=4, width=24, num_heads=3) | STAGES[stages] | image),
        text=TextConfig(vocab_size=tokenizer.vocab_size, context_length=12, width=16, num_heads=2, depth=3),
        embed_dim=10, head_width=20, tokenizer=tokenizer.name)
    model = GroupViT(config, tokenizer)
    draw_everything(model)
    return model.eval()


def same_weights(a: GroupViT, b: GroupViT, but: tuple[str, ...] = ()) -> bool:
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a if name not in but)


def agree(ours: GroupViT, theirs: GroupViTModel) -> None:
    """Both models, in double precision, say the same of random pictures and texts, on all levels."""
    # Double precision changes no weight: both hold the same single-precision numbers.
    ours, theirs = copy.deepcopy(ours).double(), copy.deepcopy(theirs).double()
    images = torch.randn(3, 3, *[ours.config.image.image_size] * 2, dtype=torch.float64)
    ids = random_texts((12, 5, 3, 9), ours.tokenizer.end_id)
    with torch.no_grad():
        output = ours(images, ids)
        expected = theirs(input_ids=ids, pixel_values=images, output_attentions=True)
    torch.testing.assert_close(output.image_embeddings, expected.image_embeds, **TOLERANCE)
    torch.testing.assert_close(output.text_embeddings, expected.text_embeds, **TOLERANCE)
    vision = expected.vision_model_output
    torch.testing.assert_close(output.image.segment_tokens, vision.last_hidden_state, **TOLERANCE)
    logits = ours.scale() * output.image_embeddings @ output.text_embeddings.T
    torch.testing.assert_close(logits, expected.logits_per_image, **TOLERANCE)
    groupings = output.image.groupings
    assert len(groupings) == len(vision.attentions or ()) == sum(t > 0 for t in ours.config.image.num_group_tokens)
    for grouping, soft in zip(groupings, vision.attentions or ()):
        torch.testing.assert_close(grouping.soft, soft, **TOLERANCE)


# The authors' names, from those of transformers by plain replacement: a second way to them beside the table.
REPLACED = """
    vision_model.encoder.stages             img_encoder.layers
    vision_model.embeddings.position_embeddings             img_encoder.pos_embed
    vision_model.embeddings.patch_embeddings.projection     img_encoder.patch_embed.proj
    vision_model.embeddings.layernorm       img_encoder.patch_embed.norm
    vision_model.layernorm                  img_encoder.norm
    text_model.embeddings.token_embedding   text_encoder.token_embedding
    text_model.embeddings.position_embedding.weight         text_encoder.positional_embedding
    text_model.final_layer_norm             text_encoder.ln_final
    text_model.encoder.layers               text_encoder.transformer.resblocks
    visual_projection.3     img_projector.linear_out
    text_projection.3       text_projector.linear_out
    visual_projection       img_projector.linear_hidden
    text_projection         text_projector.linear_hidden
"""
IN_BLOCKS = {
    "img_encoder": {".layer_norm": ".norm", ".self_attn.": ".attn.", "attn.out_proj": "attn.proj"},
    "text_encoder": {".layer_norm": ".ln_", ".self_attn.": ".attn.", ".fc1": ".c_fc", ".fc2": ".c_proj"},
}


def authors_weights(theirs: GroupViTModel) -> dict[str, Tensor]:
    """The weights of a model of transformers as the authors' training would have saved them."""
    weights: dict[str, Tensor] = {}
    pairs = [line.split() for line in REPLACED.split("\n") if line.strip()]
    state = theirs.state_dict()
    for key, value in state.items():
        name = key
        for before, after in pairs:
            name = name.replace(before, after)
        for part, changes in IN_BLOCKS.items():
            if name.startswith(part):
                for before, after in changes.items():
                    name = name.replace(before, after)
        if name.startswith("img_encoder.layers"):
            first, _, rest = name.removeprefix("img_encoder.layers.").partition(".")
            name = f"img_encoder.layers.{first}." + ("blocks" + rest[6:] if rest.startswith("layers") else rest)
        if "self_attn.q_proj" in key:
            value = torch.cat([state[key.replace("q_proj", f"{letter}_proj")] for letter in "qkv"])
            name = (name.replace("q_proj", "qkv") if name.startswith("img") else
                    name.replace("q_proj.", "in_proj_"))
        elif "self_attn" in key and "out_proj" not in key:
            continue     # k and v: with q
        if name.startswith(("img_projector", "text_projector")) and value.ndim == 2:
            value = value[:, :, None]
        weights[name] = value.clone()
    return weights


@pytest.fixture(params=STAGES)
def theirs(request: pytest.FixtureRequest) -> GroupViTModel:
    model = their_model(our_model(request.param).config, TOKENIZER.end_id)
    draw_everything(model)
    return model


# ---------------------------------------------------------------- the authors' checkpoints


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_a_checkpoint_of_the_authors_computes_what_transformers_does(
        theirs: GroupViTModel, tmp_path: Path, zipped: bool) -> None:
    weights = authors_weights(theirs) | {"multi_label_logit_scale": torch.tensor(1.5)}
    optimizer = torch.optim.AdamW(theirs.parameters())
    torch.save({"model": weights, "optimizer": optimizer.state_dict(), "epoch": 29, "max_metrics": np.float64(0.5)},
               tmp_path / "released.pth", _use_new_zipfile_serialization=zipped)
    ours = load_released(tmp_path / "released.pth", tokenizer=TOKENIZER, **HEADS)
    agree(ours, theirs)
    assert ours.multi_label_logit_scale.item() == 1.5 and not ours.training
    statistics = ours.image_head.layers[1]
    assert torch.equal(statistics.running_var, theirs.visual_projection[1].running_var)
    assert statistics.running_mean.abs().min() > 0 and (statistics.running_var - 1).abs().min() > 0
    assert statistics.num_batches_tracked == theirs.visual_projection[1].num_batches_tracked > 0


def test_our_names_are_the_authors(tmp_path: Path) -> None:
    model = our_model()
    export_transformers(model, tmp_path / "theirs")
    export_released(model, tmp_path / "authors.pth")
    written = torch.load(tmp_path / "authors.pth", weights_only=True)["model"]
    expected = authors_weights(GroupViTModel.from_pretrained(tmp_path / "theirs"))
    assert written.keys() == expected.keys() | {"multi_label_logit_scale"}
    assert all(torch.equal(written[name], value) for name, value in expected.items())


@pytest.mark.parametrize("stages", STAGES)
def test_ours_to_the_authors_and_back(tmp_path: Path, stages: str) -> None:
    # Everything that shapes cannot tell stands beside the weights.
    model = our_model(stages, assignment="soft", drop_path=0.3, gumbel_noise=0.5)
    model.protocol = InferenceOptions(top_classes=3, templates=("a {}.", "the {}."))
    model.about = {"seed": 7}
    export_released(model, tmp_path / "runs" / "model.pth")
    again = load_released(tmp_path / "runs" / "model.pth")
    assert same_weights(model, again)
    assert (again.config, again.protocol, again.about) == (model.config, model.protocol, model.about)
    assert again.tokenizer.state() == model.tokenizer.state()
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["model.pth"]


def test_without_what_we_write_beside_the_weights(tmp_path: Path) -> None:
    model = our_model()
    export_released(model, tmp_path / "model.pth")
    torch.save({"model": torch.load(tmp_path / "model.pth")["model"]}, tmp_path / "bare.pth")
    with pytest.raises(ValueError, match="width of 24 is no multiple of 64 .* give num_heads"):
        load_released(tmp_path / "bare.pth")
    with pytest.raises(ValueError, match=rf"knows {TOKENIZER.vocab_size} tokens, CLIP's .* 49408; give the tokenizer"):
        load_released(tmp_path / "bare.pth", **HEADS)
    again = load_released(tmp_path / "bare.pth", tokenizer=TOKENIZER, **HEADS)
    assert same_weights(model, again) and again.config == model.config
    assert again.protocol == InferenceOptions(short_side=32, long_side=146)     # twice the training size, as released
    # Heads change no shape, but what is computed.
    other = load_released(tmp_path / "bare.pth", num_heads=2, text_num_heads=2, tokenizer=TOKENIZER)
    with torch.no_grad(), pytest.raises(AssertionError):
        images = torch.randn(1, 3, 16, 16)
        torch.testing.assert_close(model.encode_image(images)[0], other.encode_image(images)[0])


def test_a_vocabulary_of_clips_size_brings_clips_tokenizer(tmp_path: Path) -> None:
    model = our_model(tokenizer=ClipTokenizer(12))
    export_released(model, tmp_path / "model.pth")
    torch.save({"model": torch.load(tmp_path / "model.pth")["model"]}, tmp_path / "bare.pth")
    again = load_released(tmp_path / "bare.pth", **HEADS)
    assert again.tokenizer.state() == {"name": "clip", "context_length": 12} and again.config.tokenizer == "clip"
    assert same_weights(model, again)


def test_another_image_size_resizes_the_positions(tmp_path: Path) -> None:
    model = our_model()
    export_released(model, tmp_path / "model.pth")
    larger = load_released(tmp_path / "model.pth", image_size=24)
    assert larger.config.image.image_size == 24
    assert larger.image_encoder.patch_embed.positions.shape == (1, 36, 24)
    images = torch.randn(2, 3, 24, 24)
    with torch.no_grad():     # the small one resizes them at each evaluation
        torch.testing.assert_close(larger.encode_image(images)[0], model.encode_image(images)[0], rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="image_size 18 is not a multiple of patch_size 4"):
        load_released(tmp_path / "model.pth", image_size=18)


def test_a_checkpoint_without_the_second_temperature(tmp_path: Path) -> None:
    weights = authors_weights(GroupViTModel(their_model(our_model().config, TOKENIZER.end_id).config))
    torch.save({"model": weights}, tmp_path / "model.pth")
    model = load_released(tmp_path / "model.pth", tokenizer=TOKENIZER, **HEADS)
    assert model.multi_label_logit_scale.item() == pytest.approx(np.log(1 / 0.07))


def test_keys_and_places_that_do_not_match_are_named(tmp_path: Path) -> None:
    export_released(our_model(), tmp_path / "model.pth")
    content = torch.load(tmp_path / "model.pth")
    weights = content["model"]

    def complaint() -> str:
        torch.save(content, tmp_path / "changed.pth")
        with pytest.raises(ValueError) as error:
            load_released(tmp_path / "changed.pth")
        return str(error.value)

    norm = weights.pop("img_encoder.norm.weight")
    weights["img_encoder.layers.1.downsample.norm_x.bias"] = torch.ones(3)
    weights["img_encoder.layers.2.group_projector.0.bias"] = torch.ones(3)
    assert complaint() == (
        f"{tmp_path / 'changed.pth'} does not fit this model: img_encoder.norm.weight is missing; "
        "img_encoder.layers.2.group_projector.0.bias has no place; "
        "img_encoder.layers.1.downsample.norm_x.bias is (3,) instead of (24,)")
    weights["img_encoder.norm.weight"] = norm
    weights["img_encoder.cls_token"] = norm
    assert complaint().endswith("img_encoder.cls_token has no place")
    weights["img_encoder.cls_token"] = "a text"
    assert "img_encoder.cls_token in" in complaint() and "is no tensor, but str" in complaint()


def test_other_torch_files_say_what_was_expected(tmp_path: Path) -> None:
    path = tmp_path / "file.pth"
    for content, holds in [({"state_dict": {}, "epoch": 1}, "one with state_dict, epoch"), ([1], "something else"),
                           ({"model": [1]}, "one with model")]:
        torch.save(content, path)
        with pytest.raises(ValueError, match=f"expected the authors' checkpoint.* holds {holds}"):
            load_released(path)
    export_released(our_model(), path)
    content = torch.load(path)
    for description, message in [("{no json", "JSON in .* is damaged"), ("[]", "JSON in .* is list"),
                                 ("{}", "value of 'minigroupvit' in .* is damaged")]:
        torch.save(content | {"minigroupvit": description}, path)
        with pytest.raises(ValueError, match=message):
            load_released(path)


def test_nothing_else_says_what_was_expected(tmp_path: Path) -> None:
    expected = "expected the authors' checkpoint .* or the id of such a folder on the hub"
    with pytest.raises(ValueError, match=f"nothing at .*; {expected}"):
        load_released(tmp_path / "missing.pth")
    minigroupvit.save_checkpoint(tmp_path / "ours.safetensors", our_model())
    with pytest.raises(ValueError, match=rf"safetensors file; {expected}.*For checkpoints of this package: load\("):
        load_released(tmp_path / "ours.safetensors")
    with pytest.raises(ValueError, match="config.json and model.safetensors; there is ours.safetensors"):
        load_released(tmp_path)


# ---------------------------------------------------------------- transformers' folders


def test_a_folder_of_transformers(theirs: GroupViTModel, tmp_path: Path) -> None:
    theirs.save_pretrained(tmp_path / "one")
    theirs.save_pretrained(tmp_path / "many", max_shard_size="20KB")
    assert len(list((tmp_path / "many").glob("*.safetensors"))) > 2
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "config.json").write_text((tmp_path / "one" / "config.json").read_text())
    torch.save(theirs.state_dict() | {"text_model.embeddings.position_ids": torch.arange(12)[None]},
               tmp_path / "old" / "pytorch_model.bin")
    models = [load_released(tmp_path / folder, tokenizer=TOKENIZER) for folder in ("one", "many", "old")]
    agree(models[0], theirs)
    assert same_weights(models[0], models[1]) and same_weights(models[0], models[2])
    assert models[0].config.image.num_heads == 3 and models[0].config.text.num_heads == 2     # from config.json


@pytest.mark.parametrize("stages", STAGES)
def test_ours_to_transformers_and_back(tmp_path: Path, stages: str) -> None:
    model = our_model(stages, drop_path=0.2)
    model.protocol = InferenceOptions(top_classes=2) if stages == "two stages" else None
    export_transformers(model, tmp_path)
    theirs, report = GroupViTModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report[problem] for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert theirs.dtype == torch.float32
    agree(model, theirs)
    again = load_released(tmp_path)
    assert same_weights(model, again, but=("multi_label_logit_scale",))
    assert (again.config, again.protocol) == (model.config, model.protocol)
    assert again.tokenizer.state() == model.tokenizer.state()
    # And through their hands: what they save has no place for protocol and tokenizer.
    theirs.save_pretrained(tmp_path / "theirs")
    again = load_released(tmp_path / "theirs", tokenizer=TOKENIZER)
    assert same_weights(model, again, but=("multi_label_logit_scale",))
    assert replace(again.config, image=replace(again.config.image, drop_path=0.2)) == model.config


def test_a_large_temperature_is_cut_for_transformers_which_does_not(tmp_path: Path) -> None:
    model = our_model()
    with torch.no_grad():
        model.logit_scale.fill_(5.5)     # exp is 245, the model takes 100
    export_transformers(model, tmp_path)
    theirs = GroupViTModel.from_pretrained(tmp_path)
    assert theirs.logit_scale.exp().item() == pytest.approx(100) and model.logit_scale.item() == 5.5
    assert load_released(tmp_path).scale().item() == pytest.approx(100)


@pytest.mark.parametrize(("change", "message"), [
    ({"model_type": "clip"}, "is of a model_type 'clip', not 'groupvit'"),
    ({"vision_config": {"hidden_act": "relu"}}, "vision_config.hidden_act 'relu'; a GroupViT here has 'gelu'"),
    ({"vision_config": {"assign_eps": 1e-6}}, "vision_config.assign_eps 1e-06; .* has 1.0"),
    ({"text_config_dict": {"layer_norm_eps": 1e-6}}, "text_config.layer_norm_eps 1e-06; .* has 1e-05"),
    ({"text_config": {"eos_token_id": 7}}, r"end with token 7, those of the tokenizer with \d+; give the tokenizer"),
])
def test_choices_of_transformers_that_we_lack_are_named(tmp_path: Path, change: dict, message: str) -> None:
    export_transformers(our_model(), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    for name, value in change.items():
        config[name] = config.get(name, {}) | value if isinstance(value, dict) else value
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=message):
        load_released(tmp_path)


def test_folders_that_are_damaged(tmp_path: Path) -> None:
    export_transformers(our_model(), tmp_path)
    content = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(content[:-5])
    with pytest.raises(ValueError, match="cannot be read, is a file cut off"):
        load_released(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ValueError, match="no weights in .*; expected model.safetensors, model.safetensors.index.json"):
        load_released(tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": {"x": "part.safetensors"}}')
    with pytest.raises(ValueError, match="cannot be read, is a file cut off or missing"):
        load_released(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match="JSON in .*config.json is damaged"):
        load_released(tmp_path)


# ---------------------------------------------------------------- what the formats lack


@pytest.mark.parametrize(("image", "head", "message"), [
    ({"residual": "none"}, "mlp", "image.residual 'none' (only 'projected')"),
    ({"residual": "learned"}, "mlp", "image.residual 'learned' (only 'projected')"),
    ({"stem": "convolution"}, "mlp", "image.stem 'convolution' (only 'linear')"),
    ({"positions": "none"}, "mlp", "image.positions 'none' (only 'learned')"),
    ({"positions": "sincos"}, "mlp", "image.positions 'sincos' (only 'learned')"),
    ({"temperature": 2.0}, "mlp", "image.temperature 2.0 (only 1.0)"),
    ({}, "linear", "head 'linear' (only 'mlp')"),
    ({"residual": "none", "stem": "convolution"}, "linear", "image.stem 'convolution' (only 'linear'); "
     "head 'linear' (only 'mlp'); image.residual 'none' (only 'projected')"),
])
def test_a_choice_that_both_formats_lack_is_named(make_model, tmp_path: Path, image: dict, head: str,
                                                  message: str) -> None:
    model = make_model(head=head, **image)
    for export, where in [(export_released, "the authors' format"), (export_transformers, "transformers' GroupViT")]:
        with pytest.raises(ValueError) as error:
            export(model, tmp_path / "out")
        assert str(error.value).startswith(f"{where} has no place for this model's {message}. save_checkpoint")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("choices", "message"), [
    ({"merged_values": "before"}, "image.merged_values 'before' (only 'after')"),
    ({"merge_weights": "patches"}, "image.merge_weights 'patches' (only 'tokens')"),
])
def test_choices_that_make_no_weights_are_not_lost_in_silence(make_model, tmp_path: Path, choices: dict,
                                                              message: str) -> None:
    for export in (export_released, export_transformers):
        with pytest.raises(ValueError) as error:
            export(make_model(**choices), tmp_path / "out")
        assert message in str(error.value)


def test_another_head_of_the_texts_has_no_place(tokenizer, tiny_config, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"text_head 'normed' \(only 'mlp'\)"):
        export_transformers(GroupViT(replace(tiny_config, text_head="normed"), tokenizer), tmp_path / "out")


def test_how_a_model_is_trained_on_comes_back(make_model, tmp_path: Path) -> None:
    model = make_model(straight_through=False, later_tokens_std=0.02, gumbel_noise=0.3, drop_path=0.4)
    export_released(model, tmp_path / "model.pth")
    export_transformers(model, tmp_path / "folder")
    assert load_released(tmp_path / "model.pth").config == load_released(tmp_path / "folder").config == model.config


def test_a_choice_that_transformers_lacks_is_named(make_model, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"image.assignment 'soft' \(only 'hard'\)"):
        export_transformers(make_model(assignment="soft"), tmp_path / "out")
    model = make_model(num_output_groups=(5, 3, 0))     # 6 group tokens
    with pytest.raises(ValueError, match="as many output groups as group tokens .* not 5 of 6"):
        export_transformers(model, tmp_path / "out")
    export_released(model, tmp_path / "model.pth")
    assert same_weights(model, load_released(tmp_path / "model.pth"))


def test_a_residual_without_groups_changes_nothing(tmp_path: Path) -> None:
    export_transformers(our_model("no groups", residual="none"), tmp_path)


def test_an_export_that_fails_leaves_nothing_half_written(tmp_path: Path, monkeypatch) -> None:
    def cut_off(content: object, path: Path) -> None:
        Path(path).write_bytes(b"half of it")
        raise OSError("no space left on device")

    monkeypatch.setattr(torch, "save", cut_off)
    with pytest.raises(OSError, match="no space left"):
        export_released(our_model(), tmp_path / "model.pth")
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------- what else transformers reads


TEXTS = ["a red sun", "The OLD house, at night!", "a zebra & the dóg's café"]


@pytest.mark.parametrize("tokenizer", [TOKENIZER, ClipTokenizer(12)], ids=["captions", "clip"])
def test_their_tokenizer_gives_our_ids(tmp_path: Path, tokenizer) -> None:
    write_tokenizer(tokenizer, tmp_path)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    for text in [*TEXTS, "sun " * 20]:
        ids = tokenizer([text])[0].tolist()
        assert theirs(text, truncation=True)["input_ids"] == ids
    assert theirs.decode(tokenizer(TEXTS[:1])[0], skip_special_tokens=True).strip() == "a red sun"
    batch = theirs(TEXTS, padding=True, return_tensors="pt")["input_ids"]
    assert batch.shape == tokenizer(TEXTS).shape
    assert (theirs.bos_token_id, theirs.eos_token_id) == (tokenizer.start_id, tokenizer.end_id)


def test_their_tokenizer_gives_our_ids_in_any_script(tmp_path: Path) -> None:
    texts = ["两只狗在雪地里", "लाल छाता और नीली नाव", "แมวสีดำ บนหลังคา", "Ёлка и ёжик", "Größe: ein Häuschen", "빨간 우산",
             "سفينة في البحر", "ﬁve ５ naïve CAFÉS", "a 犬 и кошка"]
    tokenizer = CaptionTokenizer.train(texts, context_length=20)
    write_tokenizer(tokenizer, tmp_path)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    for text in texts:
        assert theirs(text, truncation=True)["input_ids"] == tokenizer([text])[0].tolist(), text


@pytest.mark.parametrize("tokenizer", [TOKENIZER, ClipTokenizer(12)], ids=["captions", "clip"])
def test_a_folder_that_transformers_saved_again_has_its_vocabulary(tmp_path: Path, tokenizer) -> None:
    model = our_model(tokenizer=tokenizer)
    export_transformers(model, tmp_path / "first")
    GroupViTModel.from_pretrained(tmp_path / "first").save_pretrained(tmp_path / "again")
    AutoTokenizer.from_pretrained(tmp_path / "first").save_pretrained(tmp_path / "again")
    there = {path.name for path in (tmp_path / "again").iterdir()}
    assert "tokenizer.json" in there and not there & {"minigroupvit.json", "vocab.json", "merges.txt"}
    again = minigroupvit.load(tmp_path / "again")
    assert again.tokenizer.state() == tokenizer.state()
    assert same_weights(model, again, but=("multi_label_logit_scale",))
    # Without the words seen in training: all that are whole.
    (tmp_path / "again" / "tokenizer_config.json").unlink()
    words = minigroupvit.load(tmp_path / "again").tokenizer.known_words
    assert set(words) == set(tokenizer.known_words) | ({"photo", "of"} if tokenizer is TOKENIZER else set())


def test_a_vocabulary_in_a_file_of_its_own(tmp_path: Path) -> None:
    pieces = CaptionTokenizer.train([f"a {a}{b} boat" for a in ("hand", "foot", "wind") for b in ("ball", "rail", "mill")],
                                    vocab_size=60, context_length=9)
    write_tokenizer(pieces, tmp_path)
    for path in (tmp_path, tmp_path / "tokenizer.json"):
        assert read_tokenizer(path, 9).state() == pieces.state()
    export_released(our_model(), tmp_path / "model.pth")
    torch.save({"model": torch.load(tmp_path / "model.pth")["model"]}, tmp_path / "bare.pth")
    write_tokenizer(TOKENIZER, tmp_path)
    again = minigroupvit.load(tmp_path / "bare.pth", tokenizer=tmp_path / "tokenizer.json", **HEADS)
    assert again.tokenizer.state() == TOKENIZER.state()


@pytest.mark.parametrize(("content", "message"), [
    ({"model": {"type": "WordPiece", "vocab": {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3}}},
     "4 entries of the kind WordPiece, which is neither CLIP's nor one of captions"),
    ({"model": {"type": "BPE", "vocab": {"a": 0, "b": 1}}}, "2 entries of the kind BPE"),
    ({"model": {"type": "Unigram", "vocab": [["a", -1.0]]}}, "no vocabulary with the ids 0, 1, 2"),
    ({"model": {"type": "BPE", "vocab": {"a": 0, "b": 7}}}, "no vocabulary with the ids 0, 1, 2"),
    ({}, "no vocabulary"),
])
def test_vocabularies_of_other_kinds_are_refused(tmp_path: Path, content: dict, message: str) -> None:
    export_transformers(our_model(), tmp_path)
    (tmp_path / "minigroupvit.json").unlink()
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message):
        minigroupvit.load(tmp_path)
    assert minigroupvit.load(tmp_path, tokenizer=TOKENIZER).tokenizer is TOKENIZER


def test_no_vocabulary_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no tokenizer at .*words.json; give a tokenizer.json"):
        read_tokenizer(tmp_path / "words.json", 12)


def test_their_processor_normalises_as_we_do(tmp_path: Path) -> None:
    export_transformers(our_model(), tmp_path)
    picture = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    theirs = AutoImageProcessor.from_pretrained(tmp_path)(picture, return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(theirs, normalize(to_batch(picture)), rtol=0, atol=1e-5)


def test_a_model_of_ours_used_only_through_transformers(tmp_path: Path) -> None:
    model = our_model()
    export_transformers(model, tmp_path)
    theirs, words = GroupViTModel.from_pretrained(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    images = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        expected = model(images, model.tokenizer(TEXTS))
        output = theirs(pixel_values=images, **words(TEXTS, padding=True, return_tensors="pt"))
    torch.testing.assert_close(output.text_embeds, expected.text_embeddings, rtol=0, atol=1e-5)
    torch.testing.assert_close(output.image_embeds, expected.image_embeddings, rtol=0, atol=1e-5)
