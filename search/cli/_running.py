"""What `search` and `demo` share: run a request with progress, then show its ranking."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from ._stores import INTERRUPTED, SHORT, refuse, store_options

if TYPE_CHECKING:
    from ...stores import Store


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
    """Run the search, print its ranking, and exit with its status."""
    from rich.console import Console

    error = Console(stderr=True, highlight=False)
    with error.status("checking the notes and the options"):
        from ...stores import StoreError
        from ...trainables.card.cap import ShortOfMemoryError
        from ...trainables.models.backbones import BackboneError
        from ...trainables.training.states import storage_problem
        from ..executor.engine import EngineError
        from ..launch import LaunchError, prepare
        from ..layout import LayoutError
        from ..plan import Budget
        from ..progress import ProgressView, duration, summary
        from ..run import run_search
        from ..sampling import SpaceError
        from ..settings import Request
        from ..telling import EncodingError

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
    run = f" --slots {slots}" if slots else ""
    run += f" --together {together}" if together > 1 else ""
    run += f" --address {address}" if address else ""
    run += " --allow-open-cluster" if allow_open else ""
    again = f"headhunt search {notes} --study {study}{store_options(store, work)}{run} --resume"
    view = ProgressView(together)
    try:
        with view:
            plan = run_search(prepared, view.show)
    except (SpaceError, BackboneError) as problem:
        refuse(str(problem))
    except (EngineError, LayoutError) as problem:
        refuse(f"{problem}; the study {study!r} is there: continue it with `{again}`")
    except ShortOfMemoryError as problem:
        typer.echo(
            f"error: {problem}; wait until it is free, then continue with `{again}`", err=True
        )
        raise typer.Exit(SHORT) from None
    except EncodingError as problem:
        typer.echo(f"error: {problem}; what it wrote is kept: continue with `{again}`", err=True)
        raise typer.Exit(SHORT) from None
    except OSError as problem:  # a full disk, a store that can no longer be written
        what = storage_problem(problem, f"the store {store}") or str(problem)
        typer.echo(f"error: {what}; mend it, then continue with `{again}`", err=True)
        raise typer.Exit(SHORT) from None
    except StoreError as problem:  # another search has it, or the database refuses something
        typer.echo(f"error: {problem}; continue with `{again}`", err=True)
        raise typer.Exit(SHORT) from None
    except KeyboardInterrupt:
        typer.echo(
            f"interrupted: nothing that ended is lost; continue with `{again}`",
            err=True,
        )
        raise typer.Exit(INTERRUPTED) from None
    typer.echo(summary(plan, ""), err=True)
    typer.echo(f"{plan.over} ({duration(view.seconds)})", err=True)
    try:
        ranked = _show_ranking(study, store)
    except StoreError as problem:  # it went away since the last trial
        typer.echo(f"error: {problem}; the search is over, and `headhunt rank` shows it", err=True)
        raise typer.Exit(SHORT) from None
    raise typer.Exit(SHORT if plan.short or not ranked else 0)


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
