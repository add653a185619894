"""What a run will need of memory, and what it may take.

The need follows from the sizes of scan, tile and network: what is held already, and on top of it the larger of the phases.
There are two ways to run, with the same masks: networks stay ready for the next scan, or each gives its memory back after its
phase.
"""

from __future__ import annotations

import gc
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar, runtime_checkable

from spineps.config import ComputeConfig, EngineName, Precision
from spineps.errors import ErrorCode, Finding, FindingCode, ResourceError
from spineps.geometry import Geometry
from spineps.inference.machine import Engine
from spineps.zoo.card import ModelCard

_Made = TypeVar("_Made")

GB: Final = 10**9
_FIXED_BYTES: Final = 40_000_000
_CHANNELS: Final = 32
_FEATURE_BYTES: Final[dict[tuple[str, EngineName], dict[Precision, tuple[float, float]]]] = {
    ("SemanticUNet", EngineName.OPENVINO): {Precision.BF16: (0, 7.3), Precision.FP32: (0, 13.7)},
    ("SemanticUNet", EngineName.TORCH): {Precision.BF16: (0, 7.8), Precision.FP32: (0, 17.7)},
    ("InstanceUNet", EngineName.OPENVINO): {Precision.BF16: (0, 8.9), Precision.FP32: (0, 14.4)},
    ("InstanceUNet", EngineName.TORCH): {Precision.BF16: (0, 11.8), Precision.FP32: (0, 23.8)},
    ("Unet3D", EngineName.OPENVINO): {Precision.BF16: (130, 14.7), Precision.FP32: (114, 31.5)},
    ("Unet3D", EngineName.TORCH): {Precision.BF16: (0, 36.0), Precision.FP32: (0, 58.0)},
    ("NnunetFolds", EngineName.OPENVINO): {Precision.BF16: (0, 14.7), Precision.FP32: (0, 28.5)},
    ("NnunetFolds", EngineName.TORCH): {Precision.BF16: (0, 14.7), Precision.FP32: (0, 28.5)},
}
"""Measured bytes of a voxel of a tile: those that every network of the kind takes, and those for each channel at full
resolution.
"""
_SHORT: Final = "Memory ran out; networks gave theirs back and the phase ran again, with the same masks."
_SEEN_BYTES: Final = 8
"""A voxel of the scan in the first phase: the image in the orientation of the network, labels, certainty."""
_MASK_BYTES: Final = 12
"""A voxel of the scan in the second phase: masks, and what the stages without a network need at once."""
_GRID_BYTES: Final = 16
"""A voxel of the network's grid: the image, its normalisation in double precision, the certainty."""
_SLABS: Final = 2.6
"""Scores that are held at once, in slabs of one tile: those that tiles are added to, those handed on, those waiting."""
_LIMITS: Final = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


@runtime_checkable
class Sized(Protocol):
    """A predictor that knows what its network needs, and can give it back."""

    def need(self) -> int:
        """Bytes for one tile or cutout, beyond the weights."""

    def release(self) -> None:
        """Give back what is held between tiles."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Bytes that a run will need.

    Parameters
    ----------
    held : int
        Before the run: the program, its libraries, weights and the scan.
    semantic, instance : int
        The networks of the two phases.
    first, second : int
        What else the phases need.
    """

    held: int
    semantic: int
    instance: int
    first: int
    second: int

    @property
    def ready(self) -> int:
        """At most, where networks stay ready."""
        return self.held + self.semantic + max(self.first, self.instance + self.second)

    @property
    def frugal(self) -> int:
        """At most, where each network gives its memory back after its phase."""
        return self.held + max(self.semantic + self.first, self.instance + self.second)

    def peak(self, limit: int | None) -> int:
        """At most, on the way that the run takes within a limit."""
        return self.ready if self.keeps_networks(limit) else self.frugal

    def keeps_networks(self, limit: int | None) -> bool:
        """Whether networks may stay ready.

        Raises
        ------
        ResourceError
            RESOURCE_MEMORY, with the number needed, where nothing fits.
        """
        if limit is None or self.ready <= limit:
            return True
        if self.frugal <= limit:
            return False
        raise ResourceError(
            ErrorCode.RESOURCE_MEMORY,
            f"this scan needs about {in_gb(self.frugal)} GB of memory, and {in_gb(limit)} GB may be used.",
            remedy="Allow more with --max-memory, close other programs, take a larger machine, or crop the scan.",
        )


class Ladder:
    """Runs the phases of a scan within a limit, and takes the frugal way where memory runs out all the same.

    Parameters
    ----------
    plan : Plan
        What the scan will need.
    limit : int or None
        Bytes that the process may hold.
    networks : sequence of predictors
        Of both phases.
    findings : list of Finding
        Those of the run; what is found out is added to them.

    Raises
    ------
    ResourceError
        RESOURCE_MEMORY where nothing fits.
    """

    def __init__(self, plan: Plan, limit: int | None, networks: Sequence[Any], findings: list[Finding]) -> None:
        self._plan, self._networks, self._findings = plan, networks, findings
        self._keeps = plan.keeps_networks(limit)

    def run(self, phase: Callable[[], _Made]) -> _Made:
        """What a phase gives.

        Raises
        ------
        ResourceError
            RESOURCE_MEMORY where memory ran out on the last rung.
        """
        before = list(self._findings)
        try:
            done = phase()
        except MemoryError as error:
            if not self._keeps:
                raise self._exhausted() from error
            self._keeps = False
            self._findings[:] = [*before, Finding(FindingCode.MEMORY_SHORT, _SHORT)]
            done = self._again(phase)
        if not self._keeps:
            self._release()
        return done

    def _again(self, phase: Callable[[], _Made]) -> _Made:
        self._release()
        try:
            return phase()
        except MemoryError as error:
            raise self._exhausted() from error

    def _release(self) -> None:
        for network in self._networks:
            if isinstance(network, Sized):
                network.release()
        gc.collect()

    def _exhausted(self) -> ResourceError:
        return ResourceError(
            ErrorCode.RESOURCE_MEMORY,
            f"memory ran out; this scan needs about {in_gb(self._plan.frugal)} GB.",
            remedy="Close other programs, take a larger machine, or crop the scan.",
        )


def plan_for(scan: Geometry, semantic: Any, instance: Any) -> Plan:
    """The memory that a scan will need.

    Parameters
    ----------
    scan : Geometry
        In any orientation.
    semantic, instance : predictors
        Those that know nothing of their need (made by hand) count as needing none.
    """
    voxels = math.prod(scan.shape)
    return Plan(
        held=resident(),
        semantic=semantic.need() if isinstance(semantic, Sized) else 0,
        instance=instance.need() if isinstance(instance, Sized) else 0,
        first=voxels * _SEEN_BYTES + _first_phase(scan, semantic),
        second=voxels * _MASK_BYTES,
    )


def limit_of(compute: ComputeConfig) -> int | None:
    """Bytes that the process may hold: what was asked for, else what it holds and what the machine has left."""
    if compute.max_memory_gb:
        return int(compute.max_memory_gb * GB)
    left = _left()
    return None if left is None else resident() + left


def network_need(card: ModelCard, engine: Engine) -> int:
    """Bytes for the features of one tile or cutout of a model, as measured on each kind of network."""
    settings, network = card.network_settings, card.network
    channels = settings.get("width") or settings.get("fine_width") or next(iter(settings.get("widths", ())), _CHANNELS)
    kinds = _FEATURE_BYTES.get((network, engine.runs_on)) or _FEATURE_BYTES["NnunetFolds", engine.runs_on]
    base, each = kinds[engine.precision]
    return _FIXED_BYTES + int(math.prod(card.patch_size) * (base + channels * each))


def resident() -> int:
    """Bytes that this process holds now; 0 where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return 0
    return pages * 4096


def in_gb(size: int) -> str:
    """Bytes in words, in 10^9 bytes."""
    return f"{size / GB:.2f}"


def _first_phase(scan: Geometry, semantic: Any) -> int:
    """Images, slabs of scores and labels on the network's grid."""
    if not (hasattr(semantic, "spacing_mm") and hasattr(semantic, "patch_size")):
        return 0
    volume = math.prod(n * s for n, s in zip(scan.shape, scan.spacing_mm, strict=True))
    voxels = volume / math.prod(semantic.spacing_mm)
    longest = max(n * s for n, s in zip(scan.shape, scan.spacing_mm, strict=True))
    share = min(1.0, max(t * s for t, s in zip(semantic.patch_size, semantic.spacing_mm, strict=True)) / longest)
    return int(voxels * (_GRID_BYTES + _SLABS * share * len(semantic.labels) * 4))


def _left() -> int | None:
    """Bytes that the machine, or the group of processes that this one belongs to, can still give."""
    found = []
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        found += [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")]
    except OSError:
        return None
    for place in _LIMITS:
        try:
            limit = Path(place).read_text(encoding="ascii").strip()
        except OSError:
            continue
        if limit.isdigit() and int(limit) < sys.maxsize // 2:
            found.append(max(0, int(limit) - resident()))
    return min(found, default=None)
