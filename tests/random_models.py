"""Models with random numbers in every parameter and buffer, ours and transformers', for tests that compare them."""

from __future__ import annotations

import re

import torch
from torch import Tensor, nn
from transformers import GroupViTConfig as TheirConfig, GroupViTModel as TheirModel

from minigroupvit.config import GroupViTConfig


def their_model(config: GroupViTConfig, end_id: int) -> TheirModel:
    image, text = config.image, config.text
    return TheirModel(TheirConfig(
        vision_config=dict(
            hidden_size=image.width, intermediate_size=4 * image.width, num_attention_heads=image.num_heads,
            image_size=image.image_size, patch_size=image.patch_size, num_hidden_layers=sum(image.depths),
            depths=image.depths, num_group_tokens=image.num_group_tokens,
            num_output_groups=image.num_output_groups),
        text_config=dict(
            vocab_size=text.vocab_size, hidden_size=text.width, intermediate_size=4 * text.width,
            num_hidden_layers=text.depth, num_attention_heads=text.num_heads,
            max_position_embeddings=text.context_length, pad_token_id=0, bos_token_id=1, eos_token_id=end_id),
        projection_dim=config.embed_dim, projection_intermediate_dim=config.head_width)).eval()


def draw_everything(model: nn.Module) -> None:
    """Random values in every parameter and buffer: zeros at the start would hide a wrong order.

    Weights outweigh biases, else every token of every picture would go to the same group.
    """
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if name.endswith("running_var"):
                value.uniform_(0.5, 2.0)
            elif name.endswith("num_batches_tracked"):
                value.random_(1, 1000)
            elif name.endswith("logit_scale"):
                value.uniform_(1.0, 3.0)          # transformers does not clamp at log 100
            elif re.search("token|position", name) and "norm" not in name:
                value.normal_()
            elif value.ndim >= 2:
                value.normal_(std=2 * value[0].numel() ** -0.5)
            elif name.endswith("weight"):
                value.normal_(mean=1.0, std=0.3)
            elif value.is_floating_point():
                value.normal_(std=0.2)


def random_texts(lengths: tuple[int, ...], end_id: int) -> Tensor:
    """Token ids (M, L) that end with `end_id`, padded with zeros."""
    ids = torch.zeros(len(lengths), max(lengths), dtype=torch.long)
    for row, length in zip(ids, lengths):
        row[:length] = torch.randint(2, end_id, (length,))
        row[length - 1] = end_id
    return ids
