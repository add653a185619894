"""Temperature scaling: found again where it was put in, and worth what it says."""

from __future__ import annotations

import numpy as np
import pytest

from spineps.inference.calibration import (
    calibration_error,
    fit_temperature,
    negative_log_likelihood,
    tempered,
)


def drawn(temperature: float, count: int = 20_000) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of a network that is surer than it should be, and classes as they truly come."""
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 2, (count, 6))
    honest = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    truth = (rng.random((count, 1)) > honest.cumsum(axis=1)).sum(axis=1)
    return tempered(honest, 1 / temperature), truth


@pytest.mark.parametrize("temperature", [0.7, 1.0, 1.6, 2.5])
def test_the_temperature_is_found_again(temperature: float) -> None:
    probabilities, truth = drawn(temperature)
    assert fit_temperature(probabilities, truth) == pytest.approx(temperature, rel=0.04)


def test_calibration_mends_what_it_says() -> None:
    probabilities, truth = drawn(2.0)
    mended = tempered(probabilities, fit_temperature(probabilities, truth))
    assert calibration_error(probabilities, truth) > 0.1
    assert calibration_error(mended, truth) < 0.02
    assert negative_log_likelihood(mended, truth) < negative_log_likelihood(probabilities, truth)
    assert np.array_equal(mended.argmax(axis=1), probabilities.argmax(axis=1))


def test_tempering_keeps_a_distribution_and_a_temperature_of_one_keeps_all() -> None:
    probabilities, _ = drawn(1.0, 50)
    np.testing.assert_allclose(tempered(probabilities, 3.0).sum(axis=1), 1)
    np.testing.assert_allclose(tempered(probabilities, 1.0), probabilities, atol=1e-6)


def test_certain_and_wrong_is_finite() -> None:
    assert np.isfinite(negative_log_likelihood(np.array([[1.0, 0.0]]), np.array([1])))
