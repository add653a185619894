"""Networks for OpenVINO: converted once, in a process of its own, and kept in the user's cache under a hash.

The hash covers the model's card (which names the hash of its weights), this program's version and OpenVINO's. A converted
network is a folder that is renamed into place when it is whole, so that processes may convert the same one at the same time;
its files are checked against their hashes before they are used, and damaged ones are made anew. Where the cache cannot be
written, the network is converted for this run alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from spineps.errors import ErrorCode, ModelError, SpinepsError
from spineps.io import atomic
from spineps.zoo.places import engines_cache
from spineps.zoo.store import AnyModel, StoredModel, load_model

FORMAT: Final = 1
"""Raised when networks are converted in another way."""
GRAPH: Final = "network.xml"
WEIGHTS: Final = "network.bin"
PROOF: Final = "proof.json"
_PARTIAL: Final = ".partial-"
_COARSEST: Final = 2
"""Voxels at the network's coarsest level while its operations are recorded."""


def graph_of(model: AnyModel) -> Any:
    """The network of a model as an OpenVINO graph for one sample of any size.

    Raises
    ------
    ModelError
        Where the model is damaged.
    """
    if not isinstance(model, StoredModel):
        return converted(model.network)
    kept = engines_cache() / cache_key(model)
    if not is_whole(kept):
        made = _convert(model, kept)
        if made != kept:
            graph = _read(made)
            shutil.rmtree(made, ignore_errors=True)
            return graph
    return _read(kept)


def cache_key(model: StoredModel) -> str:
    """Name of a converted network."""
    facts = [FORMAT, version("openvino"), version("spineps"), model.card.model_dump(mode="json")]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def is_whole(folder: Path) -> bool:
    """Tell whether a converted network is there and every byte of it is as it was written."""
    try:
        proof = json.loads((folder / PROOF).read_bytes())
        return bool(proof == _hashes(folder))
    except (OSError, ValueError):
        return False


def converted(network: Any) -> Any:
    """An OpenVINO graph of a PyTorch network, weights in fp32, for one sample of any size."""
    import openvino
    import torch

    shape = (1, network.input_channels, *(_COARSEST * n for n in network.divisors))
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # the tracer warns of itself being old
        recorded = torch.jit.trace(network, torch.zeros(shape), check_trace=False)  # type: ignore[no-untyped-call]
        return openvino.convert_model(recorded, input=[openvino.PartialShape([1, shape[1], -1, -1, -1])])


def _convert(model: StoredModel, place: Path) -> Path:
    """Convert a model in another process; the folder that it then lies in."""
    staging = _staging(place.parent)
    done = subprocess.run(
        [sys.executable, "-m", "spineps.inference.conversion", str(model.folder), str(staging)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    if done.returncode != 0 or not is_whole(staging):
        shutil.rmtree(staging, ignore_errors=True)
        raise _failure(model, done.stdout)
    if staging.parent != place.parent:
        return staging
    return _moved(staging, place)


def _staging(cache: Path) -> Path:
    try:
        cache.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=_PARTIAL, dir=cache))
    except OSError:
        return Path(tempfile.mkdtemp(prefix="spineps-"))


def _moved(staging: Path, place: Path) -> Path:
    """Rename a finished folder into place; where another process was first, its folder stays."""
    if place.exists() and not is_whole(place):
        shutil.rmtree(place, ignore_errors=True)
    try:
        staging.rename(place)
    except OSError:
        if not is_whole(place):
            return staging
        shutil.rmtree(staging, ignore_errors=True)
    return place


def _failure(model: StoredModel, told: str) -> ModelError:
    """What the other process said of the model, or that it said nothing."""
    try:
        facts = json.loads(told)
        return ModelError(ErrorCode(facts["code"]), facts["message"], remedy=facts["remedy"])
    except (ValueError, KeyError, TypeError):
        return ModelError(
            ErrorCode.MODEL_CORRUPT,
            f"model {model.card.name} could not be converted for OpenVINO.",
            remedy="Use --engine torch; if memory or the disk is short, free some and try again.",
        )


def _read(folder: Path) -> Any:
    import openvino

    return openvino.Core().read_model(folder / GRAPH, folder / WEIGHTS)


def _hashes(folder: Path) -> dict[str, str]:
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in (GRAPH, WEIGHTS)}


def main(arguments: list[str]) -> int:
    """Convert the model in one folder into another; what is wrong with it is told on stdout as JSON."""
    import openvino

    source, target = map(Path, arguments)
    try:
        openvino.save_model(converted(load_model(source).network), target / GRAPH, compress_to_fp16=False)
        atomic.write_json(target / PROOF, _hashes(target))
    except SpinepsError as error:
        sys.stdout.write(json.dumps({"code": error.code, "message": error.message, "remedy": error.remedy}))
        return int(error.exit_code)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
