"""Learning curves, with the epochs at which trials were stopped."""

from collections.abc import Mapping

import pandas as pd
import plotly.graph_objects as go

from ...spaces.record import State
from ..tables import score
from ..wording import counted
from . import Figure
from .style import BLACK, GREY, PALE, Mark, drawing, gapped, legend, lines, rows

LONGEST_SHOWN = 12  # epochs: beyond, the axis chooses its own marks


def learning_curves(
    curves: pd.DataFrame, learning: pd.DataFrame, groups: Mapping[str, Mark]
) -> Figure:
    """F1 by epoch: complete trials by family, the best one black, the others pale.

    Args:
        curves: as from `drawn_curves`.
        learning: a row an epoch, as from `learning`.
        groups: the mark of each family.
    """
    name = "learning-curves"
    if curves.empty:
        return Figure(name, "No epoch with an F1 has ended.", None)
    complete = curves[(curves["state"] == State.COMPLETE) & ~curves["best"]]
    families = [family for family in groups if (complete["family"] == family).any()]
    figure = drawing(
        x="epoch", y="macro F1 on validation", height=440, legend_entries=len(families) + 2
    )
    if len(learning) <= LONGEST_SHOWN:
        figure.update_xaxes(dtick=1)
    rest = curves[(curves["state"] != State.COMPLETE) & ~curves["best"]]
    if len(rest):
        figure.add_trace(_curves(rest, "not complete", PALE, width=1, size=4, dash="solid"))
    for family in families:
        mark, own = groups[family], complete[complete["family"] == family]
        figure.add_trace(_curves(own, legend(family), mark.colour, 1.3, 5, mark.dash, mark.symbol))
    best = curves[curves["best"]]
    if len(best):
        figure.add_trace(_curves(best, f"trial {best['trial'].iloc[0]}, the best", BLACK, 3.5, 7))
    for stop in rows(learning[learning["stopped"] > 0]):
        figure.add_vline(x=stop.epoch, line={"color": GREY, "dash": "dot", "width": 1})
        figure.add_annotation(
            x=stop.epoch, y=0.01, yref="paper", yanchor="bottom", xanchor="left", showarrow=False,
            text=f"{stop.stopped} stopped", textangle=-90, font={"size": 11, "color": GREY},
        )  # fmt: skip
    return Figure(name, _finding(curves, learning), figure)


def _curves(
    curves: pd.DataFrame,
    name: str,
    colour: str,
    width: float,
    size: int,
    dash: str = "solid",
    symbol: str = "circle",
) -> go.Scatter:
    texts = [
        lines(
            f"trial {row.trial}: {row.model}, {row.state}", f"epoch {row.epoch}: F1 {score(row.f1)}"
        )
        for row in rows(curves)
    ]
    return go.Scatter(
        **gapped(curves["trial"], curves["epoch"].astype(int), curves["f1"], texts),
        name=name,
        line={"color": colour, "width": width, "dash": dash},
        marker={"color": colour, "size": size, "symbol": symbol},
        hovertemplate="%{text}<extra></extra>",
    )


def _finding(curves: pd.DataFrame, learning: pd.DataFrame) -> str:
    best = curves[curves["best"]].sort_values(["f1", "epoch"], ascending=[False, True])
    said = [
        f"The best F1, {score(top.f1)}, is trial {top.trial}'s ({top.model}) at epoch "
        f"{top.epoch} of {best['epoch'].max()}."
        for top in rows(best.head(1))
    ] or ["No trial is complete."]
    stops = learning[learning["stopped"] > 0]
    if len(stops):
        told = ", ".join(f"{row.stopped} after epoch {row.epoch}" for row in rows(stops))
        said.append(f"Rungs stopped {told}.")
    drawn, trained = curves["trial"].nunique(), int(learning["trained"].max())
    if drawn < trained:
        said.append(f"{drawn} of {counted(trained, 'curve')} are drawn, the best ones among them.")
    return " ".join(said)
