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
    # Imported here: a footprint needs the loop and no metrics, and scikit-learn takes a second.
    from sklearn.metrics import accuracy_score, precision_recall_fscore_support

    predicted = probabilities.argmax(axis=1)
    present = np.unique(labels)
    precision, recall, f1, _ = precision_recall_fscore_support(
        labels,
        predicted,
        labels=present,
        average="macro",
        zero_division=0,  # pyright: ignore[reportArgumentType]
    )
    chosen = np.clip(probabilities[np.arange(len(labels)), labels], 1e-12, None)
    return Scores(
        f1=float(f1),
        accuracy=float(accuracy_score(labels, predicted)),
        precision=float(precision),
        recall=float(recall),
        loss=float(-np.log(chosen).mean()),
    )
