"""F1 against card hours with the front, and the best F1 against the hours that were spent."""

from collections.abc import Mapping

import pandas as pd
import plotly.graph_objects as go

from ...spaces.record import State
from ..formulas import HOURS_COLUMN, Hours
from ..tables import amount, score
from ..wording import counted
from . import Figure
from .style import BLACK, GREY, PALE, Mark, drawing, legend, lines, logarithmic, rows

HOURS_TITLE: dict[Hours, str] = {
    "modelled": "card hours, modelled",
    "measured": "GPU hours, measured here",
}


def f1_against_hours(
    points: pd.DataFrame, groups: Mapping[str, Mark], hours: Hours = "modelled"
) -> Figure:
    """Each trial with an F1 and hours; complete ones by family, the front joined, baselines across.

    Args:
        points: as from `points`.
        groups: the mark of each family.
        hours: which hours stand on the axis.
    """
    name, column = "f1-against-hours", HOURS_COLUMN[hours]
    placed = points[points[column].notna() & ~points["control"]]
    if placed.empty:
        return Figure(name, f"No trial has both an F1 and {hours} hours.", None)
    complete = placed[placed["state"] == State.COMPLETE]
    others = placed[placed["state"] != State.COMPLETE]
    families = [family for family in groups if (complete["family"] == family).any()]
    figure = drawing(
        x=f"{HOURS_TITLE[hours]} (logarithmic)",
        y="macro F1 on validation",
        legend_entries=len(families) + 4,
    )
    logarithmic(figure, placed[column])
    if len(others):
        figure.add_trace(
            go.Scatter(
                x=others[column],
                y=others["f1"],
                mode="markers",
                name="not complete",
                marker={"symbol": "circle-open", "color": PALE, "size": 6},
                **_hover(others, hours),
            )
        )
    front = complete[complete["pareto"]].sort_values([column, "f1"])
    for family in families:
        shown = complete[complete["family"] == family]
        mark = groups[family]
        figure.add_trace(
            go.Scatter(
                x=shown[column],
                y=shown["f1"],
                mode="markers",
                name=legend(family),
                marker={
                    "color": mark.colour,
                    "symbol": mark.symbol,
                    "size": 9,
                    "line": {"color": "white", "width": 0.8},
                },
                **_hover(shown, hours),
            )
        )
    _add_front(figure, front, column)
    best_control = points[points["control"] & (points["state"] == State.COMPLETE)]["f1"].max()
    if pd.notna(best_control):
        figure.add_hline(y=best_control, line={"color": BLACK, "dash": "dot", "width": 1.5})
        figure.add_trace(
            go.Scatter(
                x=[None],
                y=[None],
                mode="lines",
                name=f"the best baseline, {score(best_control)}",
                line={"color": BLACK, "dash": "dot", "width": 1.5},
            )
        )
    return Figure(name, _front_finding(complete, front, hours), figure)


def _add_front(figure: go.Figure, front: pd.DataFrame, column: str) -> None:
    """The steps of the front, with the rough interval of each of its trials."""
    if front.empty:
        return
    error = None
    if front["f1_low"].notna().any():
        error = {
            "type": "data",
            "symmetric": False,
            "array": front["f1_high"] - front["f1"],
            "arrayminus": front["f1"] - front["f1_low"],
            "color": GREY,
            "thickness": 1,
            "width": 4,
        }
    figure.add_trace(
        go.Scatter(
            x=front[column],
            y=front["f1"],
            mode="lines+markers",
            name="the front, rough intervals" if error else "the front",
            line={"color": BLACK, "width": 1.5, "shape": "hv"},
            marker={"symbol": "circle-open", "color": BLACK, "size": 14, "line": {"width": 1.5}},
            error_y=error,
            hoverinfo="skip",
        )
    )


def _hover(shown: pd.DataFrame, hours: Hours) -> dict[str, object]:
    return {
        "text": [
            lines(
                f"{f'{row.study}, ' if 'study' in shown else ''}trial {row.trial}: {row.model}",
                f"{row.family}, {row.state}",
                f"F1 {score(row.f1)}, {amount(getattr(row, HOURS_COLUMN[hours]))} h",
                row.settings,
            )
            for row in rows(shown)
        ],
        "hovertemplate": "%{text}<extra></extra>",
    }


def _front_finding(complete: pd.DataFrame, front: pd.DataFrame, hours: Hours) -> str:
    column = HOURS_COLUMN[hours]
    if front.empty:
        return "No trial that has hours is complete, so there is no front yet."
    cheap, best = front.iloc[0], front.iloc[-1]
    if len(front) == 1:
        return (
            f"One trial has the best F1 and the fewest hours of {counted(len(complete), 'trial')}: "
            f"trial {best['trial']} ({best['model']}), F1 {score(best['f1'])} in "
            f"{amount(best[column])} h."
        )
    return (
        f"Of {len(complete)} complete trials {len(front)} are on the front: from F1 "
        f"{score(cheap['f1'])} in {amount(cheap[column])} h (trial {cheap['trial']}, "
        f"{cheap['model']}) to F1 {score(best['f1'])} in {amount(best[column])} h "
        f"(trial {best['trial']}, {best['model']})."
    )


def best_against_spent(spending: pd.DataFrame, groups: Mapping[str, Mark]) -> Figure:
    """The best F1 of each family as its hours went, as steps."""
    name = "best-f1-against-hours-spent"
    scored = spending[spending["best_f1"].notna()]
    if scored.empty:
        return Figure(name, "No trial that has card hours is complete.", None)
    families = [family for family in groups if (scored["family"] == family).any()]
    figure = drawing(
        x="card hours spent (logarithmic)",
        y="best macro F1 so far",
        legend_entries=len(families),
    )
    logarithmic(figure, scored["spent_hours"])
    for family in families:
        steps, mark = scored[scored["family"] == family], groups[family]
        rises = steps["best_f1"].diff().fillna(1.0) > 0
        kept = steps[rises | (steps.index == steps.index[-1])]
        figure.add_trace(
            go.Scatter(
                x=kept["spent_hours"],
                y=kept["best_f1"],
                mode="lines+markers",
                name=legend(family),
                line={"shape": "hv", "color": mark.colour, "dash": mark.dash, "width": 2},
                marker={"symbol": mark.symbol, "size": 8},
                text=[
                    lines(
                        str(family),
                        f"F1 {score(row.best_f1)} after {amount(row.spent_hours)} h",
                        f"trial {row.trial} had ended",
                    )
                    for row in rows(kept)
                ],
                hovertemplate="%{text}<extra></extra>",
            )
        )
    last = scored.groupby("family", sort=False).tail(1).sort_values("best_f1", ascending=False)
    told = ", ".join(
        f"{row.family} {score(row.best_f1)} for {amount(row.spent_hours)} h" for row in rows(last)
    )
    return Figure(name, f"Best F1 and all card hours spent, by family: {told}.", figure)
