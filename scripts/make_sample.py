"""Write `data/scenes-sample.parquet`: the first scenes of the split test, as an example of the data.

    python scripts/make_sample.py [--num-scenes 100] [--out data/scenes-sample.parquet]

    datasets.Dataset.from_parquet("data/scenes-sample.parquet")
"""

import argparse
import tempfile
from pathlib import Path

import datasets

from minigroupvit.data.scenes.sets import load_scenes

DEFAULT = Path(__file__).resolve().parent.parent / "data" / "scenes-sample.parquet"


def make_sample(out: Path, num_scenes: int = 100) -> None:
    """Writes the sample, with the same rows on every machine."""
    with tempfile.TemporaryDirectory() as cache:  # so that nothing stays in the cache of `datasets`
        datasets.config.HF_DATASETS_CACHE = Path(cache)
        datasets.disable_progress_bars()
        load_scenes("test", num_scenes).to_parquet(out)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num-scenes", type=int, default=100)
    parser.add_argument("--out", type=Path, default=DEFAULT)
    arguments = parser.parse_args()
    make_sample(arguments.out, arguments.num_scenes)
    print(f"{arguments.out}: {arguments.out.stat().st_size / 1e6:.2f} MB")
