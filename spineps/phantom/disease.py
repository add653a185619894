"""What is not regular in one spine: degeneration, fractures, slips, fusion, lesions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from spineps.phantom.morphometry import C2, L1, T1, Morphometry

SLIP_LIMIT: Final = 0.3
"""Largest listhesis, as a share of the body's depth (Meyerding grade I and the beginning of II)."""


@dataclass(frozen=True, slots=True)
class Node:
    """A Schmorl node: a dent of a plate, in mm from the body's centre."""

    u: float
    v: float
    depth: float
    width: float


@dataclass(frozen=True, slots=True, eq=False)
class Disease:
    """Irregularities of each vertebra, arrays of one value a vertebra from C1 downwards.

    Parameters
    ----------
    degeneration : ndarray
        Of the disc below, 0 to 1.
    anterior_loss, central_loss : ndarray
        Share of a body's height that a fracture took at its front and in its middle.
    slip : ndarray
        How far each vertebra lies in front of the next, in mm (behind it where negative).
    fused : ndarray of bool
        True where a vertebra and the next one form a block.
    stenosis : ndarray
        Narrowing of the canal at the disc below, 0 to 1.
    upper_nodes, lower_nodes : tuple of (Node or None)
        Schmorl nodes of the upper and lower plates.
    modic : ndarray of int
        -1 for a marrow band below the upper plate, 1 above the lower, 0 for none.
    lesion : ndarray of bool
        True where a body holds a round lesion.
    """

    degeneration: NDArray[np.float64]
    anterior_loss: NDArray[np.float64]
    central_loss: NDArray[np.float64]
    slip: NDArray[np.float64]
    fused: NDArray[np.bool_]
    stenosis: NDArray[np.float64]
    upper_nodes: tuple[Node | None, ...]
    lower_nodes: tuple[Node | None, ...]
    modic: NDArray[np.int64]
    lesion: NDArray[np.bool_]


def draw_disease(rng: np.random.Generator, sizes: Morphometry, positions: NDArray[np.float64], scale: float) -> Disease:
    """One person's irregularities.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness.
    sizes : Morphometry
        Of the healthy spine.
    positions : ndarray
        Table position of each vertebra.
    scale : float
        Factor on every probability; 0 for a healthy spine.

    Returns
    -------
    Disease
    """
    count = len(positions)
    bodies = positions > C2

    def happens(probability: float) -> NDArray[np.bool_]:
        hit: NDArray[np.bool_] = (rng.random(count) < probability * scale) & bodies
        return hit

    severity = rng.uniform(0, 0.75) * min(1.0, scale)
    degeneration = np.clip(rng.normal(severity, 0.28, count), 0, 1) * (scale > 0)
    fractured = happens(0.06) & (positions >= T1 - 2)
    anterior = np.where(fractured, rng.uniform(0, 0.45, count), np.abs(rng.normal(0, 0.02, count)))
    central = np.where(fractured, rng.uniform(0, 0.35, count), 0.0)
    slipped = happens(0.035) & (positions > C2)
    share = np.where(positions >= L1, rng.uniform(0.05, SLIP_LIMIT, count), rng.uniform(0.04, 0.15, count))
    direction = np.where(rng.random(count) < 0.8, 1.0, -0.4)
    slip = np.where(slipped, share * direction * sizes.depth, rng.normal(0, 0.25, count))
    stenosis = np.where(happens(0.17), rng.uniform(0.1, 0.5, count), 0.0)
    return Disease(
        degeneration=degeneration,
        anterior_loss=anterior,
        central_loss=central,
        slip=slip,
        fused=happens(0.012),
        stenosis=stenosis,
        upper_nodes=_nodes(rng, sizes, happens(0.07)),
        lower_nodes=_nodes(rng, sizes, happens(0.08)),
        modic=np.where(happens(0.16), rng.choice((-1, 1), count), 0),
        lesion=happens(0.11),
    )


def _nodes(rng: np.random.Generator, sizes: Morphometry, present: NDArray[np.bool_]) -> tuple[Node | None, ...]:
    """Schmorl nodes where present, away from a plate's edge."""
    out: list[Node | None] = []
    for here, depth, width, height in zip(present, sizes.depth, sizes.width, sizes.height, strict=True):
        u, v = rng.uniform(-0.22, 0.28) * depth, rng.uniform(-0.25, 0.25) * width
        dent, broad = rng.uniform(0.12, 0.32) * height, rng.uniform(2.0, 5.0)
        out.append(Node(float(u), float(v), float(dent), float(broad)) if here else None)
    return tuple(out)


def shrink_discs(disease: Disease, rng: np.random.Generator) -> NDArray[np.float64]:
    """Factor on the height of each disc: degenerated discs are lower, those of block vertebrae almost gone."""
    lower = 1 - 0.6 * disease.degeneration * (rng.random(len(disease.degeneration)) < 0.6)
    shrunk: NDArray[np.float64] = np.where(disease.fused, 0.3, lower)
    return shrunk
