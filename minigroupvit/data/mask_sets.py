"""Sets of photographs with true masks: the paper's three benchmarks, and any folder of one's own.

Every mask leaves here with the numbers that labels have: the index of its class in `class_names`, -1 for
background, and 255 (`IGNORED`) for pixels that are not judged. What the numbers in the files
mean is a table, so that other conventions are a matter of that table alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..extras import extra
from ..files import read_text
from ..images import load_image, pictures_below
from ..model import GroupViT
from ..segmentation.options import BACKGROUND, IGNORED, PROTOCOLS, InferenceOptions, protocol_for

_UNKNOWN = -2
_PICTURES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"}
_FOLDER = ("images/ (.jpg, .png ...), masks/ with a .png of the same name for each (every pixel the number of its "
           "class, 255: not judged) and classes.txt (a name a line, the first is number 0; 'background' and "
           "'ignore' mean what they say)")
# COCO's 80 categories have numbers up to 90; these are not in use. COCO-Stuff's maps hold the number less 1.
_NOT_IN_COCO = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}


@dataclass(frozen=True)
class Example:
    """One photograph and what is truly in it."""

    name: str
    picture: Tensor    # (3, H, W) uint8
    mask: Tensor       # (H, W) int64: index of the class, -1 background, 255 not judged


@dataclass(frozen=True)
class MaskSet:
    """Photographs with masks, read when they are asked for."""

    name: str
    pairs: tuple[tuple[Path, Path | DrawnMask], ...]   # picture and mask
    class_names: tuple[str, ...]            # without background
    meanings: dict[int, int]                # number in the files: index of a class, -1 or 255
    protocol: InferenceOptions                      # as released for it
    num_expected: int | None = None         # pictures of the benchmark's split

    @property
    def has_background(self) -> bool:
        """Whether some pixels belong to no class."""
        return BACKGROUND in self.meanings.values()

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Example:
        """Raises ValueError for files that are missing or do not belong together, and for numbers without a class."""
        picture_file, mask_file = self.pairs[index]
        picture = np.array(load_image(picture_file))                      # (H, W, 3)
        mask = self._read_mask(mask_file)
        if mask.shape != picture.shape[:2]:
            H, W = picture.shape[:2]
            turned = "; the picture is turned upright by its EXIF data" if mask.shape == (W, H) and H != W else ""
            raise ValueError(f"{mask_file} is {mask.shape[0]}x{mask.shape[1]}, but {picture_file.name} is {H}x{W}; "
                             f"a mask has a number for each pixel of its picture{turned}")
        return Example(picture_file.stem, torch.from_numpy(picture).permute(2, 0, 1), torch.from_numpy(mask))

    def _read_mask(self, file: Path | DrawnMask) -> np.ndarray:
        """A mask (H, W) in our numbers."""
        table = np.full(256, _UNKNOWN)
        table[list(self.meanings)] = list(self.meanings.values())
        numbers = file.numbers() if isinstance(file, DrawnMask) else _read_numbers(file)
        mask = table[numbers.clip(0, 255)]
        wrong = (mask == _UNKNOWN) | (numbers > 255) | (numbers < 0)
        if wrong.any():
            known = sorted(n for n, meaning in self.meanings.items() if meaning != IGNORED)
            raise ValueError(f"{file} has the number {numbers[wrong][0]}, which is no class; {len(known)} numbers from "
                             f"{known[0]} to {known[-1]} have a meaning in {self.name}, and 255 is not judged")
        return mask

    def first(self, num_images: int) -> MaskSet:
        """The first so many pictures."""
        if num_images < 1:
            raise ValueError(f"num_images is {num_images}; take at least 1 picture")
        return replace(self, pairs=self.pairs[:num_images])

    def occurring(self) -> MaskSet:
        """The same pictures with only those classes as words that occur in some mask."""
        seen = {int(n) for _, file in self.pairs for n in np.unique(self._read_mask(file))}
        kept = [c for c in range(len(self.class_names)) if c in seen]
        if not kept:
            raise ValueError(f"no mask of {self.name} has any of its classes in it")
        order = {c: i for i, c in enumerate(kept)} | {BACKGROUND: BACKGROUND, IGNORED: IGNORED}
        return replace(self, class_names=tuple(self.class_names[c] for c in kept),
                       meanings={n: order[m] for n, m in self.meanings.items() if m in order})


def open_masks(data: str, root: str | Path) -> MaskSet:
    """The pictures of a benchmark (its split for validation), or of "folder", below `root`.

    Raises ValueError that says which files were expected where some are missing.
    """
    root = Path(root)
    openers = {"voc2012": _voc2012, "context": _context, "coco_object": _coco_object, "folder": _folder}
    if data not in openers:
        raise ValueError(f"there is no set of masks {data!r}; choose one of {', '.join(openers)}")
    found = openers[data](root)
    if not found.pairs:
        raise _layout_error(data, root, "no picture with a mask")
    return found


def evaluation_protocol(model: GroupViT, masks: MaskSet, kind: str | None = None, **choices: Any) -> InferenceOptions:
    """How a model is measured on a set of masks.

    Args:
        kind: "weights": as `segment` makes masks (`protocol_for`), with the set's background threshold where masks have
            background and the weights store no threshold, and without one where masks have none. "released": the set's
            own. None: "released" for weights that look at pictures at the size of the set's own protocol, 448 pixels,
            as the paper's do; "weights" for all others.
        choices: single fields to change.
    """
    if kind is None:
        kind = "released" if protocol_for(model).short_side == masks.protocol.short_side else "weights"
    if kind == "released":
        return protocol_for(model, masks.protocol, **choices)
    own = model.protocol or InferenceOptions()
    if not masks.has_background or own.background_threshold is None:
        own = replace(own, background_threshold=masks.protocol.background_threshold if masks.has_background else None)
    return protocol_for(model, own, **choices)


def _layout_error(data: str, root: Path, missing: object) -> ValueError:
    layout = BENCHMARKS[data].layout if data in BENCHMARKS else _FOLDER
    return ValueError(f"{data}: there is {missing} below {root}; expected there: {layout}")


def _need(data: str, root: Path, *paths: Path) -> None:
    for path in paths:
        if not path.exists():
            raise _layout_error(data, root, f"no {path.relative_to(root) if path != root else 'folder'}")


def _benchmark(data: str, pairs: Iterable[tuple[Path, Path | DrawnMask]],
               meanings: dict[int, int] | None = None) -> MaskSet:
    """As in all three: 0 is background, the classes follow from 1, 255 is not judged."""
    about: Benchmark = BENCHMARKS[data]
    usual = {0: BACKGROUND, IGNORED: IGNORED} | {c + 1: c for c in range(len(about.class_names))}
    return MaskSet(data, tuple(pairs), about.class_names, meanings or usual, about.protocol, about.num_images)


def _voc2012(root: Path) -> MaskSet:
    from torchvision.datasets import VOCSegmentation

    base = root / "VOCdevkit" / "VOC2012"
    _need("voc2012", root, base, base / "JPEGImages", base / "SegmentationClass",
          base / "ImageSets" / "Segmentation" / "val.txt")
    found = VOCSegmentation(str(root), year="2012", image_set="val")
    return _benchmark("voc2012", zip(map(Path, found.images), map(Path, found.masks)))


def _context(root: Path) -> MaskSet:
    base = root / "VOCdevkit" / "VOC2010"
    split = base / "ImageSets" / "SegmentationContext" / "val.txt"
    _need("context", root, base / "JPEGImages", base / "SegmentationClassContext", split)
    pictures, masks = base / "JPEGImages", base / "SegmentationClassContext"
    return _benchmark("context", [(pictures / f"{name}.jpg", masks / f"{name}.png")
                                  for name in read_text(split).split()])


def _coco_object(root: Path) -> MaskSet:
    objects = [number for number in range(1, 91) if number not in _NOT_IN_COCO]
    pictures, masks = root / "images" / "val2017", root / "annotations" / "val2017"
    instances = root / "annotations" / "instances_val2017.json"
    if instances.is_file() and not masks.is_dir():
        pictures = pictures if pictures.is_dir() else root / "val2017"
        _need("coco_object", root, pictures)
        meanings = {0: BACKGROUND, IGNORED: IGNORED} | {number: c for c, number in enumerate(objects)}
        return _benchmark("coco_object", [(pictures / m.name, m) for m in read_instances(instances)], meanings)
    _need("coco_object", root, pictures, masks)
    converted = sorted(masks.glob("*_instanceTrainIds.png"))
    if converted:
        return _benchmark("coco_object", [(pictures / f"{m.stem.removesuffix('_instanceTrainIds')}.jpg", m)
                                          for m in converted])
    meanings = dict.fromkeys(range(256), BACKGROUND) | {number - 1: c for c, number in enumerate(objects)}
    return _benchmark("coco_object", [(pictures / f"{m.stem}.jpg", m) for m in sorted(masks.glob("*.png"))], meanings)


def _folder(root: Path) -> MaskSet:
    _need("folder", root, root, root / "images", root / "masks", root / "classes.txt")
    for place in (root / "images", root / "masks"):
        below = [path for path in pictures_below(place) if Path(path).parent != place]
        if below:
            raise ValueError(f"{len(below)} files such as {below[0]} lie in a folder of {place}; put all of them "
                             f"straight into it; expected below {root}: {_FOLDER}")
    pictures = _by_stem(p for p in (root / "images").iterdir() if p.suffix.lower() in _PICTURES)
    masks = _by_stem(p for p in (root / "masks").iterdir() if p.suffix.lower() == ".png")
    for some, others, kind in ((pictures, masks, "mask"), (masks, pictures, "picture")):
        alone = sorted(set(some) - set(others))
        if alone:
            raise ValueError(f"{len(alone)} of {len(some)} files such as {some[alone[0]]} have no {kind} of the same "
                             f"name; expected below {root}: {_FOLDER}")
    names, meanings = _read_classes(root / "classes.txt")
    protocol = PROTOCOLS["voc2012"]
    if BACKGROUND not in meanings.values():
        protocol = replace(protocol, background_threshold=None)
    return MaskSet(root.resolve().name, tuple((pictures[stem], masks[stem]) for stem in sorted(pictures)), names,
                   meanings, protocol)


def _by_stem(files: Iterable[Path]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for file in files:
        if file.stem in found:
            raise ValueError(f"{found[file.stem]} and {file.name} share a name, by which picture and mask are found; "
                             "give each its own")
        found[file.stem] = file
    return found


def _read_classes(file: Path) -> tuple[tuple[str, ...], dict[int, int]]:
    """The words, and what the numbers mean: line n of the file is number n."""
    lines: Sequence[str] = [line.strip() for line in read_text(file).rstrip().splitlines()]
    empty = [n for n, line in enumerate(lines) if not line]
    if empty or not 1 <= len(lines) <= IGNORED:
        problem = f"line {empty[0] + 1} is empty" if empty else f"it has {len(lines)} lines"
        raise ValueError(f"{file}: {problem}; expected 1 to {IGNORED} names, one a line")
    special = {"background": BACKGROUND, "ignore": IGNORED}
    names = tuple(line for line in lines if line.lower() not in special)
    index = iter(range(len(lines)))
    return names, {IGNORED: IGNORED} | {
        n: special[line.lower()] if line.lower() in special else next(index) for n, line in enumerate(lines)}


def _read_numbers(file: Path) -> np.ndarray:
    """The numbers of an index mask (H, W); a palette is not looked at."""
    try:
        with Image.open(file) as image:
            image.load()
            mode, numbers = image.mode, np.array(image)
    except FileNotFoundError:
        raise ValueError(f"there is no mask at {file}") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"{file} is no mask that can be read, or it is cut off: {error}") from None
    if mode not in ("1", "L", "P", "I", "I;16"):
        raise ValueError(f"{file} is a picture of mode {mode}; expected an index mask (mode P or L), a number a pixel")
    return numbers.astype(np.int64)


# The three benchmarks of the paper in one table: classes, protocol, pictures, and how the files lie.
#
# Class names are those that the released code puts into its text encoder, in the order of the masks'
# numbers (some differ from the data sets' own: table, plant and monitor in VOC; airplane, plant and
# monitor in Context). Thresholds and everything else of the protocol: `protocol.PROTOCOLS`.
#
# In all three, background is 0 in the mask files and the classes follow from 1; 255 marks pixels that
# are not judged. (mmsegmentation's `reduce_zero_label`, which throws 0 away and judges 59 classes of
# Context without background, is another benchmark: an `ignore` line in a folder's classes.txt makes it.)

_VOC = ("aeroplane, bicycle, bird, boat, bottle, bus, car, cat, chair, cow, table, dog, horse, motorbike, person, "
        "plant, sheep, sofa, train, monitor")
_CONTEXT = ("airplane, bag, bed, bedclothes, bench, bicycle, bird, boat, book, bottle, building, bus, cabinet, car, "
            "cat, ceiling, chair, cloth, computer, cow, cup, curtain, dog, door, fence, floor, flower, food, grass, "
            "ground, horse, keyboard, light, motorbike, mountain, mouse, person, plate, platform, plant, road, rock, "
            "sheep, shelves, sidewalk, sign, sky, snow, sofa, table, track, train, tree, truck, monitor, wall, water, "
            "window, wood")
_COCO = ("person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, "
         "stop sign, parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, "
         "backpack, umbrella, handbag, tie, suitcase, frisbee, skis, snowboard, sports ball, kite, baseball bat, "
         "baseball glove, skateboard, surfboard, tennis racket, bottle, wine glass, cup, fork, knife, spoon, bowl, "
         "banana, apple, sandwich, orange, broccoli, carrot, hot dog, pizza, donut, cake, chair, couch, "
         "potted plant, bed, dining table, toilet, tv, laptop, mouse, remote, keyboard, cell phone, microwave, oven, "
         "toaster, sink, refrigerator, book, clock, vase, scissors, teddy bear, hair drier, toothbrush")


@dataclass(frozen=True)
class Benchmark:
    """What has to be the same for metrics to be comparable."""

    class_names: tuple[str, ...]     # without background, in the order of the masks' numbers from 1
    protocol: InferenceOptions               # as released
    num_images: int                  # of the split that is evaluated
    layout: str                      # the files below --root


BENCHMARKS: dict[str, Benchmark] = {
    "voc2012": Benchmark(
        tuple(_VOC.split(", ")), PROTOCOLS["voc2012"], 1449,
        "VOCdevkit/VOC2012/ with JPEGImages/, SegmentationClass/ and ImageSets/Segmentation/val.txt, as torchvision's "
        "VOCSegmentation makes it; there 255 is the border around things"),
    "context": Benchmark(
        tuple(_CONTEXT.split(", ")), PROTOCOLS["context"], 5105,
        "VOCdevkit/VOC2010/ with JPEGImages/, SegmentationClassContext/ (PNG, 0 background, 1 to 59 classes) and "
        "ImageSets/SegmentationContext/val.txt, as mmsegmentation makes it"),
    "coco_object": Benchmark(
        tuple(_COCO.split(", ")), PROTOCOLS["coco_object"], 5000,
        "images/val2017/*.jpg and annotations/val2017/*_instanceTrainIds.png (0 background, 1 to 80 classes), or "
        "there the *.png of COCO-Stuff as they are (what is no object becomes background, unlabelled pixels too); or "
        "COCO's own val2017/*.jpg and annotations/instances_val2017.json, from which masks are drawn"),
}


# Masks of COCO-Object drawn from COCO's own instances, where its pixel maps are not at hand.
#
# Where instances overlap, the smaller one lies on top. COCO-Stuff's maps, which the release judges by, were
# made from the same outlines with an order of their own, so figures may differ in the last digit.

@dataclass(frozen=True)
class DrawnMask:
    """A mask that is drawn when it is read."""

    name: str                               # of the picture's file
    size: tuple[int, int]                   # H, W
    instances: tuple[dict[str, Any], ...]   # COCO's annotations

    def numbers(self) -> np.ndarray:
        """COCO's category of each pixel, from 1, or 0: (H, W)."""
        with extra("evaluation"):
            from pycocotools import mask as coco_mask
        drawn = np.zeros(self.size, np.int64)
        for one in sorted(self.instances, key=lambda one: -one["area"]):
            outline = one["segmentation"]
            if isinstance(outline, list) or isinstance(outline["counts"], list):   # polygons, or counts in plain
                outline = coco_mask.frPyObjects(outline, *self.size)
            mask = coco_mask.decode(coco_mask.merge(outline) if isinstance(outline, list) else outline)
            drawn[mask > 0] = one["category_id"]
        return drawn

    def __str__(self) -> str:
        return f"the mask drawn for {self.name}"


def read_instances(file: Path) -> list[DrawnMask]:
    """The masks of all pictures of an `instances_val2017.json`, those without an instance too.

    Raises ValueError for a file of another kind.
    """
    try:
        content = json.loads(read_text(file))
        found: dict[int, list] = {image["id"]: [] for image in content["images"]}
        for annotation in content["annotations"]:
            found[annotation["image_id"]].append(annotation)
        return [DrawnMask(image["file_name"], (image["height"], image["width"]), tuple(found[image["id"]]))
                for image in content["images"]]
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{file} does not hold COCO's instances ({type(error).__name__} {error}); expected its "
                         "instances_val2017.json with images and annotations") from None
