"""`headhunt trials`: every trial of a study with parameters, metrics and costs, or its curves."""

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import typer

from ._stores import StoreOption, named_store, refuse

if TYPE_CHECKING:
    import pandas as pd

app = typer.Typer(add_completion=False)


class TrialsFormat(StrEnum):
    """How the frame is written."""

    CSV = "csv"
    JSON = "json"
    PARQUET = "parquet"
    TABLE = "table"


@app.command()
def trials(
    study: Annotated[str, typer.Argument(help="Name of the study.")],
    store: StoreOption = None,
    written_as: Annotated[
        TrialsFormat | None,
        typer.Option("--format", help="csv unless -o ends in another.", show_default=False),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write instead of printing.")
    ] = None,
    curves: Annotated[
        bool, typer.Option("--curves", help="One row a trial and epoch instead of one a trial.")
    ] = False,
) -> None:
    """Write the trials of STUDY: one row each, with parameters, state, metrics and costs."""
    from ... import analysis

    written_as = written_as or _format_of(output)
    if written_as is TrialsFormat.PARQUET and output is None:
        refuse("--format parquet needs a file: add -o FILE")
    try:
        frame = (analysis.curves if curves else analysis.trials)(study, store=named_store(store))
        _write(frame, written_as, output, f"{'Epochs' if curves else 'Trials'} of {study}")
    except BrokenPipeError:  # the reader of a pipe has enough; Typer ends quietly
        raise
    except (analysis.StoreError, OSError) as error:
        refuse(str(error))


def _format_of(output: Path | None) -> TrialsFormat:
    ending = output.suffix.removeprefix(".").lower() if output else ""
    return TrialsFormat(ending) if ending in set(TrialsFormat) else TrialsFormat.CSV


def _write(
    frame: "pd.DataFrame", written_as: TrialsFormat, output: Path | None, title: str
) -> None:
    if written_as is TrialsFormat.PARQUET:
        frame.to_parquet(output, index=False)
    elif output is None:
        _print(frame, written_as, sys.stdout, title)
    else:
        with output.open("w", encoding="utf-8", newline="") as file:
            _print(frame, written_as, file, title)


def _print(frame: "pd.DataFrame", written_as: TrialsFormat, file: IO[str], title: str) -> None:
    from ...analysis.tables import as_records, console, trials_table

    if written_as is TrialsFormat.TABLE:
        out = console(file)
        out.print(trials_table(frame, title, out.width))
    elif written_as is TrialsFormat.JSON:
        file.write(json.dumps(as_records(frame), indent=1, allow_nan=False) + "\n")
    else:
        frame.to_csv(file, index=False, lineterminator="\n")
