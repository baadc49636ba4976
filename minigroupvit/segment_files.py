"""Segments image files of any size and writes the results to files.

`segment_pictures` writes three files for each image, here `cat.jpg`:

    cat.overlay.png   the image, its named masks, a legend
    cat.mask.png      an index mask of the image's size: 0 is background, 1, 2, ... are the classes in their order; its
                      palette has their colours. 255 ("ignored" in data sets) is never written.
    cat.json          the share of each class and, if asked for, the instances in COCO's format

Overlay and mask have the orientation of the image after its EXIF rotation.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colors
from PIL import Image
from torch import Tensor

from .files import write_atomically, write_json
from .images import PICTURE_ENDINGS, load_image, pictures_below, to_rgb
from .model import GroupViT
from .segmentation.instances import coco_result, find_instances
from .segmentation.options import BACKGROUND, IGNORED, InferenceOptions, protocol_for
from .segmentation.segment import Segmentation, segment
from .segmentation.steps import embed_classes
from .visual.palette import NO_CLASS, class_colours
from .visual.plots import save_overlay


def list_pictures(folder: str | Path) -> list[Path]:
    """The image files of a folder by name; a warning counts those in its subfolders. Raises ValueError if there is none.
    """
    pictures = sorted(path for path in Path(folder).iterdir() if path.suffix.lower() in PICTURE_ENDINGS
                      and path.is_file() and not path.name.startswith("."))
    if not pictures:
        raise ValueError(f"{folder} has no images: expected files that end in {', '.join(sorted(PICTURE_ENDINGS))}")
    below = [path for path in pictures_below(folder) if Path(path).parent != Path(folder)]
    if below:
        warnings.warn(f"{len(below):,} images in subfolders of {folder} are left out, such as {below[0]}; give the "
                      "subfolders too", stacklevel=2)
    return pictures


def segment_picture(model: GroupViT, picture: str | Path | Image.Image, class_names: Sequence[str],
                    protocol: InferenceOptions | None = None, class_embeddings: Tensor | None = None,
                    **choices: Any) -> tuple[Image.Image, Segmentation]:
    """Segments one image. Returns it upright and in RGB, and its masks (`segment`) of the same size.

    Args:
        model: any GroupViT.
        picture: a file, or an image of Pillow.
        class_names: any words, each once.
        protocol: see `protocol_for`.
        class_embeddings: from `embed_classes`, for many images with the same classes.
        choices: single fields of the protocol to change.

    Raises ValueError for an image or class names that cannot be used.
    """
    picture = to_rgb(picture) if isinstance(picture, Image.Image) else load_image(picture)
    return picture, segment(model, picture, class_names, protocol, class_embeddings=class_embeddings, **choices)


def index_mask(labels: np.ndarray, class_names: Sequence[str]) -> Image.Image:
    """Labels (H, W), `BACKGROUND` or a class, as a palette image: background is 0, class c is c + 1."""
    mask = Image.fromarray((labels - BACKGROUND).astype(np.uint8))
    colours = np.ones((256, 3))
    colours[:len(class_names) + 1] = [colors.to_rgb(NO_CLASS), *class_colours(class_names)]
    mask.putpalette((255 * colours).round().astype(np.uint8).tobytes())
    return mask


def class_shares(labels: np.ndarray, class_names: Sequence[str]) -> dict[str, Any]:
    """Size of labels (H, W), and the index, name and share of each class, background first; shares from 0 to 1."""
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
        model: any GroupViT; the class names are embedded once.
        pictures: files. One that cannot be read is skipped.
        class_names: any words, each once; at most 254, the values of an index mask.
        out: the folder, made if need be. Files take the names of their images; if two images differ only in
            the extension, all files keep it.
        protocol: see `protocol_for`.
        smallest: smallest area of an instance as a share of the image; None: no instances.
        about: more fields for each JSON.
        say: called with each report.

    Returns the contents of the JSON files, in order; for an image that was skipped `file` and `problem`.
    Raises ValueError for class names that cannot be used, images of one name, or results that would replace an image.
    """
    if len(class_names) > IGNORED - 1:
        raise ValueError(f"got {len(class_names)} class names; an index mask has values for {IGNORED - 1}, since 0 is "
                         f"background and {IGNORED} ignored")
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
        write_json(out / f"{name}.json", report)
        reports.append(report)
        say(report)
    return reports


def _result_names(pictures: Sequence[Path]) -> list[str]:
    """The names of the results of each image: no two are equal, in upper or lower case."""
    names = [path.stem for path in pictures]
    if len({name.casefold() for name in names}) < len(names):
        names = [path.name for path in pictures]
    twice = sorted(name for name in set(names) if names.count(name) > 1)
    if twice:
        raise ValueError(f"several images are called {twice[0]}, so their results would have one name; write them into "
                         "different folders")
    return names
