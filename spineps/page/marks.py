"""How confidence and names are put into words on a page."""

from __future__ import annotations

from html import escape
from typing import Final

from spineps.volume import Vertebra

SURE: Final = 0.9
"""From this confidence on a vertebra is shown as sure; of ten such vertebrae at least nine are right."""
DOUBTFUL: Final = 0.7
"""Below this one it is shown as doubtful."""


def called(vertebra: Vertebra) -> str:
    """Its level, or else its number."""
    return vertebra.name or str(vertebra.label)


def percent(share: float) -> str:
    """A share as a whole percentage; 100 % is said of certainty alone."""
    rounded = round(100 * share)
    return f"{min(rounded, 99) if share < 1 else 100} %"


def least(vertebra: Vertebra) -> float | None:
    """The lower of the confidences of a vertebra's mask and name."""
    known = [value for value in (vertebra.mask_confidence, vertebra.name_confidence) if value is not None]
    return min(known, default=None)


def in_words(vertebra: Vertebra) -> str:
    """Both confidences of a vertebra, as far as they are known."""
    pairs = (("mask", vertebra.mask_confidence), ("name", vertebra.name_confidence))
    return ", ".join(f"{what} {percent(value)}" for what, value in pairs if value is not None)


def rank(confidence: float | None) -> str:
    """Class of a confidence: ``sure``, ``fair``, ``doubtful``, or ``unknown``."""
    if confidence is None:
        return "unknown"
    if confidence >= SURE:
        return "sure"
    return "fair" if confidence >= DOUBTFUL else "doubtful"


def bar(confidence: float | None) -> str:
    """A confidence as a number with a bar behind it; HTML."""
    if confidence is None:
        return '<span class="bar unknown">–</span>'
    return f'<span class="bar {rank(confidence)}" style="--v:{confidence:.3f}">{escape(percent(confidence))}</span>'
