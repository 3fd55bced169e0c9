import numpy as np
import pytest

from headhunt.trainables.artifact.calibration import (
    HOTTEST,
    as_logits,
    calibrate,
    expected_calibration_error,
    softmax,
)


def drawn(temperature, notes=4000, classes=3):
    """Logits that are `temperature` times as sure as the labels, which follow the cool ones."""
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(notes, classes)) * 2
    cumulated = softmax(logits).cumsum(axis=1)
    labels = (generator.random((notes, 1)) > cumulated).sum(axis=1)
    return logits * temperature, labels


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_by_which_the_logits_are_too_sure_is_found(temperature):
    logits, labels = drawn(temperature)

    found = calibrate(logits, labels, fitted_on="validation")

    assert found.temperature == pytest.approx(temperature, rel=0.1)
    assert found.error_after < 0.03
    assert found.loss_after <= found.loss_before + 1e-9
    assert (found.fitted_on, found.notes) == ("validation", len(labels))


def test_logits_that_tell_nothing_are_cooled_no_further_than_the_bound():
    labels = np.arange(60) % 2

    found = calibrate(np.eye(2)[(labels + 1) % 2] * 50.0, labels, fitted_on="validation")

    assert found.temperature == pytest.approx(HOTTEST, rel=0.01)


def test_the_calibration_error_is_the_mean_distance_of_confidence_and_accuracy():
    probabilities = np.array([[0.9, 0.1]] * 10 + [[0.4, 0.6]] * 10)
    labels = np.array([0] * 5 + [1] * 5 + [1] * 6 + [0] * 4)

    assert expected_calibration_error(probabilities, labels) == pytest.approx(0.5 * 0.4 + 0.0)


def test_probabilities_have_logits_whose_softmax_they_are_a_zero_included():
    probabilities = np.array([[0.0, 0.25, 0.75], [1.0, 0.0, 0.0]])

    assert softmax(as_logits(probabilities)) == pytest.approx(probabilities)
