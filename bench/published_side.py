"""What the published package gives, for bench/parity.py: run by the interpreter of an environment that has it.

usage: PYTHON published_side.py semantic IMAGE MODEL OUT.npz [--n4]
       PYTHON published_side.py instance MASK MODEL OUT.npz
       PYTHON published_side.py labeling IMAGE MODEL OUT.npz
       PYTHON published_side.py masks MASK MODEL OUT.npz --truth MASK --peer DIR
       PYTHON published_side.py whole DATASET MODEL OUT.npz --semantic MODEL --peer DIR
       PYTHON published_side.py ... --then ...: one after another, without importing the package again
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch


def semantic(args: argparse.Namespace) -> dict[str, np.ndarray]:
    """Labels on the model's grid and logits of an image."""
    from TPTBox import NII

    from spineps.phase_pre import preprocess_input
    from spineps.seg_enums import OutputType

    model = load(args.model)
    prepared, _ = preprocess_input(NII.load(args.source, False), {}, proc_do_n4_bias_correction=args.n4)
    kept: dict[str, np.ndarray] = {"prepared": prepared.reorient().get_array()}
    predict = model.predictor.predict_logits_from_preprocessed_data

    def wrapped(data: torch.Tensor, *rest: object, **more: object) -> torch.Tensor:
        logits: torch.Tensor = predict(data, *rest, **more)
        kept["input"], kept["logits"] = data.numpy().copy(), logits.numpy().copy()
        return logits

    model.predictor.predict_logits_from_preprocessed_data = wrapped
    found = model.segment_scan(prepared.copy(), pad_size=0, resample_output_to_input_space=False)[OutputType.seg].reorient()
    return {**kept, "labels": found.get_seg_array(), "affine": found.affine}


def instance(args: argparse.Namespace) -> dict[str, np.ndarray]:
    """Logits of one cutout of a semantic mask."""
    from TPTBox import NII

    model = load(args.model)
    mask = NII.load(args.source, True)
    table = np.zeros(256, np.uint8)
    for theirs, ours in model.inference_config.mapping.items():
        table[int(theirs)] = int(ours)
    channels = model.predictor.network.channels
    given = model._network_input_from_nii(mask.set_array(table[mask.get_seg_array()]), channels)  # noqa: SLF001
    with torch.inference_mode():
        return {"logits": model.predictor.forward(given[None])[0].numpy()}


def labeling(args: argparse.Namespace) -> dict[str, np.ndarray]:
    """Probabilities of all heads for an image patch."""
    from TPTBox import NII

    model = load(args.model)
    soft, _ = model._run_array(NII.load(args.source, False).get_array().astype(np.float32))  # noqa: SLF001
    return dict(soft)


def whole(args: argparse.Namespace) -> dict[str, np.ndarray]:
    """Masks and centres of one scan of a data set whose semantic mask is there; the instance network is perfect."""
    from TPTBox import BIDS_FILE, NII

    from spineps import segment_image
    from spineps.get_models import get_actual_model

    root = Path(args.source)
    model = with_answers(args, root / "truth.nii.gz")
    scan = BIDS_FILE(next(root.glob("rawdata/*.nii.gz")), root)
    paths, code = segment_image(scan, get_actual_model(args.semantic, use_cpu=True), model, auto_crop_to_spine=False)
    if code.name != "OK":
        raise SystemExit(f"the published package ended with {code}")
    masks = {name: NII.load(paths[f"out_{name}"], True).reorient().get_seg_array() for name in ("spine", "vert")}
    return {**masks, "files": np.array(sorted(path.relative_to(root).as_posix() for path in root.rglob("*.*")))}


def masks(args: argparse.Namespace) -> dict[str, np.ndarray]:
    """Cleaned mask and both final masks from a semantic network's mask; the instance network is perfect."""
    from TPTBox import NII

    from spineps.phase_instance import predict_instance_mask
    from spineps.phase_post import phase_postprocess_combined
    from spineps.phase_semantic import predict_semantic_mask
    from spineps.seg_enums import OutputType

    given = NII.load(args.source, True).reorient()
    answer = {OutputType.seg: given.copy(), OutputType.softmax_logits: None}
    semantic = SimpleNamespace(segment_scan=lambda *_, **__: answer)
    clean, _, _ = predict_semantic_mask(given, semantic, {})
    raw, _ = predict_instance_mask(clean.copy(), with_answers(args, Path(args.truth)), {})
    cleaned = clean.get_seg_array().copy()
    vert = raw.resample_from_to(given)
    spine, vert = phase_postprocess_combined(given, clean, vert, None, {}, labeling_offset=1)
    return {"clean": cleaned, "spine": spine.get_seg_array(), "vert": vert.get_seg_array()}


def with_answers(args: argparse.Namespace, truth: Path) -> object:
    """The instance model, its network replaced by the oracle."""
    from TPTBox import NII

    from spineps.get_models import get_actual_model
    from spineps.seg_enums import OutputType

    sys.path.insert(0, args.peer)
    from oracle_core import oracle

    model = get_actual_model(args.model, use_cpu=True)
    known = NII.load(truth, True).reorient()
    zoom = model.calc_recommended_resampling_zoom(known.zoom)
    known = known if known.assert_affine(zoom=zoom, raise_error=False) else known.rescale(zoom)
    voxels, to_voxel = known.get_seg_array(), np.linalg.inv(known.affine)

    def perfect(cutouts: list[NII], **_: object) -> list[dict[object, NII]]:
        starts = [np.rint((to_voxel @ np.append(cutout.affine[:3, 3], 1))[:3]).astype(int) for cutout in cutouts]
        found = [oracle(start, cutout.get_seg_array(), voxels) for start, cutout in zip(starts, cutouts, strict=True)]
        return [{OutputType.seg: cutout.set_array(labels)} for cutout, labels in zip(cutouts, found, strict=True)]

    model.segment_scan_batch, model.predictor = perfect, object()
    return model


def load(folder: str) -> object:
    """A model of the published package on one thread."""
    from spineps.get_models import get_actual_model

    model = get_actual_model(folder, use_cpu=True).load()
    torch.set_num_threads(1)
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["semantic", "instance", "labeling", "masks", "whole"])
    parser.add_argument("source")
    parser.add_argument("model")
    parser.add_argument("out")
    parser.add_argument("--n4", action="store_true")
    parser.add_argument("--semantic")
    parser.add_argument("--truth")
    parser.add_argument("--peer")
    torch.set_num_threads(1)
    does = {"semantic": semantic, "instance": instance, "labeling": labeling, "masks": masks, "whole": whole}
    words = sys.argv[1:]
    while words:
        end = words.index("--then") if "--then" in words else len(words)
        args = parser.parse_args(words[:end])
        np.savez_compressed(args.out, **does[args.what](args))
        words = words[end + 1 :]


if __name__ == "__main__":
    main()
