"""What mattered: importance with its spread, and the trials across their parameters."""

from itertools import accumulate

import pandas as pd
import plotly.graph_objects as go

from ..importance import Importance
from ..tables import score
from ..wording import counted
from . import Figure
from .style import BLACK, BLUE, GREY, INK, PALE, drawing, gapped, lines, plain, rows

BAR, AXIS, LABEL = 26, 44, 13  # pixels of a parameter and of a row of labels below its axis
LETTERS, MOST_ROWS = 34, 4  # of a row of labels on a phone; of an axis
SIDE = 0.25  # a label that begins nearer to an end of its axis stands at that end


def importances(importance: Importance) -> Figure:
    """Bars from the most important parameter, their spread, and what chance comes to."""
    name, table = "importance", importance.table
    if table.empty:
        return Figure(name, " ".join(importance.notes), None)
    turned = table.iloc[::-1]
    told = turned["told_from_chance"].astype(bool)
    figure = drawing(x="importance, a share of 1", y="", height=150 + BAR * len(table))
    figure.add_trace(
        go.Bar(
            x=turned["importance"],
            y=[plain(each) for each in turned["parameter"]],
            orientation="h",
            marker={
                "color": [BLUE if each else "white" for each in told],
                "line": {"color": BLUE, "width": 1.5},
            },
            error_x={
                "type": "data",
                "symmetric": False,
                "array": (turned["high"] - turned["importance"]).clip(lower=0),
                "arrayminus": (turned["importance"] - turned["low"]).clip(lower=0),
                "color": INK,
                "thickness": 1.2,
                "width": 4,
            },
            text=[
                lines(
                    str(row.parameter),
                    f"importance {row.importance:.3f}, {row.low:.3f} to {row.high:.3f}",
                    "told from chance" if row.told_from_chance else "not told from chance",
                )
                for row in rows(turned)
            ],
            textposition="none",
            hovertemplate="%{text}<extra></extra>",
            showlegend=False,
        )
    )
    chance = float(table["by_chance"].iloc[0])
    figure.add_vline(x=chance, line={"color": BLACK, "dash": "dash", "width": 1.5})
    figure.add_annotation(
        x=chance, xanchor="left", y=0, yref="paper", yanchor="bottom", showarrow=False,
        text=" what chance comes to", bgcolor="white",
    )  # fmt: skip
    figure.update_xaxes(rangemode="tozero")
    first = table.iloc[0]
    finding = (
        f"{first['parameter']} comes first with {first['importance']:.2f} of 1 "
        f"({first['low']:.2f} to {first['high']:.2f}). {' '.join(importance.notes)}"
    )
    return Figure(name, finding, figure)


def parallel_coordinates(table: pd.DataFrame) -> Figure:
    """Each trial as a line through its values, an axis below the other; the best tenth strong.

    Args:
        table: a row a trial and axis, as from `parallel`.
    """
    name = "parallel-coordinates"
    axes = list(dict.fromkeys(table["axis"]))
    if len(axes) < 2 or table["trial"].nunique() < 2:
        return Figure(name, "It takes two trials with an F1 that differ in their parameters.", None)
    labels = {axis: _labels(table[table["axis"] == axis]) for axis in axes}
    heights = [AXIS + LABEL * (_rows_of(told) - 1) for told in labels.values()]
    above = [0, *accumulate(heights)]
    places = {axis: -height for axis, height in zip(axes, above, strict=False)}
    figure = drawing(x="", y="", height=90 + above[-1], legend_entries=2)
    others, strong = table[~table["best"]], table[table["best"]]
    if len(others):
        figure.add_trace(_lines(others, places, "the others", PALE, 0.6))
    figure.add_trace(_lines(strong, places, "the best by F1", BLUE, 1.4))
    for axis in axes:
        _add_labels(figure, labels[axis], places[axis])
    figure.update_xaxes(visible=False, range=[-0.03, 1.03])
    figure.update_yaxes(
        tickvals=list(places.values()),
        ticktext=[plain(axis) for axis in axes],
        range=[-above[-1] + AXIS / 3, AXIS / 3],
        gridcolor=PALE,
        ticks="",
    )
    finding = (
        f"{table['trial'].nunique()} trials are drawn across {len(axes)} axes; of the best "
        f"{counted(strong['trial'].nunique(), 'trial')}, drawn strong, the least F1 is "
        f"{score(strong['f1'].min())}."
    )
    return Figure(name, finding, figure)


def _lines(
    table: pd.DataFrame, places: dict[str, int], name: str, colour: str, width: float
) -> go.Scatter:
    ordered = table.assign(place=table["axis"].map(places)).sort_values(
        ["trial", "place"], ascending=[True, False]
    )
    texts = [f"trial {row.trial}<br>{plain(row.axis)} {plain(row.told)}" for row in rows(ordered)]
    return go.Scatter(
        **gapped(ordered["trial"], ordered["position"], ordered["place"], texts),
        name=name,
        line={"color": colour, "width": width},
        marker={"color": colour, "size": 3},
        hovertemplate="%{text}<extra></extra>",
    )


def _labels(own: pd.DataFrame) -> list[tuple[float, str]]:
    """Where on an axis what is written: its ends, or each category."""
    ordered = own.sort_values("position")
    if ordered["numeric"].iloc[0]:
        return [(0.0, str(ordered["told"].iloc[0])), (1.0, str(ordered["told"].iloc[-1]))]
    middles = ordered.groupby("told")["position"].mean().sort_values()
    return [(float(position), str(told)) for told, position in middles.items()]


def _rows_of(labels: list[tuple[float, str]]) -> int:
    """Rows of text that the labels of an axis take on a phone."""
    letters = sum(len(told) + 2 for _, told in labels)
    return min(-(-letters // LETTERS), MOST_ROWS)


def _add_labels(figure: go.Figure, labels: list[tuple[float, str]], place: float) -> None:
    for number, (position, told) in enumerate(labels):
        side = "left" if position < SIDE else "right" if position > 1 - SIDE else "center"
        end = {"left": 0.0, "right": 1.0}.get(side, position)
        figure.add_annotation(
            x=end, y=place, xanchor=side, yanchor="top", showarrow=False,
            yshift=-3 - LABEL * (number % _rows_of(labels)),
            text=plain(told), font={"size": 11, "color": GREY}, bgcolor="rgba(255,255,255,0.8)",
        )  # fmt: skip
