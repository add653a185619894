"""Bytes of an input file: opened without risk, inflated within bounds, hashed, checked to the last byte."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol

from spineps.errors import ErrorCode, Finding, FindingCode, InputError
from spineps.io.shown import refusal, shown_name

GZIP_MAGIC: Final = b"\x1f\x8b"
PADDING_LIMIT: Final = 1 << 16
"""Zero bytes that may follow the last voxel (copies from tape and some writers fill up their last block)."""
DRAIN_LIMIT: Final = 1 << 28
"""Bytes inflated at most to find out whether a strange header is due to damage."""

_BLOCK: Final = 1 << 18
_GZIP_START: Final = GZIP_MAGIC + b"\x08"
_GZIP_TEXT_FLAG: Final = 1
_SHORTEST_TELLING: Final = 2048  # a cut gzip of this many bytes has given out its first 352
_COPY_AGAIN: Final = "Copy or download the file again."
_Identity = tuple[int, int, int, int]


class RawFile:
    """An input file whose content is read once, from its first to its last byte; made by :func:`open_raw`.

    Attributes
    ----------
    name : str
        Base name for messages.
    size : int
        Bytes on disk.
    compressed : bool
        Whether the content is a gzip stream, whatever the name says.
    """

    def __init__(self, path: Path, handle: int) -> None:
        self.name = shown_name(path)
        self._path = path
        self._handle = handle
        self._identity = _identity(os.fstat(handle))
        self.size = self._identity[2]
        if self.size == 0:
            raise refusal(ErrorCode.INPUT_EMPTY, self.name, "is empty", remedy=_COPY_AGAIN)
        blocks = _Blocks(handle, self.name)
        start = blocks.peek(4)
        if _is_damaged_gzip(start, path):
            raise refusal(ErrorCode.INPUT_CORRUPT, self.name, "has a damaged gzip header", remedy=_COPY_AGAIN)
        self.compressed = start.startswith(GZIP_MAGIC)
        self._blocks = blocks
        self._stream: _Stream = _GzipStream(blocks, self.name) if self.compressed else _PlainStream(blocks)
        self.findings: tuple[Finding, ...] = _suffix_findings(path, self.name, compressed=self.compressed)

    @property
    def position(self) -> int:
        """Content bytes read so far."""
        return self._stream.position

    @property
    def plain_size(self) -> int | None:
        """Content bytes in all, where that is known before reading."""
        return None if self.compressed else self.size

    @property
    def sha256(self) -> str:
        """Hash of the bytes on disk, complete after :meth:`finish`."""
        return self._blocks.digest.hexdigest()

    def expect(self, total: int) -> None:
        """Say how many content bytes the header promises, so that damage and truncation can be told apart."""
        self._stream.expected = total

    def read(self, count: int) -> bytes:
        """The next ``count`` content bytes; fewer only where the content ends.

        Raises
        ------
        InputError
            INPUT_TRUNCATED or INPUT_CORRUPT.
        """
        parts, missing = [], count
        while missing and (part := self._stream.read(min(missing, _BLOCK))):
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)

    def read_into(self, target: memoryview) -> int:
        """Fill ``target`` with content bytes and return how many there were; fewer than it takes only at the end."""
        filled = 0
        while filled < len(target) and (part := self._stream.read(min(len(target) - filled, _BLOCK))):
            target[filled : filled + len(part)] = part
            filled += len(part)
        return filled

    def skip(self, count: int) -> int:
        """Read and forget up to ``count`` content bytes; how many there were."""
        missing = count
        while missing and (part := self._stream.read(min(missing, _BLOCK))):
            missing -= len(part)
        return count - missing

    def finish(self) -> tuple[Finding, ...]:
        """Read what follows the voxels, which must be nothing or a little zero padding, and check that the file stayed.

        Raises
        ------
        InputError
            INPUT_CORRUPT, INPUT_TRUNCATED or INPUT_CHANGED.
        """
        rest = self.read(PADDING_LIMIT + 1)
        if len(rest) > PADDING_LIMIT or any(rest):
            raise refusal(
                ErrorCode.INPUT_CORRUPT,
                self.name,
                f"goes on after its last voxel, at byte {self.position - len(rest):,} of its content",
                remedy=_COPY_AGAIN,
            )
        self.check_unchanged()
        padding = len(rest) + self._stream.padding
        if not padding:
            return self.findings
        message = f"{padding:,} zero bytes after the last voxel were ignored."
        return (*self.findings, Finding(FindingCode.TRAILING_PADDING, message))

    def drain(self) -> None:
        """Read on, within bounds, only to find damage that explains a strange header."""
        if self.compressed:
            self.skip(DRAIN_LIMIT)

    def check_unchanged(self) -> None:
        """Raise INPUT_CHANGED if the file was written to or replaced since it was opened."""
        try:
            same = self._identity == _identity(os.fstat(self._handle)) == _identity(self._path.stat())
        except OSError:
            same = False
        if not same:
            raise refusal(
                ErrorCode.INPUT_CHANGED,
                self.name,
                "changed while it was being read",
                remedy="Wait until whatever writes it has ended, then run again.",
            )


@contextmanager
def open_raw(path: Path) -> Iterator[RawFile]:
    """Open a regular file for reading; pipes, devices and folders are refused without being opened.

    Raises
    ------
    InputError
        INPUT_NOT_FOUND, INPUT_NOT_FILE, INPUT_PERMISSION, INPUT_EMPTY or INPUT_CORRUPT.
    """
    handle = _opened(path)
    try:
        _require_regular(os.fstat(handle), shown_name(path))
        yield RawFile(path, handle)
    finally:
        os.close(handle)


def require_readable(path: Path) -> None:
    """Refuse what is no file that can be opened, as :func:`open_raw` does; its content is not looked at.

    Raises
    ------
    InputError
        INPUT_NOT_FOUND, INPUT_NOT_FILE, INPUT_PERMISSION or INPUT_CORRUPT.
    """
    os.close(_opened(path))


class _Stream(Protocol):
    """Content bytes in order; ``read`` gives at least one byte unless the content has ended."""

    position: int
    expected: int | None
    padding: int

    def read(self, limit: int) -> bytes: ...


class _Blocks:
    """Bytes on disk, block by block, hashed as they pass."""

    def __init__(self, handle: int, name: str) -> None:
        self._handle = handle
        self._name = name
        self._peeked = b""
        self.digest = hashlib.sha256()
        self.total = 0
        self.tail = b""

    def peek(self, count: int) -> bytes:
        """The first bytes, which the next :meth:`next` gives again."""
        while len(self._peeked) < count and (more := self._next_from_disk()):
            self._peeked += more
        return self._peeked[:count]

    def next(self) -> bytes:
        """The next bytes; none at the end of the file."""
        if self._peeked:
            block, self._peeked = self._peeked, b""
            return block
        return self._next_from_disk()

    def _next_from_disk(self) -> bytes:
        try:
            block = os.read(self._handle, _BLOCK)
        except OSError as error:
            reason = (error.strerror or "unknown error").lower()
            raise refusal(
                ErrorCode.INPUT_CORRUPT, self._name, f"could not be read ({reason})", remedy="Check the disk or the drive."
            ) from error
        self.digest.update(block)
        self.total += len(block)
        self.tail = (self.tail + block)[-4:]
        return block


class _PlainStream:
    """Content that is stored as it is."""

    def __init__(self, blocks: _Blocks) -> None:
        self._blocks = blocks
        self._pending = b""
        self.position = 0
        self.expected: int | None = None
        self.padding = 0

    def read(self, limit: int) -> bytes:
        block = self._pending or self._blocks.next()
        part, self._pending = block[:limit], block[limit:]
        self.position += len(part)
        return part


class _GzipStream:
    """Content in one or more gzip members (RFC 1952); zlib checks the CRC and length of each."""

    def __init__(self, blocks: _Blocks, name: str) -> None:
        self._blocks = blocks
        self._name = name
        self._pending = b""
        self._inflate: zlib._Decompress | None = None
        self._members = 0
        self.position = 0
        self.expected: int | None = None
        self.padding = 0

    def read(self, limit: int) -> bytes:
        while self._inflate is not None or self._next_member():
            part = self._inflate_part(limit)
            if part:
                self.position += len(part)
                return part
        return b""

    def _inflate_part(self, limit: int) -> bytes:
        """Up to ``limit`` content bytes of the present member; none where more input is needed or the member has ended."""
        inflate = self._inflate
        if inflate is None:
            return b""
        data = self._pending or self._blocks.next()
        try:
            part = inflate.decompress(data, limit)
        except zlib.error as error:
            raise self._corrupt("fails the checks of its gzip stream") from error
        self._pending = inflate.unconsumed_tail
        if inflate.eof:
            self._pending, self._inflate = inflate.unused_data, None
        elif not data and not part:
            raise self._exhausted()
        return part

    def _next_member(self) -> bool:
        while len(self._pending) < 4 and (block := self._blocks.next()):
            self._pending += block
        if not self._pending:
            return False
        if not self._pending.startswith(GZIP_MAGIC):
            self._skip_padding()
            return False
        if len(self._pending) > 3 and self._pending[3] & _GZIP_TEXT_FLAG:
            raise self._corrupt("has a damaged gzip header")
        self._inflate = zlib.decompressobj(16 + zlib.MAX_WBITS)
        self._members += 1
        return True

    def _skip_padding(self) -> None:
        block, self._pending = self._pending, b""
        while block:
            if any(block):
                raise self._corrupt("goes on after the end of its gzip stream")
            self.padding += len(block)
            block = self._blocks.next()

    def _exhausted(self) -> InputError:
        """The file ended inside a gzip member: cut off, or damaged so that the member seems to go on.

        The last four bytes of a whole file are its content's length; a file that was cut does not end in them.
        """
        if self.expected is None:
            whole = self._blocks.total >= _SHORTEST_TELLING
            return self._corrupt("fails the checks of its gzip stream") if whole else self._truncated("a header")
        if self._members == 1 and int.from_bytes(self._blocks.tail, "little") == self.expected & 0xFFFFFFFF:
            return self._corrupt("fails the checks of its gzip stream")
        return self._truncated(f"{self.expected:,} expected")

    def _truncated(self, expected: str) -> InputError:
        what = f"breaks off after {self.position:,} bytes of content ({expected}) without the end of its gzip stream"
        return refusal(ErrorCode.INPUT_TRUNCATED, self._name, what, remedy=_COPY_AGAIN)

    def _corrupt(self, what: str) -> InputError:
        return refusal(ErrorCode.INPUT_CORRUPT, self._name, what, remedy=_COPY_AGAIN)


def _opened(path: Path) -> int:
    """A regular file, open for reading."""
    name = shown_name(path)
    try:
        _require_regular(path.stat(), name)
        # A pipe may have taken the file's place since: without O_NONBLOCK, opening it would wait for a writer.
        return os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except (OSError, ValueError) as error:
        raise _open_error(error, path, name) from error


def _identity(status: os.stat_result) -> _Identity:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _require_regular(status: os.stat_result, name: str) -> None:
    if stat.S_ISREG(status.st_mode):
        return
    kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe, socket or device"
    raise refusal(ErrorCode.INPUT_NOT_FILE, name, f"is {kind}, not a file", remedy="Give the path of a NIfTI file.")


def _open_error(error: OSError | ValueError, path: Path, name: str) -> InputError:
    number = error.errno if isinstance(error, OSError) else None
    if number in (errno.EACCES, errno.EPERM):
        what, remedy = "may not be read", "Ask its owner for permission to read it."
        return refusal(ErrorCode.INPUT_PERMISSION, name, what, remedy=remedy)
    if number not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, None):
        reason = (error.strerror if isinstance(error, OSError) else None) or "unknown error"
        what, remedy = f"could not be opened ({reason.lower()})", "Check the disk or the drive."
        return refusal(ErrorCode.INPUT_CORRUPT, name, what, remedy=remedy)
    if number in (errno.ENOENT, errno.ELOOP) and path.is_symlink():
        what = "is a link that leads nowhere" if number == errno.ENOENT else "is a link in a loop of links"
        remedy = "Mend the link; in a datalad or git-annex dataset, fetch the file with 'datalad get'."
        return refusal(ErrorCode.INPUT_NOT_FOUND, name, what, remedy=remedy)
    return refusal(ErrorCode.INPUT_NOT_FOUND, name, "does not exist", remedy="Check the path.")


def _is_damaged_gzip(start: bytes, path: Path) -> bool:
    """Whether a file called ``.gz`` begins almost, but not quite, as gzip streams do."""
    if start.startswith(_GZIP_START) or path.suffix.lower() != ".gz" or len(start) < len(_GZIP_START):
        return False
    return sum(found == wanted for found, wanted in zip(start, _GZIP_START, strict=False)) == len(_GZIP_START) - 1


def _suffix_findings(path: Path, name: str, *, compressed: bool) -> tuple[Finding, ...]:
    """A finding where the name does not say what the content is."""
    expected = ".nii.gz" if compressed else ".nii"
    if path.name.lower().endswith(expected):
        return ()
    content = "gzipped" if compressed else "not gzipped"
    return (Finding(FindingCode.SUFFIX_MISMATCH, f"{name} is {content}, so its name should end in {expected}."),)
