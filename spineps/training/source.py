"""Where the samples of a training come from: phantoms, or scans of one's own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Protocol

from spineps.training.tasks import Sample, Task


class SampleStream(Protocol):
    """Samples one after the other."""

    fresh: int

    def next(self) -> Sample:
        """The next sample."""

    def state(self) -> dict[str, Any]:
        """Plain values for JSON, to go on from in a later run."""

    def seeds(self) -> list[int]:
        """First seed of what was used, and the one after the last."""

    def close(self) -> None:
        """End what makes the samples."""


class Source(ABC):
    """What is trained, and on what."""

    task: Task

    @abstractmethod
    def stream(self, state: dict[str, Any] | None) -> SampleStream:
        """Open the stream of training samples; ``state`` is that of an earlier run."""

    @abstractmethod
    def validation(self) -> list[Sample]:
        """Samples that are never trained on."""

    @abstractmethod
    def origin(self, seeds: Sequence[int]) -> dict[str, Any]:
        """What the card says of the data."""

    def name_of(self, scored: int) -> str:
        """How the card calls what the validation scores under an id of :meth:`Task.scored`."""
        return str(scored)
