"""A few photographs with free licences, which scikit-image and scikit-learn contain.

    image = free_photograph("cat")          # a PIL image, upright RGB
    CREDITS["cat"]                            # its author and licence
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from PIL import Image

from ..images import load_image

_FILES = {
    "cat": ("skimage", "data/chelsea.png"),
    "astronaut": ("skimage", "data/astronaut.png"),
    "photographer": ("skimage", "data/camera.png"),
    "coffee": ("skimage", "data/coffee.png"),
    "temple": ("sklearn", "datasets/images/china.jpg"),
    "flower": ("sklearn", "datasets/images/flower.jpg"),
}
CREDITS = {
    "cat": "Stéfan van der Walt, CC0",
    "astronaut": "NASA, public domain",
    "photographer": "Lav Varshney, CC0",
    "coffee": "Rachel Michetti, CC0",
    "temple": "danielbuechele, CC BY 2.0",
    "flower": "vultilion, CC BY 2.0",
}


def free_photograph(name: str) -> Image.Image:
    """The photograph of this name, RGB. Raises ValueError that lists the names there are."""
    if name not in _FILES:
        raise ValueError(f"there is no photograph {name!r}; there are {', '.join(_FILES)}")
    package, file = _FILES[name]
    return load_image(Path(find_spec(package).origin).parent / file)

# Words for five of the photographs, and places that show what a word says: (x, y) from the upper left corner, as shares of
# width and height. Chosen by eye, well inside of what they name, before any model was asked. The cat has no places: what is
# behind it has no clear name.
POINTS: dict[str, dict[str, tuple[tuple[float, float], ...]]] = {
    "astronaut": {
        "woman": ((0.46, 0.25), (0.30, 0.65), (0.17, 0.78), (0.45, 0.31)),
        "flag": ((0.07, 0.15), (0.10, 0.38), (0.05, 0.30)),
        "wall": ((0.25, 0.20), (0.63, 0.25), (0.94, 0.20)),
        "rocket": ((0.79, 0.40),), "helmet": ((0.70, 0.85), (0.85, 0.85))},
    "photographer": {
        "man": ((0.20, 0.50), (0.40, 0.20), (0.10, 0.62), (0.28, 0.68)),
        "sky": ((0.20, 0.10), (0.80, 0.15), (0.95, 0.25)),
        "grass": ((0.80, 0.60), (0.90, 0.85), (0.45, 0.75)),
        "camera": ((0.58, 0.32),)},
    "coffee": {
        "cup": ((0.33, 0.30), (0.48, 0.48), (0.64, 0.30)),
        "plate": ((0.18, 0.60), (0.40, 0.90), (0.74, 0.60)),
        "table": ((0.04, 0.65), (0.90, 0.30), (0.88, 0.85)),
        "spoon": ((0.61, 0.72),)},
    "temple": {
        "building": ((0.33, 0.50), (0.35, 0.63), (0.32, 0.24), (0.30, 0.38)),
        "sky": ((0.10, 0.15), (0.70, 0.15), (0.90, 0.20)),
        "water": ((0.68, 0.57), (0.75, 0.60)),
        "tree": ((0.70, 0.85), (0.95, 0.50), (0.15, 0.90), (0.05, 0.52))},
    "flower": {
        "flower": ((0.50, 0.30), (0.40, 0.50), (0.60, 0.60), (0.50, 0.75), (0.56, 0.95)),
        "leaf": ((0.10, 0.20), (0.85, 0.30), (0.85, 0.75), (0.15, 0.75), (0.32, 0.08))},
}
