"""Both generations of the published command line, on every command that has them, and what they mean for our settings."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from spineps.cli import build_parser, main
from spineps.cli import published_flags as flags
from spineps.cli.cohort_options import settings_of
from spineps.config import Device
from spineps.errors import UsageError
from spineps.zoo.choose import Asked, Chosen

SAMPLE, DATASET = ["sample", "-i", "scan.nii.gz"], ["dataset", "-i", "folder"]

# The newer spelling, every older or shorter one, and what each sets. As in the published program; `spec` of neither is in here.
VALUES = [
    ("--model-semantic", ["-ms", "-model_semantic"], "model_semantic", "t2w"),
    ("--model-instance", ["-mi", "-mv", "-model_instance"], "model_instance", "instance"),
    ("--model-labeling", ["-ml", "-model_labeling"], "model_labeling", "none"),
    ("--derivative-name", ["-dn", "-der_name"], "derivative_name", "derivatives_other"),
]
SWITCHES = [
    ("--save-debug", ["-sd", "-save_debug"], "save_debug", True),
    ("--save-softmax-logits", ["-ssl", "-save_softmax_logits"], "save_softmax_logits", True),
    ("--save-modelres-mask", ["-smrm", "-save_modelres_mask"], "save_modelres_mask", True),
    ("--override-semantic", ["-os", "-override_semantic"], "override_semantic", True),
    ("--override-instance", ["-oi", "-override_instance"], "override_instance", True),
    ("--override-postpair", ["-opp", "-override_postpair"], "override_postpair", True),
    ("--override-ctd", ["-oc", "-override_ctd"], "override_ctd", True),
    ("--ignore-inference-compatibility", ["-iic", "-ignore_inference_compatibility"], "force", True),
    ("--no-crop", ["-nc", "-nocrop"], "crop", False),
    ("--no-n4", ["-non4"], "n4", False),
    ("--enforce-12-thoracic", ["-ntl", "-no_tltv_labeling"], "enforce_12_thoracic", True),
    ("--cpu", ["-cpu"], "device", "cpu"),
    ("--run-cprofiler", ["-rcp", "-run_cprofiler"], "run_cprofiler", True),
    ("--verbose", ["-v", "-verbose"], "verbose", True),
]
ONLY_NEWER = [
    (["--n4"], "n4", True),
    (["--crop"], "crop", True),
    (["--no-enforce-12-thoracic"], "enforce_12_thoracic", False),
    (["--batch-size", "2"], "batch_size", 2),
    (["-bs", "2"], "batch_size", 2),
    (["--step-size", "0.7"], "step_size", 0.7),
    (["--amp"], "amp", True),
    (["--tta"], "tta", True),
    (["--no-tta"], "tta", False),
]
OF_DATASET = [
    ("--ignore-bids-filter", ["-ibf", "-ignore_bids_filter"], "ignore_bids_filter", True),
    ("--ignore-model-compatibility", ["-imc", "-ignore_model_compatibility"], "ignore_model_compatibility", True),
    ("--save-log", ["-sl", "-save_log"], "save_log", True),
    ("--save-snaps-folder", ["-ssf", "-save_snaps_folder"], "save_snaps_folder", True),
]


def parsed(arguments: list[str]) -> argparse.Namespace:
    return build_parser().parse_args(arguments)


def differing(arguments: list[str], base: list[str]) -> dict[str, object]:
    """What arguments change of the parsed defaults."""
    changed, default = vars(parsed([*base, *arguments])), vars(parsed(base))
    return {name: value for name, value in changed.items() if default[name] != value}


@pytest.mark.parametrize("base", [SAMPLE, DATASET], ids=["sample", "dataset"])
@pytest.mark.parametrize(("newer", "others", "dest", "value"), VALUES)
def test_options_with_a_value(base: list[str], newer: str, others: list[str], dest: str, value: str) -> None:
    for spelling in (newer, *others):
        assert differing([spelling, value], base) == {dest: value}, spelling


@pytest.mark.parametrize("base", [SAMPLE, DATASET], ids=["sample", "dataset"])
@pytest.mark.parametrize(("newer", "others", "dest", "value"), SWITCHES)
def test_switches(base: list[str], newer: str, others: list[str], dest: str, value: object) -> None:
    for spelling in (newer, *others):
        assert differing([spelling], base) == {dest: value}, spelling


@pytest.mark.parametrize("base", [SAMPLE, DATASET], ids=["sample", "dataset"])
@pytest.mark.parametrize(("arguments", "dest", "value"), ONLY_NEWER)
def test_options_of_the_newer_generation_alone(base: list[str], arguments: list[str], dest: str, value: object) -> None:
    assert getattr(parsed([*base, *arguments]), dest) == value


@pytest.mark.parametrize(("newer", "others", "dest", "value"), OF_DATASET)
def test_switches_of_dataset(newer: str, others: list[str], dest: str, value: object) -> None:
    for spelling in (newer, *others):
        assert differing([spelling], DATASET) == {dest: value}, spelling
        assert main([*SAMPLE, spelling]) == 2


def test_folders_and_files_in_every_spelling() -> None:
    assert {parsed(["sample", name, "a.nii"]).input for name in ("-i", "-input", "--input")} == {Path("a.nii")}
    spellings = ("-i", "-d", "-directory", "--directory")
    assert {parsed(["dataset", name, "a"]).directory for name in spellings} == {Path("a")}
    assert {parsed([*DATASET, name, "raw"]).rawdata_name for name in ("-rn", "-raw_name", "--rawdata-name")} == {"raw"}


def test_published_defaults() -> None:
    for base in (SAMPLE, DATASET):
        args = parsed(base)
        assert (args.derivative_name, args.batch_size, args.crop) == ("derivatives_seg", 4, True)
        assert (args.step_size, args.tta, args.n4, args.enforce_12_thoracic, args.force) == (None, None, None, False, False)
        assert not flags.overrides_of(args).any_of_them
    assert flags.asked_models(parsed(SAMPLE)) == Asked()
    assert flags.asked_models(parsed(DATASET)) == Asked(by_default="t2w")
    assert parsed(DATASET).rawdata_name == "rawdata"


def test_whole_command_lines_of_both_generations_are_the_same() -> None:
    older = (
        "-i a.nii -model_semantic t2w -model_instance instance -der_name d -nocrop -non4 -cpu -override_semantic -verbose -iic"
    )
    newer = (
        "-i a.nii --model-semantic t2w --model-instance instance --derivative-name d --no-crop --no-n4 --cpu "
        "--override-semantic --verbose --ignore-inference-compatibility"
    )
    assert vars(parsed(["sample", *older.split()])) == vars(parsed(["sample", *newer.split()]))


def test_older_spellings_are_not_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("sample", "dataset"):
        assert main([command, "--help"]) == 0
        text = capsys.readouterr().out
        assert "-model_semantic" not in text
        assert "--model-semantic" in text


# ---- misspellings


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("-overide_semantic", "-override_semantic"),
        ("-model_semantc", "-model_semantic"),
        ("-save_softmaxlogits", "-save_softmax_logits"),
        ("-no_crop", "-nocrop"),
        ("-direcotry", "-directory"),
    ],
)
def test_a_misspelled_option_is_no_folder_of_that_name(wrong: str, right: str, capsys: pytest.CaptureFixture[str]) -> None:
    base = DATASET if right == "-directory" else SAMPLE
    assert main([*base, wrong]) == 2
    assert f"did you mean {right}?" in capsys.readouterr().err


def test_the_beginning_of_an_older_option_is_enough_as_published() -> None:
    assert parsed([*SAMPLE, "-model_sem", "t2w"]).model_semantic == "t2w"


def test_an_option_of_another_command_is_no_value(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SAMPLE, "-ibf"]) == 2
    assert "there is no option -ibf" in capsys.readouterr().err
    assert main(["sample", "-i", "a.nii", "-oresults"]) == 2
    assert "write '-o results'" in capsys.readouterr().err


def test_values_glued_to_short_options_go_on_working() -> None:
    assert parsed(["sample", "-iscan.nii.gz", "-oresults/a"]).output == Path("results/a")
    assert parsed(["sample", "-i", "a", "-ms=t2w"]).model_semantic == "t2w"


def test_values_that_look_like_options_are_values_after_two_dashes() -> None:
    assert main(["check", "--", "-overide_semantic"]) == 3


# ---- what they mean


def test_settings_from_options() -> None:
    words = ["-nocrop", "-ssl", "-smrm", "-cpu", "-bs", "2", "--step-size", "0.7", "--no-tta", "-iic"]
    config = flags.config_of(parsed([*SAMPLE, *words]), Chosen())
    assert (config.preprocess.crop, config.semantic.step_size, config.semantic.mirror) == (False, 0.7, False)
    assert (config.extras.softmax, config.extras.uncertainty, config.extras.model_mask) == (True, True, True)
    assert (config.compute.device, config.instance.batch_size, config.force) == (Device.CPU, 2, True)


@pytest.mark.parametrize(
    ("words", "expected", "n4"), [([], False, False), ([], True, True), (["-non4"], True, False), (["--n4"], False, True)]
)
def test_n4_is_what_the_model_expects_unless_one_says_otherwise(words: list[str], expected: bool, n4: bool) -> None:
    config = flags.config_of(parsed([*SAMPLE, *words]), Chosen(n4=expected))
    assert bool(config.preprocess.n4) is n4


def test_model_compatibility_of_a_data_set_can_be_ignored() -> None:
    assert flags.config_of(parsed([*DATASET, "-imc"]), Chosen()).force
    assert flags.config_of(parsed([*DATASET, "-sd"]), Chosen()).extras.stages


def test_every_scan_of_a_data_set_is_profiled_where_that_is_asked_for() -> None:
    assert [settings_of(parsed([*DATASET, *words])).machine.profile for words in ([], ["-rcp"])] == [False, True]


def test_uncertainty_alone_needs_no_probabilities_on_the_disk() -> None:
    extras = flags.config_of(parsed([*SAMPLE, "--uncertainty"]), Chosen()).extras
    assert (extras.softmax, extras.uncertainty) == (False, True)


@pytest.mark.parametrize("name", ["a/b", "..", "/abs", ""])
def test_the_name_of_the_results_folder_is_a_name(name: str) -> None:
    with pytest.raises(UsageError, match="one folder"):
        flags.derivative_of(parsed([*SAMPLE, "-dn", name]))


@pytest.mark.parametrize("words", [["-bs", "0"], ["--step-size", "0"], ["--step-size", "1.5"], ["-ms"]])
def test_values_that_make_no_sense(words: list[str]) -> None:
    assert main([*SAMPLE, *words]) == 2
