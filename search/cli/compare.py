"""`headhunt compare`: a study's table, one row a model, or that of several studies."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ._frames import (
    FormatOption,
    HoursKind,
    HoursOption,
    OutputOption,
    SourcesArgument,
    TableFormat,
    format_of,
    study_or_studies,
    write_frame,
    write_json,
)
from ._stores import SHORT, StoreOption, named_store, refuse

if TYPE_CHECKING:
    from ...analysis import Comparison

app = typer.Typer(add_completion=False)


@app.command()
def compare(
    studies: SourcesArgument,
    hours: HoursOption = HoursKind.MODELLED,
    written_as: FormatOption = None,
    output: OutputOption = None,
    store: StoreOption = None,
) -> None:
    """Compare the models of STUDIES: the best trial of each, and what the model cost in all.

    A model is a head on one backbone in one mode, a scratch model, or a baseline.
    """
    from ... import analysis

    written_as = format_of(written_as, output, TableFormat.TABLE)
    try:
        place = named_store(store)
        frame = analysis.trials(study_or_studies(studies), store=place)
        comparison = analysis.compare(frame, hours=hours.value)
        _write(comparison, studies, written_as, output)
    except BrokenPipeError:  # the reader of a pipe has enough; Typer ends quietly
        raise
    except (analysis.StoreError, OSError) as error:
        refuse(str(error))
    if not comparison.table["f1"].notna().any():
        typer.echo(f"error: no trial of {', '.join(studies)} is complete", err=True)
        raise typer.Exit(SHORT)


def _write(
    comparison: "Comparison", names: list[str], written_as: TableFormat, output: Path | None
) -> None:
    if written_as is TableFormat.TABLE:
        print_comparison(comparison, names, output)
    elif written_as is TableFormat.JSON:
        _write_json(comparison, names, output)
    else:
        write_frame(comparison.table, written_as, output)
        for note in comparison.notes:  # the result is the table alone
            typer.echo(f"note: {note}", err=True)


def print_comparison(
    comparison: "Comparison", names: list[str], output: Path | None = None
) -> None:
    """The table of these studies, on standard output or in a file."""
    from ...analysis.tables import comparison_table, result_console

    with result_console(output) as out:
        out.print(comparison_table(comparison, ", ".join(names), out.width))
        for note in comparison.notes:
            out.print(note)


def _write_json(comparison: "Comparison", names: list[str], output: Path | None) -> None:
    from ...analysis.tables import as_json, as_records

    write_json(
        {
            "studies": names,
            "hours": comparison.hours,
            "card": comparison.card,
            "card_hours": as_json(comparison.card_hours),
            "gpu_hours": as_json(comparison.gpu_hours),
            "models": as_records(comparison.table),
            "notes": list(comparison.notes),
        },
        output,
    )
