"""`headhunt rank`: complete trials in order, with their controls and what to know."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
    from rich.console import Console

    from ...analysis import Ranking

app = typer.Typer(add_completion=False)


@app.command()
def rank(
    studies: SourcesArgument,
    by: Annotated[
        str, typer.Option(help="f1-per-gpu-hour, f1, accuracy, card-hours, peak-mib, ...")
    ] = "f1-per-gpu-hour",
    min_f1: Annotated[
        float | None,
        typer.Option(
            "--min-f1",
            help="Least F1 of a ranked trial. By the ratio or a cost: the best baseline's F1.",
            show_default=False,
        ),
    ] = None,
    hours: HoursOption = HoursKind.MODELLED,
    top: Annotated[
        int | None, typer.Option(min=1, help="Only the first so many.", show_default=False)
    ] = None,
    pareto: Annotated[
        bool, typer.Option("--pareto", help="Only the front of F1 against hours.")
    ] = False,
    written_as: FormatOption = None,
    output: OutputOption = None,
    store: StoreOption = None,
) -> None:
    """Rank the complete trials of STUDIES, by F1 per GPU-hour unless told otherwise."""
    from ... import analysis

    written_as = format_of(written_as, output, TableFormat.TABLE)
    try:
        frame = analysis.trials(study_or_studies(studies), store=named_store(store))
        ranking = analysis.rank(frame, by, min_f1=min_f1, hours=hours.value)
    except (analysis.StoreError, ValueError, OSError) as error:
        refuse(str(error))
    if not (frame["state"] == "complete").any():
        counts = frame["state"].value_counts()
        told = ", ".join(f"{number} {state}" for state, number in counts.items()) or "none yet"
        typer.echo(
            f"error: {', '.join(studies)}: no complete trial to rank; its trials: {told}", err=True
        )
        raise typer.Exit(SHORT)
    if pareto:
        ranking = analysis.on_front(ranking)
    try:
        _write(ranking, ", ".join(studies), top, written_as, output)
    except BrokenPipeError:  # the reader of a pipe has enough; Typer ends quietly
        raise
    except OSError as error:
        refuse(str(error))


def _write(
    ranking: "Ranking", studies: str, top: int | None, written_as: TableFormat, output: Path | None
) -> None:
    if written_as is TableFormat.TABLE:
        print_ranking(ranking, studies, top, output)
    elif written_as is TableFormat.JSON:
        _write_json(ranking, studies, top, output)
    else:
        write_frame(ranking.table.head(top or len(ranking.table)), written_as, output)
        for note in ranking.notes:  # the result is the table alone
            typer.echo(f"{studies}: {note}", err=True)


def print_ranking(
    ranking: "Ranking", studies: str, top: int | None, output: Path | None = None
) -> None:
    """The ranking as tables, the first `top` trials of it, on standard output or into a file."""
    from ...analysis.tables import result_console

    with result_console(output) as out:
        _print(ranking, studies, top, out)


def _print(ranking: "Ranking", studies: str, top: int | None, out: "Console") -> None:
    from ...analysis.tables import controls_table, ranking_table

    if len(ranking.table):
        out.print(ranking_table(ranking, studies, top, out.width))
    else:
        out.print(f"{studies}: no trial to rank by {ranking.by}\n")
    if len(ranking.controls):
        out.print(controls_table(ranking, out.width))
    for note in ranking.notes:
        out.print(note)


def _write_json(ranking: "Ranking", studies: str, top: int | None, output: Path | None) -> None:
    from ...analysis.tables import as_records

    written = {
        "study": studies,
        "by": ranking.by,
        "floor": ranking.floor,
        "hours": ranking.hours,
        "card": ranking.card,
        "ranking": as_records(ranking.table.head(top or len(ranking.table))),
        "controls": as_records(ranking.controls),
        "notes": list(ranking.notes),
    }
    write_json(written, output)
