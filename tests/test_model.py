"""Both encoders together: heads, temperatures, gradients, equal texts."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from minigroupvit.data.captioned.batches import CaptionedImages, pack_texts
from minigroupvit.model import GroupViT, Head
from minigroupvit.text.prompts import SIMPLE_TEMPLATES
from minigroupvit.training.config import TrainConfig
from minigroupvit.training.loop import training_loss

ROUNDING = 1e-10  # above what is left of a zero in double precision; true gradients here are above 1e-2

# Gradients that are zero by mathematics, of the tiny model (two stages that group, then one block).
ZERO = {
    # Added to the queries of all groups alike, so to all logits of a token: cancels in the softmax over groups.
    "image_encoder.stages.0.grouping.assign.q_proj.bias",
    "image_encoder.stages.1.grouping.assign.q_proj.bias",
    # Added to all keys alike, so to all logits of a query: cancels in the softmax over the tokens. In the blocks'
    # fused projection this is the middle third of qkv.bias.
    "image_encoder.stages.0.grouping.pre_assign_attn.attn.k_proj.bias",
    "image_encoder.stages.1.grouping.pre_assign_attn.attn.k_proj.bias",
    # Adds the same to all channels of a token, which the LayerNorm behind it takes away; the projected
    # group tokens of a later stage run through blocks, all of which start with a LayerNorm.
    "image_encoder.stages.0.grouping.mlp_inter.mlp.fc2.bias",
    "image_encoder.stages.1.grouping.mlp_inter.mlp.fc2.bias",
    "image_encoder.stages.1.group_projector.1.mlp.fc2.bias",
    # Adds the same to all pictures or texts, which the BatchNorm of the head takes away.
    "image_encoder.norm.bias",
    "text_encoder.final_norm.bias",
    "image_head.layers.0.bias",
    "text_head.layers.0.bias",
}
# Without the projected groups in the segments, this too only reaches the assignment, as its queries' bias does.
ZERO_WITHOUT_PROJECTION = {
    "image_encoder.stages.0.grouping.pre_assign_attn.norm_post.bias",
    "image_encoder.stages.1.grouping.pre_assign_attn.norm_post.bias",
}


@pytest.mark.parametrize("residual", ["projected", "learned", "none"])
@pytest.mark.parametrize("assignment", ["hard", "soft"])
def test_every_parameter_gets_a_gradient_in_training(
        make_model, captioned: CaptionedImages, assignment: str, residual: str) -> None:
    model = make_model(assignment=assignment, residual=residual, drop_path=0.0, stem="convolution").double().train()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    batch = captioned.batch(0, 16, seed=0, num_prompts=2, templates=SIMPLE_TEMPLATES)
    batch.images = batch.images.double()
    training_loss(model, batch, TrainConfig(num_prompts=2))["loss"].backward()

    missing = [name for name, p in model.named_parameters() if p.grad is None]
    assert missing == []
    largest = {name: p.grad.abs().max().item() for name, p in model.named_parameters()}
    zero = {name for name, value in largest.items() if value < ROUNDING}
    assert zero == ZERO | (ZERO_WITHOUT_PROJECTION if residual != "projected" else set())
    for name, p in model.named_parameters():
        if name.endswith("qkv.bias"):
            queries, keys, values = p.grad.chunk(3)
            assert keys.abs().max() < ROUNDING < min(queries.abs().max(), values.abs().max()), name


@pytest.mark.parametrize("head", ["mlp", "linear"])
def test_equal_texts_encoded_once_give_the_same_as_one_by_one(make_model, captioned: CaptionedImages, head: str) -> None:
    """Also in training: the BatchNorm of the head counts each text as often as it occurs."""
    batch = captioned.batch(0, 32, seed=0, num_prompts=3, templates=SIMPLE_TEMPLATES[:2])
    flat = batch.captions + [text for texts in batch.prompts for text in texts]
    once, one_by_one = make_model(head).double().train(), make_model(head).double().train()
    ids, spread = pack_texts(once.tokenizer, batch)
    assert sum(len(part) for part in ids) == len(set(flat)) < len(flat) == len(spread)
    torch.testing.assert_close(
        once.encode_text(ids, spread), one_by_one.encode_text(once.tokenizer(flat)), rtol=0, atol=1e-12)
    for (name, buffer), expected in zip(once.named_buffers(), one_by_one.buffers()):
        torch.testing.assert_close(buffer, expected, msg=name)
    if head == "mlp":
        assert once.text_head.layers[1].running_mean.abs().max() > 1e-4


def test_forward_returns_unit_vectors_and_the_encoder_s_output(make_model) -> None:
    model = make_model().eval()
    output = model(torch.randn(2, 3, 16, 24), model.tokenizer(["a red sun", "a heart", "a blue cloud"]))
    torch.testing.assert_close(output.image_embeddings.norm(dim=-1), torch.ones(2))
    torch.testing.assert_close(output.text_embeddings.norm(dim=-1), torch.ones(3))
    assert output.image.grid == (4, 6)
    segments = model.embed_segments(output.image)
    assert segments.shape == (2, 3, 12)
    torch.testing.assert_close(segments.norm(dim=-1), torch.ones(2, 3))


def test_a_linear_head_of_the_mean_is_the_mean_of_the_heads() -> None:
    head, segments = Head(8, 5, "linear", hidden=99), torch.randn(2, 4, 8)
    torch.testing.assert_close(head(segments.mean(dim=1)), head(segments).mean(dim=1))


def test_embeddings_are_in_single_precision_under_autocast(make_model) -> None:
    model = make_model().eval()
    with torch.autocast("cpu", torch.bfloat16):
        output = model(torch.randn(2, 3, 16, 16), model.tokenizer(["a sun"]))
    assert output.image_embeddings.dtype == output.text_embeddings.dtype == torch.float32


def test_temperatures(make_model) -> None:
    model = make_model()
    assert model.scale().item() == pytest.approx(1 / 0.07) == model.scale(multi_label=True).item()
    with torch.no_grad():
        model.logit_scale.fill_(9.0)
        model.multi_label_logit_scale.fill_(1.0)
    assert model.scale().item() == 100
    assert model.scale(multi_label=True).item() == pytest.approx(2.71828, rel=1e-5)


def test_text_feature_is_read_at_the_end_token(make_model) -> None:
    encoder = make_model().eval().text_encoder
    short, end = [2, 5, 6], encoder.config.vocab_size - 1
    features = [encoder(torch.tensor([short + [end] + padding])) for padding in ([], [0, 0], [7, 8, 9])]
    for other in features[1:]:
        torch.testing.assert_close(other, features[0])
    assert not torch.allclose(encoder(torch.tensor([[2, 5, 7, end]])), features[0])


def test_a_text_that_is_too_long_for_the_encoder(make_model) -> None:
    with pytest.raises(ValueError, match="texts have 17 tokens, the encoder takes at most 16"):
        make_model().encode_text(torch.zeros(1, 17, dtype=torch.long))


def test_tokenizer_and_configuration_must_fit(tiny_config, tokenizer) -> None:
    with pytest.raises(ValueError, match="vocabulary of its own; give the tokenizer as well"):
        GroupViT(tiny_config)
    small = replace(tiny_config, text=replace(tiny_config.text, vocab_size=7))
    with pytest.raises(ValueError, match=f"the tokenizer has {tokenizer.vocab_size} tokens.*configured for 7"):
        GroupViT(small, tokenizer)
