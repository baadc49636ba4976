"""`python -m minigroupvit`: see the folder `cli`."""

import sys

from .cli import main

if __name__ == "__main__":  # spawned processes import this module again
    sys.exit(main())
