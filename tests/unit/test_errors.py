"""Errors keep their meaning across processes and fit on one line."""

from __future__ import annotations

import pickle

import pytest

from spineps.errors import (
    ErrorCode,
    ExitCode,
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

EXIT_CODES = {
    UsageError: ExitCode.USAGE,
    InputError: ExitCode.INPUT,
    NoSpineError: ExitCode.NO_SPINE,
    ModelError: ExitCode.MODEL,
    ResourceError: ExitCode.RESOURCE,
    OutputError: ExitCode.RESOURCE,
}


def example(cls: type[SpinepsError]) -> SpinepsError:
    return cls(ErrorCode.INPUT_SHAPE, "Expected 3 axes, found 5.", remedy="Give one volume.")


def test_every_subclass_is_listed_here() -> None:
    assert set(SpinepsError.__subclasses__()) == set(EXIT_CODES)


@pytest.mark.parametrize(("cls", "code"), EXIT_CODES.items())
def test_exit_code(cls: type[SpinepsError], code: ExitCode) -> None:
    assert cls.exit_code is code
    assert example(cls).exit_code is code


def test_an_error_without_a_kind_counts_as_a_bug() -> None:
    assert SpinepsError.exit_code is ExitCode.BUG


@pytest.mark.parametrize("cls", EXIT_CODES)
def test_pickle_round_trip(cls: type[SpinepsError]) -> None:
    back = pickle.loads(pickle.dumps(example(cls)))  # noqa: S301
    assert type(back) is cls
    assert (back.code, back.message, back.remedy) == (
        ErrorCode.INPUT_SHAPE,
        "Expected 3 axes, found 5.",
        "Give one volume.",
    )


@pytest.mark.parametrize("cls", EXIT_CODES)
def test_message_is_one_line_of_code_sentence_and_remedy(cls: type[SpinepsError]) -> None:
    assert str(example(cls)) == "INPUT_SHAPE: Expected 3 axes, found 5. Give one volume."


def test_exit_codes_are_the_documented_ones() -> None:
    assert {code.name: code.value for code in ExitCode} == {
        "OK": 0,
        "USAGE": 2,
        "INPUT": 3,
        "NO_SPINE": 4,
        "MODEL": 5,
        "RESOURCE": 6,
        "COHORT_INCOMPLETE": 7,
        "CLAIMED": 8,
        "BUG": 70,
        "INTERRUPTED": 130,
        "TERMINATED": 143,
    }


@pytest.mark.parametrize("codes", [ErrorCode, FindingCode])
def test_a_code_is_spelled_as_its_name(codes: type[ErrorCode] | type[FindingCode]) -> None:
    assert all(str(code) == code.name == code.value for code in codes)


def test_findings_are_values() -> None:
    first = Finding(FindingCode.SHEAR, "The axes are 1.2 degrees off a right angle.")
    assert first == Finding(FindingCode.SHEAR, "The axes are 1.2 degrees off a right angle.")
    with pytest.raises(AttributeError):
        first.message = "another"  # type: ignore[misc]
