"""`python -m mumei` is the command `mumei`."""

import sys

from mumei.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
