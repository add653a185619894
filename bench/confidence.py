"""How sure is a run of each vertebra, and is it right as often as it says? Fits the calibration and draws how well it holds.

    python bench/confidence.py run --count 200     # segment held-out phantoms into bench/out; goes on where it was
    python bench/confidence.py fit                 # cross-validated figures, nothing written into the package
    python bench/confidence.py fit --write         # also spineps/stages/confidence.json and docs/images/confidence.png
    python bench/confidence.py names FIT SHOWN     # of names alone, from two levels.json of bench/levels.py of other seeds

Seeds are below 100000, those of training are not. Half of the phantoms are T2-weighted as most scans are; the other half have
every other contrast in turn, so that there are poor masks to tell from good ones. Run it again for every new bundled model.

Names need hundreds of fields of view and no masks of a network, so ``names`` takes those of ``bench/levels.py`` (true masks and
masks with errors): fitted on the first file, looked at on the second; with ``--write`` it changes the names' model alone and
draws docs/images/name_confidence.png.

A mask is right with a Dice of 0.8, a name if it is that of the true vertebra. A scan is well if every vertebra that its field
of view does not cut is found (IoU 0.5), nothing else is taken for one, and no name is wrong.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from spineps import api
from spineps.config import ComputeConfig, ExtraConfig, PipelineConfig
from spineps.errors import Finding, FindingCode, NoSpineError
from spineps.io import atomic
from spineps.labels import is_vertebra
from spineps.phantom.contrasts import Contrast
from spineps.phantom.phantom import Phantom, make_phantom
from spineps.pipeline import segment_scan
from spineps.stages.confidence import Logistic, calibration_from, certainty_map, name_signs, scan_signs, vertebra_signs
from spineps.volume import Levels, LevelStatus, Result, Vertebra

REPOSITORY = Path(__file__).parents[1]
DATA = REPOSITORY / "spineps" / "stages" / "confidence.json"
PLOT = REPOSITORY / "docs" / "images" / "confidence.png"
NAMES_PLOT = PLOT.with_name("name_confidence.png")
FIRST_SEED = 73_000
GOOD_IOU = 2 / 3  # a Dice of 0.8: such a mask is right
FOUND_IOU = 0.5  # such a vertebra is found, and its name can be judged (panoptic quality)
FARTHEST_SEED = 100  # seeds farther apart are of another run
FOLDS = 5
PENALTY = 1.0  # on squared weights of standardised signs
BINS = 8
MASK = ("agreement", "certainty", "evenness", "spacing", "solid", "whole")
ALONE = tuple(name for name in MASK if name != "certainty")
SCORE = ("masks", "weakest", "gap", "calm", "names")

Row = dict[str, Any]
Plain = dict[str, Any]


# ---- rows: a scan each


def measured(seed: int) -> Row:
    contrasts = [contrast for contrast in Contrast if contrast is not Contrast.T2W]
    contrast = Contrast.T2W if seed % 2 == 0 else contrasts[seed // 2 % len(contrasts)]
    phantom = make_phantom(seed, contrast=contrast)
    config = PipelineConfig(extras=ExtraConfig(softmax=True))
    start = time.perf_counter()
    try:
        result = segment_scan(phantom.scan, api.load_models(config.compute), config)
    except NoSpineError:
        return {"seed": seed, "contrast": contrast.value, "found": False}
    seconds = time.perf_counter() - start
    return {"seed": seed, "contrast": contrast.value, "found": True, "seconds": round(seconds, 1)} | compared(
        phantom, result, certainty_of(result)
    )


def certainty_of(result: Result) -> NDArray[np.uint8]:
    """As the pipeline has it; from the probabilities that it gives in half precision."""
    kept = result.extras.softmax
    seen = SimpleNamespace(full=SimpleNamespace(shape=kept.shape), geometry=kept.seen, box=kept.box)
    return certainty_map(kept.scores.max(axis=0).astype(np.float32), kept.grid, seen)


def compared(phantom: Phantom, result: Result, certainty: NDArray[np.uint8] | None) -> Row:
    """Signs of every vertebra and whether it is right; whether anything is wrong with the scan."""
    overlaps, truth = overlap_table(result.instance.labels, phantom.instance.labels)
    signs = vertebra_signs(result.vertebrae, result.instance, certainty)
    vertebrae = []
    for vertebra, own in zip(result.vertebrae, signs, strict=True):
        best, iou = best_match(overlaps, truth, vertebra.label, result)
        vertebrae.append(
            {
                "signs": own,
                "iou": iou,
                "true": phantom.levels.get(best) if iou > 0 else None,
                "label": vertebra.label,
                "name": vertebra.name,
                "posterior": result.levels.confidence(vertebra.label),
                "centroid_mm": vertebra.centroid_mm,
                "volume_ml": vertebra.volume_ml,
                "partial": vertebra.partial,
                "agreement": vertebra.agreement,
            }
        )
    matched = {v["true"] for v in vertebrae if v["iou"] >= FOUND_IOU}
    due = whole_levels(phantom)
    named = [v for v in vertebrae if v["name"] is not None]
    return {
        "vertebrae": vertebrae,
        "status": result.levels.status.value,
        "probability": result.levels.probability,
        "findings": [str(finding.code) for finding in result.findings],
        "missed": len(due - matched),
        "extra": sum(v["iou"] < FOUND_IOU and not v["partial"] for v in vertebrae),
        "misnamed": sum(v["name"] != v["true"] for v in named if v["iou"] >= FOUND_IOU),
    }


def whole_levels(phantom: Phantom) -> set[str]:
    """Vertebrae that the field of view does not cut above or below: those that a run must find."""
    labels = phantom.instance.labels
    inferior = phantom.instance.geometry.axes.index("I")
    cut = {int(v) for plane in (0, 1, -2, -1) for v in np.unique(labels.take(plane, inferior))}
    present = {int(v) for v in np.unique(labels)}
    return {phantom.levels[label] for label in present - cut if is_vertebra(label)}


def overlap_table(found: NDArray[Any], true: NDArray[Any]) -> tuple[dict[tuple[int, int], int], dict[int, int]]:
    """Voxels of each pair of labels, and of each true label."""
    pairs = np.bincount(found.reshape(-1).astype(np.int64) * 256 + true.reshape(-1))
    table = {divmod(int(key), 256): int(pairs[key]) for key in np.flatnonzero(pairs)}
    truth: dict[int, int] = {}
    for (_, label), voxels in table.items():
        truth[label] = truth.get(label, 0) + voxels
    return table, truth


def best_match(table: Mapping[tuple[int, int], int], truth: Mapping[int, int], label: int, result: Result) -> tuple[int, float]:
    """True vertebra with the largest IoU."""
    size = int(np.count_nonzero(result.instance.labels == label))
    ious = {
        true: voxels / (size + truth[true] - voxels)
        for (own, true), voxels in table.items()
        if own == label and is_vertebra(true)
    }
    best = max(ious, key=lambda true: ious[true], default=0)
    return best, ious.get(best, 0.0)


def collect(rows: Path, count: int, first_seed: int) -> None:
    done = {row["seed"] for row in read(rows)} if rows.exists() else set()
    rows.parent.mkdir(parents=True, exist_ok=True)
    for seed in range(first_seed, first_seed + count):
        if seed in done:
            continue
        row = measured(seed)
        with rows.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        told = f"{len(row['vertebrae'])} vertebrae, {row['missed']} missed, {row['extra']} poor" if row["found"] else "no spine"
        print(f"{seed} {row['contrast']}: {told}", flush=True)


def read(rows: Path) -> list[Row]:
    return [json.loads(line) for line in rows.read_text(encoding="utf-8").splitlines()]


# ---- fits


def fitted(signs: Sequence[Mapping[str, float]], right: Sequence[bool], names: Sequence[str]) -> Plain:
    """Logistic model of standardised signs with weights of at least 0, a small penalty on them."""
    means = {n: float(np.mean([s[n] for s in signs if n in s] or [0.0])) for n in names}
    spreads = {n: max(1e-3, float(np.std([s[n] for s in signs if n in s] or [1.0]))) for n in names}
    x = np.array([[(s.get(n, means[n]) - means[n]) / spreads[n] for n in names] for s in signs]).reshape(len(signs), len(names))
    best = minimised(x, np.array(right, float), np.ones(len(signs)), np.zeros(1 + len(names)), free_bias=True)
    terms = {
        n: {"mean": round(means[n], 5), "spread": round(spreads[n], 5), "weight": round(float(w), 4)}
        for n, w in zip(names, best[1:], strict=True)
    }
    return {"bias": round(float(best[0]), 4), "terms": terms}


def minimised(
    x: NDArray[np.float64], y: NDArray[np.float64], cases: NDArray[np.float64], prior: NDArray[np.float64], *, free_bias: bool
) -> NDArray[np.float64]:
    """Bias and weights of the penalised likelihood; ``cases`` is what each row counts, ``prior`` what costs nothing."""
    penalty = PENALTY * np.ones(len(prior))
    penalty[0] = 0.0 if free_bias else PENALTY

    def loss(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        odds = parameters[0] + x @ parameters[1:]
        wrong = cases * (1 / (1 + np.exp(-odds)) - y)
        away = parameters - prior
        value = cases @ (np.logaddexp(0, odds) - y * odds) + 0.5 * penalty @ away**2
        return float(value), np.concatenate([[wrong.sum()], x.T @ wrong]) + penalty * away

    bounds = [(-8.0, 8.0), *[(0.0, None)] * x.shape[1]]
    found: NDArray[np.float64] = minimize(loss, prior, jac=True, method="L-BFGS-B", bounds=bounds).x
    return found


def model_of(plain: Plain) -> Logistic:
    everything = dict.fromkeys(("mask", "mask_alone", "name", "score", "score_alone"), plain)
    return calibration_from(everything).mask


def folds(rows: Sequence[Row]) -> Iterator[tuple[list[Row], list[Row]]]:
    """Scans to fit on, and those to look at."""
    for k in range(FOLDS):
        yield [r for i, r in enumerate(rows) if i % FOLDS != k], [r for i, r in enumerate(rows) if i % FOLDS == k]


def fit_mask(rows: Sequence[Row], names: Sequence[str]) -> Plain:
    vertebrae = [v for row in rows for v in row["vertebrae"]]
    return fitted([v["signs"] for v in vertebrae], [v["iou"] >= GOOD_IOU for v in vertebrae], names)


def named_in(rows: Sequence[Row]) -> list[Row]:
    return [v for row in rows for v in row["vertebrae"] if v["name"] is not None and v["iou"] >= FOUND_IOU]


def fit_name(rows: Sequence[Row]) -> Plain:
    """How far the solver's posteriors can be believed: as they are, unless the scans say otherwise.

    The names of a scan are right or wrong together, so that all of a scan's count as one case.
    """
    groups = [[(v["posterior"], v["name"] == v["true"]) for v in named] for row in rows if (named := named_in([row]))]
    return fit_posteriors(groups)


def fit_posteriors(groups: Sequence[Sequence[tuple[float, bool]]]) -> Plain:
    """The same from pairs of posterior and whether the name is right, a group a scan."""
    pairs = [pair for group in groups for pair in group]
    x = np.array([name_signs(posterior)["posterior"] for posterior, _ in pairs]).reshape(-1, 1)
    y = np.array([right for _, right in pairs], float)
    cases = np.array([1 / len(group) for group in groups for _ in group])
    bias, weight = minimised(x, y, cases, np.array([0.0, 1.0]), free_bias=False)
    term = {"mean": 0.0, "spread": 1.0, "weight": round(float(weight), 4)}
    return {"bias": round(float(bias), 4), "terms": {"posterior": term}}


def signs_of_scan(row: Row, model: Logistic) -> dict[str, float]:
    vertebrae = [
        Vertebra(
            v["label"],
            v["name"],
            tuple(v["centroid_mm"]),
            v["volume_ml"],
            v["agreement"],
            v["partial"],
            model.probability(v["signs"]),
        )
        for v in row["vertebrae"]
    ]
    names = {v["label"]: v["name"] for v in row["vertebrae"] if v["name"] is not None}
    levels = Levels(LevelStatus(row["status"]), names, probability=row["probability"])
    return scan_signs(vertebrae, levels, [Finding(FindingCode(code), "") for code in row["findings"]])


def all_well(row: Row) -> bool:
    return not (row["missed"] or row["extra"] or row["misnamed"])


def fit_score(rows: Sequence[Row], mask: Plain) -> Plain:
    model = model_of(mask)
    return fitted([signs_of_scan(row, model) for row in rows], [all_well(row) for row in rows], SCORE)


def fit_all(rows: Sequence[Row]) -> dict[str, Plain]:
    masks = {"mask": fit_mask(rows, MASK), "mask_alone": fit_mask(rows, ALONE)}
    scores = {name.replace("mask", "score"): fit_score(rows, plain) for name, plain in masks.items()}
    return {**masks, "name": fit_name(rows), **scores}


def foretold(rows: Sequence[Row]) -> dict[str, tuple[NDArray[np.float64], NDArray[np.bool_]]]:
    """Probabilities for scans that the models were not fitted on, and what was true."""
    pairs: dict[str, list[tuple[float, bool]]] = {name: [] for name in ("mask", "mask_alone", "name", "score", "score_alone")}
    for known, new in folds(rows):
        models = {name: model_of(plain) for name, plain in fit_all(known).items()}
        for row in new:
            for name in ("mask", "mask_alone"):
                pairs[name] += [(models[name].probability(v["signs"]), v["iou"] >= GOOD_IOU) for v in row["vertebrae"]]
                score = name.replace("mask", "score")
                pairs[score].append((models[score].probability(signs_of_scan(row, models[name])), all_well(row)))
            pairs["name"] += [
                (models["name"].probability(name_signs(v["posterior"])), v["name"] == v["true"]) for v in named_in([row])
            ]
    return {name: (np.array([p for p, _ in found]), np.array([t for _, t in found], bool)) for name, found in pairs.items()}


# ---- figures


def figures(said: NDArray[np.float64], true: NDArray[np.bool_]) -> dict[str, float]:
    bins = reliability(said, true)
    off = sum(n * abs(mean - share) for mean, share, n in bins) / max(1, len(said))
    order = np.argsort(np.argsort(said, kind="stable")) + 1
    good, bad = int(true.sum()), int((~true).sum())
    auc = (order[true].sum() - good * (good + 1) / 2) / (good * bad) if good and bad else float("nan")
    return {
        "cases": len(said),
        "right": float(true.mean()) if len(true) else float("nan"),
        "said": float(said.mean()) if len(said) else float("nan"),
        "calibration_error": off,
        "brier": float(((said - true) ** 2).mean()) if len(said) else float("nan"),
        "auc": float(auc),
    }


def reliability(said: NDArray[np.float64], true: NDArray[np.bool_]) -> list[tuple[float, float, int]]:
    """Mean probability, share that was right and number, for groups of about equal size."""
    parts = [part for part in np.array_split(np.argsort(said, kind="stable"), BINS) if len(part)]
    return [(float(said[part].mean()), float(true[part].mean()), len(part)) for part in parts]


def draw(pairs: Mapping[str, tuple[NDArray[np.float64], NDArray[np.bool_]]], target: Path) -> None:
    from io import BytesIO

    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.2 * len(pairs), 3.5), dpi=110, layout="constrained")
    for axes, (title, (said, true)) in zip(figure.subplots(1, len(pairs)), pairs.items(), strict=True):
        axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
        if len(said):
            for mean, share, n in reliability(said, true):
                half = 1.96 * np.sqrt(max(share * (1 - share), 0.25 / n) / n)
                axes.plot([mean, mean], [max(0, share - half), min(1, share + half)], color="#2f6fb0", linewidth=1.5)
                axes.plot(mean, share, "o", color="#2f6fb0", markersize=5)
        axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", title=f"{title} (n = {len(said)})", xlabel="confidence")
    figure.axes[0].set_ylabel("share that was right")
    out = BytesIO()
    FigureCanvasAgg(figure).print_png(out, metadata={"Software": None})
    atomic.write_bytes(target, out.getvalue())


def groups_of(levels: Path) -> list[list[tuple[float, bool]]]:
    """Pairs of posterior and whether the name is right, a group a field of view as people have them."""
    outcomes = json.loads(levels.read_text(encoding="utf-8"))["outcomes"]
    return [
        [(p, name == true) for p, name, true in zip(o["posteriors"], o["best"], o["truth"], strict=True)]
        for o in outcomes
        if o["drawn"] == "any" and o["best"]
    ]


def report_names(fit: Path, shown: Path, *, write: bool) -> None:
    """Fit the names' model on one file of outcomes, look at it on another."""
    known, new = groups_of(fit), groups_of(shown)
    seeds = [{o["seed"] for o in json.loads(path.read_text(encoding="utf-8"))["outcomes"]} for path in (fit, shown)]
    if seeds[0] & seeds[1]:
        raise SystemExit("the two files share phantoms: run bench/levels.py once more with another --seed")
    plain = fit_posteriors(known)
    model = model_of(plain)
    pairs = [pair for group in new for pair in group]
    true = np.array([right for _, right in pairs], bool)
    before = np.array([posterior for posterior, _ in pairs])
    said = np.array([model.probability(name_signs(posterior)) for posterior in before])
    told = {"posterior": figures(before, true), "confidence": figures(said, true)}
    print("| what | " + " | ".join(told["posterior"]) + " |\n|" + "---|" * 7)
    for name, numbers in told.items():
        print(f"| {name} | " + " | ".join(f"{value:.4g}" for value in numbers.values()) + " |")
    print(f"fields: {len(known)} fitted, {len(new)} looked at; bias {plain['bias']}, {plain['terms']}")
    target = NAMES_PLOT if write else shown.with_name("name_confidence.png")
    draw({"Solver's posterior": (before, true), "Confidence of the name": (said, true)}, target)
    print(f"plot: {target}")
    if write:
        data = json.loads(DATA.read_text(encoding="utf-8"))
        data["models"]["name"] = plain
        data["cross_validated"]["name"] = {key: round(value, 4) for key, value in told["confidence"].items()}
        data["names"] = {"fitted": f"{len(known)} fields, seeds {span(seeds[0])}", "shown": f"{len(new)}, {span(seeds[1])}"}
        atomic.write_text(DATA, json.dumps(data, indent=1) + "\n")
        print(f"written: {DATA.name}")


def span(seeds: set[int]) -> str:
    """Ranges of seeds, such as ``42000 to 42039``."""
    ordered = sorted(seeds)
    breaks = [k for k in range(1, len(ordered)) if ordered[k] - ordered[k - 1] > FARTHEST_SEED]
    parts = [ordered[a:b] for a, b in zip([0, *breaks], [*breaks, len(ordered)], strict=True)]
    return ", ".join(f"{part[0]} to {part[-1]}" for part in parts)


def report(rows: Path, *, write: bool, plot: Path) -> None:
    scans = [row for row in read(rows) if row["found"]]
    pairs = foretold(scans)
    print("| what | " + " | ".join(figures(*pairs["mask"])) + " |")
    print("|" + "---|" * 7)
    for name, pair in pairs.items():
        print(f"| {name} | " + " | ".join(f"{value:.3f}".rstrip("0").rstrip(".") for value in figures(*pair).values()) + " |")
    models = fit_all(scans)
    for name, plain in models.items():
        weights = ", ".join(f"{sign} {term['weight']}" for sign, term in plain["terms"].items())
        print(f"{name}: bias {plain['bias']}, weights {weights}")
    titles = {"mask": "Masks of vertebrae", "name": "Names of vertebrae", "score": "Scans: nothing wrong"}
    draw({title: pairs[name] for name, title in titles.items()}, plot)
    print(f"plot: {plot}")
    if write:
        seeds = [row["seed"] for row in scans]
        made = {name: model["weights_sha256"] for name, model in api.load_models(ComputeConfig()).provenance.items()}
        data = {
            "format": 1,
            "command": f"python bench/confidence.py fit --write, after run --count {len(seeds)} --first-seed {min(seeds)}",
            "scans": len(seeds),
            "vertebrae": sum(len(row["vertebrae"]) for row in scans),
            "right_iou": round(GOOD_IOU, 4),
            "weights_sha256": made,
            "cross_validated": {name: {k: round(v, 4) for k, v in figures(*pair).items()} for name, pair in pairs.items()},
            "models": models,
        }
        kept = json.loads(DATA.read_text(encoding="utf-8"))
        if "names" in kept:  # fitted on hundreds of fields, which these few scans do not overrule
            data["names"], data["models"]["name"] = kept["names"], kept["models"]["name"]
            data["cross_validated"]["name"] = kept["cross_validated"]["name"]
        atomic.write_text(DATA, json.dumps(data, indent=1).replace("NaN", "null") + "\n")
        print(f"written: {DATA.name}")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "fit", "names"))
    parser.add_argument("levels", type=Path, nargs="*", metavar="LEVELS_JSON", help="to fit on and to look at (names)")
    parser.add_argument("--rows", type=Path, default=REPOSITORY / "bench" / "out" / "confidence.jsonl")
    parser.add_argument("--count", type=int, default=100, help="phantoms (run)")
    parser.add_argument("--first-seed", type=int, default=FIRST_SEED)
    parser.add_argument("--write", action="store_true", help="write the calibration into the package, the plot into docs (fit)")
    args = parser.parse_args(argv)
    if args.what == "run":
        collect(args.rows, args.count, args.first_seed)
    elif args.what == "names":
        if len(args.levels) != 2:
            parser.error("names takes two levels.json of bench/levels.py: one to fit on, one to look at")
        report_names(*args.levels, write=args.write)
    else:
        report(args.rows, write=args.write, plot=PLOT if args.write else args.rows.with_suffix(".png"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
