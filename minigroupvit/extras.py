"""Optional libraries. Each belongs to an extra: `pip install "minigroupvit[data]"`.

    with extra("data"):
        from datasets import load_dataset
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

EXTRAS = {
    "data": "captioned data sets: folders, shards, the Hugging Face hub",
    "evaluation": "k-means on colours, instances in COCO's format, COCO's masks",
    "tables": "pre-training by MoCo v3 and DINO for the paper's Table 5",
    "tensorboard": "TensorBoard logs of training",
    "widgets": "widgets in notebooks",
}


class MissingExtra(ImportError):
    """A library is not installed; the message has the command that installs it."""


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Around the imports of an extra's libraries. Raises MissingExtra, with the command, where one is missing."""
    try:
        yield
    except ImportError as error:
        raise MissingExtra(missing(name, error), name=error.name) from error


def missing(name: str, error: ImportError) -> str:
    """The message for a missing library of an extra."""
    library = (error.name or "a library").partition(".")[0]
    return (f"{EXTRAS[name]}: {library} is not installed ({error}); it comes with the extra {name!r}: "
            f'pip install "minigroupvit[{name}]", or "minigroupvit[all]" for all extras')
