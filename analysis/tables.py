"""Frames for people and for programs: tables in a terminal, records for JSON.

Numbers are rounded here and nowhere else; a missing value is `-` in a table and null in JSON.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

PLAIN_WIDTH = 100  # columns of a table that does not go to a terminal
MISSING = "-"


def text(value: Any) -> str:
    """The value as it stands."""
    return str(value)


def score(value: float) -> str:
    """Four decimals: a floor and a trial that just misses it must not look equal.

    >>> score(0.81236)
    '0.8124'
    """
    return f"{value:.4f}"


def amount(value: float) -> str:
    """Three significant digits, and whole from a hundred on.

    >>> amount(0.0012345), amount(12.345), amount(12345.6), amount(0.0)
    ('0.00123', '12.3', '12,346', '0')
    """
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    decimals = 2 - int(np.floor(np.log10(abs(value))))
    return f"{value:.{decimals}f}" if decimals <= 8 else f"{value:.2e}"


def yes(value: bool) -> str:
    """`yes`, or nothing that draws the eye."""
    return "yes" if value else "no"


@dataclass(frozen=True, slots=True)
class Shown:
    """How one column of a frame stands in a table."""

    column: str
    header: str  # with the unit; two lines at most
    shape: Callable[[Any], str] = text
    left: bool = False  # words stand left, numbers right
    fold: bool = False  # takes what width is left, on several lines


def table_of(frame: pd.DataFrame, shown: Sequence[Shown], title: str, caption: str = "") -> Table:
    """The frame's rows under these headers; a column that has no value at all is left out."""
    table = Table(
        title=Text(title),
        caption=Text(caption) if caption else None,
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        title_justify="left",
        caption_justify="left",
    )
    kept = [s for s in shown if s.column in frame and (frame.empty or frame[s.column].notna().any())]
    for s in kept:
        table.add_column(
            Text(s.header),
            justify="left" if s.left else "right",
            vertical="top",
            no_wrap=not s.fold,
            overflow="fold" if s.fold else "ellipsis",
        )
    for _, row in frame.iterrows():
        cells = ((s, row[s.column]) for s in kept)
        table.add_row(*(Text(MISSING if pd.isna(v) else s.shape(v)) for s, v in cells))
    return table


def console(file: IO[str] | None = None) -> Console:
    """A console for results: 100 columns and no colours where there is no terminal."""
    shown = Console(file=file, highlight=False, markup=False, emoji=False)
    if not shown.is_terminal:
        shown.width = PLAIN_WIDTH
    return shown


def as_records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """One dictionary of JSON values a row; missing, not a number and infinite are None."""
    columns = [str(name) for name in frame.columns]
    rows = zip(*(map(_as_json, frame[name]) for name in columns), strict=True)
    return [dict(zip(columns, row, strict=True)) for row in rows]


def _as_json(value: Any) -> Any:
    if pd.isna(value):
        return None
    if isinstance(value, pd.Timestamp):
        return value.isoformat()
    plain = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(plain, float) and not np.isfinite(plain) else plain
