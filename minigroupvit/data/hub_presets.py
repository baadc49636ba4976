"""Captioned data sets on the Hugging Face hub that are known by name, with their columns and splits."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class HubPreset:
    """What must be known to train on a data set."""

    captions: tuple[str, ...]      # columns with a caption, or with a list of them
    splits: dict[str, int]         # pictures of each split; the first one is for training
    image: str = "image"           # column
    shards: dict[str, str] = field(default_factory=dict)   # tar shards of each split, where it consists of such

    def check(self, name: str, split: str) -> None:
        """Raises ValueError for a split that does not exist, before anything is fetched."""
        if split not in self.splits:
            there = ", ".join(f"{part} ({count:,} pictures)" for part, count in self.splits.items())
            raise ValueError(f"no split {split!r} in {name}; it has {there}")


# As their pages on the hub say.
HUB_PRESETS: dict[str, HubPreset] = {
    "jxie/flickr8k": HubPreset(
        tuple(f"caption_{number}" for number in range(5)), {"train": 6_000, "validation": 1_000, "test": 1_000}),
    "lmms-lab/flickr30k": HubPreset(("caption",), {"test": 31_783}),    # all of it is called test
    "AKCIT/coco2017-captioning": HubPreset(("captions",), {"train": 118_287, "validation": 5_000}),
    "pixparse/cc3m-wds": HubPreset(
        ("txt",), {"train": 2_905_954, "validation": 13_443}, image="jpg",
        shards={"train": "hf://datasets/pixparse/cc3m-wds/cc3m-train-{0000..0575}.tar",
                "validation": "hf://datasets/pixparse/cc3m-wds/cc3m-validation-{0000..0015}.tar"}),
}
