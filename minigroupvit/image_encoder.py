"""The image encoder: patches, group tokens, stages of Transformer blocks that end in a grouping.

Section 3.1 of the paper. Group tokens are appended after the image tokens, run through the
blocks with them, and are split off again for the grouping block.

B batch  N tokens  T group tokens  G groups  D width  h, w patch grid  H, W image

Differences to the released code: the patch grid is carried along with the tokens instead of
being guessed from their number; any size that is a multiple of the patch works in training too.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import ImageConfig
from .grouping import Grouping, GroupingBlock, TokenMixer
from .layers import Block


def sincos_positions(grid: tuple[int, int], width: int) -> Tensor:
    """Fixed positions, (1, h·w, D): a quarter of the channels each for sin x, cos x, sin y, cos y."""
    frequencies = 10000.0 ** (-torch.arange(width // 4, dtype=torch.float64) / (width // 4))
    y, x = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in grid), indexing="ij")
    angles = [axis.reshape(-1, 1) * frequencies for axis in (x, y)]   # (h·w, D / 4) each
    table = torch.cat([f(a) for a in angles for f in (torch.sin, torch.cos)], dim=1)
    return table[None].to(torch.get_default_dtype())


def resize_positions(positions: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """Bicubic resize of a position table (1, h·w, D) from one patch grid to another."""
    if old == new:
        return positions
    table = positions.reshape(1, *old, -1).permute(0, 3, 1, 2)        # (1, D, h, w)
    table = F.interpolate(table, size=new, mode="bicubic", align_corners=False)
    return table.flatten(2).transpose(1, 2)                           # (1, h'·w', D)


class ResidualConvolution(nn.Module):
    """x + ReLU(BatchNorm(3 × 3 convolution of x)): (B, D, h, w) to the same shape. Each token sees its neighbours."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1, padding_mode="replicate", bias=False)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.relu(self.norm(self.conv(x)))


class ConvolutionStem(nn.Module):
    """4 × 4 convolutions of stride 2 that halve the image until one cell is one patch.

    `depth` residual 3 × 3 convolutions follow, each of which lets a token see one patch further on every side.

    A patch of 8 pixels by itself is little more than a colour; here each token has seen its surroundings,
    22 pixels wide. The even kernel keeps the middle of what a token sees in the middle of its
    patch: with a 3 × 3 kernel it would sit at the corner, and masks would be shifted by half a
    patch. Edges are repeated outwards: zeros would mark the border, and groups quickly learn to
    partition an image into border and middle, which resembles background and object but ignores the content.
    """

    def __init__(self, width: int, patch_size: int, depth: int = 0) -> None:
        super().__init__()
        halvings = patch_size.bit_length() - 1                        # patch_size = 2 ** halvings
        self.margin = patch_size - 1                                  # what the kernels reach beyond the edge
        widths = [max(16, width >> (halvings - 1 - i)) for i in range(halvings)]
        layers: list[nn.Module] = []
        for channels, out in zip([3, *widths], widths):
            layers += [nn.Conv2d(channels, out, 4, stride=2, bias=False), nn.BatchNorm2d(out), nn.ReLU()]
        layers += [ResidualConvolution(width) for _ in range(depth)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(widths[-1], width, 1))

    def forward(self, images: Tensor) -> Tensor:
        images = F.pad(images, (self.margin,) * 4, mode="replicate")
        # Channels last is how CPUs and GPUs convolve fastest.
        return self.layers(images.contiguous(memory_format=torch.channels_last))   # (B, D, h, w)


class PatchEmbedding(nn.Module):
    """Images (B, 3, H, W) to patch tokens (B, h·w, D), row by row, and the grid (h, w).

    No class token. Positions are resized for other sizes and aspect ratios.

    `overlap` k > 1 takes a patch at every k-th part of a patch instead of side by side, so the
    grid is k times finer and the edges of masks are more exact; the model is as trained. For evaluation.
    Raises ValueError for sides that are no multiple of the patch size.
    """

    def __init__(self, config: ImageConfig) -> None:
        super().__init__()
        self.patch_size = config.patch_size
        self.grid = (config.grid_size, config.grid_size)              # the one trained on
        if config.stem == "linear":
            self.proj = nn.Conv2d(3, config.width, config.patch_size, stride=config.patch_size)
        else:
            self.proj = ConvolutionStem(config.width, config.patch_size, config.stem_depth)
        self.norm = nn.LayerNorm(config.width)
        if config.positions == "learned":
            self.positions = nn.Parameter(torch.zeros(1, self.grid[0] * self.grid[1], config.width))
        elif config.positions == "sincos":
            self.register_buffer("positions", sincos_positions(self.grid, config.width), persistent=False)
        else:
            self.positions = None

    def forward(self, images: Tensor, overlap: int = 1) -> tuple[Tensor, tuple[int, int]]:
        if images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"expected images of shape (B, 3, H, W), got {tuple(images.shape)}")
        H, W = images.shape[-2:]
        p = self.patch_size
        if H % p or W % p or not H or not W:
            raise ValueError(
                f"image is {H}x{W}, not a multiple of the patch size {p}; "
                f"resize it to {max(p, H // p * p)}x{max(p, W // p * p)}")
        patches = self.proj(images) if overlap == 1 else self._overlapping(images, overlap)
        grid = tuple(patches.shape[-2:])
        tokens = patches.flatten(2).transpose(1, 2)                   # (B, h·w, D)
        tokens = self.norm(tokens)
        if self.positions is not None:
            tokens = tokens + resize_positions(self.positions, self.grid, grid)
        return tokens, grid

    def _overlapping(self, images: Tensor, k: int) -> Tensor:
        """Patches of k × k shifted copies of the images, interleaved into one grid (B, D, k·h, k·w)."""
        p = self.patch_size
        if p % (2 * k):
            raise ValueError(f"overlap {k} shifts a patch of {p} by parts of a pixel; take 1 or 2 (patches of 4), 4")
        H, W = images.shape[-2:]
        padded = F.pad(images, (p // 2,) * 4, mode="replicate")
        # Copy i is shifted so that the middles of all patches lie evenly over the image.
        shifts = [p // 2 + p * (2 * i + 1 - k) // (2 * k) for i in range(k)]
        copies = torch.stack([self.proj(padded[..., y:y + H, x:x + W])
                              for y in shifts for x in shifts], dim=-1)   # (B, D, h, w, k·k)
        return F.pixel_shuffle(copies.permute(0, 1, 4, 2, 3).flatten(1, 2), k)


@dataclass
class StageOutput:
    """The results of one stage. The grouping is None where the stage does not group."""

    tokens: Tensor                 # (B, G, D) segments, or (B, N, D) tokens if it does not group
    group_tokens: Tensor | None    # (B, T, D) as they left the blocks
    grouping: Grouping | None      # assignments (B, G, N) of this stage's N input tokens
    merged: Tensor | None = None   # (B, N, D) the tokens whose values were merged
    patches: Tensor | None = None  # (B, G) how many patches each segment holds; with merge_weights="patches"


@dataclass
class ImageOutput:
    """The results of the image encoder for a batch of images."""

    feature: Tensor                # (B, D) mean of the segment tokens (merge_weights="patches": of those not empty)
    segment_tokens: Tensor         # (B, G, D) after the last norm; patches if nothing groups
    stages: list[StageOutput]
    grid: tuple[int, int]          # patch rows and columns

    @property
    def groupings(self) -> list[Grouping]:
        """The assignments of the stages that group, first to last."""
        return [stage.grouping for stage in self.stages if stage.grouping is not None]


class Stage(nn.Module):
    """Transformer blocks over image and group tokens together, then a grouping block."""

    def __init__(self, config: ImageConfig, index: int, drop_paths: list[float]) -> None:
        super().__init__()
        num_tokens = config.num_group_tokens[index]
        self.num_group_tokens = num_tokens
        self.merged_values = config.merged_values
        self.merge_weights = config.merge_weights
        self.layers = nn.ModuleList(
            Block(config.width, config.num_heads, rate) for rate in drop_paths)
        self.group_projector: nn.Module | None = None
        self.grouping: GroupingBlock | None = None
        if num_tokens:
            self.group_tokens = nn.Parameter(torch.zeros(1, num_tokens, config.width))
            self.grouping = GroupingBlock(
                config.width, config.num_heads, num_tokens, config.num_output_groups[index],
                assignment=config.assignment, noise=config.gumbel_noise,
                temperature=config.temperature, residual=config.residual,
                straight_through=config.straight_through)
            if index > 0:  # a later stage receives the projected group tokens of the previous one
                self.group_projector = nn.Sequential(
                    nn.LayerNorm(config.width),
                    TokenMixer(config.num_group_tokens[index - 1], num_tokens, config.width))

    def forward(self, x: Tensor, previous: Tensor | None, patches: Tensor | None = None) -> StageOutput:
        """x (B, N, D); of the stage before, if there is one: previous (B, T', D), its group tokens, and
        patches (B, N), how many its segments hold."""
        before, N = x, x.shape[1]
        if self.num_group_tokens:
            group_tokens = self.group_tokens.expand(x.shape[0], -1, -1)   # (B, T, D)
            if self.group_projector is not None:
                group_tokens = group_tokens + self.group_projector(previous)
            x = torch.cat([x, group_tokens], dim=1)                       # (B, N + T, D)
        for block in self.layers:
            x = block(x)
        if self.grouping is None:
            return StageOutput(tokens=x, group_tokens=None, grouping=None, patches=patches)
        x, group_tokens = x[:, :N], x[:, N:]
        merged = before if self.merged_values == "before" else x
        if self.merge_weights == "tokens":
            segments, grouping = self.grouping(x, group_tokens, merged)   # (B, G, D)
            return StageOutput(segments, group_tokens, grouping, merged)
        segments, grouping = self.grouping(x, group_tokens, merged, weights=patches)
        shares = grouping.soft if self.grouping.assignment == "soft" else grouping.hard
        held = shares.sum(dim=2) if patches is None else (shares @ patches[:, :, None].to(shares.dtype)).squeeze(2)
        return StageOutput(segments, group_tokens, grouping, merged, held)


class ImageEncoder(nn.Module):
    """Images (B, 3, H, W), normalised, to an `ImageOutput`."""

    def __init__(self, config: ImageConfig) -> None:
        super().__init__()
        self.config = config
        self.patch_embed = PatchEmbedding(config)
        # Drop-path rises linearly over the blocks of all stages.
        rates = torch.linspace(0, config.drop_path, sum(config.depths), device="cpu").split(config.depths)
        self.stages = nn.ModuleList(Stage(config, i, own.tolist()) for i, own in enumerate(rates))
        self.norm = nn.LayerNorm(config.width)
        self.apply(_init)
        if config.blocks_std != 0.02:
            for stage in self.stages:
                stage.layers.apply(partial(_init, std=config.blocks_std))
        if config.positions == "learned":
            nn.init.trunc_normal_(self.patch_embed.positions, std=0.02)
        if config.num_group_tokens[0]:
            nn.init.trunc_normal_(self.stages[0].group_tokens, std=0.02)
        if config.later_tokens_std:  # else later stages start from zero plus the projection
            for stage in self.stages[1:]:
                if stage.grouping is not None:
                    nn.init.trunc_normal_(stage.group_tokens, std=config.later_tokens_std)

    def forward(self, images: Tensor, overlap: int = 1) -> ImageOutput:
        x, grid = self.patch_embed(images, overlap)                            # (B, N, D)
        group_tokens = patches = None
        outputs: list[StageOutput] = []
        for stage in self.stages:
            out = stage(x, group_tokens, patches)
            x, group_tokens, patches = out.tokens, out.group_tokens, out.patches
            outputs.append(out)
        segment_tokens = self.norm(x)                                     # (B, G, D)
        feature = segment_tokens.mean(dim=1)                              # (B, D)
        if patches is not None:
            counts = patches.clamp(max=1).to(segment_tokens.dtype)        # an empty segment does not count here either
            feature = (counts[..., None] * segment_tokens).sum(dim=1) / counts.sum(dim=1, keepdim=True)
        return ImageOutput(feature, segment_tokens, outputs, grid)


def _init(module: nn.Module, std: float = 0.02) -> None:
    """Truncated normal for linear weights, zero for their biases; std 0.02 as in ViT."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=std)
        nn.init.zeros_(module.bias)
