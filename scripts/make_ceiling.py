"""How much shape there is to learn: a classifier trained with labels, on the splits test and unseen.

    python scripts/make_ceiling.py [--num-train 10000] [--seed 0]

Writes results/ceiling.json; `scripts/make_results.py --table` then writes its sentence into the README.
"""

from __future__ import annotations

import argparse
import datetime
import json
from pathlib import Path

from make_weights import write_record

from minigroupvit.evaluation.baselines import shape_ceiling
from minigroupvit.training.record import current_commit, device_name

RESULTS = Path(__file__).resolve().parent.parent / "results" / "ceiling.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num-train", type=int, default=10_000, help="scenes whose objects it learns from")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    found = {"command": "python scripts/make_ceiling.py", "commit": current_commit(), "seed": arguments.seed,
             "device": device_name(), "date": datetime.date.today().isoformat(),
             **shape_ceiling(arguments.num_train, seed=arguments.seed)}
    write_record(RESULTS, found)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
