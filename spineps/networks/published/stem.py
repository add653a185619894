"""The first convolution of the published instance network, computed only where a cutout is more than background.

Its kernel is 7x7x7, half of the network's operations, and most of a cutout is background around the spine. There the result
depends on the distance to the cutout's faces alone, so that a small cube of background shows all of it. Later layers
normalise over the whole cutout, so that none of them can be left out.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import nn

REACH: Final = 3
"""Voxels to each side that the kernel sees."""
_CUBE: Final = 2 * REACH + 1
_WORTH: Final = 0.8
"""A box that is a larger share of the cutout spares nothing."""

Spans = tuple[slice, slice, slice]


class StemConv(nn.Conv3d):
    """A 7x7x7 convolution with the answer of :class:`torch.nn.Conv3d`, cheap where the input is one value around a box."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__(channels_in, channels_out, _CUBE, padding=REACH)

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 - the name of the class above
        """Features, shape (N, C, P, I, R), of cutouts of the same sides."""
        spans = None if _elsewhere(input) else varying(input[0])
        if spans is None:
            return super().forward(input)
        sides = input.shape[2:]
        seen, kept = _grown(spans, 2 * REACH, sides), _grown(spans, REACH, sides)
        inner = super().forward(_part(input, seen).contiguous())
        whole = self._surround(input[..., :1, :1, :1], sides)
        p, i, r = (slice(k.start - s.start, k.stop - s.start) for k, s in zip(kept, seen, strict=True))
        _part(whole, kept).copy_(_part(inner, (p, i, r)))
        return whole

    def _surround(self, value: torch.Tensor, sides: torch.Size) -> torch.Tensor:
        """Features of a cutout that is one value everywhere."""
        found = super().forward(value.expand(-1, -1, _CUBE, _CUBE, _CUBE).contiguous())
        for axis, side in enumerate(sides, start=2):
            place = torch.arange(side).clamp(max=REACH) + (torch.arange(side) - (side - REACH - 1)).clamp(min=0)
            found = found.index_select(axis, place)
        return found


def varying(cutout: torch.Tensor) -> Spans | None:
    """The box outside of which a cutout, shape (C, P, I, R), is as in its corner; None where that spares too little."""
    other = (cutout != cutout[:, :1, :1, :1]).any(dim=0)
    spans = []
    for axis in range(3):
        hit = other.any(dim=[k for k in range(3) if k != axis]).nonzero()
        if not len(hit):
            return None
        spans.append(slice(int(hit[0]), int(hit[-1]) + 1))
    p, i, r = spans
    share = 1.0
    for span, side in zip(_grown((p, i, r), 2 * REACH, other.shape), other.shape, strict=True):
        share *= (span.stop - span.start) / side
    return None if share > _WORTH else (p, i, r)


def _elsewhere(cutouts: torch.Tensor) -> bool:
    """Whether the whole convolution is wanted: on a GPU, of a batch, of a small cutout, and in a graph that is recorded."""
    recorded = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    return bool(recorded or cutouts.device.type != "cpu" or len(cutouts) != 1 or min(cutouts.shape[2:]) < _CUBE)


def _part(features: torch.Tensor, spans: Spans) -> torch.Tensor:
    p, i, r = spans
    return features[:, :, p, i, r]


def _grown(spans: Spans, margin: int, sides: torch.Size) -> Spans:
    p, i, r = (slice(max(0, s.start - margin), min(side, s.stop + margin)) for s, side in zip(spans, sides, strict=True))
    return p, i, r
