"""`headhunt rank`: a study's complete trials in order, with its controls and what to know."""

import json
import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from ._stores import SHORT, StoreOption, named_store, refuse

if TYPE_CHECKING:
    from ...analysis import Ranking

app = typer.Typer(add_completion=False)


class RankFormat(StrEnum):
    """How the ranking is written."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


class HoursKind(StrEnum):
    """Which GPU-hours the ratio divides by."""

    MODELLED = "modelled"
    MEASURED = "measured"


@app.command()
def rank(
    study: Annotated[str, typer.Argument(help="Name of the study.")],
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
    hours: Annotated[
        HoursKind, typer.Option(help="Hours modelled on the card, or measured on a GPU here.")
    ] = HoursKind.MODELLED,
    top: Annotated[
        int | None, typer.Option(min=1, help="Only the first so many.", show_default=False)
    ] = None,
    written_as: Annotated[
        RankFormat, typer.Option("--format", help="csv holds the ranked trials alone.")
    ] = RankFormat.TABLE,
    store: StoreOption = None,
) -> None:
    """Rank the complete trials of STUDY, by F1 per GPU-hour unless told otherwise."""
    from ... import analysis

    try:
        frame = analysis.trials(study, store=named_store(store))
        ranking = analysis.rank(frame, by, min_f1=min_f1, hours=hours.value)
    except (analysis.StoreError, ValueError, OSError) as error:
        refuse(str(error))
    if not (frame["state"] == "complete").any():
        counts = frame["state"].value_counts()
        told = ", ".join(f"{number} {state}" for state, number in counts.items()) or "none yet"
        typer.echo(
            f"error: study {study!r} has no complete trial to rank; its trials: {told}", err=True
        )
        raise typer.Exit(SHORT)
    _WRITERS[written_as](ranking, study, top)


def print_ranking(ranking: "Ranking", study: str, top: int | None) -> None:
    """The ranking as tables on standard output, the first `top` trials of it."""
    from ...analysis.tables import console, controls_table, ranking_table

    out = console()
    if len(ranking.table):
        out.print(ranking_table(ranking, study, top, out.width))
    else:
        out.print(f"{study}: no trial to rank by {ranking.by}\n")
    if len(ranking.controls):
        out.print(controls_table(ranking, out.width))
    for note in ranking.notes:
        out.print(note)


def _write_csv(ranking: "Ranking", study: str, top: int | None) -> None:
    ranking.table.head(top or len(ranking.table)).to_csv(
        sys.stdout, index=False, lineterminator="\n"
    )
    for note in ranking.notes:  # standard output is the table alone
        typer.echo(f"{study}: {note}", err=True)


def _write_json(ranking: "Ranking", study: str, top: int | None) -> None:
    from ...analysis.tables import as_records

    written = {
        "study": study,
        "by": ranking.by,
        "floor": ranking.floor,
        "hours": ranking.hours,
        "card": ranking.card,
        "ranking": as_records(ranking.table.head(top or len(ranking.table))),
        "controls": as_records(ranking.controls),
        "notes": list(ranking.notes),
    }
    typer.echo(json.dumps(written, indent=1, allow_nan=False))


_WRITERS = {
    RankFormat.TABLE: print_ranking,
    RankFormat.CSV: _write_csv,
    RankFormat.JSON: _write_json,
}
