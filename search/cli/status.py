"""`headhunt status`: how far a study is, and whether somebody searches it now."""

from math import isnan
from typing import TYPE_CHECKING, Annotated

import typer

from ._stores import StoreOption, named_store, refuse

if TYPE_CHECKING:
    import pandas as pd

app = typer.Typer(add_completion=False)


@app.command()
def status(
    study: Annotated[str, typer.Argument(help="Name of the study.")],
    store: StoreOption = None,
) -> None:
    """Show how far STUDY is: trials by state, the best so far, what was spent of the budget."""
    from ...analysis import StoreError, trials
    from ...stores import reading

    place = named_store(store)
    try:
        frame, held = trials(study, store=place), place.holder(study)
        if not frame.attrs["manifest"]:
            refuse(f"the study {study!r} was killed while it was made: start it anew")
        with reading(place.place_of(study)):
            lines = _lines(study, frame, held)
    except StoreError as error:
        refuse(str(error))
    for line in lines:
        typer.echo(line)
    if len(frame):
        _show_models(frame)
    typer.echo(_who(study, frame, held))


def _show_models(frame: "pd.DataFrame") -> None:
    """The study's table in short, as `headhunt compare` has it."""
    from ...analysis import compare
    from ...analysis.tables import console, models_table

    out = console()
    out.print(models_table(compare(frame), out.width))


def _lines(study: str, frame: "pd.DataFrame", held: str) -> list[str]:
    """What is shown of the study whose trials these are, and who holds it."""
    from ...analysis.formulas import spent_card_hours
    from ...spaces.record import STARTED, State
    from ...stores import confirmed_by

    manifest = frame.attrs["manifest"]
    corpus, budget = manifest["corpus"], manifest["budget"]
    counts = frame["state"].value_counts()
    card = manifest["card"]["name"] if manifest["card"] else "no card"
    lines = [f"{study}: space {manifest['space']}, sampler {manifest['sampler']}, card {card}"]
    lines.append(
        f"notes: {corpus['notes']} in {len(corpus['classes'])} classes; "
        + ", ".join(f"{count} {part}" for part, count in corpus["parts"].items())
    )
    told = {"running": "running" if held else "unfinished"}  # its process may be gone
    states = ", ".join(f"{n} {told.get(str(s), s)}" for s, n in counts.items())
    lines.append("trials: " + (states or "none yet"))
    complete = frame[frame["state"] == "complete"]
    if complete["f1"].notna().any():
        best = complete.sort_values("f1", ascending=False).iloc[0]
        lines.append(f"best F1: {best['f1']:.4f} ({best['model']}, trial {best['trial']})")
    # The trials of a confirmation are settled: what does not fit is not replaced.
    counted = State if confirmed_by(study) else STARTED
    started = int(frame["state"].isin(list(counted)).sum())
    card_hours = spent_card_hours(frame)
    spent = {"trials": started, "card_hours": 0.0 if isnan(card_hours) else card_hours}
    for name, limit in budget.items():
        if name == "stop_margin" and limit is not None:
            lines.append(f"it ends when a trial better by {limit:g} F1 has become unlikely")
        elif limit is not None:
            done = f"{spent[name]:.4g} of " if name in spent else ""
            lines.append(f"budget: {done}{limit:g} {name.replace('_', ' ')}")
    if forgotten := manifest.get("forgotten_at"):
        lines.append(
            f"its confidential files were removed at {forgotten}: {_again(study)} makes them anew"
            + (" for what it trains" if confirmed_by(study) else "")
        )
    return lines


def _who(study: str, frame: "pd.DataFrame", held: str) -> str:
    """Whether somebody searches it now, and how to go on where nobody does."""
    if held and not len(frame):
        return f"it is being searched by {held}, which first encodes the notes: no trial began yet"
    if held:
        return f"it is being searched by {held}"
    unfinished = int((frame["state"] == "running").sum())
    if not unfinished:
        return "nobody searches it"
    trials = "trial" if unfinished == 1 else "trials"
    return f"nobody searches it: {_again(study)} continues its {unfinished} unfinished {trials}"


def _again(study: str) -> str:
    """What goes on with a study."""
    from ...stores import confirmed_by

    searched = confirmed_by(study)
    return f"`headhunt confirm {searched}`" if searched else "--resume"
