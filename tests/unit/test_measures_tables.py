"""The table and the JSON of measurements, and what a cohort makes of them level by level."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from spineps.cohort.by_level import BY_LEVEL, MEASURES, by_level, write_by_level
from spineps.cohort.joined import Joined, write_joined_measures
from spineps.labels import DISC_OFFSET
from spineps.measures import QUANTITIES
from spineps.outputs.measures import HEADER, measures_json, measures_tsv
from spineps.outputs.save import save
from spineps.volume import Levels, LevelStatus, Result, StructureMeasures
from tests.unit.handmade import made_result

UNITS = ("_mm", "_mm2", "_ml", "_deg", "_percent", "_ratio", "_index")


def measured(status: LevelStatus = LevelStatus.NAMED, *, height: float = 25.0, flags: tuple[str, ...] = ()) -> Result:
    names = {} if status is LevelStatus.NUMBERED else {2: "L1", 3: "L2", 4: "L3"}
    levels = Levels(
        status,
        names,
        {label: {name: 0.97} for label, name in names.items()},
        best=tuple(names.values()),
        runner_up=("T12", "L1", "L2") if names else (),
        odds=40.0,
    )
    rows = [
        StructureMeasures("vertebra", 2, names.get(2), {"volume_ml": 40.12345, "height_middle_mm": height}, flags),
        StructureMeasures("disc", DISC_OFFSET + 2, "L1-L2" if names else None, {"slip_mm": -0.004}, (), ("slip_mm",)),
        StructureMeasures("canal", None, None, {"volume_ml": 9.0}, ("cut",)),
    ]
    return replace(made_result(), levels=levels, measures=tuple(rows))


def table(result: Result) -> list[dict[str, str]]:
    return list(csv.DictReader(measures_tsv(result).splitlines(), delimiter="\t"))


def test_a_row_a_structure_with_units_in_the_headers() -> None:
    rows = table(measured())
    assert list(rows[0]) == [*HEADER, *QUANTITIES]
    assert all(name.endswith(UNITS) for name in QUANTITIES)
    assert [row["structure"] for row in rows] == ["vertebra", "disc", "canal"]
    first, disc, canal = rows
    assert (first["level"], first["level_status"], first["level_probability"]) == ("L1", "named", "0.97")
    assert (first["level_runner_up"], first["level_odds"]) == ("T12", "40.0")
    assert (first["volume_ml"], first["height_middle_mm"], first["wedge_deg"]) == ("40.123", "25.00", "n/a")
    assert (disc["level"], disc["too_thick_for"], disc["slip_mm"]) == ("L1-L2", "slip_mm", "0.00")
    assert (canal["label"], canal["flags"], canal["level_probability"]) == ("n/a", "cut", "n/a")


def test_numbered_rows_say_so_in_every_row() -> None:
    rows = table(measured(LevelStatus.NUMBERED))
    assert {row["level_status"] for row in rows} == {"numbered"}
    assert {row["level"] for row in rows} == {"n/a"}


def test_json_holds_the_same_and_the_meanings() -> None:
    document = json.loads(json.dumps(measures_json(measured(flags=("cut",)))))
    assert document["columns"].keys() == QUANTITIES.keys()
    first = document["structures"][0]
    assert (first["structure"], first["level"], first["volume_ml"], first["flags"]) == ("vertebra", "L1", 40.123, ["cut"])
    assert "wedge_deg" not in first


def test_files_beside_the_masks_with_their_hashes_in_the_record(tmp_path: Path) -> None:
    saved = save(measured(), tmp_path, prefix="sub-X_mod-T2w")
    assert saved.measures == tmp_path / "sub-X_mod-T2w_measures.tsv"
    assert saved.measures.read_text(encoding="utf-8") == measures_tsv(measured())
    assert {"measures", "measures_json"} <= json.loads(saved.record.read_text())["outputs"].keys()
    without = save(made_result(), tmp_path / "other", prefix="sub-X_mod-T2w")
    assert without.measures is None
    assert without.measures_json is None


def test_levels_are_joined_over_scans_without_what_is_flagged() -> None:
    scans = [measured(height=24.0), measured(height=26.0), measured(height=99.0, flags=("body_cut",)), measured(height=1.0)]
    scans[3] = measured(LevelStatus.NUMBERED, height=1.0)
    rows = by_level(row for scan in scans for row in table(scan))
    found = {(row["structure"], row["level"], row["measure"]): row for row in rows}
    height = found["vertebra", "L1", "height_middle_mm"]
    assert (height["n"], height["mean"], height["least"], height["most"], height["left_out"]) == (2, 25.0, 24.0, 26.0, 1)
    assert height["sd"] == pytest.approx(2**0.5, abs=1e-3)
    assert found["vertebra", "L1", "volume_ml"]["n"] == 3  # the body is cut, the field of the volume is the whole vertebra's
    assert (found["disc", "L1-L2", "slip_mm"]["n"], found["disc", "L1-L2", "slip_mm"]["left_out"]) == (0, 3)
    assert {row["level"] for row in rows} == {"L1", "L1-L2"}


def test_numbered_rows_are_never_joined_by_level() -> None:
    numbered = [{**row, "level": "2"} for row in table(measured(LevelStatus.NUMBERED))]  # not even where a table was edited
    assert by_level(numbered) == []


def test_the_group_table_is_read_and_written(tmp_path: Path) -> None:
    assert write_by_level(tmp_path) == 0
    (tmp_path / MEASURES).write_text(measures_tsv(measured()), encoding="utf-8")
    assert write_by_level(tmp_path) == 3
    rows = list(csv.DictReader((tmp_path / BY_LEVEL).read_text(encoding="utf-8").splitlines(), delimiter="\t"))
    assert {row["measure"] for row in rows} == {"volume_ml", "height_middle_mm", "slip_mm"}


def test_group_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from spineps.cli import main

    for number, height in enumerate((24.0, 26.0)):
        save(measured(height=height), tmp_path / f"sub-{number}", prefix=f"sub-{number}_mod-T2w")
    assert main(["group", str(tmp_path)]) == 0
    named = capsys.readouterr().out
    for table_name, rows in ((MEASURES, 6), (BY_LEVEL, 3)):
        assert table_name in named
        assert len((tmp_path / table_name).read_text(encoding="utf-8").splitlines()) == rows + 1
    assert (
        (tmp_path / MEASURES).read_text(encoding="utf-8").splitlines()[1].startswith("sub-0\tn/a\tsub-0_mod-T2w\tvertebra\t2")
    )
    assert main(["group", str(tmp_path / "empty")]) == 3


def test_a_table_that_its_record_does_not_vouch_for_is_left_out(tmp_path: Path) -> None:
    for number in range(2):
        save(measured(), tmp_path, prefix=f"sub-{number}_mod-T2w")
    edited = tmp_path / "sub-1_mod-T2w_measures.tsv"
    edited.write_text(edited.read_text(encoding="utf-8").replace("25.00", "52.00"), encoding="utf-8")
    save(made_result(), tmp_path, prefix="sub-2_mod-T2w")
    assert write_joined_measures(tmp_path) == Joined(scans=1, rows=3, left_out=2)
    assert "52.00" not in (tmp_path / MEASURES).read_text(encoding="utf-8")


def test_every_column_is_defined_in_the_documentation(repository: Path) -> None:
    text = (repository / "docs" / "measurements.md").read_text(encoding="utf-8")
    defined = set(re.findall(r"`(\w+)`", text))
    assert not QUANTITIES.keys() - defined
