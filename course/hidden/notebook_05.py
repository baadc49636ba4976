"""Training."""

import torch
from torch import Generator, Tensor, nn


class _Model(nn.Module):
    """Two linear encoders and a temperature behind the methods of GroupViT that the exercise names."""

    def __init__(self, draw: Generator):
        super().__init__()
        self.image, self.text = (nn.Parameter(torch.randn(5, 4, generator=draw)) for _ in range(2))
        self.logit_scale, self.sizes = nn.Parameter(torch.randn((), generator=draw)), []

    def encode_image(self, images: Tensor) -> tuple[Tensor, None]:
        self.sizes.append(len(images))
        return nn.functional.normalize(images @ self.image, dim=1), None

    def encode_text(self, ids: Tensor) -> Tensor:
        return nn.functional.normalize(ids @ self.text, dim=1)

    def scale(self) -> Tensor:
        return self.logit_scale.exp()


def _after(answer, draw: Generator, size: int) -> _Model:
    model = _Model(draw)
    answer(model, torch.randn(12, 5, generator=draw), torch.randn(12, 5, generator=draw), size)
    return model


class backward_in_parts:
    def encoders(answer, draw):
        """the gradients of both encoders are those of the whole batch"""
        model = _after(answer, draw, 4)
        return [model.image.grad, model.text.grad]

    def temperature(answer, draw):
        """and so is the gradient of the temperature"""
        return _after(answer, draw, 3).logit_scale.grad

    def parts(answer, draw):
        """no more images at once than a part has, and a last part that is smaller"""
        model = _after(answer, draw, 5)
        return [max(model.sizes), model.image.grad]
