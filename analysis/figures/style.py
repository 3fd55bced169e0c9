"""What the figures share: colours for everybody's eyes, marks, margins, and text that stays text.

The colours are those of Okabe and Ito, without the yellow, which is too pale on white. No figure
tells things apart by colour alone: each group has a symbol or a dash of its own too.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10
from textwrap import wrap
from typing import Any

import pandas as pd
import plotly.graph_objects as go

BLACK, BLUE, VERMILLION, GREEN = "#000000", "#0072B2", "#D55E00", "#009E73"
PURPLE, ORANGE, SKY = "#CC79A7", "#E69F00", "#56B4E9"
INK, GREY, PALE, GRID = "#1f2328", "#6b7280", "#b6bcc6", "#e3e6ea"
COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, BLACK)
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "star", "hexagon")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
FONT = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif"
LINE_OF_TEXT = 42  # characters of a line in a hover label: it fits a phone
LINE_OF_LEGEND = 34
LEGEND_ROW = 20  # pixels
WIDEST_STEPS = 2  # powers of ten that have marks between them


@dataclass(frozen=True, slots=True)
class Mark:
    """How one group is drawn, in every figure of a report."""

    colour: str
    symbol: str
    dash: str


def marks(groups: Iterable[str]) -> dict[str, Mark]:
    """A mark for each group, in the order of the alphabet: 280 of them are distinct."""
    return {
        group: Mark(COLOURS[n % len(COLOURS)], SYMBOLS[n % len(SYMBOLS)], DASHES[n % len(DASHES)])
        for n, group in enumerate(sorted(set(groups)))
    }


def plain(value: Any) -> str:
    """Text for Plotly, which reads some HTML in texts: whatever is in it stays text."""
    return escape(str(value), quote=False)


def lines(*told: str) -> str:
    """Lines of a hover label, each broken where it is long."""
    broken = (part for line in told if line for part in wrap(line, LINE_OF_TEXT) or [""])
    return "<br>".join(map(plain, broken))


def rows(frame: pd.DataFrame) -> Iterable[Any]:
    """The rows of a table by the names of its columns."""
    return frame.itertuples()


def legend(group: str) -> str:
    """A group's name in the legend, in lines that fit a phone."""
    return "<br>".join(map(plain, wrap(group, LINE_OF_LEGEND)))


def gapped(
    trials: Iterable[int], x: Iterable[float], y: Iterable[float], texts: Iterable[str]
) -> dict[str, Any]:
    """Many lines as one, with a gap after each trial: a trace a trial would be slow."""
    told: dict[str, list[Any]] = {"x": [], "y": [], "text": []}
    before: int | None = None
    for trial, *point in zip(trials, x, y, texts, strict=True):
        if before is not None and trial != before:
            for values, gap in zip(told.values(), (None, None, ""), strict=True):
                values.append(gap)
        for values, value in zip(told.values(), point, strict=True):
            values.append(value)
        before = trial
    return {**told, "mode": "lines+markers", "connectgaps": False}


def logarithmic(figure: go.Figure, values: Iterable[float]) -> None:
    """A logarithmic x axis with marks at 1, 2 and 5, or at 1 alone where there are many."""
    told = [value for value in values if value > 0]
    first, last = floor(log10(min(told))), ceil(log10(max(told)))
    steps = (1, 2, 5) if last - first <= WIDEST_STEPS else (1,)
    ticks = [step * 10.0**power for power in range(first, last + 1) for step in steps]
    figure.update_xaxes(type="log", tickvals=ticks, ticktext=[f"{tick:.12g}" for tick in ticks])


def drawing(
    *, x: str, y: str, height: int = 420, legend_entries: int = 0, **layout: Any
) -> go.Figure:
    """An empty drawing with titled axes and the legend above it."""
    figure = go.Figure()
    figure.update_layout(
        template="none",
        font={"family": FONT, "size": 13, "color": INK},
        paper_bgcolor="white",
        plot_bgcolor="white",
        height=height + LEGEND_ROW * legend_entries // 2,
        margin={"l": 56, "r": 16, "t": 16, "b": 52},
        legend={
            **{"orientation": "h", "traceorder": "normal"},
            **{"x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom"},
        },
        hoverlabel={"bgcolor": "white", "font": {"color": INK, "size": 12}, "align": "left"},
        hovermode="closest",
        dragmode=False,  # a finger on the figure scrolls the page
        **layout,
    )
    shared = {"gridcolor": GRID, "linecolor": GREY, "zeroline": False, "automargin": True}
    figure.update_xaxes(title={"text": x}, ticks="outside", tickcolor=GREY, **shared)
    figure.update_yaxes(title={"text": y}, ticks="outside", tickcolor=GREY, **shared)
    return figure
