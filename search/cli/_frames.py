"""How the commands write a frame: its formats, to standard output or to a file."""

import json
import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from ._stores import refuse

if TYPE_CHECKING:
    import pandas as pd

PARQUET = "parquet"
F = TypeVar("F", bound=StrEnum)


class TableFormat(StrEnum):
    """How a table is written."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    PARQUET = PARQUET


class HoursKind(StrEnum):
    """Which GPU-hours are meant."""

    MODELLED = "modelled"
    MEASURED = "measured"


StudiesArgument = Annotated[list[str], typer.Argument(help="Name of the study, or several.")]
SourcesArgument = Annotated[
    list[str],
    typer.Argument(help="Name of the study, or several; or files that `headhunt bundle` wrote."),
]
HoursOption = Annotated[
    HoursKind, typer.Option("--hours", help="Hours modelled on the card, or measured on a GPU.")
]
FormatOption = Annotated[
    TableFormat | None,
    typer.Option("--format", help="table unless -o ends in another.", show_default=False),
]
OutputOption = Annotated[
    Path | None, typer.Option("--output", "-o", help="File to write instead of printing.")
]


def format_of(given: F | None, output: Path | None, default: F) -> F:
    """What was asked for, or what the file's name says; Parquet is for a file alone."""
    kinds = type(default)
    ending = output.suffix.removeprefix(".").lower() if output else ""
    chosen = given or (kinds(ending) if ending in set(kinds) else default)
    if chosen == PARQUET and output is None:
        refuse("--format parquet needs a file: add -o FILE")
    return chosen


def study_or_studies(names: Sequence[str]) -> str | list[str]:
    """As `analysis` takes them: a name of its own, or several without repeats."""
    several = list(dict.fromkeys(names))
    return several if len(several) > 1 else several[0]


def write_frame(frame: "pd.DataFrame", written_as: str, output: Path | None) -> None:
    """The frame as CSV or Parquet."""
    if output is None:
        frame.to_csv(sys.stdout, index=False, lineterminator="\n")
        return
    with output.open("wb") as file:  # its own error names the file, where pandas' does not
        if written_as == PARQUET:
            frame.to_parquet(file, index=False)
        else:
            frame.to_csv(file, index=False, lineterminator="\n")


def write_json(value: object, output: Path | None) -> None:
    """A JSON value; what is no number there is null, and none is left in it."""
    text = json.dumps(value, indent=1, allow_nan=False) + "\n"
    if output is None:
        sys.stdout.write(text)
    else:
        output.write_text(text, encoding="utf-8")
