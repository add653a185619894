"""The house around the code: the make targets, what the README promises, the layers, the start-up time."""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import spineps

START_SECONDS = 0.4
HEAVY = ("torch", "nibabel", "TPTBox", "matplotlib", "SimpleITK", "nnunetv2", "panoptica", "pandas")
MODULE_LINES = 450
TEXTS = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "docs", "bench", "examples")
# Spelled in pieces, so that this file does not find itself.
FORBIDDEN = re.compile(
    "|".join(
        (r"pypi\." + "org", r"download\.pytorch\." + "org", "--" + "(?:extra-)?index-url", r"(?<![\w.])/(?:work|root|farm)/")
    )
)
needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def run(*command: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload,no-any-return]


def python(code: str) -> subprocess.CompletedProcess[str]:
    return run(sys.executable, "-c", code)


def tracked_files(repository: Path) -> list[Path]:
    """Files that git knows, or every file of an unpacked source archive."""
    listed = run("git", "-C", repository, "ls-files", "-z")
    if listed.returncode:
        return [path for path in repository.rglob("*") if path.is_file()]
    return [path for name in listed.stdout.split("\0") if name and (path := repository / name).is_file()]


def documents(repository: Path) -> list[Path]:
    paths = [repository / name for name in TEXTS]
    return [page for path in paths for page in ([path] if path.is_file() else sorted(path.glob("*.md")))]


# ---- start-up


@pytest.mark.parametrize("arguments", [["-c", "import spineps"], ["-m", "spineps", "--help"]], ids=["import", "help"])
def test_start_up_is_quick(arguments: list[str]) -> None:
    bare = min(_cpu_seconds([sys.executable, "-c", "pass"]) for _ in range(3))
    whole = min(_cpu_seconds([sys.executable, *arguments]) for _ in range(5))
    assert whole - bare < START_SECONDS


def _cpu_seconds(command: list[str]) -> float:
    """Time on the processor: what the start costs, however busy the machine is."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_utime + usage.ru_stime


@pytest.mark.parametrize(
    "code", ["import spineps", "import spineps.cli as c; c.main(['--help'])", "import spineps.cli as c; c.main(['version'])"]
)
def test_start_up_imports_nothing_heavy(code: str) -> None:
    heavy = python(f"import sys\n{code}\nsys.stdout.write('\\nheavy: ' + ' '.join(m for m in {HEAVY} if m in sys.modules))")
    assert heavy.returncode == 0, heavy.stderr
    assert heavy.stdout.splitlines()[-1].strip() == "heavy:"


def test_every_public_name_is_there() -> None:
    missing = [name for name in spineps.__all__ if not hasattr(spineps, name)]
    assert not missing
    assert set(spineps.__all__) <= set(dir(spineps))


def test_a_wrong_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = spineps.no_such_name


def test_the_program_is_installed() -> None:
    scripts = {script.name: script.value for script in entry_points(group="console_scripts")}
    assert scripts.get("spineps") == "spineps.cli:main"


# ---- layers and size


def test_imports_go_one_way(repository: Path) -> None:
    answer = run(sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()", cwd=repository)
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_modules_stay_readable(repository: Path) -> None:
    sizes = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in (repository / "spineps").rglob("*.py")}
    assert not {str(path.relative_to(repository)): size for path, size in sizes.items() if size > MODULE_LINES}


def test_there_is_no_drawer_for_odds_and_ends(repository: Path) -> None:
    assert not [path for path in (repository / "spineps").rglob("*.py") if path.stem in {"utils", "util", "helpers", "misc"}]


# ---- nothing of one machine


def test_no_file_names_a_registry_or_a_place_of_one_machine(repository: Path) -> None:
    found = []
    for path in tracked_files(repository):
        if path.suffix in {".py", ".md", ".toml", ".yml", ".cff", ""}:
            text = path.read_text(encoding="utf-8", errors="ignore")
            found += [f"{path.relative_to(repository)}: {hit}" for hit in FORBIDDEN.findall(text)]
    assert not found


def test_no_image_and_nothing_large_is_in_the_repository(repository: Path) -> None:
    files = tracked_files(repository)
    assert not [path.name for path in files if path.name.endswith((".nii", ".nii.gz", ".dcm"))]
    assert not [path.name for path in files if path.stat().st_size > 10_000_000]


# ---- make


@needs_make
@pytest.mark.parametrize("target", ["demo", "test", "lint", "examples", "docs"])
def test_make_knows_its_targets(repository: Path, target: str) -> None:
    answer = run("make", "-n", target, cwd=repository)
    assert answer.returncode == 0, answer.stderr


@needs_make
def test_make_demo_takes_a_scan_of_ones_own(repository: Path) -> None:
    answer = run("make", "-n", "demo", "SCAN=a b.nii.gz", cwd=repository)
    assert 'spineps sample -i "a b.nii.gz"' in answer.stdout
    assert "spineps phantom" not in answer.stdout


@needs_make
@pytest.mark.parametrize("target", ["demo", "test"])
def test_an_old_python_is_named(repository: Path, tmp_path: Path, target: str) -> None:
    old = tmp_path / "python3"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && { echo "Python 3.9.2"; exit 0; }\nexit 1\n', encoding="utf-8")
    old.chmod(0o755)
    answer = run("make", target, f"PYTHON={old}", cwd=repository)
    assert answer.returncode != 0
    assert answer.stderr.splitlines()[0].startswith("spineps needs Python 3.10 or newer; ")
    assert "Python 3.9.2" in answer.stderr


@needs_make
def test_a_missing_python_is_named(repository: Path) -> None:
    answer = run("make", "test", "PYTHON=no-such-python", cwd=repository)
    assert answer.returncode != 0
    assert "'no-such-python' was not found" in answer.stderr.splitlines()[0]


def test_the_check_script_can_be_run(repository: Path) -> None:
    script = repository / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert run("sh", "-n", script).returncode == 0


# ---- what is promised


def test_links_between_pages_lead_somewhere(repository: Path) -> None:
    for page in documents(repository):
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
            assert target.startswith("https://") or (page.parent / target).exists(), f"{page.name}: {target}"


def options_of(parser: argparse.ArgumentParser) -> set[str]:
    """Options of a command and of its actions."""
    own = {option for action in parser._actions for option in action.option_strings}
    actions = [action.choices for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return own.union(*(options_of(inner) for choices in actions for inner in choices.values()))


def test_commands_in_the_documents_exist(repository: Path) -> None:
    from spineps.cli import build_parser

    parser = build_parser()
    (commands,) = (action.choices for action in parser._actions if action.dest == "command")
    assert commands
    for page in documents(repository):
        text = "".join(re.findall(r"```\n.*?```", page.read_text(encoding="utf-8"), re.DOTALL))
        for name, rest in re.findall(r"^spineps ([a-z][a-z-]*)(.*)$", text, re.MULTILINE):
            assert name in commands, f"{page.name}: spineps {name}"
            known = options_of(commands[name])
            assert set(re.findall(r"(?<!\S)--?[a-z][\w-]*", rest.split("#")[0])) <= known, f"{page.name}: spineps {name}{rest}"


def test_options_in_the_documents_exist(repository: Path) -> None:
    from spineps.cli import build_parser

    known = options_of(build_parser())
    for page in (repository / "README.md", *sorted((repository / "docs").glob("*.md"))):
        text = re.sub(r"python bench/[^\n]*|```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        for option in re.findall(r"`(--[a-z][a-z0-9-]*)", text):
            assert option in known, f"{page.name}: {option}"


def test_python_in_the_documents_uses_public_names(repository: Path) -> None:
    for page in documents(repository):
        for block in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            compile(block, page.name, "exec")
            for name in set(re.findall(r"\bspineps\.([a-zA-Z_]\w*)", block)) - set(spineps.__all__):
                assert importlib.util.find_spec(f"spineps.{name}"), f"{page.name}: spineps.{name}"


def test_pages_of_the_site_are_there(repository: Path) -> None:
    listed = set(re.findall(r": (\S+\.md)$", (repository / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE))
    assert listed == {path.name for path in (repository / "docs").glob("*.md")}


def test_exit_codes_in_the_readme_are_those_of_the_program(repository: Path) -> None:
    table = (repository / "README.md").read_text(encoding="utf-8").partition("| exit code | meaning |")[2].partition("\n\n")[0]
    codes = {int(code) for row in table.splitlines() for code in re.findall(r"\d+", row.split("|")[1] if "|" in row else "")}
    assert codes == {int(code) for code in spineps.ExitCode}


def test_label_ids_in_the_readme_are_those_of_the_program(repository: Path) -> None:
    table = (repository / "README.md").read_text(encoding="utf-8").partition("| id | structure |")[2].partition("\n\n")[0]
    cells = [cell for row in table.splitlines()[2:] for cell in row.strip("|").split("|")[::2]]
    ids = {int(number) for cell in cells for number in re.findall(r"\d+", cell)}
    written = {
        structure for structure in spineps.Structure if structure.name not in {"BACKGROUND", "CORPUS_INNER", "DENS", "METAL"}
    }
    assert ids == {int(structure) for structure in written} - {int(spineps.Structure.ENDPLATE)}


def test_the_changelog_has_a_place_for_the_next_line(repository: Path) -> None:
    assert "\n## [Unreleased]\n" in (repository / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_bench_skips_where_there_are_no_scans(repository: Path, tmp_path: Path) -> None:
    answer = run(sys.executable, repository / "bench" / "real.py", "--data", tmp_path / "nowhere", cwd=tmp_path)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.startswith("skipped: no data folder")
