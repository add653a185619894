"""Rows 30 to 32: files that promise or inflate to more than a machine has are refused cheaply."""

from __future__ import annotations

import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from spineps.errors import ErrorCode, InputError
from spineps.io.nifti import read_labels, read_scan

from . import build

MIB = 1 << 20
BYTES = {"datatype": 2, "bitpix": 8}
CASES = {
    "30 70 TB": (lambda: build.nifti(dim=[3, 32767, 32767, 32767, 1, 1, 1, 1]), "a.nii", ErrorCode.INPUT_TOO_LARGE),
    "30 2000 cubed": (lambda: build.nifti(dim=[3, 2000, 2000, 2000, 1, 1, 1, 1]), "a.nii", ErrorCode.INPUT_TOO_LARGE),
    "31 bomb, bytes": (
        lambda: build.endless_gz(build.header(shape=(1300, 1300, 1300), **BYTES) + bytes(4), 2200 * MIB),
        "a.nii.gz",
        ErrorCode.INPUT_TOO_LARGE,
    ),
    "31 bomb, floats": (
        lambda: build.endless_gz(build.header(shape=(820, 820, 820), datatype=16, bitpix=32) + bytes(4), 2200 * MIB),
        "a.nii.gz",
        ErrorCode.INPUT_TOO_LARGE,
    ),
    "32 small header, endless stream": (
        lambda: build.endless_gz(build.nifti(), 2200 * MIB),
        "a.nii.gz",
        ErrorCode.INPUT_CORRUPT,
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("read", [read_scan, read_labels])
def test_refused_in_little_memory_and_time(tmp_path: Path, case: tuple, read: object) -> None:
    content, name, code = case
    path = build.put(tmp_path, content(), name)
    tracemalloc.start()
    start = time.perf_counter()
    try:
        with pytest.raises(InputError) as caught:
            read(path)
        seconds = time.perf_counter() - start
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert caught.value.code is code
    assert peak < 8 * MIB
    assert seconds < 5


def test_reading_costs_the_voxels_twice_at_most(tmp_path: Path) -> None:
    path = build.put(tmp_path, build.gz(build.nifti(build.voxels((64, 128, 128))), 1), "a.nii.gz")
    tracemalloc.start()
    try:
        scan = read_scan(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2.5 * scan.image.nbytes + 4 * MIB


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory limits as on Linux")
def test_memory_that_does_not_suffice(tmp_path: Path) -> None:
    """A volume of 1 GB in a process that may have 0.6 GB more than it has already."""
    voxels = np.zeros((1024, 1024, 512), "u2")
    path = tmp_path / "a.nii"
    with path.open("wb") as file:
        file.write(build.nifti(b"", shape=voxels.shape, datatype=512))
        file.truncate(file.tell() + voxels.nbytes)  # a hole: takes no disk
    code = (
        "import resource, sys; from spineps.io.nifti import read_scan; from spineps.errors import ResourceError\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + 600_000_000,) * 2)\n"
        "try:\n    read_scan(sys.argv[1])\n"
        "except ResourceError as error:\n    print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2]
    )
    assert done.stdout.startswith("RESOURCE_MEMORY: 'a.nii' does not fit into memory."), done.stderr


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is told as on Linux")
def test_a_promise_that_is_not_kept_takes_no_memory(tmp_path: Path) -> None:
    """A header that states 1 GB, little enough for a scan, over some kilobytes of content."""
    path = build.put(tmp_path, build.gz(build.header(shape=(1000, 1000, 1000), **BYTES) + bytes(9000)), "a.nii.gz")
    code = (
        "import sys; from spineps.io.nifti import read_scan; from spineps.errors import InputError\n"
        "try:\n    read_scan(sys.argv[1])\n"
        "except InputError as error:\n    print(error.code)\n"
        "print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True, cwd=root)
    said, peak_kib = done.stdout.split()
    assert said == ErrorCode.INPUT_TRUNCATED
    assert int(peak_kib) < 200 * 1024
