"""A perfect instance network, for both packages: ``bench/published_side.py --peer tests/golden`` asks it too."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def oracle(start: Sequence[int], cutout: NDArray[np.uint8], truth: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The vertebra nearest to the middle of a cutout (2), the one above (1) and the one below (3).

    ``start`` is where the cutout begins in ``truth``; it may reach beyond it.
    """
    seen = np.zeros(cutout.shape, np.uint8)
    inside = tuple(slice(max(0, s), max(0, s + n)) for s, n in zip(start, cutout.shape, strict=True))
    part = truth[inside]
    seen[tuple(slice(w.start - s, w.start - s + n) for w, s, n in zip(inside, start, part.shape, strict=True))] = part
    found = np.argwhere(seen)
    out = np.zeros(cutout.shape, np.uint8)
    if len(found) == 0:
        return out
    middle = np.array(cutout.shape) // 2
    centre = int(seen[tuple(found[np.argmin(((found - middle) ** 2).sum(axis=1))])])
    for relation in (1, 2, 3):
        number = centre + relation - 2
        if number > 0:
            out[(seen == number) & (cutout > 0)] = relation
    return out
