"""`headhunt studies`: what a store holds."""

from typing import TYPE_CHECKING

import typer

from ._stores import StoreOption, named_store, refuse

if TYPE_CHECKING:
    import pandas as pd

app = typer.Typer(add_completion=False)


@app.command()
def studies(
    store: StoreOption = None,
) -> None:
    """List the studies of the store, with their trials by state and best F1."""
    from rich.table import Table

    from ...analysis import StoreError, StudyUnreadableError, trials
    from ...analysis.tables import console
    from ...stores import reading

    place = named_store(store)
    try:
        names = place.names()
    except StoreError as error:
        refuse(str(error))
    if not names:
        typer.echo(f"{place} holds no study yet: `headhunt demo` or `headhunt search` makes one")
        return
    table = Table(box=None, pad_edge=False)
    for column in ("study", "notes", "space", "complete", "pruned", "infeasible", "failed"):
        table.add_column(column, justify="left" if column in ("study", "space") else "right")
    for column in ("running", "unfinished"):
        table.add_column(column, justify="right")
    table.add_column("best F1", justify="right")
    for name in names:
        try:
            with reading(place.place_of(name)):
                cells = _cells(trials(name, store=place), place.holder(name))
        except StudyUnreadableError as error:
            typer.echo(f"error: {error}", err=True)
            continue
        if cells:
            table.add_row(name, *cells)
    console().print(table)


def _cells(frame: "pd.DataFrame", held: str) -> list[str]:
    """The row of the study whose trials these are; none where it was killed while it was made.

    A trial that has not ended is running while somebody holds the study, and unfinished otherwise.
    """
    manifest = frame.attrs["manifest"]
    if not manifest:
        return []
    counts = frame["state"].value_counts()
    best = frame.loc[frame["state"] == "complete", "f1"].max()
    states = ("complete", "pruned", "infeasible", "failed")
    begun = str(counts.get("running", 0))
    return [
        str(manifest["corpus"]["notes"]),
        manifest["space"],
        *(str(counts.get(state, 0)) for state in states),
        *((begun, "0") if held else ("0", begun)),
        f"{best:.4f}" if best == best else "",
    ]
