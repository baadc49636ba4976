"""Table 5: the image encoder trained without captions, by image labels, MoCo v3 or DINO, and with masks.

Heads and losses of MoCo v3 and DINO are those of the `lightly` library, the extra `tables` of this package.
Differences to the papers: DINO has two local crops instead of eight and 256 prototypes instead of 65,536; the loss of
MoCo v3 is lightly's NTXentLoss, which also counts the other images' queries as negatives. The encoder has no class
token: the mean over its patches takes its place.

B images  C classes  D width  h, w patch grid  H, W image
"""

from __future__ import annotations

import copy
import json
import time
import warnings
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm.auto import tqdm

from ..config import ImageConfig
from ..data.captioned.augment import Augmentation, augment, image_seeds
from ..data.captioned.batches import epoch_indices
from ..evaluation.metrics import present_objects
from ..extras import extra
from ..files import write_atomically
from ..image_encoder import ImageEncoder
from ..images import normalize
from ..training.config import TrainConfig
from ..training.loop import TrainingStopped, stop_on_interrupt
from ..training.optimizer import learning_rate, make_optimizer, optimizer_tensors, restore_optimizer
from ..training.precision import MixedPrecision

_VIEW = Augmentation(colour_jitter=0.4, greyscale=0.2)
_LABELLED = Augmentation(colour_jitter=0.2)     # no crop: it could remove an object that the labels name


def views(images: Tensor, size: int, smallest: float, *key: int) -> Tensor:
    """A random view of each image (B, 3, H, W) uint8: crop, mirrored half of the time, colour jitter; (B, 3, S, S).

    Args:
        size: S in pixels.
        smallest: area of the smallest crop, as a share of the image.
        key: of the random numbers, such as (seed, step, number of the view).
    """
    choice, mirrored = replace(_VIEW, crop=smallest), mirror(images, *key)
    crops = [augment(image, choice, seed, size) for image, seed in zip(mirrored, image_seeds(len(images), *key))]
    return normalize(torch.stack(crops).float() / 255)


def mirror(images: Tensor, *key: int) -> Tensor:
    """Half of the images, or of their masks, (B, ..., W), mirrored: the same ones for the same key."""
    mirrored = torch.tensor([seed % 2 == 0 for seed in image_seeds(len(images), *key, 0)])
    return torch.where(mirrored.to(images.device).view(-1, *[1] * (images.ndim - 1)), images.flip(-1), images)


class Pretraining(nn.Module):
    """What `fit` trains."""

    def loss(self, images: Tensor, masks: Tensor, *key: int) -> Tensor:
        """Of images (B, 3, H, W) uint8 with masks (B, H, W); `key`, such as (seed, step), of the random numbers."""
        raise NotImplementedError

    def after_step(self, done: float) -> None:
        """Called after each step; `done` is the share of the steps so far."""


class Labels(Pretraining):
    """Supervised by image labels: which classes are in the image? One sigmoid for each class."""

    def __init__(self, config: ImageConfig, num_classes: int) -> None:
        super().__init__()
        self.encoder = ImageEncoder(config)
        self.head = nn.Linear(config.width, num_classes)

    def loss(self, images: Tensor, masks: Tensor, *key: int) -> Tensor:
        """The masks only tell which classes are in an image."""
        present = present_objects(masks, self.head.out_features)                                         # (B, C)
        logits = self.head(self.encoder(_labelled(images, *key)).feature)
        return F.binary_cross_entropy_with_logits(logits.float(), present.float())


class MoCo(Pretraining):
    """MoCo v3 (Chen et al. 2021): contrastive loss between two views of an image.

    One view is encoded by the encoder, the other by its teacher (momentum encoder): an exponential moving average of it.
    """

    def __init__(self, config: ImageConfig) -> None:
        with extra("tables"):
            from lightly.loss import NTXentLoss
            from lightly.models.modules.heads import MoCoProjectionHead

        super().__init__()
        width, hidden, out = config.width, 4 * config.width, config.width
        self.encoder = ImageEncoder(config)
        self.head = MoCoProjectionHead(width, hidden, out, num_layers=3, batch_norm=True)
        self.predictor = MoCoProjectionHead(out, hidden, out, num_layers=2, batch_norm=True)
        self.teacher, self.teacher_head = (_frozen(copy.deepcopy(part)) for part in (self.encoder, self.head))
        self.contrast = NTXentLoss(temperature=0.2)

    def loss(self, images: Tensor, masks: Tensor, *key: int) -> Tensor:
        """Without the masks."""
        pair = [views(images, images.shape[-1], 0.3, *key, number) for number in range(2)]
        seen = [self.encoder(view).feature for view in pair]
        with torch.no_grad():
            known = [self.teacher(view).feature for view in pair]
        with torch.autocast(images.device.type, enabled=False):     # bf16 has too few digits for a sharp softmax
            queries = [self.predictor(self.head(feature.float())) for feature in seen]
            with torch.no_grad():
                keys = [self.teacher_head(feature.float()) for feature in known]
            return (self.contrast(queries[0], keys[1]) + self.contrast(queries[1], keys[0])) / 2

    def after_step(self, done: float) -> None:
        """Updates the teacher."""
        _update_teacher(self, done)


class DINO(Pretraining):
    """DINO (Caron et al. 2021): self-distillation from large crops to small ones.

    The student's distribution over the prototypes, for every crop, shall be that of its teacher for the large crops.
    The teacher is an exponential moving average of the student.
    """

    def __init__(self, config: ImageConfig, prototypes: int = 256) -> None:
        with extra("tables"):
            from lightly.loss import DINOLoss
            from lightly.models.modules.heads import DINOProjectionHead

        super().__init__()
        self.encoder = ImageEncoder(config)
        self.teacher = _frozen(copy.deepcopy(self.encoder))
        # Weight normalisation cannot be copied: made twice, and loaded.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)     # lightly's kind of weight normalisation is an old one
            self.head, self.teacher_head = (
                DINOProjectionHead(config.width, 4 * config.width, config.width, prototypes) for _ in range(2))
        self.teacher_head.load_state_dict(self.head.state_dict())
        _frozen(self.teacher_head)
        self.agree = DINOLoss(prototypes)

    def loss(self, images: Tensor, masks: Tensor, *key: int) -> Tensor:
        """Without the masks."""
        side, patch = images.shape[-1], self.encoder.config.patch_size
        large = [views(images, side, 0.4, *key, number) for number in range(2)]
        small = [views(images, max(patch, side // 2 // patch * patch), 0.1, *key, number) for number in (2, 3)]
        seen = [self.encoder(view).feature for view in (*large, *small)]
        with torch.no_grad():
            known = [self.teacher(view).feature for view in large]
        with torch.autocast(images.device.type, enabled=False):     # bf16 has too few digits for a sharp softmax
            with torch.no_grad():
                targets = [self.teacher_head(feature.float()) for feature in known]
            return self.agree(targets, [self.head(feature.float()) for feature in seen], teacher_temp=0.04)

    def after_step(self, done: float) -> None:
        """Updates the teacher."""
        _update_teacher(self, done)


class MaskTraining(Pretraining):
    """The encoder with a 1 × 1 convolution on its patches, trained with the true class of every pixel."""

    def __init__(self, encoder: ImageEncoder, num_classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Conv2d(encoder.config.width, num_classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W) to the logits of each pixel's classes (B, C, H, W)."""
        output = self.encoder(images)
        patches = output.segment_tokens.transpose(1, 2).unflatten(-1, output.grid)                       # (B, D, h, w)
        return F.interpolate(self.head(patches).float(), images.shape[-2:], mode="bilinear", align_corners=False)

    def loss(self, images: Tensor, masks: Tensor, *key: int) -> Tensor:
        """Cross-entropy of every pixel."""
        return F.cross_entropy(self(_labelled(images, *key)), mirror(masks, *key).long())


def _labelled(images: Tensor, *key: int) -> Tensor:
    """Images (B, 3, H, W) uint8, mirrored half of the time, with slight colour jitter, normalised."""
    coloured = [augment(image, _LABELLED, seed)
                for image, seed in zip(mirror(images, *key), image_seeds(len(images), *key))]
    return normalize(torch.stack(coloured).float() / 255)


def _frozen(module: nn.Module) -> nn.Module:
    return module.requires_grad_(False)


@torch.no_grad()
def _update_teacher(model: MoCo | DINO, done: float) -> None:
    """A step of the exponential moving average; its momentum rises from 0.99 to 1 by a cosine."""
    with extra("tables"):
        from lightly.models.utils import update_momentum
        from lightly.utils.scheduler import cosine_schedule

    momentum = cosine_schedule(round(1000 * done), 1001, 0.99, 1.0)
    update_momentum(model.encoder, model.teacher, momentum)
    update_momentum(model.head, model.teacher_head, momentum)


def pretraining(task: str, config: ImageConfig, num_classes: int) -> Pretraining:
    """The pre-training of this task. Raises ValueError for another, MissingExtra where `lightly` is needed and missing.
    """
    if task in ("moco", "dino"):
        return (MoCo if task == "moco" else DINO)(config)
    if task == "labels":
        return Labels(config, num_classes)
    if task == "masks":
        return MaskTraining(ImageEncoder(config), num_classes)
    raise ValueError(f"there is no pre-training {task!r}; choose labels, moco, dino or masks")


def fit(module: Pretraining, images: Tensor, masks: Tensor, config: TrainConfig, path: Path, bar: tqdm,
        device: torch.device, save_every: int | None = None) -> float:
    """Trains a module; goes on from the checkpoint at `path`, if there is one.

    As in the training from captions, everything random in step s comes from (seed, s).

    Args:
        images, masks: (N, 3, H, W) and (N, H, W) uint8.
        config: steps, batch size, learning rate, seed ...; fields about captions have no effect.
        bar: is updated after each step.
        save_every: steps between checkpoints; None: as in the configuration.

    Returns the seconds that all steps took. Raises KeyboardInterrupt once a first Ctrl-C or SIGTERM is saved, and
    TrainingStopped where the loss is not finite.
    """
    module.to(device).train()
    optimizer = make_optimizer(module, config.lr, config.weight_decay)
    precision = MixedPrecision(config.precision, device)
    start, seconds = _resume(path, module, optimizer, precision)
    resume_bar(bar, start)
    clock = time.perf_counter()
    with stop_on_interrupt() as interrupted, precision.products():
        for step in range(start, config.steps):
            torch.manual_seed(config.seed * 1_000_003 + step)
            rows = torch.from_numpy(epoch_indices(len(images), step, config.batch_size, config.seed))
            rate = learning_rate(step, config.steps, config.lr, config.warmup, config.min_lr)
            for group in optimizer.param_groups:
                group["lr"] = rate
            with precision.autocast():
                loss = module.loss(images[rows].to(device), masks[rows].to(device), config.seed, step)
            norm = precision.backward(loss, optimizer, module, config.clip_norm)
            if not torch.isfinite(loss) or not (torch.isfinite(norm) or precision.can_skip()):
                raise TrainingStopped(f"step {step}: the loss or its gradient is not finite ({loss.item():.4g}, "
                                      f"gradient norm {norm.item():.4g}) at learning rate {config.lr:.2e}")
            precision.step(optimizer)
            module.after_step((step + 1) / config.steps)
            bar.update(1)
            done = step + 1
            if interrupted.is_set() or done % (save_every or config.save_every) == 0 or done == config.steps:
                now = time.perf_counter()
                seconds, clock = seconds + now - clock, now
                _save(path, module, optimizer, precision, done, seconds)
            if interrupted.is_set() and done < config.steps:
                raise KeyboardInterrupt
    module.eval()
    return seconds


def resume_bar(bar: tqdm, start: int) -> None:
    """Counts the steps of an earlier start as done, but leaves them out of the speed that the bar shows."""
    if not bar.disable:
        bar.initial += start
    bar.update(start)


def _save(path: Path, module: nn.Module, optimizer: torch.optim.Optimizer, precision: MixedPrecision, done: int,
          seconds: float) -> None:
    # Clones: safetensors refuses two names for the same memory.
    tensors = {f"module.{name}": value.detach().cpu().contiguous().clone()
               for name, value in module.state_dict().items()}
    tensors |= {f"optimizer.{name}": value.detach().cpu().contiguous().clone()
                for name, value in optimizer_tensors(optimizer, module).items()}
    about = {"step": str(done), "seconds": str(seconds), "precision": json.dumps(precision.state())}
    write_atomically(path, lambda file: save_file(tensors, file, metadata=about))


def _resume(path: Path, module: nn.Module, optimizer: torch.optim.Optimizer,
            precision: MixedPrecision) -> tuple[int, float]:
    """Loads the checkpoint, if there is one; the steps done so far, and the seconds that they took."""
    if not path.exists():
        return 0, 0.0
    with safe_open(path, framework="pt") as file:
        about = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    module.load_state_dict({name.removeprefix("module."): value for name, value in tensors.items()
                            if name.startswith("module.")})
    restore_optimizer(optimizer, module, tensors, "optimizer.")
    precision.restore(json.loads(about["precision"]))
    return int(about["step"]), float(about["seconds"])
