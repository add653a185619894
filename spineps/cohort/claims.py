"""Claims: of several runs on one folder, one works on a scan at a time, also over a network drive.

A claim is a folder with one file in it, and the file's name says whose it is. Both steps of ownership are renames, which work
for one of those who try and for no other (locks do not, on NFS without a lock daemon): a new claim is put together aside and
renamed into its place, where only an empty folder gives way; a stale claim is followed by renaming its owner's file. The owner
touches the file every :data:`HEARTBEAT_S`. A claim is stale when its owner is a process of this machine that is gone, or when
it was not touched for :data:`STALE_S` by the clock of the one who watches it: no two clocks are ever compared. Even two owners
would do no harm: both write the same bytes.
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

from spineps.cohort.files import hash_of, read_json
from spineps.io import atomic

HEARTBEAT_S: Final = 30.0
STALE_S: Final = 90.0
_OWNER: Final = "owner-{}.json"
_SUFFIX: Final = ".claim"
_ASIDE: Final = ".new-"


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
        self._owner, self._maker = {**_this_process(), "token": self._token}, _maker()
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
        if not self._make(name):
            if not (self._is_stale(name) and self._follow(name)):
                return False
            self.taken_over.add(name)
        with self._lock:
            self._held.add(name)
        return True

    def release(self, name: str) -> None:
        """Let go of a claim; one that another run has taken over meanwhile is left to it."""
        with self._lock:
            self._held.discard(name)
        with contextlib.suppress(OSError):
            self._own_file(name).unlink()
            self._place(name).rmdir()

    def names(self) -> tuple[str, ...]:
        """What is claimed, by whomever; claims that a killed process of this machine was putting together are taken away."""
        entries = tuple(self._folder.iterdir()) if self._folder.is_dir() else ()
        for entry in entries:
            maker = entry.name.rpartition(_ASIDE)[2]
            if maker != entry.name and _made_by_the_dead(maker):
                shutil.rmtree(entry, ignore_errors=True)
        return tuple(entry.stem for entry in entries if entry.suffix == _SUFFIX)

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

    def _own_file(self, name: str) -> Path:
        return self._place(name) / _OWNER.format(self._token)

    def _make(self, name: str) -> bool:
        """Put a new claim into its place; False where another stands."""
        aside = self._folder / f"{name}{_ASIDE}{self._maker}-{uuid.uuid4().hex}"
        try:
            self._sign(aside / self._own_file(name).name)
            with contextlib.suppress(OSError):
                if os.name != "posix":
                    self._place(name).rmdir()  # elsewhere a rename replaces no folder, not even an empty one
                aside.rename(self._place(name))
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        return self._own_file(name).exists()  # a rename over a network may work and say that it did not

    def _follow(self, name: str) -> bool:
        """Make the stale claim ours; of several that try, one succeeds."""
        stale = self._place(name) / _OWNER.format(self._seen[name].token)
        with contextlib.suppress(OSError):
            stale.rename(self._own_file(name))
        if not self._own_file(name).exists():
            return False
        self._sign(self._own_file(name))
        return True

    def _sign(self, file: Path) -> None:
        atomic.write_json(file, self._owner, durable=False)

    def _is_stale(self, name: str) -> bool:
        """Whether the owner is surely gone, or has not been heard of for long enough."""
        file = next(self._place(name).glob(_OWNER.format("*")), None)
        try:
            touched_ns = 0 if file is None else file.stat().st_mtime_ns
        except OSError:
            file = None
        if file is None:  # let go of, or followed, this very moment
            return False
        token = file.name.removeprefix("owner-").removesuffix(".json")
        now, seen = _Seen(token, touched_ns, self._clock()), self._seen.get(name)
        if seen is None or (seen.token, seen.touched_ns) != (token, touched_ns):
            self._seen[name] = seen = now
        owner = dict(read_json(file) or {})
        gone = owner.get("token") == token and _is_gone(owner)  # else its follower has not signed yet
        return gone or now.since_s - seen.since_s >= STALE_S

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT_S):
            with self._lock:
                held = tuple(self._held)
            for name in held:
                with contextlib.suppress(OSError):
                    os.utime(self._own_file(name))


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


def _maker() -> str:
    """Name of this process, short enough for a file's."""
    return f"{_system()}-{os.getpid()}-{_born('self')}"


def _made_by_the_dead(maker: str) -> bool:
    """Whether :func:`_maker`, with more after it, is a process of this machine that does not run any more."""
    system, pid, born = (*maker.split("-"), "", "")[:3]
    return system == _system() and _born(pid) != born


def _system() -> str:
    """A hash of all within which a process id means one process."""
    return hash_of([socket.gethostname(), _boot_id(), _process_space()])[:12]


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
