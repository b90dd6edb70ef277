"""The command, as `python -m array_lockstep`."""

import sys

from array_lockstep.command import main

if __name__ == "__main__":
    sys.exit(main())
