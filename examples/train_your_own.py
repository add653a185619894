"""Train an instance network on phantoms for some seconds, beginning with the bundled one, and use it.

    python examples/train_your_own.py [SECONDS]

The command line does the same: ``spineps train instance --out FOLDER --hours 4``. A useful network from scratch takes hours;
this shows the way.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import spineps
from spineps.api import load_models
from spineps.inference.load import load_instance
from spineps.phantom.phantom import make_phantom
from spineps.pipeline import Models
from spineps.training.loop import TrainConfig, train
from spineps.zoo.card import Kind
from spineps.zoo.store import bundled_folder

SECONDS = 10.0


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else SECONDS
    compute = spineps.ComputeConfig()
    with tempfile.TemporaryDirectory() as temporary:
        out = Path(temporary)
        config = TrainConfig(
            kind=Kind.INSTANCE,
            out=out,
            hours=seconds / 3600,
            warm_start=bundled_folder(Kind.INSTANCE),
            report_seconds=5.0,
            compute=compute,
        )
        card = train(config, report=print)
        print(f"model {card.name}, {sum(path.stat().st_size for path in (out / 'model').iterdir()) / 1e6:.1f} MB")

        # The bundled semantic network with our own instance network.
        models = Models(semantic=load_models(compute).semantic, instance=load_instance(compute, out / "model"))
        result = spineps.segment_scan(make_phantom(21, vertebrae=3, spacing_mm=(1.0, 1.0, 3.3)).scan, models=models)
        print(f"{len(result.vertebrae)} vertebrae: {[vertebra.label for vertebra in result.vertebrae]}")


if __name__ == "__main__":
    main()
