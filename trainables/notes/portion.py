"""What of the notes a confirming trial learns from: a share of them, or validation as well.

Which notes there are does not change, so features that were encoded once serve every portion.
Vocabularies do not: each is learned from the notes of its own portion.
"""

import hashlib
from dataclasses import replace
from functools import lru_cache

import numpy as np

from .corpus import Corpus
from .split import Array, Part, least_share, thin_training

LEFT_OUT = -1  # the part of a note that is in none


@lru_cache(maxsize=16)
def portion(corpus: Corpus, *, share: float, with_validation: bool, seed: int) -> Corpus:
    """The corpus with another training part.

    Args:
        corpus: all the notes.
        share: of the notes to learn from that are kept, by whole patients, in (0, 1]; what a
            smaller share keeps, a larger one keeps too.
        with_validation: those are the training part's and the validation part's; then no note
            is left to validate on.
        seed: of the share; the study's.
    """
    if share >= 1 and not with_validation:
        return corpus
    parts = corpus.parts.copy()
    if with_validation:
        parts[parts == Part.VALIDATION] = Part.TRAIN
    train = np.flatnonzero(parts == Part.TRAIN)
    kept = thin_training(*_of(corpus, train), share=share, seed=seed)
    parts[train[~kept]] = LEFT_OUT
    parts.setflags(write=False)
    name = hashlib.sha256(parts.tobytes()).hexdigest()[:24]
    return replace(corpus, parts=parts, portion=name)


def least_portion(corpus: Corpus, *, with_validation: bool, seed: int) -> float:
    """The smallest share, to four decimals, in which each class has a note by its place alone."""
    learned = [Part.TRAIN, Part.VALIDATION] if with_validation else [Part.TRAIN]
    return least_share(*_of(corpus, np.flatnonzero(np.isin(corpus.parts, learned))), seed=seed)


def _of(corpus: Corpus, notes: Array) -> tuple[list[str], Array, Array]:
    """Texts, labels and groups of these notes."""
    return [corpus.texts[i] for i in notes], corpus.labels[notes], corpus.groups[notes]
