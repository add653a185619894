"""Engines: the table that chooses one, conversion and its cache, and that all engines give the labels of fp32."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from spineps.cli import main
from spineps.config import ComputeConfig, Device, EngineName, Precision
from spineps.errors import ErrorCode, ModelError, UsageError
from spineps.geometry import Box, extract
from spineps.inference import conversion, machine
from spineps.inference.load import load_instance, load_semantic
from spineps.inference.machine import choose_engine
from spineps.phantom.phantom import make_phantom
from spineps.stages.preprocess import prepare
from spineps.stages.semantic import predict_semantic
from spineps.zoo.places import ENGINES_VARIABLE
from spineps.zoo.store import CARD, open_model

MODELS = Path(__file__).parents[1] / "data" / "models"
needs_openvino = pytest.mark.skipif(not machine.has_openvino(), reason="OpenVINO is not installed")
needs_bf16 = pytest.mark.skipif(not machine.BF16_FLAGS & machine.cpu_flags(), reason="this CPU has no bf16")

AGREE = {Precision.FP32: 0.9999, Precision.BF16: 0.983}
"""Least share of labelled voxels with the label of fp32. A phantom of three vertebrae at 2 mm is mostly surface, so that bf16
gives .990 to .997 of them here, in eight phantoms with either engine; on real scans more (``bench/engines.py``). One channel of
one layer left out, or one kernel mirrored, gives .42 to .80.
"""


def compute(engine: EngineName, precision: Precision) -> ComputeConfig:
    return ComputeConfig(Device.CPU, precision, threads=1, engine=engine)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(ENGINES_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize(
    ("flags", "installed", "machine_name", "asked", "name"),
    [
        ({"avx512_bf16"}, True, "x86_64", ComputeConfig(), "openvino-cpu-bf16"),
        ({"amx_bf16"}, False, "x86_64", ComputeConfig(), "torch-cpu-bf16"),
        (set(), True, "AMD64", ComputeConfig(), "openvino-cpu-fp32"),
        (set(), False, "x86_64", ComputeConfig(), "torch-cpu-fp32"),
        (set(), True, "arm64", ComputeConfig(), "torch-cpu-fp32"),
        (set(), True, "x86_64", ComputeConfig(precision=Precision.BF16), "torch-cpu-bf16"),
        ({"amx_bf16"}, True, "x86_64", ComputeConfig(precision=Precision.FP32), "openvino-cpu-fp32"),
        ({"amx_bf16"}, True, "x86_64", ComputeConfig(engine=EngineName.TORCH), "torch-cpu-bf16"),
        (set(), True, "arm64", ComputeConfig(engine=EngineName.OPENVINO), "openvino-cpu-fp32"),
    ],
)
def test_the_table(monkeypatch, flags, installed, machine_name, asked, name):
    monkeypatch.setattr(machine, "cpu_flags", lambda: frozenset(flags))
    monkeypatch.setattr(machine, "has_openvino", lambda: installed)
    monkeypatch.setattr(machine, "_may_have_cuda", lambda: False)
    monkeypatch.setattr(machine.platform, "machine", lambda: machine_name)
    assert choose_engine(asked).name == name


def test_an_engine_that_is_not_here_is_refused_with_a_remedy(monkeypatch):
    monkeypatch.setattr(machine, "has_openvino", lambda: False)
    with pytest.raises(UsageError, match="OpenVINO is not installed") as caught:
        choose_engine(compute(EngineName.OPENVINO, Precision.FP32))
    assert "pip install spineps[openvino]" in caught.value.remedy


def test_bf16_by_openvino_is_refused_where_the_cpu_has_none(monkeypatch):
    monkeypatch.setattr(machine, "has_openvino", lambda: True)
    monkeypatch.setattr(machine, "cpu_flags", frozenset)
    with pytest.raises(UsageError, match="only where the CPU has it"):
        choose_engine(compute(EngineName.OPENVINO, Precision.BF16))


def test_the_engine_is_part_of_the_settings():
    from spineps.config import PipelineConfig

    asked = PipelineConfig(compute=ComputeConfig(engine=EngineName.TORCH))
    assert asked.sha256() != PipelineConfig().sha256()


@pytest.mark.parametrize(
    ("engine", "precision"),
    [
        pytest.param(EngineName.TORCH, Precision.BF16, marks=needs_bf16),
        pytest.param(EngineName.OPENVINO, Precision.FP32, marks=needs_openvino),
        pytest.param(EngineName.OPENVINO, Precision.BF16, marks=[needs_openvino, needs_bf16]),
    ],
)
def test_every_engine_gives_the_labels_of_fp32(engine, precision):
    phantom = make_phantom(7, vertebrae=3, spacing_mm=(2.0, 2.0, 2.0), pathology=0.0)
    prepared = prepare(phantom.scan)
    asked, exact = compute(engine, precision), compute(EngineName.TORCH, Precision.FP32)
    found, truth = (predict_semantic(prepared, load_semantic(how, MODELS / "semantic")).labels for how in (asked, exact))
    assert agreement(found, truth) >= AGREE[precision]
    box = Box.around(truth > 0)
    first, second = (load_instance(how, MODELS / "instance") for how in (asked, exact))
    cutout = extract(truth, Box.whole(second.cutout_size).shifted(box.start))[None]
    assert agreement(first(cutout), second(cutout)) >= AGREE[precision]


def agreement(found: np.ndarray, truth: np.ndarray) -> float:
    """Share of the labelled voxels with the same label."""
    labelled = (found > 0) | (truth > 0)
    assert labelled.sum() > 500, "a test without labels shows nothing"
    return float((found == truth)[labelled].mean())


def test_the_command_names_the_default_and_measures_what_is_here(capsys):
    assert main(["engines"]) == 0
    lines = capsys.readouterr().out.splitlines()
    default = choose_engine(ComputeConfig()).name
    assert [line for line in lines if "taken by default" in line] == [f"{default:20} taken by default"]
    assert main(["engines", "--probe", "--threads", "1", "--model", str(MODELS / "semantic")]) == 0
    *measured, last = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in measured] == [line.split()[0] for line in lines]
    seconds = {line.split()[0]: float(line.split(", ")[1].split()[0]) for line in measured if "s a tile" in line}
    assert {"torch-cpu-fp32", "torch-cpu-bf16"} <= seconds.keys()
    fastest = last.split(": ")[1].split(";")[0]
    assert seconds[fastest] == min(seconds.values())


@needs_openvino
def test_a_network_is_converted_once_and_anew_where_it_is_damaged(cache):
    model = open_model(MODELS / "instance")
    kept = cache / conversion.cache_key(model)
    conversion.graph_of(model)
    assert conversion.is_whole(kept)
    assert [entry.name for entry in cache.iterdir()] == [kept.name], "nothing half-made is left"
    written = (kept / conversion.WEIGHTS).stat().st_mtime_ns
    conversion.graph_of(model)
    assert (kept / conversion.WEIGHTS).stat().st_mtime_ns == written
    (kept / conversion.WEIGHTS).write_bytes((kept / conversion.WEIGHTS).read_bytes()[:-1])
    assert not conversion.is_whole(kept)
    conversion.graph_of(model)
    assert conversion.is_whole(kept)


@needs_openvino
def test_without_a_cache_a_network_is_converted_for_this_run(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("a file is in the way")
    monkeypatch.setenv(ENGINES_VARIABLE, str(tmp_path / "file"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    graph = conversion.graph_of(open_model(MODELS / "instance"))
    assert graph.input(0).partial_shape.rank.get_length() == 5
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


@needs_openvino
def test_two_processes_convert_the_same_network_at_once(cache):
    code = (
        "from pathlib import Path; from spineps.inference.conversion import graph_of; "
        "from spineps.zoo.store import open_model; "
        f"graph_of(open_model(Path({str(MODELS / 'instance')!r})))"
    )
    both = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    kept = cache / conversion.cache_key(open_model(MODELS / "instance"))
    assert [entry.name for entry in cache.iterdir()] == [kept.name]
    assert conversion.is_whole(kept)


@needs_openvino
def test_a_damaged_model_is_refused_by_its_own_code(tmp_path, cache):
    folder = tmp_path / "model"
    shutil.copytree(MODELS / "instance", folder)
    card = json.loads((folder / CARD).read_text())
    card["golden"]["logits"][0] += 1
    (folder / CARD).write_text(json.dumps(card))
    with pytest.raises(ModelError, match="golden input") as caught:
        conversion.graph_of(open_model(folder))
    assert caught.value.code is ErrorCode.MODEL_CORRUPT
    assert not any(cache.iterdir())


def test_what_loads_and_saves_imports_no_torch():
    """Else OpenVINO would pay for it."""
    modules = "spineps.api, spineps.pipeline, spineps.inference.load, spineps.outputs.save"
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@needs_openvino
def test_openvino_needs_no_torch_once_the_network_is_converted(cache):
    conversion.graph_of(open_model(MODELS / "instance"))
    code = (
        "import sys; from pathlib import Path; from spineps.config import ComputeConfig, Device, EngineName; "
        "from spineps.inference.load import load_instance; "
        f"load_instance(ComputeConfig(Device.CPU, engine=EngineName.OPENVINO), Path({str(MODELS / 'instance')!r})); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
