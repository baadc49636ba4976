"""The three benchmarks of the paper in one table: classes, protocol, pictures, and how the files lie.

Class names are those that the released code puts into its text encoder, in the order of the masks'
numbers (some differ from the data sets' own: table, plant and monitor in VOC; airplane, plant and
monitor in Context). Thresholds and everything else of the protocol: `protocol.PROTOCOLS`.

In all three, background is 0 in the mask files and the classes follow from 1; 255 marks pixels that
are not judged. (mmsegmentation's `reduce_zero_label`, which throws 0 away and judges 59 classes of
Context without background, is another benchmark: an `ignore` line in a folder's classes.txt makes it.)
"""

from __future__ import annotations

from dataclasses import dataclass

from ..protocol import PROTOCOLS, Protocol

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
    """What has to be the same for figures to be comparable."""

    class_names: tuple[str, ...]     # without background, in the order of the masks' numbers from 1
    protocol: Protocol               # as released
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
