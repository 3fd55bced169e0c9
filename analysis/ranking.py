"""Complete trials in order: by F1 per GPU-hour, or by a column; the Pareto front; the controls.

A ratio or a cost rewards a useless model that costs nothing, so such a ranking holds only trials
that reach the best baseline's F1, and tells in sentences what it left out. Ties go to the larger
F1, then to fewer hours, then to the earlier trial (and study): the order of the rows never matters.
"""

from dataclasses import dataclass, replace
from math import floor as round_down

import numpy as np
import pandas as pd

from ..spaces.record import RANKING_COLUMNS, State
from .columns import described
from .formulas import (
    HOURS_COLUMN,
    RATIO_COLUMN,
    RATIOS,
    Hours,
    card_of,
    check_hours,
    difference_notes,
    f1_over,
    finite,
    front,
    is_complete,
    is_control,
    paid,
)
from .wording import counted

RATIO = "f1-per-gpu-hour"


@dataclass(frozen=True, slots=True)
class Order:
    """How one `by` ranks."""

    column: str
    larger_is_better: bool = False
    has_floor: bool = True  # a cost is told only of models that reach the best baseline


ORDERS: dict[str, Order] = {
    **{column.replace("_", "-"): Order(column, larger_is_better=True) for column in RATIOS},
    **{
        name: Order(name, larger_is_better=True, has_floor=False)
        for name in ("f1", "accuracy", "precision", "recall")
    },
    "validation-loss": Order("validation_loss_nats", has_floor=False),
    "train-loss": Order("train_loss_nats", has_floor=False),
    **{
        name: Order(name.replace("-", "_"))
        for name in (
            "card-hours",
            "card-hours-marginal",
            "gpu-hours",
            "card-energy-kwh",
            "energy-kwh",
            "cpu-seconds",
            "wall-seconds",
            "epochs",
            "peak-mib",
            "measured-peak-mib",
            "step-gflop",
            "trainable-parameters",
            "total-parameters",
        )
    },
}


@dataclass(frozen=True, slots=True)
class Ranking:
    """Ranked trials, the baselines that control them, and what a reader must know beside both."""

    table: pd.DataFrame  # ranked trials from the best, telling columns first, then all of the frame
    controls: pd.DataFrame  # complete baselines by F1; no hours, no rank
    notes: tuple[str, ...]  # plain sentences
    by: str  # what it was ordered by in the end: F1 where hours were missing
    floor: float | None  # F1 that a ranked trial has at least; None where there is no floor
    hours: Hours  # which hours the ratio and the front are of
    card: str | None  # the card of modelled hours, where the frame names one


def rank(
    frame: pd.DataFrame,
    by: str = RATIO,
    *,
    min_f1: float | None = None,
    hours: Hours = "modelled",
) -> Ranking:
    """Order the complete trials of a frame from `trials`.

    Args:
        frame: trials of one study, or of several.
        by: `f1-per-gpu-hour`, or a name in `ORDERS`.
        min_f1: F1 that a ranked trial has at least, in [0, 1]. When not given, the ratio and the
            costs have the best baseline's F1 as their floor, and the metrics have none.
        hours: modelled on the card, or measured where a GPU was used.

    Raises:
        ValueError: `by`, `min_f1` or `hours` is none of the above.
    """
    _check(by, min_f1, hours)
    name = by.replace("_", "-")
    notes: list[str] = [*difference_notes(frame)]
    complete = frame[is_complete(frame)]
    controls = complete[is_control(complete)].sort_values(
        ["f1", "trial"], ascending=[False, True], na_position="last"
    )
    searched = complete[~is_control(complete)]
    pool = searched[finite(searched["f1"])]
    notes += _incomplete_note(frame) + _unscored_note(len(searched) - len(pool))
    if len(controls) and not len(searched):
        notes.append("Only baselines are complete: there is nothing to rank beside them.")

    spent = paid(pool[HOURS_COLUMN[hours]])
    ratios = {
        column: f1_over(pool["f1"], pool[cost[hours]])
        for column, cost in RATIOS.items()
        if cost[hours] in pool
    }
    missing = ORDERS[name].column in RATIOS and not _any(ratios.get(ORDERS[name].column))
    if missing and len(pool):
        cost = RATIOS[ORDERS[name].column][hours]
        notes.append(
            _no_hours_note(frame, pool, hours)
            if name == RATIO
            else f"No complete trial has {cost}, so there is no {name}: ranked by F1 instead."
        )
    order = ORDERS[name := "f1" if missing and len(pool) else name]
    table = pool.assign(
        **ratios,
        pareto=front(pool["f1"], spent).where(spent.notna()),
    )
    key = paid(table[order.column]) if order.column.endswith("hours") else table[order.column]
    table, key = table[finite(key)], key[finite(key)]
    wanted = f"{hours} hours" if name == RATIO else RATIOS.get(order.column, {}).get(hours)
    notes += _no_key_note(len(pool) - len(table), wanted or order.column)

    floor = _floor(controls, min_f1, order)
    notes += _floor_notes(table, controls, floor, min_f1, order)
    if floor is not None:
        table, key = table[table["f1"] >= floor], key[table["f1"] >= floor]
    table = _in_order(table, key, spent, order)
    leading = _leading(table, order, hours)
    table = table[leading + [column for column in table.columns if column not in leading]]
    table.attrs["columns"] = {
        **frame.attrs.get("columns", {}),
        **described((c.name for c in RANKING_COLUMNS), RANKING_COLUMNS),
    }
    return Ranking(
        table=table.reset_index(drop=True),
        controls=controls.reset_index(drop=True),
        notes=tuple(notes),
        by=name,
        floor=floor,
        hours=hours,
        card=card_of(frame),
    )


def pareto(frame: pd.DataFrame, hours: Hours = "modelled") -> pd.Series:
    """Whether each trial is on the front of F1 against hours, as booleans on the frame's index.

    On it is a complete trial, no baseline, for which no other has at least its F1 in at most its
    hours and is better in one of them. Equal trials are on it together. A trial without a score or
    without hours is not on it.
    """
    candidate = is_complete(frame) & ~is_control(frame)
    f1 = frame["f1"].where(candidate & finite(frame["f1"]))
    return front(f1, paid(frame[HOURS_COLUMN[hours]]).where(candidate)).astype(bool)


def on_front(ranking: Ranking) -> Ranking:
    """The ranked trials that are on the front of F1 against hours, with the ranks that they have.

    The front is that of all trials that could be ranked: a floor takes trials off it, and never
    puts one on it.
    """
    kept = ranking.table["pareto"].fillna(False).astype(bool)
    table = ranking.table[kept].reset_index(drop=True)
    note = f"Of {counted(len(kept), 'ranked trial')}, {len(table)} on the front of F1 and hours."
    return replace(ranking, table=table, notes=(*ranking.notes, note))


def _check(by: str, min_f1: float | None, hours: str) -> None:
    if by.replace("_", "-") not in ORDERS:
        raise ValueError(f"a ranking is by one of {', '.join(ORDERS)}; got {by=}")
    if min_f1 is not None and not 0 <= min_f1 <= 1:
        raise ValueError(f"the floor is an F1, in [0, 1]; got {min_f1=}")
    check_hours(hours)


def _in_order(table: pd.DataFrame, key: pd.Series, spent: pd.Series, order: Order) -> pd.DataFrame:
    """Sorted from the best, with `rank` as the first column."""
    keys = pd.DataFrame(
        {
            "key": (-1.0 if order.larger_is_better else 1.0) * key.astype(float),
            "f1": -table["f1"],
            "hours": spent.reindex(table.index).fillna(np.inf),
            "trial": table["trial"].astype(int),
            "study": table.get("study", pd.Series("", index=table.index)).astype(str),
        }
    )
    table = table.loc[keys.sort_values(list(keys.columns)).index]
    return table.assign(rank=pd.array(range(1, len(table) + 1), dtype="Int64"))


def _leading(table: pd.DataFrame, order: Order, hours: Hours) -> list[str]:
    names = ["rank", "study", "trial", "model", "backbone", "mode", RATIO_COLUMN, "f1"]
    names += [order.column, HOURS_COLUMN[hours], "peak_mib", "trainable_parameters", "pareto"]
    return [name for name in dict.fromkeys(names) if name in table.columns]


def _floor(controls: pd.DataFrame, min_f1: float | None, order: Order) -> float | None:
    if min_f1 is not None:
        return float(min_f1)
    if not order.has_floor or not controls["f1"].notna().any():
        return None
    return float(controls["f1"].max())


def _floor_notes(
    table: pd.DataFrame,
    controls: pd.DataFrame,
    floor: float | None,
    min_f1: float | None,
    order: Order,
) -> list[str]:
    if floor is None:
        if order.has_floor and len(table):
            return ["No baseline is complete, so no floor of F1 was applied."]
        return []
    if not len(table):
        return []
    best_control = controls.iloc[0] if min_f1 is None else None
    origin = (
        "as asked"
        if best_control is None
        else f"the best baseline's ({best_control['model']}, trial {best_control['trial']})"
    )
    below = int((table["f1"] < floor).sum())
    if below < len(table):
        left_out = (
            f"{counted(below, 'trial')} below it left out" if below else "no trial is below it"
        )
        return [f"The floor is F1 {floor:.4f}, {origin}: {left_out}."]
    best = table.sort_values(["f1", "trial"], ascending=[False, True]).iloc[0]
    lower = round_down(best["f1"] * 1000) / 1000
    return [
        f"No trial reaches the floor of F1 {floor:.4f}, {origin}; {counted(below, 'trial')} left "
        f"out. The best has F1 {best['f1']:.4f} ({best['model']}, trial {best['trial']}): "
        f"--min-f1 {lower:.3f} shows it."
    ]


def _no_hours_note(frame: pd.DataFrame, pool: pd.DataFrame, hours: Hours) -> str:
    other: Hours = "measured" if hours == "modelled" else "modelled"
    having = int(paid(pool[HOURS_COLUMN[other]]).notna().sum())
    if hours == "measured":
        reason = "No complete trial ran on a GPU, so there are no measured hours"
    elif card_of(frame) is None:
        reason = "The study has no card, so there are no modelled hours"
    else:
        reason = "No complete trial has modelled hours"
    instead = f" ({counted(having, 'trial')} with --hours {other})" if having else ""
    return f"{reason}{instead} and no F1 per GPU-hour: ranked by F1 instead."


def _any(values: pd.Series | None) -> bool:
    return values is not None and bool(values.notna().any())


def _no_key_note(missing: int, what: str) -> list[str]:
    return [f"{counted(missing, 'complete trial')} without {what} left out."] if missing else []


def _unscored_note(unscored: int) -> list[str]:
    return [f"{counted(unscored, 'complete trial')} without an F1 left out."] if unscored else []


def _incomplete_note(frame: pd.DataFrame) -> list[str]:
    counts = frame["state"].value_counts()
    told = [f"{counts[s]} {s}" for s in State if s in counts.index and s != State.COMPLETE]
    return [f"Only complete trials are ranked; beside them: {', '.join(told)}."] if told else []
