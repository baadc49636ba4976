"""One's own pictures: segmented whatever their size, and what was found as files.

`segment_pictures` writes three files for each picture, here `cat.jpg`:

    cat.overlay.png   the picture, its named masks, a legend
    cat.mask.png      an index mask as large as the picture: 0 is background, 1, 2, ... are the words in
                      their order; its palette has their colours. 255 means "not judged" in data sets and
                      is never written: every pixel has an answer.
    cat.json          the share of each word and, if asked for, the instances as COCO writes them

Overlay and mask of a picture lie on it as one sees it: turned upright by its EXIF data.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.colors import to_rgb
from PIL import Image
from torch import Tensor

from .formats import write_atomically
from .images import PICTURE_ENDINGS, load_image, pictures_below
from .instances import coco_result, enlarge, find_instances
from .model import GroupViT
from .protocol import Protocol
from .segmentation import Segmentation, embed_classes, segment
from .visual.palette import NO_CLASS, class_colours
from .visual.plots import save_overlay

BACKGROUND, IGNORED = 0, 255   # of index masks; the first class is 1

# Masks are cut at the picture's size, and the scores of all words take their memory then. What goes
# beyond a good screen adds nothing: even at 448 pixels a patch is a 28th of the shorter side.
_MOST_PIXELS = 500_000
_LONGEST = 8   # times the shorter side: more of a strip's length than this is squeezed before the model sees it


def list_pictures(folder: str | Path) -> list[Path]:
    """The picture files of a folder by name; a warning tells of those in folders in it.

    Raises ValueError if there is none.
    """
    pictures = sorted(path for path in Path(folder).iterdir() if path.suffix.lower() in PICTURE_ENDINGS
                      and path.is_file() and not path.name.startswith("."))
    if not pictures:
        raise ValueError(f"{folder} has no pictures: expected files that end in {', '.join(sorted(PICTURE_ENDINGS))}")
    below = [path for path in pictures_below(folder) if Path(path).parent != Path(folder)]
    if below:
        warnings.warn(f"{len(below):,} pictures in folders of {folder} are left out, such as {below[0]}; give those "
                      "folders by themselves", stacklevel=2)
    return pictures


def protocol_for(model: GroupViT, protocol: Protocol | None = None) -> Protocol:
    """The choices for pictures of any size: a model has seen things at one size, and looks at all at that size.

    `protocol`: None: the one that the model was saved with. Where it names no `short_side`, that
    becomes the side of the model's training pictures.
    """
    protocol = protocol or model.protocol or Protocol()
    short = protocol.short_side or model.config.image.image_size
    return replace(protocol, short_side=short, long_side=protocol.long_side or _LONGEST * short)


def segment_picture(model: GroupViT, picture: Image.Image, class_names: Sequence[str],
                    protocol: Protocol | None = None, class_embeddings: Tensor | None = None
                    ) -> tuple[Image.Image, Segmentation]:
    """Names the pixels of one picture of any size. Returns the picture as it was cut, and its masks.

    A picture of more than half a million pixels is cut at that size, since the masks of many words
    take much memory. `instances.enlarge` brings labels back to the picture's own size.

    Args:
        model: any GroupViT.
        picture: upright RGB, as `images.load_image` gives it.
        class_names: any words, each once.
        protocol: see `protocol_for`.
        class_embeddings: from `embed_classes`, where many pictures share their words.
    """
    factor = (_MOST_PIXELS / (picture.width * picture.height)) ** 0.5
    if factor < 1:
        size = tuple(max(1, round(side * factor)) for side in picture.size)
        picture = picture.resize(size, Image.Resampling.BOX, reducing_gap=2)
    return picture, segment(model, picture, class_names, protocol_for(model, protocol),
                            class_embeddings=class_embeddings)


def index_mask(labels: np.ndarray, class_names: Sequence[str]) -> Image.Image:
    """Labels (H, W), -1 for background, as a palette picture: 0 background, class c is c + 1."""
    mask = Image.fromarray((labels + 1).astype(np.uint8))
    colours = np.ones((256, 3))
    colours[:len(class_names) + 1] = [to_rgb(NO_CLASS), *class_colours(class_names)]
    mask.putpalette((255 * colours).round().astype(np.uint8).tobytes())
    return mask


def class_shares(labels: np.ndarray, class_names: Sequence[str]) -> dict[str, Any]:
    """Size of labels (H, W), and the number, name and share of each class, background first; fractions of 1."""
    counts = np.bincount(labels.ravel() + 1, minlength=len(class_names) + 1) / labels.size
    return {"width": labels.shape[1], "height": labels.shape[0], "ignored_index": IGNORED,
            "classes": [{"index": index, "name": name, "share": float(share)}
                        for index, (name, share) in enumerate(zip(["background", *class_names], counts))]}


def segment_pictures(model: GroupViT, pictures: Sequence[str | Path], class_names: Sequence[str], out: str | Path,
                     protocol: Protocol | None = None, smallest: float | None = None,
                     about: dict[str, Any] | None = None,
                     say: Callable[[dict[str, Any]], None] = lambda report: None) -> list[dict[str, Any]]:
    """Segments picture files and writes overlay, mask and JSON of each into a folder.

    Args:
        model: any GroupViT; its words are embedded once.
        pictures: files. One that cannot be read is skipped.
        class_names: any words, each once; at most 254, as an index mask has no more numbers.
        out: the folder, made if need be. Files take the names of their pictures; if two differ only in
            their ending, all keep theirs too.
        protocol: see `protocol_for`.
        smallest: least area of an instance as a share of the picture; None: no instances.
        about: what else to write into each JSON.
        say: told each report as it comes.

    Returns what is in the JSON files, in order; for a picture that was skipped `file` and `problem`.
    Raises ValueError for words that cannot be used or pictures of one name.
    """
    if len(class_names) > IGNORED - 1:
        raise ValueError(f"got {len(class_names)} words; an index mask has numbers for {IGNORED - 1}, since 0 is "
                         f"background and {IGNORED} not judged")
    pictures, out = [Path(picture) for picture in pictures], Path(out)
    names = _result_names(pictures)
    protocol = protocol_for(model, protocol)
    embeddings = embed_classes(model, class_names, protocol.templates)
    reports = []
    for path, name in zip(pictures, names):
        try:
            picture = load_image(path)
        except ValueError as error:
            reports.append({"file": path.name, "problem": str(error)})
            say(reports[-1])
            continue
        cut, result = segment_picture(model, picture, class_names, protocol, embeddings)
        size = (picture.height, picture.width)
        labels = enlarge(result.labels[0].cpu().numpy(), size)
        report = {"file": path.name, **(about or {}), "protocol": asdict(protocol)} | class_shares(labels, class_names)
        if smallest is not None:
            report["instances"] = [{"name": class_names[i.label]} | coco_result(i, size) for i in
                                   find_instances(result.labels[0], result.scores[0], smallest)]
        save_overlay(cut, result, out / f"{name}.overlay.png")
        mask = index_mask(labels, class_names)
        write_atomically(out / f"{name}.mask.png", lambda part: mask.save(part, format="PNG"))
        text = json.dumps(report, indent=2, allow_nan=False) + "\n"
        write_atomically(out / f"{name}.json", lambda part: part.write_text(text, encoding="utf-8"))
        reports.append(report)
        say(report)
    return reports


def _result_names(pictures: Sequence[Path]) -> list[str]:
    """What the results of each picture are called: no two alike, capitals or not."""
    names = [path.stem for path in pictures]
    if len({name.casefold() for name in names}) < len(names):
        names = [path.name for path in pictures]
    twice = sorted(name for name in set(names) if names.count(name) > 1)
    if twice:
        raise ValueError(f"there are several pictures called {twice[0]}, and their results would be too; "
                         "write them into folders of their own")
    return names
