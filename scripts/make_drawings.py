"""Render the drawings of the scenes' objects and write `minigroupvit/data/scenes/drawings.npz`.

    python scripts/make_drawings.py [--only cat rabbit] [--sheet sheet.png]

The drawings are code, in `scripts/drawings/`. matplotlib renders them once, and the result is shipped, so that no
drawing library can change a pixel of a scene. Each object has several drawings; only the split `unseen` shows the
last one. A drawing becomes five layers of 128 x 128 bytes:

    alpha    coverage of the whole object, 0 to 255
    second   coverage of the parts in its second colour
    detail   coverage of the details, whose colour is a fixed grey
    tone     128 where a part has its own colour, darker below, lighter above; the grey of a detail
    height   a soft dome, 0 at the rim; its slope gives light and shadow in a scene

`--sheet` writes a contact sheet: a row per object, every drawing large, then with 32 pixels in colour and grey.
`--only` renders these objects and writes only the sheet.
"""

import argparse
import importlib
import pkgutil
from pathlib import Path

import drawings
import numpy as np
from matplotlib.path import Path as Curve

SIZE = 128  # pixels of a shipped drawing
OVERSAMPLE = 6  # each of them is the mean of 6 x 6 samples
MARGIN = 8  # empty pixels around, which are one pixel at an eighth of the size
TARGET = Path(__file__).parent.parent / "minigroupvit" / "data" / "scenes" / "drawings.npz"


def all_drawings():
    """The drawings of each object by its name, from every module of `drawings` that has DRAWINGS."""
    found = {}
    for module in pkgutil.iter_modules(drawings.__path__):
        found |= getattr(importlib.import_module(f"drawings.{module.name}"), "DRAWINGS", {})
    return found


def box_blur(array, radius):
    for axis in (0, 1):
        padded = np.pad(array, [(radius + 1, radius) if a == axis else (0, 0) for a in (0, 1)])
        total = padded.cumsum(axis)
        n = array.shape[axis]
        ahead, behind = np.arange(n) + 2 * radius + 1, np.arange(n)
        array = (total.take(ahead, axis) - total.take(behind, axis)) / (2 * radius + 1)
    return array


def render(steps):
    """One drawing as layers (5, SIZE, SIZE) uint8: alpha, second, detail, tone, height."""
    side = SIZE * OVERSAMPLE
    outlines = [s.curve.to_polygons()[0] for s in steps if s.kind in ("main", "second", "detail") and not s.inside]
    vertices = np.concatenate(outlines)
    low, high = vertices.min(0), vertices.max(0)
    centre, extent = (low + high) / 2, (high - low).max()
    # The object fills the box without its margin along its longer side.
    unit = (np.arange(side) + 0.5) / side * SIZE
    x = (unit - SIZE / 2) / (SIZE - 2 * MARGIN) * extent + centre[0]
    y = (SIZE / 2 - unit) / (SIZE - 2 * MARGIN) * extent + centre[1]
    grid = np.stack(np.meshgrid(x, y), -1).reshape(-1, 2)
    part = np.zeros(side * side, dtype=np.uint8)  # 0 nothing, 1 main, 2 second, 3 detail
    tone = np.zeros(side * side)
    for step in steps:
        covered = np.zeros(side * side, dtype=bool)
        for outline in step.curve.to_polygons():
            covered |= Curve(outline).contains_points(grid)
        if step.inside:
            covered &= part > 0
        if step.kind == "shade":
            tone[covered & (part < 3)] = step.value
        else:
            part[covered] = ("cut", "main", "second", "detail").index(step.kind)
            tone[covered] = 2 * step.value - 1 if step.kind == "detail" else 0.0

    def shrink(a):
        return a.astype(float).reshape(SIZE, OVERSAMPLE, SIZE, OVERSAMPLE).mean((1, 3))

    alpha = shrink(part > 0)
    dome = sum(np.clip(2 * box_blur(box_blur(alpha, r), r) - 1, 0, 1) for r in (3, 6, 10)) / 3
    height = np.sqrt(dome) * alpha
    tone = shrink(tone * (part > 0)) / np.maximum(alpha, 1e-6)
    layers = np.stack([alpha * 255, shrink(part == 2) * 255, shrink(part == 3) * 255, 128 + 127 * tone, height * 255])
    return np.clip(np.rint(layers), 0, 255).astype(np.uint8)


def picture(layers, main_rgb, second_rgb):
    """A drawing in two colours on white, (SIZE, SIZE, 3) floats: for the sheet."""
    alpha, second, detail, tone, height = (a[..., None] / 255 for a in layers.astype(float))
    tone = (tone * 255 - 128) / 127
    shade_by = (0.74 + 0.3 * height) * (1 + 0.75 * np.minimum(tone, 0))
    own = (np.array(main_rgb) * np.maximum(alpha - second - detail, 0) + np.array(second_rgb) * second) * shade_by
    own += (255 * (alpha - detail) - own) * 0.75 * np.maximum(tone, 0)
    return own + detail * (tone + 1) / 2 * 255 + 255 * (1 - alpha)


def save_sheet(path, rendered):
    """A row per object: its drawings large, then small in colour and in grey."""
    from PIL import Image

    colours = [((214, 60, 50), (250, 212, 50)), ((44, 110, 210), (240, 240, 236)), ((60, 150, 66), (132, 62, 176)),
               ((140, 144, 150), (214, 60, 50)), ((244, 140, 30), (50, 50, 60)), ((244, 130, 176), (60, 150, 66))]
    most = max(len(d) for d in rendered.values())
    rows = []
    for many in rendered.values():
        big, small = [], []
        for i, layers in enumerate(many):
            tile = picture(layers, *colours[i % len(colours)])
            little = tile.reshape(32, 4, 32, 4, 3).mean((1, 3))
            grey = np.repeat(little.mean(2, keepdims=True), 3, 2)
            big.append(tile)
            small.append(np.vstack([little, little * 0 + 255, grey, little * 0 + 255]))
        big += [np.full((SIZE, SIZE, 3), 255.0)] * (most - len(big))
        small += [np.full((128, 32, 3), 255.0)] * (most - len(small))
        rows.append(np.hstack(big + small))
    Image.fromarray(np.clip(np.vstack(rows), 0, 255).astype(np.uint8)).save(path)


def overlap(first, second):
    """Largest IoU of two drawings over shift, scale, mirroring and rotation, at 32 x 32 pixels."""
    from scipy.ndimage import affine_transform

    def small(layers):
        return layers[0].reshape(32, 4, 32, 4).mean((1, 3)) / 255

    a, b, best = small(first) > 0.5, small(second), 0.0
    middle = np.array([15.5, 15.5])
    for flip in (1, -1):
        for degrees in range(0, 360, 15):
            c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
            for scale in (0.75, 0.87, 1.0, 1.15, 1.33):
                matrix = np.array([[c, -s], [s, c]]) @ np.diag([1, flip]) * scale
                moved = affine_transform(b, matrix, middle - matrix @ middle, order=1) > 0.5
                # All shifts at once, by a correlation.
                common = np.fft.irfft2(np.fft.rfft2(a, (64, 64)) * np.conj(np.fft.rfft2(moved, (64, 64))),
                                       (64, 64)).max()
                best = max(best, common / (a.sum() + moved.sum() - common))
    return float(best)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", help="only these objects, for the sheet")
    parser.add_argument("--sheet", help="write a contact sheet as well")
    options = parser.parse_args()
    chosen = {name: many for name, many in all_drawings().items() if not options.only or name in options.only}
    rendered = {name: [render(steps) for steps in many] for name, many in chosen.items()}
    for name, many in rendered.items():
        pairs = [(overlap(many[i], many[j]), i, j) for i in range(len(many)) for j in range(i)]
        print(f"{name}: {len(many)} drawings, most alike {max(pairs)[1:]} with IoU {max(pairs)[0]:.2f}")
    if options.sheet:
        save_sheet(options.sheet, rendered)
    if not options.only:
        np.savez_compressed(TARGET, **{name: np.stack(many) for name, many in rendered.items()})
        print(f"{TARGET.name}: {TARGET.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
