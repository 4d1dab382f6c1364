"""``python -m vaekit``."""

import sys

from vaekit.cli import main

if __name__ == "__main__":
    sys.exit(main())
