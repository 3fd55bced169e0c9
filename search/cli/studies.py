"""`headhunt studies`: what a store holds."""

from pathlib import Path
from typing import Annotated

import typer

from ._running import DEFAULT_STORE

app = typer.Typer()


@app.command()
def studies(
    store: Annotated[
        Path, typer.Option(help="Folder of the studies.", envvar="HEADHUNT_STORE")
    ] = DEFAULT_STORE,
) -> None:
    """List the studies of the store, with their trials by state and best F1."""
    from rich.table import Table

    from ...analysis import StudyUnreadableError, trials
    from ...analysis.stored import study_names
    from ...analysis.tables import console

    names = study_names(store)
    if not names:
        typer.echo(f"{store} holds no study yet: `headhunt demo` or `headhunt search` makes one")
        return
    table = Table(box=None, pad_edge=False)
    for column in ("study", "notes", "space", "complete", "pruned", "infeasible", "failed"):
        table.add_column(column, justify="left" if column in ("study", "space") else "right")
    table.add_column("running", justify="right")
    table.add_column("best F1", justify="right")
    for name in names:
        try:
            frame = trials(name, store=store)
        except StudyUnreadableError as error:
            typer.echo(f"error: {error}", err=True)
            continue
        manifest = frame.attrs["manifest"]
        if not manifest:  # killed while it was made: no study
            continue
        counts = frame["state"].value_counts()
        best = frame.loc[frame["state"] == "complete", "f1"].max()
        table.add_row(
            name,
            str(manifest["corpus"]["notes"]),
            manifest["space"],
            *(
                str(counts.get(state, 0))
                for state in ("complete", "pruned", "infeasible", "failed", "running")
            ),
            f"{best:.4f}" if best == best else "",
        )
    console().print(table)
