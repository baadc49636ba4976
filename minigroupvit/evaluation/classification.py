"""Zero-shot classification (Table C1): which class name is nearest to the whole picture.

As released: the shorter side to 8/7 of the model's size, bilinear, the middle cut out; the class
names in CLIP's seven templates, their projections averaged.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2
from tqdm import tqdm

from ..files import read_text
from ..images import load_image, normalize
from ..model import GroupViT
from ..segmentation.steps import embed_classes, evaluating

# CLIP's seven best of its 80 for ImageNet.
TEMPLATES = ("itap of a {}.", "a bad photo of the {}.", "a origami {}.", "a photo of the large {}.",
             "a {} in a video game.", "art of the {}.", "a photo of the small {}.")
_LAYOUT = ("a folder for each class with its pictures, named after the class (or after ImageNet's numbers, all 1000 "
           "of them), and if need be a classes.txt with a better name for each folder, in their alphabetical order")


def open_image_folder(root: str | Path, image_size: int) -> tuple[ImageFolder, list[str]]:
    """Pictures by class, ready for a model of `image_size` pixels a side, and the names of the classes.

    Raises ValueError that says which layout was expected.
    """
    prepare = v2.Compose([v2.Resize(int(256 / 224 * image_size), antialias=True), v2.CenterCrop(image_size),
                          v2.PILToTensor()])
    try:
        found = ImageFolder(str(root), transform=prepare, loader=load_image)
    except FileNotFoundError as error:
        raise ValueError(f"{root} has no pictures by class ({error}); expected: {_LAYOUT}") from None
    file = Path(root, "classes.txt")
    if file.is_file():
        names = [line.strip() for line in read_text(file).rstrip().splitlines()]
        if len(names) != len(found.classes):
            raise ValueError(f"{file} has {len(names)} names for {len(found.classes)} folders; expected: {_LAYOUT}")
        return found, names
    if len(found.classes) == 1000 and all(re.fullmatch(r"n\d{8}", name) for name in found.classes):
        from open_clip import IMAGENET_CLASSNAMES  # in the order of the numbers

        return found, list(IMAGENET_CLASSNAMES)
    return found, [name.replace("_", " ") for name in found.classes]


def embed_repeated(model: GroupViT, class_names: Sequence[str], templates: Sequence[str] = TEMPLATES) -> Tensor:
    """`embed_classes` (C, E) where a name may come twice: two of ImageNet's classes are "sunglasses"."""
    unique = list(dict.fromkeys(class_names))
    embeddings = embed_classes(model, unique, templates, distinct=False)
    return embeddings[[unique.index(name) for name in class_names]]


@torch.no_grad()
def evaluate_classification(model: GroupViT, root: str | Path, templates: Sequence[str] = TEMPLATES,
                            batch_size: int = 32, num_images: int | None = None, num_workers: int = 0,
                            progress: bool = False) -> dict[str, Any]:
    """Share of pictures whose class is the nearest name (`top1`), or among the nearest five (`top5`).

    Args:
        root: a folder of folders, one for each class (torchvision's ImageFolder).
        templates: what the names are set into.
        batch_size: pictures at once.
        num_images: about so many, spread evenly over the folder; None: all.
        num_workers: processes that read pictures.
        progress: show a bar.

    `top5` is there from six classes on. Raises ValueError for a folder of another layout.
    """
    data, names = open_image_folder(root, model.config.image.image_size)
    kept = range(0, len(data), 1 if num_images is None else max(1, len(data) // num_images))
    loader = DataLoader(torch.utils.data.Subset(data, kept), batch_size=batch_size, num_workers=num_workers)
    classes = embed_repeated(model, names, templates)                     # (C, E)
    ranks, truths = [], []
    with evaluating(model), tqdm(total=len(kept), desc="classification", unit="picture", disable=not progress) as bar:
        for pictures, truth in loader:
            pixels = pictures.to(model.device, model.logit_scale.dtype) / 255
            image, _ = model.encode_image(normalize(pixels))              # (B, E)
            ranks.append((image @ classes.T).topk(min(5, len(names)), dim=-1).indices.cpu())   # (B, 5)
            truths.append(truth)
            bar.update(len(truth))
    hits, truth = torch.cat(ranks) == torch.cat(truths)[:, None], torch.cat(truths)
    figures: dict[str, Any] = {"num_images": len(kept), "num_classes": len(names), "chance": 1 / len(names),
                               "top1": hits[:, 0].float().mean().item()}
    if len(names) > 5:
        figures["top5"] = hits.any(dim=-1).float().mean().item()
    first = {name: hits[truth == c, 0] for c, name in enumerate(data.classes)}
    return figures | {"accuracy_per_class": {name: right.float().mean().item() for name, right in first.items()
                                             if len(right)}, "templates": list(templates)}
