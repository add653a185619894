"""When the program itself fails: a file that helps to find the mistake and tells nothing about the patient or the machine."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from spineps.errors import OutputError
from spineps.outputs.crash import as_known, crash_text, scrubbed

__all__ = ["as_known", "crash_text", "report", "scrubbed"]


def report(error: BaseException, *, command: str) -> str:
    """Write a crash file to the working folder, or where that cannot be written to the system's folder for temporary files.

    Returns
    -------
    str
        One line for the user that names the file.
    """
    from spineps.io import atomic

    name = f"spineps-crash-{os.getpid()}.txt"
    text = crash_text(error, command=command)
    for folder in (Path(), Path(tempfile.gettempdir())):
        try:
            atomic.write_text(folder / name, text)
        except OutputError:
            continue
        return f"BUG: spineps failed ({type(error).__name__}). Send the crash file {folder / name} to the developers."
    return f"BUG: spineps failed ({type(error).__name__}); no crash file could be written. Run again with --debug."
