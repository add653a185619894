"""Colours of structures and vertebrae in pictures."""

from __future__ import annotations

from collections.abc import Iterable
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from spineps.labels import DISC_OFFSET, ENDPLATE_OFFSET, SACRUM_INSTANCE, Structure, is_vertebra

Colour = tuple[int, int, int]

STRUCTURE_COLOURS: Final = MappingProxyType(
    {
        Structure.SACRUM: (196, 160, 110),
        Structure.ARCUS: (72, 126, 226),
        Structure.SPINOUS: (246, 214, 70),
        Structure.COSTAL_LEFT: (44, 186, 164),
        Structure.COSTAL_RIGHT: (132, 226, 206),
        Structure.SUPERIOR_ARTICULAR_LEFT: (176, 84, 214),
        Structure.SUPERIOR_ARTICULAR_RIGHT: (214, 152, 240),
        Structure.INFERIOR_ARTICULAR_LEFT: (214, 70, 140),
        Structure.INFERIOR_ARTICULAR_RIGHT: (246, 150, 196),
        Structure.CORPUS: (232, 82, 72),
        Structure.CORPUS_INNER: (246, 140, 128),
        Structure.DENS: (160, 40, 40),
        Structure.ENDPLATE_SUPERIOR: (255, 150, 40),
        Structure.ENDPLATE_INFERIOR: (150, 92, 30),
        Structure.ENDPLATE: (255, 150, 40),
        Structure.CORD: (255, 255, 170),
        Structure.CANAL: (80, 200, 250),
        Structure.METAL: (230, 230, 230),
        Structure.DISC: (96, 204, 84),
    }
)

# Ten hues in an order in which neighbours are far apart; instance ids a step of ten apart share one.
_VERTEBRA_COLOURS: Final[tuple[Colour, ...]] = (
    (232, 82, 72),
    (64, 150, 240),
    (246, 208, 64),
    (168, 92, 224),
    (88, 204, 96),
    (244, 132, 44),
    (60, 206, 206),
    (232, 96, 172),
    (170, 210, 60),
    (110, 110, 236),
)
_SACRUM_COLOUR: Final[Colour] = (196, 160, 110)
_OTHER_COLOUR: Final[Colour] = (200, 200, 200)
_LIGHTEN_DISC: Final = 0.45  # share of white in a disc's colour
_DARKEN_ENDPLATE: Final = 0.45  # share of black in an endplate's colour


def structure_table() -> NDArray[np.uint8]:
    """Colours of semantic ids, shape (256, 3); ids that are not in use are grey."""
    table = np.full((256, 3), _OTHER_COLOUR, dtype=np.uint8)
    for structure, colour in STRUCTURE_COLOURS.items():
        table[structure] = colour
    return table


def vertebra_colours(labels: Iterable[int]) -> dict[int, Colour]:
    """Colours of vertebrae from top to bottom: fixed by their id, and never that of the vertebra above.

    Parameters
    ----------
    labels : iterable of int
        Instance ids from top to bottom.
    """
    colours: dict[int, Colour] = {}
    count, previous = len(_VERTEBRA_COLOURS), None
    for label in labels:
        place = label % count
        if place == previous:
            place = (place + 1) % count
        colours[label], previous = _VERTEBRA_COLOURS[place], place
    return colours


def instance_table(labels: Iterable[int], ids: NDArray[Any]) -> NDArray[np.uint8]:
    """Colours of instance ids: vertebrae as :func:`vertebra_colours`, their discs lighter, their endplates darker.

    Parameters
    ----------
    labels : iterable of int
        Ids of the vertebrae from top to bottom.
    ids : ndarray of int
        Ids that occur in the mask; the table reaches to the largest.

    Returns
    -------
    ndarray of uint8, shape (n, 3)
    """
    table = np.full((int(ids.max(initial=0)) + 1, 3), _OTHER_COLOUR, dtype=np.uint8)
    colours = vertebra_colours(labels)
    for value in (int(v) for v in ids if v):
        if value == SACRUM_INSTANCE:
            table[value] = _SACRUM_COLOUR
        elif is_vertebra(value):
            table[value] = _of(value, colours)
        elif is_vertebra(value - DISC_OFFSET):
            table[value] = _mix(_of(value - DISC_OFFSET, colours), 255, _LIGHTEN_DISC)
        elif is_vertebra(value - ENDPLATE_OFFSET):
            table[value] = _mix(_of(value - ENDPLATE_OFFSET, colours), 0, _DARKEN_ENDPLATE)
    return table


def _of(label: int, colours: dict[int, Colour]) -> Colour:
    return colours.get(label, _VERTEBRA_COLOURS[label % len(_VERTEBRA_COLOURS)])


def _mix(colour: Colour, target: int, share: float) -> Colour:
    r, g, b = (round(c + (target - c) * share) for c in colour)
    return r, g, b
