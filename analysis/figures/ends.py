"""How the trials ended, by family; and the energy that they took."""

from collections.abc import Mapping

import pandas as pd
import plotly.graph_objects as go

from ...spaces.record import State
from ..tables import amount
from ..wording import counted
from . import Figure
from .style import BLUE, GREY, INK, ORANGE, SKY, VERMILLION, drawing, lines, plain

ROW = 34  # pixels of a family
STATES: Mapping[State, tuple[str, str]] = {  # colour and pattern: neighbours differ in both
    State.COMPLETE: (BLUE, ""),
    State.PRUNED: (SKY, "/"),
    State.INFEASIBLE: (ORANGE, "x"),
    State.FAILED: (VERMILLION, "."),
    State.RUNNING: (GREY, "-"),
}
KINDS = (  # of energy: column, name, colour, pattern
    ("total_card_energy_kwh", "modelled on the card", SKY, "/"),
    ("total_energy_kwh", "measured here", BLUE, ""),
)


def trials_by_end(ends: pd.DataFrame) -> Figure:
    """Bars of each family's trials, a part for each state that occurs."""
    name = "trials-by-end"
    if ends.empty:
        return Figure(name, "No trial has been started.", None)
    occurring = [state for state in STATES if ends[state.value].sum()]
    turned = ends.iloc[::-1]
    figure = drawing(x="trials", y="", height=120 + ROW * len(ends), legend_entries=len(occurring))
    for state in occurring:
        colour, pattern = STATES[state]
        counts = turned[state.value]
        figure.add_trace(
            go.Bar(
                x=counts,
                y=[plain(family) for family in turned["family"]],
                orientation="h",
                name=state.value,
                marker=_filled(colour, pattern),
                text=[
                    lines(str(family), f"{count} {state}")
                    for family, count in zip(turned["family"], counts, strict=True)
                ],
                textposition="none",
                hovertemplate="%{text}<extra></extra>",
            )
        )
    figure.update_layout(barmode="stack")
    told = ", ".join(f"{ends[state.value].sum()} {state}" for state in occurring)
    return Figure(name, f"{counted(int(ends['trials'].sum()), 'trial')}: {told}.", figure)


def energy_by_family(energy: pd.DataFrame) -> Figure:
    """Bars of each family's energy; modelled and measured are told apart."""
    name = "energy"
    kinds = [kind for kind in KINDS if energy[kind[0]].sum() > 0]
    if not kinds:
        return Figure(
            name,
            "No energy is known: no hours on a card with watts, and no GPU's counter was read.",
            None,
        )
    columns = [kind[0] for kind in kinds]
    shown = energy[energy[columns].notna().any(axis=1)].iloc[::-1]
    figure = drawing(
        x="kWh, all trials", y="", height=120 + ROW * len(shown), legend_entries=len(kinds)
    )
    for column, told, colour, pattern in kinds:
        figure.add_trace(
            go.Bar(
                x=shown[column],
                y=[plain(family) for family in shown["family"]],
                orientation="h",
                name=told,
                marker=_filled(colour, pattern),
                text=[
                    lines(str(family), f"{amount(kwh)} kWh, {told}")
                    for family, kwh in zip(shown["family"], shown[column].fillna(0.0), strict=True)
                ],
                textposition="none",
                hovertemplate="%{text}<extra></extra>",
            )
        )
    said = [f"{amount(float(energy[c].sum()))} kWh {told}" for c, told, _, _ in kinds]
    missing = "" if len(kinds) == len(KINDS) or columns[0] != KINDS[0][0] else NOT_MEASURED
    return Figure(name, f"All trials together: {', '.join(said)}.{missing}", figure)


NOT_MEASURED = " Nothing was measured: no GPU whose energy counter could be read was used."


def _filled(colour: str, pattern: str) -> dict[str, object]:
    return {
        "color": colour,
        "line": {"color": INK, "width": 0.6},
        "pattern": {
            "shape": pattern,
            "bgcolor": colour,
            "fgcolor": "white",
            "size": 7,
            "solidity": 0.25,
        },
    }
