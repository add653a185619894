"""The whole of `spineps sample` on held-out phantoms: structures, and vertebrae told apart from the image alone.

    python bench/phantoms.py                                  # 40 phantoms, and 20 with fractures, slips, fusions and metal
    python bench/phantoms.py --count 0 --pathological 4
    python bench/phantoms.py --workers 2 --semantic DIR       # another semantic model, in two processes of one thread each
    python bench/phantoms.py --count 10 --pathological 0 --contrast stir

T2-weighted unless asked otherwise, fields of view of one region to half a spine, spacings of 0.7 to 1 mm in plane and slices of
1.65 to 4.4 mm, each drawn at random. Seeds are below 100000, those of training are not. A vertebra counts if the field of view
does not cut it above or below, nor its body at a side; its Dice is that of all its voxels. Prints a row a phantom and the means
that docs/models.md tells.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from instances import Case, Score, compared
from numpy.typing import NDArray

from spineps import api
from spineps.config import ComputeConfig, PipelineConfig
from spineps.errors import SpinepsError
from spineps.labels import CANAL_AND_CORD, DISC_OFFSET, POSTERIOR, VERTEBRA, Structure, lookup
from spineps.phantom.contrasts import Contrast
from spineps.phantom.phantom import make_phantom
from spineps.pipeline import segment_scan

FIRST_SEED = 30_000
GROUPS = {
    "vertebra": VERTEBRA,
    "disc": (Structure.DISC,),
    "canal": CANAL_AND_CORD,
    "posterior": POSTERIOR,
    "sacrum": (Structure.SACRUM,),
}
PATHOLOGY = 5.0
"""Factor on the probability of every irregularity in pathological phantoms; every fourth of them carries metal."""
Row = tuple[Score, dict[str, float]]


def scored(job: tuple[int, str], threads: int, semantic: Path | None, contrast: Contrast) -> Row:
    """One phantom, segmented from its image."""
    seed, kind = job
    sick = kind == "pathological"
    phantom = make_phantom(
        seed, contrast=contrast, pathology=PATHOLOGY if sick else 1.0, implant=seed % 4 == 0 if sick else None
    )
    true = phantom.semantic.labels
    vertebrae = np.where(lookup(VERTEBRA)[true], phantom.instance.labels, 0).astype(np.uint8)
    case = Case(str(seed), kind, phantom.semantic, vertebrae)
    compute = ComputeConfig(threads=threads)
    start = time.perf_counter()
    try:
        result = segment_scan(phantom.scan, api.load_models(compute, semantic_folder=semantic), PipelineConfig(compute=compute))
        found, instances = result.semantic.labels, result.instance.labels
    except SpinepsError as error:
        print(f"{seed}: {error}", file=sys.stderr)
        found = instances = np.zeros_like(true)
    seconds = time.perf_counter() - start
    return compared(case, np.where(instances < DISC_OFFSET, instances, 0), seconds), _structures(true, found)


def _structures(true: NDArray[np.uint8], found: NDArray[np.uint8]) -> dict[str, float]:
    """Dice of each group that the phantom shows."""
    dice = {}
    for name, structures in GROUPS.items():
        a, b = lookup(structures)[true], lookup(structures)[found]
        if a.any():
            dice[name] = 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))
    return dice


def rows(jobs: list[tuple[int, str]], workers: int, semantic: Path | None, contrast: Contrast) -> Iterator[Row]:
    """In the order of the jobs."""
    one = partial(scored, threads=0 if workers == 1 else 1, semantic=semantic, contrast=contrast)
    if workers == 1:
        yield from map(one, jobs)
        return
    with ProcessPoolExecutor(workers) as pool:
        yield from pool.map(one, jobs)


def report(done: list[Row]) -> None:
    """Means of each kind of phantom."""
    for kind in dict.fromkeys(score.kind for score, _ in done):
        group = [row for row in done if row[0].kind == kind]
        shown = {name: [dice[name] for _, dice in group if name in dice] for name in GROUPS}
        means = {name: np.mean(values) for name, values in shown.items() if values}
        scores = [score for score, _ in group if score.vertebrae]
        faultless = sum(score.merged == 0 and score.skipped == 0 for score in scores)
        quality = np.mean([score.quality for score in scores])
        print(f"{kind}: Dice " + ", ".join(f"{name} {mean:.3f}" for name, mean in means.items()))
        print(f"{kind}: instance RQ {quality:.3f}, no vertebra merged or skipped in {faultless} of {len(scores)}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--pathological", type=int, default=20)
    parser.add_argument("--seed", type=int, default=FIRST_SEED)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--semantic", type=Path, help="folder of another semantic model")
    parser.add_argument("--contrast", choices=[contrast.value for contrast in Contrast], default="t2w")
    options = parser.parse_args()
    kinds = {"usual": options.count, "pathological": options.pathological}
    jobs = [(options.seed + 1000 * k + n, kind) for k, (kind, count) in enumerate(kinds.items()) for n in range(count)]
    done = []
    print("phantom  kind           n   Dice  least     RQ merged skipped      s  structures")
    for score, dice in rows(jobs, options.workers, options.semantic, Contrast(options.contrast)):
        parts = " ".join(f"{name} {value:.3f}" for name, value in dice.items())
        print(
            f"{score.name:8} {score.kind:12} {score.vertebrae:3} {score.dice:6.3f} {score.least:6.3f} {score.quality:6.3f} "
            f"{score.merged:6} {score.skipped:7} {score.seconds:6.1f}  {parts}",
            flush=True,
        )
        done.append((score, dice))
    report(done)
    return 0


if __name__ == "__main__":
    sys.exit(main())
