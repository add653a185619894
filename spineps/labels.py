"""The label scheme: the only module in which label ids appear as numbers.

The ids are those of the published SPINEPS masks (Möller et al. 2024), so that existing readers go on working.
"""

from __future__ import annotations

from enum import Enum, IntEnum
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray


class Scheme(str, Enum):
    """What the numbers of a label map mean."""

    SEMANTIC = "semantic"
    INSTANCE = "instance"


class Structure(IntEnum):
    """Semantic labels (one id for a structure over the whole spine)."""

    BACKGROUND = 0
    SACRUM = 26
    ARCUS = 41
    SPINOUS = 42
    COSTAL_LEFT = 43
    COSTAL_RIGHT = 44
    SUPERIOR_ARTICULAR_LEFT = 45
    SUPERIOR_ARTICULAR_RIGHT = 46
    INFERIOR_ARTICULAR_LEFT = 47
    INFERIOR_ARTICULAR_RIGHT = 48
    CORPUS = 49
    CORPUS_INNER = 50
    DENS = 51
    ENDPLATE_SUPERIOR = 52
    ENDPLATE_INFERIOR = 53
    CORD = 60
    CANAL = 61
    ENDPLATE = 62
    METAL = 80
    DISC = 100

    @property
    def title(self) -> str:
        """The structure's name in plain words."""
        return _TITLES[self]


_TITLES: Final = MappingProxyType(
    {
        Structure.BACKGROUND: "background",
        Structure.SACRUM: "sacrum",
        Structure.ARCUS: "vertebral arch",
        Structure.SPINOUS: "spinous process",
        Structure.COSTAL_LEFT: "costal process, left",
        Structure.COSTAL_RIGHT: "costal process, right",
        Structure.SUPERIOR_ARTICULAR_LEFT: "superior articular process, left",
        Structure.SUPERIOR_ARTICULAR_RIGHT: "superior articular process, right",
        Structure.INFERIOR_ARTICULAR_LEFT: "inferior articular process, left",
        Structure.INFERIOR_ARTICULAR_RIGHT: "inferior articular process, right",
        Structure.CORPUS: "vertebral body",
        Structure.CORPUS_INNER: "vertebral body, inner part",
        Structure.DENS: "dens",
        Structure.ENDPLATE_SUPERIOR: "superior endplate",
        Structure.ENDPLATE_INFERIOR: "inferior endplate",
        Structure.CORD: "spinal cord",
        Structure.CANAL: "spinal canal",
        Structure.ENDPLATE: "endplate",
        Structure.METAL: "metal",
        Structure.DISC: "intervertebral disc",
    }
)

ARTICULAR: Final = (
    Structure.SUPERIOR_ARTICULAR_LEFT,
    Structure.SUPERIOR_ARTICULAR_RIGHT,
    Structure.INFERIOR_ARTICULAR_LEFT,
    Structure.INFERIOR_ARTICULAR_RIGHT,
)
POSTERIOR: Final = (Structure.ARCUS, Structure.SPINOUS, Structure.COSTAL_LEFT, Structure.COSTAL_RIGHT, *ARTICULAR)
BODY: Final = (Structure.CORPUS, Structure.CORPUS_INNER, Structure.DENS)
VERTEBRA: Final = (*POSTERIOR, *BODY)
ENDPLATES: Final = (Structure.ENDPLATE_SUPERIOR, Structure.ENDPLATE_INFERIOR, Structure.ENDPLATE)
CANAL_AND_CORD: Final = (Structure.CANAL, Structure.CORD)

SEGMENTED: Final = (
    Structure.SACRUM,
    *POSTERIOR,
    Structure.CORPUS,
    Structure.CORD,
    Structure.CANAL,
    Structure.ENDPLATE,
    Structure.DISC,
)
"""The fourteen structures that a semantic model predicts (SPINEPS paper, section 2.1)."""

LEFT_RIGHT_PAIRS: Final = (
    (Structure.COSTAL_LEFT, Structure.COSTAL_RIGHT),
    (Structure.SUPERIOR_ARTICULAR_LEFT, Structure.SUPERIOR_ARTICULAR_RIGHT),
    (Structure.INFERIOR_ARTICULAR_LEFT, Structure.INFERIOR_ARTICULAR_RIGHT),
)

# Instance masks: a vertebra X, the disc below it 100 + X, endplates 200 + X.
DISC_OFFSET: Final = 100
ENDPLATE_OFFSET: Final = 200
SACRUM_INSTANCE: Final = 26
T13_INSTANCE: Final = 28
FIRST_UNNAMED_INSTANCE: Final = 2
"""Without level names the topmost vertebra is 2 (C2 if the scan begins there), as in the published masks."""

LEVEL_NAMES: Final = MappingProxyType(
    {
        **{i: f"C{i}" for i in range(1, 8)},
        **{i: f"T{i - 7}" for i in range(8, 20)},
        **{i: f"L{i - 19}" for i in range(20, 26)},
        SACRUM_INSTANCE: "S",
        T13_INSTANCE: "T13",
    }
)
"""Instance id of a named vertebra to its level."""


def is_vertebra(instance: int) -> bool:
    """Tell whether an instance id is that of a vertebra (not sacrum, disc or endplate)."""
    return 0 < instance < DISC_OFFSET and instance != SACRUM_INSTANCE


def left_right_table() -> NDArray[np.uint8]:
    """Look-up table of 256 entries that swaps left and right structures, for use with a mirrored image.

    Returns
    -------
    ndarray of uint8, shape (256,)
        ``table[labels]`` names each structure as it is called after mirroring the left-right axis.
    """
    table = np.arange(256, dtype=np.uint8)
    for left, right in LEFT_RIGHT_PAIRS:
        table[left], table[right] = right, left
    return table


def lookup(members: tuple[Structure, ...]) -> NDArray[np.bool_]:
    """Boolean table of 256 entries, true at the given structures; ``lookup(VERTEBRA)[labels]`` is a mask."""
    table = np.zeros(256, dtype=np.bool_)
    table[list(members)] = True
    return table


def unnamed_instances(count: int, first: int = FIRST_UNNAMED_INSTANCE) -> tuple[int, ...]:
    """Instance ids of ``count`` vertebrae without level names, from top to bottom.

    They begin at ``first`` and pass over the ids of the sacrum and T13, so that more than 24 vertebrae (a mask of something
    else, or two spines) never take a number that means something.
    """
    taken = (SACRUM_INSTANCE, T13_INSTANCE)
    ids = [i for i in range(first, first + count + len(taken)) if i not in taken]
    return tuple(ids[:count])
