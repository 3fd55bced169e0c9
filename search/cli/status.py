"""`headhunt status`: how far a study is, and whether somebody searches it now."""

from pathlib import Path
from typing import Annotated

import typer

from ._running import BAD_INPUT, DEFAULT_STORE

app = typer.Typer()


@app.command()
def status(
    study: Annotated[str, typer.Argument(help="Name of the study.")],
    store: Annotated[
        Path, typer.Option(help="Folder of the studies.", envvar="HEADHUNT_STORE")
    ] = DEFAULT_STORE,
) -> None:
    """Show how far STUDY is: trials by state, the best so far, what was spent of the budget."""
    from ...analysis import StudyNotFoundError, StudyUnreadableError, trials
    from ..lock import holder

    try:
        frame = trials(study, store=store)
    except (StudyNotFoundError, StudyUnreadableError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(BAD_INPUT) from None
    manifest = frame.attrs["manifest"]
    if not manifest:
        typer.echo(
            f"error: the study {study!r} was killed while it was made: start it anew", err=True
        )
        raise typer.Exit(BAD_INPUT)
    corpus, budget = manifest["corpus"], manifest["budget"]
    counts = frame["state"].value_counts()
    held = holder(store / study)
    card = manifest["card"]["name"] if manifest["card"] else "no card"
    typer.echo(f"{study}: space {manifest['space']}, sampler {manifest['sampler']}, card {card}")
    typer.echo(
        f"notes: {corpus['notes']} in {len(corpus['classes'])} classes; "
        + ", ".join(f"{count} {part}" for part, count in corpus["parts"].items())
    )
    typer.echo("trials: " + (", ".join(f"{n} {s}" for s, n in counts.items()) or "none yet"))
    complete = frame[frame["state"] == "complete"]
    if complete["f1"].notna().any():
        best = complete.sort_values("f1", ascending=False).iloc[0]
        typer.echo(f"best F1: {best['f1']:.4f} ({best['model']}, trial {best['trial']})")
    started = int(frame["state"].isin(["running", "complete", "pruned", "failed"]).sum())
    encoding = (frame["card_hours"] - frame["card_hours_marginal"]).groupby(frame["backbone"]).max()
    card_hours = frame["card_hours_marginal"].sum() + encoding.sum()  # each backbone encodes once
    spent = {"trials": started, "card_hours": card_hours}
    for name, limit in budget.items():
        if name == "stop_margin" and limit is not None:
            typer.echo(f"it ends when a trial better by {limit:g} F1 has become unlikely")
        elif limit is not None:
            done = f"{spent[name]:.4g} of " if name in spent else ""
            typer.echo(f"budget: {done}{limit:g} {name.replace('_', ' ')}")
    if forgotten := manifest.get("forgotten_at"):
        typer.echo(f"its confidential files were removed at {forgotten}: --resume makes them anew")
    running = int(counts.get("running", 0))
    if held:
        typer.echo(f"it is being searched by {held}")
    elif running:
        typer.echo(
            f"nobody searches it: --resume continues its {running} unfinished "
            + ("trial" if running == 1 else "trials")
        )
    else:
        typer.echo("nobody searches it")
