"""Write phantom_anatomy.json anew, after a change of the anatomy that is meant: python tests/golden/make_phantom_anatomy.py."""

from __future__ import annotations

import json
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
sys.path.insert(0, str(REPOSITORY))

from tests.unit.test_phantom_anatomy import CASES, GOLDEN, built, summary  # noqa: E402

if __name__ == "__main__":
    counts = {f"{seed}@{level}": summary(built(seed, level)) for seed, level in CASES}
    GOLDEN.write_text(json.dumps(counts, indent=1) + "\n")
