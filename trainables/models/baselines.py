"""The text baselines: TF-IDF of words and word pairs with logistic regression or an MLP.

The control beside every ranking, on the CPU. No message here quotes a note or a term of one.
"""

import math
import warnings
from collections import Counter
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier

from ...spaces.configs import BaselineConfig

MAX_ITERATIONS = 2_000  # of L-BFGS; a few hundred are enough on clinical notes
MLP_BATCH = 200  # notes a step: what scikit-learn's "auto" takes
MLP_EPOCHS = 200  # at most; scikit-learn's default
MLP_STEPS = 1_000  # at most, where that is more: an epoch of a small corpus is one step
PATIENCE_EPOCHS = 10  # without a better validation accuracy; scikit-learn's default
PATIENCE_STEPS = 200  # where that is more: on 60 notes 10 steps stopped the MLP at chance
VALIDATION_SHARE = 0.1  # of the training part that the MLP sets aside to stop early
NOTES_PER_MIN_NOTE = 10  # a smaller corpus asks fewer notes of a term, or nothing would be left
SEED_LIMIT = 2**32  # scikit-learn takes NumPy's old seeds


@dataclass(frozen=True, slots=True)
class FittedBaseline:
    """A fitted baseline: what it counts in a note, and what it decides from it."""

    vectorizer: TfidfVectorizer
    classifier: LogisticRegression | MLPClassifier
    class_count: int  # columns of `predict_proba`, a class missing in training included

    def predict_proba(self, texts: Sequence[str]) -> np.ndarray:
        """Probabilities, [notes, classes] float64; 0 for a class that training had no note of."""
        probabilities = np.zeros((len(texts), self.class_count))
        if len(texts):
            known = self.classifier.predict_proba(self.vectorizer.transform(texts))
            probabilities[:, self.classifier.classes_] = known
        return probabilities

    @property
    def parameters(self) -> int:
        """Trainable parameters: weights and intercepts; the TF-IDF weights are counted, not fit."""
        classifier = self.classifier
        if isinstance(classifier, LogisticRegression):
            parts = (classifier.coef_, classifier.intercept_)
        else:
            parts = (*classifier.coefs_, *classifier.intercepts_)
        return int(sum(np.size(part) for part in parts))


def fit_baseline(
    config: BaselineConfig,
    texts: Sequence[str],
    labels: np.ndarray,
    seed: int,
    class_count: int,
    *,
    frequency: int = 1,
    groups: Sequence[int] = (),
) -> FittedBaseline:
    """Fit a baseline on the training part.

    Args:
        config: the trial's choices.
        texts: the notes.
        labels: class indices, [notes] integer, in [0, class_count).
        seed: any non-negative integer; the logistic regression has no use for it.
        class_count: labels of the corpus.
        frequency: a term counts only where it is in notes of so many groups.
        groups: of each note; needed where `frequency` is over 1.

    Raises:
        ValueError: the notes cannot be learned from: fewer than two classes, or no term left.
    """
    labels = np.asarray(labels)
    _check(config, texts, labels, class_count)
    vectorizer = TfidfVectorizer(
        ngram_range=(1, config.ngrams),
        min_df=max(1, min(config.min_notes, len(texts) // NOTES_PER_MIN_NOTE)),
        max_features=config.features if config.model == "tfidf_mlp" else None,
        sublinear_tf=True,
        lowercase=True,
    )
    if frequency > 1:
        _keep_out_rare_terms(vectorizer, texts, frequency, groups)
    features = _fit_features(vectorizer, texts, frequency)
    if config.model == "tfidf_lr":
        classifier = _logistic_regression(config, seed)
    else:
        classifier = _mlp(config, labels, seed)
    with warnings.catch_warnings():
        # A fit that ends at its last iteration is a result: its score says what it is worth.
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", "The number of unique classes")  # few notes a class
        classifier.fit(features, labels)
    return FittedBaseline(vectorizer, classifier, class_count)


def _check(
    config: BaselineConfig, texts: Sequence[str], labels: np.ndarray, class_count: int
) -> None:
    if config.model not in ("tfidf_lr", "tfidf_mlp"):
        raise ValueError(f"a baseline is tfidf_lr or tfidf_mlp; got {config.model=}")
    if labels.shape != (len(texts),):
        raise ValueError(f"a note has one label; got {len(texts)} notes and {labels.shape=}")
    found = np.unique(labels)
    if len(found) < 2 or found[0] < 0 or found[-1] >= class_count:
        raise ValueError(
            f"a baseline needs notes of two classes or more, numbered from 0 to below "
            f"{class_count=}; got classes {found.tolist()} in {len(texts)} notes"
        )


def _keep_out_rare_terms(
    vectorizer: TfidfVectorizer, texts: Sequence[str], frequency: int, groups: Sequence[int]
) -> None:
    """Let it see those terms alone that are in notes of so many groups."""
    analyze = copy(vectorizer).build_analyzer()
    seen = {
        (group, term)
        for group, text in zip(groups, texts, strict=True)
        for term in set(analyze(text))
    }
    counts = Counter(term for _, term in seen)
    kept = {term for term, count in counts.items() if count >= frequency}
    # The terms that it is given are words and pairs already.
    vectorizer.set_params(
        analyzer=lambda text: [term for term in analyze(text) if term in kept], ngram_range=(1, 1)
    )


def _fit_features(vectorizer: TfidfVectorizer, texts: Sequence[str], frequency: int) -> Any:
    """TF-IDF of the notes, [notes, terms], in the sparse type that scikit-learn likes."""
    try:
        return vectorizer.fit_transform(texts)
    except ValueError:
        # Not chained: nothing that handled the notes may end in a log.
        asked = f", and of {frequency} patients or more" if frequency > 1 else ""
        raise ValueError(
            f"no term is in {vectorizer.min_df} or more of the {len(texts)} notes{asked} (a word "
            "has two characters or more): look at the text column, or lower min_notes"
        ) from None


def _logistic_regression(config: BaselineConfig, seed: int) -> LogisticRegression:
    return LogisticRegression(
        C=config.inverse_regularisation,
        class_weight="balanced" if config.balanced else None,
        max_iter=MAX_ITERATIONS,
        random_state=seed % SEED_LIMIT,
    )


def _mlp(config: BaselineConfig, labels: np.ndarray, seed: int) -> MLPClassifier:
    counts = np.unique(labels, return_counts=True)[1]
    set_aside = math.ceil(VALIDATION_SHARE * len(labels))
    steps_per_epoch = math.ceil((len(labels) - set_aside) / MLP_BATCH)
    # scikit-learn stratifies what it sets aside, and refuses where a class cannot be on both sides.
    can_stop_early = counts.min() >= 2 and set_aside >= len(counts)
    return MLPClassifier(
        hidden_layer_sizes=(config.hidden,),
        solver="adam",
        learning_rate_init=config.learning_rate,
        max_iter=max(MLP_EPOCHS, math.ceil(MLP_STEPS / steps_per_epoch)),
        n_iter_no_change=max(PATIENCE_EPOCHS, math.ceil(PATIENCE_STEPS / steps_per_epoch)),
        early_stopping=bool(can_stop_early),
        validation_fraction=VALIDATION_SHARE,
        random_state=seed % SEED_LIMIT,
    )
