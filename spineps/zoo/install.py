"""Models brought into the cache and taken out of it: fetched from where they are published, imported, verified, removed.

A fetched archive has no published hash. Its sha256 is pinned when it is first used, in ``<cache>/.pins``, and every later
download of the same version must have it. A model appears under its name in one step, whole; until then it lies in a folder
that begins with a dot. One process at a time works on a model, the others wait and find it there.
"""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from spineps.errors import ErrorCode, ModelError, UsageError
from spineps.io import atomic
from spineps.io.shown import shown_name
from spineps.zoo.card import ModelCard
from spineps.zoo.fetch import Limits, Progress, download, failed, sha256_of
from spineps.zoo.places import models_cache
from spineps.zoo.registry import PublishedModel, Where, listed, published
from spineps.zoo.store import CARD

ORIGIN: Final = "origin.json"
"""Beside the card of a fetched model: where it came from and the sha256 of its archive."""
WAIT_SECONDS: Final = 3600.0
"""So long one process waits for another that fetches the same model."""
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Fetched:
    """A published model that is now on this machine.

    Parameters
    ----------
    folder : Path
        Where it lies.
    sha256 : str
        Of its archive; empty where it was here already, without having been fetched.
    news : str
        ``present``, ``fetched`` (the archive has the hash pinned before) or ``pinned`` (it was seen for the first time).
    """

    folder: Path
    sha256: str
    news: str


def fetch_model(
    model: PublishedModel,
    *,
    url: str | None = None,
    limits: Limits | None = None,
    progress: Progress | None = None,
    say: Say = lambda _text: None,
) -> Fetched:
    """Download a published model into the cache, unless it is there.

    Parameters
    ----------
    model : PublishedModel
        Which.
    url : str, optional
        A mirror of its archive.
    limits : Limits, optional
        When to give up.
    progress : callable, optional
        Told the bytes done and all bytes.
    say : callable, optional
        Told what it waits for.

    Raises
    ------
    ModelError
        MODEL_DOWNLOAD, MODEL_ARCHIVE, or what the import refuses. An earlier model is still there then.
    """
    cache = models_cache()
    with _stored(), _locked(model, say):
        if (model.place / CARD).is_file():
            return Fetched(model.place, _pinned(model) or "", "present")
        target = cache / ".downloads" / f"{model.place.name}.zip"
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            download(url or model.url, target, limits=limits, progress=progress)
        try:
            sha256 = _checked_hash(model, target)
            _put_in_place(model, target, {"url": url or model.url, "sha256": sha256})
        except ModelError:  # whatever is wrong with it, another download may put it right; after a kill it is taken up
            target.unlink(missing_ok=True)
            raise
        target.unlink()
        news = "fetched" if _pinned(model) else "pinned"
        atomic.write_json(_pin(model), {"url": url or model.url, "sha256": sha256})
        return Fetched(model.place, sha256, news)


def verify(folder: Path) -> ModelCard:
    """Check that a model folder is as it was made: its card, and the hash of every file of weights.

    Returns
    -------
    ModelCard
        Its card.

    Raises
    ------
    ModelError
        MODEL_MISSING or MODEL_CORRUPT.
    """
    from spineps.zoo.store import load_model

    return load_model(folder).card


def remove(name: str, *, forget: bool = False) -> Path | None:
    """Take a fetched or imported model out of the cache.

    Parameters
    ----------
    name : str
        As ``spineps models list`` names it.
    forget : bool
        Also forget the hash pinned for a published model, so that another archive is taken the next time.

    Returns
    -------
    Path or None
        The folder that is gone, None where only the hash was to be forgotten.

    Raises
    ------
    UsageError
        For a bundled model, one outside of the cache, and a name that no model has.
    """
    name = name.lower()
    model = published(name)
    found = next((row.folder for row in listed() if row.id == (model.id if model else name) and row.where in _REMOVABLE), None)
    if forget and model is not None:
        _pin(model).unlink(missing_ok=True)
    if found is None:
        if forget and model is not None:
            return None
        raise UsageError(
            ErrorCode.USAGE,
            f"no model called {shown_name(name)} is in the cache; bundled models and folders elsewhere are not removed.",
            remedy="See 'spineps models list'.",
        )
    with _stored():
        shutil.rmtree(_moved_away(found))
    return found


_REMOVABLE: Final = (Where.FETCHED, Where.IMPORTED)


@contextmanager
def _locked(model: PublishedModel, say: Say) -> Iterator[None]:
    """Alone with a model among the processes of this machine; the system frees the lock of a process that dies."""
    from filelock import FileLock, Timeout

    place = models_cache() / ".locks" / f"{model.place.name}.lock"
    place.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(place)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say(f"Another process is fetching {model.id}; waiting for it.")
        try:
            lock.acquire(timeout=WAIT_SECONDS)
        except Timeout as error:
            raise failed("another process has been fetching it for an hour", "Wait for that process, or end it.") from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _stored() -> Iterator[None]:
    """Map what the disk refuses, once, for everything that is done in the cache."""
    try:
        yield
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        raise failed(
            f"the folder of models cannot be written to ({reason})",
            "Free some space, or name another folder with SPINEPS_MODELS, and run the command again.",
        ) from error


def _checked_hash(model: PublishedModel, file: Path) -> str:
    """The sha256 of an archive, if it is the one that this version had before."""
    found, expected = sha256_of(file), _pinned(model)
    if expected is not None and found != expected:
        raise failed(
            f"its sha256 is {found[:12]}..., but {model.id} {model.version} had {expected[:12]}... when it was first used",
            f"If its publisher has replaced it, run 'spineps models remove {model.id} --forget' and fetch it again.",
        )
    return found


def _pin(model: PublishedModel) -> Path:
    return models_cache() / ".pins" / f"{model.place.name}.json"


def _pinned(model: PublishedModel) -> str | None:
    """The sha256 that the archive of this version had when it was first used."""
    try:
        return str(json.loads(_pin(model).read_text(encoding="utf-8"))["sha256"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(
            ErrorCode.MODEL_CORRUPT,
            f"the note of the hash of {model.id} is damaged.",
            remedy=f"Run 'spineps models remove {model.id} --forget' and fetch it again.",
        ) from error


def _put_in_place(model: PublishedModel, file: Path, origin: Mapping[str, str]) -> None:
    """From the archive to the model under its name, by way of a folder that others do not see."""
    from spineps.zoo.published.convert import convert

    cache = models_cache()
    for left in cache.glob(f".staged-{model.place.name}-*"):  # of a process that died: this one holds the lock
        shutil.rmtree(left)
    staged = cache / f".staged-{model.place.name}-{uuid.uuid4().hex}"
    staged.mkdir()
    try:
        _check_kind(model, convert(file, staged / "model"))
        atomic.write_json(staged / "model" / ORIGIN, dict(origin))
        if model.place.exists():
            shutil.rmtree(_moved_away(model.place))
        staged.joinpath("model").rename(model.place)
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _check_kind(model: PublishedModel, card: ModelCard) -> None:
    if card.kind is not model.kind:
        raise ModelError(
            ErrorCode.MODEL_CORRUPT,
            f"the archive of {model.id} holds a model of the {card.kind.value} phase, not of the {model.kind.value} phase.",
            remedy="Check the address that it was fetched from.",
        )


def _moved_away(folder: Path) -> Path:
    """Rename a model folder so that nobody finds it any more, in one step, before it is taken apart."""
    hidden = folder.with_name(f".gone-{uuid.uuid4().hex}")
    folder.rename(hidden)
    return hidden
