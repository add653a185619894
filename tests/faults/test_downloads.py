"""Rows 68, 69 and 74 of the table of faults: models that are absent, downloads that go wrong, two of them at once."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from published_models import instance_folder, semantic_folder, zipped
from servers import Behaviour, serving

from spineps.cli import main
from spineps.io.atomic import write_nifti
from spineps.zoo.install import ORIGIN
from spineps.zoo.registry import published
from spineps.zoo.store import CARD
from tests.spines import make_spine
from tests.unit.test_pipeline import _scan

NO_SOCKETS = """
import json, socket, sys

def refuse(*args, **options):
    raise AssertionError("a socket was opened")

socket.socket.__init__ = refuse
from spineps.cli import main
print([int(main(["sample", "-i", sys.argv[1], *flags])) for flags in json.loads(sys.argv[2])])
"""


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    root = tmp_path_factory.mktemp("archives")
    instance_folder(root / "instance_sagittal_v1.2.0")
    semantic_folder(root / "T2w_semantic_v1.0.9")
    semantic_folder(root / "other" / "T2w_semantic_v1.0.9", seed=5)
    return {
        "t2w": zipped(root / "T2w_semantic_v1.0.9", root / "t2w.zip"),
        "other": zipped(root / "other" / "T2w_semantic_v1.0.9", root / "other.zip"),
        "instance": zipped(root / "instance_sagittal_v1.2.0", root / "instance.zip"),
    }


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SPINEPS_MODELS", str(tmp_path / "cache"))
    monkeypatch.delenv("SPINEPS_SEGMENTOR_MODELS", raising=False)
    return tmp_path / "cache"


def shown(cache: Path) -> set[str]:
    """Models under their names; what is hidden is work in progress."""
    return {path.name for path in cache.iterdir() if not path.name.startswith(".")} if cache.exists() else set()


def left_over(cache: Path) -> list[str]:
    return [path.name for path in cache.glob(".*") if path.name.startswith((".staged", ".gone", ".import"))]


def test_68_absent_model_and_no_socket(cache: Path, tmp_path: Path) -> None:
    made = _scan(make_spine(4))
    scan = tmp_path / "sub-1_T2w.nii.gz"
    write_nifti(scan, made.image, made.geometry)
    flags = [["-ms", "t2w"], ["-model_semantic", "t2w"], ["--model-instance", "instance"], ["-ml", "t2w_labeling"]]
    command = [sys.executable, "-c", NO_SOCKETS, str(scan), json.dumps(flags)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == "[5, 5, 5, 5]\n", done.stderr
    for line, (_, name) in zip(done.stderr.splitlines(), flags, strict=True):
        assert line.startswith("MODEL_MISSING: ")
        assert f"'spineps models fetch {name}'" in line
    assert [path.name for path in tmp_path.iterdir()] == [scan.name]


def test_fetch_pins_the_hash_and_checks_it_ever_after(
    cache: Path, archives: dict[str, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    digest = hashlib.sha256(archives["t2w"]).hexdigest()
    with serving(Behaviour(archives["t2w"])) as served:
        assert main(["models", "fetch", "T2w", "--url", served.url]) == 0
        out, err = capsys.readouterr()
        assert out == f"t2w: {cache / 't2w-v1.0.9'}\n"
        assert f"Its sha256 is kept, and every later download must have it: {digest}" in err
        assert json.loads((cache / "t2w-v1.0.9" / ORIGIN).read_text()) == {"url": served.url, "sha256": digest}

        assert main(["models", "fetch", "t2w", "--url", served.url]) == 0
        assert "It is here already." in capsys.readouterr().err
        assert len(served.requests) == 1

        assert main(["models", "remove", "t2w"]) == 0
        assert main(["models", "fetch", "t2w", "--url", served.url]) == 0
        assert "the one that it had before" in capsys.readouterr().err

        served.behaviour = Behaviour(archives["other"])
        assert main(["models", "remove", "t2w"]) == 0
        assert main(["models", "fetch", "t2w", "--url", served.url]) == 5
        assert "MODEL_DOWNLOAD: " in capsys.readouterr().err
        assert shown(cache) == set()
        assert main(["models", "remove", "t2w", "--forget"]) == 0
        assert main(["models", "fetch", "t2w", "--url", served.url]) == 0
    assert shown(cache) == {"t2w-v1.0.9"}
    assert main(["models", "verify", "t2w"]) == 0
    assert not left_over(cache)


def test_fetched_models_run_by_their_id(cache: Path, archives: dict[str, bytes]) -> None:
    from spineps.zoo.choose import Asked, choose_models

    for name in ("t2w", "instance"):
        with serving(Behaviour(archives[name])) as served:
            assert main(["models", "fetch", name, "--url", served.url]) == 0
    chosen = choose_models(Asked("auto"), scan="sub-1_mod-T2w")
    assert (chosen.semantic, chosen.instance) == (published("t2w").place, published("instance").place)
    assert ["models fetch t2w_labeling" in finding.message for finding in chosen.findings] == [True]


@pytest.mark.parametrize(
    "behaviour",
    [
        {"cut_after": dict.fromkeys(range(1, 99), 1000), "ranges": False},
        {"kind": "text/html", "data": b"<html>Log in</html>"},
        {"data": b"<html>Log in</html>"},
        {"status": {1: 404}},
    ],
)
def test_69_what_goes_wrong_leaves_the_old_model(
    behaviour: dict[str, object],
    cache: Path,
    archives: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    old = cache / "t2w-v1.0.8"
    old.mkdir(parents=True)
    (old / CARD).write_text("{}")
    with serving(Behaviour(**{"data": archives["t2w"], **behaviour})) as served:  # type: ignore[arg-type]
        assert main(["models", "fetch", "t2w", "--url", served.url]) == 5
    err = capsys.readouterr().err.splitlines()
    assert err[-1].startswith("MODEL_DOWNLOAD: ")
    assert shown(cache) == {old.name}
    assert not left_over(cache)


def test_69_a_model_of_another_phase_and_a_damaged_archive(
    cache: Path, archives: dict[str, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = bytearray(archives["t2w"])
    damaged[len(damaged) // 2] ^= 0xFF
    for data, code in (
        (archives["instance"], "MODEL_CORRUPT"),
        (bytes(damaged), "MODEL_ARCHIVE"),
        (damaged[:9000], "MODEL_ARCHIVE"),
    ):
        with serving(Behaviour(bytes(data))) as served:
            assert main(["models", "fetch", "t2w", "--url", served.url]) == 5
        assert capsys.readouterr().err.splitlines()[-1].startswith(f"{code}: ")
        assert shown(cache) == set()
        assert not left_over(cache)
        assert not list((cache / ".downloads").iterdir())
    assert not list(cache.glob(".pins/*"))  # nothing that failed is pinned


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_69_a_cache_that_cannot_be_written_to(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cache.mkdir()
    cache.chmod(0o500)
    assert main(["models", "fetch", "t2w"]) == 5
    assert "SPINEPS_MODELS" in capsys.readouterr().err


def test_69_a_cache_below_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("SPINEPS_MODELS", str(tmp_path / "file" / "cache"))
    assert main(["models", "fetch", "t2w"]) == 5
    assert capsys.readouterr().err.splitlines()[-1].startswith("MODEL_DOWNLOAD: ")


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_FSIZE gives a full disk on Linux")
def test_69_a_full_disk(cache: Path, archives: dict[str, bytes]) -> None:
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000));"
        "from spineps.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    with serving(Behaviour(archives["instance"])) as served:
        command = [sys.executable, "-c", code, "models", "fetch", "instance", "--url", served.url]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 5
    assert done.stderr.splitlines()[-1].startswith("MODEL_DOWNLOAD: ")
    assert "Traceback" not in done.stderr
    assert shown(cache) == set()
    with serving(Behaviour(archives["instance"])) as served:
        assert main(["models", "fetch", "instance", "--url", served.url]) == 0


def test_69_a_killed_download_is_taken_up(cache: Path, archives: dict[str, bytes]) -> None:
    with serving(Behaviour(archives["instance"], stall_after={1: 3_000_000}, stall_seconds=30)) as served:
        command = [sys.executable, "-m", "spineps", "models", "fetch", "instance", "--url", served.url]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
            partial = cache / ".downloads" / "instance-v1.2.0.zip.partial"
            while child.poll() is None and not (partial.exists() and partial.stat().st_size > 2_000_000):
                time.sleep(0.02)
            child.kill()
        assert shown(cache) == set()
        assert main(["models", "fetch", "instance", "--url", served.url]) == 0
        assert int(served.requests[1]["Range"][len("bytes=") : -1]) > 2_000_000
    assert shown(cache) == {"instance-v1.2.0"}


def test_74_two_processes_fetch_one_model(cache: Path, archives: dict[str, bytes]) -> None:
    with serving(Behaviour(archives["instance"], drip=(1 << 18, 0.05))) as served:
        command = [sys.executable, "-m", "spineps", "models", "fetch", "instance", "--url", served.url]
        children = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
        said = [child.communicate(timeout=120) for child in children]
    assert [child.returncode for child in children] == [0, 0], said
    assert {out for out, _ in said} == {f"instance: {cache / 'instance-v1.2.0'}\n"}
    assert len(served.requests) == 1
    assert shown(cache) == {"instance-v1.2.0"}
    assert main(["models", "verify", "instance"]) == 0
    assert not left_over(cache)
