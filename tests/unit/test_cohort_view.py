"""What is said of a run over many scans, its settings from the command line, and the tables that it leaves."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from spineps.cli import build_parser, cohort_options
from spineps.cli.cohort_view import LINE_S, LineView, TableView, summary
from spineps.cli.console import Console, Verbosity
from spineps.cohort.files import KnownFiles
from spineps.cohort.group import SCANS, VERTEBRAE, write_group_tables
from spineps.cohort.proof import Keys, proven
from spineps.cohort.settings import CohortReport, ScanReport, ScanState
from spineps.cohort.sidecars import as_tsv
from spineps.errors import ErrorCode, ExitCode, InputError, UsageError


class Clock:
    """Seconds that pass when told to."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def report(state: ScanState, code: ErrorCode | None = None, seconds: float = 2.0) -> ScanReport:
    return ScanReport(
        "0123456789ab", Path("a/sub-CANARY_T2w.nii"), "sub-CANARY_mod-T2w", state, code, "The scan\nis bad.", seconds
    )


def test_lines(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    view = LineView(Console(Verbosity.VERBOSE), clock=clock)
    view.planned([report(ScanState.UP_TO_DATE)], 3)
    view.started("0123456789ab", 0)
    clock.now += LINE_S / 2
    view.finished(report(ScanState.FAILED, ErrorCode.NO_SPINE), waiting=2)
    view.finished(report(ScanState.DONE), waiting=1)
    view.tick()
    clock.now += LINE_S / 2
    view.tick()
    said = capsys.readouterr().err
    assert "4 scans: 3 to do, 1 up to date, 0 failed, 0 excluded" in said
    assert "NO_SPINE: case 0123456789ab: The scan\\nis bad." in said
    assert "2 computed, 1 failed, 1 left, 120 scans an hour, 0 min left" in said
    assert said.count("scans an hour") == 1
    assert "CANARY" not in said


def test_table(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console as Terminal
    from rich.live import Live

    screen = io.StringIO()
    with Live(console=Terminal(file=screen, force_terminal=True, width=100), auto_refresh=False) as live:
        view = TableView(Console(), live)
        view.planned([], 5)
        view.started("0123456789ab", 1)
        view.stage("0123456789ab", 1, "semantic")
        view.finished(report(ScanState.DONE), waiting=4)
        view.started("[bold]ab", 0)
        view.tick()
        live.refresh()
    assert "worker 1" in screen.getvalue()
    assert "[bold]ab" in screen.getvalue()
    assert "time left" in screen.getvalue()


@pytest.mark.parametrize(
    ("states", "code"),
    [
        ([ScanState.DONE, ScanState.UP_TO_DATE, ScanState.EXCLUDED], ExitCode.OK),
        ([ScanState.DONE, ScanState.CLAIMED], ExitCode.CLAIMED),
        ([ScanState.FAILED, ScanState.CLAIMED], ExitCode.COHORT_INCOMPLETE),
    ],
)
def test_exit_codes(states: list[ScanState], code: ExitCode) -> None:
    done = CohortReport(Path(), tuple(report(state) for state in states))
    assert done.exit_code is code
    assert summary(done).startswith(f"{len(states)} scans: ")


# ---- settings from the command line


def parsed(*arguments: str) -> Any:
    return build_parser().parse_args(["dataset", "-i", "data", *arguments])


def test_settings_of_the_command_line() -> None:
    args = parsed(
        "--jobs", "3", "--time-limit", "2", "--memory-limit", "4", "--participant-label", "01", "sub-02", "-oi", "--no-wait"
    )
    settings = cohort_options.settings_of(args)
    assert settings.machine.jobs == 3
    assert settings.machine.time_limit_s == 120
    assert settings.machine.memory_limit_gb == 4
    assert not settings.machine.wait
    assert settings.select.participants == ("01", "sub-02")
    assert settings.select.modalities == ("T2w",)
    assert settings.redo_instances
    assert not settings.redo


def test_no_limits() -> None:
    machine = cohort_options.settings_of(parsed("--time-limit", "0")).machine
    assert machine.time_limit_s is None
    assert machine.memory_limit_gb is None


def test_older_published_spellings() -> None:
    args = build_parser().parse_args(
        ["dataset", "-directory", "data", "-raw_name", "raw", "-der_name", "out", "-override_semantic", "-nocrop"]
    )
    settings = cohort_options.settings_of(args)
    assert settings.redo
    assert not settings.scan.pipeline.preprocess.crop
    assert (args.rawdata_name, args.derivative_name) == ("raw", "out")


def test_auto_models_look_for_t1w_as_well() -> None:
    assert cohort_options.settings_of(parsed("-ms", "auto")).by_modality.keys() == {"T2w", "T1w"}


@pytest.mark.parametrize("arguments", [("--jobs", "0"), ("--time-limit", "-1"), ("--memory-limit", "nan")])
def test_senseless_limits_are_refused(arguments: tuple[str, str]) -> None:
    with pytest.raises(SystemExit):
        parsed(*arguments)


def test_a_filter_file_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        cohort_options.settings_of(parsed("--bids-filter-file", str(tmp_path / "none.json")))


# ---- tables


def record(folder: Path, prefix: str, **content: Any) -> Path:
    """Write the record of a scan."""
    whole = {"record_format": 1, "status": "DONE", "spineps": "0", "outputs": {}, "vertebrae": [], "findings": [], **content}
    place = folder / prefix.split("_", maxsplit=1)[0] / f"{prefix}_run.json"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(json.dumps(proven(whole, Keys("a", "b"))))
    return place


def test_group_tables(tmp_path: Path) -> None:
    vertebrae = [{"label": 20, "name": "L1", "centroid_mm": [1.0, 2.0, 3.0], "volume_ml": 30.5}, {"label": 21, "name": None}]
    first = record(tmp_path, "sub-1_ses-2_mod-T2w", vertebrae=vertebrae, outputs={"levels": "x"}, score=0.5)
    first.with_name("sub-1_ses-2_mod-T2w_levels.tsv").write_text("label\tname\n20\tL1\n")
    record(tmp_path, "sub-2_mod-T2w", status="NO_SPINE", findings=[{"code": "SHEAR", "message": "x"}])
    second = record(tmp_path, "sub-3_mod-T2w")
    second.write_text(second.read_text().replace("DONE", "done"))  # no record of ours any more
    assert write_group_tables(tmp_path) == {SCANS: 2, VERTEBRAE: 2, "group_levels.tsv": 1}
    scans = [line.split("\t") for line in (tmp_path / SCANS).read_text().splitlines()]
    assert scans[0][:5] == ["participant_id", "session_id", "scan", "status", "code"]
    assert scans[1][:5] == ["sub-1", "ses-2", "sub-1_ses-2_mod-T2w", "done", "n/a"]
    assert scans[2][3:5] == ["failed", "NO_SPINE"]
    assert dict(zip(scans[0], scans[1], strict=True))["score"] == "0.5"
    table = [line.split("\t") for line in (tmp_path / VERTEBRAE).read_text().splitlines()]
    assert table[0] == [
        "participant_id",
        "session_id",
        "scan",
        "label",
        "name",
        "centroid_r_mm",
        "centroid_a_mm",
        "centroid_s_mm",
        "volume_ml",
    ]
    assert table[2][3:] == ["21", "n/a", "n/a", "n/a", "n/a", "n/a"]


def test_group_tables_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no run record"):
        write_group_tables(tmp_path)


def test_cells_keep_their_row() -> None:
    assert as_tsv(("a", "b"), [{"a": "x\ty\nz", "b": True}, {"b": None}]) == "a\tb\nx y z\ttrue\nn/a\tn/a\n"


def test_known_files_of_nothing(tmp_path: Path) -> None:
    KnownFiles(tmp_path / "none.json").save()
    assert not (tmp_path / "none.json").exists()
