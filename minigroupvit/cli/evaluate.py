"""`python -m minigroupvit evaluate`: measure a model on images with masks: held-out scenes, or photographs."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .common import add_protocol, load_weights, make_parent, protocol_choices, split_names

ABOUT = "measure a model on held-out scenes, or on photographs with masks"
EXAMPLES = """
examples:
  python -m minigroupvit evaluate
  python -m minigroupvit evaluate --split unseen --json unseen.json
  python -m minigroupvit evaluate --weights outputs/train/best.safetensors --num-images 200 --json -
  python -m minigroupvit evaluate --data voc2012 --root data/voc --weights groupvit.safetensors --json voc.json
  python -m minigroupvit evaluate --data folder --root mine/ --weights groupvit.safetensors --metrics miou \\
      --examples page.png
  python -m minigroupvit evaluate --data voc2012 --root data/voc --weights groupvit.safetensors --only-occurring \\
      --background-threshold 0.9
  python -m minigroupvit evaluate --data imagefolder --root imagenet/val

The metrics are fractions from 0 to 1. Images are segmented as by `segment`, scenes and photographs. Weights of the
paper's models, whose images have a shorter side of 448 pixels, are measured as in the paper: a window of 448 every 224
pixels, the 5 nearest classes. --protocol says which of both it is to be, the options change single fields, and --json
has them all. Where masks have background and the weights have no threshold, it is that of the benchmark (0.95, of
context 0.35). Scenes are drawn at the size that the model was trained on.

Photographs with masks, below --root:
  voc2012      as torchvision's VOCSegmentation has them: VOCdevkit/VOC2012/...
  context      VOCdevkit/VOC2010/ with JPEGImages, SegmentationClassContext, ImageSets/SegmentationContext/val.txt
  coco_object  images/val2017 and annotations/val2017 (*_instanceTrainIds.png, or COCO-Stuff's maps), or COCO's own
               val2017 and annotations/instances_val2017.json
  folder       images/, masks/ (.png, a pixel the number of its class, 255 not judged) and classes.txt (a name a line)
imagefolder: a folder for each class; zero-shot classification, top-1 and top-5, of the middle of each image
at the size of the training images; of the options below it takes --templates."""

_DATA = ("scenes", "voc2012", "context", "coco_object", "folder", "imagefolder")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", default="scenes", choices=_DATA, help="default: %(default)s")
    parser.add_argument("--root", metavar="FOLDER", help="where the photographs are")
    parser.add_argument("--split", choices=("test", "validation", "unseen", "train"),
                        help="of the scenes; default: test; unseen: drawings of the objects never seen in training")
    parser.add_argument("--num-images", type=int, metavar="N", help="default: 1000 scenes, or all photographs")
    parser.add_argument("--json", metavar="FILE", help="write the metrics to a file; -: print them as JSON")
    masks = parser.add_argument_group("images with masks")
    masks.add_argument("--metrics", metavar="A,B",
                       help="miou alone, or with boundary, oracle, probing, groups, recognition, intervals; all, the default: of "
                       "scenes oracle, groups, recognition, intervals, of photographs boundary, oracle, probing, groups")
    masks.add_argument("--examples", metavar="FILE", help="a page of the best and the worst images, such as page.png")
    masks.add_argument("--num-examples", type=int, default=4, metavar="N", help="of each; default: %(default)s")
    masks.add_argument("--only-occurring", action="store_true",
                       help="of photographs: only class names that occur in some mask: easier, not the benchmark")
    masks.add_argument("--protocol", choices=("weights", "released"),
                       help="of photographs, what is not given: as stored with the weights, or as released for the "
                       "benchmark (folder: for voc2012); default: released for weights of 448 pixels, weights for all "
                       "others")
    masks.add_argument("--clusters", choices=("kmeans", "mean_shift", "spectral"),
                       help="of a model without groups: its patches clustered; default: patch by patch")
    masks.add_argument("--batch-size", type=int, metavar="N",
                       help="images and windows at once; default: 25 images, and windows by their size")
    masks.add_argument("--num-workers", type=int, default=0, metavar="N", help="processes that read images")
    masks.add_argument("--quiet", action="store_true", help="no progress bar")
    add_protocol(parser)


def run(arguments: argparse.Namespace) -> None:
    from ..distributed import pick_device
    from ..files import write_atomically

    if arguments.data == "scenes" and arguments.root:
        raise ValueError(f"--root {arguments.root} belongs to photographs; say which, such as --data folder")
    if arguments.data != "scenes" and not arguments.root:
        raise ValueError(f"--data {arguments.data} needs --root, the folder where its files are (see evaluate --help)")
    without_effect = ["only_occurring"] if arguments.data == "scenes" else ["split"]
    if arguments.data == "imagefolder":
        without_effect += ["metrics", "examples", "only_occurring", "clusters"]
    for name in without_effect:
        if getattr(arguments, name):
            raise ValueError(f"--{name.replace('_', '-')} has no effect with --data {arguments.data}; leave it out")
    if arguments.num_examples < 1 or arguments.batch_size is not None and arguments.batch_size < 1:
        raise ValueError("--batch-size and --num-examples are at least 1")
    choices = protocol_choices(arguments)
    if arguments.protocol and arguments.data in ("scenes", "imagefolder"):
        raise ValueError(f"--protocol belongs to photographs with masks, not to --data {arguments.data}")
    if arguments.data == "imagefolder" and set(choices) - {"templates"}:
        given = ", ".join(f"--{name.replace('_', '-')}" for name in choices if name != "templates")
        raise ValueError(f"{given} would change nothing: imagefolder makes no masks, and takes the middle of each "
                         "image at the size of the training images; leave it out")
    model = load_weights(arguments, arguments.weights, pick_device(arguments.device))
    measure = _classification if arguments.data == "imagefolder" else _segmentation
    metrics = {"weights": arguments.weights, "data": arguments.data} | measure(model, arguments, choices)
    text = json.dumps(metrics, indent=2, allow_nan=False) + "\n"
    if arguments.json == "-":  # nothing else on stdout, so that it can be piped
        print(text, end="")
        return
    if arguments.json:
        write_atomically(make_parent(arguments.json), lambda path: path.write_text(text, encoding="utf-8"))
    _print_metrics(metrics)


def _classification(model, arguments: argparse.Namespace, choices: dict[str, Any]) -> dict[str, Any]:
    from ..evaluation.image_level import evaluate_classification

    return evaluate_classification(model, arguments.root, batch_size=arguments.batch_size or 25,
                                   num_images=arguments.num_images, num_workers=arguments.num_workers,
                                   progress=not arguments.quiet, **choices)


def _segmentation(model, arguments: argparse.Namespace, choices: dict[str, Any]) -> dict[str, Any]:
    from ..data.mask_sets import evaluation_protocol
    from ..evaluation.evaluate import evaluate
    from ..files import write_atomically
    from ..segmentation.steps import embed_classes
    from ..visual.figures import examples_page

    masks = _masks(model, arguments)
    protocol = evaluation_protocol(model, masks, arguments.protocol, **choices)
    metrics = None
    if arguments.metrics not in (None, "all"):
        metrics = [name for name in split_names(arguments.metrics) if name != "miou"]
    page = arguments.examples and _check_page(make_parent(arguments.examples))
    # Names of one's own that are one and the same to the model are an error; of the scenes' it may not know some.
    classes = embed_classes(model, masks.class_names, protocol.templates, distinct=arguments.data != "scenes")
    found = evaluate(model, masks, protocol, metrics, batch_size=arguments.batch_size,
                     num_workers=arguments.num_workers, progress=not arguments.quiet, class_embeddings=classes,
                     clusters=arguments.clusters)
    if page:
        figure = examples_page(model, masks, found.miou_of_each, protocol, arguments.num_examples,
                               class_embeddings=classes, clusters=arguments.clusters)
        write_atomically(page, lambda part: figure.savefig(part, format=page.suffix[1:].lower(), dpi=110))
    about = {"clusters": arguments.clusters} if arguments.clusters else {}
    about |= {"split": arguments.split or "test"} if arguments.data == "scenes" else {
        "data": masks.name, "num_expected": masks.num_expected, "pictures": found.miou_of_each}
    return about | found.metrics | {"protocol": asdict(found.protocol)}


def _masks(model, arguments: argparse.Namespace):
    """The images and their masks."""
    from ..data.mask_sets import open_masks, scene_masks
    from ..data.scenes.config import SceneConfig

    if arguments.data == "scenes":
        count = 1000 if arguments.num_images is None else arguments.num_images
        return scene_masks(arguments.split or "test", count, SceneConfig(image_size=model.config.image.image_size))
    masks = open_masks(arguments.data, arguments.root)
    if arguments.num_images is not None:
        masks = masks.first(arguments.num_images)
    return masks.occurring() if arguments.only_occurring else masks


def _check_page(page: Path) -> Path:
    """Before an hour of work rather than after it."""
    from matplotlib.figure import Figure

    kinds = Figure().canvas.get_supported_filetypes()
    if page.suffix[1:].lower() not in kinds:
        raise ValueError(f"--examples {page} ends in no image format that can be written; take .png, or one of "
                         f"{', '.join(sorted(kinds))}")
    return page


def _print_metrics(metrics: dict[str, Any]) -> None:
    on = f"scenes of the split {metrics['split']}" if "split" in metrics else f"images of {metrics['data']}"
    print(f"{metrics['weights']} on {metrics['num_images']} {on}\n")
    for name, value in metrics.items():
        if isinstance(value, float):
            print(f"  {name:25} {value:7.3f}")
    tables = {"IoU": "iou_per_class", "boundary": "boundary_iou_per_class", "oracle": "oracle_iou_per_class",
              "top-1": "accuracy_per_class"}
    tables = {heading: metrics[key] for heading, key in tables.items() if key in metrics}
    if not tables:
        return
    first = next(iter(tables.values()))
    title = "IoU per class" if len(tables) == 1 and "IoU" in tables else "per class"
    headings = [] if title == "IoU per class" else list(tables)
    print(f"\n  {title:25} " + " ".join(f"{heading:>8}" for heading in headings).rstrip())
    for name in sorted(first, key=lambda name: -first[name]):
        cells = [table.get(name) for table in tables.values()]
        print(f"  {name:25} " + "  ".join("      –" if cell is None else f"{cell:7.3f}" for cell in cells))
