"""The fit of the calibration: on cases of known probability it says that probability."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from spineps.labels import Scheme
from spineps.volume import LabelMap
from tests.unit.handmade import made_result


@pytest.fixture(scope="module")
def bench(repository: Path) -> ModuleType:
    place = repository / "bench" / "confidence.py"
    spec = importlib.util.spec_from_file_location("bench_confidence", place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def rows(scans: int = 400, seed: int = 0) -> list[dict[str, Any]]:
    """Scans whose masks are right with a probability that follows from two signs."""
    rng = np.random.default_rng(seed)
    made = []
    for number in range(scans):
        vertebrae = []
        for k in range(6):
            agreement, certainty = rng.normal(0.85, 0.08), rng.normal(2.5, 0.5)
            right = rng.random() < 1 / (1 + np.exp(-(1.5 + 12 * (agreement - 0.85) + 2 * (certainty - 2.5))))
            posterior = float(rng.uniform(0.4, 0.999))
            vertebrae.append(
                {
                    "signs": {"agreement": agreement, "certainty": certainty, "whole": 1.0, "solid": 1.0},
                    "iou": 0.8 if right else 0.2,
                    "true": "L1" if rng.random() < posterior else "L2",
                    "label": k + 2,
                    "name": "L1",
                    "posterior": posterior,
                    "centroid_mm": [0.0, 0.0, -30.0 * k],
                    "volume_ml": 40.0,
                    "partial": False,
                    "agreement": agreement,
                }
            )
        poor = sum(v["iou"] < 0.5 for v in vertebrae)
        made.append(
            {
                "seed": number,
                "found": True,
                "vertebrae": vertebrae,
                "status": "named",
                "probability": 0.9,
                "findings": [],
                "missed": 0,
                "extra": poor,
                "misnamed": 0,
            }
        )
    return made


def test_probabilities_hold_on_scans_that_were_not_fitted(bench: ModuleType) -> None:
    pairs = bench.foretold(rows())
    for name in ("mask", "mask_alone", "name"):
        assert bench.figures(*pairs[name])["calibration_error"] < 0.08, name
    assert bench.figures(*pairs["mask"])["auc"] > bench.figures(*pairs["mask_alone"])["auc"] > 0.6
    assert bench.figures(*pairs["score"])["auc"] > 0.65


def test_a_sign_that_misleads_gets_no_weight(bench: ModuleType) -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(size=400)
    plain = bench.fitted([{"a": float(v)} for v in values], list(values < 0), ("a",))
    assert plain["terms"]["a"]["weight"] == 0


def test_what_is_written_is_what_the_package_reads(bench: ModuleType, tmp_path: Path, capsys: Any) -> None:
    place = tmp_path / "rows.jsonl"
    place.write_text("".join(json.dumps(row) + "\n" for row in [*rows(40), {"seed": 99, "found": False}]))
    assert bench.main(["fit", "--rows", str(place)]) == 0
    assert place.with_suffix(".png").stat().st_size > 10_000
    assert "| mask | 240 |" in capsys.readouterr().out


def outcomes(target: Path, first_seed: int, fields: int = 400) -> Path:
    """What bench/levels.py writes; the names' posteriors have log odds twice as large as they should."""
    rng = np.random.default_rng(first_seed)
    made = []
    for seed in range(first_seed, first_seed + fields):
        odds = float(rng.uniform(-1, 3))
        name = "L1" if rng.random() < 1 / (1 + np.exp(-odds)) else "L2"
        field = {"seed": seed, "drawn": "any", "best": ["L1"], "truth": [name], "posteriors": [1 / (1 + np.exp(-2 * odds))]}
        made += [field, {**field, "drawn": "t13", "truth": ["T12"]}]
    target.write_text(json.dumps({"outcomes": made}))
    return target


def test_names_are_fitted_on_one_file_and_looked_at_on_another(bench: ModuleType, tmp_path: Path, capsys: Any) -> None:
    fit, shown = outcomes(tmp_path / "fit.json", 0), outcomes(tmp_path / "shown.json", 1000)
    before = bench.DATA.read_bytes()
    assert bench.main(["names", str(fit), str(shown)]) == 0
    said = capsys.readouterr().out
    assert "400 fitted, 400 looked at" in said
    weight = bench.fit_posteriors(bench.groups_of(fit))["terms"]["posterior"]["weight"]
    assert weight == pytest.approx(0.5, abs=0.1)
    errors = {line.split(" | ")[0]: float(line.split(" | ")[4]) for line in said.splitlines() if "| 400 |" in line}
    assert errors["| confidence"] < errors["| posterior"]
    assert bench.DATA.read_bytes() == before
    assert (tmp_path / "name_confidence.png").stat().st_size > 5_000


def test_names_are_not_looked_at_where_they_were_fitted(bench: ModuleType, tmp_path: Path) -> None:
    fit = outcomes(tmp_path / "fit.json", 0, 20)
    with pytest.raises(SystemExit, match="share phantoms"):
        bench.main(["names", str(fit), str(fit)])


def test_a_perfect_result_is_right(bench: ModuleType) -> None:
    result = made_result(3, names=True)
    truth = np.where(result.instance.labels < 100, result.instance.labels, 0).astype(np.uint8)
    levels = {v.label: v.name for v in result.vertebrae}
    phantom = bench.Phantom(
        scan=result.scan,
        semantic=result.semantic,
        instance=LabelMap(truth, result.instance.geometry, Scheme.INSTANCE),
        levels=levels,
        seed=0,
    )
    row = bench.compared(phantom, result, np.full(truth.shape, 200, np.uint8))
    assert [v["iou"] for v in row["vertebrae"]] == [1.0] * 3
    assert (row["missed"], row["extra"], row["misnamed"]) == (0, 0, 0)
    assert json.loads(json.dumps(row)) is not None
