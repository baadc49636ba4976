"""The model against transformers' GroupViTModel and against slow loops, in double precision."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from random_models import draw_everything, random_texts, their_model
from torch import Tensor, nn

from minigroupvit.checkpoints.released.names import place_there, to_ours, to_theirs
from minigroupvit.config import GroupViTConfig, ImageConfig, TextConfig
from minigroupvit.grouping import GroupingBlock
from minigroupvit.image_encoder import ImageEncoder, PatchEmbedding, resize_positions, sincos_positions
from minigroupvit.losses import image_text_loss
from minigroupvit.model import GroupViT

# B pictures  M texts  N tokens  T group tokens  G groups  D width

TOLERANCE = dict(rtol=0, atol=1e-9)
VOCABULARY, CONTEXT, END = 50, 12, 49

# depths, group tokens, output groups, as in our ImageConfig
TWO_STAGES = dict(depths=(2, 1, 1), num_group_tokens=(8, 4, 0), num_output_groups=(8, 4, 0))
ONE_STAGE = dict(depths=(2, 1), num_group_tokens=(8, 0), num_output_groups=(4, 0))
NO_STAGE = dict(depths=(3,), num_group_tokens=(0,), num_output_groups=(0,))


class AnyTokenizer:
    """A tokenizer that is not called: these tests make ids themselves."""

    vocab_size, context_length, end_id = VOCABULARY, CONTEXT, VOCABULARY - 1


def our_model(image_size: int, stages: dict) -> GroupViT:
    image = ImageConfig(image_size=image_size, patch_size=4, width=24, num_heads=3, **stages)
    text = TextConfig(vocab_size=VOCABULARY, context_length=CONTEXT, width=16, num_heads=2, depth=3)
    config = GroupViTConfig(image=image, text=text, embed_dim=10, head_width=20, tokenizer="captions")
    return GroupViT(config, AnyTokenizer()).double().eval()


class Run:
    """Both models with the same random weights on the same input, and all their outputs."""

    def __init__(self, image_size: int, stages: dict) -> None:
        self.ours = our_model(image_size, stages)
        self.theirs = their_model(self.ours.config, END).double()
        draw_everything(self.theirs)
        copied = to_ours(self.theirs.state_dict(), "transformers")
        self.ours.load_state_dict({"multi_label_logit_scale": self.ours.multi_label_logit_scale} | copied)
        self.images = torch.randn(3, 3, image_size, image_size, dtype=torch.float64)
        self.ids = random_texts((12, 5, 3, 9), END)

        self.stages: list[tuple[Tensor, ...]] = []       # theirs: tokens, group tokens, soft assignment
        self.hard: list[Tensor] = []                     # theirs: the assignment that merges
        for stage in self.theirs.vision_model.encoder.stages:
            stage.register_forward_hook(lambda module, args, out: self.stages.append(out))
            if stage.downsample is not None:
                self._record_hard(stage.downsample.assign)
        with torch.no_grad():
            self.output = self.ours(self.images, self.ids)
            self.their_output = self.theirs(
                input_ids=self.ids, pixel_values=self.images, output_attentions=True)

    def _record_hard(self, assign: nn.Module) -> None:
        original = assign.get_attn

        def recorded(logits: Tensor, gumbel: bool = True, hard: bool = True) -> Tensor:
            result = original(logits, gumbel=gumbel, hard=hard)
            if hard:
                self.hard.append(result)
            return result

        assign.get_attn = recorded


@pytest.fixture(scope="module", params=[(16, TWO_STAGES), (32, TWO_STAGES), (24, ONE_STAGE), (16, NO_STAGE)],
                ids=["two stages", "two stages, larger image", "one stage", "no groups"])
def run(request) -> Run:
    torch.manual_seed(0)
    return Run(*request.param)


def test_every_weight_has_its_place_in_both_models(run: Run) -> None:
    ours, theirs = run.ours.state_dict(), run.theirs.state_dict()
    names = [their for name in ours for their in place_there(name, "transformers")[1]]
    assert sorted(names) == sorted(theirs)
    back = to_theirs(ours, "transformers")
    assert all(torch.equal(back[name], value) for name, value in theirs.items())


def test_no_weight_keeps_its_initial_value(run: Run) -> None:
    constant = [name for name, value in run.ours.state_dict().items()
                if value.numel() > 1 and value.unique().numel() == 1]
    assert constant == []


def test_stages(run: Run) -> None:
    assert len(run.output.image.stages) == len(run.stages)
    for ours, (tokens, group_tokens, soft) in zip(run.output.image.stages, run.stages):
        torch.testing.assert_close(ours.tokens, tokens, **TOLERANCE)
        if soft is None:
            assert ours.group_tokens is None and ours.grouping is None
        else:
            torch.testing.assert_close(ours.group_tokens, group_tokens, **TOLERANCE)
            torch.testing.assert_close(ours.grouping.soft, soft, **TOLERANCE)


def test_hard_assignments(run: Run) -> None:
    assert len(run.output.image.groupings) == len(run.hard)
    for ours, theirs in zip(run.output.image.groupings, run.hard):
        torch.testing.assert_close(ours.hard, theirs, **TOLERANCE)
        assert ours.hard.amax(dim=(0, 2)).sum() > 1, "all tokens in one group: this compares little"


def test_segment_tokens_and_embeddings(run: Run) -> None:
    ours, theirs = run.output, run.their_output
    torch.testing.assert_close(ours.image.segment_tokens, theirs.vision_model_output.last_hidden_state, **TOLERANCE)
    torch.testing.assert_close(ours.image.feature, theirs.vision_model_output.pooler_output, **TOLERANCE)
    torch.testing.assert_close(ours.image_embeddings, theirs.image_embeds, **TOLERANCE)
    torch.testing.assert_close(ours.text_embeddings, theirs.text_embeds, **TOLERANCE)


def test_logits(run: Run) -> None:
    logits = run.ours.scale() * run.output.image_embeddings @ run.output.text_embeddings.T
    torch.testing.assert_close(logits, run.their_output.logits_per_image, **TOLERANCE)


def test_attention_without_the_fused_kernel_gives_the_same(run: Run) -> None:
    # With gradients the attention is plain products, without them torch's fused kernel.
    output = run.ours(run.images, run.ids)
    assert output.image_embeddings.requires_grad
    torch.testing.assert_close(output.image_embeddings, run.their_output.image_embeds, **TOLERANCE)
    torch.testing.assert_close(output.text_embeddings, run.their_output.text_embeds, **TOLERANCE)


def test_loss_and_gradients() -> None:
    run = Run(16, TWO_STAGES)
    images, texts = run.images, run.ids[:3]
    theirs = run.theirs(input_ids=texts, pixel_values=images, return_loss=True)
    theirs.loss.backward()
    output = run.ours(images, texts)
    loss = image_text_loss(output.image_embeddings, output.text_embeddings, run.ours.scale())
    loss.backward()
    torch.testing.assert_close(loss, theirs.loss, **TOLERANCE)
    gradients = to_theirs({n: p.grad for n, p in run.ours.named_parameters() if p.grad is not None}, "transformers")
    for name, parameter in run.theirs.named_parameters():
        torch.testing.assert_close(gradients[name], parameter.grad, msg=lambda m: f"{name}: {m}", **TOLERANCE)


def test_padding_changes_nothing(run: Run) -> None:
    text = run.ids[2:3, :3]
    with torch.no_grad():
        torch.testing.assert_close(run.ours.encode_text(text), run.output.text_embeddings[2:3], **TOLERANCE)


# What transformers does not have: other sizes of one model, fixed positions, the residuals, soft assignment.

def test_positions_are_resized_like_an_image() -> None:
    table = torch.randn(1, 4 * 4, 6, dtype=torch.float64)
    new = resize_positions(table, (4, 4), (3, 7))                     # (1, 21, 6)
    for channel in range(6):
        picture = table[0, :, channel].reshape(1, 1, 4, 4)
        expected = F.interpolate(picture, size=(3, 7), mode="bicubic", align_corners=False)
        torch.testing.assert_close(new[0, :, channel].reshape(3, 7), expected[0, 0], **TOLERANCE)


@pytest.mark.parametrize("size", [(8, 28), (32, 16), (4, 4)])
def test_another_size_is_the_model_of_that_size_with_resized_positions(size: tuple[int, int]) -> None:
    config = ImageConfig(image_size=16, patch_size=4, width=24, num_heads=3, **TWO_STAGES)
    encoder = ImageEncoder(config).double().eval()
    draw_everything(encoder)
    images = torch.randn(2, 3, *size, dtype=torch.float64)
    output = encoder(images)
    h, w = output.grid
    assert (h, w) == (size[0] // 4, size[1] // 4)

    # By hand: each patch times the kernel, the norm, and its place in the resized table.
    embed = encoder.patch_embed
    table = resize_positions(embed.positions, (4, 4), (h, w))
    for row, column in itertools.product(range(h), range(w)):
        patch = images[:, :, 4 * row:4 * row + 4, 4 * column:4 * column + 4].flatten(1)
        token = embed.norm(F.linear(patch, embed.proj.weight.flatten(1), embed.proj.bias))
        n = row * w + column
        torch.testing.assert_close(embed(images)[0][:, n], token + table[:, n], **TOLERANCE)

    if h == w:  # a model that was made for this size
        other = ImageEncoder(replace(config, image_size=size[0])).double().eval()
        other.load_state_dict(encoder.state_dict() | {"patch_embed.positions": table})
        torch.testing.assert_close(other(images).segment_tokens, output.segment_tokens, **TOLERANCE)


def test_sine_cosine_positions(monkeypatch) -> None:
    D, h, w = 12, 3, 4
    expected = torch.zeros(h * w, D, dtype=torch.float64)
    for y, x, i in itertools.product(range(h), range(w), range(D // 4)):
        frequency = 1 / 10000 ** (i / (D // 4))
        for quarter, value in enumerate((math.sin(x * frequency), math.cos(x * frequency),
                                         math.sin(y * frequency), math.cos(y * frequency))):
            expected[y * w + x, quarter * D // 4 + i] = value
    torch.testing.assert_close(sincos_positions((h, w), D)[0].double(), expected, rtol=0, atol=1e-7)

    embed = PatchEmbedding(ImageConfig(image_size=16, patch_size=4, width=D, num_heads=3, positions="sincos"))
    assert not any("positions" in name for name, _ in embed.named_parameters())
    images = torch.randn(1, 3, 16, 16)
    without = embed.norm(embed.proj(images).flatten(2).transpose(1, 2))
    torch.testing.assert_close(embed(images)[0] - without, sincos_positions((4, 4), D), rtol=0, atol=1e-6)


def slow_grouping(block: GroupingBlock, tokens: Tensor, group_tokens: Tensor, hard: bool, residual: str) -> Tensor:
    """One image, token by token and group by group: (N, D), (T, D) -> (G, D)."""
    D = tokens.shape[1]
    x = [block.norm_x(token) for token in tokens]
    normed = torch.stack([block.norm_tokens(token) for token in group_tokens])        # (T, D)
    mixed = torch.stack([block.mlp_inter.mlp(normed[:, d]) for d in range(D)], dim=1)  # (G, D)
    looked = block.pre_assign_attn(block.norm_post_tokens(mixed)[None], torch.stack(x)[None])[0]

    total = [torch.zeros(D, dtype=torch.float64) for _ in looked]
    count = [0.0 for _ in looked]
    for token in x:
        key = block.assign.k_proj(token)
        shares = [math.exp(sum(block.assign.q_proj(group) * key).item() / math.sqrt(D)) for group in looked]
        shares = [share / sum(shares) for share in shares]
        if hard:
            shares = [1.0 if share == max(shares) else 0.0 for share in shares]
        for g, share in enumerate(shares):
            total[g] = total[g] + share * block.assign.v_proj(token)
            count[g] += share
    segments = []
    for g, group in enumerate(looked):
        segment = block.assign.proj(total[g] / (count[g] + 1))
        if residual == "projected":
            segment = segment + group
        if residual == "learned":
            segment = segment + block.residual_tokens[0, g]
        segments.append(segment + block.mlp_channels(block.norm_new_x(segment)))
    return torch.stack(segments)


@pytest.mark.parametrize("residual", ["projected", "learned", "none"])
@pytest.mark.parametrize("assignment", ["hard", "soft"])
def test_grouping_block_against_a_slow_loop(assignment: str, residual: str) -> None:
    block = GroupingBlock(16, 2, num_group_tokens=5, num_output_groups=3,
                          assignment=assignment, residual=residual).double().eval()
    draw_everything(block)
    tokens, group_tokens = torch.randn(2, 7, 16).double(), torch.randn(2, 5, 16).double()
    segments, grouping = block(tokens, group_tokens)
    with torch.no_grad():
        for b in range(2):
            expected = slow_grouping(block, tokens[b], group_tokens[b], assignment == "hard", residual)
            torch.testing.assert_close(segments[b], expected, **TOLERANCE)
    assert grouping.soft.shape == grouping.hard.shape == (2, 3, 7)
