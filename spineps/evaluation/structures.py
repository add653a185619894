"""The structures that the SPINEPS paper reports, and the regions of the spine."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from spineps.labels import (
    DISC_OFFSET,
    ENDPLATE_OFFSET,
    ENDPLATES,
    LEVEL_NAMES,
    POSTERIOR,
    SACRUM_INSTANCE,
    Structure,
    is_vertebra,
)


class Region(str, Enum):
    """Part of the spine that a vertebra, with its disc and endplates, belongs to."""

    CERVICAL = "cervical"
    THORACIC = "thoracic"
    LUMBAR = "lumbar"


REGION_CODES: Final = {Region.CERVICAL: 1, Region.THORACIC: 2, Region.LUMBAR: 3}
_REGION_OF_LETTER: Final = {"C": Region.CERVICAL, "T": Region.THORACIC, "L": Region.LUMBAR}
_COCCYX: Final = 27


@dataclass(frozen=True, slots=True)
class Target:
    """A structure measured as one binary mask.

    Parameters
    ----------
    key : str
        Its name in files.
    title : str
        Its name in tables, as the paper writes it.
    members : tuple of int
        Semantic labels whose union it is.
    part : bool
        True of vertebra substructures.
    """

    key: str
    title: str
    members: tuple[int, ...]
    part: bool = False


CORPUS: Final = (Structure.CORPUS, Structure.CORPUS_INNER)

VERTEBRA: Final = Target("vertebra", "Vertebra", tuple(int(s) for s in (*POSTERIOR, *CORPUS)))
"""Union of labels 41 to 50."""
DISC: Final = Target("disc", "IVD", (Structure.DISC,))
CANAL: Final = Target("canal", "Spinal Canal", (Structure.CANAL,))
CORD: Final = Target("cord", "Spinal Cord", (Structure.CORD,))
CANAL_WITH_CORD: Final = Target("canal_with_cord", "Spinal Canal with Cord", (Structure.CANAL, Structure.CORD))
SACRUM: Final = Target("sacrum", "Sacrum", (Structure.SACRUM,))

SUBSTRUCTURES: Final = (
    Target("arcus", "Arcus Vertebra", (Structure.ARCUS,), part=True),
    Target("spinous", "Spinous process", (Structure.SPINOUS,), part=True),
    Target(
        "articularis_inferior",
        "Articularis inferior",
        (Structure.INFERIOR_ARTICULAR_LEFT, Structure.INFERIOR_ARTICULAR_RIGHT),
        part=True,
    ),
    Target(
        "articularis_superior",
        "Articularis superior",
        (Structure.SUPERIOR_ARTICULAR_LEFT, Structure.SUPERIOR_ARTICULAR_RIGHT),
        part=True,
    ),
    Target("costal", "Costal process", (Structure.COSTAL_LEFT, Structure.COSTAL_RIGHT), part=True),
    Target("corpus", "Vertebra corpus", CORPUS, part=True),
)
"""The substructures of tables 3 and 5; left and right are pooled as a union."""

ENDPLATE: Final = Target("endplate", "Endplate", tuple(int(s) for s in ENDPLATES), part=True)

SIDES: Final = tuple(
    Target(f"{key}_{side}", f"{title}, {side}", (member,), part=True)
    for key, title, left, right in (
        ("costal", "Costal process", Structure.COSTAL_LEFT, Structure.COSTAL_RIGHT),
        (
            "articularis_superior",
            "Articularis superior",
            Structure.SUPERIOR_ARTICULAR_LEFT,
            Structure.SUPERIOR_ARTICULAR_RIGHT,
        ),
        (
            "articularis_inferior",
            "Articularis inferior",
            Structure.INFERIOR_ARTICULAR_LEFT,
            Structure.INFERIOR_ARTICULAR_RIGHT,
        ),
    )
    for side, member in (("left", left), ("right", right))
)

TARGETS: Final = (VERTEBRA, DISC, CANAL, CORD, CANAL_WITH_CORD, SACRUM, *SUBSTRUCTURES, ENDPLATE, *SIDES)
"""Everything that is measured as one mask over the whole scan."""

INSTANCE_TARGETS: Final = (VERTEBRA, DISC)
"""Structures whose instances are matched."""


def is_counted_vertebra(instance: int) -> bool:
    """Tell whether an instance id is that of a vertebra; sacrum and coccyx are not counted."""
    return is_vertebra(instance) and instance != _COCCYX


def owner(instance: int) -> int:
    """Vertebra that an instance (vertebra X, disc 100 + X, endplate 200 + X) belongs to; 0 for sacrum and background."""
    vertebra = instance % DISC_OFFSET if instance < ENDPLATE_OFFSET + DISC_OFFSET else 0
    return 0 if vertebra == SACRUM_INSTANCE else vertebra


def region_of(vertebra: int) -> Region | None:
    """Region of a vertebra whose id is a level name (1 to 25, and 28 for T13); None of any other id."""
    name = LEVEL_NAMES.get(vertebra)
    return None if name is None else _REGION_OF_LETTER.get(name[0])
