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
