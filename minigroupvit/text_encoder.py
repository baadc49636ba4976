"""The text encoder: CLIP's causal Transformer, as the paper uses it (Section 3.2).

Causal: a token attends to itself and to those before it, so the padding behind the end-of-text token
changes nothing, and a batch may be truncated to its longest text. The feature is read at the
end-of-text token, which has the largest id of the vocabulary.

B texts  L tokens  D width
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .config import TextConfig
from .layers import Block, QuickGELU


class TextEncoder(nn.Module):
    """Token ids (B, L), L at most `context_length`, to features (B, D). Raises ValueError for longer texts."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.config = config
        self.token_embedding = nn.Embedding(config.vocab_size, config.width)
        self.positions = nn.Parameter(torch.empty(config.context_length, config.width))
        self.layers = nn.ModuleList(
            Block(config.width, config.num_heads, activation=QuickGELU()) for _ in range(config.depth))
        self.final_norm = nn.LayerNorm(config.width)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initial values of CLIP: deeper towers start with smaller steps."""
        width, depth = self.config.width, self.config.depth
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        nn.init.normal_(self.positions, std=0.01)
        residual_std = width ** -0.5 * (2 * depth) ** -0.5
        for block in self.layers:
            nn.init.normal_(block.attn.qkv.weight, std=width ** -0.5)
            nn.init.normal_(block.attn.proj.weight, std=residual_std)
            nn.init.normal_(block.mlp.fc1.weight, std=(2 * width) ** -0.5)
            nn.init.normal_(block.mlp.fc2.weight, std=residual_std)
            nn.init.zeros_(block.attn.qkv.bias)
            nn.init.zeros_(block.attn.proj.bias)

    def forward(self, ids: Tensor) -> Tensor:
        B, L = ids.shape
        if L > self.config.context_length:
            raise ValueError(
                f"texts have {L} tokens, the encoder takes at most {self.config.context_length}; "
                "let its tokenizer truncate them")
        x = self.token_embedding(ids) + self.positions[:L]                # (B, L, D)
        causal = torch.full((L, L), float("-inf"), device=ids.device).triu(1)
        for block in self.layers:
            x = block(x, causal)
        ends = ids.argmax(dim=-1)                                         # (B,)
        return self.final_norm(x[torch.arange(B, device=ids.device), ends])
