"""Pictures of any kind become what the model takes, or a sentence that says why not."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from minigroupvit.images import IMAGE_MEAN, IMAGE_STD, load_image, normalize, resize, size_for, to_batch, to_rgb

RED, WHITE = (255, 0, 0), (255, 255, 255)


def striped() -> Image.Image:
    """6 wide, 4 high: the top row is red, the rest blue."""
    pixels = np.full((4, 6, 3), (0, 0, 255), dtype=np.uint8)
    pixels[0] = RED
    return Image.fromarray(pixels)


def grey16(values: list[int]) -> Image.Image:
    return Image.fromarray(np.array([values], dtype=np.uint16))


# Kinds of pictures

def test_grey_becomes_three_equal_channels() -> None:
    picture = to_rgb(Image.new("L", (3, 2), 77))
    assert picture.mode == "RGB" and picture.getpixel((0, 0)) == (77, 77, 77)


def test_transparency_becomes_white() -> None:
    picture = Image.new("RGBA", (2, 1), (*RED, 255))
    picture.putpixel((1, 0), (0, 0, 0, 0))
    assert [to_rgb(picture).getpixel((x, 0)) for x in (0, 1)] == [RED, WHITE]
    assert to_rgb(picture.convert("LA")).getpixel((1, 0)) == WHITE
    half = to_rgb(Image.new("RGBA", (1, 1), (0, 0, 0, 128))).getpixel((0, 0))
    assert half == pytest.approx((127, 127, 127), abs=1)


def test_palette(tmp_path: Path) -> None:
    palette = striped().convert("P", palette=Image.Palette.ADAPTIVE, colors=2)
    assert to_rgb(palette).getpixel((0, 0)) == RED
    # With a transparent entry, as GIFs have it
    palette.save(tmp_path / "a.gif", transparency=palette.getpixel((0, 0)))
    loaded = load_image(tmp_path / "a.gif")
    assert loaded.getpixel((0, 0)) == WHITE and loaded.getpixel((0, 2)) == (0, 0, 255)


@pytest.mark.parametrize(("values", "expected"), [
    ([0, 32768, 65535], [0, 127, 255]),
    ([0, 32768, 32768], [0, 127, 127]),      # the scale is that of 16 bits, not of this picture
    ([0, 100, 255], [0, 100, 255]),          # 8 bits in a file of 16
])
def test_sixteen_bits_of_grey(tmp_path: Path, values: list[int], expected: list[int]) -> None:
    grey16(values).save(tmp_path / "a.png")
    picture = load_image(tmp_path / "a.png")
    assert [picture.getpixel((x, 0))[0] for x in range(3)] == pytest.approx(expected, abs=1)


def test_sixteen_bits_of_grey_with_a_transparent_value(tmp_path: Path) -> None:
    grey16([0, 32768, 65535]).save(tmp_path / "a.png", transparency=65535)
    picture = load_image(tmp_path / "a.png")
    assert picture.mode == "RGB" and picture.getpixel((0, 0)) == (0, 0, 0)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "I", "F", "I;16"])
def test_every_mode_of_pil(mode: str) -> None:
    source = Image.new("L", (3, 2), 255)
    picture = Image.new("I;16", (3, 2), 65535) if mode == "I;16" else source.convert(
        "RGB" if mode in ("CMYK", "YCbCr", "HSV") else "L").convert("P" if mode == "PA" else mode).convert(mode)
    converted = to_rgb(picture)
    assert converted.mode == "RGB" and converted.size == (3, 2)
    assert converted.getpixel((1, 1)) == WHITE


def test_exif_rotation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: turn by 90 degrees
    striped().save(tmp_path / "a.png", exif=exif)
    picture = load_image(tmp_path / "a.png")
    assert picture.size == (4, 6)
    assert [picture.getpixel((3, y)) for y in (0, 5)] == [RED, RED]
    assert picture.getpixel((0, 0)) == (0, 0, 255)


# Files that are no good

@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's about what is cut off
@pytest.mark.parametrize("kind", ["png", "jpeg", "gif", "bmp", "tiff", "webp"])
def test_a_truncated_file(tmp_path: Path, kind: str) -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)).save(buffer, kind)
    content, path = buffer.getvalue(), tmp_path / f"a.{kind}"
    for keep in [*range(0, 100, 7), *(len(content) * i // 10 for i in range(1, 9))]:
        path.write_bytes(content[:keep])
        with pytest.raises(ValueError, match="is no picture that can be read, or it is cut off"):
            load_image(path)


def test_damaged_exif(tmp_path: Path, monkeypatch) -> None:
    """Pillow lets struct.error and ValueError through where the fields of EXIF make no sense."""
    striped().save(tmp_path / "a.png")
    for error in (struct.error("required argument is not an integer"), ValueError("Invalid dimensions")):
        monkeypatch.setattr(ImageOps, "exif_transpose", Mock(side_effect=error))
        with pytest.raises(ValueError, match=f"a.png is no picture.*{error}"):
            load_image(tmp_path / "a.png")


def test_files_that_are_no_pictures(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no picture at .*b.png"):
        load_image(tmp_path / "b.png")
    with pytest.raises(ValueError, match="is a folder"):
        load_image(tmp_path)
    (tmp_path / "b.png").write_text("a text")
    with pytest.raises(ValueError, match="b.png is no picture"):
        load_image(tmp_path / "b.png")


# Arrays and tensors

def test_all_kinds_of_one_picture_are_the_same_batch() -> None:
    picture = striped()
    array = np.array(picture)
    tensor = torch.from_numpy(array).permute(2, 0, 1)
    expected = to_batch(picture)
    assert expected.shape == (1, 3, 4, 6) and expected.dtype == torch.float32
    assert expected[0, :, 0, 0].tolist() == [1, 0, 0] and expected[0, :, 3, 5].tolist() == [0, 0, 1]
    for same in (array, array[None], array[::-1, ::-1][::-1, ::-1], array / 255, (array / 255).astype(np.float32),
                 tensor, tensor[None], tensor.float() / 255, [picture], [array], (tensor,)):
        torch.testing.assert_close(to_batch(same).float(), expected)


def test_several_pictures() -> None:
    assert to_batch([striped(), np.zeros((4, 6, 3), np.uint8), torch.rand(2, 3, 4, 6)]).shape == (4, 3, 4, 6)


def test_half_precision_becomes_single() -> None:
    assert to_batch(torch.rand(3, 2, 2).half()).dtype == torch.float32


@pytest.mark.parametrize(("images", "message"), [
    ([], "at least one picture, got an empty list"),
    ([torch.rand(3, 4, 4), torch.rand(3, 4, 5)], r"need one size, got \[\(4, 4\), \(4, 5\)\]"),
    ("sun.png", "expected pictures as PIL images, arrays or tensors, got str"),
    (None, "got NoneType"),
    (np.zeros((4, 4), np.uint8), r"shape \(H, W, 3\) or \(B, H, W, 3\), got \(4, 4\)"),
    (np.zeros((4, 4, 4), np.uint8), r"got \(4, 4, 4\)"),
    (torch.rand(1, 4, 4), r"shape \(3, H, W\) or \(B, 3, H, W\), got \(1, 1, 4, 4\)"),
    (torch.rand(4, 4, 3), "expected a tensor of shape"),
    (torch.rand(3, 0, 4), r"got \(1, 3, 0, 4\)"),
    (torch.zeros(3, 4, 4, dtype=torch.int64), r"uint8 \(0 to 255\) or floats \(0 to 1\), got torch.int64"),
    (np.zeros((4, 4, 3), bool), "got torch.bool"),
    (torch.full((3, 4, 4), 255.0), "floats from 0 to 1, got 255 to 255; divide values up to 255 by 255"),
    (torch.full((3, 4, 4), -0.5), "got -0.5 to -0.5"),
    (torch.full((3, 4, 4), float("nan")), "floats from 0 to 1, got nan"),
])
def test_arrays_and_tensors_that_are_no_pictures(images: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        to_batch(images)


# Sizes and values

def test_normalize_uses_the_statistics_of_imagenet() -> None:
    mean = torch.tensor(IMAGE_MEAN).view(1, 3, 1, 1)
    torch.testing.assert_close(normalize(mean.expand(2, 3, 4, 5)), torch.zeros(2, 3, 4, 5))
    torch.testing.assert_close(normalize(mean + torch.tensor(IMAGE_STD).view(3, 1, 1)), torch.ones(1, 3, 1, 1))


def test_resize() -> None:
    images = torch.rand(2, 3, 8, 8)
    assert resize(images, (8, 8)) is images
    small = resize(images, (2, 4))
    assert small.shape == (2, 3, 2, 4)
    torch.testing.assert_close(small.mean(), images.mean(), rtol=0, atol=0.02)  # anti-aliased: all pixels count
    large = resize((images > 0.5).float(), (19, 23))
    assert large.min() >= 0 and large.max() <= 1


@pytest.mark.parametrize(("size", "patch", "short_side", "expected"), [
    ((64, 64), 8, None, (64, 64)),
    ((61, 67), 8, None, (64, 64)),
    ((3, 100), 8, None, (8, 96)),
    ((1, 1), 16, None, (16, 16)),
    ((480, 640), 16, 448, (448, 592)),      # 597 wide: 37.3 patches
    ((640, 480), 16, 448, (592, 448)),
    ((10, 20), 8, 64, (64, 128)),
])
def test_size_for(size: tuple[int, int], patch: int, short_side: int | None, expected: tuple[int, int]) -> None:
    assert size_for(*size, patch, short_side) == expected
