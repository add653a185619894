"""A file is under its final name whole and verified, or not at all."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import subprocess
import sys
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from spineps.errors import ErrorCode, ExitCode, OutputError
from spineps.geometry import Geometry
from spineps.io import atomic

GRID = Geometry.from_spacing((7, 6, 5), (0.8, 0.9, 3.3))
IMAGE = np.random.default_rng(3).normal(size=GRID.shape).astype(np.float32)
TURN = np.array([[0.8, -0.6, 0, 5], [0.6, 0.8, 0, -7], [0, 0, 1, 1e3], [0, 0, 0, 1]])


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_bytes_text_and_json(tmp_path: Path) -> None:
    written = atomic.write_bytes(tmp_path / "new" / "a.bin", b"abc")
    assert written == atomic.Written("a.bin", hashlib.sha256(b"abc").hexdigest(), 3)
    atomic.write_text(tmp_path / "t.txt", "Wirbelsäule\n")
    atomic.write_json(tmp_path / "j.json", {"b": 1, "a": [1.5, None, "ä"]})
    assert (tmp_path / "t.txt").read_text("utf-8") == "Wirbelsäule\n"
    assert json.loads((tmp_path / "j.json").read_text("ascii")) == {"b": 1, "a": [1.5, None, "ä"]}
    assert names(tmp_path) == ["j.json", "new", "t.txt"]


def test_values_that_are_no_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Out of range"):
        atomic.write_json(tmp_path / "a.json", {"dice": float("nan")})
    assert names(tmp_path) == []


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("turn", [np.eye(4), TURN], ids=["straight", "oblique"])
def test_nifti(tmp_path: Path, name: str, dtype: type, turn: np.ndarray) -> None:
    grid = Geometry(GRID.shape, turn @ GRID.affine)
    array = (IMAGE * 20).clip(0).astype(dtype)
    atomic.write_nifti(tmp_path / name, array, grid)
    image = nib.load(tmp_path / name)
    np.testing.assert_array_equal(np.asarray(image.dataobj), array)
    assert image.get_data_dtype() == dtype
    np.testing.assert_allclose(image.get_sform(), grid.affine, atol=1e-4)
    np.testing.assert_allclose(image.get_qform(), grid.affine, atol=1e-3)
    assert (image.header["sform_code"], image.header["qform_code"]) == (1, 1)
    assert image.header.get_xyzt_units() == ("mm", "unknown")
    assert not any(image.header[field].item() for field in ("descrip", "db_name", "aux_file", "intent_name"))


def test_sheared_grid_has_no_qform(tmp_path: Path) -> None:
    affine = GRID.affine.copy()
    affine[0] += 0.3 * affine[1]
    atomic.write_nifti(tmp_path / "a.nii", IMAGE, Geometry(GRID.shape, affine))
    image = nib.load(tmp_path / "a.nii")
    assert image.header["qform_code"] == 0
    np.testing.assert_allclose(image.affine, affine, atol=1e-5)


def test_many_slabs_are_one_stream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    atomic.write_nifti(tmp_path / "a.nii", IMAGE, GRID)
    monkeypatch.setattr("spineps.io.encode._SLAB_BYTES", 200)
    atomic.write_nifti(tmp_path / "b.nii", IMAGE, GRID)
    atomic.write_nifti(tmp_path / "b.nii.gz", IMAGE, GRID)
    plain = (tmp_path / "a.nii").read_bytes()
    assert (tmp_path / "b.nii").read_bytes() == plain == gzip.decompress((tmp_path / "b.nii.gz").read_bytes())


def test_same_voxels_same_bytes(tmp_path: Path) -> None:
    labels = (IMAGE > 0).astype(np.uint8)
    first = atomic.write_nifti(tmp_path / "a.nii.gz", labels, GRID)
    second = atomic.write_nifti(tmp_path / "b.nii.gz", np.asfortranarray(labels), GRID)
    assert first.sha256 == second.sha256
    stream = (tmp_path / "a.nii.gz").read_bytes()
    assert stream[3:10] == b"\0\0\0\0\0\0\xff"  # no flags, so no name; no time
    zlib.decompress(stream, 31)


@pytest.mark.parametrize(
    ("name", "array"),
    [("a.nii", IMAGE.astype(np.float64)), ("a.nii", IMAGE[:2]), ("a.png", IMAGE), ("x/a.nii", IMAGE), ("", IMAGE)],
)
def test_wrong_arguments_write_nothing(tmp_path: Path, name: str, array: np.ndarray) -> None:
    with atomic.stage(tmp_path) as staged, pytest.raises(ValueError, match="expected"):
        staged.write_nifti(name, array, GRID)
    assert names(tmp_path) == []


def test_staged_files_appear_together_and_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moved = []
    replace = Path.replace
    monkeypatch.setattr(Path, "replace", lambda self, target: moved.append(target.name) or replace(self, target))
    with atomic.stage(tmp_path) as staged:
        for name in ("mask.nii.gz", "picture.png", "run.json"):
            staged.write_bytes(name, name.encode())
            assert not (tmp_path / name).exists()
        written = staged.commit()
    assert moved == [w.name for w in written] == ["mask.nii.gz", "picture.png", "run.json"]
    assert names(tmp_path) == sorted(moved)


def test_nothing_without_commit(tmp_path: Path) -> None:
    atomic.write_text(tmp_path / "a", "old")
    with atomic.stage(tmp_path) as staged:
        staged.write_text("a", "new")
        staged.write_text("b", "new")
        assert len(names(tmp_path)) == 3
    assert names(tmp_path) == ["a"]
    assert (tmp_path / "a").read_text() == "old"


def test_a_name_is_staged_once(tmp_path: Path) -> None:
    with atomic.stage(tmp_path) as staged:
        staged.write_text("a", "1")
        with pytest.raises(ValueError, match="already"):
            staged.write_text("a", "2")


def test_a_link_is_replaced_and_its_target_stays(tmp_path: Path) -> None:
    atomic.write_text(tmp_path / "target", "raw data")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    atomic.write_text(tmp_path / "link", "mask")
    assert not (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_text() == "raw data"


class Killed(BaseException):
    """Stands for whatever ends a run in the middle of a step."""


class FailAt:
    """Lets calls through until the k-th, which raises :class:`Killed`."""

    def __init__(self, step: int) -> None:
        self.left = step

    def watch(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.left -= 1
            if self.left == 0:
                raise Killed
            return real(*args, **kwargs)

        return call


@pytest.mark.parametrize("existing", [False, True])
@pytest.mark.parametrize("step", range(1, 30))
def test_killed_at_every_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int, existing: bool) -> None:
    """Out of whichever call to the system the run is torn, the set is there whole or not at all."""
    if existing:
        atomic.write_text(tmp_path / "run.json", "old")
    before = {path.name: path.read_text() for path in tmp_path.iterdir()}
    fail = FailAt(step)
    for name in ("open", "fsync", "fdopen", "close"):
        monkeypatch.setattr(atomic.os, name, fail.watch(getattr(os, name)))
    for name in ("replace", "open", "lstat", "exists", "mkdir"):
        monkeypatch.setattr(Path, name, fail.watch(getattr(Path, name)))
    with suppress(Killed), atomic.stage(tmp_path) as staged:
        staged.write_text("mask", "new")
        staged.write_text("run.json", "new")
        staged.commit()
    monkeypatch.undo()
    after = {path.name: path.read_text() for path in tmp_path.iterdir()}
    whole = {"mask": "new", "run.json": "new"}
    assert after == whole if fail.left > 0 else after in (before, whole)


def test_the_steps_that_are_killed_are_all_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    last = {test_killed.args[1][-1] for test_killed in test_killed_at_every_step.pytestmark if test_killed.args[0] == "step"}
    fail = FailAt(last.pop())
    for name in ("open", "fsync", "fdopen", "close"):
        monkeypatch.setattr(atomic.os, name, fail.watch(getattr(os, name)))
    for name in ("replace", "open", "lstat", "exists", "mkdir"):
        monkeypatch.setattr(Path, name, fail.watch(getattr(Path, name)))
    with atomic.stage(tmp_path) as staged:
        staged.write_text("mask", "new")
        staged.write_text("run.json", "new")
        staged.commit()
    assert fail.left > 0


@pytest.mark.parametrize(("durable", "waits"), [(True, 4), (False, 0)])
def test_waits_for_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durable: bool, waits: int) -> None:
    """Each file, the folder before the mark, and the folder after it; not at all where nothing need outlive a loss of power."""
    waited = []
    monkeypatch.setattr(atomic.os, "fsync", waited.append)
    with atomic.stage(tmp_path, durable=durable) as staged:
        staged.write_text("mask", "new")
        staged.write_text("run.json", "new")
        staged.commit()
    assert len(waited) == waits
    assert names(tmp_path) == ["mask", "run.json"]


def test_bytes_that_read_back_differently(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fsync = os.fsync

    def spoil(handle: int) -> None:
        os.pwrite(handle, b"X", 1)
        fsync(handle)

    monkeypatch.setattr(atomic.os, "fsync", spoil)
    with pytest.raises(OutputError) as caught:
        atomic.write_bytes(tmp_path / "a", b"abc")
    assert caught.value.code is ErrorCode.OUTPUT_FAILED
    assert names(tmp_path) == []


FULL_DISK = """
import resource, sys
from pathlib import Path
import numpy as np
from spineps.errors import OutputError
from spineps.geometry import Geometry
from spineps.io.atomic import write_nifti
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
grid = Geometry.from_spacing((64, 128, 128), (1, 1, 1))
image = np.random.default_rng(1).normal(size=grid.shape).astype(np.float32)
try:
    write_nifti(Path(sys.argv[1]) / "mask.nii.gz", image, grid)
except OutputError as error:
    print(error.code)
"""


def test_full_disk(tmp_path: Path) -> None:
    atomic.write_text(tmp_path / "mask.nii.gz", "earlier result")
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert (done.stdout, done.returncode) == ("OUTPUT_SPACE\n", 0), done.stderr
    assert names(tmp_path) == ["mask.nii.gz"]
    assert (tmp_path / "mask.nii.gz").read_text() == "earlier result"


def test_long_names(tmp_path: Path) -> None:
    for path in (tmp_path / ("n" * 256), tmp_path / "/".join(["d" * 200] * 30) / "a"):
        with pytest.raises(OutputError) as caught:
            atomic.write_bytes(path, b"")
        assert caught.value.code is ErrorCode.OUTPUT_NAME
        assert caught.value.exit_code is ExitCode.RESOURCE
        assert len(str(caught.value)) < 300
        assert str(tmp_path) not in str(caught.value)
    assert names(tmp_path) == []


def test_read_only_folder(tmp_path: Path) -> None:
    folder = tmp_path / "closed"
    folder.mkdir()
    folder.chmod(0o555)
    for place in (tmp_path, tmp_path.parent, tmp_path.parent.parent) if os.geteuid() == 0 else ():  # pytest's own
        place.chmod(place.stat().st_mode | 0o011)
    if os.geteuid() == 0:
        os.seteuid(65534)
    try:
        for write in (lambda: atomic.write_bytes(folder / "a", b""), lambda: atomic.check_writable(folder / "new" / "deeper")):
            with pytest.raises(OutputError) as caught:
                write()
            assert caught.value.code is ErrorCode.OUTPUT_PERMISSION
    finally:
        os.seteuid(os.getuid())
        folder.chmod(0o755)
    assert names(folder) == []


def test_a_folder_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "mask").mkdir()
    with pytest.raises(OutputError) as caught:
        atomic.write_bytes(tmp_path / "mask", b"")
    assert caught.value.code is ErrorCode.OUTPUT_FAILED
    atomic.write_bytes(tmp_path / "file", b"")
    with pytest.raises(OutputError) as caught:
        atomic.write_bytes(tmp_path / "file" / "a", b"")
    assert caught.value.code is ErrorCode.OUTPUT_FAILED
    assert names(tmp_path) == ["file", "mask"]


def test_check_writable_leaves_no_trace(tmp_path: Path) -> None:
    atomic.check_writable(tmp_path / "not" / "yet")
    assert names(tmp_path) == []


def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        atomic.write_bytes(tmp_path / "a", b"")
    finally:
        os.umask(old)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640
