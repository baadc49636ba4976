"""Training."""

import random

import torch
from torch import Generator, Tensor, nn

from minigroupvit.data.captioned.batches import Batch
from minigroupvit.training import optimizer
from minigroupvit.training.config import TrainConfig
from minigroupvit.training.precision import MixedPrecision

_WORDS = "cat fish tree house car boat cup shoe".split()
_CPU = torch.device("cpu")


class _Model(nn.Module):
    """Two linear encoders and the temperatures behind the methods of GroupViT that the exercises name."""

    device = _CPU

    def __init__(self, draw: Generator, noise: float = 0.0):
        super().__init__()
        self.image_weight, self.text_weight = (nn.Parameter(torch.randn(5, 4, generator=draw)) for _ in range(2))
        self.logit_scale = nn.Parameter(torch.rand((), generator=draw))
        self.multi_label_logit_scale = nn.Parameter(torch.rand((), generator=draw))
        self.norm = nn.BatchNorm1d(5)
        self.noise, self.sizes = noise, []

    def tokenizer(self, texts: list[str]) -> Tensor:
        return torch.tensor([[text.count(letter) for letter in "aeiou"] for text in texts])

    def encode_image(self, images: Tensor) -> tuple[Tensor, None]:
        self.sizes.append(len(images))
        images = images + self.noise * torch.randn_like(images) if self.training else images
        return nn.functional.normalize(images @ self.image_weight, dim=1), None

    def encode_text(self, ids: Tensor) -> Tensor:
        return nn.functional.normalize(self.norm(ids.float()) @ self.text_weight, dim=1)


class _Scaled(_Model):
    def scale(self) -> Tensor:
        return self.logit_scale.exp()


class _Data:
    """Batches that depend on the seed and the step alone."""

    def __init__(self, draw: Generator):
        self.number = int(torch.randint(10**6, (), generator=draw))

    def batch(self, step, batch_size, seed, num_prompts, templates, device="cpu") -> Batch:
        rng = random.Random(f"{self.number} {seed} {step}")
        nouns = [rng.choices(_WORDS, k=num_prompts) for _ in range(batch_size)]
        images = torch.tensor([[rng.gauss(0, 1) for _ in range(5)] for _ in nouns])
        prompts = [[rng.choice(templates).format(noun) for noun in own] for own in nouns]
        return Batch(images, ["a " + " and a ".join(own) for own in nouns], prompts, nouns)


_SETTINGS = TrainConfig(steps=7, batch_size=6, lr=0.1, warmup=3, precision="fp32", save_every=3, text_lr=0.1, seed=4)


def _stepped(answer, draw: Generator, steps: tuple[int, ...], clip_norm: float, factor: float = 0.0):
    """Model and optimizer after some steps; `factor` above 0: gradients are scaled by it."""
    model, data, mixed = _Model(draw), _Data(draw), MixedPrecision("fp32", _CPU)
    adamw = optimizer.make_optimizer(model, 1.0, 0.05, text_lr=0.1)
    config = TrainConfig(steps=9, lr=0.1, warmup=3, clip_norm=clip_norm)
    if factor:
        mixed.scaler = torch.amp.GradScaler("cpu", init_scale=factor)
    values = [answer(model, adamw, data.batch(k, 6, 0, 3, config.templates), config, k, mixed) for k in steps]
    return model, adamw, [found["loss"] for found in values]


def _gradients(model: nn.Module) -> list[Tensor]:
    return [parameter.grad for parameter in model.parameters()]


def _weights(model: nn.Module) -> list[Tensor]:
    return [parameter.detach() for parameter in model.parameters()]


def _after(answer, draw: Generator, size: int) -> _Model:
    model = _Scaled(draw).eval()
    answer(model, torch.randn(12, 5, generator=draw), torch.randn(12, 5, generator=draw), size)
    return model


class my_rate:
    def warmup(answer, draw):
        """the steps of the warmup"""
        return [answer(k, 50, 0.3, 10, 0.1) for k in range(10)]

    def cosine(answer, draw):
        """the cosine after it, down to the smallest rate"""
        least = torch.rand((), generator=draw).item()
        return [answer(k, 50, 2.0, 10, least) for k in range(10, 50)]

    def none(answer, draw):
        """no warmup"""
        return [answer(k, 20, 1.0, 0, 0.01) for k in range(20)]


class my_losses:
    def values(answer, draw):
        """both losses and their sum"""
        found = answer(_Model(draw), _Data(draw).batch(0, 6, 0, 3, _SETTINGS.templates))
        return [found[name] for name in ("image_text", "multi_label", "loss")]

    def clamped(answer, draw):
        """scales above 100"""
        model = _Model(draw)
        model.logit_scale.data.fill_(5.5)
        model.multi_label_logit_scale.data.fill_(5.0)
        found = answer(model, _Data(draw).batch(0, 6, 0, 2, _SETTINGS.templates))
        return [found["image_text"], found["multi_label"]]

    def gradients(answer, draw):
        """the gradients of encoders and scales"""
        model = _Model(draw)
        answer(model, _Data(draw).batch(0, 6, 0, 3, _SETTINGS.templates))["loss"].backward()
        scales = [model.logit_scale.grad, model.multi_label_logit_scale.grad]
        return [model.image_weight.grad, model.text_weight.grad, *scales]


class my_step:
    def rates(answer, draw):
        """the learning rate of each group of parameters"""
        return [[group["lr"] for group in _stepped(answer, draw, (k,), 1e9)[1].param_groups] for k in (0, 2, 5)]

    def several(answer, draw):
        """the weights after several steps, and the losses of each"""
        model, _, values = _stepped(answer, draw, (2, 3, 4), 1e9)
        return [*_weights(model), values]

    def clipping(answer, draw):
        """the clipped gradient"""
        return _gradients(_stepped(answer, draw, (2,), 0.01)[0])

    def scaler(answer, draw):
        """the clipped gradient where the scaler is switched on, as in fp16"""
        return _gradients(_stepped(answer, draw, (2,), 0.01, factor=1024.0)[0])


class my_train:
    def whole(answer, draw):
        """a run that is not interrupted: losses and weights"""
        model = _Model(draw, noise=0.5).eval()
        return [answer(model, _Data(draw), _SETTINGS, {}), *_weights(model)]

    def resumed(answer, draw):
        """a run that was interrupted and is resumed with a fresh model"""
        data, saved, other = _Data(draw), {}, _Model(draw, noise=0.5)
        answer(_Model(draw, noise=0.5), data, _SETTINGS, saved, stop=5)
        return [answer(other, data, _SETTINGS, saved), *_weights(other)]

    def saved(answer, draw):
        """what is saved when the run is interrupted"""
        model, saved = _Model(draw), {}
        answer(model, _Data(draw), _SETTINGS, saved, stop=5)
        return [saved["step"], *saved["model"].values(), len(saved["adamw"]["state"]), sorted(saved["mixed"])]

    def finished(answer, draw):
        """a finished run makes no step more, and gives its weights"""
        data, saved, other = _Data(draw), {}, _Model(draw)
        answer(_Model(draw), data, _SETTINGS, saved)
        return [saved["step"], answer(other, data, _SETTINGS, saved), *_weights(other)]


class backward_in_parts:
    def encoders(answer, draw):
        """the gradients of both encoders are those of the whole batch"""
        model = _after(answer, draw, 4)
        return [model.image_weight.grad, model.text_weight.grad]

    def temperature(answer, draw):
        """and so is the gradient of the temperature"""
        return _after(answer, draw, 3).logit_scale.grad

    def parts(answer, draw):
        """no more images at once than a part has, and a last part that is smaller"""
        model = _after(answer, draw, 5)
        return [max(model.sizes), model.image_weight.grad]
