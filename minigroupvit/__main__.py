"""`python -m minigroupvit`: see `cli.py`."""

import sys

from .cli import main

if __name__ == "__main__":  # processes that make scenes import this module again
    sys.exit(main())
