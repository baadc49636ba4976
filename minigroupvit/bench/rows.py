"""What is measured: of each row, functions that do the same work, ours first.

transformers' model has the same weights, made by `export_transformers`; a row whose answers differ is an error.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ..checkpoints.released.write import export_transformers
from ..config import GROUPVIT_2STAGE, GroupViTConfig
from ..data.captioned.augment import AUGMENTATIONS
from ..data.captioned.batches import Batch, CaptionedImages, pack_texts
from ..data.captioned.on_disk import CaptionedFiles
from ..data.scenes.make import make_scene
from ..data.scenes.sets import scene_arrays
from ..extras import extra
from ..layers import attend
from ..losses import image_text_loss, multi_label_loss
from ..model import GroupViT
from ..segmentation.segment import segment
from ..training.loop import training_loss
from ..training.recipes import recipe
from ..training.run import build_model
from .measure import DTYPES, Run

OURS, THEIRS = "minigroupvit", "transformers"
HAS_TRANSFORMERS = find_spec("transformers") is not None
NUM_TEXTS = 4                    # of an image in a training step: its caption and three prompted nouns


@dataclass(frozen=True)
class Sizes:
    """How much is computed. The defaults are the paper's model, and batches that fit an 8 GB machine."""

    model: GroupViTConfig = GROUPVIT_2STAGE
    batches: tuple[int, ...] = (1, 32)           # of the forward pass
    train_batch: int = 32
    mask_side: int = 448                         # pixels
    class_counts: tuple[int, ...] = (20, 80)
    scene_batch: int = 128                       # of the small model
    num_scenes: int = 500
    caption_length: int = 12                     # tokens of the longest caption of a batch


QUICK = Sizes(batches=(1, 4), train_batch=4, class_counts=(80,), scene_batch=32, num_scenes=64)


@dataclass
class Case:
    """One line of the table."""

    name: str
    contenders: dict[str, Run]   # the first is ours
    counts_flops: bool = False   # whether it is set beside the machine's limit
    items: int | None = None     # made in a run, for a rate
    remembered: bool = False     # whether peak memory is measured


@dataclass(frozen=True)
class Settings:
    """Where, how exactly and how much."""

    device: torch.device
    precision: str
    sizes: Sizes = Sizes()
    compiled: bool = False       # with torch.compile as a contender

    def autocast(self) -> Any:
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, DTYPES[self.precision])


@lru_cache(maxsize=1)
def models(sizes: Sizes, device: torch.device, side: int | None = None) -> tuple[GroupViT, Any]:
    """Our model and transformers' with the same random weights; `side`: pixels that their positions are for.

    None in the place of transformers' where it is not installed.
    """
    torch.manual_seed(0)
    ours = GroupViT(sizes.model if side is None else replace(
        sizes.model, image=replace(sizes.model.image, image_size=side)))
    with torch.no_grad():
        for name, value in ours.image_encoder.named_parameters():
            if value.ndim >= 2:                  # so that groups differ, and rounding does not decide which is largest
                value.normal_(std=1.0 if "tokens" in name and "norm" not in name else 2 * value[0].numel() ** -0.5)
    if not HAS_TRANSFORMERS:
        return ours.to(device).eval(), None
    transformers = import_module("transformers")      # to compare with, where it is there: no requirement of the package
    transformers.logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as folder:
        export_transformers(ours, folder)
        theirs = transformers.GroupViTModel.from_pretrained(folder)
    return ours.to(device).eval(), theirs.to(device).eval()


def _without_gradient(function: Callable[[], object], settings: Settings) -> Run:
    def run() -> object:
        with torch.inference_mode(), settings.autocast():
            return function()

    return run


def _same(ours: Tensor, theirs: Tensor, what: str) -> None:
    """Raises where two embeddings (B, C) that should be equal are not: speed of another answer says nothing."""
    cosine = F.cosine_similarity(ours.float(), theirs.float(), dim=-1).min().item()
    if cosine < 0.99:
        raise AssertionError(f"{what}: ours and transformers' embeddings have a cosine of {cosine:.4f}, expected 1")


def forward(settings: Settings) -> Iterator[Case]:
    """Images to embeddings."""
    ours, theirs = models(settings.sizes, settings.device)
    side = settings.sizes.model.image.image_size
    for B in settings.sizes.batches:
        images = torch.randn(B, 3, side, side, device=settings.device)
        contenders = {OURS: _without_gradient(lambda: ours.encode_image(images)[0], settings)}
        if theirs is not None:
            contenders[THEIRS] = _without_gradient(
                lambda: theirs.get_image_features(pixel_values=images).pooler_output, settings)
            with torch.inference_mode():
                _same(ours.encode_image(images[:1])[0],
                      theirs.get_image_features(pixel_values=images[:1]).pooler_output, "image forward")
        if settings.compiled:
            # "freezing" lets the compiler prepare the weights once: for inference only.
            fast = torch.compile(lambda x: ours.encode_image(x)[0], dynamic=False, options={"freezing": True})

            def compiled() -> Tensor:
                with torch.no_grad(), settings.autocast():
                    return fast(images)

            contenders[f"{OURS}, compiled"] = compiled
        yield Case(f"image forward, batch {B}", contenders, counts_flops=True, items=B, remembered=True)


def train(settings: Settings) -> Iterator[Case]:
    """Both losses and their gradients for images with a caption and three prompted nouns each."""
    ours, theirs = models(settings.sizes, settings.device)
    B, K, L = settings.sizes.train_batch, NUM_TEXTS - 1, settings.sizes.caption_length
    side, text = settings.sizes.model.image.image_size, settings.sizes.model.text
    torch.manual_seed(0)
    images = torch.randn(B, 3, side, side, device=settings.device)
    end, short = text.vocab_size - 1, min(8, L)

    def ids(count: int, longest: int, padded: int) -> Tensor:
        rows = torch.full((count, padded), end, device=settings.device)      # transformers pads with the end token
        rows[:, :longest - 1] = torch.randint(1, end, (count, longest - 1))
        return rows

    parts = [ids(B, L, L), ids(B * K, short, short)]                         # as `pack_texts` makes them
    cut = torch.cat([F.pad(part, (0, L - part.shape[1]), value=end) for part in parts])
    whole = F.pad(cut, (0, text.context_length - L), value=end)

    def losses(images: Tensor, texts: Tensor, scale: Tensor) -> None:
        captions, prompts = texts[:B], texts[B:].unflatten(0, (B, K))
        (image_text_loss(images, captions, scale) + multi_label_loss(images, prompts, scale)).backward()

    def our_step() -> None:
        with settings.autocast():
            losses(ours.encode_image(images)[0], ours.encode_text(parts), ours.scale())
        ours.zero_grad(set_to_none=True)

    def their_step(texts: Tensor) -> None:
        with settings.autocast():
            out = theirs(input_ids=texts, pixel_values=images)
            losses(out.image_embeds.float(), out.text_embeds.float(), theirs.logit_scale.exp())
        theirs.zero_grad(set_to_none=True)

    def training(step: Callable[..., None], *given: Tensor) -> Run:
        def run() -> None:
            for model in filter(None, (ours, theirs)):
                model.train()
            step(*given)
            for model in filter(None, (ours, theirs)):
                model.eval()

        return run

    contenders = {OURS: training(our_step)}
    if theirs is not None:
        contenders |= {THEIRS: training(their_step, whole), f"{THEIRS}, texts truncated as ours": training(their_step, cut)}
    yield Case(f"training step, batch {B}, {NUM_TEXTS} texts", contenders, counts_flops=True, items=B, remembered=True)


def masks(settings: Settings) -> Iterator[Case]:
    """Zero-shot masks of one image. Ours has the class embeddings cached, transformers' model has no place for them."""
    side = settings.sizes.mask_side
    ours, theirs = models(settings.sizes, settings.device, side)
    image = torch.rand(1, 3, side, side, device=settings.device)
    for C in settings.sizes.class_counts:
        classes = F.normalize(torch.randn(C, settings.sizes.model.embed_dim, device=settings.device), dim=-1)
        names = [f"class {n}" for n in range(C)]
        ids = torch.full((C, 8), settings.sizes.model.text.vocab_size - 1, device=settings.device)
        ids[:, :7] = torch.randint(1, 100, (C, 7))

        def our_masks() -> Tensor:
            return segment(ours, image, names, class_embeddings=classes).labels

        def their_masks() -> Tensor:
            out = theirs(input_ids=ids, pixel_values=image, output_segmentation=True)
            return out.segmentation_logits.argmax(dim=1)

        contenders = {OURS: _without_gradient(our_masks, settings)}
        if theirs is not None:
            contenders[THEIRS] = _without_gradient(their_masks, settings)
        yield Case(f"zero-shot masks, {side} x {side}, {C} classes", contenders, counts_flops=True, items=1, remembered=True)


def linear(settings: Settings) -> Iterator[Case]:
    """A linear layer of the paper's size by torch, and on a CPU by oneDNN, which torch uses for bf16 only."""
    image = settings.sizes.model.image
    D, N = image.width, settings.sizes.train_batch * (image.grid_size ** 2 + image.num_group_tokens[0])
    x, weight, bias = (torch.randn(*shape, device=settings.device, dtype=DTYPES[settings.precision])
                       for shape in ((N, D), (4 * D, D), (4 * D,)))
    contenders: dict[str, Run] = {"torch": lambda: F.linear(x, weight, bias)}
    if settings.device.type == "cpu" and torch.backends.mkldnn.is_available():
        # The compiler's own operation: torch has no switch that sends fp32 products there.
        contenders["oneDNN"] = lambda: torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    yield Case(f"linear layer {D} to {4 * D} on {N} tokens", contenders)


@lru_cache(maxsize=1)
def _scenes(count: int) -> CaptionedImages:
    scenes = scene_arrays("train", count)
    return CaptionedImages(torch.from_numpy(scenes.images).permute(0, 3, 1, 2).contiguous(),
                           [[caption] for caption in scenes.captions])


def _small_model(settings: Settings) -> tuple[GroupViT, Batch, Any]:
    """The model of the recipe `scenes`, a batch, and how it is trained."""
    B, data, chosen = settings.sizes.scene_batch, _scenes(settings.sizes.num_scenes), recipe("scenes")
    training = replace(chosen.training, batch_size=B)
    model = build_model(chosen, data).to(settings.device).train()
    return model, data.batch(0, B, 0, training.num_prompts, training.templates), training


def small(settings: Settings) -> Iterator[Case]:
    """A training step of the small model, with equal texts encoded once or every text by itself."""
    model, batch, training = _small_model(settings)
    B = len(batch.captions)

    def step() -> None:
        with settings.autocast():
            loss = training_loss(model, batch, training)["loss"]
        loss.backward()
        model.zero_grad(set_to_none=True)

    yield Case(f"training step of the small model, batch {B}", {OURS: step}, counts_flops=True, items=B)

    def texts(once: bool) -> None:
        ids, spread = pack_texts(model.tokenizer, batch)
        if not once:                             # every caption and prompt, all as long as the longest
            ids, spread = [model.tokenizer(batch.captions + [p for own in batch.prompts for p in own])], None
        with settings.autocast():
            found = model.encode_text([i.to(settings.device) for i in ids],
                                      None if spread is None else spread.to(settings.device))
        found.sum().backward()
        model.zero_grad(set_to_none=True)

    yield Case(f"texts of the small model, batch {B}",
               {"equal texts once, two lengths": lambda: texts(True), "every text, one length": lambda: texts(False)})


def attention(settings: Settings) -> Iterator[Case]:
    """`layers.attend` beside torch's fused kernel, for the tokens of the paper's first stage."""
    image = settings.sizes.model.image
    N, d = image.grid_size ** 2 + image.num_group_tokens[0], image.width // image.num_heads
    for gradient in (False, True):
        q, k, v = (torch.randn(settings.sizes.train_batch, image.num_heads, N, d, device=settings.device,
                               dtype=DTYPES[settings.precision], requires_grad=gradient) for _ in range(3))

        def run(product: Callable[..., Tensor]) -> Run:
            def once() -> None:
                with torch.set_grad_enabled(gradient):
                    out = product(q, k, v)
                if gradient:
                    out.sum().backward()
                    q.grad = k.grad = v.grad = None

            return once

        yield Case(f"attention of {N} tokens{', with gradient' if gradient else ''}",
                   {"layers.attend": run(attend), "scaled_dot_product_attention": run(F.scaled_dot_product_attention)})


def data(settings: Settings) -> Iterator[Case]:
    """Scenes, and batches of images in memory and on the disk. On the CPU and without a precision."""
    with extra("data"):
        import datasets

    count, B = settings.sizes.num_scenes, settings.sizes.scene_batch
    yield Case(f"{count} scenes made, one core", {OURS: lambda: [make_scene(i) for i in range(count)]}, items=count)
    memory, templates = _scenes(count), recipe("scenes").training.templates
    yield Case(f"a batch of {B} scenes in memory", {OURS: lambda: memory.batch(0, B, 0, 3, templates)}, items=B)
    with tempfile.TemporaryDirectory() as folder:
        for i in range(B):                       # photographs have more detail; this measures decoding and resizing
            large = Image.fromarray(memory.images[i].permute(1, 2, 0).numpy()).resize((480, 360))
            large.save(Path(folder) / f"{i}.jpg")
        rows = datasets.Dataset.from_dict({"image": [str(Path(folder) / f"{i}.jpg") for i in range(B)],
                                           "caption": [own[0] for own in memory.captions[:B]]})
        files = CaptionedFiles(rows.cast_column("image", datasets.Image()), 224, num_workers=0)
        for kind in ("none", "paper"):
            yield Case(f"a batch of {B} JPEGs of 480 x 360, augmentation {kind}, one core",
                       {OURS: lambda kind=kind: next(files.batches(0, 1, B, 0, 3, templates, AUGMENTATIONS[kind]))},
                       items=B)


ROWS: dict[str, Callable[[Settings], Iterator[Case]]] = {
    "forward": forward, "train": train, "masks": masks, "small": small, "attention": attention,
    "linear": linear, "data": data}
