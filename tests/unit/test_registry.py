"""Which models there are, where they lie, and which of them a run takes."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from published_models import instance_folder, semantic_folder, zipped

from spineps.cli import main
from spineps.errors import ErrorCode, Finding, FindingCode, ModelError, UsageError
from spineps.zoo import registry
from spineps.zoo.card import Kind
from spineps.zoo.choose import Asked, choose_models, folder_for, suits_of
from spineps.zoo.places import models_cache
from spineps.zoo.registry import PUBLISHED, Where, listed, published, published_for
from spineps.zoo.store import CARD


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Model folders as the published tool leaves them."""
    root = tmp_path_factory.mktemp("models")
    instance_folder(root / "instance_sagittal_v1.2.0")
    semantic_folder(root / "T2w_semantic_v1.0.9")
    semantic_folder(root / "Own" / "nnUNetPlans__3d", log_name="own", seed=1)
    return root


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of its own."""
    monkeypatch.setenv("SPINEPS_MODELS", str(tmp_path / "cache"))
    monkeypatch.delenv("SPINEPS_SEGMENTOR_MODELS", raising=False)
    return tmp_path / "cache"


@pytest.fixture
def offline(cache: Path, made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The published folders where the published tool looks for them."""
    monkeypatch.setenv("SPINEPS_SEGMENTOR_MODELS", str(made))
    return made


# ---- the registry


def test_published_ids_and_addresses() -> None:
    assert {model.id: model.url.removeprefix(registry.RELEASES) for model in PUBLISHED} == {
        "t2w": "/v1.0.9/t2w.zip",
        "t1w": "/v1.0.9/t1w.zip",
        "vibe": "/v1.0.9/vibe.zip",
        "ct": "/v2.0.0/ct.zip",
        "instance": "/v1.2.0/instance.zip",
        "ct_instance": "/v2.0.0/CT_instance.zip",
        "t2w_labeling": "/v1.4.0/labeling.zip",
        "ct_labeling": "/v1.4.0/ct_labeling.zip",
    }
    assert all(
        re.fullmatch(r"https://github\.com/[\w.-]+/spineps/releases/download/v[\d.]+/\w+\.zip", m.url) for m in PUBLISHED
    )
    names = [name for model in PUBLISHED for name in model.names]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("t2w", "t2w"),
        ("T2W", "t2w"),
        ("t2w_semantic", "t2w"),
        ("T2w_semantic_v1.0.9", "t2w"),
        ("CT_instance_v2.0.0", "ct_instance"),
    ],
)
def test_names_of_published_models(name: str, found: str) -> None:
    assert published(name).id == found


def test_no_model_of_that_name() -> None:
    assert published("t3w") is None


def test_what_suits_a_kind_of_scan() -> None:
    assert published_for(Kind.SEMANTIC, "T1w").id == "t1w"
    assert published_for(Kind.INSTANCE, "T1w").id == "instance"
    assert published_for(Kind.INSTANCE, "ct").id == "ct_instance"
    assert published_for(Kind.LABELING, "vibe").id == "t2w_labeling"
    assert published_for(Kind.SEMANTIC, "DWI") is None


@pytest.mark.parametrize(
    ("prefix", "suits"),
    [
        ("sub-1_mod-T2w", "T2w"),
        ("sub-1_acq-sag_mod-t1w_run-2", "T1w"),
        ("sub-1_mod-ct", "ct"),
        ("sub-1_mod-vibe", "vibe"),
        ("sub-1_mod-bold", None),
        ("scan", None),
        ("sub-mod-T2w_mod-T1w", "T1w"),
    ],
)
def test_kind_of_scan_from_its_name(prefix: str, suits: str | None) -> None:
    assert suits_of(prefix) == suits


def test_bundled_models_alone_are_here_at_first(cache: Path) -> None:
    rows = listed()
    assert {(row.id, row.kind) for row in rows if row.where is Where.BUNDLED} >= {
        ("bundled", Kind.SEMANTIC),
        ("bundled", Kind.INSTANCE),
    }
    assert [row.id for row in rows if row.where is Where.ABSENT] == [model.id for model in PUBLISHED]
    assert not cache.exists()


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SPINEPS_MODELS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert models_cache() == tmp_path / "spineps" / "models"
    monkeypatch.setenv("SPINEPS_MODELS", str(tmp_path / "own"))
    assert models_cache() == tmp_path / "own"


def test_published_folders_are_found_where_the_published_tool_looks(offline: Path) -> None:
    assert registry.folder_of("t2w") == offline / "T2w_semantic_v1.0.9"
    assert registry.folder_of("instance") == offline / "instance_sagittal_v1.2.0"
    assert registry.folder_of("OWN") == offline / "Own" / "nnUNetPlans__3d"
    where = {row.id: row.where for row in listed()}
    assert where["t2w"] is where["own"] is Where.FOLDER
    assert where["t1w"] is Where.ABSENT


def test_a_variable_that_names_no_folder(cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SPINEPS_SEGMENTOR_MODELS", str(tmp_path / "nowhere"))
    with pytest.raises(ModelError, match="SPINEPS_SEGMENTOR_MODELS"):
        listed()


# ---- choosing


def assert_only_levels_are_ours(findings: Sequence[Finding]) -> None:
    """The one thing to say is that no published labeling model is here."""
    assert [f.code for f in findings] == [FindingCode.MODEL_BUNDLED]
    assert "models fetch t2w_labeling" in findings[0].message


def test_nothing_said_is_the_bundled_models(offline: Path) -> None:
    chosen = choose_models(Asked(), scan="sub-1_mod-T2w")
    assert (chosen.semantic, chosen.instance, chosen.n4, chosen.findings) == (None, None, False, ())
    (finding,) = choose_models(Asked(by_default="t2w")).findings
    assert finding.code is FindingCode.MODEL_BUNDLED
    assert "t2w" in finding.message


def test_a_published_model_brings_its_instance_model_along(offline: Path) -> None:
    chosen = choose_models(Asked(semantic="t2w"))
    assert (chosen.semantic / CARD).is_file()
    assert (chosen.instance / CARD).is_file()
    assert chosen.n4
    assert_only_levels_are_ours(chosen.findings)
    assert choose_models(Asked(semantic="t2w")).semantic == chosen.semantic


def test_a_published_model_without_its_instance_model_says_what_ran(cache: Path, made: Path) -> None:
    chosen = choose_models(Asked(semantic=f"{made}/T2w_semantic_v1.0.9"))
    assert chosen.instance is None
    instance, *others = chosen.findings
    assert "models fetch instance" in instance.message
    assert_only_levels_are_ours(others)


def test_bundled_by_name(offline: Path) -> None:
    chosen = choose_models(Asked("bundled", "Bundled"))
    assert (chosen.semantic, chosen.instance, chosen.findings) == (None, None, ())


def test_auto_takes_what_is_here(offline: Path) -> None:
    chosen = choose_models(Asked("auto"), scan="sub-1_mod-T2w")
    assert chosen.semantic is not None
    assert_only_levels_are_ours(chosen.findings)
    for scan, why in (("sub-1_mod-T1w", "t1w is not on this machine"), ("sub-1_mod-bold", "no published one")):
        other = choose_models(Asked("auto"), scan=scan)
        assert other.semantic is None
        assert why in other.findings[0].message


def test_a_published_model_that_is_not_here(cache: Path) -> None:
    for asked in (Asked("t2w"), Asked(None, "instance")):
        with pytest.raises(ModelError, match="spineps models fetch") as caught:
            choose_models(asked)
        assert caught.value.code is ErrorCode.MODEL_MISSING


def test_names_and_folders_that_are_none(offline: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="models list"):
        choose_models(Asked("nonsense"))
    with pytest.raises(ModelError) as caught:
        choose_models(Asked(f"{tmp_path}/nowhere"))
    assert caught.value.code is ErrorCode.MODEL_MISSING


def test_a_model_of_the_other_phase(offline: Path) -> None:
    with pytest.raises(ModelError, match="instance phase, not of the semantic"):
        choose_models(Asked("instance"))


def test_an_imported_model_has_a_name(cache: Path, made: Path, tmp_path: Path) -> None:
    zipped(made / "T2w_semantic_v1.0.9", tmp_path / "m.zip")
    folder = folder_for(Kind.SEMANTIC, f"{tmp_path}/m.zip")
    assert folder.parent == cache
    assert folder_for(Kind.SEMANTIC, folder.name.upper()) == folder
    assert folder_for(Kind.SEMANTIC, str(folder)) == folder
    assert [row.id for row in listed() if row.where is Where.IMPORTED] == [folder.name]


# ---- the command


def test_list(offline: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["id", "phase", "version", "where"]
    assert ["ct", "semantic", "v2.0.0", "not", "fetched"] in [line.split() for line in lines]
    assert main(["models", "list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["id"] for row in rows} >= {"bundled", "t2w", "own"}


def test_import_verify_and_remove(cache: Path, made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "import", str(made / "T2w_semantic_v1.0.9")]) == 0
    name = capsys.readouterr().out.split(":")[0]
    assert main(["models", "verify", name]) == 0
    assert capsys.readouterr().out.startswith(f"OK: {name} semantic")

    weights = cache / name / "weights.safetensors"
    data = bytearray(weights.read_bytes())
    data[-9] ^= 1
    weights.write_bytes(data)
    assert main(["models", "verify", name]) == 5
    assert "MODEL_CORRUPT" in capsys.readouterr().err
    assert main(["models", "remove", name]) == 0
    assert capsys.readouterr().out == f"removed: {name}\n"
    assert not list(cache.glob("*"))
    assert not list(cache.glob(".gone*"))


def test_a_model_with_a_damaged_card_can_be_listed_and_removed(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (cache / "broken").mkdir(parents=True)
    (cache / "broken" / CARD).write_text("{")
    assert [(row.id, row.version) for row in listed() if row.where is Where.IMPORTED] == [("broken", "damaged")]
    assert main(["models", "verify", "broken"]) == 5
    assert main(["models", "remove", "broken"]) == 0
    assert not (cache / "broken").exists()


@pytest.mark.parametrize("name", ["bundled", "t2w", "nonsense"])
def test_what_is_not_in_the_cache_is_not_removed(name: str, offline: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(offline.rglob("*"))
    assert main(["models", "remove", name]) == 2
    assert capsys.readouterr().err.startswith("USAGE: ")
    assert sorted(offline.rglob("*")) == before


@pytest.mark.parametrize(
    "arguments", [["fetch", "nonsense"], ["fetch", "t2w", "t1w", "--url", "https://x/"], ["verify", "t2w"]]
)
def test_usage(arguments: list[str], cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", *arguments]) == 2
    assert capsys.readouterr().err.startswith("USAGE: ")
    assert not cache.exists()


def test_a_plain_nnunet_needs_a_label_map(cache: Path, made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = tmp_path / "Dataset001"
    shutil.copytree(made / "T2w_semantic_v1.0.9", plain)
    (plain / "inference_config.json").unlink()
    assert main(["models", "import", str(plain)]) == 2
    assert "label map" in capsys.readouterr().err
    (tmp_path / "ids.json").write_text(json.dumps({str(k): 49 for k in range(1, 13)}))
    assert main(["models", "import", str(plain), "--label-map", str(tmp_path / "ids.json")]) == 0
    assert "semantic phase" in capsys.readouterr().err
