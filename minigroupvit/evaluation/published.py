"""What others have published for the same task, to stand beside one's own numbers: mIoU without a mask in training.

    published_table([OwnResult("mine", "6,091 photographs", 0.04, "441 images of VOC 2012")])       # Markdown

All numbers are mIoU in percent on VOC 2012, Pascal Context and COCO-Object, as the papers give them. Numbers of GroupViT
are those of version 2 of arXiv 2202.11094, the one of CVPR 2022; version 1 has lower ones (51.2 and 22.3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """A row of somebody's table."""

    model: str
    data: str                  # captioned images that it was trained on
    voc: float                 # mIoU in percent
    context: float | None      # None: not given
    coco: float | None
    source: str


@dataclass(frozen=True)
class OwnResult:
    """A result of this package on photographs."""

    model: str
    data: str
    miou: float                # a fraction, on images of VOC 2012
    measured_on: str           # which images, how many classes: a part of the benchmark is not the benchmark


_LARGE, _PAPER = "CC12M and YFCC, about 26 M", "GroupViT"
_SMALLER = "CC3M and COCO, 3.4 M"
PUBLISHED: tuple[Published, ...] = (
    Published("ViT without groups, class of each pixel's patch", _LARGE, 20.1, None, None, f"{_PAPER}, Table 4"),
    Published("ViT without groups, K-means of its patches", _LARGE, 25.0, None, None, f"{_PAPER}, Table 4"),
    Published("**GroupViT**, the released weights", _LARGE, 52.3, 22.4, 24.3, f"{_PAPER}, Tables 3, 5 and C3"),
    Published("the same groups with their true classes (oracle)", _LARGE, 73.7, 54.6, 54.0, f"{_PAPER}, Table C3"),
    Published("GroupViT on fewer images", _SMALLER, 28.1, 14.8, 12.9, "SegCLIP"),
    Published("SegCLIP, a later model", _SMALLER, 33.3, 19.1, 15.2, "SegCLIP"),
)


def published_table(own: Sequence[OwnResult] = ()) -> str:
    """The published numbers, then one's own, as a Markdown table."""
    lines = ["| mIoU in percent | captioned images | VOC 2012 | Context | COCO | source |", "|---|---|---|---|---|---|"]
    for row in PUBLISHED:
        values = ["–" if value is None else f"{value:.1f}" for value in (row.voc, row.context, row.coco)]
        lines.append(f"| {' | '.join([row.model, row.data, *values, row.source])} |")
    for row in own:
        lines.append(f"| {row.model} | {row.data} | {100 * row.miou:.1f} | – | – | {row.measured_on} |")
    return "\n".join(lines)
