"""What a confirmation says: the best trials, trained again with other seeds and scored on test.

The frames are those of `columns.py`; the statistics are in `confidence.py`.
"""

from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True, slots=True)
class Confirmation:
    """How the confirmed models do on the test part, and what of it may be chance."""

    models: pd.DataFrame  # a row a model, by test F1; columns `MODEL_COLUMNS`
    pairs: pd.DataFrame  # a row a pair of models; columns `PAIR_COLUMNS`
    fractions: pd.DataFrame | None  # a row a model and train fraction; None where none were asked
    sentences: tuple[str, ...]  # what may be said, in plain words
    scorings: pd.DataFrame  # a row a scoring of the test part, in their order; `SCORING_COLUMNS`
