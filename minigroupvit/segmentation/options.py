"""The inference protocol: options of zero-shot segmentation, the released ones, and those of a model.

`steps` and `windows` say what each option does. Imports nothing but `config`, so that a checkpoint or a
command can hold a protocol without what it needs to run.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..config import check_choice

if TYPE_CHECKING:
    from ..model import GroupViT

_LONGEST = 8   # times the shorter side: more of a strip's length than this is squeezed before the model sees it

# The numbers of a label map that are no class; the classes are 0, 1, ...
BACKGROUND, IGNORED = -1, 255     # 255: not judged, as data sets have it


@dataclass(frozen=True)
class InferenceOptions:
    """The options of zero-shot segmentation. The defaults are for scenes and for one's own class names."""

    templates: tuple[str, ...] = ("a photo of a {}.",)   # averaged, un-normalised, as released
    top_classes: int | None = 5      # classes kept per image (or window), nearest to its embedding; None: all
    background_threshold: float | None = None   # a probability; None: there is no background class
    assignment: str = "soft"         # "soft" (released) | "hard": what step 1 multiplies
    upsample: str = "maps"           # "maps" (released): upsample, then argmax | "groups": argmax first
    pixels: str = "largest"          # a pixel takes the scores of its "largest" group (released) | "shared": of all
    #                                  | "patches": of its patch, for models without groups (Table 4, pixel-wise)
    balance: float | None = None     # share of the image added to each class's mean (balance_scores); released: None
    refine: int = 0                  # iterations of pixel-adaptive mask refinement (refine_maps); released: none
    overlap: int = 1                 # patches per patch side; 1: side by side, as trained and released
    short_side: int | None = None    # pixels of the shorter side in the model; None: as in the model's training
    long_side: int | None = None     # the longer side is at most this, however short the other gets; None: 8 times
    #                                  the shorter
    antialias: bool = True           # smooth while shrinking an image, bicubic in mode "direct"; released: bilinear
    mode: str = "direct"             # "direct": masks are made at the image's own size; at the size in the model,
    #                                  scores then resized: the "whole" image (released demo) | "slide" a window
    window: int | None = None        # of "slide": its side in pixels; None: that of short_side
    stride: int | None = None        # of "slide": pixels from window to window; None: half a window
    flip: bool = False               # segment the mirrored image too and take the mean; released: no

    def __post_init__(self) -> None:
        check_choice("assignment", self.assignment, "soft", "hard")
        check_choice("upsample", self.upsample, "maps", "groups")
        check_choice("pixels", self.pixels, "largest", "shared", "patches")
        check_choice("mode", self.mode, "direct", "whole", "slide")
        if self.top_classes is not None and self.top_classes < 1:
            raise ValueError(f"top_classes is {self.top_classes}; keep at least 1 class, or None for all")
        if self.background_threshold is not None and not 0 <= self.background_threshold <= 1:
            raise ValueError(f"background_threshold is a probability from 0 to 1, got {self.background_threshold}")
        if self.balance is not None and not self.balance > 0:
            raise ValueError(f"balance is {self.balance}; it must be above 0, such as 0.03, or None")
        if not isinstance(self.refine, int) or self.refine < 0:
            raise ValueError(f"refine is {self.refine!r}; give a number of iterations such as 20, or 0 for none")
        if self.refine and self.pixels == "patches":
            raise ValueError("refine moves the edges of groups, and with pixels='patches' there are none; take "
                             "refine=0")
        if self.overlap < 1:
            raise ValueError(f"overlap is {self.overlap}; 1 sets patches side by side, 2 every half patch")
        for name in ("short_side", "long_side", "window", "stride"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}; give pixels, or None for the default")
        if self.mode != "slide":
            return
        if self.window_side is None:
            raise ValueError("mode 'slide' needs a window: give its side in pixels, or a short_side to take")
        if self.window_stride > self.window_side:
            raise ValueError(f"stride {self.window_stride} leaves gaps between windows of {self.window_side}; "
                             "take a stride of at most the window")

    @property
    def window_side(self) -> int | None:
        """Side of the sliding window in pixels."""
        return self.window or self.short_side

    @property
    def window_stride(self) -> int:
        """Pixels from one window to the next."""
        return self.stride or max(1, self.window_side // 2)


def protocol_for(model: GroupViT, protocol: InferenceOptions | None = None, **choices: Any) -> InferenceOptions:
    """The inference options of a model, the size of images included, as `segment`, `evaluate` and the commands take them.

    Args:
        protocol: None: the one that the model was saved with.
        choices: single fields to change, such as `top_classes=3`.

    A model recognises objects at the size of its training, so images of all sizes are resized to it: where none of the
    above names a `short_side`, that is the side of the model's training images, and `long_side` 8 times as much.
    """
    protocol = protocol or model.protocol or InferenceOptions()
    short, long = (choices.get(name, getattr(protocol, name)) for name in ("short_side", "long_side"))
    short = model.config.image.image_size if short is None else short
    long = _LONGEST * short if long is None else long
    return replace(protocol, **choices | {"short_side": short, "long_side": long})


def released_sizes(image_size: int) -> dict[str, int]:
    """The sides to which images are resized for the paper's models: 448 and 2048 pixels where training has 224."""
    return {"short_side": 448 * image_size // 224, "long_side": 2048 * image_size // 224}


# All three released configurations are the same but for the threshold (the paper says 0.9, 0.5, 0.95):
# short side 448, at most 2048 long, windows of 448 every 224 pixels.
_RELEASED = released_sizes(224) | {"antialias": False, "mode": "slide"}
PROTOCOLS = {
    "scenes": InferenceOptions(),
    "voc2012": InferenceOptions(background_threshold=0.95, **_RELEASED),
    "context": InferenceOptions(background_threshold=0.35, **_RELEASED),
    "coco_object": InferenceOptions(background_threshold=0.95, **_RELEASED),
}
