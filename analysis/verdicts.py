"""What may be said of a confirmation, in plain sentences: what is better, and what is not known."""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from .confidence import LEVEL

LEAST_GAP = 0.0005  # under which it reads as none


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the frames do not say."""

    study: str  # the searched one
    winner: int  # trial that its ranking has first
    by: str  # order of the ranking
    test_notes: int
    groups: int  # of the test notes
    groups_are: str  # patients | texts, where patients are not known
    wanted_seeds: int
    fraction: float  # of the notes to train on, in the models' frame
    with_validation: bool  # trained on train and validation
    scorings: int  # of the test part
    unfinished: int  # trials that have not ended


def sentences(facts: Facts, models: pd.DataFrame, pairs: pd.DataFrame) -> tuple[str, ...]:
    """All that may be said, the most important first.

    Args:
        facts: beside the frames.
        models: `MODEL_COLUMNS`, by test F1.
        pairs: `PAIR_COLUMNS`.
    """
    said = [
        *_unfinished(facts, models),
        *_against_the_baseline(facts, models),
        *_among_themselves(pairs),
        *_flattered(facts, models),
        *_doubts(facts, models),
        _count(facts),
    ]
    return tuple(said)


def _unfinished(facts: Facts, models: pd.DataFrame) -> list[str]:
    said = []
    if facts.unfinished > 0:
        said.append(
            f"{_counted(facts.unfinished, 'trial')} of this confirmation have not ended: "
            f"`headhunt confirm {facts.study}` goes on."
        )
    said += [
        f"{_named(row)}: {row['failed']} of {facts.wanted_seeds} seeds failed or did not fit the "
        "card, and are left out."
        for _, row in models.iterrows()
        if row["failed"]
    ]
    return said


def _against_the_baseline(facts: Facts, models: pd.DataFrame) -> list[str]:
    is_baseline = (models["verdict"] == "baseline").fillna(False)
    others = models[~is_baseline]
    if not is_baseline.any():
        return ["No baseline is complete, so nothing was compared with one."]
    if not len(others):
        return ["Only the baseline is complete: there is nothing to compare with it."]
    baseline = f"the best baseline, {_named(models[is_baseline].iloc[0])}"
    if 2.0 ** (1 - facts.groups) * len(others) >= LEVEL:
        return [
            f"Nothing can be told: with the notes of {facts.groups} {facts.groups_are} no "
            "difference, however large, could be told from chance."
        ]
    said = []
    for verdict, words in (("better", "Better than"), ("worse", "Worse than")):
        found = others[others["verdict"] == verdict]
        if len(found):
            said.append(f"{words} {baseline}: {_listed(found, _gained)}.")
    undecided = others[others["verdict"] == "undecided"]
    if len(undecided):
        said.append(f"Cannot be told apart from {baseline}: {_listed(undecided, _open)}.")
    return said


def _among_themselves(pairs: pd.DataFrame) -> list[str]:
    decided = pairs[pairs["verdict"] != "undecided"]
    told = [
        f"{row['model_a']} (trial {row['trial_a']}) over {row['model_b']} (trial {row['trial_b']})"
        for _, row in decided.iterrows()
    ]
    if not len(pairs):
        return []
    among = f"Among the searched models, {_counted(len(pairs), 'pair')},"
    if not told:
        return [f"{among} none can be told apart."]
    rest = len(pairs) - len(told)
    left = f"; the other {_counted(rest, 'pair')} cannot be told apart" if rest else ""
    return [f"{among} told apart: {', '.join(told)}{left}."]


def _flattered(facts: Facts, models: pd.DataFrame) -> list[str]:
    found = models[models["trial"] == facts.winner]
    if not len(found) or pd.isna(found.iloc[0]["validation_f1"]):
        return []
    row = found.iloc[0]
    had = (
        f"The first by {facts.by}, {_named(row)}, had F1 {row['validation_f1']:.3f} on validation "
        f"in the search and has {row['test_f1']:.3f} on test"
    )
    if pd.isna(row["gap"]):
        return [f"{had}, trained on other notes than there: what lies between is not luck alone."]
    change = f"{abs(row['gap']):.3f} {'less' if row['gap'] >= 0 else 'more'}"
    lucky = ": a search picks lucky ones" if row["gap"] > 0 else ""
    if abs(row["gap"]) < LEAST_GAP:
        change, lucky = "the same", ""
    return [f"{had}, {change}{lucky}."]


def _doubts(facts: Facts, models: pd.DataFrame) -> list[str]:
    said = []
    if (models["seeds"] == 1).any():
        said.append(
            "Of a model with one seed, the intervals hold the chance of the patients and not that "
            "of the training: what is said is of that one training."
        )
    if facts.groups_are != "patients":
        said.append(
            "Patients are not known: each text counts as one, and the intervals are too narrow "
            "where patients have several notes."
        )
    if facts.fraction < 1:
        said.append(f"The models were trained on {facts.fraction:g} of the training notes.")
    if facts.with_validation:
        said.append(
            "They were trained on train and validation, each for as many epochs as its searched "
            "trial's best one."
        )
    return said


def _count(facts: Facts) -> str:
    return (
        f"The test part, {_counted(facts.test_notes, 'note')} of {facts.groups} "
        f"{facts.groups_are}, was scored {_counted(facts.scorings, 'time')}, once each trial; "
        "no search looked at it."
    )


def _named(row: pd.Series) -> str:
    return f"{row['model']} (trial {row['trial']})"


def _gained(row: pd.Series) -> str:
    return f"{_named(row)} by {row['difference']:+.3f} ({_range(row)})"


def _open(row: pd.Series) -> str:
    return f"{_named(row)}, {row['difference']:+.3f} ({_range(row)})"


def _range(row: pd.Series) -> str:
    return f"{row['difference_low']:+.3f} to {row['difference_high']:+.3f}"


def _listed(rows: pd.DataFrame, shown: Callable[[pd.Series], str]) -> str:
    return "; ".join(shown(row) for _, row in rows.iterrows())


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
