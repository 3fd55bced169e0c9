"""What `search` and `demo` share: run a request with progress, then show its ranking."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from ._stores import INTERRUPTED, SHORT, refuse, store_options

if TYPE_CHECKING:
    from ...stores import Store
    from ..launch import Prepared
    from ..plan import Plan
    from ..progress import ProgressView


def run_and_exit(
    *,
    notes: Path,
    study: str,
    store: "Store",
    work: Path | None,
    resume: bool,
    given: Mapping[str, Any],
    budget: Mapping[str, Any],
    slots: int | None,
    together: int = 1,
    mps: bool = False,
    address: str | None,
    allow_open: bool = False,
) -> NoReturn:
    """Run the search, print its ranking or its comparison, and exit with its status."""
    from rich.console import Console

    error = Console(stderr=True, highlight=False)
    with error.status("checking the notes and the options"):
        from ...spaces import comparison
        from ...stores import StoreError
        from ..launch import LaunchError, prepare
        from ..plan import Budget
        from ..progress import ProgressView, duration, summary
        from ..settings import Request

        request = Request(
            notes=notes,
            study=study,
            store=store,
            resume=resume,
            given=given,
            budget=Budget(**budget),
            slots=slots,
            together=together,
            mps=mps,
            address=address,
            allow_open=allow_open,
        )
        try:
            prepared = prepare(request)
        except LaunchError as problem:
            refuse(*problem.problems)
    for finding in prepared.corpus.findings:
        typer.echo(f"note: {finding}", err=True)
    for warning in prepared.warnings:
        typer.echo(f"warning: {warning}", err=True)
    run = run_options(slots, together, address, allow_open)
    again = f"headhunt search {notes} --study {study}{store_options(store, work)}{run} --resume"
    view = ProgressView(together)
    plan = run_prepared(prepared, view, study, again)
    typer.echo(summary(plan, ""), err=True)
    typer.echo(f"{plan.over} ({duration(view.seconds)})", err=True)
    try:
        compared = prepared.settings.space == comparison.NAME
        found = _show_comparison(prepared) if compared else _show_ranking(study, store)
    except StoreError as problem:  # it went away since the last trial
        typer.echo(f"error: {problem}; the search is over, and `headhunt rank` shows it", err=True)
        raise typer.Exit(SHORT) from None
    raise typer.Exit(SHORT if plan.short or not found else 0)


def run_options(slots: int | None, together: int, address: str | None, allow_open: bool) -> str:
    """How a command line says again where and how to run; "" where it is the usual way."""
    run = f" --slots {slots}" if slots else ""
    run += f" --together {together}" if together > 1 else ""
    run += f" --address {address}" if address else ""
    return run + (" --allow-open-cluster" if allow_open else "")


def run_prepared(prepared: "Prepared", view: "ProgressView", study: str, again: str) -> "Plan":
    """Run what is prepared, or exit with the reason and the command that goes on."""
    from ...stores import StoreError
    from ...trainables.card.cap import ShortOfMemoryError
    from ...trainables.models.backbones import BackboneError
    from ...trainables.training.states import storage_problem
    from ..executor.engine import EngineError
    from ..layout import LayoutError
    from ..run import run_search
    from ..sampling import SpaceError
    from ..telling import EncodingError

    try:
        with view:
            return run_search(prepared, view.show)
    except (SpaceError, BackboneError) as problem:
        refuse(str(problem))
    except (EngineError, LayoutError) as problem:
        refuse(f"{problem}; the study {study!r} is there: continue it with `{again}`")
    except ShortOfMemoryError as problem:
        typer.echo(
            f"error: {problem}; wait until it is free, then continue with `{again}`", err=True
        )
    except EncodingError as problem:
        typer.echo(f"error: {problem}; what it wrote is kept: continue with `{again}`", err=True)
    except OSError as problem:  # a full disk, a store that can no longer be written
        place = prepared.request.store
        what = storage_problem(problem, f"the store {place}") or str(problem)
        typer.echo(f"error: {what}; mend it, then continue with `{again}`", err=True)
    except StoreError as problem:  # another search has it, or the database refuses something
        typer.echo(f"error: {problem}; continue with `{again}`", err=True)
    except KeyboardInterrupt:
        typer.echo(
            f"interrupted: nothing that ended is lost; continue with `{again}`",
            err=True,
        )
        raise typer.Exit(INTERRUPTED) from None
    raise typer.Exit(SHORT)


def _show_ranking(study: str, store: "Store") -> bool:
    """Print the ranking; whether any trial is complete."""
    from ...analysis import rank, trials
    from .rank import print_ranking

    frame = trials(study, store=store)
    if not (frame["state"] == "complete").any():
        typer.echo(f"no trial of {study!r} is complete: see `headhunt trials {study}`", err=True)
        return False
    print_ranking(rank(frame), study, 10)
    return True


def _show_comparison(prepared: "Prepared") -> bool:
    """Print the study's table, and what its own encoders need; whether any trial is complete."""
    from rich.console import Console

    from ...analysis import compare, trials
    from ...analysis.tables import console
    from ...spaces.comparison import MOST_TOKENS
    from ..estimate import counted
    from ..real_three import real_rows
    from ._real_three import real_table
    from .compare import print_comparison

    study, card = prepared.request.study, prepared.card
    frame = trials(study, store=prepared.request.store)
    print_comparison(compare(frame), [study])
    if card is not None:
        with Console(stderr=True).status("tracing the study's own encoders"):
            notes = counted(prepared.corpus, MOST_TOKENS)
            rows = real_rows(card, notes)
        console().print(real_table(rows, card, notes, prepared.settings.max_epochs))
    typer.echo(f"`headhunt rank {study}` ranks single trials", err=True)
    if (frame["state"] == "complete").any():
        return True
    typer.echo(f"no trial of {study!r} is complete: see `headhunt trials {study}`", err=True)
    return False
