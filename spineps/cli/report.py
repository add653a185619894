"""What a command says of a run: its stages while they pass, then its findings and its files."""

from __future__ import annotations

import json
from contextlib import ExitStack
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING

from spineps.cli.console import Console
from spineps.config import PipelineConfig

if TYPE_CHECKING:
    from spineps.outputs.save import SavedFiles
    from spineps.volume import Result


class Stages:
    """Says which stages are done: as a moving line where stderr is a terminal, as plain lines elsewhere.

    Parameters
    ----------
    console : Console
        Where to say it.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._open = ExitStack()
        self._since = perf_counter()

    def __enter__(self) -> Stages:
        self._status = self._open.enter_context(self._console.status("Segmenting"))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._open.close()

    def done(self, name: str, _value: object) -> None:
        """Observer of the pipeline: a stage is done."""
        now = perf_counter()
        self._status(f"{name} {now - self._since:.1f} s")
        self._since = now


def show_settings(console: Console, config: PipelineConfig) -> None:
    """Say the settings to a user who asked for them."""
    console.detail(f"settings {json.dumps(config.as_dict())}")


def show_saved(console: Console, result: Result, saved: SavedFiles) -> None:
    """Say what was found, and name the files."""
    console.findings(result.findings)
    vertebrae = ", ".join(vertebra.name or str(vertebra.label) for vertebra in result.vertebrae)
    console.say(f"{len(result.vertebrae)} vertebrae: {vertebrae}")
    for role, path in (
        ("semantic mask", saved.semantic),
        ("instance mask", saved.instance),
        ("centroids", saved.centroids),
        ("picture", saved.snapshot),
        ("record", saved.record),
    ):
        console.result(f"{role}: {path}")
