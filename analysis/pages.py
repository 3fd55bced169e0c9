"""What a report's page is made of: chapters of sections, with figures and tables in words.

Numbers are rounded as in the terminal's tables; each column brings its unit, its origin and what it
is, in the record's words.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from .figures import Figure
from .summary import Fact
from .tables import MISSING, Shown, amount, score, text, yes


@dataclass(frozen=True, slots=True)
class Header:
    """A column of a table, and what it says."""

    name: str
    title: str
    unit: str
    origin: str
    text: str
    left: bool


@dataclass(frozen=True, slots=True)
class Table:
    """Rows in words."""

    caption: str
    headers: tuple[Header, ...]
    rows: tuple[tuple[str, ...], ...]
    folded: bool = False


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and what is below it."""

    name: str
    title: str
    paragraphs: tuple[str, ...] = ()
    facts: tuple[Fact, ...] = ()
    figure: Figure | None = None
    tables: tuple[Table, ...] = ()
    raw: str = ""  # JSON, folded


@dataclass(frozen=True, slots=True)
class Chapter:
    """One study, or several side by side."""

    slug: str
    title: str
    sections: tuple[Section, ...] = field(default=())


WORDS = {"f1": "F1", "gpu": "GPU", "cpu": "CPU", "mib": "", "kwh": ""}
COUNTED = ("trials", "epochs")  # units that a header says by its name
SHAPES: Mapping[str, Callable[[Any], str]] = {
    **dict.fromkeys(("f1", "accuracy", "precision", "recall"), score),
    **dict.fromkeys(("f1_low", "f1_high", "best_f1", "median_f1"), score),
    **dict.fromkeys(("validation_f1", "gap", "difference", "difference_low"), score),
    **dict.fromkeys(("difference_high", "p_value", "p_value_corrected"), score),
    **dict.fromkeys(("importance", "low", "high", "by_chance"), "{:.3f}".format),
    "train_fraction": "{:g}".format,
    "trainable_parameters": "{:,}".format,
}


def table(
    frame: pd.DataFrame,
    names: Sequence[str],
    caption: str,
    *,
    folded: bool = False,
    shapes: Mapping[str, Callable[[Any], str]] | None = None,
) -> Table:
    """These columns of a frame; a column that has no value at all is left out."""
    kept = [name for name in names if name in frame and frame[name].notna().any()]
    told = frame.attrs.get("columns", {})
    shown = [_shown(frame[name], name, shapes or {}) for name in kept]
    rows = zip(*(_cells(frame[s.column], s.shape) for s in shown), strict=True) if shown else ()
    return Table(
        caption=caption,
        headers=tuple(_header(s, told.get(s.column, {})) for s in shown),
        rows=tuple(rows),
        folded=folded,
    )


def _header(shown: Shown, told: Mapping[str, str]) -> Header:
    unit = told.get("unit", "")
    return Header(
        name=shown.column,
        title=shown.header,
        unit="" if unit in COUNTED else unit,
        origin=told.get("origin", ""),
        text=told.get("text", ""),
        left=shown.left,
    )


def _shown(values: pd.Series, name: str, shapes: Mapping[str, Callable[[Any], str]]) -> Shown:
    shape = shapes.get(name) or SHAPES.get(name) or _shape(values, name)
    words = (WORDS.get(word, word) for word in name.split("_"))
    return Shown(name, " ".join(filter(None, words)), shape, left=shape is text)


def _shape(values: pd.Series, name: str) -> Callable[[Any], str]:
    if name.startswith("test_"):
        return score if pd.api.types.is_float_dtype(values) else amount
    if pd.api.types.is_bool_dtype(values):
        return yes
    if name in ("trial", "epoch", "rank") or pd.api.types.is_integer_dtype(values):
        return str
    if pd.api.types.is_datetime64_any_dtype(values):
        return _moment
    return amount if pd.api.types.is_numeric_dtype(values) else text


def _moment(value: pd.Timestamp) -> str:
    return f"{value:%Y-%m-%d %H:%M}"


def _cells(values: pd.Series, shape: Callable[[Any], str]) -> list[str]:
    missing = values.isna().to_numpy() | np.array([_infinite(value) for value in values], bool)
    return [MISSING if m else shape(v) for v, m in zip(values, missing, strict=True)]


def _infinite(value: Any) -> bool:
    return isinstance(value, float) and not np.isfinite(value)
