"""The course of a training: validation Dice over hours, from its ``log.jsonl``.

    python bench/model_curve.py LOG [LOG ...] --out docs/images/model-curve.png

Dice is that of the averaged network on held-out phantoms, as the training logs it at each save. Several logs are drawn one
after the other, as trainings that each began from the model of the one before. Prints what the last hour gained.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import matplotlib as mpl
import numpy as np

from spineps.networks.classes import SEMANTIC_CLASSES

mpl.use("Agg")
import matplotlib.pyplot as plt

GROUPS = {
    "vertebral body": (49,),
    "disc": (100,),
    "canal and cord": (60, 61),
    "sacrum": (26,),
    "arch and spinous process": (41, 42),
    "costal and articular processes": tuple(range(43, 49)),
}
"""Structures whose Dice is averaged to one line."""
CLASSES = [int(structure) for structure in SEMANTIC_CLASSES[1:]]


def read(paths: list[Path]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hours, mean Dice and Dice of each class (one row a validation) of trainings one after the other."""
    hours, mean, classes, begin = [], [], [], 0.0
    for path in paths:
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        hours += [begin + row["seconds"] / 3600 for row in rows]
        mean += [row["dice"] for row in rows]
        classes += [row["classes"] for row in rows]
        begin = hours[-1]
    return np.array(hours), np.array(mean), np.array(classes, dtype=float)


def last_hour(hours: np.ndarray, mean: np.ndarray) -> tuple[float, float]:
    """Length of what counts as the last hour (all, where there is less), and what the best Dice gained in it."""
    before = mean[hours <= max(hours[0], hours[-1] - 1)]
    return float(hours[-1] - hours[len(before) - 1]), float(mean.max() - before.max())


def draw(hours: np.ndarray, mean: np.ndarray, classes: np.ndarray, out: Path) -> None:
    """The picture."""
    figure, axes = plt.subplots(figsize=(8, 4.6), layout="constrained")
    axes.plot(hours, mean, color="black", linewidth=2.4, label="mean of all classes")
    if classes.shape[1] == len(CLASSES):
        for name, ids in GROUPS.items():
            axes.plot(hours, np.nanmean(classes[:, [CLASSES.index(i) for i in ids]], axis=1), marker=".", label=name)
    axes.set(xlabel="hours of training", ylabel="Dice on held-out phantoms", ylim=(max(0, np.nanmin(mean) - 0.25), 1))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, ncols=2, loc="lower right")
    figure.savefig(out, dpi=110)


def main() -> None:
    """Draw, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("logs", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True, help="picture (.png)")
    args = parser.parse_args()
    hours, mean, classes = read(args.logs)
    draw(hours, mean, classes, args.out)
    length, gain = last_hour(hours, mean)
    print(f"{len(hours)} validations in {hours[-1]:.2f} h: mean Dice {mean[0]:.4f} to {mean.max():.4f} at best")
    print(f"the last {length:.2f} h gained {gain:.4f}; a training is at its end where three hours gain less than 0.005")


if __name__ == "__main__":
    main()
