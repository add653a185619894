"""Measurements of bodies, discs, canal and curves, from the two masks; definitions in ``docs/measurements.md``."""

from __future__ import annotations

from spineps.measures.quantities import QUANTITIES
from spineps.measures.scan import measure_structures

__all__ = ["QUANTITIES", "measure_structures"]
