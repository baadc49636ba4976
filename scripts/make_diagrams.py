"""Write the diagrams as SVG, for slides and pages: those in docs/diagrams were made so.

    python scripts/make_diagrams.py [--out docs/diagrams]
"""

from __future__ import annotations

import argparse
from pathlib import Path

from minigroupvit.visual.diagrams import DIAGRAMS, save

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "diagrams"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=FOLDER)
    folder = parser.parse_args().out
    for name, draw in DIAGRAMS.items():
        save(draw(), folder / f"{name}.svg")
        print(folder / f"{name}.svg")


if __name__ == "__main__":
    main()
