"""Hashes of files that are not read again as long as nobody touched them."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from spineps.errors import OutputError
from spineps.io import atomic

ROOT: Final = "root"
"""Marks half-written files that are no scan's; the claim of this name is for who writes them."""
_BLOCK: Final = 1 << 20
_FORMAT: Final = 1
Identity = tuple[int, int, int, int]


def sha256_of(path: Path) -> str | None:
    """Hash of a regular file's bytes (hexadecimal), or None where there is none that can be read."""
    digest = hashlib.sha256()
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return None
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    except OSError:
        return None
    return digest.hexdigest()


def identity_of(path: Path) -> Identity | None:
    """Size, time of the content, time of the inode (both in ns) and inode of what a path leads to, or None."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


class KnownFiles:
    """Hashes of the files of one case, kept with what tells that a file is still the same.

    A dataset that was copied or moved has other inodes: everything is read once, and known again after :meth:`save`.

    Parameters
    ----------
    place : Path
        Where they are kept; a missing or damaged file means that nothing is known.
    trusted : bool
        False reads every file again, whatever is known.
    """

    def __init__(self, place: Path, *, trusted: bool = True) -> None:
        self._place = place
        self._known: dict[str, list[Any]] = _read(place)
        self._trusted = trusted
        self.changed = False

    def sha256(self, role: str, path: Path) -> str | None:
        """Hash of a file: the known one if size, times and inode are those that it was taken with, else a fresh one."""
        identity = identity_of(path)
        if identity is None:
            return None
        known = self._known.get(role)
        if self._trusted and known is not None and known[:4] == list(identity):
            return str(known[4])
        digest = sha256_of(path)
        if digest is not None and identity_of(path) == identity:
            self._remember(role, identity, digest)
        return digest

    def learn(self, role: str, path: Path, sha256: str, before: Identity | None = None) -> None:
        """Take over the hash of a file that was written or read just now; ``before`` is what it was before reading."""
        identity = identity_of(path)
        if identity is not None and before in (None, identity):
            self._remember(role, identity, sha256)

    def save(self) -> None:
        """Keep what was learnt; where that cannot be written, files are read again next time."""
        if not self.changed:
            return
        try:
            with atomic.stage(self._place.parent, self._place.stem, durable=False) as staged:
                staged.write_json(self._place.name, {"format": _FORMAT, "files": self._known})
                staged.commit()
        except OutputError:
            return
        self.changed = False

    def _remember(self, role: str, identity: Identity, digest: str) -> None:
        entry = [*identity, digest]
        self.changed = self.changed or self._known.get(role) != entry
        self._known[role] = entry


def canonical(plain: Any) -> str:
    """The one JSON text of plain values."""
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False)


def hash_of(plain: Any) -> str:
    """Hash (hexadecimal) of plain values."""
    return hashlib.sha256(canonical(plain).encode()).hexdigest()


def read_json(path: Path) -> Mapping[str, Any] | None:
    """Content of a JSON file with an object in it, or None."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def _read(place: Path) -> dict[str, list[Any]]:
    content = read_json(place) or {}
    files = content.get("files")
    if content.get("format") != _FORMAT or not isinstance(files, dict):
        return {}
    return {role: entry for role, entry in files.items() if isinstance(entry, list) and len(entry) == 5}


def remove_quietly(path: Path) -> None:
    """Remove a file that may not be there."""
    try:
        os.unlink(path)  # noqa: PTH108  (a plain call: no second look at the path)
    except OSError:
        return
