"""`headhunt trials`: every trial of a study with parameters, metrics and costs, or its curves."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ._frames import (
    OutputOption,
    SourcesArgument,
    format_of,
    study_or_studies,
    write_frame,
    write_json,
)
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
    TENSORBOARD = "tensorboard"
    MLFLOW = "mlflow"


TRACKERS = (TrialsFormat.TENSORBOARD, TrialsFormat.MLFLOW)


@app.command()
def trials(
    studies: SourcesArgument,
    store: StoreOption = None,
    written_as: Annotated[
        TrialsFormat | None,
        typer.Option(
            "--format",
            help="csv unless -o ends in another. tensorboard and mlflow: curves too, into -o DIR.",
            show_default=False,
        ),
    ] = None,
    output: OutputOption = None,
    curves: Annotated[
        bool, typer.Option("--curves", help="One row a trial and epoch instead of one a trial.")
    ] = False,
) -> None:
    """Write the trials of STUDIES: one row each, with parameters, state, metrics and costs."""
    from ... import analysis

    written_as = format_of(written_as, output, TrialsFormat.CSV)
    if written_as in TRACKERS:
        _track(studies, store, written_as, output)
        return
    read = analysis.curves if curves else analysis.trials
    try:
        frame = read(study_or_studies(studies), store=named_store(store))
        _write(frame, written_as, output, f"{read.__name__.capitalize()} of {', '.join(studies)}")
    except BrokenPipeError:  # the reader of a pipe has enough; Typer ends quietly
        raise
    except (analysis.StoreError, OSError) as error:
        refuse(str(error))


def _track(
    studies: list[str], store: str | None, written_as: TrialsFormat, output: Path | None
) -> None:
    """Write the curves for a tracker of experiments, a run a trial."""
    from ...analysis import StoreError, curves, trials
    from ...analysis.runs import TrackerError, runs
    from ...analysis.to_mlflow import DATABASE, write_mlflow
    from ...analysis.to_tensorboard import write_tensorboard

    if output is None or len(set(studies)) > 1:
        refuse(f"--format {written_as} writes one study into a folder of its own: -o DIR")
    (study, *_), place = studies, named_store(store)
    try:
        written = runs(trials(study, store=place), curves(study, store=place), study)
        if written_as is TrialsFormat.MLFLOW:
            count = write_mlflow(written, output, study)
            how = f"mlflow ui --backend-store-uri sqlite:///{output.resolve() / DATABASE}"
        else:
            count = write_tensorboard(written, output)
            how = f"tensorboard --logdir {output}"
    except (StoreError, TrackerError, OSError) as error:
        refuse(str(error))
    typer.echo(f"{count} runs in {output}: `{how}` shows them", err=True)


def _write(
    frame: "pd.DataFrame", written_as: TrialsFormat, output: Path | None, title: str
) -> None:
    from ...analysis.tables import as_records, result_console, trials_table

    if written_as is TrialsFormat.TABLE:
        with result_console(output) as out:
            out.print(trials_table(frame, title, out.width))
    elif written_as is TrialsFormat.JSON:
        write_json(as_records(frame), output)
    else:
        write_frame(frame, written_as, output)
