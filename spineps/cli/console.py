"""What the command line says: results on stdout, everything else on stderr.

A reader that goes away (``| head``) never stops a run: what it would have read is dropped.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from time import perf_counter
from typing import TYPE_CHECKING, TextIO

from spineps.errors import Finding

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class Verbosity(IntEnum):
    """How much is said."""

    QUIET = 0
    NORMAL = 1
    VERBOSE = 2


class Console:
    """The user's terminal, or the files that stand for it.

    Parameters
    ----------
    verbosity : Verbosity
        QUIET says results and errors alone, VERBOSE also settings and the seconds of each stage.
    """

    def __init__(self, verbosity: Verbosity = Verbosity.NORMAL) -> None:
        self.verbosity = verbosity

    def result(self, text: str) -> None:
        """What the command was asked for, on stdout."""
        _write(sys.stdout, text)

    def say(self, text: str) -> None:
        """What is going on."""
        if self.verbosity >= Verbosity.NORMAL:
            _write(sys.stderr, text)

    def detail(self, text: str) -> None:
        """What only a user who asks for it wants to know."""
        if self.verbosity >= Verbosity.VERBOSE:
            _write(sys.stderr, text)

    def findings(self, findings: Iterable[Finding]) -> None:
        """Each finding as ``CODE: message``."""
        for finding in findings:
            self.say(f"{finding.code}: {one_line(finding.message)}")

    @contextmanager
    def work(self, title: str) -> Iterator[Work]:
        """Show that work goes on: progress bars where stderr is a terminal, else a plain line a step."""
        if self.verbosity is Verbosity.QUIET or not sys.stderr.isatty():
            self.say(title)
            yield Work(self)
            return
        from rich.console import Console as Terminal
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=Terminal(stderr=True), transient=True) as bars:
            yield _WorkWithBars(self, bars)


class Work:
    """Work that goes on, said in plain lines.

    Parameters
    ----------
    console : Console
        Where to say it.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._since = perf_counter()

    def note(self, text: str) -> None:
        """Something worth knowing meanwhile."""
        self._console.say(text)

    def stage_done(self, name: str, _value: object) -> None:
        """A stage is done."""
        self._console.say(f"  {name} done after {perf_counter() - self._since:.1f} s")

    def progress(self, stage: str, done: int, total: int) -> None:
        """So much of a stage is done."""


class _WorkWithBars(Work):
    """Work that goes on, shown by bars on a terminal."""

    def __init__(self, console: Console, bars: Progress) -> None:
        super().__init__(console)
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}

    def note(self, text: str) -> None:
        self._bars.console.print(text, markup=False, highlight=False)

    def stage_done(self, name: str, _value: object) -> None:
        if self._console.verbosity is Verbosity.VERBOSE:
            self._bars.console.print(f"  {name} done after {perf_counter() - self._since:.1f} s", markup=False, highlight=False)

    def progress(self, stage: str, done: int, total: int) -> None:
        if stage not in self._tasks:
            self._tasks[stage] = self._bars.add_task(stage, total=total)
        self._bars.update(self._tasks[stage], completed=done, total=total)


def say(text: str) -> None:
    """Say what is going on, on stderr."""
    _write(sys.stderr, text)


def complain(text: str) -> None:
    """Say in one line on stderr why a command ends."""
    _write(sys.stderr, one_line(text))


def one_line(text: str) -> str:
    """Text on one line, control characters escaped."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)


def _write(stream: TextIO, text: str) -> None:
    encoding = stream.encoding or "utf-8"
    line = text.encode(encoding, "backslashreplace").decode(encoding)
    try:
        stream.write(f"{line}\n")
        stream.flush()
    except BrokenPipeError:
        _silence(stream)


def _silence(stream: TextIO) -> None:
    """Let what is still written to a closed pipe go nowhere, also at the interpreter's end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
