"""What mattered: importance with its spread, and the trials across their parameters."""

import pandas as pd
import plotly.graph_objects as go

from ..importance import Importance
from ..tables import score
from ..wording import counted
from . import Figure
from .style import BLACK, BLUE, GREY, INK, PALE, drawing, gapped, lines, plain, rows

BAR, AXIS = 26, 46  # pixels of a parameter


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
    figure = drawing(x="", y="", height=110 + AXIS * len(axes), legend_entries=2)
    places = {axis: -number for number, axis in enumerate(axes)}
    others, strong = table[~table["best"]], table[table["best"]]
    if len(others):
        figure.add_trace(_lines(others, places, "the others", PALE, 0.6))
    figure.add_trace(_lines(strong, places, "the best by F1", BLUE, 1.4))
    for axis in axes:
        _add_axis(figure, table[table["axis"] == axis], places[axis])
    figure.update_xaxes(visible=False, range=[-0.03, 1.03])
    figure.update_yaxes(
        tickvals=list(places.values()),
        ticktext=[plain(axis) for axis in axes],
        range=[-len(axes) + 0.35, 0.4],
        gridcolor=PALE,
        ticks="",
    )
    finding = (
        f"{table['trial'].nunique()} trials are drawn across {len(axes)} axes; the best "
        f"{counted(strong['trial'].nunique(), 'trial')}, drawn strong, have F1 "
        f"{score(strong['f1'].min())} to {score(strong['f1'].max())}."
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


def _add_axis(figure: go.Figure, own: pd.DataFrame, place: int) -> None:
    """The least and the largest value below the ends of a measured axis, or each category."""
    ordered = own.sort_values("position")
    if ordered["numeric"].iloc[0]:
        marks = [(0.0, "left", ordered["told"].iloc[0]), (1.0, "right", ordered["told"].iloc[-1])]
    else:
        middles = ordered.groupby("told")["position"].mean().sort_values()
        last = len(middles) - 1
        sides = ["left", *["center"] * (last - 1), "right"]
        marks = [
            (float(n / last), side, told)
            for n, (told, side) in enumerate(zip(middles.index, sides, strict=True))
        ]
    for position, side, told in marks:
        figure.add_annotation(
            x=position, y=place - 0.08, xanchor=side, yanchor="top", showarrow=False,
            text=plain(told), font={"size": 11, "color": GREY}, bgcolor="rgba(255,255,255,0.75)",
        )  # fmt: skip
