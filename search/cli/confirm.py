"""`headhunt confirm`: train a study's best trials again, and score each once on the test part."""

import json
import sys
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from ._running import run_options, run_prepared
from ._stores import SHORT, StoreOption, WorkOption, named_store, refuse, store_options

if TYPE_CHECKING:
    from ...analysis import Confirmation
    from ...stores import Store
    from ..terms import Choice

app = typer.Typer(add_completion=False)


class ConfirmFormat(StrEnum):
    """How the confirmation is written."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


@app.command()
def confirm(
    study: Annotated[str, typer.Argument(help="Name of the study.")],
    top: Annotated[
        int | None,
        typer.Option(
            help="So many of the best trials; the best baseline comes beside them. (default: 3)",
            show_default=False,
        ),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            help="Seeds that each is trained with. More may be asked for later. (default: 5)",
            show_default=False,
        ),
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(
            help="What the best are by, as `headhunt rank` has it. (default: f1-per-gpu-hour)",
            show_default=False,
        ),
    ] = None,
    train_plus_validation: Annotated[
        bool,
        typer.Option(
            "--train-plus-validation",
            help="Train on both parts, for as many epochs as the searched trial's best one.",
        ),
    ] = False,
    train_fractions: Annotated[
        str | None,
        typer.Option(
            help="Train on these shares of the training notes too, by whole patients: "
            "0.1,0.25,0.5,1. (default: 1)",
            show_default=False,
        ),
    ] = None,
    notes: Annotated[
        Path | None,
        typer.Option(
            help="The file of notes. (default: where the search read them on this machine)",
            show_default=False,
        ),
    ] = None,
    slots: Annotated[
        int | None,
        typer.Option(help="Trials at a time at most, over all nodes.", show_default=False),
    ] = None,
    together: Annotated[
        int,
        typer.Option(
            help="Heads of one shape, as a head's seeds are, that a worker trains in one batched "
            "pass, at most; 1: each alone."
        ),
    ] = 1,
    mps: Annotated[
        bool, typer.Option("--mps", help="Limit trials by NVIDIA's MPS, as `headhunt search` does.")
    ] = False,
    address: Annotated[
        str | None,
        typer.Option(help="A running Ray cluster to join, or auto.", show_default=False),
    ] = None,
    allow_open_cluster: Annotated[
        bool,
        typer.Option(
            "--allow-open-cluster", help="Use a Ray without token authentication (see search)."
        ),
    ] = False,
    written_as: Annotated[
        ConfirmFormat, typer.Option("--format", help="csv holds a row a model, and no sentences.")
    ] = ConfirmFormat.TABLE,
    store: StoreOption = None,
    work: WorkOption = None,
) -> None:
    """Train the best trials of STUDY again, with other seeds, and score each once on the test part.

    No search looks at the test part. What comes of it is the study STUDY/confirm; called again, it
    goes on where it was, or shows what it found. It ends with how the models do on test, with
    intervals over patients and seeds, and with what may and what may not be said of them.
    """
    from rich.console import Console

    place = named_store(store, work)
    error = Console(stderr=True, highlight=False)
    with error.status("checking the study, the notes and the options"):
        from ..confirm import is_done, prepare_confirmation
        from ..launch import LaunchError
        from ..progress import ProgressView, duration
        from ..terms import Asked

        asked = Asked(
            study=study,
            store=place,
            notes=notes,
            top=top,
            seeds=seeds,
            by=by,
            with_validation=train_plus_validation or None,
            train_fractions=_fractions(train_fractions),
            slots=slots,
            together=together,
            mps=mps,
            address=address,
            allow_open=allow_open_cluster,
        )
        try:
            prepared = prepare_confirmation(asked, _Ranked(study, place))
        except LaunchError as problem:
            refuse(*problem.problems)
    done = prepared is None
    if prepared is not None:
        named = f" --notes {notes}" if notes else ""
        run = run_options(slots, together, address, allow_open_cluster)
        again = f"headhunt confirm {study}{store_options(place, work)}{named}{run}"
        view = ProgressView(together)
        plan = run_prepared(prepared, view, study, again)
        typer.echo(f"{plan.over} ({duration(view.seconds)})", err=True)
        done = is_done(prepared)
    _show_and_exit(study, place, written_as, done=done)


@dataclass(frozen=True, slots=True)
class _Ranked:
    """Chooses by the ranking of the searched study."""

    study: str
    store: "Store"

    def __call__(self, by: str, top: int) -> "Choice":
        from ...analysis import rank, trials
        from ..terms import Choice

        ranking = rank(trials(self.study, store=self.store), by)
        controls = ranking.controls["trial"].tolist()
        return Choice(
            trials=tuple(int(number) for number in ranking.table["trial"].head(top)),
            baseline=int(controls[0]) if controls else None,
            by=ranking.by,
        )


def _fractions(given: str | None) -> tuple[float, ...] | None:
    if given is None:
        return None
    try:
        return tuple(float(share) for share in given.split(","))
    except ValueError:
        refuse(
            f"--train-fractions is numbers with commas between them, as 0.1,0.5,1; got {given!r}"
        )


def _show_and_exit(
    study: str, store: "Store", written_as: ConfirmFormat, *, done: bool
) -> NoReturn:
    """Print what the confirmation says; its status is 1 where trials are missing."""
    from ...analysis import StoreError, StudyNotFoundError, confirmation

    try:
        found = confirmation(study, store=store)
    except StudyNotFoundError as problem:
        if not done:
            _goes_on(study, problem)
        typer.echo(
            f"every trial that confirms {study!r} has ended, and none is complete: "
            f"`headhunt trials {study}/confirm` tells why; more --seeds may be asked for",
            err=True,
        )
        raise typer.Exit(SHORT) from None
    except StoreError as problem:
        _goes_on(study, problem)
    _WRITERS[written_as](found, study)
    raise typer.Exit(0 if done else SHORT)


def _goes_on(study: str, problem: Exception) -> NoReturn:
    typer.echo(f"error: {problem}; `headhunt confirm {study}` goes on", err=True)
    raise typer.Exit(SHORT)


def _print(found: "Confirmation", study: str) -> None:
    from ...analysis.tables import confirmation_tables, console

    out = console()
    for part in confirmation_tables(found, study, out.width):
        out.print(part)


def _write_csv(found: "Confirmation", study: str) -> None:
    found.models.to_csv(sys.stdout, index=False, lineterminator="\n")
    for sentence in found.sentences:  # standard output is the table alone
        typer.echo(f"{study}: {sentence}", err=True)


def _write_json(found: "Confirmation", study: str) -> None:
    from ...analysis.tables import as_records

    fractions = None if found.fractions is None else as_records(found.fractions)
    written = {
        "study": study,
        "models": as_records(found.models),
        "pairs": as_records(found.pairs),
        "fractions": fractions,
        "sentences": list(found.sentences),
        "scorings": as_records(found.scorings),
    }
    typer.echo(json.dumps(written, indent=1, allow_nan=False))


_WRITERS = {
    ConfirmFormat.TABLE: _print,
    ConfirmFormat.CSV: _write_csv,
    ConfirmFormat.JSON: _write_json,
}
