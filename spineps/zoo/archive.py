"""Unpacking of zip files from elsewhere: everything is looked at before anything is written.

Refused are names that lead outside of the target, links and devices, two files of one name (also where a file system does not
tell capitals apart), encrypted members, more members or bytes than a model has, and compression that no weights allow.
"""

from __future__ import annotations

import itertools
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, Final

from spineps.errors import ErrorCode, ModelError
from spineps.io.shown import shown_name

MAX_MEMBERS: Final = 2_000
"""The published models have a few dozen files each."""
MAX_TOTAL_BYTES: Final = 16 << 30
"""The largest published model unpacks to some 2 GB."""
MAX_RATIO: Final = 100.0
"""Weights hardly compress, text some tenfold; a member of a bomb a thousandfold."""
_RATIO_FROM_BYTES: Final = 1 << 20  # below, a ratio says nothing: an empty log compresses well
_MAX_DIRECTORY_BYTES: Final = MAX_MEMBERS * 512  # names of 255 bytes and their fixed part
_MAX_NAME_BYTES: Final = 255
_BLOCK_BYTES: Final = 1 << 20

_END: Final = struct.Struct("<4s4H2LH")  # end of central directory record (PKWARE APPNOTE 6.3.10, section 4.3.16)
_END_MAGIC: Final = b"PK\x05\x06"
_END64: Final = struct.Struct("<4sQ2H2L4Q")  # zip64 end of central directory record (section 4.3.14)
_END64_MAGIC: Final = b"PK\x06\x06"
_LOCATOR: Final = struct.Struct("<4sLQL")  # section 4.3.15
_LOCATOR_MAGIC: Final = b"PK\x06\x07"
_COMMENT_BYTES: Final = 1 << 16

_REMEDY: Final = "Download it again from where it was published."


def is_zip(path: Path) -> bool:
    """Tell whether a file begins as a zip file does."""
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


def unpack(archive: Path, folder: Path) -> tuple[Path, ...]:
    """Unpack a zip file into an empty folder.

    Parameters
    ----------
    archive : Path
        The zip file.
    folder : Path
        Made, with its parents; must be empty. Whoever calls keeps it apart from where things finally lie, and removes it if
        this fails.

    Returns
    -------
    tuple of Path
        The files written.

    Raises
    ------
    ModelError
        MODEL_ARCHIVE if anything in it is not as it should be; nothing is written then, except where the content of a member
        turns out to be damaged.
    """
    try:
        with archive.open("rb") as file:
            _check_directory(file)
            with zipfile.ZipFile(file) as opened:
                members = [_checked(info) for info in opened.infolist()]
                _check_together(members)
                return tuple(_write(opened, info, folder) for info in members if not info.is_dir())
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, struct.error) as error:
        raise _refused("is damaged or no zip file") from error


def _check_directory(file: BinaryIO) -> None:
    """Refuse a directory of too many members before it is read into memory."""
    end = file.seek(0, os.SEEK_END)
    start = max(0, end - _COMMENT_BYTES - _END.size)
    file.seek(start)
    tail = file.read()
    at = tail.rfind(_END_MAGIC)
    if at < 0 or at + _END.size > len(tail):
        raise _refused("is cut off or no zip file")
    members, size = _END.unpack_from(tail, at)[4:6]
    if at >= _LOCATOR.size and tail[at - _LOCATOR.size : at - _LOCATOR.size + 4] == _LOCATOR_MAGIC:
        file.seek(_LOCATOR.unpack_from(tail, at - _LOCATOR.size)[2])
        record = file.read(_END64.size)
        if len(record) == _END64.size and record.startswith(_END64_MAGIC):
            members, size = _END64.unpack(record)[7:9]
    if members > MAX_MEMBERS or size > _MAX_DIRECTORY_BYTES:
        raise _refused(f"says that it holds {members} files; a model has at most {MAX_MEMBERS}")
    file.seek(0)


def _checked(info: zipfile.ZipInfo) -> zipfile.ZipInfo:
    """A member that may be unpacked by itself."""
    name, mode = info.filename, info.external_attr >> 16
    parts = name.rstrip("/").split("/")
    if name.startswith("/") or any(part in ("", ".", "..") for part in parts) or any(char in name for char in "\\:"):
        raise _refused(f"holds {shown_name(name)}, a name that leads elsewhere")
    if not name.isprintable() or any(len(os.fsencode(part)) > _MAX_NAME_BYTES for part in parts):
        raise _refused("holds a name that no file can have")
    if mode and stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise _refused(f"holds {shown_name(name)}, a link or device")
    if info.flag_bits & 0x1:
        raise _refused(f"holds {shown_name(name)}, which is encrypted")
    if info.file_size > _RATIO_FROM_BYTES and info.file_size > MAX_RATIO * max(1, info.compress_size):
        raise _refused(f"holds {shown_name(name)}, compressed more than {MAX_RATIO:.0f}-fold")
    return info


def _check_together(members: list[zipfile.ZipInfo]) -> None:
    """Refuse members that cannot lie beside each other, and more of them than a model has."""
    if len(members) > MAX_MEMBERS:
        raise _refused(f"holds {len(members)} files; a model has at most {MAX_MEMBERS}")
    total = sum(info.file_size for info in members)
    if total > MAX_TOTAL_BYTES:
        raise _refused(f"unpacks to {total / 1e9:.0f} GB; a model has at most {MAX_TOTAL_BYTES / 1e9:.0f} GB")
    names = [info.filename.rstrip("/").casefold() for info in members]
    files = {name for name, info in zip(names, members, strict=True) if not info.is_dir()}
    parents = {parent for name in names for parent in _parents(name)}
    if len(set(names)) < len(names) or files & parents:
        raise _refused("holds two files of one name")
    _check_overlap(members)


def _parents(name: str) -> Iterable[str]:
    parts = name.split("/")
    return ("/".join(parts[:count]) for count in range(1, len(parts)))


def _check_overlap(members: list[zipfile.ZipInfo]) -> None:
    """Refuse members that share bytes of the file, by which a small one can unpack to a huge one."""
    ordered = sorted(members, key=lambda info: info.header_offset)
    for info, after in itertools.pairwise(ordered):
        if info.header_offset + info.compress_size >= after.header_offset:
            raise _refused("holds files that share their bytes")


def _write(opened: zipfile.ZipFile, info: zipfile.ZipInfo, folder: Path) -> Path:
    """Unpack one file, no byte more than its directory entry says."""
    target = folder.joinpath(*info.filename.split("/"))
    target.parent.mkdir(parents=True, exist_ok=True)
    left = info.file_size
    with opened.open(info) as source, target.open("xb") as file:
        while block := source.read(_BLOCK_BYTES):
            left -= len(block)
            if left < 0:
                raise _refused(f"holds {shown_name(info.filename)}, which is longer than it says")
            file.write(block)
    if left:
        raise _refused(f"holds {shown_name(info.filename)}, which is shorter than it says")
    return target


def _refused(why: str) -> ModelError:
    return ModelError(ErrorCode.MODEL_ARCHIVE, f"the archive {why}.", remedy=_REMEDY)
