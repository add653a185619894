"""The command line's promises: exit codes, one line on stderr, a crash file without names, and a fast start without torch."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from spineps.cli import main, version
from spineps.cli.console import Console, Verbosity, one_line
from spineps.cli.crash import crash_text, scrubbed
from spineps.cli.instance import read_label_map
from spineps.cli.options import existing_or_with_suffix
from spineps.errors import (
    ErrorCode,
    Finding,
    FindingCode,
    InputError,
    ModelError,
    NoSpineError,
    OutputError,
    ResourceError,
    SpinepsError,
    UsageError,
)

HEAVY = ("torch", "numpy", "nibabel", "scipy", "matplotlib", "TPTBox", "rich", "pydantic")


def fail_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Let ``spineps version`` fail."""

    def run(_args: argparse.Namespace) -> int:
        raise error

    monkeypatch.setattr(version, "run", run)


@pytest.mark.parametrize(
    "code",
    [
        "import spineps",
        "import spineps; spineps.__version__; spineps.PipelineConfig; spineps.SpinepsError",
        "from spineps.cli import main; assert main(['--help']) == 0",
        "from spineps.cli import main; assert main(['sample', '--help']) == 0",
        "from spineps.cli import main; assert main(['sample']) == 2",
    ],
)
def test_start_without_heavy_packages(code: str) -> None:
    check = f"import sys; {code}; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_every_public_name_can_be_had() -> None:
    import spineps

    assert len(set(spineps.__all__)) == len(spineps.__all__)
    for name in spineps.__all__:
        assert getattr(spineps, name) is not None
    assert set(spineps.__all__) <= set(dir(spineps))


@pytest.mark.parametrize("arguments", [["--help"], *([command, "--help"] for command in ("sample", "instance", "version"))])
def test_help(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 0
    assert "usage: spineps" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nonsense"],
        ["sample"],
        ["sample", "-i", "x.nii", "--step-size", "0"],
        ["sample", "-i", "x.nii", "--step-size", "1.5"],
        ["sample", "-i", "x.nii", "--threads", "-1"],
        ["sample", "-i", "x.nii", "--device", "abacus"],
        ["sample", "-i", "x.nii", "--quiet", "-v"],
        ["sample", "-i", "x.nii", "--affin", "auto"],
    ],
)
def test_usage_errors_exit_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("kind", "exit_code"),
    [(UsageError, 2), (InputError, 3), (NoSpineError, 4), (ModelError, 5), (ResourceError, 6), (OutputError, 6)],
)
def test_errors_are_one_line_and_an_exit_code(
    kind: type[SpinepsError], exit_code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fail_with(monkeypatch, kind(ErrorCode.INPUT_EMPTY, "the file 'a\nb' is empty.", remedy="Copy it again."))
    assert main(["version"]) == exit_code
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "INPUT_EMPTY: the file 'a\\nb' is empty. Copy it again.\n"


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes")])
def test_lack_of_memory_is_no_bug(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fail_with(monkeypatch, error)
    assert main(["version"]) == 6
    assert capsys.readouterr().err.startswith("RESOURCE_MEMORY: ")


def test_interrupt_exits_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    fail_with(monkeypatch, KeyboardInterrupt())
    assert main(["version"]) == 130
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_sigterm_exits_143_and_the_old_handler_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(_args: argparse.Namespace) -> int:
        os.kill(os.getpid(), signal.SIGTERM)
        for _ in range(1000):  # the handler runs between two of these
            pass
        return 0

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(version, "run", run)
    assert main(["version"]) == 143
    assert signal.getsignal(signal.SIGTERM) is before


def test_bug_leaves_a_crash_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    fail_with(monkeypatch, ValueError("shape (3, 4) of '/home/CANARY/scan.nii.gz' in /data/CANARY"))
    monkeypatch.chdir(tmp_path)
    assert main(["version"]) == 70
    err = capsys.readouterr().err
    (crash_file,) = tmp_path.iterdir()
    assert err.startswith("BUG: spineps failed (ValueError).")
    assert len(err.splitlines()) == 1
    assert crash_file.name in err
    text = crash_file.read_text()
    assert "ValueError: shape (3, 4)" in text
    assert "spineps/cli/__init__.py:" in text
    assert "CANARY" not in text
    assert str(Path.home()) not in text


def test_bug_where_no_file_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / f"spineps-crash-{os.getpid()}.txt").mkdir()
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    fail_with(monkeypatch, KeyError("x"))
    assert main(["version"]) == 70
    assert "--debug" in capsys.readouterr().err


def test_debug_shows_where(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sample", "-i", str(tmp_path / "none.nii"), "--debug"]) == 3
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert err.splitlines()[-1].startswith("INPUT_NOT_FOUND: ")
    assert main(["sample", "-i", str(tmp_path / "none.nii")]) == 3
    assert "Traceback" not in capsys.readouterr().err


def test_crash_text_has_shapes_and_no_values() -> None:
    secret = "CANARY" + str(os.getpid())

    def fail(voxels: np.ndarray) -> None:
        raise RuntimeError(f"cannot broadcast {voxels.shape} for '{secret}'")

    fail.__globals__["__name__"] = "spineps.made_up"
    try:
        fail(np.zeros((3, 5), np.float32))
    except RuntimeError as error:
        text = crash_text(error, command="sample")
    finally:
        fail.__globals__["__name__"] = __name__
    assert "voxels: float32 (3, 5)" in text
    assert "cannot broadcast (3, 5) for <text>" in text
    assert secret not in text


@pytest.mark.parametrize(
    ("message", "kept"),
    [
        ("[Errno 2] No such file: '/a b/c.nii'", "[Errno 2] No such file: <text>"),
        (r"cannot open C:\Users\X\y.nii now", "cannot open <path> now"),
        ("expected (1, 2), found (3, 4)", "expected (1, 2), found (3, 4)"),
    ],
)
def test_messages_are_scrubbed(message: str, kept: str) -> None:
    assert scrubbed(message) == kept


def test_levels_of_verbosity(capsys: pytest.CaptureFixture[str]) -> None:
    for verbosity, expected in ((Verbosity.QUIET, []), (Verbosity.NORMAL, ["a"]), (Verbosity.VERBOSE, ["a", "b"])):
        console = Console(verbosity)
        console.say("a")
        console.detail("b")
        console.result("c")
        out, err = capsys.readouterr()
        assert out == "c\n"
        assert err.split() == expected


def test_findings_are_code_and_message(capsys: pytest.CaptureFixture[str]) -> None:
    Console().findings([Finding(FindingCode.SHEAR, "two\nlines")])
    assert capsys.readouterr().err == "SHEAR: two\\nlines\n"


def test_text_that_the_terminal_cannot_show() -> None:
    code = "from spineps.cli.console import Console; Console().result('a \\udcff \\u692f')"
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment, check=True)
    assert done.stdout == b"a \\udcff \\u692f\n"
    assert one_line("a\r\nb\x1b[31m") == "a\\r\\nb\\x1b[31m"


def test_a_reader_that_goes_away_stops_nothing() -> None:
    code = (
        "import sys; from spineps.cli.console import Console, say\n"
        "for n in range(20000): Console().result('x' * 50); say('x' * 50)\n"
        "sys.exit(7)"
    )
    read, write = os.pipe()
    child = subprocess.Popen([sys.executable, "-c", code], stdout=write, stderr=write)
    os.close(write)
    os.read(read, 10)
    os.close(read)
    assert child.wait(60) == 7


def test_plain_lines_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with Console().work("Segmenting") as work:
        work.progress("semantic", 1, 2)
        work.stage_done("semantic", None)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Segmenting"
    assert lines[1].startswith("  semantic done after ")
    with Console(Verbosity.QUIET).work("Segmenting") as work:
        work.stage_done("semantic", None)
    assert capsys.readouterr().err == ""


def test_bars_on_a_terminal() -> None:
    code = (
        "from spineps.cli.console import Console\n"
        "with Console().work('Segmenting') as work:\n"
        "    work.progress('semantic', 1, 2); work.progress('semantic', 2, 2); work.stage_done('semantic', None)"
    )
    pty = pytest.importorskip("pty", reason="pseudo-terminals exist on POSIX alone")
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    subprocess.run([sys.executable, "-c", code], stderr=theirs, env=environment, check=True)
    os.close(theirs)
    shown = os.read(ours, 100_000).decode()
    os.close(ours)
    assert "semantic" in shown
    assert "2/2" in shown


@pytest.mark.parametrize(
    "text",
    [
        json.dumps({"1": 49, "2": "DISC", "7": 0}),
        "theirs\tours\n1\t49\n2\tdisc\n7\t0\n",
        "index,name\n1,corpus\n2,DISC\n7,background\n\n",
        "1 49\n2 100\n7 0",
    ],
)
def test_label_map_files(text: str, tmp_path: Path) -> None:
    file = tmp_path / "map"
    file.write_text(text)
    assert read_label_map(file) == {1: 49, 2: 100, 7: 0}


@pytest.mark.parametrize("text", ["", "{}", "{", '{"a": 49}', '{"1": 999}', "1\n2\n", "1 nonsense", "[1, 2]", '{"1": null}'])
def test_label_map_files_that_say_nothing(text: str, tmp_path: Path) -> None:
    file = tmp_path / "map"
    file.write_text(text)
    with pytest.raises(UsageError, match="--label-map"):
        read_label_map(file)


def test_label_map_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        read_label_map(tmp_path / "none.json")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(InputError):
        read_label_map(tmp_path / "binary")


def test_the_suffix_may_be_left_out(tmp_path: Path) -> None:
    (tmp_path / "scan.nii.gz").touch()
    assert existing_or_with_suffix(tmp_path / "scan") == tmp_path / "scan.nii.gz"
    assert existing_or_with_suffix(tmp_path / "scan.nii.gz") == tmp_path / "scan.nii.gz"
    assert existing_or_with_suffix(tmp_path / "none") == tmp_path / "none"
    assert existing_or_with_suffix(Path("/")) == Path("/")


def test_version_command(capsys: pytest.CaptureFixture[str]) -> None:
    import spineps

    assert main(["version"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"spineps {spineps.__version__}"
    assert any(line.startswith("torch ") for line in lines)
