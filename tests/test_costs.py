"""What a training step costs, counted and not timed: FLOPs of both encoders, and the text rows that are encoded."""

from __future__ import annotations

import pytest
import torch

from minigroupvit.bench.measure import flops
from minigroupvit.config import GROUPVIT_2STAGE
from minigroupvit.data.captioned.batches import Batch, pack_texts
from minigroupvit.model import GroupViT

B, K, L = 4, 3, 12


def linear(rows: int, *widths: int) -> int:
    """FLOPs of linear layers one after the other on `rows` vectors."""
    return sum(2 * rows * a * b for a, b in zip(widths, widths[1:]))


def block(N: int, D: int) -> int:
    """A Transformer block on N tokens: qkv, both products of attention, its projection, the MLP."""
    return linear(N, D, 3 * D) + 2 * (2 * N * N * D) + linear(N, D, D) + linear(N, D, 4 * D, D)


def grouping(N: int, T: int, G: int, D: int) -> int:
    """A grouping block: T group tokens become G, look at N tokens, and take them up."""
    mixer = linear(D, T, D // 2, G)
    cross = 2 * linear(G, D, D) + 2 * linear(N, D, D) + 2 * (2 * G * N * D) + linear(G, D, 4 * D, D)
    assign = 2 * linear(G, D, D) + 2 * linear(N, D, D) + 2 * (2 * G * N * D)
    return mixer + cross + assign + linear(G, D, 4 * D, D)


def paper_forward() -> int:
    """The forward pass of B images and B · (1 + K) texts of L tokens, by the sizes of the paper's model alone."""
    image, text = GROUPVIT_2STAGE.image, GROUPVIT_2STAGE.text
    D, N = image.width, image.grid_size ** 2
    (T1, T2, _), (G1, G2, _), (d1, d2, d3) = image.num_group_tokens, image.num_output_groups, image.depths
    encoder = (linear(N, 3 * image.patch_size ** 2, D)
               + d1 * block(N + T1, D) + grouping(N, T1, G1, D)
               + linear(D, T1, D // 2, T2)                              # group tokens of stage 1 for stage 2
               + d2 * block(G1 + T2, D) + grouping(G1, T2, G2, D) + d3 * block(G2, D))
    hidden, E = GROUPVIT_2STAGE.head_width, GROUPVIT_2STAGE.embed_dim
    texts = B * (1 + K)
    return (B * (encoder + linear(1, D, hidden, E))
            + texts * (text.depth * block(L, text.width) + linear(1, text.width, hidden, E)))


@pytest.fixture(scope="module")
def model() -> GroupViT:
    """The paper's model without memory: shapes are enough to count."""
    with torch.device("meta"):
        return GroupViT(GROUPVIT_2STAGE).train()


def test_a_training_step_computes_what_the_sizes_say_and_its_gradient_twice_as_much(model):
    images = torch.empty(B, 3, 224, 224, device="meta")
    ids = torch.zeros(B * (1 + K), L, dtype=torch.long, device="meta")

    def embeddings() -> torch.Tensor:
        output = model(images, ids)
        return output.image_embeddings.sum() + output.text_embeddings.sum()

    forward = flops(embeddings)
    assert forward == paper_forward()
    whole = flops(lambda: embeddings().backward())
    # Less than 3 times: pixels need no gradient.
    patches = B * linear(196, 3 * 16 ** 2, 384)
    assert whole <= 3 * forward - patches


def test_equal_texts_are_encoded_once_and_no_longer_than_need_be(make_model):
    model = make_model()
    prompts = [["a photo of a sun.", "a photo of a heart."], ["a photo of a sun.", "a photo of a brick."],
               ["a photo of a heart.", "a photo of a sun."]]
    batch = Batch(torch.zeros(3, 3, 16, 16), ["a sun above a heart and a brick", "a sun", "a sun"], prompts, [[]] * 3)
    rows, tokens = 0, 0

    def count(module, given) -> None:
        nonlocal rows, tokens
        rows, tokens = rows + len(given[0]), tokens + given[0].numel()

    hook = model.text_encoder.register_forward_pre_hook(count)
    ids, spread = pack_texts(model.tokenizer, batch)
    assert len(model.encode_text(ids, spread)) == 9
    hook.remove()
    longest = [max(len(model.tokenizer.tokens(text)) for text in texts) + 2
               for texts in (batch.captions, sum(prompts, []))]
    assert rows == 2 + 3 and tokens == 2 * longest[0] + 3 * longest[1]
