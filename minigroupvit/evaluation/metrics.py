"""The metrics of a model on pictures with true masks. All are fractions from 0 to 1.

`miou` and its parts judge the named masks. Three numbers tell what is wrong with a model:
`recognition_ap` (does it know what the picture shows?), `oracle_miou` (is the grouping good: mIoU if
each group had its true class?) and `naming`, plain over oracle (does it name its segments?).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt, maximum_filter, minimum_filter
from sklearn.metrics import adjusted_rand_score, average_precision_score
from torch import Tensor
from torchmetrics.classification import MulticlassJaccardIndex

from ..model import GroupViT
from ..segmentation.options import InferenceOptions, protocol_for
from ..segmentation.segment import segment
from ..segmentation.steps import embed_classes
from .intervals import average_precision_of, draws, interval, mean_of, miou_of


def count_pairs(groups: Tensor, masks: Tensor, num_groups: int, num_classes: int) -> Tensor:
    """Pixels that lie in each group and truly are of each class: (B, H, W) both -> (B, G, C).

    Pixels whose class is no number below `num_classes` (255: not judged) are left out.
    """
    B = groups.shape[0]
    picture = torch.arange(B, device=groups.device).view(-1, 1, 1).expand_as(groups)
    judged = masks < num_classes
    pairs = ((picture * num_groups + groups) * num_classes + masks)[judged]
    return torch.bincount(pairs, minlength=B * num_groups * num_classes).view(B, num_groups, num_classes)


def oracle_labels(groups: Tensor, masks: Tensor, num_classes: int) -> Tensor:
    """Each group of a picture takes the class that most of its pixels truly have (Table C3).

    groups (B, H, W), masks (B, H, W) -> (B, H, W). Measures grouping alone.
    """
    majority = count_pairs(groups, masks, int(groups.max()) + 1, num_classes).argmax(dim=-1)   # (B, G)
    return majority.gather(1, groups.flatten(1)).view_as(groups)


def oracle_miou(groups: Tensor, masks: Tensor, num_classes: int) -> float:
    """mIoU of pictures (B, H, W) whose groups all have the class that most of their pixels truly have."""
    figures = MaskMetrics([str(c) for c in range(num_classes)], num_classes)
    figures.update(oracle_labels(groups, masks.long(), num_classes), masks.long())
    return figures.compute()["miou"]


def adjusted_rand(groups: Tensor, masks: Tensor) -> list[float]:
    """Adjusted Rand index of each picture's groups against its mask, (B, H, W) both: 0 chance, 1 the mask.

    Pixels of 255 are left out; NaN for a picture in which nothing is judged.
    """
    judged = masks != 255
    return [float(adjusted_rand_score(mask[here].numpy(), group[here].numpy())) if here.any() else float("nan")
            for group, mask, here in zip(groups.cpu(), masks.cpu(), judged.cpu())]


def group_use(groups: Tensor, soft: Tensor | None) -> dict[str, float]:
    """Signs of collapse: groups that own a pixel, per image, and how undecided the patches are.

    groups (B, H, W); soft (B, G, N). `assignment_entropy` is the mean entropy of a patch over the
    groups, over its largest value log G: 0 decided, 1 no decision at all. `collapsed` is the
    share of pictures whose pixels are all in one group.
    """
    used = torch.tensor([len(g.unique()) for g in groups], dtype=torch.float)
    figures = {"groups_used": used.mean().item(), "collapsed": (used == 1).float().mean().item()}
    if soft is not None:
        entropy = torch.special.entr(soft.float()).sum(dim=1).mean()
        figures["assignment_entropy"] = (entropy / np.log(soft.shape[1])).item()
    return figures


def recognition_ap(image: Tensor, classes: Tensor, present: Tensor) -> float:
    """Macro average precision of the cosine of image (B, E) and word (C, E) for present (B, C)."""
    scores = (image @ classes.T).float().cpu().numpy()
    truth = present.cpu().numpy()
    seen = [c for c in range(truth.shape[1]) if 0 < truth[:, c].sum()]
    return float(np.mean([average_precision_score(truth[:, c], scores[:, c]) for c in seen]))


class MaskMetrics:
    """Collects predictions over a whole set: one confusion matrix, not one per picture.

    Args:
        class_names: objects first, then backgrounds.
        num_objects: how many of them are objects.
        num_uncounted: further classes after them, which may be wrong, but have no figure.
    """

    def __init__(self, class_names: Sequence[str], num_objects: int, num_uncounted: int = 0) -> None:
        self.class_names = list(class_names)
        self.num_objects = num_objects
        self.num_classes = len(self.class_names) + num_uncounted
        self._parts = {"miou": slice(None), "miou_objects": slice(num_objects),
                       "miou_backgrounds": slice(num_objects, None)}
        self.pixels: list[Tensor] = []   # of each picture and class: right ones, predicted or true ones, (2, B, C)
        # What torchmetrics would check takes it longer than the metrics do.
        self.jaccard = MulticlassJaccardIndex(self.num_classes, average="none", ignore_index=255, validate_args=False)

    def update(self, labels: Tensor, masks: Tensor) -> None:
        """Labels and true masks of one shape; masks of 255 are not judged. Raises ValueError for other numbers."""
        labels, masks = labels.cpu(), masks.cpu()
        for kind, numbers in (("labels", labels), ("masks", masks[masks != 255])):
            if numbers.numel() and not 0 <= numbers.min() <= numbers.max() < self.num_classes:
                raise ValueError(f"{kind} go from {numbers.min()} to {numbers.max()}, but there are {self.num_classes} "
                                 f"classes{' and no background' if numbers.min() == -1 else ''}")
        self.jaccard.update(labels, masks)
        if labels.ndim < 3:   # one picture, or pixels in a row
            labels, masks = labels.reshape(1, 1, -1), masks.reshape(1, 1, -1)
        pairs = count_pairs(labels, masks, self.num_classes, self.num_classes)           # (B, predicted, true)
        both = pairs.diagonal(dim1=1, dim2=2)[:, :len(self.class_names)]
        either = (pairs.sum(dim=1) + pairs.sum(dim=2))[:, :len(self.class_names)] - both
        self.pixels.append(torch.stack([both, either]))

    def pixels_of(self, key: str = "miou") -> tuple[np.ndarray, np.ndarray]:
        """What `intervals.miou_of` takes for `miou`, `miou_objects` or `miou_backgrounds`: (N, C) of pixels, twice."""
        both, either = torch.cat(self.pixels, dim=1)[:, :, self._parts[key]].numpy()
        return both, either

    def draws_of(self, key: str, weights: np.ndarray) -> np.ndarray:
        """`miou`, `miou_objects` or `miou_backgrounds` in each draw of pictures (`intervals.draws`)."""
        return miou_of(*self.pixels_of(key), weights)

    def compute(self) -> dict[str, Any]:
        """mIoU of all classes, objects, backgrounds, and the IoU of each.

        A class that is neither in a mask nor among the labels has no IoU and counts nowhere.
        """
        counted = len(self.class_names)
        iou = self.jaccard.compute().double()[:counted]
        pixels = self.jaccard.confmat
        seen = ((pixels.sum(dim=0) + pixels.sum(dim=1)) > 0)[:counted]
        figures = {}
        for key, part in self._parts.items():
            if seen[part].any():
                figures[key] = iou[part][seen[part]].mean().item()
        names = zip(self.class_names, iou.tolist(), seen.tolist())
        return figures | {"iou_per_class": {name: value for name, value, is_seen in names if is_seen}}


def present_objects(masks: Tensor, num_objects: int) -> Tensor:
    """Which of the first classes a picture shows: (B, H, W) -> (B, num_objects), true or false."""
    return torch.stack([(masks == c).flatten(1).any(dim=1) for c in range(num_objects)], dim=1)


@torch.no_grad()
def evaluate(model: GroupViT, images: Tensor, masks: Tensor, class_names: Sequence[str],
             num_objects: int, protocol: InferenceOptions | None = None, batch_size: int = 25,
             num_controls: int = 0) -> dict[str, Any]:
    """All metrics of a model on pictures (N, 3, H, W) uint8 with masks (N, H, W) of class indices.

    The first `num_objects` classes are objects, the others backgrounds. `controls_model_ari` is the ARI on the
    first `num_controls` pictures, on which `controls.controls` are measured, `controls_model_ari_of_each` that of each.
    """
    protocol = protocol_for(model, protocol)
    if protocol.mode == "slide":
        raise ValueError("mode 'slide' leaves no groups of a whole picture to measure; take 'direct' or 'whole' here, "
                         "or photographs.evaluate_masks")
    named, oracle = MaskMetrics(class_names, num_objects), MaskMetrics(class_names, num_objects)
    classes = embed_classes(model, class_names, protocol.templates, distinct=False)
    rand, use, embeddings, used = [], [], [], []
    for start in range(0, len(images), batch_size):
        picture, truth = images[start:start + batch_size], masks[start:start + batch_size].long()
        result = segment(model, picture, class_names, protocol, class_embeddings=classes)
        groups = result.groups[-1].cpu()
        named.update(result.labels, truth)
        oracle.update(oracle_labels(groups, truth, len(class_names)), truth)
        rand += adjusted_rand(groups, truth)
        used += zip(*(segments_used(stage.cpu()) for stage in result.groups))
        use.append((len(picture), group_use(groups, result.maps[-1].flatten(2).cpu())))
        embeddings.append(result.image_embeddings.cpu())
    figures = named.compute()
    best = oracle.compute()
    embedding, present = torch.cat(embeddings), present_objects(masks, num_objects)
    figures |= {
        "ari": float(np.mean(rand)),
        "recognition_ap": recognition_ap(embedding, classes.cpu()[:num_objects], present),
        "oracle_miou": best["miou"],
        "oracle_miou_objects": best["miou_objects"],
        "naming": figures["miou"] / best["miou"],
        "num_images": len(images),
        "segments_used_per_stage": [float(np.mean(stage)) for stage in zip(*used)],
    }
    if num_controls:
        few = rand[:num_controls]
        figures |= {"num_controls": len(few), "controls_model_ari": float(np.mean(few)),
                    "controls_model_ari_of_each": few,
                    "controls_model_ari_interval": interval(mean_of(few, draws(len(few))))}
    for key in use[0][1]:
        figures[key] = sum(n * u[key] for n, u in use) / len(images)
    scores = (embedding @ classes.cpu()[:num_objects].T).float()
    return figures | _intervals(named, oracle, rand, scores, present)


def _intervals(named: MaskMetrics, oracle: MaskMetrics, rand: list[float], scores: Tensor,
               present: Tensor) -> dict[str, list[float]]:
    """95 % intervals of the metrics, over draws of pictures."""
    weights = draws(len(rand))
    there = named.compute()
    found = {key: named.draws_of(key, weights) for key in named._parts if key in there}
    found["oracle_miou"] = oracle.draws_of("miou", weights)
    found["naming"] = found["miou"] / found["oracle_miou"]
    found["ari"] = mean_of(rand, weights)
    found["recognition_ap"] = average_precision_of(scores, present, weights)
    return {f"{key}_interval": interval(values) for key, values in found.items()}


def segments_used(groups: Tensor, least: float = 0.02) -> list[int]:
    """Of each picture (B, H, W), how many groups hold that share of its pixels or more."""
    counts = torch.nn.functional.one_hot(groups.flatten(1)).sum(dim=1)                   # (B, G) pixels
    return (counts >= least * groups[0].numel()).sum(dim=1).tolist()


# Boundary mIoU, the figure in brackets of Table 3: how well masks fit along their edges.
#
# The definition is that of Boundary IoU (Cheng et al., CVPR 2021): of each mask only the pixels within
# d of its contour count, d being 2 % of the picture's diagonal; then intersection over union, here per
# class over the whole set. The edge of the picture is a contour.
#
# The paper says no more than "boundary mIoU". What to do at pixels that are not judged is ours. In VOC
# they lie exactly along the contours; there truth and prediction both take what they have at the nearest
# judged pixel. So masks that are right wherever they are judged score 1, and the truth's contours do
# not show in the prediction.

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


class BoundaryMetrics(MaskMetrics):
    """`MaskMetrics` of boundary regions, picture by picture: each has its own diagonal."""

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
