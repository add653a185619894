"""``python -m spineps``."""

from __future__ import annotations

import sys

from spineps.cli import main

if __name__ == "__main__":
    sys.exit(main())
