"""The figures of a validation pass, by scikit-learn: macro means, so that small classes count."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Scores:
    """Metrics of one set of predictions; all but the loss in [0, 1]."""

    f1: float
    accuracy: float
    precision: float
    recall: float
    loss: float  # mean cross-entropy, nats a note


def score(probabilities: np.ndarray, labels: np.ndarray) -> Scores:
    """Score class probabilities [notes, classes] against class codes [notes].

    Without a note every figure is not a number.
    A class that no note of this part has is left out of the means; one that is never predicted
    has precision 0.
    """
    if not len(labels):
        return Scores(*[float("nan")] * 5)
    tally = Tally(probabilities.shape[1])
    tally.add(probabilities, labels)
    return tally.scores()


class Tally:
    """What the scores need of the predictions so far, however many there are."""

    def __init__(self, classes: int) -> None:
        self._counts = np.zeros((classes, classes), dtype=np.int64)  # [label, predicted]
        self._loss = 0.0

    def add(self, probabilities: np.ndarray, labels: np.ndarray) -> None:
        """Count class probabilities [notes, classes] of notes with class codes [notes]."""
        np.add.at(self._counts, (labels, probabilities.argmax(axis=1)), 1)
        chosen = np.clip(probabilities[np.arange(len(labels)), labels], 1e-12, None)
        self._loss -= float(np.log(chosen).sum())

    def scores(self) -> Scores:
        """Of all that was added, which must be a note or more."""
        # Imported here: a footprint needs the loop and no metrics, and scikit-learn takes a second.
        from sklearn.metrics import accuracy_score, precision_recall_fscore_support

        labels, predicted = np.nonzero(self._counts)
        counts = self._counts[labels, predicted]
        precision, recall, f1, _ = precision_recall_fscore_support(
            labels,
            predicted,
            labels=np.unique(labels),
            average="macro",
            sample_weight=counts,
            zero_division=0,  # pyright: ignore[reportArgumentType]
        )
        return Scores(
            f1=float(f1),
            accuracy=float(accuracy_score(labels, predicted, sample_weight=counts)),
            precision=float(precision),
            recall=float(recall),
            loss=self._loss / int(counts.sum()),
        )
