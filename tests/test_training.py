"""The training loop on 64 small pictures: it learns, and a run can stop, break and go on."""

from __future__ import annotations

import json
import math
import os
import re
import signal
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from minigroupvit.checkpoints.native import load_checkpoint, read_checkpoint
from minigroupvit.data.captioned.augment import Augmentation
from minigroupvit.data.captioned.batches import Batch, CaptionedImages, pack_texts
from minigroupvit.evaluation.groups import emergence
from minigroupvit.losses import assignment_information, meaning_similarity_loss, multi_label_loss
from minigroupvit.model import GroupViT
from minigroupvit.segmentation.steps import group_maps
from minigroupvit.text.prompts import SIMPLE_TEMPLATES
from minigroupvit.training import loop
from minigroupvit.training.config import TrainConfig
from minigroupvit.training.loop import TrainingStopped, at_step, stop_on_interrupt, train, training_loss
from minigroupvit.training.optimizer import decays, learning_rate, make_optimizer
from minigroupvit.training.record import Recorder, differences
from minigroupvit.training.run import grow

# Twelve steps that touch everything that could differ after a break: noise, drop-path, BatchNorm,
# validations every 3 steps, snapshots every 2, checkpoints every 4.
SHORT = TrainConfig(steps=12, batch_size=16, lr=3e-3, warmup=3, num_prompts=2, precision="fp32",
                    eval_every=3, save_every=4, snapshot_every=2)


class Watched(CaptionedImages):
    """Calls `at_step(step, batch)` whenever a batch is taken."""

    def __init__(self, data: CaptionedImages, at_step: Callable[[int, Batch], None]) -> None:
        super().__init__(data.images, data.captions, data.flip)
        self.at_step = at_step

    def batch(self, step: int, *args) -> Batch:
        batch = super().batch(step, *args)
        self.at_step(step, batch)
        return batch


@pytest.fixture(scope="module")
def run(make_model, captioned: CaptionedImages):
    """Trains a new tiny model in a folder; the same one every time."""

    @torch.no_grad()
    def validate(model: GroupViT) -> dict[str, float]:
        torch.rand(7)  # must not matter
        model.eval()
        loss = training_loss(model, captioned.batch(0, 64, 1, 2, SIMPLE_TEMPLATES), SHORT)["loss"].item()
        model.train()
        return {"miou": math.exp(-loss)}

    def start(folder: Path, config: TrainConfig = SHORT, data: CaptionedImages = captioned, **image) -> GroupViT:
        model = make_model(**{"drop_path": 0.2} | image)
        recorder = Recorder(folder, config, validate=validate, snapshot_images=captioned.images[:2], log_every=2,
                            progress=False)
        return train(model, data, config, recorder)

    return start


@pytest.fixture(scope="module")
def unbroken(run, tmp_path_factory):
    """The folder of a run in this precision that nothing has stopped."""

    @lru_cache
    def folder(precision: str = "fp32") -> Path:
        path = tmp_path_factory.mktemp("unbroken") / precision
        run(path, replace(SHORT, precision=precision))
        return path

    return folder


def interrupt(step: int) -> None:
    os.kill(os.getpid(), signal.SIGINT)


def everything(folder: Path) -> dict:
    """All that a run leaves behind, but for times."""
    found: dict = {}
    for name in ("last", "best"):
        header, found[name] = read_checkpoint(folder / f"{name}.safetensors")
        header["about"].pop("seconds")
        found[f"{name} header"] = header
    found["snapshots"] = load_file(folder / "snapshots.safetensors")
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    found["metrics"] = [{k: v for k, v in line.items() if k != "seconds"} for line in lines]
    return found


def assert_same_run(folder: Path, other: Path) -> None:
    first, second = everything(folder), everything(other)
    for part, value in first.items():
        if part in ("last", "best", "snapshots"):
            assert value.keys() == second[part].keys()
            assert [name for name in value if not torch.equal(value[name], second[part][name])] == []
        else:
            assert value == second[part], part


# Learning

@pytest.mark.parametrize("assignment", ["hard", "soft"])
def test_the_loss_falls(run, tmp_path: Path, assignment: str) -> None:
    config = replace(SHORT, steps=60, eval_every=0, save_every=60, snapshot_every=0)
    run(tmp_path, config, assignment=assignment, stem="convolution", drop_path=0.0)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines]
    # A model that sees nothing: all of 16 pictures, and of 32 prompts, are alike to it.
    blind = math.log(16) + (math.log(32) + math.log(16)) / 2
    assert len(losses) == 30 and losses[0] > blind
    assert sum(losses[-5:]) / 5 < 0.93 * blind
    assert lines[-1].keys() == {"step", "kind", "seconds", "image_text", "multi_label", "loss", "grad_norm", "lr"}


@pytest.mark.parametrize("choice", [
    {"assignment": "soft"}, {"residual": "none"}, {"stem": "convolution"}, {"positions": "sincos"},
    {"depths": (1,), "num_group_tokens": (0,), "num_output_groups": (0,)}])
def test_every_variant_trains(run, tmp_path: Path, choice: dict) -> None:
    run(tmp_path, replace(SHORT, steps=3), **choice)
    assert read_checkpoint(tmp_path / "last.safetensors")[0]["about"]["step"] == 3


def test_without_prompts_there_is_one_loss(make_model, captioned: CaptionedImages) -> None:
    config = TrainConfig(num_prompts=0)
    losses = training_loss(make_model(), captioned.batch(0, 16, 0, 0, SIMPLE_TEMPLATES), config)
    assert losses.keys() == {"loss", "image_text"}


def test_the_loss_is_the_weighted_sum(make_model, captioned: CaptionedImages) -> None:
    config = TrainConfig(num_prompts=2, image_text_weight=0.5, multi_label_weight=3.0)
    losses = training_loss(make_model(), captioned.batch(0, 16, 0, 2, SIMPLE_TEMPLATES), config)
    torch.testing.assert_close(losses["loss"], 0.5 * losses["image_text"] + 3 * losses["multi_label"])


def test_segments_of_every_stage_count(make_model, captioned: CaptionedImages) -> None:
    """Two stages: the nouns look for the segments of both, and information is that of the second."""
    config = TrainConfig(num_prompts=2, segment_weight=2.0, information_weight=0.3)
    batch = captioned.batch(0, 16, 0, 2, SIMPLE_TEMPLATES)
    model = make_model(depths=(1, 1), num_group_tokens=(6, 3), num_output_groups=(6, 3), drop_path=0.0).eval()
    losses = training_loss(model, batch, config)
    torch.testing.assert_close(losses["loss"], losses["image_text"] + losses["multi_label"]
                               + 2 * losses["segments"] - 0.3 * losses["information"])
    losses["segments"].backward()
    assert all(stage.grouping.assign.q_proj.weight.grad.abs().max() > 0 for stage in model.image_encoder.stages)

    ids, spread = pack_texts(model.tokenizer, batch)
    prompts = model.encode_text(ids, spread)[16:].unflatten(0, (16, 2))
    _, output = model.encode_image(batch.images)
    first, second = group_maps(output)
    expected = multi_label_loss(model.embed_segments(output, 0), prompts, model.scale(), first.mean((2, 3)))
    expected += multi_label_loss(model.embed_segments(output), prompts, model.scale(), second.mean((2, 3)))
    torch.testing.assert_close(losses["segments"], expected)
    torch.testing.assert_close(losses["information"], assignment_information(output.groupings[1].soft))


def test_patches_are_the_finest_segments(make_model, captioned: CaptionedImages) -> None:
    config = TrainConfig(num_prompts=2, patch_weight=3.0)
    batch = captioned.batch(0, 16, 0, 2, SIMPLE_TEMPLATES)
    model = make_model(head="linear").eval()
    losses = training_loss(model, batch, config)
    torch.testing.assert_close(losses["loss"], losses["image_text"] + losses["multi_label"] + 3 * losses["patches"])
    ids, spread = pack_texts(model.tokenizer, batch)
    prompts = model.encode_text(ids, spread)[16:].unflatten(0, (16, 2))
    patches = model.embed_patches(model.encode_image(batch.images)[1])
    assert patches.shape[1] == 16                                             # 4 x 4 patches
    torch.testing.assert_close(losses["patches"], multi_label_loss(
        patches, prompts, model.scale(), torch.full((16, 16), 1 / 16)))
    with pytest.raises(ValueError, match="does not group"):
        flat = make_model(depths=(1,), num_group_tokens=(0,), num_output_groups=(0,))
        flat.embed_patches(flat.encode_image(batch.images)[1])


def test_patches_of_one_meaning_share_a_group_from_some_step_on(make_model, captioned: CaptionedImages) -> None:
    config = TrainConfig(steps=10, num_prompts=2, patch_similarity_weight=2.0, patch_margin=0.3, meaning_from=0.5)
    batch = captioned.batch(0, 16, 0, 2, SIMPLE_TEMPLATES)
    model = make_model(head="linear").eval()
    assert "patch_similarity" not in training_loss(model, batch, at_step(config, 4))
    losses = training_loss(model, batch, at_step(config, 5))
    torch.testing.assert_close(
        losses["loss"], losses["image_text"] + losses["multi_label"] + 2 * losses["patch_similarity"])
    _, output = model.encode_image(batch.images)
    torch.testing.assert_close(losses["patch_similarity"], meaning_similarity_loss(
        output.groupings[0].soft, model.embed_patches(output), torch.full((16, 16), 1 / 16), 0.3))


def test_nouns_that_several_captions_have_are_shared_by_their_images(make_model, captioned: CaptionedImages) -> None:
    batch = captioned.batch(0, 16, 0, 2, SIMPLE_TEMPLATES)
    model = make_model().eval()
    alone = training_loss(model, batch, TrainConfig(num_prompts=2))
    shared = training_loss(model, batch, TrainConfig(num_prompts=2, shared_nouns=True))
    assert shared["image_text"] == alone["image_text"] and abs(shared["multi_label"] - alone["multi_label"]) > 1e-3


def test_a_model_grows_from_a_smaller_one(make_model) -> None:
    small = make_model(depths=(1,), num_group_tokens=(4,), num_output_groups=(4,))
    large = make_model(depths=(1, 1), num_group_tokens=(4, 2), num_output_groups=(4, 2))
    for parameter in small.parameters():
        torch.nn.init.normal_(parameter)
    grow(large, small)
    grown = large.state_dict()
    assert all(torch.equal(grown[name], value) for name, value in small.state_dict().items())
    with pytest.raises(ValueError, match="no place for image_encoder.stages.1.*same widths"):
        grow(small, large)


def test_what_a_run_writes_down(run, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run(tmp_path)
    found = everything(tmp_path)
    assert [(line["kind"], line["step"]) for line in found["metrics"]] == [
        ("train", 2), ("validation", 3), ("train", 4), ("train", 6), ("validation", 6),
        ("train", 8), ("validation", 9), ("train", 10), ("train", 12), ("validation", 12)]
    steps = range(0, 13, 2)
    assert sorted(found["snapshots"]) == ["images", *(f"maps.{step:06d}" for step in steps),
                                          *(f"stage1.{step:06d}" for step in steps)]
    assert found["snapshots"]["maps.000002"].shape == (2, 3, 4, 4)
    best = max(line["miou"] for line in found["metrics"] if line["kind"] == "validation")
    assert found["best header"]["about"]["validation"]["miou"] == best == found["last header"]["about"]["best"]
    assert json.loads((tmp_path / "config.json").read_text())["training"]["steps"] == 12

    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("train/loss")] == [2, 4, 6, 8, 10, 12]
    assert [event.step for event in events.Scalars("validation/miou")] == [3, 6, 9, 12]


# Stopping and going on

# After steps 5 and 8 a validation is due; 11 is the last one.
@pytest.mark.parametrize(("step", "precision"), [(1, "fp32"), (5, "fp32"), (8, "fp32"), (11, "fp32"), (8, "bf16"),
                                                  (8, "fp16")])
def test_after_ctrl_c_a_run_goes_on_as_if_unbroken(
        run, unbroken, tmp_path: Path, captioned: CaptionedImages, capsys, step: int, precision: str) -> None:
    config = replace(SHORT, precision=precision)
    run(tmp_path, config, Watched(captioned, lambda s, batch: interrupt(s) if s == step else None))
    assert read_checkpoint(tmp_path / "last.safetensors")[0]["about"]["step"] == step + 1
    assert f"stopped after {step + 1} of 12 steps" in capsys.readouterr().out
    resumed = run(tmp_path, config)
    assert_same_run(tmp_path, unbroken(precision))
    weights = read_checkpoint(unbroken(precision) / "last.safetensors")[1]
    assert all(torch.equal(value, weights[f"model.{name}"]) for name, value in resumed.state_dict().items())


def test_a_run_that_turns_hard_goes_on_as_if_unbroken(run, tmp_path: Path, captioned: CaptionedImages) -> None:
    """The assignment gets sharper with every step, and hard from half of them on."""
    config = replace(SHORT, final_temperature=0.1, hard_from=0.5)
    broken, straight = tmp_path / "broken", tmp_path / "straight"
    run(broken, config, Watched(captioned, lambda s, batch: interrupt(s) if s == 4 else None), assignment="soft")
    image = load_checkpoint(broken / "last.safetensors").config.image
    assert image.assignment == "soft" and 0.1 < image.temperature < 1
    run(broken, config, assignment="soft")
    image = load_checkpoint(broken / "last.safetensors").config.image
    assert image.assignment == "hard" and image.temperature == pytest.approx(0.1)
    run(straight, config, assignment="soft")
    assert_same_run(broken, straight)


def test_ctrl_c_in_a_validation(make_model, captioned: CaptionedImages, tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, SHORT, validate=lambda model: interrupt(0) or {"miou": 0.0}, progress=False)
    train(make_model(), captioned, SHORT, recorder)
    assert read_checkpoint(tmp_path / "last.safetensors")[0]["about"]["step"] == 3


@pytest.mark.parametrize("step", [2, 6])          # before and after the first checkpoint
def test_after_a_crash_a_run_goes_on_from_its_last_checkpoint(
        run, unbroken, tmp_path: Path, captioned: CaptionedImages, step: int) -> None:
    def crash(s: int, batch: Batch) -> None:
        if s == step:
            raise MemoryError("out of memory")

    with pytest.raises(MemoryError):
        run(tmp_path, data=Watched(captioned, crash))
    run(tmp_path)
    assert_same_run(tmp_path, unbroken())


def test_a_finished_run_stays_as_it_is(run, tmp_path: Path) -> None:
    run(tmp_path)
    before = (tmp_path / "last.safetensors").read_bytes()
    run(tmp_path)
    assert (tmp_path / "last.safetensors").read_bytes() == before


def test_the_second_ctrl_c_breaks_at_once() -> None:
    # Not what was there: a shell starts its background jobs with Ctrl-C ignored.
    original = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with stop_on_interrupt() as interrupted:
            interrupt(0)
            assert interrupted.is_set()
            with pytest.raises(KeyboardInterrupt):
                interrupt(0)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, original)


def test_a_folder_with_other_settings_is_refused(run, tmp_path: Path) -> None:
    run(tmp_path, replace(SHORT, steps=4))
    before = everything(tmp_path)
    for changed in (replace(SHORT, steps=5), replace(SHORT, steps=4, seed=1), replace(SHORT, steps=4, lr=1e-5)):
        with pytest.raises(ValueError, match="holds a run with other settings"):
            run(tmp_path, changed)
    with pytest.raises(ValueError, match="holds a run with other settings"):
        run(tmp_path, replace(SHORT, steps=4), temperature=0.5)     # the weights would fit
    assert everything(tmp_path)["metrics"] == before["metrics"]


def other_data(data: CaptionedImages, **changes) -> CaptionedImages:
    return CaptionedImages(**{"images": data.images, "captions": data.captions, "flip": data.flip} | changes)


def test_a_run_knows_its_data_and_names_what_differs(run, tmp_path: Path, captioned: CaptionedImages) -> None:
    run(tmp_path, replace(SHORT, steps=4))
    images, captions = captioned.images.clone(), [list(texts) for texts in captioned.captions]
    images[40, 1, 3, 3] += 1
    captions[9][1] += " again"
    before = everything(tmp_path)
    for changed, words in [
            (other_data(captioned, images=captioned.images[:48], captions=captioned.captions[:48]),
             r"data: 64 pictures, captions \w+, files \w+ in the run, 48 pictures, captions \w+, files \w+ now"),
            (other_data(captioned, images=images), r"data: 64 pictures, captions (\w+), .* now"),
            (other_data(captioned, captions=captions), r"data: 64 pictures, captions (?P<then>\w+), .* captions (?!(?P=then))")]:
        with pytest.raises(ValueError, match=words) as error:
            run(tmp_path, replace(SHORT, steps=4), changed)
        assert "Give another folder (--out)" in str(error.value) and "batch_size" not in str(error.value)
    assert everything(tmp_path)["metrics"] == before["metrics"]
    run(tmp_path, replace(SHORT, steps=4), other_data(captioned))       # the same data, read again


def test_settings_that_differ_are_named_one_by_one(run, tmp_path: Path, captioned: CaptionedImages) -> None:
    run(tmp_path, replace(SHORT, steps=4))
    with pytest.raises(ValueError) as error:
        run(tmp_path, replace(SHORT, steps=4, batch_size=8, augmentation=Augmentation(erasing=0.2), final_temperature=0.5),
            other_data(captioned, images=captioned.images[:60], captions=captioned.captions[:60]), drop_path=0.05)
    message = str(error.value)
    for words in ("data: 64 pictures", "batch_size: 16 in the run, 8 now", "augmentation.erasing: 0.0 in the run, 0.2 now",
                  "final_temperature: None in the run, 0.5 now", "image.drop_path: 0.2 in the run, 0.05 now"):
        assert words in message
    assert message.count(" now") == 5


def test_another_vocabulary_is_named_in_short() -> None:
    then = {"vocabulary": {"name": "captions", "vocabulary": [f"w{i}" for i in range(3000)], "known_words": ["a"]}}
    now = {"vocabulary": {"name": "captions", "vocabulary": [f"w{i}" for i in range(2999)], "known_words": ["b"]}}
    assert differences(then, now) == ["vocabulary.vocabulary: 3,000 entries in the run, 2,999 entries now",
                                      "vocabulary.known_words: ['a'] in the run, ['b'] now"]


def test_a_run_of_a_version_that_did_not_know_its_data_goes_on(run, unbroken, tmp_path: Path,
                                                               captioned: CaptionedImages) -> None:
    run(tmp_path, data=Watched(captioned, lambda s, batch: interrupt(s) if s == 6 else None))
    for name in ("last", "best"):
        header, tensors = read_checkpoint(tmp_path / f"{name}.safetensors")
        del header["about"]["data"], header["about"]["train_config"]["micro_batch_size"]
        save_file(tensors, tmp_path / f"{name}.safetensors", metadata={"minigroupvit": json.dumps(header)})
    run(tmp_path)
    assert read_checkpoint(tmp_path / "last.safetensors")[0]["about"]["data"] == captioned.fingerprint()
    found, expected = (read_checkpoint(folder / "last.safetensors")[1] for folder in (tmp_path, unbroken()))
    assert all(torch.equal(value, expected[name]) for name, value in found.items())


# What cannot go on

def poison_picture(step: int, batch: Batch) -> None:
    if step == 6:
        batch.images[3, 0, 0, 0] = float("nan")


def test_a_loss_that_is_not_finite_stops_the_run(run, tmp_path: Path, captioned: CaptionedImages) -> None:
    with pytest.raises(TrainingStopped) as error:
        run(tmp_path, data=Watched(captioned, poison_picture))
    message = str(error.value)
    rate = learning_rate(6, 12, 3e-3, 3, SHORT.min_lr)
    for part in ("step 6: ", f"learning rate {rate:.2e}", "Try half the learning rate",
                 str(tmp_path / "last.safetensors")):
        assert part in message
    assert re.search(r"logit scales 1\d\.\d and 1\d\.\d\.", message)
    header, tensors = read_checkpoint(tmp_path / "last.safetensors")
    assert header["about"]["step"] == 4 and all(value.isfinite().all() for value in tensors.values())
    load_checkpoint(tmp_path / "last.safetensors")


def test_a_broken_parameter_leaves_the_checkpoint_as_it_was(
        run, make_model, captioned: CaptionedImages, tmp_path: Path) -> None:
    run(tmp_path, data=Watched(captioned, lambda step, batch: interrupt(step) if step == 4 else None))
    before = (tmp_path / "last.safetensors").read_bytes()
    model = make_model(drop_path=0.2)

    def poison(step: int, batch: Batch) -> None:
        with torch.no_grad():
            model.logit_scale.fill_(float("inf")).mul_(0)

    with pytest.raises(TrainingStopped, match="step 5: .* logit scales nan"):
        train(model, Watched(captioned, poison), SHORT, Recorder(tmp_path, SHORT, progress=False))
    assert (tmp_path / "last.safetensors").read_bytes() == before


# Optimiser

def test_weight_decay_only_where_it_belongs(make_model) -> None:
    model = make_model(residual="learned", stem="convolution")
    optimizer = make_optimizer(model, lr=1e-3, weight_decay=0.05)
    names = {id(p): name for name, p in model.named_parameters()}
    with_decay, without = (
        {names[id(p)] for group in optimizer.param_groups if group["weight_decay"] == decay for p in group["params"]}
        for decay in (0.05, 0.0))
    assert with_decay | without == set(names.values()) and not with_decay & without
    for name in ("image_encoder.patch_embed.positions", "image_encoder.stages.1.group_tokens", "logit_scale",
                 "image_encoder.stages.0.grouping.residual_tokens", "text_encoder.token_embedding.weight",
                 "text_encoder.positions", "image_head.layers.1.weight", "image_encoder.norm.weight",
                 "text_encoder.layers.0.attn.qkv.bias", "multi_label_logit_scale"):
        assert name in without
    linear = {f"{name}.weight" for name, module in model.named_modules()
              if isinstance(module, (torch.nn.Linear, torch.nn.Conv2d))}
    assert with_decay == linear
    assert not decays("logit_scale", torch.tensor(1.0))


def test_texts_learn_at_their_share_of_the_rate(make_model, captioned: CaptionedImages, tmp_path: Path) -> None:
    model = make_model()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    config = replace(SHORT, steps=2, warmup=0, text_lr=0.0, weight_decay=0.0)
    train(model, captioned, config, Recorder(tmp_path, config, progress=False))
    moved = {name for name, value in model.named_parameters() if not torch.equal(value, before[name])}
    of_texts = {name for name, _ in model.named_parameters() if name.startswith(("text_encoder", "text_head"))}
    assert of_texts and not moved & of_texts and "image_head.layers.0.weight" in moved
    shares = {group["share"] for group in make_optimizer(model, 1e-3, 0.05, 0.1).param_groups}
    assert shares == {1.0, 0.1}


def test_learning_rate() -> None:
    rates = [learning_rate(step, steps=110, lr=1.0, warmup=10, min_lr=0.2) for step in range(111)]
    assert rates[:10] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
    assert rates[10] == 1.0 and rates[60] == pytest.approx(0.6) and rates[110] == pytest.approx(0.2)
    assert all(later < earlier for earlier, later in zip(rates[10:], rates[11:]))
    assert rates[35] == pytest.approx(0.2 + 0.8 * (1 + math.cos(math.pi / 4)) / 2)
    assert learning_rate(0, steps=1, lr=1.0, warmup=0, min_lr=0.1) == 1.0


def test_the_loop_sets_the_rate_and_clips_the_gradient(
        make_model, captioned: CaptionedImages, tmp_path: Path, monkeypatch) -> None:
    config = replace(SHORT, steps=6, clip_norm=0.5)
    rates, norms = [], []

    def watched(model: GroupViT, *args) -> torch.optim.Optimizer:
        def before_step(optimizer: torch.optim.Optimizer, *_) -> None:
            rates.append({group["lr"] for group in optimizer.param_groups})
            norms.append(math.sqrt(sum(p.grad.square().sum().item() for p in model.parameters())))

        optimizer = make_optimizer(model, *args)
        optimizer.register_step_pre_hook(before_step)
        return optimizer

    monkeypatch.setattr(loop, "make_optimizer", watched)
    train(make_model(), captioned, config, Recorder(tmp_path, config, progress=False))
    assert rates == [{learning_rate(step, 6, 3e-3, 3, config.min_lr)} for step in range(6)]
    assert norms == pytest.approx([0.5] * 6, rel=1e-3)


@pytest.mark.parametrize(("field", "value"), [
    ("steps", 0), ("batch_size", 1), ("warmup", -1), ("num_prompts", -1), ("save_every", 0), ("lr", 0.0),
    ("min_lr", -1.0), ("clip_norm", 0.0), ("precision", "half"),
    ("micro_batch_size", -1)])
def test_bad_settings(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=field):
        TrainConfig(**{field: value})


def test_segments_do_not_go_through_a_batch_norm_in_training(run, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="segment_weight, .*BatchNorm.*a linear head"):
        run(tmp_path, replace(SHORT, segment_weight=1.0))


def test_snapshots_come_early_and_show_emergence(make_model, captioned: CaptionedImages, tmp_path: Path) -> None:
    masks = torch.randint(0, 3, (6, 16, 16), dtype=torch.uint8)
    config = replace(SHORT, steps=21, warmup=2, snapshot_every=50, eval_every=0)
    recorder = Recorder(tmp_path, config, snapshot_images=captioned.images[:2], progress=False,
                        watch_groups=lambda model: emergence(model, captioned.images[:6], masks, 3))
    train(make_model(), captioned, config, recorder)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    lines = [line for line in lines if line["kind"] == "snapshot"]
    assert [line["step"] for line in lines] == [0, 10, 20, 21]
    assert all(0 < line[key] <= 1 for line in lines for key in ("oracle_miou", "oracle_miou_stage1"))
    assert all(-1 <= line["ari"] <= 1 and line["groups_used"] >= 1 for line in lines)


def test_sigterm_saves_and_stops_as_ctrl_c_does(run, captioned: CaptionedImages, tmp_path: Path) -> None:
    run(tmp_path, data=Watched(
        captioned, lambda step, batch: os.kill(os.getpid(), signal.SIGTERM) if step == 4 else None))
    assert read_checkpoint(tmp_path / "last.safetensors")[0]["about"]["step"] == 5


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), SafetensorError("I/O error: no space left")])
def test_a_full_disk_leaves_the_last_checkpoint_and_the_run_goes_on_later(run, unbroken, tmp_path: Path, monkeypatch,
                                                                          error) -> None:
    from minigroupvit.checkpoints import native as checkpoint

    written, save = [], checkpoint.save_file

    def full(tensors, path, *rest, **more) -> None:
        written.append(path)
        if len(written) == 5:                        # a checkpoint in the middle of the run
            Path(path).write_bytes(b"half of")
            raise error
        save(tensors, path, *rest, **more)

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(OSError, match="free some space and give the same command again"):
        run(tmp_path)
    assert not list(tmp_path.glob("*.part")) and not list(tmp_path.glob(".*part"))
    monkeypatch.setattr(checkpoint, "save_file", save)
    run(tmp_path)
    assert_same_run(unbroken(), tmp_path)
