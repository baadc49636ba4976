"""One's own images: segmented whatever their size, and what was found as files.

`segment_pictures` writes three files for each image, here `cat.jpg`:

    cat.overlay.png   the image, its named masks, a legend
    cat.mask.png      an index mask as large as the image: 0 is background, 1, 2, ... are the words in
                      their order; its palette has their colours. 255 means "not judged" in data sets and
                      is never written: every pixel has an answer.
    cat.json          the share of each word and, if asked for, the instances as COCO writes them

Overlay and mask of an image lie on it as one sees it: turned upright by its EXIF data.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colors
from PIL import Image
from torch import Tensor

from .files import write_atomically
from .images import PICTURE_ENDINGS, load_image, pictures_below, to_rgb
from .model import GroupViT
from .segmentation.instances import coco_result, find_instances
from .segmentation.options import BACKGROUND, IGNORED, InferenceOptions, protocol_for
from .segmentation.segment import Segmentation, segment
from .segmentation.steps import embed_classes
from .visual.palette import NO_CLASS, class_colours
from .visual.plots import save_overlay


def list_pictures(folder: str | Path) -> list[Path]:
    """The image files of a folder by name; a warning tells of those in folders in it.

    Raises ValueError if there is none.
    """
    pictures = sorted(path for path in Path(folder).iterdir() if path.suffix.lower() in PICTURE_ENDINGS
                      and path.is_file() and not path.name.startswith("."))
    if not pictures:
        raise ValueError(f"{folder} has no images: expected files that end in {', '.join(sorted(PICTURE_ENDINGS))}")
    below = [path for path in pictures_below(folder) if Path(path).parent != Path(folder)]
    if below:
        warnings.warn(f"{len(below):,} images in folders of {folder} are left out, such as {below[0]}; give those "
                      "folders by themselves", stacklevel=2)
    return pictures


def segment_picture(model: GroupViT, picture: str | Path | Image.Image, class_names: Sequence[str],
                    protocol: InferenceOptions | None = None, class_embeddings: Tensor | None = None,
                    **choices: Any) -> tuple[Image.Image, Segmentation]:
    """Names the pixels of one image. Returns it upright and in RGB, and its masks (`segment`), of its own size.

    Args:
        model: any GroupViT.
        picture: a file, or an image of Pillow.
        class_names: any words, each once.
        protocol: see `protocol_for`.
        class_embeddings: from `embed_classes`, where many images share their words.
        choices: single fields of the protocol to change.

    Raises ValueError for an image or words that cannot be used.
    """
    picture = to_rgb(picture) if isinstance(picture, Image.Image) else load_image(picture)
    return picture, segment(model, picture, class_names, protocol, class_embeddings=class_embeddings, **choices)


def index_mask(labels: np.ndarray, class_names: Sequence[str]) -> Image.Image:
    """Labels (H, W), `BACKGROUND` or a class, as a palette image: 0 background, class c is c + 1."""
    mask = Image.fromarray((labels - BACKGROUND).astype(np.uint8))
    colours = np.ones((256, 3))
    colours[:len(class_names) + 1] = [colors.to_rgb(NO_CLASS), *class_colours(class_names)]
    mask.putpalette((255 * colours).round().astype(np.uint8).tobytes())
    return mask


def class_shares(labels: np.ndarray, class_names: Sequence[str]) -> dict[str, Any]:
    """Size of labels (H, W), and the number, name and share of each class, background first; fractions of 1."""
    counts = np.bincount(labels.ravel() - BACKGROUND, minlength=len(class_names) + 1) / labels.size
    return {"width": labels.shape[1], "height": labels.shape[0], "ignored_index": IGNORED,
            "classes": [{"index": index, "name": name, "share": float(share)}
                        for index, (name, share) in enumerate(zip(["background", *class_names], counts))]}


def segment_pictures(model: GroupViT, pictures: Sequence[str | Path], class_names: Sequence[str], out: str | Path,
                     protocol: InferenceOptions | None = None, smallest: float | None = None,
                     about: dict[str, Any] | None = None,
                     say: Callable[[dict[str, Any]], None] = lambda report: None) -> list[dict[str, Any]]:
    """Segments image files and writes overlay, mask and JSON of each into a folder.

    Args:
        model: any GroupViT; its words are embedded once.
        pictures: files. One that cannot be read is skipped.
        class_names: any words, each once; at most 254, as an index mask has no more numbers.
        out: the folder, made if need be. Files take the names of their images; if two differ only in
            their ending, all keep theirs too.
        protocol: see `protocol_for`.
        smallest: least area of an instance as a share of the image; None: no instances.
        about: what else to write into each JSON.
        say: told each report as it comes.

    Returns what is in the JSON files, in order; for an image that was skipped `file` and `problem`.
    Raises ValueError for words that cannot be used, images of one name, or results that would replace an image.
    """
    if len(class_names) > IGNORED - 1:
        raise ValueError(f"got {len(class_names)} words; an index mask has numbers for {IGNORED - 1}, since 0 is "
                         f"background and {IGNORED} not judged")
    pictures, out = [Path(picture) for picture in pictures], Path(out)
    names = _result_names(pictures)
    results = {(out / f"{name}.{kind}").resolve() for name in names for kind in ("overlay.png", "mask.png", "json")}
    for path in pictures:
        if path.resolve() in results:
            raise ValueError(f"the results would be written over the image {path}; give another folder than {out}")
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
        result = segment(model, picture, class_names, protocol, class_embeddings=embeddings)
        labels = result.labels[0].cpu().numpy()                           # (H, W)
        report = {"file": path.name, **(about or {}), "protocol": asdict(protocol)} | class_shares(labels, class_names)
        if smallest is not None:
            report["instances"] = [{"name": class_names[i.label]} | coco_result(i, labels.shape) for i in
                                   find_instances(result.labels[0], result.scores[0], smallest)]
        save_overlay(picture, result, out / f"{name}.overlay.png")
        mask = index_mask(labels, class_names)
        write_atomically(out / f"{name}.mask.png", lambda part: mask.save(part, format="PNG"))
        text = json.dumps(report, indent=2, allow_nan=False) + "\n"
        write_atomically(out / f"{name}.json", lambda part: part.write_text(text, encoding="utf-8"))
        reports.append(report)
        say(report)
    return reports


def _result_names(pictures: Sequence[Path]) -> list[str]:
    """What the results of each image are called: no two alike, capitals or not."""
    names = [path.stem for path in pictures]
    if len({name.casefold() for name in names}) < len(names):
        names = [path.name for path in pictures]
    twice = sorted(name for name in set(names) if names.count(name) > 1)
    if twice:
        raise ValueError(f"there are several images called {twice[0]}, and their results would be too; "
                         "write them into folders of their own")
    return names
