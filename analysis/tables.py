"""Frames for people and for programs: tables in a terminal, records for JSON.

Numbers are rounded here and nowhere else; a missing value is `-` in a table and null in JSON.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd
from rich import box
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from ..spaces.configs import backbone_label, model_label
from ..spaces.record import State
from .compare import Comparison
from .confirmation import Confirmation
from .formulas import HOURS_COLUMN, RATIO_COLUMN, TOTAL_COLUMN, Hours
from .ranking import ORDERS, Ranking

WIDTH = 100  # of a table that goes to no terminal; under it, columns stand closer
LEAST_WIDTH = 80  # a terminal that is narrower breaks the lines itself
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
    """Three significant digits; whole numbers and all from a hundred on as whole ones.

    >>> amount(0.0012345), amount(12.345), amount(12345.6), amount(3)
    ('0.00123', '12.3', '12,346', '3')
    """
    if abs(value) >= 100 or value == 0 or isinstance(value, int | np.integer):
        return f"{value:,.0f}"
    decimals = 2 - int(np.floor(np.log10(abs(value))))
    return f"{value:.{decimals}f}" if decimals <= 8 else f"{value:.2e}"


def yes(value: bool) -> str:
    """A boolean in a word."""
    return "yes" if value else "no"


@dataclass(frozen=True, slots=True)
class Shown:
    """How one column of a frame stands in a table."""

    column: str
    header: str  # with the unit; two lines at most
    shape: Callable[[Any], str] = text
    left: bool = False  # words stand left and may go on in the next line; numbers do neither


TRIALS_SHOWN = (
    Shown("study", "study", left=True),
    Shown("trial", "trial"),
    Shown("epoch", "epoch"),  # of curves
    Shown("state", "state", left=True),
    Shown("model", "model", left=True),
    Shown("f1", "F1", score),
    Shown("epochs", "epochs"),
    Shown("card_hours", "card\nhours", amount),
    Shown("gpu_hours", "GPU\nhours", amount),
    Shown("peak_mib", "peak\nMiB", amount),
    Shown("trainable_parameters", "trainable\nparameters", "{:,}".format),
    Shown("reason", "reason", left=True),
)
CONTROLS_SHOWN = (
    Shown("study", "study", left=True),
    Shown("trial", "trial"),
    Shown("model", "model", left=True),
    Shown("f1", "F1", score),
    Shown("accuracy", "accuracy", score),
    Shown("cpu_seconds", "CPU\nseconds", amount),
    Shown("wall_seconds", "wall\nseconds", amount),
)
_HEADERS = {
    "f1_per_gpu_hour_marginal": "F1 per marginal\nGPU-hour",
    "f1_per_kwh": "F1 per\nkWh",
}
_METRIC_HEADER = {"accuracy": "accu-\nracy", "precision": "preci-\nsion", "recall": "recall"}
_HOURS_HEADER: dict[Hours, str] = {"modelled": "card\nhours", "measured": "GPU\nhours"}
ENDS = (State.COMPLETE, State.PRUNED, State.INFEASIBLE, State.FAILED)


def trials_table(frame: pd.DataFrame, title: str, width: int = WIDTH) -> Group:
    """The most telling columns of a frame from `trials` or `curves`."""
    return Group(Text(title), table_of(frame, TRIALS_SHOWN, width))


def ranking_table(
    ranking: Ranking, study: str, top: int | None = None, width: int = WIDTH
) -> Group:
    """The first `top` ranked trials, then what their hours are."""
    table = ranking.table.head(top or len(ranking.table))
    cut = f", {len(table)} of {len(ranking.table)}" if len(table) < len(ranking.table) else ""
    backbones = list(dict.fromkeys(map(backbone_label, table["backbone"].dropna())))
    on = f", heads on {backbones[0]}" if len(backbones) == 1 else ""
    has_hours = table[HOURS_COLUMN[ranking.hours]].notna().any()
    return Group(
        Text(f"{study} by {ranking.by}{cut}{on}"),
        table_of(table, _ranking_shown(ranking, several_backbones=len(backbones) > 1), width),
        *[Text(hours_sentence(ranking) + "\n")] * bool(has_hours),
    )


def controls_table(ranking: Ranking, width: int = WIDTH) -> Group:
    """The baselines beside the ranking."""
    title = "Controls: baselines use no GPU, so they have CPU seconds and no rank"
    return Group(Text(title), table_of(ranking.controls, CONTROLS_SHOWN, width))


def interval_of(row: pd.Series, column: str, shape: Callable[[float], str]) -> str | None:
    """A column with its interval, as one cell; None where it has no value."""
    if pd.isna(row[column]):
        return None
    low, high = shape(row[f"{column}_low"]), shape(row[f"{column}_high"])
    return f"{shape(row[column])} [{low}, {high}]"


def confirmation_tables(
    found: Confirmation, study: str, width: int = WIDTH
) -> Iterator[Group | Text]:
    """The models on test, the train fractions where there are some, and the sentences."""
    several = found.models["backbone"].dropna().nunique() > 1
    models = _with_intervals(found.models)
    yield Group(
        Text(f"{study}, confirmed on test: means over the seeds, with 95 % intervals"),
        table_of(models, _confirmed_shown(several), width),
    )
    if models["difference"].notna().any():
        yield Group(
            Text("F1 on test less the best baseline's, paired by patients"),
            table_of(models[models["difference"].notna()], _COMPARED_SHOWN, width),
        )
    if found.fractions is not None:
        yield Group(
            Text("F1 on test by the number of training notes"),
            table_of(_with_intervals(found.fractions), _FRACTIONS_SHOWN, width),
        )
    for sentence in found.sentences:
        yield Text(sentence)


def _with_intervals(frame: pd.DataFrame) -> pd.DataFrame:
    shapes = {"test_f1": decimals, "test_accuracy": decimals, "difference": signed}
    frame = frame.copy()
    for column, shape in shapes.items():
        if column in frame:
            cells = [interval_of(row, column, shape) for _, row in frame.iterrows()]
            frame[f"{column}_shown"] = pd.Series(cells, index=frame.index, dtype="string")
    return frame


def signed(value: float) -> str:
    """A difference, to three decimals; none has no sign of its own.

    >>> signed(0.0126), signed(-0.0126), signed(-0.0001)
    ('+0.013', '-0.013', '+0.000')
    """
    return f"{round(value, 3) + 0.0:+.3f}"


def decimals(value: float) -> str:
    """Three decimals: an interval is wider than the fourth.

    >>> decimals(0.81236)
    '0.812'
    """
    return f"{value:.3f}"


_FRACTIONS_SHOWN = (
    Shown("trial", "trial"),
    Shown("model", "model", left=True),
    Shown("train_fraction", "train\nfraction", "{:g}".format),
    Shown("training_notes", "notes", "{:,}".format),
    Shown("training_patients", "patients", "{:,}".format),
    Shown("seeds", "seeds"),
    Shown("test_f1_shown", "test F1"),
)


def _confirmed_shown(several_backbones: bool) -> tuple[Shown, ...]:
    return (
        Shown("trial", "trial"),
        Shown("model", "model", left=True),
        *[Shown("backbone", "backbone", backbone_label, left=True)] * several_backbones,
        Shown("seeds", "seeds"),
        Shown("validation_f1", "validation\nF1", decimals),
        Shown("test_f1_shown", "test F1"),
        Shown("gap", "gap", signed),
        Shown("test_accuracy_shown", "test accuracy"),
    )


_COMPARED_SHOWN = (
    Shown("trial", "trial"),
    Shown("model", "model", left=True),
    Shown("difference_shown", "difference"),
    Shown("p_value", "p", decimals),
    Shown("p_value_corrected", "p, by\nHolm", decimals),
    Shown("verdict", "verdict", left=True),
)


def comparison_table(comparison: Comparison, studies: str, width: int = WIDTH) -> Group:
    """A row a model, then what its hours and its counts are; a narrow one has fewer metrics."""
    table, total = comparison.table, TOTAL_COLUMN[comparison.hours]
    told = table.assign(
        label=_labels(table),
        ends=table[[state.value for state in ENDS]].astype(str).agg("/".join, axis=1),
    )
    metrics = ("accuracy", "precision", "recall") if width >= WIDTH else ()
    shown = (
        Shown("study", "study", left=True),
        Shown("label", "model", left=True),
        Shown("f1", "F1", score),
        *(Shown(name, _METRIC_HEADER[name], "{:.3f}".format) for name in metrics),
        Shown("trial", "trial"),
        Shown("trainable_parameters", "trainable\nparameters", "{:,}".format),
        Shown(HOURS_COLUMN[comparison.hours], _HOURS_HEADER[comparison.hours], amount),
        Shown("times_cheapest", "times\nleast", amount),
        Shown(total, "hours\nin all", amount),
        Shown("ends", "trials"),
    )
    return Group(
        Text(f"{studies}: the best complete trial of each model"),
        table_of(told, shown, min(width, WIDTH - 1)),
        Text(f"Trials: {'/'.join(ENDS)}."),
        Text(f"{_in_all(comparison)}\n" if table[total].notna().any() else ""),
    )


def _labels(table: pd.DataFrame) -> list[str]:
    rows = table[["model", "backbone", "mode"]].fillna("").itertuples(index=False)
    return [model_label(*row) or MISSING for row in rows]


def models_table(comparison: Comparison, width: int = WIDTH) -> Table:
    """The same in short: the best F1, its F1 per hour, hours and trials in all."""
    table, total = comparison.table, TOTAL_COLUMN[comparison.hours]
    shown = (
        Shown("label", "model", left=True),
        Shown("f1", "best F1", score),
        Shown("trial", "trial"),
        Shown(RATIO_COLUMN, "F1 per\nGPU-hour", amount),
        Shown(total, "hours\nin all", amount),
        *(Shown(state.value, state.value) for state in ENDS),
    )
    return table_of(table.assign(label=_labels(table)), shown, width)


def _in_all(comparison: Comparison) -> str:
    """What the hours are, and how many all trials took."""
    if comparison.hours == "measured":
        in_all = f"All trials: {amount(comparison.gpu_hours)} GPU hours."
    else:
        in_all = (
            "In all: every trial of the model, its encoding once; the whole table: "
            f"{amount(comparison.card_hours)}, each backbone's encoding once."
        )
    return f"{hours_sentence(comparison)}\n{in_all}"


def hours_sentence(table: Ranking | Comparison) -> str:
    """What the hours of a table are."""
    if table.hours == "measured":
        return "Hours are measured here: device time times the fraction of the GPU held."
    card = f"the card {table.card}" if table.card else "the study's card"
    return (
        f"Hours are modelled on {card}: all epochs paid, and the encoding of the whole corpus, "
        "as if each trial had been trained alone."
    )


def _ranking_shown(ranking: Ranking, *, several_backbones: bool) -> tuple[Shown, ...]:
    hours = HOURS_COLUMN[ranking.hours]
    ordered = ORDERS[ranking.by].column
    shape = amount if ORDERS[ranking.by].has_floor else score
    always = (RATIO_COLUMN, "f1", hours, "peak_mib", "trainable_parameters")
    return (
        Shown("rank", "rank"),
        Shown("study", "study", left=True),
        Shown("trial", "trial"),
        Shown("model", "model", left=True),
        *[Shown("backbone", "backbone", backbone_label, left=True)] * several_backbones,
        *[Shown(ordered, _HEADERS.get(ordered, ordered.replace("_", "\n", 1)), shape)]
        * (ordered not in always),
        Shown(RATIO_COLUMN, "F1 per\nGPU-hour", amount),
        Shown("f1", "F1", score),
        Shown(hours, _HOURS_HEADER[ranking.hours], amount),
        Shown("peak_mib", "peak\nMiB", amount),
        Shown("trainable_parameters", "trainable\nparameters", "{:,}".format),
        Shown("pareto", "Pareto", yes),
    )


def table_of(frame: pd.DataFrame, shown: Sequence[Shown], width: int = WIDTH) -> Table:
    """The frame's rows under these headers; a column that has no value at all is left out."""
    gap = 1 if width >= WIDTH else 0  # beside the one that every table has
    table = Table(box=box.SIMPLE_HEAD, padding=(0, gap, 0, 0), pad_edge=False)
    kept = [s for s in shown if s.column in frame and frame[s.column].notna().any()]
    for s in kept:
        # Rich narrows what may wrap before it cuts the rest: a cut number would be a wrong one.
        table.add_column(
            Text(s.header),
            justify="left" if s.left else "right",
            no_wrap=not s.left,
            overflow="fold",
        )
    for _, row in frame.iterrows():
        cells = ((s, row[s.column]) for s in kept)
        table.add_row(*(Text(MISSING if pd.isna(v) else s.shape(v)) for s, v in cells))
    return table


def console(file: IO[str] | None = None) -> Console:
    """A console for results: 100 columns and no colours where there is no terminal."""
    shown = Console(file=file, highlight=False, markup=False, emoji=False)
    shown.width = max(shown.width, LEAST_WIDTH) if shown.is_terminal else WIDTH
    return shown


@contextmanager
def result_console(path: Path | None) -> Iterator[Console]:
    """The same into a file, or into standard output where there is none."""
    if path is None:
        yield console()
        return
    with path.open("w", encoding="utf-8", newline="") as file:
        yield console(file)


def as_records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """One dictionary of JSON values a row; missing, not a number and infinite are None."""
    columns = [str(name) for name in frame.columns]
    rows = zip(*(map(as_json, frame[name]) for name in columns), strict=True)
    return [dict(zip(columns, row, strict=True)) for row in rows]


def as_json(value: Any) -> Any:
    """A cell as a JSON value; missing, not a number and infinite are None."""
    if pd.isna(value):
        return None
    if isinstance(value, pd.Timestamp):
        return value.isoformat()
    plain = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(plain, float) and not np.isfinite(plain) else plain
