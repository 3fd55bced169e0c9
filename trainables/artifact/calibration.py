"""One temperature that makes a model's probabilities as sure as it is right, and how far it is off.

Guo et al. 2017: the logits are divided by one number, which changes no label. It is fitted on the
validation part, of which the best epoch was chosen too, so that what is measured there flatters.
"""

import json
import math
from dataclasses import asdict, dataclass

import numpy as np

BINS = 15  # of equal width in the confidence
COLDEST, HOTTEST = 0.1, 10.0  # a few dozen notes may all be right, and must not make it certain
LEAST_LOGIT = -1e4  # of a class without a training note


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """A temperature, and what it did to the notes that it was fitted on."""

    temperature: float
    fitted_on: str  # which part
    notes: int
    error_before: float  # expected calibration error, in [0, 1]
    error_after: float
    loss_before: float  # mean cross-entropy, nats a note
    loss_after: float

    def to_json(self) -> str:
        """As a file holds it."""
        return json.dumps(asdict(self), indent=1) + "\n"


def calibrate(logits: np.ndarray, labels: np.ndarray, *, fitted_on: str) -> Calibration:
    """The temperature with the least loss.

    Args:
        logits: [notes, classes] float; any constant may be added to those of a note.
        labels: class codes, [notes] int64.
        fitted_on: what the notes are called.
    """
    from scipy.optimize import minimize_scalar

    def loss(log_temperature: float) -> float:
        return _loss(softmax(logits / math.exp(log_temperature)), labels)

    found = minimize_scalar(loss, bounds=(math.log(COLDEST), math.log(HOTTEST)), method="bounded")
    temperature = float(math.exp(found.x))  # pyright: ignore[reportAttributeAccessIssue]
    before, after = softmax(logits), softmax(logits / temperature)
    return Calibration(
        temperature=temperature,
        fitted_on=fitted_on,
        notes=len(labels),
        error_before=expected_calibration_error(before, labels),
        error_after=expected_calibration_error(after, labels),
        loss_before=_loss(before, labels),
        loss_after=_loss(after, labels),
    )


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities, [notes, classes] float64."""
    raised = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)


def as_logits(probabilities: np.ndarray) -> np.ndarray:
    """Logits whose softmax these are, [notes, classes] float64."""
    with np.errstate(divide="ignore"):
        return np.maximum(np.log(probabilities), LEAST_LOGIT)


class ReliabilityTally:
    """What the expected calibration error needs of the predictions so far."""

    def __init__(self) -> None:
        self._sums = np.zeros((3, BINS))  # notes, confidences, right ones by bin

    def add(self, probabilities: np.ndarray, labels: np.ndarray) -> None:
        """Count probabilities [notes, classes] of notes with class codes [notes]."""
        confidence = probabilities.max(axis=1)
        right = probabilities.argmax(axis=1) == labels
        place = np.minimum((confidence * BINS).astype(int), BINS - 1)
        for sums, weights in zip(self._sums, (None, confidence, right), strict=True):
            sums += np.bincount(place, weights=weights, minlength=BINS)

    def error(self) -> float:
        """The mean distance between confidence and accuracy over the notes, in [0, 1]."""
        notes, confidences, right = self._sums
        return float(np.abs(confidences - right).sum() / notes.sum())


def expected_calibration_error(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """By bins of the confidence, see `ReliabilityTally`."""
    tally = ReliabilityTally()
    tally.add(probabilities, labels)
    return tally.error()


def _loss(probabilities: np.ndarray, labels: np.ndarray) -> float:
    chosen = np.clip(probabilities[np.arange(len(labels)), labels], 1e-12, None)
    return float(-np.log(chosen).mean())
