"""Trials as points, curves and lines: the tables that the report's figures draw.

A figure computes nothing, so whatever it shows stands in one of these first. How sure an F1 is
before anything has been confirmed on test is a rough matter, and stands here too.
"""

from collections.abc import Mapping, Sequence
from math import sqrt
from typing import Any

import numpy as np
import pandas as pd

from ..spaces.record import STARTED, UNSCORED, Column, State
from .columns import NOT_PARAMETERS, described
from .formulas import HOURS_COLUMN, Hours, finite, is_complete, is_control, paid
from .ranking import pareto

NORMAL_95 = 1.959964
BEST_DRAWN, OTHERS_DRAWN = 40, 160  # curves in a figure: more are a grey surface
FEW_VALUES = 5  # of a number are laid out side by side, like categories
BEST_LINES, OTHER_LINES = 30, 170  # of parallel coordinates
LOG_RATIO = 30  # a parameter that is positive and spans more is laid out by its logarithm
JITTER = 0.12  # of a category's share of the axis, to each side

POINT_COLUMNS = (
    Column(
        name="f1_low",
        unit="",
        origin="modelled",
        text="rough lower end of a 95 % interval: Wilson's for a share of the validation notes, as "
        "if F1 were one and the notes independent. With uneven classes, or several notes a "
        "patient, the truth is wider",
    ),
    Column(name="f1_high", unit="", origin="modelled", text="likewise, the upper end"),
    Column(
        name="pareto",
        unit="",
        origin="derived",
        text="no other complete trial has at least its F1 in at most its hours and is better in "
        "one of them",
    ),
    Column(name="settings", unit="", origin="chosen", text="the trial's parameters"),
)
SPENDING_COLUMNS = (
    Column(
        name="spent_hours",
        unit="h",
        origin="modelled",
        text="of the family's trials that had ended by then, whatever their end, each backbone's "
        "encoding once",
    ),
    Column(
        name="best_f1",
        unit="",
        origin="measured",
        text="the family's best F1 of a complete trial by then; macro, on validation",
    ),
)
LEARNING_COLUMNS = (
    Column(name="epoch", unit="epochs", origin="measured", text="epochs completed, from 1"),
    Column(name="trained", unit="trials", origin="measured", text="trials that had this epoch"),
    Column(
        name="stopped",
        unit="trials",
        origin="measured",
        text="trials stopped here, at a rung, since others of their family did better",
    ),
    Column(name="best_f1", unit="", origin="measured", text="the best F1 after this epoch"),
    Column(name="median_f1", unit="", origin="measured", text="the median F1 after this epoch"),
)


def rough_interval(f1: pd.Series, notes: int | None) -> tuple[pd.Series, pd.Series]:
    """Low and high ends of Wilson's 95 % interval, as if F1 were a share of so many notes.

    A scale for the eye and no test: the classes' sizes are not in it, nor is the choice of the
    best of many. Missing where the number of notes is.
    """
    if not notes:
        missing = pd.Series(np.nan, index=f1.index)
        return missing, missing
    share, square = f1.astype(float).clip(0.0, 1.0), NORMAL_95**2
    middle = (share + square / (2 * notes)) / (1 + square / notes)
    spread = share * (1 - share) / notes + square / (4 * notes**2)
    half = NORMAL_95 / (1 + square / notes) * spread.map(sqrt, na_action="ignore")
    return middle - half, middle + half


def points(frame: pd.DataFrame, hours: Hours = "modelled") -> pd.DataFrame:
    """The trials that have an F1, with a rough interval, the front, and their settings in words."""
    scored = frame[finite(frame["f1"])]
    names = [name for name in ("study", "trial", "state", "family", "model", "f1") if name in frame]
    table = scored[[*names, HOURS_COLUMN[hours]]].copy()
    table["family"] = table["family"].fillna("?")
    table["control"] = is_control(scored)
    table["f1_low"], table["f1_high"] = (pd.Series(np.nan, index=table.index) for _ in range(2))
    for notes, index in _by_validation_notes(scored):
        low, high = rough_interval(table.loc[index, "f1"], notes)
        table.loc[index, "f1_low"], table.loc[index, "f1_high"] = low, high
    table["pareto"] = pareto(frame, hours).reindex(table.index)
    table["settings"] = _settings(scored)
    table.attrs["columns"] = {
        **{n: t for n, t in frame.attrs.get("columns", {}).items() if n in table},
        **described((c.name for c in POINT_COLUMNS), POINT_COLUMNS),
    }
    return table.reset_index(drop=True)


def _by_validation_notes(scored: pd.DataFrame) -> list[tuple[int | None, pd.Index]]:
    manifests = scored.attrs.get("manifests")
    if manifests is None:
        return [(validation_notes(scored.attrs.get("manifest", {})), scored.index)]
    groups = scored.groupby("study", sort=False).groups
    return [(validation_notes(manifests[name]), index) for name, index in groups.items()]


def validation_notes(manifest: Mapping[str, Any]) -> int | None:
    """How many notes a study's validation part has; None where its manifest does not tell."""
    return ((manifest.get("corpus") or {}).get("parts") or {}).get("validation")


def parameter_names(frame: pd.DataFrame) -> list[str]:
    """The columns that are parameters: all that a frame describes after its `ended_at`."""
    names = list(map(str, frame.columns))
    return [n for n in names[names.index("ended_at") + 1 :] if n not in NOT_PARAMETERS]


def _settings(frame: pd.DataFrame) -> list[str]:
    names = parameter_names(frame)
    values: list[list[Any]] = [frame[name].tolist() for name in names]
    rows = zip(*values, strict=True) if names else ((),) * len(frame)
    return [
        ", ".join(
            f"{name} {shown(value)}"
            for name, value in zip(names, row, strict=True)
            if not bool(pd.isna(value))
        )
        for row in rows
    ]


def shown(value: Any) -> str:
    """A parameter's value in few characters.

    >>> shown(0.00123456), shown(64), shown(True), shown("mean")
    ('0.00123', '64', 'yes', 'mean')
    """
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    return f"{value:.3g}" if isinstance(value, float | np.floating) else str(value)


def spending(frame: pd.DataFrame) -> pd.DataFrame:
    """The best F1 of each family against the card hours that it had spent, in the order of time.

    A row for each trial that ended and had hours; failed, pruned and infeasible ones spend too.
    """
    ended = frame[frame["ended_at"].notna() & paid(frame["card_hours"]).notna()]
    ended = ended.sort_values(["ended_at", "trial"])
    keys = [frame[name].reindex(ended.index) for name in ("study", "family") if name in frame]
    encoding = ended["card_hours"] - ended["card_hours_marginal"]
    backbones = [*keys, ended["backbone"].fillna("")]
    known = encoding.groupby(backbones, dropna=False).cummax()
    paid_now = known - known.groupby(backbones, dropna=False).shift(fill_value=0.0)
    scores = ended["f1"].where(is_complete(ended) & finite(ended["f1"]))
    names = [name for name in ("study", "family", "trial", "ended_at") if name in frame]
    table = ended[names].copy()
    spent = ended["card_hours_marginal"] + paid_now
    table["spent_hours"] = spent.groupby(keys, dropna=False).cumsum()
    table["best_f1"] = scores.groupby(keys, dropna=False).cummax()
    table["best_f1"] = table["best_f1"].groupby(keys, dropna=False).ffill()
    table.attrs["columns"] = {
        **{n: t for n, t in frame.attrs.get("columns", {}).items() if n in names},
        **described((c.name for c in SPENDING_COLUMNS), SPENDING_COLUMNS),
    }
    return table.reset_index(drop=True)


def learning(curves: pd.DataFrame) -> pd.DataFrame:
    """A row an epoch: how many trials had it, how many were stopped there, and their F1.

    Failed and infeasible trials had it, and have no F1.
    """
    scored = curves[finite(curves["f1"]) & ~curves["state"].isin(UNSCORED)]
    last = curves.groupby("trial")["epoch"].transform("max")
    stopped = curves[(curves["state"] == State.PRUNED) & (curves["epoch"] == last)]
    epochs = sorted(int(epoch) for epoch in curves["epoch"].dropna().unique())
    by_epoch = scored.groupby("epoch")["f1"]
    table = pd.DataFrame({"epoch": pd.array(epochs, dtype="Int64")})
    for name, values in (
        ("trained", curves["epoch"].value_counts()),
        ("stopped", stopped["epoch"].value_counts()),
    ):
        table[name] = pd.array([int(values.get(epoch, 0)) for epoch in epochs], dtype="Int64")
    table["best_f1"] = table["epoch"].map(by_epoch.max()).astype("float64")
    table["median_f1"] = table["epoch"].map(by_epoch.median()).astype("float64")
    table.attrs["columns"] = described((c.name for c in LEARNING_COLUMNS), LEARNING_COLUMNS)
    return table


def drawn_curves(curves: pd.DataFrame) -> pd.DataFrame:
    """The rows of the curves that a figure shows: the best ones, and of the others every n-th.

    Complete trials come before all others; `best` marks the first of them, if there is one.
    """
    scored = curves[finite(curves["f1"]) & curves["state"].isin(STARTED)]
    tops = scored.assign(complete=is_complete(scored)).groupby("trial")[["complete", "f1"]].max()
    order = tops.sort_values(["complete", "f1"], ascending=False, kind="stable")
    others = order.index[BEST_DRAWN:]
    step = -(-len(others) // OTHERS_DRAWN) or 1
    chosen = [*order.index[:BEST_DRAWN], *others[::step]]
    drawn = scored[scored["trial"].isin(chosen)].sort_values(["trial", "epoch"])
    return drawn.assign(best=drawn["trial"].isin(order.index[order["complete"]][:1]))


def parallel(frame: pd.DataFrame) -> pd.DataFrame:
    """A row a scored trial and axis: F1, hours, model and every parameter that varies.

    `position` is where the value stands on its axis, in [0, 1]: by its logarithm where the values
    are positive and span a ratio of thirty; categories, and numbers of few values, stand side by
    side, spread a little so that trials of one can be told apart. `told` is the value in words.
    Of many trials the best are kept, and of the others every n-th; `best` tells which is which.
    """
    scored = _few(frame[finite(frame["f1"]) & ~is_control(frame)])
    names = ["f1", "card_hours", "family", "model", *parameter_names(frame)]
    if scored["family"].nunique() == scored.groupby(["family", "model"]).ngroups:
        names.remove("family" if scored["model"].nunique() > 1 else "model")
    rows: list[pd.DataFrame] = []
    for name in names:
        values = scored[name].dropna()
        if values.nunique() > 1:
            rows.append(_axis(scored, name, values))
    columns = ["trial", "axis", "position", "told", "numeric", "f1", "best"]
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=columns)


def _few(scored: pd.DataFrame) -> pd.DataFrame:
    """The best tenth, of many the best thirty, and the others thinned out; `best` is a column.

    The best are complete trials.
    """
    complete = is_complete(scored)
    ordered = scored.assign(complete=complete).sort_values(
        ["complete", "f1", "trial"], ascending=[False, False, True]
    )
    best = min(-(-len(ordered) // 10), BEST_LINES, int(complete.sum()))
    step = -(-(len(ordered) - best) // OTHER_LINES) or 1
    kept = pd.concat([ordered.iloc[:best], ordered.iloc[best::step]])
    return kept.assign(best=[n < best for n in range(len(kept))])


def _axis(scored: pd.DataFrame, name: str, values: pd.Series) -> pd.DataFrame:
    spread = _spread(scored.loc[values.index, "trial"])
    numeric = (
        pd.api.types.is_numeric_dtype(values)
        and not pd.api.types.is_bool_dtype(values)
        and values.nunique() > FEW_VALUES
    )
    position = _measured(values) if numeric else _category(values, spread)
    return pd.DataFrame(
        {
            "trial": scored.loc[values.index, "trial"],
            "axis": name,
            "position": position,
            "told": [shown(value) for value in values],
            "numeric": numeric,
            "f1": scored.loc[values.index, "f1"],
            "best": scored.loc[values.index, "best"],
        }
    )


def _measured(values: pd.Series) -> pd.Series:
    numbers = values.astype(float)
    if numbers.min() > 0 and numbers.max() / numbers.min() > LOG_RATIO:
        numbers = numbers.map(np.log)
    return (numbers - numbers.min()) / (numbers.max() - numbers.min())


def _category(values: pd.Series, spread: pd.Series) -> pd.Series:
    names = sorted(values.unique())
    places = {name: place / (len(names) - 1) for place, name in enumerate(names)}
    room = JITTER / len(names)
    return values.map(places).astype(float) * (1 - 2 * room) + room + spread * room


def _spread(trials: Sequence[int] | pd.Series) -> pd.Series:
    """A number in [-1, 1] a trial, by the golden ratio: neighbours stand far apart."""
    numbers = pd.Series(trials).astype(float)
    return (numbers * 0.6180339887) % 1.0 * 2 - 1
