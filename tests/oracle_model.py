"""An instance model, as published scripts hold one, whose network knows the answer."""

from __future__ import annotations

from spineps.compat.models import SegmentationModel
from tests.spines import Oracle, Spine


class OracleModel(SegmentationModel):
    """An instance model for one synthetic spine."""

    def __init__(self, spine: Spine) -> None:
        super().__init__(None)
        self._oracle = Oracle(spine)

    def engine(self, *, amp: bool = False) -> Oracle:  # noqa: ARG002  (the signature of every model)
        return self._oracle
