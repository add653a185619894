"""The columns of the table of measurements: names with units, what they mean, and where the definition comes from.

``docs/measurements.md`` explains each with its method; a test holds that it names them all.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

VERTEBRA: Final = "vertebra"
DISC: Final = "disc"
SACRUM: Final = "sacrum"
CANAL: Final = "canal"
CORD: Final = "cord"
CURVE: Final = "curve"
CORONAL_CURVE: Final = "coronal_curve"

CUT: Final = "cut"
"""Flag: the field of view cuts the structure (of a vertebra, its processes perhaps)."""
BODY_CUT: Final = "body_cut"
"""Flag: the field of view cuts the vertebral body, so that sizes other than angles of its whole faces mean little."""
UNSURE: Final = "unsure"
"""Flag: the level is not sure."""


@dataclass(frozen=True, slots=True)
class Quantity:
    """One column.

    Parameters
    ----------
    meaning : str
        What it is, in a few words.
    kinds : tuple of str
        The structures that have it.
    digits : int
        Decimals in tables.
    """

    meaning: str
    kinds: tuple[str, ...]
    digits: int


_BOTH: Final = (VERTEBRA, DISC)

QUANTITIES: Final = MappingProxyType(
    {
        "volume_ml": Quantity("volume of the mask", (VERTEBRA, DISC, SACRUM, CANAL, CORD), 3),
        "body_volume_ml": Quantity("volume of the vertebral body", (VERTEBRA,), 3),
        "length_mm": Quantity("length along its course, within the field of view", (CANAL, CORD), 1),
        "height_anterior_mm": Quantity("height near the front wall", _BOTH, 2),
        "height_middle_mm": Quantity("height in the middle", _BOTH, 2),
        "height_posterior_mm": Quantity("height near the rear wall", _BOTH, 2),
        "height_mean_mm": Quantity("mean height away from the rim", (DISC,), 2),
        "height_index": Quantity("mean height over that of the bodies above and below", (DISC,), 3),
        "wedge_ratio": Quantity("anterior over posterior height", (VERTEBRA,), 3),
        "biconcavity_ratio": Quantity("middle over posterior height", (VERTEBRA,), 3),
        "wedge_deg": Quantity(
            "sagittal angle between the upper and the lower face, positive where open to the front", _BOTH, 1
        ),
        "depth_mm": Quantity("antero-posterior length at half height", _BOTH, 2),
        "width_mm": Quantity("left-right length at half height", _BOTH, 2),
        "tilt_superior_sagittal_deg": Quantity(
            "upper endplate against the cross-section of the spine, positive where its normal leans back", (VERTEBRA,), 1
        ),
        "tilt_inferior_sagittal_deg": Quantity("the same of the lower endplate", (VERTEBRA,), 1),
        "tilt_superior_coronal_deg": Quantity(
            "upper endplate against the cross-section of the spine, positive where its normal leans to the right",
            (VERTEBRA,),
            1,
        ),
        "tilt_inferior_coronal_deg": Quantity("the same of the lower endplate", (VERTEBRA,), 1),
        "slip_mm": Quantity("how far the vertebra above stands in front of the one below", (DISC,), 2),
        "slip_percent": Quantity("the same, of the depth of the endplate below", (DISC,), 1),
        "canal_area_mm2": Quantity("cross-section of the canal (with the cord) at this level", _BOTH, 1),
        "canal_depth_mm": Quantity("antero-posterior diameter of the canal at this level", _BOTH, 2),
        "canal_width_mm": Quantity("left-right diameter of the canal at this level", _BOTH, 2),
        "cord_area_mm2": Quantity("cross-section of the cord at this level", _BOTH, 1),
        "cord_depth_mm": Quantity("antero-posterior diameter of the cord at this level", _BOTH, 2),
        "cord_width_mm": Quantity("left-right diameter of the cord at this level", _BOTH, 2),
        "lordosis_deg": Quantity("sagittal angle between two endplates, positive where open to the back", (CURVE,), 1),
        "kyphosis_deg": Quantity("sagittal angle between two endplates, positive where open to the front", (CURVE,), 1),
        "cobb_deg": Quantity("largest coronal angle between two endplates", (CORONAL_CURVE,), 1),
    }
)
"""Column name (its ending is the unit; ``ratio`` and ``index`` have none) to what it is, in the order of the table."""
