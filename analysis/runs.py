"""A study's trials as runs, the way trackers of experiments think: parameters, curves, an end.

`to_tensorboard` and `to_mlflow` write these, for labs that look at their experiments there. A run
holds what the frames hold: parameters, metrics and costs, never anything of a note.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..spaces.record import COLUMNS
from .columns import CURVE_COLUMNS

WHAT = ("role", "family", "model", "backbone", "mode")  # beside its parameters
WHO = ("config_hash", "seed")
END = ("state", "reason", "device")
FINAL = "final/"  # before the columns of the trial, beside the epochs' of the same names
_TIMES = ("started_at", "ended_at")
_CURVES = tuple(
    column.name
    for column in CURVE_COLUMNS
    if column.name not in {"trial", "state", "family", "model", "epoch"}
)
_COSTS = tuple(
    column.name for column in COLUMNS if column.name not in {"trial", *WHAT, *WHO, *END, *_TIMES}
)


class TrackerError(ValueError):
    """The runs cannot be written there; the message says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One trial."""

    name: str  # of the study and the number: heart-00012
    parameters: dict[str, str | int | float | bool]
    tags: dict[str, str]  # state, reason, identity
    curve: tuple[tuple[int, float, dict[str, float]], ...]  # epoch, seconds since 1970, metrics
    final: dict[str, float]  # score and costs, as in the trials frame
    started: float  # seconds since 1970; 0 where it never started
    ended: float | None  # None of a trial that has not ended

    @property
    def state(self) -> str:
        """As the study has it."""
        return self.tags["state"]


def runs(trials: pd.DataFrame, curves: pd.DataFrame, study: str) -> Iterator[Run]:
    """The runs of one study, from its two frames; what is missing there is left out."""
    epochs = dict(list(curves.groupby("trial"))) if len(curves) else {}
    known = {column.name for column in COLUMNS}
    parameters = (*WHAT, *(str(name) for name in trials.columns if name not in known))
    for row in trials.to_dict("records"):
        told = {str(name): _plain(value) for name, value in row.items() if not pd.isna(value)}
        started, ended = (_seconds(told.get(name)) for name in _TIMES)
        yield Run(
            name=f"{study}-{told['trial']:05d}",
            parameters={name: told[name] for name in parameters if name in told},
            tags={name: str(told[name]) for name in (*END, *WHO) if name in told},
            curve=_curve(epochs.get(told["trial"]), started or 0.0),
            final=_numbers(told, _COSTS),
            started=started or ended or 0.0,
            ended=ended,
        )


def new_folder(folder: Path) -> Path:
    """The folder, made where it is not there; runs written twice would look like twice the trials.

    Raises:
        TrackerError: something is in it.
        OSError: it cannot be made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise TrackerError(f"{folder} is not empty: name a new folder by -o, or empty it")
    return folder


def _curve(
    epochs: pd.DataFrame | None, started: float
) -> tuple[tuple[int, float, dict[str, float]], ...]:
    """The epochs in order; each ended so many seconds of training after the start."""
    if epochs is None:
        return ()
    spent = epochs["wall_seconds"].fillna(0.0).cumsum()
    rows = zip(epochs.to_dict("records"), spent, strict=True)
    return tuple(
        (int(row["epoch"]), started + after, _numbers(row, _CURVES)) for row, after in rows
    )


def _numbers(row: Mapping[Any, Any], names: tuple[str, ...]) -> dict[str, float]:
    """Those that are numbers: a tracker would draw anything else as one."""
    kept = {name: row[name] for name in names if name in row and not pd.isna(row[name])}
    return {name: float(value) for name, value in kept.items() if np.isfinite(value)}


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _seconds(moment: pd.Timestamp | None) -> float | None:
    return None if moment is None else moment.timestamp()
