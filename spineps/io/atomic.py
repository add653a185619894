"""The only writer: a file is under its final name whole and verified, or not at all.

Bytes go to a hidden sibling of the target, are flushed to the disk and read back; only then the sibling takes the final name
in one step of the file system.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
import uuid
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from numpy.typing import NDArray

from spineps.errors import ErrorCode, OutputError
from spineps.geometry import Geometry
from spineps.io.encode import nifti_chunks
from spineps.io.shown import shown_name

PARTIAL_PREFIX: Final = ".spineps-"
PARTIAL_SUFFIX: Final = ".partial"

_READ_BYTES: Final = 1 << 20
_SPACE: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_DENIED: Final = (errno.EACCES, errno.EPERM, errno.EROFS)


@dataclass(frozen=True, slots=True)
class Written:
    """What was written: file name, sha256 of its bytes (hexadecimal) and its size in bytes."""

    name: str
    sha256: str
    size: int


def write_bytes(path: Path, data: bytes, *, tag: str = "") -> Written:
    """Write a file.

    Parameters
    ----------
    path : Path
        Final place; folders on the way are made. A link there is replaced, what it points to stays.
    data : bytes
        Whole content.
    tag : str
        As in :class:`Staging`.

    Raises
    ------
    OutputError
        If it cannot be written; nothing is left behind then, and a file that was there before is still there.
    """
    with stage(path.parent, tag) as staged:
        staged.write_bytes(path.name, data)
        return staged.commit()[0]


def write_text(path: Path, text: str, *, tag: str = "") -> Written:
    """Write a UTF-8 text file; see :func:`write_bytes`."""
    return write_bytes(path, text.encode(), tag=tag)


def write_json(path: Path, obj: Any, *, tag: str = "", durable: bool = True) -> Written:
    """Write plain values as JSON, keys in the order given; see :func:`write_bytes`, and :class:`Staging` for ``durable``."""
    with stage(path.parent, tag, durable=durable) as staged:
        staged.write_json(path.name, obj)
        return staged.commit()[0]


def write_nifti(path: Path, array: NDArray[Any], geometry: Geometry) -> Written:
    """Write a NIfTI-1 file, gzipped if the name ends in ``.gz``; see :func:`write_bytes` and :mod:`spineps.io.encode`.

    Parameters
    ----------
    path : Path
        Ends in ``.nii`` or ``.nii.gz``.
    array : ndarray of uint8, uint16 or float32, 3D
        Voxels.
    geometry : Geometry
        Their grid.
    """
    with stage(path.parent) as staged:
        staged.write_nifti(path.name, array, geometry)
        return staged.commit()[0]


def json_bytes(obj: Any) -> bytes:
    """JSON text of plain values, ASCII only, ending in a newline; NaN and infinity are refused with ValueError."""
    return (json.dumps(obj, indent=2, allow_nan=False) + "\n").encode("ascii")


def check_writable(folder: Path) -> None:
    """Find out early whether files can be written to a folder, which need not exist yet; leaves no trace.

    Raises
    ------
    OutputError
        If not.
    """
    with _mapped(folder.name or str(folder)):
        existing = next(place for place in (folder, *folder.absolute().parents) if place.exists())
        probe = existing / _partial_name()
        os.close(_create(probe))
        probe.unlink()


class Staging:
    """Several files written beside their final names and moved into place together, in the order in which they were written.

    The last one is the commit mark: while it is missing, or its hashes do not match the others, the set is not complete.
    Leaving the ``with`` block without :meth:`commit` removes everything that was staged.

    Parameters
    ----------
    folder : Path
        Target folder; made, with its parents, on entering.
    tag : str
        Stands in the names of files that are not in place yet, so that :func:`sweep` finds those of a run that was killed.
    durable : bool
        Whether they must outlive a loss of power. Each wait for the disk takes some 20 ms: claims and what can be found out
        anew do without.
    """

    def __init__(self, folder: Path, tag: str = "", *, durable: bool = True) -> None:
        self._folder = folder
        self._tag = tag
        self._durable = durable
        self._staged: dict[Path, tuple[Path, Written]] = {}

    def __enter__(self) -> Staging:
        with _mapped(self._folder.name or str(self._folder)):
            self._folder.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for partial, _ in self._staged.values():
            with suppress(OSError):
                partial.unlink(missing_ok=True)
        self._staged = {}

    def write_bytes(self, name: str, data: bytes) -> Written:
        """Stage a file of the given content."""
        return self._stage(name, (data,))

    def write_chunks(self, name: str, chunks: Iterable[bytes]) -> Written:
        """Stage a file of a content that comes piece by piece and is never whole in memory."""
        return self._stage(name, chunks)

    def write_text(self, name: str, text: str) -> Written:
        """Stage a UTF-8 text file."""
        return self._stage(name, (text.encode(),))

    def write_json(self, name: str, obj: Any) -> Written:
        """Stage plain values as JSON."""
        return self._stage(name, (json_bytes(obj),))

    def write_nifti(self, name: str, array: NDArray[Any], geometry: Geometry) -> Written:
        """Stage a NIfTI-1 file, ``.nii`` or ``.nii.gz``; see :func:`write_nifti`."""
        if not name.endswith((".nii", ".nii.gz")):
            raise ValueError(f"expected a name ending in .nii or .nii.gz, found {name!r}")
        return self._stage(name, nifti_chunks(array, geometry, compress=name.endswith(".gz")))

    def commit(self) -> tuple[Written, ...]:
        """Move all staged files to their final names and return what they are.

        Raises
        ------
        OutputError
            If a move fails; files that this commit had already made under a new name are taken away again.
        """
        with ExitStack() as undo, _mapped(self._folder.name or str(self._folder)):
            for number, (target, (partial, _)) in enumerate(self._staged.items(), start=1):
                if number == len(self._staged) > 1:
                    self._sync()  # the mark must not reach the disk before what it marks
                is_new = not (target.exists() or target.is_symlink())
                partial.replace(target)
                if is_new:
                    undo.callback(_remove, target)
            undo.pop_all()
            self._sync()
        done = tuple(written for _, written in self._staged.values())
        self._staged = {}
        return done

    def _stage(self, name: str, chunks: Iterable[bytes]) -> Written:
        if not name or name != Path(name).name:
            raise ValueError(f"expected a plain file name, found {name!r}")
        target = self._folder / name
        if target in self._staged:
            raise ValueError(f"{name!r} is staged already")
        partial = self._folder / _partial_name(self._tag)
        with ExitStack() as undo, _mapped(name):
            _refuse_target(target)
            undo.callback(_remove, partial)
            written = _write(partial, name, chunks, durable=self._durable)
            _verify(partial, written)
            undo.pop_all()
        self._staged[target] = (partial, written)
        return written

    def _sync(self) -> None:
        if self._durable:
            _sync_folder(self._folder)


def stage(folder: Path, tag: str = "", *, durable: bool = True) -> Staging:
    """Begin to write several files into a folder together; see :class:`Staging`."""
    return Staging(folder, tag, durable=durable)


def sweep(folder: Path, tag: str) -> int:
    """Remove what a killed run left half-written under a tag, which no other run may be using now; how many files it was."""
    left = list(folder.glob(f"{PARTIAL_PREFIX}{tag}-*{PARTIAL_SUFFIX}"))
    for partial in left:
        _remove(partial)
    return len(left)


def _partial_name(tag: str = "") -> str:
    return f"{PARTIAL_PREFIX}{tag}{'-' if tag else ''}{uuid.uuid4().hex}{PARTIAL_SUFFIX}"


def _create(path: Path) -> int:
    """A new file, open for writing, with the permissions that the user's umask gives."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)


def _write(partial: Path, name: str, chunks: Iterable[bytes], *, durable: bool) -> Written:
    digest, size = hashlib.sha256(), 0
    with os.fdopen(_create(partial), "wb") as file:
        for chunk in chunks:
            file.write(chunk)
            digest.update(chunk)
            size += len(chunk)
        if durable:
            file.flush()
            os.fsync(file.fileno())
    return Written(name, digest.hexdigest(), size)


def _verify(partial: Path, written: Written) -> None:
    """Read the file back; file systems exist that report a full disk only then."""
    digest, size = hashlib.sha256(), 0
    with partial.open("rb") as file:
        while block := file.read(_READ_BYTES):
            digest.update(block)
            size += len(block)
    if (digest.hexdigest(), size) != (written.sha256, written.size):
        raise OutputError(
            ErrorCode.OUTPUT_FAILED,
            f"{shown_name(written.name)} read back differently from what was written.",
            remedy="Check the disk or the network drive and run again.",
        )


def _refuse_target(target: Path) -> None:
    """Find a name that is too long, or taken by a folder, before anything is written."""
    try:
        mode = target.lstat().st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))


def _sync_folder(folder: Path) -> None:
    """Put the new names on the disk (elsewhere than on POSIX a folder cannot be opened, and need not)."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink(missing_ok=True)


@contextmanager
def _mapped(name: str) -> Iterator[None]:
    """Map the system's errors to ours, once, for everything that is written."""
    try:
        yield
    except OSError as error:
        raise _output_error(error, name) from error


def _output_error(error: OSError, name: str) -> OutputError:
    shown = shown_name(name)
    reason = (error.strerror or type(error).__name__).lower()
    if error.errno in _SPACE:
        return OutputError(
            ErrorCode.OUTPUT_SPACE,
            f"{shown} does not fit on the disk or into the quota ({reason}).",
            remedy="Free some space or choose another output folder with -o.",
        )
    if error.errno in _DENIED:
        return OutputError(
            ErrorCode.OUTPUT_PERMISSION,
            f"{shown} may not be written ({reason}).",
            remedy="Choose a folder that you may write to with -o.",
        )
    if error.errno == errno.ENAMETOOLONG:
        return OutputError(
            ErrorCode.OUTPUT_NAME,
            f"the file system takes no name as long as {shown}.",
            remedy="Rename the input to something shorter or choose a shorter output folder with -o.",
        )
    return OutputError(
        ErrorCode.OUTPUT_FAILED,
        f"{shown} could not be written ({reason}).",
        remedy="Check the output folder and run again.",
    )
