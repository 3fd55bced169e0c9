"""`headhunt forget`: remove what a study keeps that tells of its notes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ._stores import SHORT, StoreOption, WorkOption, named_store, refuse

if TYPE_CHECKING:
    from ...stores import Store
    from ..forget import Leftovers

app = typer.Typer(add_completion=False)


@app.command()
def forget(
    study: Annotated[str, typer.Argument(help="Name of the study.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    store: StoreOption = None,
    work: WorkOption = None,
) -> None:
    """Remove the confidential files of STUDY: encoded notes, vocabularies, checkpoints, weights.

    Those of what confirms it, STUDY/confirm, go with them.
    The record stays, so status, trials, rank and simulate answer as before. Encoded notes that
    another study of the store needs stay for it. The file of notes is yours and is not touched.
    `search --resume` makes anew what it needs; the weights of trials that have ended are gone.
    Files are deleted, not overwritten: copies and backups are yours to find. Of a study in a
    database those on this machine are removed, in --work: repeat it where else it was searched.
    """
    from ...stores import (
        StoreError,
        StudyNotFoundError,
        StudyUnreadableError,
        confirmation_of,
        confirmed_by,
    )
    from ..forget import find_leftovers
    from ..forget import forget as remove
    from ..study import Study

    place, beside = named_store(store, work), confirmation_of(study)
    confirmation = None
    try:
        opened = Study.open(place, study)
    except StoreError as problem:
        refuse(str(problem))
    try:
        if not confirmed_by(study) and place.exists(beside):
            confirmation = Study.open(place, beside)
        found = find_leftovers(opened, _others(place, study, beside), confirmation)
        typer.echo(f"{study}: {_said(found)}", err=True)
        if found.any and not yes and not _agreed():
            typer.echo("nothing was removed", err=True)
            raise typer.Exit(SHORT)
        left = remove(opened, found, confirmation)
        for recorded in (study, *([beside] if confirmation else [])):
            place.drop_snapshots(recorded)
    except (StudyNotFoundError, StudyUnreadableError) as problem:
        refuse(f"{problem}; until then it is not known what that study needs")
    except OSError as problem:  # a store that no longer answers is one, too
        refuse(f"{problem}: mend it, then repeat `headhunt forget {study}`")
    except StoreError as problem:
        refuse(str(problem))
    finally:
        opened.close()
        if confirmation:
            confirmation.close()
    if left:
        refuse(f"{left} folders are being written by a search: repeat it when that has ended")
    typer.echo(
        f"removed {found.bytes:,} bytes; the record of {len(opened.trials)} trials stays"
        if found.any
        else "nothing is left to remove"
    )


def _others(store: Store, *besides: str) -> list[dict[str, Any]]:
    """The manifests of all other studies of the store."""
    return [store.read(name).manifest for name in store.names() if name not in besides]


def _said(found: Leftovers) -> str:
    """What there is, in counts."""
    said = [
        f"{len(found.encoded)} folders of encoded notes and {found.files} files of checkpoints and "
        f"weights, {found.bytes:,} bytes"
        + (f", and those in {found.elsewhere}" if found.elsewhere else "")
    ]
    if found.shared:
        said.append(f"{found.shared} folders stay: another study needs them")
    if found.unknown:
        said.append(
            f"{found.unknown} folders stay: an earlier version made them and did not say of which "
            "notes; they go with the last study of the store that is forgotten"
        )
    return "; ".join(said)


def _agreed() -> bool:
    """Whether the user says yes; who cannot be asked has not."""
    try:
        return typer.confirm("Remove them?", err=True)
    except typer.Abort:
        typer.echo(err=True)
        return False
