"""GroupViT: the two encoders, the heads into the space they share, and the two temperatures.

B images  M texts  G segments  D width  C shared channels
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import GroupViTConfig
from .hub_model import HubModel
from .image_encoder import ImageEncoder, ImageOutput
from .layers import at_least_single
from .text.clip_tokenizer import ClipTokenizer
from .text.tokenizer import Tokenizer
from .text_encoder import TextEncoder

MAX_LOGIT_SCALE = 100.0  # the cosines are never multiplied by more than this (CLIP)


class Head(nn.Module):
    """Projects (..., D) into the shared space (..., C).

    "mlp", as released: linear, BatchNorm over all vectors of the batch, ReLU, linear.
    "linear": one matrix. Then the mean of projected segments is the projected mean.
    "normed": BatchNorm, then one matrix. Texts of one language start out alike (cosines of 0.8 between the
    classes of the scenes); around their mean they differ.
    """

    def __init__(self, width: int, embed_dim: int, kind: str, hidden: int) -> None:
        super().__init__()
        if kind == "mlp":
            self.layers = nn.Sequential(
                nn.Linear(width, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, embed_dim))
        else:
            norm = [nn.BatchNorm1d(width)] if kind == "normed" else []
            self.layers = nn.Sequential(*norm, nn.Linear(width, embed_dim))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x.flatten(0, -2)).unflatten(0, x.shape[:-1])


@dataclass
class GroupViTOutput:
    """Everything `GroupViT.forward` knows about images and their texts."""

    image_embeddings: Tensor   # (B, C), length 1
    text_embeddings: Tensor    # (M, C), length 1
    image: ImageOutput         # segment tokens, and the assignments of each stage


class GroupViT(nn.Module, HubModel):
    """Images and texts into one space. See `encode_image`, `encode_text`, `embed_segments`.

    `HubModel` gives it `save_pretrained`, `from_pretrained` and `push_to_hub`.

    Temperatures are parameters that hold the log of their inverse: `logit_scale` for the
    image-text loss and for masks, `multi_label_logit_scale` for the multi-label loss.
    """

    def __init__(self, config: GroupViTConfig, tokenizer: Tokenizer | None = None) -> None:
        """`tokenizer`: CLIP's unless the configuration asks for one trained on captions."""
        super().__init__()
        if tokenizer is None and config.tokenizer == "captions":
            raise ValueError(
                "this configuration has a vocabulary of its own; give the tokenizer as well: "
                "GroupViT(config, CaptionTokenizer.train(captions))")
        self.tokenizer = tokenizer or ClipTokenizer(config.text.context_length)
        if self.tokenizer.vocab_size > config.text.vocab_size:
            raise ValueError(
                f"the tokenizer has {self.tokenizer.vocab_size} tokens, the text encoder was configured "
                f"for {config.text.vocab_size}; set text.vocab_size to the tokenizer's")
        if self.tokenizer.context_length != config.text.context_length:
            raise ValueError(
                f"the tokenizer makes texts of up to {self.tokenizer.context_length} tokens, the text encoder reads up "
                f"to {config.text.context_length}; make the tokenizer with context_length={config.text.context_length}")
        if self.tokenizer.end_id != self.tokenizer.vocab_size - 1:
            raise ValueError(
                f"the tokenizer ends texts with token {self.tokenizer.end_id}; the text encoder reads a text at its "
                f"largest id, so the end token must be the last of the {self.tokenizer.vocab_size}")
        self.config = config
        self.protocol = None  # how its masks are made unless told otherwise: segmentation.options.InferenceOptions
        self.image_encoder = ImageEncoder(config.image)
        self.text_encoder = TextEncoder(config.text)
        self.image_head = Head(config.image.width, config.embed_dim, config.head, config.head_width)
        self.text_head = Head(config.text.width, config.embed_dim, config.text_head or config.head, config.head_width)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        self.multi_label_logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    @property
    def device(self) -> torch.device:
        return self.logit_scale.device

    def encode_image(self, images: Tensor, overlap: int = 1) -> tuple[Tensor, ImageOutput]:
        """Images (B, 3, H, W) to unit vectors (B, C), and the results of the encoder.

        `overlap`: see `PatchEmbedding`; for evaluation.
        """
        output = self.image_encoder(images, overlap)
        return unit(self.image_head(output.feature)), output

    def encode_text(self, ids: Tensor | list[Tensor], spread: Tensor | None = None) -> Tensor:
        """Token ids (M, L), or several such tensors of different L, to unit vectors (M, C).

        `spread` (M',) repeats texts that were encoded once: its entries say which of the M
        each of the M' texts is. They are spread out before the head, since its BatchNorm
        must count every text as often as it occurs.
        """
        parts = [ids] if isinstance(ids, Tensor) else ids
        features = torch.cat([self.text_encoder(part) for part in parts])  # (M, D)
        if spread is not None:
            features = features[spread]                                   # (M', D)
        return unit(self.text_head(features))

    def embed_segments(self, output: ImageOutput, stage: int | None = None) -> Tensor:
        """The final segments as unit vectors (B, G, C), or those that left the grouping of one stage.

        For evaluation: in training it would update the BatchNorm of the head a second time.
        """
        if stage is None:
            return unit(self.image_head(output.segment_tokens))
        return unit(self.image_head(self.image_encoder.norm(output.stages[stage].tokens)))

    def embed_patches(self, output: ImageOutput) -> Tensor:
        """The patches as unit vectors (B, N, C), each as if it were a segment of its own.

        Raises ValueError for a model without groups.
        """
        first = self.image_encoder.stages[0].grouping
        if first is None:
            raise ValueError("this model does not group; its patches are the segments: embed_segments(output)")
        return unit(self.image_head(self.image_encoder.norm(first.ungrouped(output.stages[0].merged))))

    def forward(self, images: Tensor, ids: Tensor | list[Tensor], spread: Tensor | None = None) -> GroupViTOutput:
        image_embeddings, output = self.encode_image(images)
        return GroupViTOutput(image_embeddings, self.encode_text(ids, spread), output)

    def set_assignment(self, assignment: str, temperature: float) -> None:
        """Changes how all stages assign, in the model and in its configuration.

        For training that goes slowly from soft to hard; a checkpoint then says how it was at its time.
        """
        image = replace(self.config.image, assignment=assignment, temperature=temperature)
        self.config = replace(self.config, image=image)
        for stage in self.image_encoder.stages:
            if stage.grouping is not None:
                stage.grouping.assignment, stage.grouping.temperature = assignment, temperature

    def scale(self, multi_label: bool = False) -> Tensor:
        """The inverse temperature, at most 100."""
        log = self.multi_label_logit_scale if multi_label else self.logit_scale
        return log.exp().clamp(max=MAX_LOGIT_SCALE)


def unit(x: Tensor) -> Tensor:
    """Vectors of length 1, in full precision."""
    return F.normalize(at_least_single(x), dim=-1)
