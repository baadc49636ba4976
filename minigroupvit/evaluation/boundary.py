"""Boundary mIoU, the figure in brackets of Table 3: how well masks fit along their edges.

The definition is that of Boundary IoU (Cheng et al., CVPR 2021): of each mask only the pixels within
d of its contour count, d being 2 % of the picture's diagonal; then intersection over union, here per
class over the whole set. The edge of the picture is a contour.

The paper says no more than "boundary mIoU". What to do at pixels that are not judged is ours. In VOC
they lie exactly along the contours; there truth and prediction both take what they have at the nearest
judged pixel. So masks that are right wherever they are judged score 1, and the truth's contours do
not show in the prediction.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt, maximum_filter, minimum_filter
from torch import Tensor

from .metrics import MaskFigures

DILATION_RATIO = 0.02   # of the diagonal


def boundary_distance(height: int, width: int, ratio: float = DILATION_RATIO) -> int:
    """How many pixels from the contour still count; at least 1."""
    return max(1, round(ratio * math.hypot(height, width)))


def boundary_region(labels: np.ndarray, distance: int) -> np.ndarray:
    """Pixels within `distance` of another class or of the picture's edge: (H, W) of numbers from 0 -> true or false.

    Such a pixel is what `distance` erosions by 3 × 3 take off its class, and sees another number in
    the square around it: so all classes are found at once.
    """
    side = 2 * distance + 1
    largest = maximum_filter(labels, side, mode="constant", cval=-1)
    smallest = minimum_filter(labels, side, mode="constant", cval=-1)     # -1: outside of the picture
    return largest != smallest


class BoundaryFigures(MaskFigures):
    """`MaskFigures` of boundary regions, picture by picture: each has its own diagonal."""

    def __init__(self, class_names: list[str], num_objects: int) -> None:
        super().__init__(class_names, num_objects, num_uncounted=1)      # what is no boundary

    def update(self, labels: Tensor, masks: Tensor) -> None:
        """Labels and true masks of one picture, (H, W)."""
        inside = self.num_classes - 1
        labels, masks = (x.cpu().numpy().astype(np.int16) for x in (labels, masks))
        void = masks == 255
        if void.all():
            return
        if void.any():
            nearest = tuple(distance_transform_edt(void, return_distances=False, return_indices=True))
            labels, masks = labels[nearest], masks[nearest]
        distance = boundary_distance(*labels.shape)
        labels, masks = (np.where(boundary_region(x, distance), x, inside) for x in (labels, masks))
        super().update(torch.from_numpy(labels).long(), torch.from_numpy(np.where(void, 255, masks)).long())
