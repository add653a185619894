"""Errors that stop a run, findings that do not, and the exit codes of the command line.

There is no third channel: a function returns its result or raises a :class:`SpinepsError`; what is worth knowing but does
not stop the run is a :class:`Finding` that travels with the data.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import ClassVar


class ExitCode(IntEnum):
    """Exit codes of every ``spineps`` command."""

    OK = 0
    USAGE = 2
    INPUT = 3
    NO_SPINE = 4
    MODEL = 5
    RESOURCE = 6
    COHORT_INCOMPLETE = 7
    CLAIMED = 8
    BUG = 70
    INTERRUPTED = 130
    TERMINATED = 143


class ErrorCode(str, Enum):
    """Stable names of everything that can stop a run."""

    USAGE = "USAGE"
    INPUT_NOT_FOUND = "INPUT_NOT_FOUND"
    INPUT_NOT_FILE = "INPUT_NOT_FILE"
    INPUT_PERMISSION = "INPUT_PERMISSION"
    INPUT_EMPTY = "INPUT_EMPTY"
    INPUT_NOT_NIFTI = "INPUT_NOT_NIFTI"
    INPUT_FORMAT = "INPUT_FORMAT"
    INPUT_TRUNCATED = "INPUT_TRUNCATED"
    INPUT_CORRUPT = "INPUT_CORRUPT"
    INPUT_CHANGED = "INPUT_CHANGED"
    INPUT_TOO_LARGE = "INPUT_TOO_LARGE"
    INPUT_HEADER = "INPUT_HEADER"
    INPUT_SHAPE = "INPUT_SHAPE"
    INPUT_DTYPE = "INPUT_DTYPE"
    INPUT_AFFINE = "INPUT_AFFINE"
    INPUT_AFFINE_CONFLICT = "INPUT_AFFINE_CONFLICT"
    INPUT_FOV = "INPUT_FOV"
    INPUT_NONFINITE = "INPUT_NONFINITE"
    INPUT_CONSTANT = "INPUT_CONSTANT"
    INPUT_LOOKS_LIKE_LABELS = "INPUT_LOOKS_LIKE_LABELS"
    INPUT_LABELS = "INPUT_LABELS"
    COMPAT = "COMPAT"
    NO_SPINE = "NO_SPINE"
    LEVELS_AMBIGUOUS = "LEVELS_AMBIGUOUS"
    MODEL_MISSING = "MODEL_MISSING"
    MODEL_CORRUPT = "MODEL_CORRUPT"
    MODEL_UNSAFE = "MODEL_UNSAFE"
    MODEL_ARCHIVE = "MODEL_ARCHIVE"
    MODEL_DOWNLOAD = "MODEL_DOWNLOAD"
    RESOURCE_MEMORY = "RESOURCE_MEMORY"
    TRAINING_WORKER = "TRAINING_WORKER"
    TIME_LIMIT = "TIME_LIMIT"
    WORKER_DIED = "WORKER_DIED"
    CLUSTER = "CLUSTER"
    OUTPUT_NAME = "OUTPUT_NAME"
    OUTPUT_PERMISSION = "OUTPUT_PERMISSION"
    OUTPUT_SPACE = "OUTPUT_SPACE"
    OUTPUT_FAILED = "OUTPUT_FAILED"
    CLAIMED = "CLAIMED"
    BUG = "BUG"

    def __str__(self) -> str:
        return self.value


class FindingCode(str, Enum):
    """Stable names of everything worth knowing that does not stop a run."""

    SUFFIX_MISMATCH = "SUFFIX_MISMATCH"
    TRAILING_PADDING = "TRAILING_PADDING"
    HEADER_REPAIRED = "HEADER_REPAIRED"
    SCALING_IGNORED = "SCALING_IGNORED"
    SPACING_FROM_AFFINE = "SPACING_FROM_AFFINE"
    SQUEEZED = "SQUEEZED"
    VOLUME_SELECTED = "VOLUME_SELECTED"
    AFFINE_FROM_QFORM = "AFFINE_FROM_QFORM"
    AFFINE_CHOSEN = "AFFINE_CHOSEN"
    SHEAR = "SHEAR"
    NONFINITE_REPLACED = "NONFINITE_REPLACED"
    THICK_SLICES = "THICK_SLICES"
    COMPAT_FORCED = "COMPAT_FORCED"
    PARTIAL_VERTEBRA = "PARTIAL_VERTEBRA"
    MERGED_CORPUS_SPLIT = "MERGED_CORPUS_SPLIT"
    MERGED_CORPUS_KEPT = "MERGED_CORPUS_KEPT"
    SACRAL_BODY = "SACRAL_BODY"
    STRAY_REMOVED = "STRAY_REMOVED"
    ORPHANS_REMOVED = "ORPHANS_REMOVED"
    UNNAMED_LEVELS = "UNNAMED_LEVELS"
    AMBIGUOUS_LEVELS = "AMBIGUOUS_LEVELS"
    MISSING_VERTEBRA = "MISSING_VERTEBRA"
    LABELS_IGNORED = "LABELS_IGNORED"
    MODEL_BUNDLED = "MODEL_BUNDLED"
    MEMORY_SHORT = "MEMORY_SHORT"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True)
class Finding:
    """Something worth knowing that did not stop the run.

    Parameters
    ----------
    code : FindingCode
        What kind of finding it is; stable across versions.
    message : str
        One sentence for the user, without personal data or absolute paths.
    """

    code: FindingCode
    message: str


class SpinepsError(Exception):
    """Base of all errors that a user can meet: what was found, what was expected, what to do.

    Parameters
    ----------
    code : ErrorCode
        Stable name of the error.
    message : str
        One sentence: what was found and what was expected.
    remedy : str
        One sentence: what the user can do about it.
    """

    exit_code: ClassVar[ExitCode] = ExitCode.BUG

    def __init__(self, code: ErrorCode, message: str, *, remedy: str) -> None:
        super().__init__(code, message, remedy)
        self.code = code
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.code}: {self.message} {self.remedy}"

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.code, self.message, self.remedy))


def _rebuild(cls: type[SpinepsError], code: ErrorCode, message: str, remedy: str) -> SpinepsError:
    return cls(code, message, remedy=remedy)


class UsageError(SpinepsError):
    """A command or a setting that cannot be carried out."""

    exit_code = ExitCode.USAGE


class InputError(SpinepsError):
    """An input file that is refused, or that a model cannot take."""

    exit_code = ExitCode.INPUT


class NoSpineError(SpinepsError):
    """No spine was found in the scan, or no vertebra in a label map."""

    exit_code = ExitCode.NO_SPINE


class ModelError(SpinepsError):
    """A model is missing, damaged or does not fit the task."""

    exit_code = ExitCode.MODEL


class ResourceError(SpinepsError):
    """Memory, a device or the disk does not suffice."""

    exit_code = ExitCode.RESOURCE


class OutputError(SpinepsError):
    """An output cannot be written."""

    exit_code = ExitCode.RESOURCE
