"""Images with true masks: the scenes, the paper's three benchmarks, and any folder of one's own.

Every mask leaves here with the numbers that labels have: the index of its class in `class_names`, -1 for
background, and 255 (`IGNORED`) for pixels that are not judged. What the numbers in files mean is a table,
so that another convention needs another table and no code.

N images  H, W image
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
from .scenes.config import SceneConfig
from .scenes.sets import scene_arrays

_UNKNOWN = -2
_IMAGES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"}
_FOLDER = ("images/ (.jpg, .png ...), masks/ with a .png of the same name for each (every pixel the number of its "
           "class, 255: not judged) and classes.txt (a name a line, the first is number 0; 'background' and "
           "'ignore' mean what they say)")
# COCO's 80 categories have numbers up to 90; these are not in use. COCO-Stuff's maps hold the number less 1.
_NOT_IN_COCO = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}


@dataclass(frozen=True)
class Example:
    """One image and its true mask."""

    name: str
    image: Tensor      # (3, H, W) uint8
    mask: Tensor       # (H, W) int64: index of the class, -1 background, 255 not judged


@dataclass(frozen=True, kw_only=True, eq=False)
class MaskSet:
    """Images with true masks: a sequence of `Example`. From files (`MaskFiles`) or in memory (`MasksInMemory`)."""

    name: str
    class_names: tuple[str, ...]            # objects first; without background
    num_backgrounds: int = 0                # of the class names the last so many are backgrounds, such as "brick"
    protocol: InferenceOptions = InferenceOptions()   # as released for it
    metrics: tuple[str, ...] = ()           # of `evaluation.evaluate.METRICS`: those measured unless told otherwise
    num_expected: int | None = None         # images of the benchmark's split

    @property
    def num_objects(self) -> int:
        """How many of the class names, from the first, are objects."""
        return len(self.class_names) - self.num_backgrounds

    @property
    def has_background(self) -> bool:
        """Whether some pixels belong to no class."""
        return False

    @property
    def names(self) -> tuple[str, ...]:
        """The name of each image."""
        raise NotImplementedError

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Example:
        raise NotImplementedError

    def first(self, num_images: int) -> MaskSet:
        """The first so many images, or all if there are fewer. Raises ValueError for a number below 1."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True, eq=False)
class MasksInMemory(MaskSet):
    """Images of one size and their masks as tensors."""

    images: Tensor                          # (N, 3, H, W) uint8
    masks: Tensor                           # (N, H, W), index of the class, 255 not judged

    @property
    def names(self) -> tuple[str, ...]:
        """Numbers from 0."""
        return tuple(str(number) for number in range(len(self.images)))

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Example:
        if index >= len(self):
            raise IndexError(f"there are {len(self)} images, none with the index {index}")
        return Example(str(index), self.images[index], self.masks[index].long())

    def first(self, num_images: int) -> MasksInMemory:
        """See `MaskSet.first`."""
        rows = _first_rows(num_images)
        return replace(self, images=self.images[rows], masks=self.masks[rows])


def scene_masks(split: str = "test", num_images: int = 1000, config: SceneConfig = SceneConfig(),
                seed: int = 0) -> MasksInMemory:
    """The first scenes of a split ("train", "validation", "test", "unseen") with their masks.

    Every pixel has a class: the objects of `config`, then its backgrounds. Raises ValueError for another split or
    fewer than 1 scene.
    """
    scenes = scene_arrays(split, num_images, config, seed)
    return MasksInMemory(
        name=f"scenes of the split {split}", class_names=tuple(config.class_names),
        num_backgrounds=len(config.backgrounds), metrics=("oracle", "groups", "recognition", "intervals"),
        images=torch.from_numpy(scenes.images).permute(0, 3, 1, 2).contiguous(), masks=torch.from_numpy(scenes.masks))


@dataclass(frozen=True, kw_only=True, eq=False)
class MaskFiles(MaskSet):
    """Images and masks in files, which are read when an example is asked for."""

    metrics: tuple[str, ...] = ("boundary", "oracle", "probing", "groups")
    pairs: tuple[tuple[Path, Path | DrawnMask], ...]   # image and mask
    meanings: dict[int, int]                # number in the files: index of a class, -1 or 255

    @property
    def has_background(self) -> bool:
        """Whether some pixels belong to no class."""
        return BACKGROUND in self.meanings.values()

    @property
    def names(self) -> tuple[str, ...]:
        """The files' names without their ending."""
        return tuple(image.stem for image, _ in self.pairs)

    def __getitem__(self, index: int) -> Example:
        """Raises ValueError for files that are missing or do not belong together, and for numbers without a class."""
        image_file, mask_file = self.pairs[index]
        image = np.array(load_image(image_file))                          # (H, W, 3)
        mask = self._read_mask(mask_file)
        if mask.shape != image.shape[:2]:
            H, W = image.shape[:2]
            turned = "; the image is turned upright by its EXIF data" if mask.shape == (W, H) and H != W else ""
            raise ValueError(f"{mask_file} is {mask.shape[0]}x{mask.shape[1]}, but {image_file.name} is {H}x{W}; "
                             f"a mask has a number for each pixel of its image{turned}")
        return Example(image_file.stem, torch.from_numpy(image).permute(2, 0, 1), torch.from_numpy(mask))

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

    def first(self, num_images: int) -> MaskFiles:
        """See `MaskSet.first`."""
        return replace(self, pairs=self.pairs[_first_rows(num_images)])

    def occurring(self) -> MaskFiles:
        """The same images with only those class names that occur in some mask."""
        seen = {int(n) for _, file in self.pairs for n in np.unique(self._read_mask(file))}
        kept = [c for c in range(len(self.class_names)) if c in seen]
        if not kept:
            raise ValueError(f"no mask of {self.name} has any of its classes in it")
        order = {c: i for i, c in enumerate(kept)} | {BACKGROUND: BACKGROUND, IGNORED: IGNORED}
        return replace(self, class_names=tuple(self.class_names[c] for c in kept),
                       meanings={n: order[m] for n, m in self.meanings.items() if m in order})


def _first_rows(num_images: int) -> slice:
    if num_images < 1:
        raise ValueError(f"num_images is {num_images}; take at least 1 image")
    return slice(num_images)


def open_masks(data: str, root: str | Path) -> MaskFiles:
    """The images of a benchmark (its validation split), or of "folder", below `root`.

    Raises ValueError that says which files were expected where some are missing.
    """
    root = Path(root)
    openers = {"voc2012": _voc2012, "context": _context, "coco_object": _coco_object, "folder": _folder}
    if data not in openers:
        raise ValueError(f"there is no set of masks {data!r}; choose one of {', '.join(openers)}")
    found = openers[data](root)
    if not found.pairs:
        raise _layout_error(data, root, "no image with a mask")
    return found


def evaluation_protocol(model: GroupViT, masks: MaskSet, kind: str | None = None, **choices: Any) -> InferenceOptions:
    """How a model is measured on a set of masks.

    Args:
        kind: "weights": as `segment` makes masks (`protocol_for`), with the set's background threshold where masks have
            background and the weights store no threshold, and without one where masks have none. "released": the set's
            own. None: "released" for weights whose images have the size of the set's own protocol, a shorter side of 448
            pixels, as the paper's do; "weights" for all others.
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
               meanings: dict[int, int] | None = None) -> MaskFiles:
    """As in all three: 0 is background, the classes follow from 1, 255 is not judged."""
    about: Benchmark = BENCHMARKS[data]
    usual = {0: BACKGROUND, IGNORED: IGNORED} | {c + 1: c for c in range(len(about.class_names))}
    return MaskFiles(name=data, class_names=about.class_names, protocol=about.protocol, num_expected=about.num_images,
                     pairs=tuple(pairs), meanings=meanings or usual)


def _voc2012(root: Path) -> MaskFiles:
    from torchvision.datasets import VOCSegmentation

    base = root / "VOCdevkit" / "VOC2012"
    _need("voc2012", root, base, base / "JPEGImages", base / "SegmentationClass",
          base / "ImageSets" / "Segmentation" / "val.txt")
    found = VOCSegmentation(str(root), year="2012", image_set="val")
    return _benchmark("voc2012", zip(map(Path, found.images), map(Path, found.masks)))


def _context(root: Path) -> MaskFiles:
    base = root / "VOCdevkit" / "VOC2010"
    split = base / "ImageSets" / "SegmentationContext" / "val.txt"
    _need("context", root, base / "JPEGImages", base / "SegmentationClassContext", split)
    images, masks = base / "JPEGImages", base / "SegmentationClassContext"
    return _benchmark("context", [(images / f"{name}.jpg", masks / f"{name}.png")
                                  for name in read_text(split).split()])


def _coco_object(root: Path) -> MaskFiles:
    objects = [number for number in range(1, 91) if number not in _NOT_IN_COCO]
    images, masks = root / "images" / "val2017", root / "annotations" / "val2017"
    instances = root / "annotations" / "instances_val2017.json"
    if instances.is_file() and not masks.is_dir():
        images = images if images.is_dir() else root / "val2017"
        _need("coco_object", root, images)
        meanings = {0: BACKGROUND, IGNORED: IGNORED} | {number: c for c, number in enumerate(objects)}
        return _benchmark("coco_object", [(images / m.name, m) for m in read_instances(instances)], meanings)
    _need("coco_object", root, images, masks)
    converted = sorted(masks.glob("*_instanceTrainIds.png"))
    if converted:
        return _benchmark("coco_object", [(images / f"{m.stem.removesuffix('_instanceTrainIds')}.jpg", m)
                                          for m in converted])
    meanings = dict.fromkeys(range(256), BACKGROUND) | {number - 1: c for c, number in enumerate(objects)}
    return _benchmark("coco_object", [(images / f"{m.stem}.jpg", m) for m in sorted(masks.glob("*.png"))], meanings)


def _folder(root: Path) -> MaskFiles:
    _need("folder", root, root, root / "images", root / "masks", root / "classes.txt")
    for place in (root / "images", root / "masks"):
        below = [path for path in pictures_below(place) if Path(path).parent != place]
        if below:
            raise ValueError(f"{len(below)} files such as {below[0]} lie in a folder of {place}; put all of them "
                             f"straight into it; expected below {root}: {_FOLDER}")
    images = _by_stem(p for p in (root / "images").iterdir() if p.suffix.lower() in _IMAGES)
    masks = _by_stem(p for p in (root / "masks").iterdir() if p.suffix.lower() == ".png")
    for some, others, kind in ((images, masks, "mask"), (masks, images, "image")):
        alone = sorted(set(some) - set(others))
        if alone:
            raise ValueError(f"{len(alone)} of {len(some)} files such as {some[alone[0]]} have no {kind} of the same "
                             f"name; expected below {root}: {_FOLDER}")
    names, meanings = _read_classes(root / "classes.txt")
    protocol = PROTOCOLS["voc2012"]
    if BACKGROUND not in meanings.values():
        protocol = replace(protocol, background_threshold=None)
    return MaskFiles(name=root.resolve().name, class_names=names, protocol=protocol, meanings=meanings,
                     pairs=tuple((images[stem], masks[stem]) for stem in sorted(images)))


def _by_stem(files: Iterable[Path]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for file in files:
        if file.stem in found:
            raise ValueError(f"{found[file.stem]} and {file.name} share a name, by which image and mask are found; "
                             "give each its own")
        found[file.stem] = file
    return found


def _read_classes(file: Path) -> tuple[tuple[str, ...], dict[int, int]]:
    """The class names, and what the numbers mean: line n of the file is number n."""
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
        raise ValueError(f"{file} is an image of mode {mode}; expected an index mask (mode P or L), a number a pixel")
    return numbers.astype(np.int64)


# The three benchmarks of the paper in one table: classes, protocol, number of images, and how the files lie.
#
# Class names are those that the released code puts into its text encoder, in the order of the masks'
# numbers (some differ from the data sets' own: table, plant and monitor in VOC; airplane, plant and
# monitor in Context). Thresholds and everything else of the protocol: `segmentation.options.PROTOCOLS`.
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
        "VOCSegmentation makes it; there 255 is the border around objects"),
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
# made from the same outlines with an order of their own, so metrics may differ in the last digit.

@dataclass(frozen=True)
class DrawnMask:
    """A mask that is drawn when it is read."""

    name: str                               # of the image's file
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
    """The masks of all images of an `instances_val2017.json`, those without an instance too.

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
