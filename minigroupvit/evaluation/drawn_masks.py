"""Masks of COCO-Object drawn from COCO's own instances, where its pixel maps are not at hand.

Where instances overlap, the smaller one lies on top. COCO-Stuff's maps, which the release judges by, were
made from the same outlines with an order of their own, so figures may differ in the last digit.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..extras import extra
from ..files import read_text


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
