"""One step of a segmentation, timed on one side of bench/vs_published.py: run by the interpreter of that side.

usage: PYTHON step_side.py ours|theirs STEP [--model DIR] [--semantic DIR] [--shape P,I,R] [--case PREFIX] [--peer DIR]
                           [--precision auto|fp32|bf16] [--threads N] [--max-memory GB] [--load]

Steps: ``network`` one cutout, ``semantic`` the sliding window over an image, ``n4``, ``phases`` all after the semantic network
with the perfect instance network of ``peer/oracle_core.py``, ``whole`` from the file of a scan to all its files. In ``whole``
both networks run with their random weights, and the truth then takes the place of their answers: the phases behind them see a
spine. Prints seconds of the clock and of the processor by phase, those of the bench itself (perfect network, truth) as "aside".
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from clock import REST, Clock, watch_stages

SPACING: Final = (0.75, 0.75, 1.65)
THICK: Final = (0.78, 0.78, 4.4)
ISLAND_LABELS: Final = [41, 42, 43, 44, 45, 46, 47, 48, 49, 61, 100]
"""Those that the published clean-up looks for islands of."""
PREPARE: Final = "preparing, N4"
SEMANTIC: Final = "semantic network"
INSTANCE: Final = "instance network"
MASKS: Final = "clean-up and post-processing"
FILES: Final = "measures and files"
OUR_STAGES: Final = {
    "measure": FILES,
    "preprocess": PREPARE,
    "semantic": SEMANTIC,
    "clean": MASKS,
    "instance": INSTANCE,
    "postprocess": MASKS,
}
THEIR_STAGES: Final = {
    "preprocess_input": PREPARE,
    "predict_semantic_mask": MASKS,
    "predict_instance_mask": INSTANCE,
    "phase_postprocess_combined": MASKS,
}
"""The network's part of the second is booked on its own."""

clock: Final = Clock()
Asked = argparse.Namespace
Step = Callable[[], Any]


# --- ours


def our_compute(asked: Asked) -> Any:
    from spineps.config import ComputeConfig, Device, Precision

    return ComputeConfig(Device.CPU, Precision(asked.precision), asked.threads, max_memory_gb=asked.max_memory)


def our_network(asked: Asked) -> Step:
    from spineps.inference.load import load_instance

    engine = load_instance(our_compute(asked), Path(asked.model))
    return lambda: engine.runner.logits(cutout(engine.card.network_settings["channels"]))


def our_semantic(asked: Asked) -> Step:
    from spineps.inference.load import load_semantic

    engine = load_semantic(our_compute(asked), Path(asked.model))
    image = noise(asked.shape)
    return lambda: engine.label(image, SPACING, step_share=engine.step_share, mirror=engine.mirror)


def our_n4(asked: Asked) -> Step:
    from spineps.geometry import Geometry
    from spineps.stages.preprocess import correct_bias_field

    grid = Geometry.from_spacing(asked.shape, THICK)
    return lambda: correct_bias_field(chequers(asked.shape), grid)


def our_oracle(asked: Asked) -> tuple[type, Callable[..., Any], Callable[..., Any], Callable[..., Any]]:
    """The perfect network behind our protocol, where its cutouts lie, a mask from its file, and the oracle."""
    sys.path.insert(0, asked.peer)
    from oracle_core import oracle
    from parity import Perfect, cutouts_of, stored_map

    class Told(Perfect):
        """Perfect answers, whose time does not count."""

        def __call__(self, cutouts: np.ndarray) -> np.ndarray:
            return np.asarray(clock.aside(lambda: super(Told, self).__call__(cutouts)))

    return Told, cutouts_of, stored_map, oracle


def our_phases(asked: Asked) -> Step:
    from spineps.config import Labeling, LabelingConfig, MeasureConfig, PipelineConfig
    from spineps.pipeline import Models, segment_instances
    from spineps.stages.clean import clean_semantic

    told, cutouts_of, stored_map, oracle = our_oracle(asked)
    semantic, truth = (stored_map(Path(f"{asked.case}_seg-{kind}_msk.nii.gz")) for kind in ("sem", "gt"))
    known, boxes = cutouts_of(clean_semantic(semantic)[0], truth, oracle)
    alike = PipelineConfig(labeling=LabelingConfig(Labeling.NONE), measures=MeasureConfig(enabled=False))
    return lambda: segment_instances(semantic, Models(None, told(known, oracle, boxes)), alike)


def our_whole(asked: Asked) -> Step:
    from spineps import api, pipeline
    from spineps.config import Labeling, LabelingConfig, PipelineConfig
    from spineps.geometry import resample
    from spineps.inference.load import load_instance, load_semantic
    from spineps.outputs.save import save
    from spineps.pipeline import Models
    from spineps.stages import published

    told, cutouts_of, stored_map, oracle = our_oracle(asked)
    semantic, truth = (stored_map(Path(f"{asked.case}_seg-{kind}_msk.nii.gz")) for kind in ("sem", "gt"))
    here = replace(semantic, geometry=type(semantic.geometry).from_spacing(semantic.geometry.shape, SPACING, ("P", "I", "R")))
    networks = load_semantic(our_compute(asked), Path(asked.semantic)), load_instance(our_compute(asked), Path(asked.model))
    label_scan, perfect = pipeline.label_scan, []

    def true_labels(*given: Any, **more: Any) -> Any:
        found = label_scan(*given, **more)
        labels = clock.aside(lambda: resample(here.labels.astype(np.uint8), here.geometry, found.geometry, order=0))
        return replace(found, labels=labels)

    class Both:
        """The network with its random weights, then the perfect answer."""

        spacing_mm, cutout_size, shift_mm = SPACING, networks[1].cutout_size, (0.0, 0.0, 0.0)
        parts_fused = True
        card, need, release = networks[1].card, networks[1].need, networks[1].release
        engine, parts_fused = networks[1].engine, networks[1].parts_fused

        def __call__(self, cutouts: np.ndarray) -> np.ndarray:
            networks[1](cutouts)
            return np.asarray(perfect[0](cutouts))

    def watch(name: str, value: Any) -> None:
        if name == "clean":
            placed = replace(truth, geometry=here.geometry)
            perfect.append(told(*clock.aside(lambda: _answers(value, placed))))

    def _answers(clean: Any, placed: Any) -> tuple[Any, ...]:
        known, boxes = cutouts_of(clean, placed, oracle)
        return known, oracle, boxes

    pipeline.label_scan = true_labels
    published.prepare_image = clock.timed(PREPARE, published.prepare_image)
    watch_stages(clock, OUR_STAGES)
    config = PipelineConfig(compute=our_compute(asked), labeling=LabelingConfig(Labeling.NONE))

    def run() -> Any:
        result = api.segment_scan(f"{asked.case}_T2w.nii.gz", config=config, models=Models(networks[0], Both()), on_stage=watch)
        with tempfile.TemporaryDirectory() as folder:
            return save(result, folder)

    return run


# --- theirs


def their_model(folder: str, threads: int) -> Any:
    import torch

    from spineps.get_models import get_actual_model

    model = get_actual_model(folder, use_cpu=True).load()
    torch.set_num_threads(threads)
    return model


def their_network(asked: Asked) -> Step:
    import torch

    network = their_model(asked.model, asked.threads).predictor

    def forward() -> Any:
        with torch.inference_mode():
            return network(torch.from_numpy(cutout(network.network.channels)))

    return forward


def their_semantic(asked: Asked) -> Step:
    from TPTBox import NII

    model = their_model(asked.model, asked.threads)
    image = NII.from_numpy(noise(asked.shape), affine(SPACING), seg=False)
    return lambda: model.segment_scan(image.copy(), pad_size=0, resample_output_to_input_space=False)


def their_n4(asked: Asked) -> Step:
    from TPTBox import NII

    from spineps.phase_pre import n4_bias

    return lambda: n4_bias(NII.from_numpy(chequers(asked.shape), np.diag([*THICK, 1.0]), seg=False))


def their_perfect(asked: Asked, model: Any, *, first: Callable[..., Any] | None = None) -> None:
    """The perfect network in place of ``segment_scan_batch``, after ``first`` has run."""
    from TPTBox import NII

    from spineps.seg_enums import OutputType

    sys.path.insert(0, asked.peer)
    from oracle_core import oracle

    known = NII.load(f"{asked.case}_seg-gt_msk.nii.gz", True).reorient()
    voxels, to_voxel = known.get_seg_array(), np.linalg.inv(known.affine)

    def answer(cutout: NII) -> dict[object, NII]:
        start = np.rint((to_voxel @ np.append(cutout.affine[:3, 3], 1))[:3]).astype(int)
        return {OutputType.seg: cutout.set_array(oracle(start, cutout.get_seg_array(), voxels))}

    def batch(cutouts: list[NII], **more: Any) -> list[dict[object, NII]]:
        if first is not None:
            first([cutout.copy() for cutout in cutouts], **more)
        answers: list[dict[object, NII]] = clock.aside(lambda: [answer(cutout) for cutout in cutouts])
        return answers

    model.segment_scan_batch = batch


def their_phases(asked: Asked) -> Step:
    from TPTBox import NII

    from spineps.get_models import get_actual_model
    from spineps.phase_instance import predict_instance_mask
    from spineps.phase_post import phase_postprocess_combined
    from spineps.phase_semantic import SMALL_CC_SIZE_THRESHOLD_MM3, mm3_to_voxels, semantic_bounding_box_clean
    from spineps.seg_pipeline import fill_holes_labels, logger, predict_centroids_from_both
    from spineps.utils.proc_functions import clean_cc_artifacts

    semantic = NII.load(f"{asked.case}_seg-sem_msk.nii.gz", True)
    image = semantic.set_array(semantic.get_seg_array().astype(np.int16))
    image.seg = False
    model = get_actual_model(asked.model, use_cpu=True)
    model.predictor = object()
    their_perfect(asked, model)
    islands: dict[str, Any] = {"labels": ISLAND_LABELS, "only_delete": True, "ignore_missing_labels": True, "verbose": False}

    def run() -> Any:
        given = semantic.reorient()
        least = mm3_to_voxels(SMALL_CC_SIZE_THRESHOLD_MM3, given.zoom)
        given.set_array_(clean_cc_artifacts(given, logger=logger, cc_size_threshold=least, **islands), verbose=False)
        clean = semantic_bounding_box_clean(given).fill_holes_(fill_holes_labels, verbose=logger)
        raw, code = predict_instance_mask(clean.copy(), model, debug_data={})
        if raw is None:
            raise SystemExit(f"the published package ended with {code}")
        masks = clean.map_labels({50: 49}, verbose=False).resample_from_to(image), raw.resample_from_to(image)
        spine, vertebrae = phase_postprocess_combined(
            img_nii=image, seg_nii=masks[0], vert_nii=masks[1], model_labeling=None, debug_data={}, labeling_offset=1
        )
        return predict_centroids_from_both(vertebrae, spine, models=[model, model, None], parameter={})

    return run


def their_whole(asked: Asked) -> Step:
    from TPTBox import BIDS_FILE, NII

    from spineps import seg_run
    from spineps.seg_enums import OutputType

    semantic, instance = (their_model(folder, asked.threads) for folder in (asked.semantic, asked.model))
    truth = NII.load(f"{asked.case}_seg-sem_msk.nii.gz", True)
    their_perfect(asked, instance, first=instance.segment_scan_batch)
    segment_scan = semantic.segment_scan

    def true_labels(*given: Any, **more: Any) -> Any:
        with clock.phase(SEMANTIC):
            found = segment_scan(*given, **more)
        return found | {OutputType.seg: clock.aside(lambda: truth.resample_from_to(found[OutputType.seg]))}

    semantic.segment_scan = true_labels
    for name, phase in THEIR_STAGES.items():
        setattr(seg_run, name, clock.timed(phase, getattr(seg_run, name)))
    root = Path(tempfile.mkdtemp())
    source = root / "rawdata" / Path(f"{asked.case}_T2w.nii.gz").name
    source.parent.mkdir()
    source.write_bytes(Path(f"{asked.case}_T2w.nii.gz").read_bytes())

    def run() -> Any:
        _, code = seg_run.segment_image(BIDS_FILE(source, root), semantic, instance, auto_crop_to_spine=False)
        if code.name != "OK":
            raise SystemExit(f"the published package ended with {code}")

    return run


# --- what both are given


def cutout(channels: int) -> np.ndarray:
    """A batch of one cutout of the published size: a column of all classes, as large as the boxes around real spines (the first
    convolution is computed within three voxels of it, 0.42 of the cutout; in a real lumbar scan 0.22 to 0.46).
    """
    given = np.zeros((1, channels, 248, 304, 64), np.float32)
    given[:, 0] = 1
    given[:, 0, 60:189, :, 10:53] = 0
    for i in range(304):
        given[:, i // 20 % channels, 60:189, i, 10:53] = 1
    return given


def noise(shape: tuple[int, ...]) -> np.ndarray:
    """An image of noise, without a background."""
    return np.random.default_rng(0).normal(400, 80, shape).clip(1).astype(np.float32)


def chequers(shape: tuple[int, ...]) -> np.ndarray:
    """A cylinder of two intensities below a bias field."""
    p, i, r = np.indices(shape, dtype=np.float32)
    inside = ((p / shape[0] - 0.5) ** 2 + (i / shape[1] - 0.5) ** 2) < 0.2
    return (inside * (300 + 100 * ((p // 20 + i // 20 + r) % 2)) * (1 + p / shape[0])).astype(np.float32)


def affine(spacing: tuple[float, float, float]) -> np.ndarray:
    """Of an image whose axes are (P, I, R)."""
    p, i, r = spacing
    return np.array([[0, 0, r, 0], [-p, 0, 0, 0], [0, -i, 0, 0], [0, 0, 0, 1]], float)


SIDES: Final[dict[str, dict[str, Callable[[Asked], Step]]]] = {
    "ours": {"network": our_network, "semantic": our_semantic, "n4": our_n4, "phases": our_phases, "whole": our_whole},
    "theirs": {
        "network": their_network,
        "semantic": their_semantic,
        "n4": their_n4,
        "phases": their_phases,
        "whole": their_whole,
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("side", choices=list(SIDES))
    parser.add_argument("step", choices=list(SIDES["ours"]))
    parser.add_argument("--model")
    parser.add_argument("--semantic")
    parser.add_argument("--shape", type=lambda text: tuple(map(int, text.split(","))))
    parser.add_argument("--case")
    parser.add_argument("--peer")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--max-memory", type=float, default=0, help="of ours, GB")
    parser.add_argument("--load", action="store_true", help="load the networks alone, which converts what is converted once")
    asked = parser.parse_args()
    step = SIDES[asked.side][asked.step](asked)
    if asked.load:
        return
    if (asked.side, asked.step) == ("ours", "network"):
        step()  # compiles the network for the shape
    with clock.phase(FILES if asked.step == "whole" else REST):
        step()
    print(json.dumps(clock.spent()))


if __name__ == "__main__":
    main()
