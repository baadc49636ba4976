"""Training in micro-batches, and with activations computed again: the gradient of the whole batch with less memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from minigroupvit.checkpoints.native import read_checkpoint
from minigroupvit.data.captioned.batches import CaptionedImages
from minigroupvit.layers import Block
from minigroupvit.model import GroupViT
from minigroupvit.text.prompts import SIMPLE_TEMPLATES
from minigroupvit.training import memory
from minigroupvit.training.config import TrainConfig
from minigroupvit.training.loop import train, training_loss
from minigroupvit.training.memory import recomputed_blocks
from minigroupvit.training.precision import MixedPrecision
from minigroupvit.training.record import Recorder

WHOLE = TrainConfig(steps=4, batch_size=16, warmup=0, num_prompts=2, precision="fp32", eval_every=0, save_every=2,
                    snapshot_every=0)
EVERYTHING = replace(WHOLE, segment_weight=1.0, patch_weight=1.0, information_weight=1.0, pixel_similarity_weight=1.0,
                     meaning_similarity_weight=1.0, patch_similarity_weight=1.0, shared_nouns=True)
WITHOUT_NOISE = {"gumbel_noise": 0.0, "drop_path": 0.0}


def gradients(model: GroupViT, data: CaptionedImages, config: TrainConfig, recompute: bool = False,
              precision: str = "fp32") -> dict[str, Tensor]:
    """The losses of a batch, the gradients of all parameters, and the statistics of BatchNorm."""
    torch.manual_seed(5)
    batch = data.batch(0, 16, 0, 2, SIMPLE_TEMPLATES)
    batch.images = batch.images.to(next(model.parameters()).dtype)
    with recomputed_blocks(model, recompute), MixedPrecision(precision, torch.device("cpu")).autocast():
        losses = training_loss(model, batch, config)
        losses["loss"].backward()
    found = {name: value.detach() for name, value in losses.items()}
    found |= {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return found | {name: value.clone() for name, value in model.named_buffers() if "running" in name}


@pytest.mark.parametrize(("head", "config"), [("mlp", WHOLE), ("linear", EVERYTHING)])
@pytest.mark.parametrize("size", [1, 5, 16])
def test_micro_batches_have_the_gradient_of_the_whole_batch(make_model, captioned: CaptionedImages, head: str,
                                                            config: TrainConfig, size: int) -> None:
    """The heads of the paper have BatchNorm: it sees the whole batch, and once."""
    expected = gradients(make_model(head, **WITHOUT_NOISE).double().train(), captioned, config)
    found = gradients(make_model(head, **WITHOUT_NOISE).double().train(), captioned,
                      replace(config, micro_batch_size=size))
    assert found.keys() == expected.keys() and len(found) > 50
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-9, atol=1e-10, msg=lambda m: f"{name}: {m}")


@pytest.mark.parametrize("recompute", [False, True])
def test_noise_and_drop_path_are_the_same_in_both_passes(make_model, captioned: CaptionedImages, monkeypatch,
                                                         recompute: bool) -> None:
    """Beside the same micro-batches with all activations kept."""
    config = replace(WHOLE, micro_batch_size=6)
    found = gradients(make_model(drop_path=0.4).train(), captioned, config, recompute)
    monkeypatch.setattr(memory, "checkpoint", lambda function, rows, use_reentrant: function(rows))
    expected = gradients(make_model(drop_path=0.4).train(), captioned, config)
    assert all(torch.equal(value, expected[name]) for name, value in found.items())
    again = gradients(make_model(drop_path=0.4, gumbel_noise=0.0).train(), captioned, config)
    assert not torch.equal(again["loss"], expected["loss"]), "there was noise"


def test_recomputed_blocks_change_nothing_and_leave_nothing_behind(make_model, captioned: CaptionedImages) -> None:
    model = make_model(drop_path=0.4).train()
    found = gradients(model, captioned, WHOLE, recompute=True)
    expected = gradients(make_model(drop_path=0.4).train(), captioned, WHOLE)
    assert all(torch.equal(value, expected[name]) for name, value in found.items())
    blocks = [module for module in model.modules() if isinstance(module, Block)]
    assert len(blocks) == 5 and not any("forward" in vars(block) for block in blocks)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_micro_batches_in_half_precision(make_model, captioned: CaptionedImages, precision: str) -> None:
    """The copies of the weights in 16 bits belong to one pass; the gradient arrives at the weights themselves."""
    image = dict(WITHOUT_NOISE, assignment="soft")
    expected, found = (gradients(make_model(**image).train(), captioned, replace(WHOLE, micro_batch_size=size),
                                 precision=precision) for size in (0, 5))
    assert found.keys() == expected.keys()
    for name in ("image_encoder.stages.0.layers.0.attn.qkv.weight", "text_encoder.token_embedding.weight"):
        assert (found[name] - expected[name]).norm() < 0.05 * expected[name].norm()


def kept_bytes(model: GroupViT, data: CaptionedImages, config: TrainConfig, recompute: bool = False) -> int:
    """What the forward pass keeps for the backward pass."""
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with recomputed_blocks(model, recompute), saved_tensors_hooks(pack, lambda tensor: tensor):
        training_loss(model, data.batch(0, 16, 0, 2, SIMPLE_TEMPLATES), config)
    return sum(kept.values()) - sum(p.nbytes for p in model.parameters())


def test_less_is_kept(make_model, captioned: CaptionedImages) -> None:
    model = make_model(depths=(4, 4, 4)).train()
    whole = kept_bytes(model, captioned, WHOLE)
    assert kept_bytes(model, captioned, WHOLE, recompute=True) < 0.6 * whole
    assert kept_bytes(model, captioned, replace(WHOLE, micro_batch_size=2)) < 0.2 * whole


def test_an_encoder_with_batch_norm_is_refused(make_model, captioned: CaptionedImages, tmp_path: Path) -> None:
    config = replace(WHOLE, micro_batch_size=8)
    with pytest.raises(ValueError, match="micro_batch_size is 8, but the image encoder has BatchNorm "
                                         r"\(patch_embed.proj.layers.1.*take micro_batch_size=0, or stem='linear'"):
        train(make_model(stem="convolution"), captioned, config, Recorder(tmp_path, config, progress=False))


def test_a_run_may_go_on_in_smaller_parts(make_model, captioned: CaptionedImages, tmp_path: Path,
                                          monkeypatch) -> None:
    """On a card with less memory: these settings are not among those that teach."""
    def broken(step: int, *args):
        if step == 2:
            raise MemoryError("out of memory")
        return CaptionedImages.batch(captioned, step, *args)

    data = CaptionedImages(captioned.images, captioned.captions, flip=False)

    def run(folder: str, config: TrainConfig) -> Tensor:
        train(make_model(**WITHOUT_NOISE), data, config, Recorder(tmp_path / folder, config, progress=False))
        header, weights = read_checkpoint(tmp_path / folder / "last.safetensors")
        assert header["about"]["step"] == 4
        return weights["model.image_encoder.stages.0.layers.0.attn.qkv.weight"]

    expected = run("whole", WHOLE)
    with monkeypatch.context() as patch, pytest.raises(MemoryError):
        patch.setattr(data, "batch", broken)
        run("parts", WHOLE)
    found = run("parts", replace(WHOLE, micro_batch_size=8, checkpoint_activations=True))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
