"""What many tests share: a tokenizer, a configuration, a model, captioned images."""

from dataclasses import replace

import pytest
import torch

from minigroupvit.config import GroupViTConfig, ImageConfig, TextConfig
from minigroupvit.data.captioned.batches import CaptionedImages
from minigroupvit.model import GroupViT
from minigroupvit.text.caption_tokenizer import CaptionTokenizer
from minigroupvit.text.prompts import SIMPLE_TEMPLATES

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (40, 60, 220), "white": (240, 240, 240)}
NOUNS = ("sun", "heart", "brick", "cloud")

torch.set_num_threads(1)  # the numbers are small; more threads only wait for each other


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Seeds every test, so that it draws the same numbers alone and among others."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def captions() -> list[str]:
    return [f"a {colour} {noun} on the left" for noun in NOUNS for colour in COLOURS]


@pytest.fixture(scope="session")
def tokenizer(captions: list[str]) -> CaptionTokenizer:
    return CaptionTokenizer.train(captions, templates=SIMPLE_TEMPLATES, context_length=16)


@pytest.fixture(scope="session")
def tiny_config(tokenizer: CaptionTokenizer) -> GroupViTConfig:
    """Two stages that group, then one block: every part of the paper's model, very small."""
    return GroupViTConfig(
        image=ImageConfig(image_size=16, patch_size=4, width=16, num_heads=2, depths=(1, 1, 1),
                          num_group_tokens=(6, 3, 0), num_output_groups=(6, 3, 0)),
        text=TextConfig(vocab_size=tokenizer.vocab_size, context_length=16, width=16, num_heads=2, depth=2),
        embed_dim=12, head="mlp", head_width=24, tokenizer="captions")


@pytest.fixture(scope="session")
def make_model(tiny_config: GroupViTConfig, tokenizer: CaptionTokenizer):
    """Makes the tiny model, with fields of its image encoder changed; the same one every time."""

    def make(head: str = "mlp", **image) -> GroupViT:
        torch.manual_seed(1)
        return GroupViT(replace(tiny_config, head=head, image=replace(tiny_config.image, **image)), tokenizer)

    return make


@pytest.fixture(scope="session")
def captioned() -> CaptionedImages:
    """64 images: the noun says which quarter of the image has the caption's colour."""
    pictures, texts = torch.full((64, 3, 16, 16), 90, dtype=torch.uint8), []
    for i in range(64):
        noun, (colour, rgb) = i % 4, list(COLOURS.items())[i // 4 % 4]
        top, left = noun // 2 * 8, noun % 2 * 8
        pictures[i, :, top:top + 8, left:left + 8] = torch.tensor(rgb, dtype=torch.uint8)[:, None, None]
        texts.append([f"a {colour} {NOUNS[noun]}", f"there is a {NOUNS[noun]} here"])
    return CaptionedImages(pictures, texts, flip=False)
