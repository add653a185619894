"""Claims: of several runs on one folder, one works on a scan at a time, also over a network drive.

A claim is a folder, because making a folder is one step everywhere (locks are not, on NFS without a lock daemon), with a file
in it that says whose it is. The owner touches it every :data:`HEARTBEAT_S`. A claim is stale when its owner is a process of
this machine that is gone, or when it was not touched for :data:`STALE_S` by the clock of the one who watches it: no two clocks
are ever compared. Whoever finds a stale claim renames it away, which works for one of them only, and checks that it was the
stale one. Even two owners would do no harm: both write the same bytes.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from spineps.cohort.files import read_json
from spineps.errors import OutputError
from spineps.io import atomic

HEARTBEAT_S: Final = 30.0
STALE_S: Final = 90.0
OWNER: Final = "owner.json"
_SUFFIX: Final = ".claim"


@dataclass(frozen=True, slots=True)
class _Seen:
    """What another run's claim looked like, and when (on the watcher's own clock) it began to look so."""

    token: str
    touched_ns: int
    since_s: float


class Claims:
    """The claims that this process holds in one folder; a context that lets go of all of them.

    Parameters
    ----------
    folder : Path
        Shared by all runs on the same results.
    clock : callable
        Seconds, never going back.

    Attributes
    ----------
    taken_over : set of str
        Claims whose owner died with them, perhaps in the middle of writing.
    """

    def __init__(self, folder: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder = folder
        self._clock = clock
        self._token = uuid.uuid4().hex
        self._held: set[str] = set()
        self.taken_over: set[str] = set()
        self._seen: dict[str, _Seen] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._heart: threading.Thread | None = None

    def __enter__(self) -> Claims:
        self._heart = threading.Thread(target=self._beat, name="claims", daemon=True)
        self._heart.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        for name in tuple(self._held):
            self.release(name)

    def take(self, name: str) -> bool:
        """Claim something, or find out that another run has it.

        Raises
        ------
        OutputError
            If claims cannot be written here.
        """
        place = self._place(name)
        if not self._make(place):
            if not (self._is_stale(name) and self._remove_stale(name)):
                return False
            self.taken_over.add(name)
            if not self._make(place):
                return False
        with self._lock:
            self._held.add(name)
        return True

    def release(self, name: str) -> None:
        """Let go of a claim; one that another run has taken over meanwhile is left to it."""
        with self._lock:
            self._held.discard(name)
        place = self._place(name)
        if _owner(place).get("token") == self._token:
            _discard(place)

    @contextmanager
    def waiting_for(self, name: str, *, poll_s: float = 0.1) -> Iterator[None]:
        """Hold a claim for a short while, after whoever has it."""
        while not self.take(name):
            time.sleep(poll_s)
        try:
            yield
        finally:
            self.release(name)

    def _place(self, name: str) -> Path:
        return self._folder / f"{name}{_SUFFIX}"

    def _make(self, place: Path) -> bool:
        if not atomic.make_folder(place):
            return False
        try:
            atomic.write_json(place / OWNER, {**_this_process(), "token": self._token})
        except OutputError:
            _discard(place)
            raise
        return True

    def _is_stale(self, name: str) -> bool:
        """Whether the owner is surely gone, or has not been heard of for long enough."""
        place = self._place(name)
        owner = _owner(place)
        if _is_gone(owner):
            self._seen[name] = _Seen(str(owner.get("token", "")), 0, self._clock())
            return True
        try:
            touched_ns = (place / OWNER).stat().st_mtime_ns
        except OSError:
            touched_ns = 0  # made by a run that died before it could write its name, or gone by now
        token = str(owner.get("token", ""))
        seen = self._seen.get(name)
        if seen is None or (seen.token, seen.touched_ns) != (token, touched_ns):
            self._seen[name] = _Seen(token, touched_ns, self._clock())
            return False
        return self._clock() - seen.since_s >= STALE_S

    def _remove_stale(self, name: str) -> bool:
        """Rename the claim away and check that it is the stale one; of several that try, one succeeds."""
        place, aside = self._place(name), self._folder / f"{name}.stale-{uuid.uuid4().hex}"
        try:
            place.rename(aside)
        except OSError:
            return False
        if str(_owner(aside).get("token", "")) != self._seen[name].token:
            with contextlib.suppress(OSError):
                aside.rename(place)  # another run was quicker: this is its new claim
            return False
        _discard(aside)
        return True

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT_S):
            with self._lock:
                held = tuple(self._held)
            for name in held:
                with contextlib.suppress(OSError):
                    os.utime(self._place(name) / OWNER)


def _owner(place: Path) -> dict[str, Any]:
    return dict(read_json(place / OWNER) or {})


def _discard(place: Path) -> None:
    """Remove a claim in one step for all who look: it loses its name first."""
    gone = place.with_name(f"{place.name}.gone-{uuid.uuid4().hex}")
    try:
        place.rename(gone)
    except OSError:
        return
    shutil.rmtree(gone, ignore_errors=True)


def _this_process() -> dict[str, Any]:
    return {
        "host": socket.gethostname(),
        "boot": _boot_id(),
        "space": _process_space(),
        "pid": os.getpid(),
        "born": _born("self"),
    }


def _is_gone(owner: dict[str, Any]) -> bool:
    """Whether the owner was a process of this machine that does not run any more."""
    if not owner or owner.get("host") != socket.gethostname():
        return False
    if owner.get("boot") != _boot_id():
        return True
    if owner.get("space") != _process_space() or not isinstance(owner.get("pid"), int):
        return False
    try:
        os.kill(owner["pid"], 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return bool(owner.get("born")) and _born(str(owner["pid"])) != owner["born"]


def _boot_id() -> str:
    """What changes when this machine starts anew; empty where that is not known."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _process_space() -> str:
    """The name space of process ids: two containers on one machine do not see each other's."""
    try:
        return os.readlink("/proc/self/ns/pid")  # noqa: PTH115  (a name that is no path)
    except OSError:
        return ""


def _born(pid: str) -> str:
    """When a process began, in ticks since the machine's start: its id alone may be another's by now."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return text.rpartition(")")[2].split()[19]
