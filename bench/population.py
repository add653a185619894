"""Sizes that masks of phantoms show at each level, and how they scatter: the table of spineps/labeling/population.py.

    python bench/population.py [--count 80] [--seed 1910000] [--fields DIR]

Fields of view as in ``bench/levels.py``, of seeds that nothing is reported on; from each the true masks and those with a
network's errors, measured as naming measures them. Each size follows a mixed model: a mean of each level, an offset and a trend
of each person (each pair of masks counts as one), and scatter between levels; values far off count less. Prints the means as
they stand in the table, the scatter, and what masks with errors show in percent (or mm, degrees) of true ones.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from level_fields import draw_field

from spineps.labeling.features import SIZES, Grid, measure_sizes
from spineps.labeling.landmarks import find_column
from spineps.labeling.population import SCATTER, position_of
from spineps.phantom.morphometry import C2, L5

ROUNDS = 30
FAR_SD = 2.5
"""A value farther from its model counts less."""
LEAST_VALUES = 10
"""A level with fewer is taken to be as its neighbours are: the distance below L5 is known of spines with an L6 alone."""
LEVELS = L5 + 1


@dataclass(frozen=True)
class Person:
    """Positions of the vertebrae of a field of view and their sizes, shape (n, len(SIZES))."""

    masks: str
    positions: np.ndarray
    sizes: np.ndarray


@dataclass(frozen=True)
class Model:
    """Mean of each level, and standard deviations between levels, people, and of their trends."""

    means: np.ndarray
    level: float
    person: float
    trend: float


def people(seed: int, keep: Path | None) -> list[Person]:
    """What the masks of a field of view show; vertebrae that are numbering variants are left out."""
    field = draw_field(seed, "any", keep)
    found = []
    for masks, (semantic, instance) in field.masks.items():
        grid = Grid.of(semantic, instance, field.geometry.spacing_mm)
        column = find_column(grid)
        if column is not None:
            sizes = measure_sizes(grid, column.instances, column.centres_mm).values
            names = [field.levels.get(number, "T13") for number in column.instances]
            usual = np.array([name not in ("T13", "L6", "S1") for name in names])
            positions = np.array([round(position_of(name)) for name in names])
            found.append(Person(masks, positions[usual], sizes[usual]))
    return found


def fitted(everyone: list[Person], size: int, *, logarithm: bool) -> Model:
    """The mixed model of a size by expectation maximisation."""
    who, level, values = [], [], []
    for k, person in enumerate(everyone):
        known = np.isfinite(person.sizes[:, size])
        who += [k] * int(known.sum())
        level += person.positions[known].tolist()
        values += person.sizes[known, size].tolist()
    y = np.log(values) if logarithm else np.array(values)
    middle = np.array([np.mean(person.positions[[0, -1]]) if len(person.positions) else 0 for person in everyone])
    design = np.zeros((len(y), LEVELS + 2 * len(everyone)))
    row = np.arange(len(y))
    design[row, level] = 1
    design[row, LEVELS + np.array(who)] = 1
    design[row, LEVELS + len(everyone) + np.array(who)] = (np.array(level) - middle[who]) / 12
    offsets, trends = slice(LEVELS, LEVELS + len(everyone)), slice(LEVELS + len(everyone), None)
    sd, person, trend = np.std(y), np.std(y), np.std(y)
    weight = np.ones(len(y))
    for _ in range(ROUNDS):
        ridge = np.full(design.shape[1], 1e-9)
        ridge[offsets], ridge[trends] = (sd / person) ** 2, (sd / trend) ** 2
        inverse = np.linalg.inv(design.T @ (design * weight[:, None]) + np.diag(ridge))
        effects = inverse @ (design.T @ (weight * y))
        spread = np.diag(inverse) * sd**2
        person = float(np.sqrt(np.mean(effects[offsets] ** 2 + spread[offsets])))
        trend = float(np.sqrt(np.mean(effects[trends] ** 2 + spread[trends])))
        residual = y - design @ effects
        freedom = len(y) - np.sum(design @ inverse * design * weight[:, None])
        sd = float(np.sqrt((weight * residual**2).sum() / freedom))
        weight = np.minimum(1.0, FAR_SD * sd / np.maximum(np.abs(residual), 1e-9))
    levels = np.arange(LEVELS)
    known = np.bincount(level, minlength=LEVELS) >= LEAST_VALUES
    if not known.any():
        raise SystemExit("Too few fields of view for a mean of each level. Give a larger --count.")
    means = np.interp(levels, levels[known], effects[:LEVELS][known])
    return Model(np.exp(means) if logarithm else means, sd, person, trend)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=80, help="fields of view (default 80)")
    parser.add_argument("--seed", type=int, default=1_910_000, help="seed of the first (default: %(default)s)")
    parser.add_argument("--fields", type=Path, metavar="DIR", help="folder that keeps the fields of view for another time")
    args = parser.parse_args()
    show([person for k in range(args.count) for person in people(args.seed + k, args.fields)])


def show(everyone: list[Person]) -> None:
    """Fit and print."""
    for size, name in enumerate(SIZES):
        logarithm = SCATTER[name].logarithm
        model = fitted(everyone, size, logarithm=logarithm)
        print(f'"{name}": (' + ", ".join(f"{mean:.1f}" for mean in model.means[C2:]) + "),")
        kinds = [[p for p in everyone if p.masks == masks] for masks in ("true", "corrupted")]
        true, other = (fitted(kind, size, logarithm=logarithm) for kind in kinds)
        off = np.mean(100 * (other.means / true.means - 1) if logarithm else other.means - true.means)
        pairs = [(m.level, m.person, m.trend) for m in (model, true, other)]
        text = ", ".join("/".join(f"{sd:.3f}" for sd in triple) for triple in zip(*pairs, strict=True))
        print(f"    # level, person, trend (both/true/with errors): {text}; errors shift it by {off:+.1f}")


if __name__ == "__main__":
    main()
