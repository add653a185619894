"""When the program itself fails: what happened where, and nothing about the patient or the machine."""

from __future__ import annotations

import platform
import re
import traceback
from pathlib import Path
from types import FrameType, TracebackType
from typing import Final

from spineps.errors import ErrorCode, ResourceError, SpinepsError

_QUOTED: Final = re.compile(r"'[^']*'|\"[^\"]*\"")
_PATH: Final = re.compile(r"(?:[A-Za-z]:)?[\\/]\S+")
_NO_MEMORY: Final = ("OutOfMemoryError", "not enough memory", "can't allocate memory", "bad allocation", "std::bad_alloc")


def as_known(error: BaseException) -> SpinepsError | None:
    """The error that a user can act on where a library ran out of memory, or None for a bug."""
    if isinstance(error, MemoryError) or any(sign in f"{type(error).__name__} {error}" for sign in _NO_MEMORY):
        return ResourceError(
            ErrorCode.RESOURCE_MEMORY,
            "the memory of this machine did not suffice.",
            remedy="Close other programs, or run on a machine with more memory.",
        )
    return None


def crash_text(error: BaseException, *, command: str) -> str:
    """What happened where: versions, the stack without its values, names and shapes of arrays; no paths, no quoted text."""
    import spineps
    from spineps.outputs.record import versions

    lines = [f"spineps {spineps.__version__}, command {command}"]
    lines += [f"system {platform.system()} {platform.machine()}"]
    lines += [f"{name} {number}" for name, number in versions().items()]
    chain: BaseException | None = error
    while chain is not None:
        lines += ["", *_stack(chain.__traceback__), f"{type(chain).__name__}: {scrubbed(str(chain))}"]
        chain = chain.__cause__ or chain.__context__
    return "\n".join(lines) + "\n"


def scrubbed(message: str) -> str:
    """A message without what may name a person or a place: quoted text and paths are left out, numbers stay."""
    return _PATH.sub("<path>", _QUOTED.sub("<text>", message))


def _stack(trace: TracebackType | None) -> list[str]:
    lines = []
    for frame, number in traceback.walk_tb(trace):
        lines.append(f"  {_place(frame.f_code.co_filename)}:{number} {frame.f_code.co_name}")
        lines += [f"      {shape}" for shape in _shapes(frame)]
    return lines


def _place(file: str) -> str:
    """A source file from its package on."""
    parts = Path(file).parts
    for anchor in ("site-packages", "dist-packages"):
        if anchor in parts:
            return "/".join(parts[parts.index(anchor) + 1 :])
    own = Path(__file__).parents[1]
    return "/".join(("spineps", *Path(file).relative_to(own).parts)) if own in Path(file).parents else Path(file).name


def _shapes(frame: FrameType) -> list[str]:
    """Shapes and types of the arrays of a function of ours."""
    if not frame.f_globals.get("__name__", "").startswith("spineps"):
        return []
    arrays = {name: value for name, value in frame.f_locals.items() if isinstance(getattr(value, "shape", None), tuple)}
    return [f"{name}: {getattr(array, 'dtype', 'unknown')} {array.shape}" for name, array in arrays.items()]
