"""Which parameters mattered, and how sure that is: Optuna's PED-ANOVA, repeated.

The importance of a parameter is its share in what sets the best of the complete trials apart from
all of them. It is computed again on random halves of the trials, which shows its spread, and with
the scores dealt out anew among the trials, which shows what chance alone makes of it.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import optuna
import pandas as pd
from optuna.storages import InMemoryStorage
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, create_trial

from ..spaces.record import Column, State
from ..stores import Place, reading, store_at
from .columns import described
from .formulas import finite, is_complete, is_control
from .frame import trials
from .wording import counted

LEAST_TRIALS = 20  # complete ones; below, halves of them would have a handful each
MOST_TRIALS = 200  # that are looked at, for time: forty-one evaluations with them take a second
HALVES = 20
DEALS = 20  # a parameter above all of them is so by chance in one study of twenty-one at most
BEST_SHARE = 0.1  # of the trials count as the best, as in Optuna
LEAST_BEST = 5  # Optuna's advice
SPREAD = (0.05, 0.95)

IMPORTANCE_COLUMNS = (
    Column(name="parameter", unit="", origin="chosen", text="its name in the space"),
    Column(
        name="importance",
        unit="",
        origin="derived",
        text="its share in what sets the best tenth of the complete trials (of few trials, the "
        "best five) apart from all of them, by PED-ANOVA; all parameters' add up to 1",
    ),
    Column(
        name="low",
        unit="",
        origin="derived",
        text=f"of {HALVES} random halves of the trials, one in twenty gives it less",
    ),
    Column(name="high", unit="", origin="derived", text="likewise, one in twenty gives it more"),
    Column(
        name="by_chance",
        unit="",
        origin="derived",
        text="the largest that any parameter came to when the scores were dealt out anew among the "
        f"trials, {DEALS} times",
    ),
    Column(
        name="told_from_chance",
        unit="",
        origin="derived",
        text="importance is above by_chance: where no parameter matters at all, one study in "
        "twenty would show any such",
    ),
)
_NAMES = [column.name for column in IMPORTANCE_COLUMNS]
DTYPES = {
    **dict.fromkeys(_NAMES, "float64"),
    "parameter": "string",
    "told_from_chance": "boolean",
}


@dataclass(frozen=True, slots=True)
class Importance:
    """The parameters from the most important one, and what a reader must know beside them."""

    table: pd.DataFrame  # IMPORTANCE_COLUMNS; empty where nothing can be told
    notes: tuple[str, ...]  # plain sentences
    trials: int  # complete trials that it is of


def importance(study: str, *, store: Place | None = None, seed: int = 0) -> Importance:
    """The importance of each parameter of the study's space for F1, with its spread.

    Of complete trials alone: what rungs stopped is left out, baselines too.

    Args:
        study: the study's name.
        store: as in `trials`.
        seed: of the halves and of the deals.

    Raises:
        StudyNotFoundError: the store has no such study.
        StudyUnreadableError: what the store has of it is broken.
        StoreError: the store cannot be reached.
    """
    place = store_at(store)
    stored = place.read(study)
    with reading(stored.place):
        return importance_of(trials(study, store=place), stored.trials, seed=seed)


def importance_of(
    frame: pd.DataFrame, stored: Sequence[FrozenTrial], *, seed: int = 0
) -> Importance:
    """The same of a frame from `trials` and of what the store has of its study."""
    scored = frame[is_complete(frame) & ~is_control(frame) & finite(frame["f1"])]
    scores = dict(zip(scored["trial"].astype(int), scored["f1"].astype(float), strict=True))
    sampled = [trial for trial in stored if trial.number in scores and trial.params]
    if len(sampled) < LEAST_TRIALS:
        return _nothing(
            f"Nothing can be told of importance: {counted(len(sampled), 'complete trial')} with "
            f"parameters, and it takes {LEAST_TRIALS}.",
            len(sampled),
        )
    if len({scores[trial.number] for trial in sampled}) == 1:
        return _nothing(
            "Nothing can be told of importance: all complete trials have the same F1.", len(sampled)
        )
    random = np.random.default_rng(seed)
    kept = random.permutation(len(sampled))[:MOST_TRIALS]
    looked_at = [sampled[place] for place in sorted(kept)]
    values = np.array([scores[trial.number] for trial in looked_at])
    table = _table(_Evaluator(looked_at), values, random)
    return Importance(
        table, tuple(_notes(table, frame, len(sampled), len(looked_at))), len(sampled)
    )


def _table(
    evaluator: "_Evaluator", scores: np.ndarray, random: np.random.Generator
) -> pd.DataFrame:
    whole = evaluator.importances(scores)
    total = sum(whole.values()) or 1.0
    halves = pd.DataFrame(
        [_shares(evaluator.importances(_half(scores, random))) for _ in range(HALVES)]
    )
    halves = halves.reindex(columns=list(whole)).fillna(0.0)  # a parameter that no half's trial has
    dealt = [max(evaluator.importances(random.permutation(scores)).values()) for _ in range(DEALS)]
    table = pd.DataFrame(
        {
            "parameter": pd.array(list(whole), dtype="string"),
            "importance": [value / total for value in whole.values()],
            "low": halves.quantile(SPREAD[0]).to_numpy(),
            "high": halves.quantile(SPREAD[1]).to_numpy(),
            "by_chance": max(dealt) / total,
        }
    )
    table["told_from_chance"] = (table["importance"] > table["by_chance"]).astype("boolean")
    table = table.sort_values(["importance", "parameter"], ascending=[False, True])
    table = table[_NAMES].reset_index(drop=True)
    table.attrs["columns"] = described(_NAMES, IMPORTANCE_COLUMNS)
    return table


class _Evaluator:
    """Optuna's evaluator over one set of trials, asked again with other scores."""

    def __init__(self, sampled: Sequence[FrozenTrial]) -> None:
        from optuna.importance import PedAnovaImportanceEvaluator

        share = max(BEST_SHARE, LEAST_BEST / len(sampled))
        self._evaluator = PedAnovaImportanceEvaluator(target_quantile=share)
        self._study = _study_of(sampled)

    def importances(self, scores: np.ndarray) -> dict[str, float]:
        """By parameter, not adding up to anything; trials whose score is NaN are left out."""
        from optuna.importance import get_param_importances

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that less is better: the scores are turned below
            return get_param_importances(
                self._study,
                evaluator=self._evaluator,
                target=lambda trial: -scores[trial.number],
                normalize=False,
            )


def _study_of(sampled: Sequence[FrozenTrial]) -> Study:
    """In memory, of complete trials numbered as they stand here."""
    storage = InMemoryStorage()
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        study_id = storage.create_new_study([StudyDirection.MINIMIZE])
    finally:
        optuna.logging.set_verbosity(verbosity)
    for trial in sampled:
        complete = create_trial(value=0.0, params=trial.params, distributions=trial.distributions)
        storage.create_new_trial(study_id, template_trial=complete)
    return Study(study_name=storage.get_study_name_from_id(study_id), storage=storage)


def _half(scores: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """The scores of a random half; the others' are NaN."""
    kept = random.permutation(len(scores))[: (len(scores) + 1) // 2]
    half = np.full(len(scores), np.nan)
    half[kept] = scores[kept]
    return half


def _shares(importances: Mapping[str, float]) -> dict[str, float]:
    total = sum(importances.values())
    return {name: value / total if total else 0.0 for name, value in importances.items()}


def _nothing(note: str, number: int) -> Importance:
    table = pd.DataFrame({name: pd.Series(dtype=DTYPES[name]) for name in _NAMES})
    table.attrs["columns"] = described(_NAMES, IMPORTANCE_COLUMNS)
    return Importance(table, (note,), number)


def _notes(table: pd.DataFrame, frame: pd.DataFrame, complete: int, looked_at: int) -> list[str]:
    told = table.loc[table["told_from_chance"], "parameter"].tolist()
    notes = [
        f"Told from chance: {', '.join(told)}."
        if told
        else "No parameter's importance can be told from chance."
    ]
    if looked_at < complete:
        notes.append(f"Of {complete} complete trials, {looked_at} drawn at random were looked at.")
    if pruned := int((frame["state"] == State.PRUNED).sum()):
        notes.append(
            f"It is of {counted(complete, 'complete trial')}; {counted(pruned, 'trial')} stopped "
            "at rungs told nothing, so what rungs sort out early seems less important than it is."
        )
    return notes
