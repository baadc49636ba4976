"""Images of any kind become what the model takes, or a clear error."""

from __future__ import annotations

import io
import struct
import zlib
from contextlib import nullcontext
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from minigroupvit.images import (
    IMAGE_MEAN,
    IMAGE_STD,
    load_image,
    normalize,
    resize,
    size_for,
    to_batch,
    to_rgb,
    to_unit,
)

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
    assert picture.mode == "RGB" and [picture.getpixel((x, 0)) for x in range(3)] == [(0,) * 3, (128,) * 3, WHITE]


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


# Which value is white

@pytest.mark.parametrize(("values", "expected"), [       # what is sure: nothing is said
    (np.array([False, True]), [0, 1]),
    (np.array([0, 51, 255], np.uint8), [0, 0.2, 1]),
    (np.array([0, 13107, 65535], np.uint16), [0, 0.2, 1]),
    (np.array([0, 13107, 50000], np.uint16), [0, 0.2, 50000 / 65535]),    # the type's white, not this picture's
    (np.array([0, 51, 250], np.uint16), [0, 0.2, 250 / 255]),             # 8 bits in a wider type
    (np.array([0, 51, 255], np.int64), [0, 0.2, 1]),
    (np.array([0, 32767], np.int16), [0, 1]),
    (np.array([0, 0], np.int32), [0, 0]),
    (np.array([0, 0.25, 0.75], np.float32), [0, 0.25, 0.75]),
    (np.array([0, 1.0002], np.float64), [0, 1]),                          # rounding
    (np.array([0, 51, 204], np.float16), [0, 0.2, 0.8]),
])
def test_the_data_type_decides_which_value_is_white(values: np.ndarray, expected: list[float]) -> None:
    found = to_unit(torch.from_numpy(values))
    assert found.is_floating_point() and found.tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("values", "white", "message"), [
    (np.array([5, 900], np.uint16), 1023, "uint16 values of at most 10 bits are taken as 0 to 1023, which is white"),
    (np.array([5, 2900], np.int32), 4095, "int32 values of at most 12 bits are taken as 0 to 4095"),
    (np.array([5, 9000], np.int16), 16383, "int16 values of at most 14 bits"),
    (np.array([5, 900000], np.int64), 900000, "of more than 16 bits are taken as 0 to their largest"),
    (np.array([0, 1], np.int64), 255, "int64 values of at most 8 bits are taken as 0 to 255"),   # a mask, perhaps
    (np.array([5, 2900], np.float32), 4095, "float32 values of at most 12 bits"),
    (np.array([0, 2.6]), 255, "float64 values of at most 8 bits are taken as 0 to 255"),
])
def test_a_guess_is_reported(values: np.ndarray, white: float, message: str) -> None:
    with pytest.warns(UserWarning, match=message):
        assert to_unit(torch.from_numpy(values)).tolist() == pytest.approx((values / white).tolist(), abs=1e-6)


@pytest.mark.parametrize(("mode", "values", "expected", "message"), [
    ("F", [0, 0.5, 0.9], [0, 128, 230], None),
    ("F", [0, 51, 240], [0, 51, 240], None),
    ("F", [0, 1000, 3800], [0, 62, 237], "float32 values of at most 12 bits"),
    ("I", [0, 1000, 3800], [0, 62, 237], "int32 values of at most 12 bits"),
    ("I;16", [0, 500, 999], [0, 125, 249], "uint16 values of at most 10 bits"),
])
def test_files_of_more_than_eight_bits_are_not_black(tmp_path: Path, mode: str, values: list, expected: list,
                                                     message: str | None) -> None:
    kind = {"F": np.float32, "I": np.int32, "I;16": np.uint16}[mode]
    Image.fromarray(np.array([values], kind)).save(tmp_path / "a.tif")
    assert Image.open(tmp_path / "a.tif").mode == mode
    with pytest.warns(UserWarning, match=message) if message else nullcontext():
        picture = load_image(tmp_path / "a.tif")
    assert [picture.getpixel((x, 0)) for x in range(3)] == [(v, v, v) for v in expected]


def test_a_file_below_zero_is_refused(tmp_path: Path) -> None:
    Image.fromarray(np.array([[-3.0, 0.5]], np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match="a.tif .*expected float32 values from 0 to 1, or to 255, got -3 to 0.5"):
        load_image(tmp_path / "a.tif")


@pytest.mark.parametrize(("value", "dark"), [(3000, True), (40000, False)])
def test_colours_of_sixteen_bits_that_stay_dark_are_reported(tmp_path: Path, value: int, dark: bool) -> None:
    """Pillow drops the lower byte of each: 12 bits become 15 of 255."""
    row = b"\0" + np.full((5, 3), value, ">u2").tobytes()                 # no filter, then five pixels

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 5, 4, 16, 2, 0, 0, 0)
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(
        b"IDAT", zlib.compress(4 * row)) + chunk(b"IEND", b""))
    with pytest.warns(UserWarning, match="no more than 11 of 255; .* 8 to 14 bits") if dark else nullcontext():
        assert load_image(tmp_path / "a.png").getpixel((4, 3)) == (value >> 8,) * 3


# Files that are no good

@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's about what is cut off
@pytest.mark.parametrize("kind", ["png", "jpeg", "gif", "bmp", "tiff", "webp"])
def test_a_truncated_file(tmp_path: Path, kind: str) -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)).save(buffer, kind)
    content, path = buffer.getvalue(), tmp_path / f"a.{kind}"
    for keep in [*range(0, 100, 7), *(len(content) * i // 10 for i in range(1, 9))]:
        path.write_bytes(content[:keep])
        with pytest.raises(ValueError, match="is no image that can be read, or it is cut off"):
            load_image(path)


def test_damaged_exif(tmp_path: Path, monkeypatch) -> None:
    """Pillow raises struct.error and ValueError for invalid EXIF fields."""
    striped().save(tmp_path / "a.png")
    for error in (struct.error("required argument is not an integer"), ValueError("Invalid dimensions")):
        monkeypatch.setattr(ImageOps, "exif_transpose", Mock(side_effect=error))
        with pytest.raises(ValueError, match=f"a.png is no image.*{error}"):
            load_image(tmp_path / "a.png")


def test_files_that_are_no_images(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no image at .*b.png"):
        load_image(tmp_path / "b.png")
    with pytest.raises(ValueError, match="is a folder"):
        load_image(tmp_path)
    (tmp_path / "b.png").write_text("a text")
    with pytest.raises(ValueError, match="b.png is no image"):
        load_image(tmp_path / "b.png")


# Arrays and tensors

def test_all_kinds_of_one_image_give_the_same_batch() -> None:
    picture = striped()
    array = np.array(picture)
    tensor = torch.from_numpy(array).permute(2, 0, 1)
    expected = to_batch(picture)
    assert expected.shape == (1, 3, 4, 6) and expected.dtype == torch.float32
    assert expected[0, :, 0, 0].tolist() == [1, 0, 0] and expected[0, :, 3, 5].tolist() == [0, 0, 1]
    for same in (array, array[None], array[::-1, ::-1][::-1, ::-1], array / 255, (array / 255).astype(np.float32),
                 tensor, tensor[None], tensor.float() / 255, [picture], [array], (tensor,), array.astype(np.int64),
                 tensor.float(), array.astype(np.uint16) * 257, array.astype(">u2") * 257, array > 0):
        torch.testing.assert_close(to_batch(same).float(), expected)


def test_several_images() -> None:
    assert to_batch([striped(), np.zeros((4, 6, 3), np.uint8), torch.rand(2, 3, 4, 6)]).shape == (4, 3, 4, 6)


def test_half_precision_becomes_single() -> None:
    assert to_batch(torch.rand(3, 2, 2).half()).dtype == torch.float32


@pytest.mark.parametrize(("images", "message"), [
    ([], "at least one image, got an empty list"),
    ([torch.rand(3, 4, 4), torch.rand(3, 4, 5)], r"need one size, got \[\(4, 4\), \(4, 5\)\]"),
    ("sun.png", "expected images as PIL images, arrays or tensors, got str"),
    (None, "got NoneType"),
    (np.zeros((4, 4), np.uint8), r"shape \(H, W, 3\) or \(B, H, W, 3\), got \(4, 4\)"),
    (np.zeros((4, 4, 4), np.uint8), r"got \(4, 4, 4\)"),
    (torch.rand(1, 4, 4), r"shape \(3, H, W\) or \(B, 3, H, W\), got \(1, 1, 4, 4\)"),
    (torch.rand(4, 4, 3), "expected a tensor of shape"),
    (torch.rand(3, 0, 4), r"got \(1, 3, 0, 4\)"),
    (torch.full((3, 4, 4), -0.5), "float32 values from 0 to 1, or to 255, got -0.5 to -0.5; .* do not normalise"),
    (torch.full((3, 4, 4), float("nan")), "from 0 to 1, or to 255, got nan"),
    (torch.full((3, 4, 4), float("inf")), "got inf to inf"),
    (np.full((4, 4, 3), 1.6), "float64 values from 0 to 1, or to 255, got 1.6 to 1.6"),   # too bright, or black?
    (np.full((4, 4, 3), -7, np.int16), "int16 values from 0 up, got -7 to -7"),
    (np.zeros((4, 4, 3), complex), "expected an array of numbers, got complex128"),
])
def test_arrays_and_tensors_that_are_no_images(images: object, message: str) -> None:
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
