"""Does ours give what the published SPINEPS gives, with the same weights and the same images?

usage: python bench/parity.py [--peer DIR] [--published PYTHON] [--models DIR] [--only NAME ...]

``--peer`` holds models, phantoms and reference masks of the published package (default: $SPINEPS_SHARED/peer). ``--published``
is the interpreter of an environment that has the published package; the rows that need it are left out without. ``--models``
holds more models, as peer/make_models.py makes them. Networks run in fp32 on one thread. Prints a table; ends with 1 if a row
does not hold.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from spineps.config import ComputeConfig, Device, PipelineConfig, Precision, PreprocessConfig
from spineps.geometry import PIR, Geometry, Reorientation, resample
from spineps.inference.load import load_instance, load_labeling, load_semantic
from spineps.inference.nnunet import gaussian_window, mirrored, tile_starts
from spineps.inference.published import NnunetEngine
from spineps.io.nifti import read_labels, read_scan
from spineps.labels import ENDPLATES, Scheme, Structure, lookup
from spineps.stages.clean import clean_semantic
from spineps.stages.corpora import find_corpora
from spineps.stages.cutouts import cutout_box, instance_grid
from spineps.stages.instances import find_instances
from spineps.stages.postprocess import postprocess
from spineps.stages.published import Numbers, cubic, label_scan, prepare_image
from spineps.volume import LabelMap, Scan

HERE = Path(__file__).resolve().parent
CPU = ComputeConfig(Device.CPU, Precision.FP32, 1)
LEAST_EQUAL = 0.999
MOST_LOGITS = 1e-4
SPACING = (0.75, 0.75, 1.65)
CUTOUT = (248, 304, 64)
PART = (slice(40, 140), slice(60, 200), slice(10, 60))
"""Of the six-vertebra phantom: small enough for a CPU, larger than two tiles along each axis."""
ORACLE = ("ph6", "ph6_LAS", "ph6hr", "ph22_clean")


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    measure: str
    found: str
    holds: bool


@dataclass(frozen=True)
class Setting:
    """Where things lie."""

    peer: Path
    published: Path | None
    models: tuple[Path, ...]
    work: Path

    def model(self, name: str) -> Path | None:
        """Folder of a model, or None where it is not there."""
        return next((folder / name for folder in self.models if (folder / name / "inference_config.json").is_file()), None)

    def ask(self, what: str, source: Path, model: Path, *options: str) -> dict[str, np.ndarray]:
        """What the published package gives: see published_side.py."""
        out = self.work / "published.npz"
        command = [str(self.published), str(HERE / "published_side.py"), what, str(source), str(model), str(out), *options]
        run(command)
        with np.load(out) as kept:
            return {name: kept[name] for name in kept.files}


def run(command: list[str]) -> None:
    ours = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}  # both packages have one name
    environment = {**ours, "OMP_NUM_THREADS": "1", "SPINEPS_NO_CITATION_REMINDER": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")


# --- the semantic network


def reference_rows(at: Setting) -> Iterator[Row]:
    """A label map that the published package made before, from its own prepared image."""
    folder, model = at.peer / "reference" / "sem_mri_resenc", at.model("sem_resenc")
    if not folder.is_dir() or model is None:
        return
    scan = upright(read_scan(folder / "0_preprocessed.nii.gz"))
    engine = load_semantic(CPU, model)
    image, grid = cubic(scan.image, scan.geometry, engine.spacing_for(scan.geometry.spacing_mm), Numbers.of(scan))
    ours = engine.label(image, grid.spacing_mm, step_share=engine.step_share, mirror=engine.mirror)
    yield labels_row("semantic sem_resenc, reference image (uint16)", ours, stored(folder / "1_seg_modelres.nii.gz"))


def semantic_rows(at: Setting) -> Iterator[Row]:
    """Whole first phase against the published package, in the number formats that scanners write."""
    if at.published is None:
        return
    cases = [
        ("sem_resenc", "int16", SPACING, ()),
        ("sem_old_3fold", "int16", SPACING, ()),
        ("sem_old_1fold_tta", "int16", SPACING, ()),
        ("sem_old_1fold_tta", "int16", (0.9, 0.9, 2.5), ()),
        ("sem_resenc", "int16", (0.6, 0.6, 2.2), ()),
        ("sem_resenc", "uint16", (0.6, 0.6, 2.2), ()),
        ("sem_resenc", "float32", (0.6, 0.6, 2.2), ()),
        ("sem_resenc", "int16", (0.6, 0.6, 2.2), ("--n4",)),
    ]
    for name, numbers, spacing, options in cases:
        model = at.model(name)
        if model is None:
            continue
        image = at.work / "image.nii.gz"
        write_image(at.peer / "data" / "sub-ph6_T2w.nii.gz", image, numbers, spacing)
        theirs = at.ask("semantic", image, model, *options)
        scan, engine = upright(read_scan(image)), load_semantic(CPU, model)
        config = PipelineConfig(preprocess=PreprocessConfig(n4=bool(options)))
        title = f"semantic {name}, {numbers}, {spacing[0]} x {spacing[2]} mm{', N4' if options else ''}"
        if options:
            prepared, _ = prepare_image(scan, engine, config, Numbers.of(scan))
            difference = np.abs(prepared - theirs["prepared"]).max()
            yield Row(f"N4 {numbers}", "largest difference of intensities (of 1500)", f"{difference:.3g}", difference <= 1)
        yield labels_row(title, label_scan(scan, engine, config).labels, theirs["labels"])
        if engine.card.network_settings["folds"] == 1:
            difference = float(np.abs(half_sums(engine, theirs["input"][0]) - theirs["logits"].astype(np.float32)).max())
            same = f"{title}: the same tiles summed in half precision, as there"
            yield Row(same, "largest difference of logits", f"{difference:.3g}", difference <= MOST_LOGITS)


def half_sums(engine: NnunetEngine, given: np.ndarray) -> np.ndarray:
    """Logits of the published network input with the published rounding of the sums, which ours leaves out."""
    patch, mirror = engine.model.patch, engine.model.mirror_axes if engine.mirror else ()
    short = [max(0, tile - n) for n, tile in zip(given.shape, patch, strict=True)]
    padded = np.pad(given.astype(np.float32), [(n // 2, n - n // 2) for n in short])
    window = gaussian_window(patch)
    total, weights = np.zeros((len(engine.labels), *padded.shape), np.float16), np.zeros(padded.shape, np.float16)
    for start in product(*(tile_starts(n, tile, 0.5) for n, tile in zip(padded.shape, patch, strict=True))):
        place = tuple(slice(a, a + tile) for a, tile in zip(start, patch, strict=True))
        scores = mirrored(padded[place], engine.tile_logits, mirror)
        total[(slice(None), *place)] = total[(slice(None), *place)].astype(np.float32) + scores * window.astype(np.float32)
        weights[place] += window
    total = (total.astype(np.float32) / weights.astype(np.float32)).astype(np.float16)
    back = tuple(slice(n // 2, n // 2 + size) for n, size in zip(short, given.shape, strict=True))
    return total[(slice(None), *back)].astype(np.float32)


def write_image(source: Path, target: Path, numbers: str, spacing: tuple[float, float, float]) -> None:
    """Part of a phantom with noise, so that no region is flat, in a number format and with another spacing."""
    image = nib.load(source)
    part = np.asarray(image.dataobj)[PART].astype(np.float64)
    noisy = np.clip(part + np.random.default_rng(0).normal(0, 20, part.shape), 0, None)
    noisy[:3] = 0
    affine = image.affine.copy()
    affine[:3, :3] *= np.asarray(spacing) / np.asarray(image.header.get_zooms()[:3])
    write(target, noisy.astype(numbers), affine)


def write(target: Path, voxels: np.ndarray, affine: np.ndarray) -> None:
    nib.Nifti1Image(voxels, affine).to_filename(target)


def labels_row(name: str, ours: np.ndarray, theirs: np.ndarray) -> Row:
    if ours.shape != theirs.shape:
        return Row(name, "voxels with the same label", f"shapes {ours.shape} and {theirs.shape}", holds=False)
    equal = float((ours == theirs).mean())
    return Row(name, "voxels with the same label", f"{100 * equal:.4f} %", equal >= LEAST_EQUAL)


# --- the instance and the labeling network


def logits_rows(at: Setting) -> Iterator[Row]:
    """Logits of the instance networks, probabilities of the labeling networks."""
    if at.published is None:
        return
    cutout, patch = at.work / "cutout.nii.gz", at.work / "patch.nii.gz"
    mask = nib.load(at.peer / "data" / "sub-ph6_seg-sem_msk.nii.gz")
    voxels = np.asarray(mask.dataobj)[60:188, 40:168, 2:66].astype(np.uint8)
    write(cutout, voxels, mask.affine)
    picture = np.random.default_rng(0).normal(300, 80, (152, 168, 32)).astype(np.float32)
    picture[:, :20] = 0
    write(patch, picture, mask.affine)
    for name in ("inst_legacy", "inst_legacy_smallcut", "inst_new"):
        if (model := at.model(name)) is not None:
            theirs = at.ask("instance", cutout, model)["logits"]
            difference = float(np.abs(load_instance(CPU, model).logits(voxels) - theirs).max())
            yield Row(f"instance {name}", "largest difference of logits", f"{difference:.3g}", difference <= MOST_LOGITS)
    for name in ("lab_v3", "lab_exact_rot"):
        if (model := at.model(name)) is not None:
            said = at.ask("labeling", patch, model)
            ours = load_labeling(CPU, model)(picture)
            difference = max(float(np.abs(ours[head] - said[head]).max()) for head in said)
            same = set(ours) == set(said) and difference <= MOST_LOGITS
            yield Row(f"labeling {name}", "largest difference of probabilities", f"{difference:.3g}", same)


# --- everything after the semantic network, with a perfect instance network


class Perfect:
    """The perfect instance network of peer/oracle_core.py, told beforehand where its cutouts lie."""

    spacing_mm, cutout_size, shift_mm = SPACING, CUTOUT, (0.0, 0.0, 0.0)
    parts_fused = True

    def __init__(self, truth: np.ndarray, oracle: Callable[..., Any], boxes: tuple[Any, ...] = ()) -> None:
        self._truth, self._oracle, self._boxes = truth, oracle, iter(boxes)

    def __call__(self, cutouts: np.ndarray) -> np.ndarray:
        """Answers for a batch of cutouts, in the order of the boxes."""
        return np.stack([self._answer(next(self._boxes), cutout) for cutout in cutouts])

    def _answer(self, box: Any, cutout: np.ndarray) -> np.ndarray:
        """What it says of one cutout; vertebra classes alone are seen."""
        seen = np.where((cutout >= int(Structure.ARCUS)) & (cutout <= int(Structure.DENS)), cutout, 0)
        return np.asarray(self._oracle(box.start, seen, self._truth))


def oracle_rows(at: Setting) -> Iterator[Row]:
    """Both final masks against those of the published package."""
    sys.path.insert(0, str(at.peer))
    from oracle_core import oracle

    cases = [(name, at.peer / "data" / f"sub-{name}", at.peer / "reference" / name) for name in ORACLE]
    if at.published is not None:
        cases.append(("ph22_bad", at.peer / "data" / "sub-ph22_bad", run_corrupted(at)))
    for name, case, theirs in cases:
        if not theirs.is_dir():
            continue
        semantic, truth = (stored_map(Path(f"{case}_seg-{kind}_msk.nii.gz")) for kind in ("sem", "gt"))
        clean, given = clean_semantic(semantic)[0], stored_map(theirs / "1_sempost.nii.gz")
        undamaged = stored(at.peer / "data" / f"sub-{name.replace('bad', 'clean')}_seg-sem_msk.nii.gz")
        adrift = (given.labels > 0) & (clean.labels == 0) & (undamaged == 0)
        note = f"; {adrift.sum()} of islands that it keeps, none of them true, left aside" if adrift.any() else ""
        yield equal_row(f"{name}: cleaned semantic mask", clean.labels, given.labels, adrift, note)
        done = second_phase(clean, truth, oracle)
        spine, vertebrae = (stored(theirs / f"3_seg-{kind}.nii.gz") for kind in ("spine", "vert"))
        lost = (given.labels == Structure.ENDPLATE) & (spine == 0)
        renamed = (done.instance.labels == 201) & (vertebrae == 226)
        note = f"; {lost.sum()} endplate voxels that it loses, {renamed.sum()} that it calls the sacrum's left aside"
        kept = adrift & (spine > 0)
        note += f", and {kept.sum()} of the islands" if kept.any() else ""
        aside = lost | renamed | kept
        yield equal_row(f"{name}: final semantic mask", done.semantic.labels, spine, aside, note)
        yield equal_row(f"{name}: final instance mask", done.instance.labels, vertebrae, aside)


def whole_rows(at: Setting) -> Iterator[Row]:
    """``segment_image`` of both, from a scan and its semantic mask to the files, with the perfect network."""
    semantic, instance = at.model("sem_resenc"), at.model("inst_new")
    if at.published is None or semantic is None or instance is None:
        return
    sys.path.insert(0, str(at.peer))
    from oracle_core import oracle
    from TPTBox import BIDS_FILE

    from spineps import segment_image
    from spineps.compat.models import SegmentationModel

    class PerfectModel(SegmentationModel):
        def engine(self, *, amp: bool = False) -> Perfect:  # noqa: ARG002
            return Perfect(known, oracle, boxes)

        def described(self) -> dict[str, str]:
            return {}

    theirs, ours = (data_set(at, at.work / name) for name in ("theirs", "ours"))
    said = at.ask("whole", theirs, instance, "--semantic", str(semantic), "--peer", str(at.peer))
    known, boxes = cutouts_of(
        *(stored_map(at.peer / "data" / f"sub-ph6_seg-{kind}_msk.nii.gz") for kind in ("sem", "gt")), oracle
    )
    scan = BIDS_FILE(next(ours.glob("rawdata/*.nii.gz")), ours)
    paths, code = segment_image(scan, SegmentationModel(semantic), PerfectModel(instance))
    spine, vertebrae = (stored(paths[f"out_{name}"]) for name in ("spine", "vert"))
    missing = [name for name in said["files"] if not (ours / str(name)).exists()]
    yield Row("segment_image: files", "of its files that ours lacks", str(missing or 0), code == "OK" and not missing)
    aside = (said["spine"] == 0) & lookup(ENDPLATES)[spine] | (vertebrae == 201) & (said["vert"] == 226)
    note = f"; {aside.sum()} endplate voxels that it loses or calls the sacrum's left aside"
    yield equal_row("segment_image: semantic mask", spine, said["spine"], aside, note)
    yield equal_row("segment_image: instance mask", vertebrae, said["vert"], aside)


def data_set(at: Setting, root: Path) -> Path:
    """One scan, its semantic mask where the published tool keeps it, and the truth."""
    raw = root / "derivatives_seg" / "output_raw_T2w"
    for source, target in (
        ("T2w", root / "rawdata" / "sub-ph6_T2w.nii.gz"),
        ("seg-sem_msk", raw / "sub-ph6_mod-T2w_seg-spine-raw_msk.nii.gz"),
        ("seg-gt_msk", root / "truth.nii.gz"),
    ):
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((at.peer / "data" / f"sub-ph6_{source}.nii.gz").read_bytes())
    return root


def second_phase(clean: LabelMap, truth: LabelMap, oracle: Callable[..., Any]) -> Any:
    """Instances and post-processing with the perfect network."""
    known, boxes = cutouts_of(clean, truth, oracle)
    raw = find_instances(clean, Perfect(known, oracle, boxes))
    return postprocess(clean, raw.labels, raw.agreement, instance_spacing_mm=SPACING)


def cutouts_of(clean: LabelMap, truth: LabelMap, oracle: Callable[..., Any]) -> tuple[np.ndarray, tuple[Any, ...]]:
    """The truth on the network's grid, and where the cutouts lie."""
    grid = instance_grid(clean.geometry, SPACING)
    known = resample(truth.labels.astype(np.uint8), truth.geometry, grid, order=0)
    corpora, _ = find_corpora(resample(clean.labels, clean.geometry, grid, order=0), grid.spacing_mm)
    return known, tuple(cutout_box(corpus, Perfect(known, oracle)) for corpus in corpora)


def run_corrupted(at: Setting) -> Path:
    """The published package on the corrupted phantom; its image is not among the data and is made again."""
    case, out = at.work / "sub-ph22_bad", at.work / "ph22_bad"
    for kind in ("sem", "gt"):
        name = f"sub-ph22_bad_seg-{kind}_msk.nii.gz"
        (at.work / name).write_bytes((at.peer / "data" / name).read_bytes())
    mask = nib.load(at.work / "sub-ph22_bad_seg-sem_msk.nii.gz")
    write(Path(f"{case}_T2w.nii.gz"), np.asarray(mask.dataobj).astype(np.int16), mask.affine)
    model = at.model("inst_new")
    run([str(at.published), str(at.peer / "run_oracle.py"), str(case), str(out), "--inst", str(model)])
    return out


def equal_row(name: str, ours: np.ndarray, theirs: np.ndarray, aside: np.ndarray | None = None, note: str = "") -> Row:
    other = (ours != theirs) if aside is None else (ours != theirs) & ~aside
    return Row(name, "voxels that differ", f"{int(other.sum())} of {other.size}{note}", not other.any())


def upright(scan: Scan) -> Scan:
    turn = Reorientation.between(scan.geometry.axes, PIR)
    return Scan(turn.apply(scan.image), turn.apply_geometry(scan.geometry), scan.source)


def stored_map(path: Path) -> LabelMap:
    mask = read_labels(path)
    turn = Reorientation.between(mask.geometry.axes, PIR)
    turned: Geometry = turn.apply_geometry(mask.geometry)
    return LabelMap(turn.apply(mask.labels), turned, Scheme.SEMANTIC)


def stored(path: Path) -> np.ndarray:
    return np.asarray(stored_map(path).labels)


PARTS: dict[str, Callable[[Setting], Iterator[Row]]] = {
    "reference": reference_rows,
    "semantic": semantic_rows,
    "logits": logits_rows,
    "oracle": oracle_rows,
    "whole": whole_rows,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shared = Path(os.environ.get("SPINEPS_SHARED", HERE.parents[1] / "shared"))
    parser.add_argument("--peer", type=Path, default=shared / "peer")
    parser.add_argument("--published", type=Path)
    parser.add_argument("--models", type=Path, action="append", default=[])
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--json", type=Path, help="write the rows there too")
    args = parser.parse_args()
    if not (args.peer / "reference").is_dir():
        print(f"{args.peer.name} is not there or holds no reference masks; nothing to compare with")
        return 0
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as work:
        os.environ["SPINEPS_MODELS"] = str(Path(work) / "models")
        setting = Setting(args.peer, args.published, (*args.models, args.peer / "models"), Path(work))
        for part in args.only:
            for row in PARTS[part](setting):
                rows.append(row)
                print(f"| {row.name} | {row.measure} | {row.found} | {'yes' if row.holds else 'NO'} |", flush=True)
    if args.json is not None:
        args.json.write_text(json.dumps([vars(row) for row in rows], indent=1))
    return 0 if all(row.holds for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
