"""From any semantic mask to vertebrae: no image is needed.

    python examples/phase_two_alone.py [SEMANTIC.nii.gz]

Without a mask, that of a phantom is taken, whose true vertebrae are known: the example then says how well they were found.
"""

from __future__ import annotations

import sys

import numpy as np

import spineps
from spineps.phantom.phantom import Phantom, make_phantom

OTHER_IDS = {1: spineps.Structure.CORPUS, 2: spineps.Structure.ARCUS, 3: spineps.Structure.SPINOUS, 4: spineps.Structure.DISC}


def in_other_ids(semantic: spineps.LabelMap) -> spineps.LabelMap:
    """The mask as another program might write it: fewer structures, its own numbers."""
    labels = np.zeros_like(semantic.labels)
    for other, structure in OTHER_IDS.items():
        labels[semantic.labels == structure] = other
    return spineps.LabelMap(labels, semantic.geometry, semantic.scheme)


def compare(result: spineps.Result, semantic: spineps.LabelMap, phantom: Phantom) -> None:
    """Dice of each true vertebra, as far as the mask knows it, with the one found where it lies."""
    found = result.instance.labels
    truth = np.where(semantic.labels > 0, phantom.instance.labels, 0)
    for label, name in phantom.levels.items():
        mask = truth == label
        candidates = np.bincount(found[mask & (found > 0)])
        if candidates.any():
            best = int(candidates.argmax())
            dice = 2 * int((mask & (found == best)).sum()) / int(mask.sum() + (found == best).sum())
            print(f"  {name}: found as {best}, Dice {dice:.3f}")


def main() -> None:
    if len(sys.argv) > 1:
        result = spineps.segment_instances(sys.argv[1])
        print(f"{len(result.vertebrae)} vertebrae: {[vertebra.label for vertebra in result.vertebrae]}")
        return
    phantom = make_phantom(5, vertebrae=4, spacing_mm=(1.0, 1.0, 3.3))

    print("from the whole semantic mask:")
    compare(spineps.segment_instances(phantom.semantic), phantom.semantic, phantom)

    print("from bodies, arches, spinous processes and discs alone, in another program's numbers:")
    other = in_other_ids(phantom.semantic)
    ids = {number: int(structure) for number, structure in OTHER_IDS.items()}
    compare(spineps.segment_instances(other, label_map_ids=ids), other, phantom)


if __name__ == "__main__":
    main()
