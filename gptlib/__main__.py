"""`python -m gptlib` is the command `gptlib`; torchrun starts it so."""

import sys

from gptlib.cli import main

if __name__ == "__main__":
    sys.exit(main())
