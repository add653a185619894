"""From what a user asked for to model folders: ids, paths, ``auto``, or nothing at all.

Nothing is downloaded here. A published model that is asked for by its id and is not on this machine is an error that names the
command to fetch it; where nobody asked for one, a bundled model takes its place, with a finding.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from spineps.errors import ErrorCode, Finding, FindingCode, ModelError
from spineps.io.shown import shown_name
from spineps.zoo import registry
from spineps.zoo.card import Kind, ModelCard
from spineps.zoo.store import CARD, read_card

AUTO: Final = "auto"
"""The published model of the scan's kind where it is on this machine, else the bundled one."""
NONE: Final = "none"
"""No model, for the phases that can be left out."""

_KIND_OF_SCAN: Final = re.compile(r"(?:^|_)mod-([A-Za-z0-9-]+)(?:_|$)")
_SUITS: Final = {
    **dict.fromkeys(("t2w", "t2", "t2c", "t2haste"), "T2w"),
    **dict.fromkeys(("t1w", "t1", "t1c"), "T1w"),
    **dict.fromkeys(("vibe", "mevibe", "dixon", "gre"), "vibe"),
    **dict.fromkeys(("ct", "cta", "ctb"), "ct"),
}


@dataclass(frozen=True, slots=True)
class Asked:
    """The models that a user asked for.

    Parameters
    ----------
    semantic, instance, labeling : str or None
        An id, a path (with a slash or backslash), :data:`AUTO`, ``bundled``, or None where nothing was said.
    by_default : str or None
        The published semantic model that the published command would have taken where nothing was said; a finding then tells
        that it is not what ran.
    """

    semantic: str | None = None
    instance: str | None = None
    by_default: str | None = None
    labeling: str | None = None


@dataclass(frozen=True, slots=True)
class Chosen:
    """Model folders for a run.

    Parameters
    ----------
    semantic, instance, labeling : Path or None
        Folders with a card; None is the bundled model.
    n4 : bool
        Whether the semantic model expects a bias field correction.
    findings : tuple of Finding
        MODEL_BUNDLED where a bundled model runs that nobody asked for by name.
    """

    semantic: Path | None = None
    instance: Path | None = None
    n4: bool = False
    findings: tuple[Finding, ...] = ()
    labeling: Path | None = None


def choose_models(asked: Asked, *, scan: str | None = None) -> Chosen:
    """Find the models of a run.

    Parameters
    ----------
    asked : Asked
        What the user said.
    scan : str, optional
        Entity prefix of the scan, for :data:`AUTO`.

    Raises
    ------
    ModelError
        MODEL_MISSING for a published model that is not on this machine; what the import of a folder refuses; MODEL_CORRUPT for
        a model of another phase.
    UsageError
        For a name that no model has.
    """
    suits = None if scan is None else suits_of(scan)
    findings: list[Finding] = []
    semantic = _semantic(asked, suits, findings)
    card = None if semantic is None else read_card(semantic)
    instance = _instance(asked, suits, card, findings)
    labeling = _labeling(asked, suits, card, findings)
    n4 = card is not None and bool(getattr(card.elsewhere, "n4", False))
    return Chosen(semantic, instance, n4, tuple(findings), labeling)


def folder_for(kind: Kind, name: str) -> Path | None:
    """Folder, with a card, of the model of a phase that a name or path means; None for the bundled one.

    A folder of the published tool is imported at first use.

    Raises
    ------
    ModelError, UsageError
        As :func:`choose_models`.
    """
    if name.lower() == registry.BUNDLED:
        return None
    folder = Path(name) if is_path(name) else registry.folder_of(name)
    if not (folder / CARD).is_file():
        folder = _imported(folder)
    card = read_card(folder)
    if card.kind is not kind:
        raise ModelError(
            ErrorCode.MODEL_CORRUPT,
            f"{shown_name(name)} is a model of the {card.kind.value} phase, not of the {kind.value} phase.",
            remedy="Give a model of that phase; see 'spineps models list'.",
        )
    return folder


def is_path(name: str) -> bool:
    """Tell a path from an id, as the published tool does."""
    return "/" in name or "\\" in name


def suits_of(prefix: str) -> str | None:
    """The kind of scan (``T2w``, ``T1w``, ``vibe``, ``ct``) that an entity prefix names, or None."""
    found = _KIND_OF_SCAN.search(prefix)
    return None if found is None else _SUITS.get(found[1].lower())


def _semantic(asked: Asked, suits: str | None, findings: list[Finding]) -> Path | None:
    if asked.semantic is None:
        if asked.by_default is not None:
            findings.append(_bundled(Kind.SEMANTIC, f"no semantic model was named ({asked.by_default} as published)"))
        return None
    if asked.semantic.lower() == AUTO:
        return _automatic(Kind.SEMANTIC, suits, findings)
    return folder_for(Kind.SEMANTIC, asked.semantic)


def _instance(asked: Asked, suits: str | None, semantic: ModelCard | None, findings: list[Finding]) -> Path | None:
    """The published instance model goes with a published semantic one, the bundled one with every other."""
    if asked.instance is not None and asked.instance.lower() != AUTO:
        return folder_for(Kind.INSTANCE, asked.instance)
    if asked.instance is None and (semantic is None or semantic.elsewhere is None):
        return None
    return _automatic(Kind.INSTANCE, _suits_with(semantic, suits), findings)


def _labeling(asked: Asked, suits: str | None, semantic: ModelCard | None, findings: list[Finding]) -> Path | None:
    """The published labeling model goes with a published semantic one, where it is here."""
    name = None if asked.labeling is None else asked.labeling.lower()
    if asked.labeling is not None and name not in (AUTO, NONE):
        return folder_for(Kind.LABELING, asked.labeling)
    if name == NONE or (name is None and (semantic is None or semantic.elsewhere is None)):
        return None
    return _automatic(Kind.LABELING, _suits_with(semantic, suits), findings)


def _suits_with(semantic: ModelCard | None, suits: str | None) -> str | None:
    """The kind of scan: what a published semantic model was made for, else what the scan's name says."""
    if semantic is None or semantic.elsewhere is None or not semantic.elsewhere.modalities:
        return suits
    return semantic.elsewhere.modalities[0]


def _automatic(kind: Kind, suits: str | None, findings: list[Finding]) -> Path | None:
    model = registry.published_for(kind, suits or "")
    if model is None:
        findings.append(_bundled(kind, "there is no published one for this kind of scan"))
        return None
    folder = registry.installed(model)
    if folder is None:
        why = f"{model.id} is not on this machine (fetch it with 'spineps models fetch {model.id}')"
        findings.append(_bundled(kind, why))
        return None
    return folder if (folder / CARD).is_file() else _imported(folder)


def _imported(folder: Path) -> Path:
    from spineps.zoo.published.convert import import_folder

    return import_folder(folder)


def _bundled(kind: Kind, why: str) -> Finding:
    if kind is Kind.LABELING:
        return Finding(FindingCode.MODEL_BUNDLED, f"No published labeling model named the levels: {why}.")
    return Finding(FindingCode.MODEL_BUNDLED, f"The bundled {kind.value} model ran: {why}.")
