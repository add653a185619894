"""The levels of a scan as a table: a row a vertebra, with the probability of its name and of every other that is not
negligible. Whether the names are certain stands in every row, so that no row is read without it.
"""

from __future__ import annotations

from typing import Any, Final

from spineps.labeling.sequence import VARIANTS
from spineps.volume import Levels, LevelStatus, Result

COLUMNS: Final = (
    "label",
    "level",
    "level_status",
    "level_probability",
    "level_runner_up",
    "level_odds",
    "sequence_probability",
    "mask_confidence",
    "name_confidence",
    *(f"variant_{name.replace(' ', '_')}" for name in VARIANTS),
    "posteriors",
)
MISSING: Final = "n/a"
MOST_ODDS: Final = 1e6
"""Larger odds are cut to this: no evidence here is worth more."""


def levels_tsv(result: Result) -> str:
    """The table of a result's levels, tab-separated, from top to bottom.

    Columns: the instance id (``label``), its name and the name's posterior probability, its name in the runner-up sequence,
    the odds of the best sequence against the runner-up and its own probability, the calibrated confidence of mask and name
    (:mod:`spineps.stages.confidence`), the probability of each numbering variant, and every name with a posterior of 0.001
    or more (``L4=0.9900,L3=0.0095``).
    """
    levels = result.levels
    lines = ["\t".join(COLUMNS)]
    runners = levels.runner_up if len(levels.runner_up) == len(result.vertebrae) else ()
    for place, vertebra in enumerate(result.vertebrae):
        known = levels.posteriors.get(vertebra.label, {})
        cells: list[Any] = [
            vertebra.label,
            vertebra.name or MISSING,
            levels.status.value,
            f"{levels.confidence(vertebra.label):.4f}" if vertebra.name else MISSING,
            runners[place] if runners else MISSING,
            f"{min(levels.odds, MOST_ODDS):.4g}" if runners else MISSING,
            f"{levels.probability:.4f}" if levels.best else MISSING,
            *(MISSING if sure is None else f"{sure:.4f}" for sure in (vertebra.mask_confidence, vertebra.name_confidence)),
            *(f"{levels.variants[name]:.4f}" if name in levels.variants else MISSING for name in VARIANTS),
            ",".join(f"{name}={share:.4f}" for name, share in known.items()) or MISSING,
        ]
        lines.append("\t".join(map(str, cells)))
    return "\n".join([*lines, ""])


def levels_block(levels: Levels) -> dict[str, Any]:
    """What the record of a run says of the levels; plain values for JSON."""
    block: dict[str, Any] = {"level_status": levels.status.value}
    if not levels.best:
        return block
    named = levels.status is not LevelStatus.NUMBERED
    return {
        **block,
        "names": {str(number): name for number, name in levels.names.items()} if named else {},
        "best": list(levels.best),
        "probability": round(levels.probability, 6),
        "runner_up": list(levels.runner_up),
        "odds": round(min(levels.odds, MOST_ODDS), 4),
        "variants": {name: round(share, 6) for name, share in levels.variants.items()},
        "posteriors": {
            str(number): {name: round(share, 4) for name, share in known.items()} for number, known in levels.posteriors.items()
        },
    }
