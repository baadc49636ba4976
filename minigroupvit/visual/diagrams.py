"""Diagrams of GroupViT: the architecture, the grouping block, the two losses, the inference protocol.

Each function draws one and returns a figure, as wide as a notebook's text. As SVG, for slides:

    python scripts/make_diagrams.py [--out docs/diagrams]

Colours, in all four: blue for image tokens, orange for group tokens, pink for segments, green for texts.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from ..files import write_atomically
from .palette import GROUP_COLOURS
from .sketch import FAINT, GROUP, IMAGE, INK, SCORE, SEGMENT, TEXT, Page, tint, whole_colour


def architecture() -> Figure:
    """Both encoders of the paper's 2-stage model: where group tokens join, where they are projected, what is compared."""
    page = Page(9.5, 4.55)
    high, low = 3.55, 2.35                                             # the lanes of image tokens and of group tokens
    picture = page.picture(0.15, 3.1, 0.9, grid=4)
    page.text(0.6, 4.13, "image", 9, weight="bold")
    embedding = page.box(1.2, 3.1, 0.75, 0.9, "patch\nembedding", IMAGE, 8)
    page.arrow(picture.right, embedding.left)

    page.frame(2.2, 1.95, 2.6, 2.25, "stage 1")
    blocks = page.box(2.95, 2.1, 0.85, 1.9, "6 Trans-\nformer\nblocks", INK)
    grouping = page.box(4.05, 2.1, 0.65, 1.9, "group-\ning\nblock", GROUP, weight="bold")
    page.frame(5.36, 1.95, 2.44, 2.25, "stage 2")
    blocks2 = page.box(5.95, 2.1, 0.85, 1.9, "3 Trans-\nformer\nblocks", INK)
    grouping2 = page.box(7.05, 2.1, 0.65, 1.9, "group-\ning\nblock", GROUP, weight="bold")

    page.arrow(embedding.at_right(high), blocks.at_left(high), colour=IMAGE)
    page.text(2.57, high + 0.2, "N patch\ntokens", 7.5, IMAGE)
    own = page.tokens(2.3, low - 0.3, [GROUP] * 4, 0.13, 0.03, upright=True)
    page.text(2.36, low + 0.5, "64", 8, GROUP, weight="bold")
    page.arrow(own.at_right(low), blocks.at_left(low), colour=GROUP)
    page.text(2.69, low + 0.15, "join", 7.5, GROUP)
    for one, other in ((blocks, grouping), (blocks2, grouping2)):
        page.arrow(one.at_right(high), other.at_left(high), colour=IMAGE if one is blocks else SEGMENT)
        page.arrow(one.at_right(low), other.at_left(low), colour=GROUP)
    page.arrow(grouping.at_right(high), blocks2.at_left(high), colour=SEGMENT)
    page.text(5.07, high + 0.2, "64 seg-\nments", 7.5, SEGMENT)

    project = page.box(4.2, 1.2, 1.15, 0.5, "project: norm,\nMLP-Mixer 64 → 8", GROUP, 7.5)
    page.arrow((3.92, low), (3.92, 1.45), project.left, colour=GROUP)
    plus = page.plus(5.65, low)
    page.arrow(project.right, (5.65, 1.45), plus.bottom, colour=GROUP)
    own2 = page.tokens(5.44, 2.85, [GROUP] * 3, 0.13, 0.015)
    page.text(5.65, 3.13, "8", 8, GROUP, weight="bold")
    page.arrow(own2.bottom, plus.top, colour=GROUP)
    page.arrow(plus.right, blocks2.at_left(low), colour=GROUP)
    page.text(5.85, 1.45, "group tokens of stage 2:\nlearned ones + those of\nstage 1, projected", 7.5, GROUP, ha="left")

    last = page.box(8.0, 3.1, 0.72, 0.9, "3 blocks,\nnorm,\nmean", INK, 8)
    page.arrow(grouping2.at_right(high), last.at_left(high), colour=SEGMENT)
    page.text(8.36, 4.13, "of 8 segments", 7.5, SEGMENT)
    image_head = page.box(8.85, 3.1, 0.52, 0.9, "image\nhead\n(MLP)", SEGMENT, 8)
    page.arrow(last.right, image_head.left, colour=SEGMENT)

    caption = page.box(0.15, 0.2, 1.9, 0.55, "“a house and a tree on grass”", TEXT, 7.5)
    page.text(1.1, 0.9, "caption, or a prompted noun", 9, weight="bold")
    tokens = page.box(2.35, 0.2, 1.25, 0.55, "BPE tokens", TEXT)
    encoder = page.box(3.9, 0.2, 2.35, 0.55, "text Transformer, 12 blocks", INK)
    head = page.box(6.55, 0.2, 1.25, 0.55, "text head (MLP)", TEXT)
    for one, other in ((caption, tokens), (tokens, encoder), (encoder, head)):
        page.arrow(one.right, other.left, colour=TEXT)
    shared = page.box(8.15, 0.2, 1.2, 1.2, "shared\nspace:\ncosines,\nboth losses", SCORE, 8)
    page.arrow(head.right, shared.at_left(head.right[1]), colour=TEXT)
    page.arrow(image_head.bottom, (image_head.bottom[0], shared.top[1]), colour=SEGMENT)
    page.text(9.0, 2.2, "image\nembedding", 7.5, SEGMENT, ha="right")
    return page.figure


def grouping_block() -> Figure:
    """One grouping block with three groups and five tokens, step by step; the numbers are those of one example."""
    logits = np.array([[4.0, 3.2, 0.4, 0.2, 0.8], [0.2, 0.8, 3.8, 2.4, 0.2], [0.6, 0.4, 1.0, 1.8, 3.6]])   # (G, N)
    soft = np.exp(logits) / np.exp(logits).sum(axis=0)
    hard = (soft == soft.max(axis=0)).astype(float)
    colours = [GROUP_COLOURS[i] for i in (0, 1, 2)]
    page = Page(9.5, 5.2)

    page.text(1.0, 5.0, "G group tokens", 9, GROUP, weight="bold")
    groups = page.tokens(0.695, 4.64, colours)
    attention = page.box(0.15, 3.45, 1.7, 0.84, "norm, MLP-Mixer,\ncross-attention:\nlook at the tokens", GROUP, 8)
    page.arrow(groups.bottom, attention.top, colour=GROUP)
    query = page.box(2.2, 3.62, 0.6, 0.5, "$W_q$", GROUP, 10)
    page.arrow(attention.right, query.left, colour=GROUP)

    page.text(1.0, 0.42, "N tokens", 9, IMAGE, weight="bold")
    tokens = page.tokens(0.475, 0.62, [tint(IMAGE, 0.75)] * 5)
    norm = page.box(0.6, 1.4, 0.8, 0.45, "norm", IMAGE)
    page.arrow(tokens.top, norm.bottom, colour=IMAGE)
    page.arrow(norm.top, attention.bottom, colour=IMAGE)
    key = page.box(2.2, 2.6, 0.6, 0.5, "$W_k$", IMAGE, 10)
    value = page.box(2.2, 1.375, 0.6, 0.5, "$W_v$", IMAGE, 10)
    page.arrow(norm.right, value.left, colour=IMAGE)
    page.arrow((1.8, norm.right[1]), (1.8, key.left[1]), key.left, colour=IMAGE)

    steps = ((3.2, logits, 4, ".1f", "1  similarity", "one row a group, one column\na token: $q^T k\\,/\\sqrt{D}$"),
             (5.3, soft, 1, ".2f", "2  softmax over groups", "groups compete for each\ntoken: a column sums to 1"),
             (7.4, hard, 1, ".0f", "3  hard assignment", "each token to its largest\ngroup (soft: left out)"))
    similar, shares, winners = (
        page.matrix(x, 2.9, values / most, colours, 0.31, [[f"{v:{form}}" for v in row] for row in values])
        for x, values, most, form, _, _ in steps)
    for x, *_, title, text in steps:
        page.text(x + 0.775, 4.52, title, 9, weight="bold")
        page.text(x + 0.775, 4.17, text, 7.5)
    middle = similar.left[1]
    for one, y, colour in ((query, middle + 0.1, GROUP), (key, middle - 0.1, IMAGE)):
        page.arrow(one.right, (3.0, one.right[1]), (3.0, y), (3.2, y), colour=colour)
    page.arrow(similar.right, shares.left)
    page.text(5.02, middle + 0.27, "training:\n+ Gumbel\nnoise", 6.5)
    page.arrow(shares.right, winners.left)
    page.arrow(winners.bottom, (winners.bottom[0], 2.6), (shares.bottom[0], 2.6), shares.bottom, colour=SCORE, dashed=True)
    page.text(7.1, 2.44, "backward: the gradient of the softmax (straight-through)", 7.5, SCORE)

    merge = page.box(3.6, 1.2, 1.75, 0.85, "4  merge", SEGMENT, 9, weight="bold",
                     below="mean of the values\nof each group’s tokens")
    page.arrow(value.right, merge.left, colour=IMAGE)
    page.arrow(winners.right, (9.2, middle), (9.2, 2.25), (merge.top[0], 2.25), merge.top)
    output = page.box(5.65, 1.375, 0.6, 0.5, "$W_o$", SEGMENT, 10)
    page.arrow(merge.right, output.left, colour=SEGMENT)
    plus = page.plus(6.65, 1.625)
    page.arrow(output.right, plus.left, colour=SEGMENT)
    page.arrow(attention.left, (0.07, attention.left[1]), (0.07, 0.2), (6.65, 0.2), plus.bottom, colour=GROUP)
    page.text(4.2, 0.34, "residual: the group tokens are added again (in the paper; a choice here)", 7.5, GROUP)
    mlp = page.box(7.1, 1.375, 0.95, 0.5, "+ MLP\n(norm)", SEGMENT, 8)
    page.arrow(plus.right, mlp.left, colour=SEGMENT)
    segments = page.tokens(8.5, 1.32, [tint(c, 0.75) for c in colours], upright=True)
    page.arrow(mlp.right, segments.at_left(1.625), colour=SEGMENT)
    page.text(8.58, 2.07, "G segments", 9, SEGMENT, weight="bold")
    return page.figure


_BATCH = (("house", "a house and a\ntree on grass", ("house", "tree")), ("boat", "a boat on\nthe water", ("boat", "water")),
          ("tree", "a tree\non the sand", ("tree", "sand")))


def two_losses() -> Figure:
    """Which images and texts of a batch of three belong together: with whole captions, and with prompted nouns."""
    page = Page(9.5, 4.75)
    cell = 0.6
    left = page.matrix(1.25, 1.25, np.eye(3) * 0.5, [SCORE] * 3, cell)
    right = page.matrix(5.3, 1.25, np.repeat(np.eye(3), 2, axis=1) * 0.5, [SCORE] * 3, cell)
    page.text(left.top[0], 4.58, "image-text loss", 10, weight="bold")
    page.text(left.top[0], 4.33, "an image finds its caption, a caption its image", 8)
    page.text(right.top[0], 4.58, "multi-label contrastive loss", 10, weight="bold")
    page.text(right.top[0], 4.33, "an image shares its target among its K prompted nouns (here K = 2)", 8)
    for i, (scene, caption, nouns) in enumerate(_BATCH):
        y = left.y + cell * (2.5 - i)
        for box in (left, right):
            page.picture(box.x - 0.6, y - 0.25, 0.5, scene)
            page.text(box.x - 0.78, y, f"$z_{i + 1}$", 9.5, SEGMENT)
        x = left.x + cell * (i + 0.5)
        page.text(x, left.top[1] + 0.15, f"$t_{i + 1}$", 9.5, TEXT)
        page.text(x - 0.06, left.top[1] + 0.28, caption, 7.5, TEXT, rotation=55, ha="left", va="bottom",
                  rotation_mode="anchor")
        page.text(x, y, "1", 9, weight="bold")
        for k, noun in enumerate(nouns):
            x = right.x + cell * (2 * i + k + 0.5)
            page.text(x - 0.06, right.top[1] + 0.1, f"a photo of\n{noun}", 7.5, TEXT, rotation=55, ha="left",
                      va="bottom", rotation_mode="anchor")
            page.text(x, y, "½", 9, weight="bold")
    for row, column in ((2, 1), (0, 4)):                               # the other image with a tree
        page.text(right.x + cell * (column + 0.5), right.y + cell * (2.5 - row), "true\ntoo", 7, FAINT)
    for box, scale in ((left, "e^s"), (right, "e^{s'}")):
        page.arrow((box.x, 1.05), (box.x + box.width, 1.05), colour=SEGMENT)
        page.text(box.top[0], 0.88, "softmax over a row: image to text", 7.5, SEGMENT)
        page.arrow((box.x + box.width + 0.2, box.y + box.height), (box.x + box.width + 0.2, box.y), colour=TEXT)
        page.text(box.x + box.width + 0.36, box.left[1], "over a column: text to image", 7.5, TEXT, rotation=90)
        page.text(box.top[0], 0.58, f"logits: cosines of $z$ and $t$, times ${scale}$ (learned, at most 100)", 8)
    page.text(4.75, 0.2, "Each loss: cross-entropy of the softmax and the targets, drawn for rows (a column has one "
                         "target, 1), mean of both directions.\n“tree” is true of two images: in the paper the other "
                         "image is a negative, with shared_nouns a positive.", 7.5)
    return page.figure


def inference() -> Figure:
    """From an image and class names to a mask: the five steps of the released protocol."""
    classes = ("sky", "grass", "house", "tree", "cat")
    scores = np.array([[0.94, 0.02, 0.01, 0.01, 0], [0.03, 0.91, 0.02, 0.02, 0],
                       [0.02, 0.03, 0.88, 0.02, 0], [0.01, 0.05, 0.03, 0.90, 0]])
    page = Page(9.5, 4.4)
    image = page.picture(0.15, 3.0, 1.0, grid=4)
    page.text(0.65, 4.15, "image", 9, weight="bold")
    encoder = page.box(1.5, 3.0, 1.0, 1.0, "image\nencoder", IMAGE)
    page.arrow(image.right, encoder.left)
    maps = page.box(3.0, 3.0, 1.9, 1.0, "1  group maps", GROUP, 9, weight="bold",
                    below="multiply soft assignments:\nstage 2 × stage 1, (G, h·w)")
    page.arrow(encoder.right, maps.left, colour=GROUP)
    pixels = page.box(5.4, 3.0, 1.35, 1.0, "2  pixel groups", GROUP, 9, weight="bold",
                      below="upsample, then\nthe largest group")
    page.arrow(maps.right, pixels.left, colour=GROUP)
    groups = page.picture(7.05, 3.0, 1.0, kind="wholes")
    page.text(7.55, 4.15, "groups", 9, weight="bold")
    page.arrow(pixels.right, groups.left, colour=GROUP)

    names = page.box(0.15, 0.55, 1.0, 1.0, "sky\ngrass\nhouse\ntree\ncat", TEXT, 8)
    page.text(0.65, 1.72, "class names", 9, weight="bold")
    texts = page.box(1.5, 0.55, 1.45, 1.0, "3  embed classes", TEXT, 9, weight="bold",
                     below="templates, text\nencoder, mean")
    page.arrow(names.right, texts.left, colour=TEXT)
    matrix = page.matrix(4.75, 0.43, scores, [whole_colour(i) for i in range(4)], 0.31,
                         [[f"{v:.2f}" if v else "0" for v in row] for row in scores], 6.5)
    page.arrow(texts.right, matrix.left, colour=TEXT)
    page.text(3.85, 0.78, "cosines, then softmax\nover the classes", 7.5, TEXT)
    for c, name in enumerate(classes):
        page.text(matrix.x + 0.31 * (c + 0.35), matrix.top[1] + 0.05, name, 7.5, TEXT, rotation=45, ha="left",
                  va="bottom", rotation_mode="anchor")
    page.text(5.55, 2.3, "4  score groups", 9, weight="bold")
    page.arrow((2.0, 3.0), (2.0, 2.1), (4.3, 2.1), (4.3, 1.3), (4.75, 1.3), colour=SEGMENT)
    page.text(3.15, 2.24, "segments, through the image head", 7.5, SEGMENT)
    page.text(5.6, 0.2, "a class far from the whole image (cat) is left out", 7.5)

    label = page.box(6.83, 0.55, 1.44, 1.0, "5  label pixels", SCORE, 9, weight="bold",
                     below="best class of its\ngroup; if below a\nthreshold: background")
    page.arrow(matrix.right, label.left, colour=SEGMENT)
    page.arrow(groups.bottom, label.top, colour=GROUP)
    mask = page.picture(8.4, 0.55, 1.0, kind="classes")
    page.arrow(label.right, mask.left, colour=SCORE)
    page.text(8.9, 1.72, "mask", 9, weight="bold")
    for name, x, y in (("sky", 0.16, 0.87), ("grass", 0.55, 0.1), ("house", 0.28, 0.4), ("tree", 0.74, 0.66)):
        page.text(8.4 + x, 0.55 + y, name, 7, weight="bold", path_effects=[withStroke(linewidth=2, foreground="white")])
    return page.figure


DIAGRAMS = {"architecture": architecture, "grouping_block": grouping_block, "two_losses": two_losses,
            "inference": inference}


def save(figure: Figure, path: str | Path) -> None:
    """Writes a diagram as SVG, the same bytes whenever it is drawn by the same matplotlib."""
    with matplotlib.rc_context({"svg.hashsalt": "minigroupvit"}):
        write_atomically(Path(path), lambda part: figure.savefig(part, format="svg", metadata={"Date": None}))
