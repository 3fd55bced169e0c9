"""A baseline as data: its terms with their weights in JSON, its matrices in safetensors.

scikit-learn counts the terms; the layers behind them are two or four arrays, of which the last
gives the logits of all classes. So an exported baseline needs no scikit-learn of the version that
fitted it, and no pickle.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from ..models.baselines import FittedBaseline
from .calibration import LEAST_LOGIT


@dataclass(frozen=True, slots=True)
class Terms:
    """What is counted in a note, and what each counts."""

    terms: tuple[str, ...]  # in the order of the columns
    idf: tuple[float, ...]

    def to_json(self) -> str:
        """As a file holds it."""
        return json.dumps({"terms": self.terms, "idf": self.idf}, ensure_ascii=False)

    @classmethod
    def from_json(cls, stored: Any) -> "Terms":
        """What `to_json` wrote.

        Raises:
            ValueError: it is something else.
        """
        terms, idf = stored["terms"], stored["idf"]
        if not terms or len(terms) != len(idf) or len(set(terms)) != len(terms):
            raise ValueError("each term is there once, and has one weight")
        if not all(isinstance(term, str) for term in terms):
            raise ValueError("a term is a text")
        if not all(type(weight) is float and isfinite(weight) for weight in idf):
            raise ValueError("a weight is a finite number")
        return cls(tuple(terms), tuple(idf))


@dataclass(frozen=True, slots=True)
class TermModel:
    """A baseline that was loaded or is about to be stored."""

    vectorizer: TfidfVectorizer
    layers: tuple[tuple[np.ndarray, np.ndarray], ...]  # weight [out, in], bias [out], float64

    def logits(self, texts: Sequence[str]) -> np.ndarray:
        """[notes, classes] float64."""
        states: Any = self.vectorizer.transform(texts)
        for place, (weight, bias) in enumerate(self.layers):
            if place:
                states = np.maximum(states, 0.0)
            states = states @ weight.T + bias
        return np.asarray(states)


def terms_of(fitted: FittedBaseline) -> Terms:
    """The terms of a fitted baseline."""
    vectorizer = fitted.vectorizer
    terms = vectorizer.get_feature_names_out().tolist()
    return Terms(tuple(terms), tuple(vectorizer.idf_.tolist()))


def layers_of(fitted: FittedBaseline) -> dict[str, np.ndarray]:
    """Its matrices by name: `0.weight`, `0.bias`, and of an MLP `1.weight`, `1.bias`; float64.

    The last ones have a row a class of the corpus, in its order.
    """
    classifier = fitted.classifier
    if isinstance(classifier, LogisticRegression):
        layers = [(classifier.coef_, classifier.intercept_)]
    else:
        layers = [
            (weight.T, bias)
            for weight, bias in zip(classifier.coefs_, classifier.intercepts_, strict=True)
        ]
    weight, bias = layers[-1]
    if len(weight) < len(classifier.classes_):  # of two classes scikit-learn keeps the second
        weight, bias = np.vstack([np.zeros_like(weight), weight]), np.append([0.0], bias)
    every = np.zeros((fitted.class_count, weight.shape[1]))
    certain = np.full(fitted.class_count, LEAST_LOGIT)  # never, where training had no such note
    every[classifier.classes_], certain[classifier.classes_] = weight, bias
    layers[-1] = every, certain
    return {
        f"{place}.{name}": np.ascontiguousarray(array, dtype=np.float64)
        for place, pair in enumerate(layers)
        for name, array in zip(("weight", "bias"), pair, strict=True)
    }


def term_model(
    terms: Terms, ngrams: int, layers: Mapping[str, np.ndarray], *, classes: int
) -> TermModel:
    """What predicts so many classes.

    Raises:
        ValueError: the matrices do not fit the terms, one another, or the classes.
    """
    vectorizer = TfidfVectorizer(
        vocabulary=list(terms.terms), ngram_range=(1, ngrams), sublinear_tf=True, lowercase=True
    )
    vectorizer.idf_ = np.asarray(terms.idf)
    pairs = tuple(
        (layers[f"{place}.weight"], layers[f"{place}.bias"]) for place in range(len(layers) // 2)
    )
    width = len(terms.terms)
    for weight, bias in pairs:
        if weight.ndim != 2 or weight.shape[1] != width or bias.shape != weight.shape[:1]:
            raise ValueError("its matrices do not fit one another")
        width = len(weight)
    if width != classes:
        raise ValueError("its matrices are of another number of classes")
    return TermModel(vectorizer, pairs)
