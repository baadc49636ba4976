"""What a model says of whole images: zero-shot classification (Table C1) and retrieval.

Classification: which class name is nearest to the image. As released: the shorter side to 8/7 of the model's size,
bilinear, the middle cropped; the class names in CLIP's seven templates, their projections averaged.

Retrieval: does an image find its captions among all, and a caption its image? Recall@k is the share of the queries that
have a right answer among the k nearest by cosine: of an image any of its captions, of a caption its one image. It depends
on how many there are to choose from: metrics are usually given for 1,000 images with five captions each.

N images  M captions  C shared channels
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import comb
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2
from tqdm import tqdm

from ..data.captioned.batches import CaptionedImages
from ..files import read_text
from ..images import load_image, normalize
from ..model import GroupViT
from ..segmentation.steps import embed_classes, evaluating

# CLIP's seven best of its 80 for ImageNet.
TEMPLATES = ("itap of a {}.", "a bad photo of the {}.", "a origami {}.", "a photo of the large {}.",
             "a {} in a video game.", "art of the {}.", "a photo of the small {}.")
RANKS = (1, 5, 10)
_LAYOUT = ("a folder for each class with its images, named after the class (or after ImageNet's numbers, all 1000 "
           "of them), and if need be a classes.txt with a better name for each folder, in their alphabetical order")


def open_image_folder(root: str | Path, image_size: int) -> tuple[ImageFolder, list[str]]:
    """Images by class, ready for a model of `image_size` pixels a side, and the names of the classes.

    Raises ValueError that says which layout was expected.
    """
    prepare = v2.Compose([v2.Resize(int(256 / 224 * image_size), antialias=True), v2.CenterCrop(image_size),
                          v2.PILToTensor()])
    try:
        found = ImageFolder(str(root), transform=prepare, loader=load_image)
    except FileNotFoundError as error:
        raise ValueError(f"{root} has no images by class ({error}); expected: {_LAYOUT}") from None
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
    """Share of images whose class is the nearest name (`top1`), or among the nearest five (`top5`).

    Args:
        root: a folder of folders, one for each class (torchvision's ImageFolder).
        templates: what the names are set into.
        batch_size: images at once.
        num_images: about so many, spread evenly over the folder; None: all.
        num_workers: processes that read images.
        progress: show a bar.

    `top5` is there from six classes on. Raises ValueError for a folder of another layout.
    """
    data, names = open_image_folder(root, model.config.image.image_size)
    kept = range(0, len(data), 1 if num_images is None else max(1, len(data) // num_images))
    loader = DataLoader(torch.utils.data.Subset(data, kept), batch_size=batch_size, num_workers=num_workers)
    classes = embed_repeated(model, names, templates)                     # (C, E)
    ranks, truths = [], []
    with evaluating(model), tqdm(total=len(kept), desc="classification", unit="image", disable=not progress) as bar:
        for images, truth in loader:
            pixels = images.to(model.device, model.logit_scale.dtype) / 255
            image, _ = model.encode_image(normalize(pixels))              # (B, E)
            ranks.append((image @ classes.T).topk(min(5, len(names)), dim=-1).indices.cpu())   # (B, 5)
            truths.append(truth)
            bar.update(len(truth))
    hits, truth = torch.cat(ranks) == torch.cat(truths)[:, None], torch.cat(truths)
    metrics: dict[str, Any] = {"num_images": len(kept), "num_classes": len(names), "chance": 1 / len(names),
                               "top1": hits[:, 0].float().mean().item()}
    if len(names) > 5:
        metrics["top5"] = hits.any(dim=-1).float().mean().item()
    first = {name: hits[truth == c, 0] for c, name in enumerate(data.classes)}
    return metrics | {"accuracy_per_class": {name: right.float().mean().item() for name, right in first.items()
                                             if len(right)}, "templates": list(templates)}


@torch.no_grad()
def embed_pairs(model: GroupViT, data: CaptionedImages, batch_size: int = 100) -> tuple[Tensor, Tensor, Tensor]:
    """Unit vectors of all images (N, C) and all their captions (M, C), and whose caption each is (M,)."""
    texts = data.all_captions
    with evaluating(model):
        images = [model.encode_image(normalize(part.to(model.device).float() / 255))[0].cpu()
                  for part in data.images.split(batch_size)]
        captions = [model.encode_text(model.tokenizer(texts[i:i + batch_size]).to(model.device)).cpu()
                    for i in range(0, len(texts), batch_size)]
    owner = torch.tensor([number for number, own in enumerate(data.captions) for _ in own])
    return torch.cat(images), torch.cat(captions), owner


def recall(images: Tensor, texts: Tensor, owner: Tensor, ranks: tuple[int, ...] = RANKS,
           chunk: int = 1000) -> dict[str, float]:
    """Recall@k in both directions, fractions from 0 to 1, and their mean `mean_recall`.

    Equal cosines count against the model: one that gives the same vector to everything finds nothing.

    Args:
        images, texts: unit vectors (N, C) and (M, C).
        owner: (M,) which image each text belongs to; every image has one text or more.
        ranks: the values of k.
        chunk: queries compared at a time, which bounds the memory.

    Raises:
        ValueError: an image without a text.
    """
    if len(owner.unique()) != len(images):
        raise ValueError(f"{len(images)} images, but only {len(owner.unique())} of them have a text")
    before_text, before_image = [], []     # wrong answers that come before the first right one
    for start in range(0, len(images), chunk):
        scores = images[start:start + chunk] @ texts.T                                  # (n, M)
        own = owner == torch.arange(start, start + len(scores))[:, None]                # (n, M)
        best = scores.masked_fill(~own, -torch.inf).amax(dim=1, keepdim=True)           # (n, 1)
        before_text.append((~own & ~(scores < best)).sum(dim=1))    # "not below" counts NaN, too
    for start in range(0, len(texts), chunk):
        scores = texts[start:start + chunk] @ images.T                                  # (m, N)
        own = owner[start:start + chunk, None] == torch.arange(len(images))             # (m, N)
        before_image.append((~own & ~(scores < scores[own][:, None])).sum(dim=1))
    metrics = {}
    for name, before in (("image_to_text", torch.cat(before_text)), ("text_to_image", torch.cat(before_image))):
        metrics |= {f"{name}_recall_{k}": (before < k).double().mean().item() for k in ranks}
    return metrics | {"mean_recall": sum(metrics.values()) / len(metrics)}


def chance_recall(owner: Tensor, ranks: tuple[int, ...] = RANKS) -> dict[str, float]:
    """What `recall` is on average for answers in random order."""
    counts, M = torch.bincount(owner).tolist(), len(owner)
    metrics = {f"image_to_text_recall_{k}": sum(1 - comb(M - own, k) / comb(M, k) if k <= M else 1.0
                                                for own in counts) / len(counts) for k in ranks}
    metrics |= {f"text_to_image_recall_{k}": min(1.0, k / len(counts)) for k in ranks}
    return metrics | {"mean_recall": sum(metrics.values()) / len(metrics)}


def evaluate_retrieval(model: GroupViT, data: CaptionedImages) -> dict[str, float]:
    """Recall@1, 5, 10 of a model on captioned images, both directions, and how many there were."""
    images, texts, owner = embed_pairs(model, data)
    return recall(images, texts, owner) | {"num_images": len(images), "num_texts": len(texts)}
