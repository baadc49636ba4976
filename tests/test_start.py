"""What an import brings along, by the modules that it loads: libraries wait until they are used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import minigroupvit

LATE = {"datasets", "transformers", "sklearn", "matplotlib", "pyarrow", "pandas", "torchmetrics", "torchvision", "textblob",
        "nltk", "open_clip", "IPython", "ipywidgets", "lightly", "pycocotools", "skimage", "webdataset", "tensorboard"}


def loaded_by(script: str) -> set[str]:
    """Names of the modules that a new Python has after a script."""
    done = subprocess.run([sys.executable, "-c", f"{script}\nimport sys; print(*sys.modules)"], capture_output=True,
                          text=True, check=True)
    return set(done.stdout.split())


def test_the_package_itself_brings_nothing() -> None:
    """Less than `import torch`, whatever that takes: torch itself comes with the first name that needs it."""
    new = loaded_by("import minigroupvit") - loaded_by("")
    assert {name for name in new if name.startswith("minigroupvit")} == {"minigroupvit"}
    assert not {name.partition(".")[0] for name in new} & (LATE | {"torch", "numpy", "PIL"})


@pytest.mark.parametrize("names", [["GroupViT", "segment", "load", "load_image", "InferenceOptions", "preset"]])
def test_models_and_masks_bring_torch_and_no_library_that_they_do_not_use(names: list[str]) -> None:
    assert set(names) <= set(minigroupvit.__all__)
    before = loaded_by("import torch, numpy, safetensors.torch, PIL.Image, PIL.ImageOps, regex\n"
                       "from huggingface_hub import ModelHubMixin")
    new = loaded_by("import minigroupvit\n" + "\n".join(f"minigroupvit.{name}" for name in names)) - before
    assert not {name.partition(".")[0] for name in new} & LATE
    # The modules of the package itself, and little else.
    assert len({name for name in new if not name.startswith("minigroupvit")}) < 40, sorted(new)
