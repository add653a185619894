"""What an evaluation finds out, number by number, and how numbers of many subjects are summed up."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any, Final

ALL_REGIONS: Final = "all"


class Level(str, Enum):
    """What one number speaks of."""

    GLOBAL = "global"
    """A structure as one binary mask over the whole scan."""
    INSTANCE = "instance"
    """The instances of a structure: the mean over the matched ones of a subject, or a quality of the matching."""
    VERTEBRA = "vertebra"
    """One vertebra, found in both masks by its label."""
    SCAN = "scan"
    """A whole scan."""


class Metric(str, Enum):
    """Names of the numbers, as they stand in every file that an evaluation writes."""

    DSC = "DSC"
    IOU = "IoU"
    PPV = "PPV"
    SENSITIVITY = "sensitivity"
    ASSD = "ASSD"
    ASSD_TWO_WAY = "ASSD two-way"
    HD = "HD"
    HD95 = "HD95"
    HD95_MAX = "HD95 max"
    RQ = "RQ"
    SQ = "SQ"
    PQ = "PQ"
    ID_RATE = "id.rate"
    D_MEAN = "d_mean"
    DETECTION = "detection accuracy"
    VOLUME_REFERENCE = "volume reference"
    VOLUME_PREDICTION = "volume prediction"

    @property
    def lower_is_better(self) -> bool:
        """True of distances."""
        return self in _DISTANCES

    @property
    def unit(self) -> str:
        """``mm`` of distances, ``ml`` of volumes, else empty."""
        if self in _DISTANCES:
            return "mm"
        return "ml" if self in (Metric.VOLUME_REFERENCE, Metric.VOLUME_PREDICTION) else ""

    @property
    def arrow(self) -> str:
        """Which way is better, as in the tables of the SPINEPS paper."""
        return "↓" if self.lower_is_better else "↑"


_DISTANCES: Final = frozenset({Metric.ASSD, Metric.ASSD_TWO_WAY, Metric.HD, Metric.HD95, Metric.HD95_MAX, Metric.D_MEAN})


class Note(str, Enum):
    """Why a number is missing, or is what it is although nothing was measured."""

    NONE = ""
    NOT_IN_REFERENCE = "not in the reference"
    ONLY_IN_PREDICTION = "only in the prediction"
    MISSED = "missed"
    UNMATCHED = "no true positive"
    UNDEFINED = "undefined"
    SUBSTITUTED = "substituted"
    NOT_PROVIDED = "not provided"


@dataclass(frozen=True, slots=True)
class Score:
    """One number.

    Parameters
    ----------
    structure : str
        Key of a structure ("vertebra", "disc", "corpus"), or the name of a level ("C3").
    level : Level
        What the number speaks of.
    metric : Metric
        Which number it is.
    value : float or None
        The number; None where the definition gives none, and ``note`` says why.
    region : str
        "all", "cervical", "thoracic" or "lumbar".
    note : Note
        Why the number is missing or special.
    """

    structure: str
    level: Level
    metric: Metric
    value: float | None
    region: str = ALL_REGIONS
    note: Note = Note.NONE

    def __post_init__(self) -> None:
        if self.value is not None and not math.isfinite(self.value):
            raise ValueError(
                f"expected a finite number or None for {self.metric.value} of {self.structure}, found {self.value}"
            )

    @property
    def key(self) -> Key:
        """Everything but the value."""
        return Key(self.structure, self.level, self.metric, self.region)


@dataclass(frozen=True, slots=True)
class Key:
    """Names one number of every subject; the parts are those of :class:`Score`."""

    structure: str
    level: Level
    metric: Metric
    region: str = ALL_REGIONS


@dataclass(frozen=True, slots=True)
class CaseScores:
    """All numbers of one subject and one method.

    Parameters
    ----------
    case : str
        Name of the subject.
    method : str
        Name of the method.
    scores : tuple of Score
        The numbers.
    remarks : tuple of str
        Sentences for the reader: what the modes of a definition disagree on, what was resampled.
    """

    case: str
    method: str
    scores: tuple[Score, ...]
    remarks: tuple[str, ...] = ()

    def to_plain(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "case": self.case,
            "method": self.method,
            "scores": [{k: v.value if isinstance(v, Enum) else v for k, v in asdict(s).items()} for s in self.scores],
            "remarks": list(self.remarks),
        }

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> CaseScores:
        """The inverse of :meth:`to_plain`; raises KeyError, TypeError or ValueError on anything else."""
        scores = tuple(
            Score(s["structure"], Level(s["level"]), Metric(s["metric"]), s["value"], region=s["region"], note=Note(s["note"]))
            for s in plain["scores"]
        )
        return cls(plain["case"], plain["method"], scores, tuple(plain["remarks"]))


@dataclass(frozen=True, slots=True)
class Summary:
    """Mean and spread over subjects.

    Parameters
    ----------
    mean, sd : float or None
        Over the subjects that have the number; ``sd`` is the sample standard deviation (n - 1), None of a single subject.
    n : int
        Subjects that have the number.
    missed : int
        Subjects whose reference has the structure and whose prediction has not (Dice 0, no distance).
    unmatched : int
        Subjects with instances on both sides of which none matched.
    extra : int
        Subjects left out because only the prediction has the structure.
    """

    mean: float | None
    sd: float | None
    n: int
    missed: int = 0
    unmatched: int = 0
    extra: int = 0


def summarise(scores: Iterable[Score]) -> Summary:
    """Sum up one number over subjects; subjects without it count in the other fields only."""
    listed = list(scores)
    values = [s.value for s in listed if s.value is not None]
    mean, sd = mean_sd(values)
    notes = [s.note for s in listed]
    return Summary(
        mean, sd, len(values), notes.count(Note.MISSED), notes.count(Note.UNMATCHED), notes.count(Note.ONLY_IN_PREDICTION)
    )


def mean_sd(values: Sequence[float]) -> tuple[float | None, float | None]:
    """Mean and sample standard deviation (n - 1); None where there are too few values."""
    if not values:
        return None, None
    mean = math.fsum(values) / len(values)
    if len(values) == 1:
        return mean, None
    return mean, math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1))


class Results:
    """The numbers of a cohort: one or more methods, each on the same or overlapping subjects.

    Parameters
    ----------
    cases : iterable of CaseScores
        In any order; methods keep the order in which they come.
    """

    def __init__(self, cases: Iterable[CaseScores]) -> None:
        self._by_key: dict[str, dict[Key, dict[str, Score]]] = {}
        self.remarks: list[tuple[str, str, str]] = []
        for case in cases:
            method = self._by_key.setdefault(case.method, {})
            for score in case.scores:
                method.setdefault(score.key, {})[case.case] = score
            self.remarks += [(case.method, case.case, remark) for remark in case.remarks]

    @property
    def methods(self) -> tuple[str, ...]:
        """Names of the methods."""
        return tuple(self._by_key)

    def all_keys(self) -> tuple[Key, ...]:
        """Every number that any method has, in the order of the first case."""
        return tuple(dict.fromkeys(key for method in self._by_key.values() for key in method))

    def scores(self, method: str, key: Key) -> dict[str, Score]:
        """Subject to score."""
        return self._by_key[method].get(key, {})

    def values(self, method: str, key: Key) -> dict[str, float]:
        """Subject to value, of the subjects that have one."""
        return {case: s.value for case, s in self.scores(method, key).items() if s.value is not None}

    def summary(self, method: str, key: Key) -> Summary:
        """Mean, spread and counts over the subjects."""
        return summarise(self.scores(method, key).values())

    def paired(self, first: str, second: str, key: Key) -> dict[str, tuple[float, float]]:
        """Subject to the values of both methods, of the subjects that have both."""
        one, two = self.values(first, key), self.values(second, key)
        return {case: (one[case], two[case]) for case in one if case in two}
