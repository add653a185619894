"""When a scan is done: its record parses, is whole, and everything that it names still has the hash that it names.

The record carries two keys. The *semantic key* is a hash of all that the semantic mask depends on: input, reading, settings of
the first phase, its model and the program's version. The *key* covers the second phase as well. So a changed setting of the
second phase leaves the semantic key as it was, and what the first phase gave, kept with the cohort's state, is taken up again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Final

from spineps.cohort.files import KnownFiles, hash_of, read_json, sha256_of
from spineps.cohort.layout import RECORD, Case
from spineps.cohort.settings import CohortSettings, ScanSettings
from spineps.errors import ErrorCode
from spineps.outputs.record import DONE, RECORD_FORMAT
from spineps.zoo.card import Kind
from spineps.zoo.store import CARD, bundled_folder, is_bundled, read_card

PROOF: Final = "proof"
INPUT: Final = "input"
FIRST: Final = "first_phase"
"""Under this name the proof holds the hash of what the first phase gave; see :mod:`spineps.cohort.first_phase`."""
KEY_FORMAT: Final = 1
"""Raised when equal settings would give other files than before."""
SECOND_PHASE: Final = frozenset({"instance", "postprocess", "labeling", "measures", "confidence", "page"})
"""Sections of the settings that the semantic network's mask does not depend on; it depends on any other."""
MACHINE_FAULTS: Final = frozenset(
    {
        ErrorCode.INPUT_NOT_FOUND,
        ErrorCode.INPUT_PERMISSION,
        ErrorCode.INPUT_CHANGED,
        ErrorCode.MODEL_MISSING,
        ErrorCode.MODEL_CORRUPT,
        ErrorCode.OUTPUT_NAME,
        ErrorCode.OUTPUT_PERMISSION,
        ErrorCode.OUTPUT_SPACE,
        ErrorCode.OUTPUT_FAILED,
    }
)
"""What lies in the machine and not in the scan: no record is written, and the next run tries again."""


@dataclass(frozen=True, slots=True)
class Keys:
    """The two keys of a scan's results."""

    semantic: str
    result: str


class Standing(str, Enum):
    """What is to be done for a scan."""

    UP_TO_DATE = "up to date"
    FAILED_BEFORE = "failed before"
    INSTANCE_PHASE = "instance phase"
    TO_DO = "to do"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the files of a scan say.

    Parameters
    ----------
    standing : Standing
        What is to be done.
    record : Mapping
        The record that proves it; empty where there is none.
    """

    standing: Standing
    record: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Recipe:
    """All that results depend on but the input, as hashes.

    Parameters
    ----------
    semantic : str
        Of what the first phase depends on.
    rest : str
        Of what the second phase depends on besides.
    """

    semantic: str
    rest: str

    def keys(self, input_sha256: str) -> Keys:
        """The keys for one input."""
        semantic = hash_of([KEY_FORMAT, input_sha256, self.semantic])
        return Keys(semantic, hash_of([semantic, self.rest]))


def recipe_of(settings: CohortSettings, scan: ScanSettings) -> Recipe:
    """What a scan's results depend on: program, models, settings, naming; not on threads, jobs, limits or places.

    Raises
    ------
    ModelError
        If a model is not there.
    """
    import spineps

    config = scan.pipeline.as_dict()
    for no_matter in ("threads", "max_memory_gb"):
        config["compute"].pop(no_matter)
    first = {name: values for name, values in config.items() if name not in SECOND_PHASE}
    second = {name: values for name, values in config.items() if name in SECOND_PHASE}
    read = {"affine": settings.read.affine.value, "volume": settings.read.volume}
    models = scan.models
    semantic = [spineps.__version__, RECORD_FORMAT, first, read, model_identity(models.semantic, Kind.SEMANTIC)]
    findings = [[finding.code.value, finding.message] for finding in scan.findings]
    networks = [model_identity(models.instance, Kind.INSTANCE)]
    if models.labeling is not None or is_bundled(Kind.LABELING):
        networks.append(model_identity(models.labeling, Kind.LABELING))
    rest = [second, settings.output.naming.value, networks, findings]
    return Recipe(hash_of(semantic), hash_of(rest))


def model_identity(folder: Path | None, kind: Kind) -> str:
    """Hash of a model's card, which holds the hash of its weights; loading checks that they match.

    Raises
    ------
    ModelError
        If there is no such model.
    """
    folder = bundled_folder(kind) if folder is None else folder
    read_card(folder)
    return sha256_of(folder / CARD) or ""


def judge(case: Case, recipe: Recipe, known: KnownFiles, first_phase: Path) -> Verdict:
    """Find out from a scan's files what is to be done for it; ``first_phase`` is where the first phase's result is kept."""
    if RECORD not in case.files:
        return Verdict(Standing.TO_DO)
    record = read_json(case.place(RECORD))
    if record is None or not intact(record):
        return Verdict(Standing.TO_DO)
    input_sha256 = known.sha256(INPUT, case.scan.path)
    if input_sha256 is None:
        return Verdict(Standing.TO_DO)
    keys = recipe.keys(input_sha256)
    proof = record[PROOF]
    if proof.get("key") == keys.result and all(_matches(case, known, role, sha) for role, sha in record["outputs"].items()):
        return Verdict(Standing.UP_TO_DATE if record["status"] == DONE else Standing.FAILED_BEFORE, record)
    first = proof.get(FIRST)
    if proof.get("semantic_key") == keys.semantic and first is not None and known.sha256(FIRST, first_phase) == first:
        return Verdict(Standing.INSTANCE_PHASE, record)
    return Verdict(Standing.TO_DO)


def proven(record: Mapping[str, Any], keys: Keys, *, first_phase: str | None = None) -> dict[str, Any]:
    """A record with its proof: both keys, the hash of the first phase's result, a checksum over everything but the timing."""
    sealed = {**record, PROOF: {"semantic_key": keys.semantic, "key": keys.result, FIRST: first_phase}}
    sealed[PROOF]["checksum"] = _checksum(sealed)
    timing = sealed.pop("timing", {})
    return {**sealed, "timing": timing}


def intact(record: Mapping[str, Any]) -> bool:
    """Tell whether a record is one of a cohort, of this format, and as it was written."""
    proof = record.get(PROOF)
    if record.get("record_format") != RECORD_FORMAT or not isinstance(proof, dict):
        return False
    if not isinstance(record.get("outputs"), dict) or not isinstance(record.get("status"), str):
        return False
    return proof.get("checksum") == _checksum(record)


def _checksum(record: Mapping[str, Any]) -> str:
    proof = {name: value for name, value in record[PROOF].items() if name != "checksum"}
    return hash_of({**{name: value for name, value in record.items() if name != "timing"}, PROOF: proof})


def _matches(case: Case, known: KnownFiles, role: str, sha256: str) -> bool:
    return role in case.files and known.sha256(role, case.place(role)) == sha256
