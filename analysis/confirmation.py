"""What a confirmation says: the best trials, trained again with other seeds and scored on test.

The frames are those of `columns.py`; the statistics are in `confidence.py`, the words in
`verdicts.py`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from optuna.trial import FrozenTrial

from ..spaces.configs import BaselineConfig, Config, config_from_dict
from ..spaces.record import (
    CONFIRMS_KEY,
    OUTCOME_KEY,
    REPLICATE_KEY,
    Column,
    Outcome,
    Replicate,
    Role,
)
from ..stores import (
    Place,
    Store,
    StoredStudy,
    StudyNotFoundError,
    confirmation_of,
    confirmed_by,
    reading,
    store_at,
)
from .bundle_file import is_bundle, read_bundle
from .columns import (
    FRACTION_COLUMNS,
    MODEL_COLUMNS,
    PAIR_COLUMNS,
    SCORING_COLUMNS,
    confirmed_dtype,
    described,
)
from .confidence import FIGURES, LEVEL, HeldOut, Judge, holm
from .shareable import FRACTIONS, MODELS, PAIRS, SCORINGS
from .verdicts import Facts, sentences

DRAWING_SEED = 0  # of the patients that are drawn: a confirmation says the same each time


@dataclass(frozen=True, slots=True)
class Confirmation:
    """How the confirmed models do on the test part, and what of it may be chance."""

    models: pd.DataFrame  # a row a model, by test F1; columns `MODEL_COLUMNS`
    pairs: pd.DataFrame  # a row a pair of searched models; columns `PAIR_COLUMNS`
    fractions: pd.DataFrame | None  # a row a model and train fraction; None where none were asked
    sentences: tuple[str, ...]  # what may be said, in plain words
    scorings: pd.DataFrame  # a row a scoring of the test part, in their order; `SCORING_COLUMNS`


@dataclass(frozen=True, slots=True)
class _Trial:
    """A trial of the confirmation."""

    number: int
    replicate: Replicate
    outcome: Outcome | None  # None while it runs


@dataclass(frozen=True, slots=True)
class _Model:
    """A confirmed model at one train fraction, with what its replicates predicted."""

    trial: int  # of the search
    config: Config
    role: Role
    validation_f1: float | None
    replicates: tuple[_Trial, ...]

    @property
    def scored(self) -> list[Outcome]:
        """How the complete ones ended, by their numbers."""
        ends = (t.outcome for t in self.replicates)
        return [end for end in ends if end and end.test]

    @property
    def failed(self) -> int:
        """Replicates that ended without a score."""
        return sum(t.outcome is not None and t.outcome.test is None for t in self.replicates)

    @property
    def predicted(self) -> np.ndarray:
        """Classes, [seeds, notes] int64."""
        ends = self.scored
        return np.array([end.test.predicted for end in ends if end.test], dtype=np.int64)


def confirmation(study: str, *, store: Place | None = None) -> Confirmation:
    """How the best trials of a study do on the test part (see `headhunt confirm`).

    Args:
        study: the searched study's name, or a bundle's file.
        store: folder of the studies, or the address of a database, postgresql://...; HEADHUNT_STORE
            or `headhunt-studies` when not given.

    Raises:
        StudyNotFoundError: the store has no such study, or nothing of it was confirmed.
        StudyUnreadableError: what the store has of it is broken, or something else has written it.
        StoreError: the store cannot be reached, or its address is none; a bundle cannot be read.
    """
    if is_bundle(study):
        return _bundled(study)
    place, searched = store_at(store), confirmed_by(study) or study
    return confirmation_in(_stored(place, searched), searched)


def confirmation_in(stored: StoredStudy, called: str) -> Confirmation:
    """The same of what the store has of NAME/confirm.

    Args:
        stored: the confirmation's own study.
        called: how the sentences name the searched study.
    """
    with reading(stored.place):
        told = stored.manifest[CONFIRMS_KEY]
        trials = [_read(trial) for trial in stored.trials]
        if not any(t.outcome and t.outcome.test for t in trials):
            raise StudyNotFoundError(f"no trial that confirms {called!r} is complete")
        test = HeldOut(
            truth=np.array(told["test"]["classes"], dtype=np.int64),
            groups=np.array(told["test"]["groups"], dtype=np.int64),
            classes=len(stored.manifest["corpus"]["classes"]),
        )
        by_fraction = {
            share: [m for m in _models(told, trials, share) if m.scored]
            for share in told["train_fractions"]
        }
        largest = next(s for s in reversed(told["train_fractions"]) if by_fraction[s])
        judges = {
            share: Judge(test, [m.predicted for m in models], seed=DRAWING_SEED)
            for share, models in by_fraction.items()
        }
        models, judge = by_fraction[largest], judges[largest]
        portions = {portion["train_fraction"]: portion for portion in told["portions"]}
        alike = largest == 1 and not told["with_validation"]
        table = _models_frame(models, judge, portions[largest], alike=alike)
        pairs = _pairs_frame(models, judge)
        facts = _facts(called, told, test, trials, largest)
        return Confirmation(
            models=table,
            pairs=pairs,
            fractions=_fractions_frame(by_fraction, judges, portions),
            sentences=sentences(facts, table, pairs),
            scorings=_scorings_frame(told, trials),
        )


def _bundled(file: str) -> Confirmation:
    bundle = read_bundle(file, (MODELS, PAIRS, FRACTIONS, SCORINGS))
    tables = bundle.tables
    if not all(name in tables for name in (MODELS, PAIRS, SCORINGS)):
        raise StudyNotFoundError(f"{file} holds no confirmation: nothing was confirmed then")
    return Confirmation(
        models=tables[MODELS],
        pairs=tables[PAIRS],
        fractions=tables.get(FRACTIONS),
        sentences=bundle.sentences,
        scorings=tables[SCORINGS],
    )


def _stored(place: Store, searched: str) -> StoredStudy:
    name = confirmation_of(searched)
    if not place.exists(name):
        if not place.exists(searched):
            place.read(searched)  # says so
        raise StudyNotFoundError(
            f"nothing of the study {searched!r} in the store {place} was confirmed: "
            f"`headhunt confirm {searched}` does"
        )
    return place.read(name)


def _read(trial: FrozenTrial) -> _Trial:
    attributes = trial.user_attrs
    ended = trial.state.is_finished() and OUTCOME_KEY in attributes
    return _Trial(
        number=trial.number,
        replicate=Replicate(**attributes[REPLICATE_KEY]),
        outcome=Outcome.from_dict(attributes[OUTCOME_KEY]) if ended else None,
    )


def _models(told: Mapping[str, Any], trials: Sequence[_Trial], share: float) -> list[_Model]:
    """Of one train fraction, in the order of the ranking, the baseline last."""
    return [
        _Model(
            trial=one["trial"],
            config=config_from_dict(one["config"]),
            role=Role(one["role"]),
            validation_f1=one["validation_f1"],
            replicates=tuple(
                t
                for t in trials
                if t.replicate.trial == one["trial"] and t.replicate.train_fraction == share
            ),
        )
        for one in told["trials"]
    ]


def _models_frame(
    models: Sequence[_Model], judge: Judge, portion: Mapping[str, Any], *, alike: bool
) -> pd.DataFrame:
    """With each model's difference from the best baseline.

    `alike`: trained on the notes that the search trained on, so that the gap is that of the choice.
    """
    against = next((i for i, m in enumerate(models) if isinstance(m.config, BaselineConfig)), None)
    compared = [i for i in range(len(models)) if against is not None and i != against]
    differences = {i: judge.difference(i, against) for i in compared if against is not None}
    corrected = dict(zip(compared, holm([differences[i].p_value for i in compared]), strict=True))
    rows = []
    for i, model in enumerate(models):
        row = {**_named(model), **_tested(judge, i, FIGURES)}
        row |= {"seeds": len(model.scored), "failed": model.failed, **portion}
        row["validation_f1"] = model.validation_f1
        if model.validation_f1 is not None and alike:
            row["gap"] = model.validation_f1 - row["test_f1"]
        if i == against:
            row["verdict"] = "baseline"
        if i in differences:
            found = differences[i]
            row |= _told("difference", found.estimate) | {"p_value": found.p_value}
            row["p_value_corrected"] = corrected[i]
            row["verdict"] = _verdict(found.estimate.value, corrected[i], "better", "worse")
        rows.append(row)
    rows.sort(key=lambda row: (-row["test_f1"], row["trial"]))
    return _framed(rows, MODEL_COLUMNS)


def _pairs_frame(models: Sequence[_Model], judge: Judge) -> pd.DataFrame:
    """Each pair of searched models once, the one with the larger test F1 first.

    The best baseline is none of them: it is compared with each in the models' frame, and a second
    test of the same, corrected for another number, could say otherwise.
    """
    searched = [i for i, m in enumerate(models) if not isinstance(m.config, BaselineConfig)]
    score = {i: judge.estimate(i).value for i in searched}
    order = sorted(searched, key=lambda i: (-score[i], models[i].trial))
    pairs = [(i, j, judge.difference(i, j)) for i, j in combinations(order, 2)]
    corrected = holm([found.p_value for *_, found in pairs])
    rows = [
        {
            "trial_a": models[i].trial,
            "model_a": models[i].config.model,
            "trial_b": models[j].trial,
            "model_b": models[j].config.model,
            **_told("difference", found.estimate),
            "p_value": found.p_value,
            "p_value_corrected": p_value,
            "verdict": _verdict(found.estimate.value, p_value, "a", "b"),
        }
        for (i, j, found), p_value in zip(pairs, corrected, strict=True)
    ]
    return _framed(rows, PAIR_COLUMNS)


def _fractions_frame(
    by_fraction: Mapping[float, Sequence[_Model]],
    judges: Mapping[float, Judge],
    portions: Mapping[float, Mapping[str, Any]],
) -> pd.DataFrame | None:
    """In the order of the models, then from the smallest fraction."""
    if len(by_fraction) == 1:
        return None
    rows = [
        {
            **_named(model),
            **portions[share],
            "seeds": len(model.scored),
            **_tested(judges[share], i, ["f1"]),
        }
        for share, models in by_fraction.items()
        for i, model in enumerate(models)
    ]
    rows.sort(key=lambda row: (row["trial"], row["train_fraction"]))
    return _framed(rows, FRACTION_COLUMNS)


def _scorings_frame(told: Mapping[str, Any], trials: Sequence[_Trial]) -> pd.DataFrame:
    """By the moment, then by the trial."""
    models = {one["trial"]: config_from_dict(one["config"]).model for one in told["trials"]}
    rows = [
        {
            "scored_at": test.scored_at,
            "confirming_trial": trial.number,
            "trial": trial.replicate.trial,
            "model": models[trial.replicate.trial],
            "seed_number": trial.replicate.number,
            "train_fraction": trial.replicate.train_fraction,
            "test_notes": len(test.predicted),
            "test_f1": test.f1,
        }
        for trial in trials
        if trial.outcome and (test := trial.outcome.test)
    ]
    rows.sort(key=lambda row: (row["scored_at"], row["confirming_trial"]))
    return _framed(rows, SCORING_COLUMNS)


def _facts(
    searched: str,
    told: Mapping[str, Any],
    test: HeldOut,
    trials: Sequence[_Trial],
    fraction: float,
) -> Facts:
    return Facts(
        study=searched,
        winner=told["trials"][0]["trial"],
        by=told["by"],
        test_notes=len(test.truth),
        groups=len(test.sizes),
        groups_are=told["test"]["groups_are"],
        wanted_seeds=told["seeds"],
        fraction=fraction,
        with_validation=told["with_validation"],
        scorings=sum(t.outcome is not None and t.outcome.test is not None for t in trials),
        unfinished=len(told["trials"]) * told["seeds"] * len(told["train_fractions"])
        - sum(t.outcome is not None for t in trials),
    )


def _named(model: _Model) -> dict[str, Any]:
    return {
        "trial": model.trial,
        "role": model.role.value,
        "family": model.config.family,
        "model": model.config.model,
        "backbone": getattr(model.config, "backbone", None),
        "mode": getattr(model.config, "mode", None),
    }


def _tested(judge: Judge, model: int, figures: Iterable[str]) -> dict[str, float]:
    found: dict[str, float] = {}
    for figure in figures:
        found |= _told(f"test_{figure}", judge.estimate(model, figure))
    return found


def _told(name: str, estimate: Any) -> dict[str, float]:
    return {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}


def _verdict(difference: float, p_value: float, better: str, worse: str) -> str:
    if p_value >= LEVEL:
        return "undecided"
    return better if difference > 0 else worse


def _framed(rows: Sequence[Mapping[str, Any]], columns: Sequence[Column]) -> pd.DataFrame:
    names = [column.name for column in columns]
    frame = pd.DataFrame(
        {n: pd.Series([row.get(n) for row in rows], dtype=confirmed_dtype(n)) for n in names}
    )
    frame.attrs["columns"] = described(names, columns)
    return frame
