"""`python -m gptlib.cli` is the command `gptlib`."""

import sys

from gptlib.cli import main

if __name__ == "__main__":
    sys.exit(main())
