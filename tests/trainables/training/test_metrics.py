import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, log_loss, precision_score, recall_score

from headhunt.trainables.training.metrics import score


def random_case(seed, notes, classes, temperature=2.0):
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(notes, classes)) * temperature
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return probabilities, generator.integers(0, classes, notes)


@given(seed=st.integers(0, 10_000), notes=st.integers(1, 80), classes=st.integers(2, 6))
def test_scores_are_scikit_learns_over_the_classes_that_notes_have(seed, notes, classes):
    probabilities, labels = random_case(seed, notes, classes)
    predicted = probabilities.argmax(axis=1)
    macro = {"labels": np.unique(labels), "average": "macro", "zero_division": 0}

    scores = score(probabilities, labels)

    assert scores.f1 == pytest.approx(f1_score(labels, predicted, **macro))
    assert scores.precision == pytest.approx(precision_score(labels, predicted, **macro))
    assert scores.recall == pytest.approx(recall_score(labels, predicted, **macro))
    assert scores.accuracy == pytest.approx(accuracy_score(labels, predicted))
    assert scores.loss == pytest.approx(log_loss(labels, probabilities, labels=range(classes)))


def test_a_class_that_no_note_has_is_left_out_of_the_means():
    probabilities = np.array([[0.9, 0.1, 0.0], [0.2, 0.8, 0.0], [0.1, 0.2, 0.7]])
    labels = np.array([0, 1, 1])  # none is 2, though one note is predicted so

    scores = score(probabilities, labels)

    assert scores.f1 == pytest.approx((1 + 2 / 3) / 2)
    assert scores.precision == pytest.approx(1.0)
    assert scores.recall == pytest.approx(0.75)


def test_a_class_that_is_never_predicted_has_precision_0_without_a_warning(recwarn):
    scores = score(np.array([[0.9, 0.1], [0.8, 0.2]]), np.array([0, 1]))

    assert scores.precision == pytest.approx(0.25)
    assert scores.f1 == pytest.approx(1 / 3)
    assert len(recwarn) == 0


def test_small_classes_count_as_much_as_large_ones():
    always_first = np.tile([1.0, 0.0], (100, 1))

    scores = score(always_first, np.array([0] * 99 + [1]))

    assert scores.accuracy == pytest.approx(0.99)
    assert scores.f1 < 0.5


def test_a_certain_mistake_has_a_finite_loss():
    assert score(np.array([[1.0, 0.0]]), np.array([1])).loss == pytest.approx(-np.log(1e-12))


def test_a_loss_without_a_number_is_not_hidden():
    assert np.isnan(score(np.full((2, 2), np.nan), np.array([0, 1])).loss)
