"""The study's table: one row a model, with its best trial, and what the model cost in all.

A model is a head on one backbone in one mode, a scratch model, or a baseline. Its F1, metrics,
parameters, memory and hours are those of one trial, its best complete one; its totals are of all
its trials. What is missing stays missing: docs/ranking.md says when.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ..spaces.record import COLUMNS, COMPARISON_COLUMNS, State
from .columns import DTYPES, described
from .formulas import (
    HOURS_COLUMN,
    RATIO_COLUMN,
    Hours,
    card_of,
    check_hours,
    difference_notes,
    differences_between_studies,
    f1_over,
    finite,
    is_complete,
    paid,
    spent_card_hours,
    spent_gpu_hours,
)
from .wording import counted

MODEL_COLUMNS = ("model", "backbone", "mode")
OF_THE_BEST = (
    *("trial", "f1", "accuracy", "precision", "recall", "trainable_parameters", "peak_mib"),
    *("card_hours", "gpu_hours", "cpu_seconds"),
)
_NAMES = [column.name for column in COMPARISON_COLUMNS]


@dataclass(frozen=True, slots=True)
class Comparison:
    """The models of a frame from the best F1, and what a reader must know beside them."""

    table: pd.DataFrame  # COMPARISON_COLUMNS; a column `study` first where the frame has one
    notes: tuple[str, ...]  # plain sentences
    hours: Hours  # which hours `f1_per_gpu_hour` and `times_cheapest` are of
    card: str | None  # the card of modelled hours, where the frame names one
    card_hours: float  # of all trials, each backbone's encoding once a study; NaN without a card
    gpu_hours: float  # measured, of all trials; NaN without a GPU


def compare(frame: pd.DataFrame, *, hours: Hours = "modelled") -> Comparison:
    """One row a model of a frame from `trials`, of one study or of several (then a row a study).

    A model's best trial is its complete one with the largest F1, of equals the one with fewer
    hours, then the earlier one. Rows stand by F1, of equals by hours, then by name; models without
    a complete trial come last, with their totals.

    Args:
        frame: trials of one study, or of several.
        hours: modelled on the card, or measured where a GPU was used.

    Raises:
        ValueError: `hours` is neither of them.
    """
    check_hours(hours)
    keys = [name for name in ("study", *MODEL_COLUMNS) if name in frame]
    groups = frame.reset_index(drop=True).groupby(keys, dropna=False, sort=False)
    rows = [_row(dict(zip(keys, names, strict=True)), group, hours) for names, group in groups]
    names = [*keys[: -len(MODEL_COLUMNS)], *_NAMES]  # the study first, of several
    table = pd.DataFrame(
        {name: pd.Series([row.get(name) for row in rows], dtype=DTYPES[name]) for name in names}
    )
    spent = paid(table[HOURS_COLUMN[hours]])
    table[RATIO_COLUMN] = f1_over(table["f1"], spent)
    table["times_cheapest"] = spent / _cheapest(frame, table, spent)
    table = _in_order(table, spent, keys)
    table.attrs["columns"] = described(names, (*COLUMNS, *COMPARISON_COLUMNS))
    return Comparison(
        table=table,
        notes=tuple(_notes(frame, table, hours)),
        hours=hours,
        card=card_of(frame),
        card_hours=spent_card_hours(frame),
        gpu_hours=spent_gpu_hours(frame),
    )


def _row(names: dict[str, Hashable], group: pd.DataFrame, hours: Hours) -> dict[str, Any]:
    counts = group["state"].value_counts()
    return {
        **names,
        **_best(group, hours),
        "total_card_hours": spent_card_hours(group),
        "total_gpu_hours": spent_gpu_hours(group),
        "trials": len(group),
        **{state.value: int(counts.get(state, 0)) for state in State},
    }


def _best(group: pd.DataFrame, hours: Hours) -> dict[str, Any]:
    """What the row says of the model's best complete trial; nothing where there is none."""
    scored = group[is_complete(group) & finite(group["f1"])]
    if scored.empty:
        return {}
    keys = pd.DataFrame(
        {
            "f1": -scored["f1"],
            "hours": paid(scored[HOURS_COLUMN[hours]]).fillna(np.inf),
            "trial": scored["trial"].astype(int),
        }
    )
    best = scored.loc[keys.sort_values(list(keys.columns)).index[0]]
    return {name: best[name] for name in OF_THE_BEST}


def _cheapest(frame: pd.DataFrame, table: pd.DataFrame, spent: pd.Series) -> pd.Series:
    """The least hours of a model's best trial: of all studies, or of the row's own study.

    Of its own where the studies differ in card or corpus: their hours do not compare then.
    """
    if differences_between_studies(frame):
        return spent.groupby(table["study"]).transform("min")
    return pd.Series(spent.min(), index=table.index)


def _in_order(table: pd.DataFrame, spent: pd.Series, keys: list[str]) -> pd.DataFrame:
    order = pd.DataFrame(
        {
            "f1": -table["f1"].fillna(-np.inf),
            "hours": spent.fillna(np.inf),
            **{name: table[name].fillna("").astype(str) for name in (*MODEL_COLUMNS, *keys)},
        }
    )
    return table.loc[order.sort_values(list(order.columns)).index].reset_index(drop=True)


def _notes(frame: pd.DataFrame, table: pd.DataFrame, hours: Hours) -> list[str]:
    notes = difference_notes(frame)
    without_score = int((is_complete(frame) & ~finite(frame["f1"])).sum())
    if without_score:
        notes.append(f"{counted(without_score, 'complete trial')} without an F1 cannot be best.")
    empty = int(table["f1"].isna().sum())
    if empty:
        notes.append(f"{counted(empty, 'model')} without a complete trial: no F1, totals alone.")
    if not paid(table[HOURS_COLUMN[hours]]).notna().any() and table["f1"].notna().any():
        notes.append(f"No model has {hours} hours, so none is so many times the cheapest.")
    running = int(table["running"].sum())
    if running:
        notes.append(f"{counted(running, 'trial')} not ended: totals are of the epochs so far.")
    return notes
