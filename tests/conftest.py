"""What all tests share: quiet threads, repeatable hypothesis runs, and where real scans may lie."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")  # two workers of two threads each would fight over two cores

REPOSITORY = Path(__file__).parents[1]

settings.register_profile("push", max_examples=60, deadline=None, derandomize=True)
settings.register_profile("nightly", max_examples=2000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "push"))


@pytest.fixture(scope="session", autouse=True)
def _converted_networks(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Networks are converted for an engine once a session, not into the user's cache; workers of xdist share them."""
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    os.environ["SPINEPS_ENGINES"] = str(shared / "engines")


@pytest.fixture(scope="session")
def repository() -> Path:
    """Root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real scans; the test is skipped where there is none."""
    shared = Path(os.environ.get("SPINEPS_SHARED", REPOSITORY.parent / "shared"))
    if not (shared / "data" / "native").is_dir():
        pytest.skip("no real scans here: set SPINEPS_SHARED to a folder that holds data/native")
    return shared / "data"
