"""`headhunt studies`: what a store holds."""

import typer

from ._stores import StoreOption, named_store, refuse

app = typer.Typer()


@app.command()
def studies(
    store: StoreOption = None,
) -> None:
    """List the studies of the store, with their trials by state and best F1."""
    from rich.table import Table

    from ...analysis import StoreError, StudyUnreadableError, trials
    from ...analysis.tables import console

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
    table.add_column("running", justify="right")
    table.add_column("best F1", justify="right")
    for name in names:
        try:
            frame = trials(name, store=place)
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
