"""The options that name a store, and how a command ends that cannot use it."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:
    from ...stores import Store

BAD_INPUT, SHORT, INTERRUPTED = 2, 1, 130


def refuse(*problems: str) -> NoReturn:
    """All that is wrong with what was asked, and the status that says so."""
    for problem in problems:
        typer.echo(f"error: {problem}", err=True)
    raise typer.Exit(BAD_INPUT)


def _without_password(
    context: typer.Context, option: typer.CallbackParam, value: str | None
) -> str | None:
    """Any user of a machine can read the command lines on it."""
    source = context.get_parameter_source(str(option.name))
    if source is not None and source.name == "COMMANDLINE" and value and _has_secret(value):
        refuse(
            "--store has a password in it, and whoever is on this machine can read its command "
            "lines: change the password, and give it by ~/.pgpass, PGPASSWORD or an address in "
            "HEADHUNT_STORE"
        )
    return value


def _has_secret(place: str) -> bool:
    from ...stores import StoreError, store_at

    try:
        return store_at(place).has_secret
    except StoreError as error:
        refuse(str(error))


def named_store(place: str | None, work: Path | None = None) -> "Store":
    """The store of these options; a terminal is asked for the password that it wants."""
    from ...stores import StoreError, store_at

    try:
        store = store_at(place, work=work)
    except StoreError as error:
        refuse(str(error))
    if sys.stdin.isatty():
        store.unlock(lambda question: typer.prompt(question, hide_input=True, err=True))
    return store


def store_options(store: "Store", work: Path | None) -> str:
    """How a command line names it again; "" where it is the usual one."""
    from ...stores import DEFAULT_STORE

    options = "" if str(store) == DEFAULT_STORE else f" --store {shlex.quote(str(store))}"
    return options + (f" --work {shlex.quote(str(work))}" if work else "")


StoreOption = Annotated[
    str | None,
    typer.Option(
        "--store",
        help="Where the studies are: a folder, or postgresql://USER@HOST:PORT/DATABASE.",
        envvar="HEADHUNT_STORE",
        callback=_without_password,
        show_default="headhunt-studies",
    ),
]
WorkOption = Annotated[
    Path | None,
    typer.Option(
        "--work",
        help="Folder of what stays on this machine: encoded notes, checkpoints, weights. "
        "(default: the store's folder; headhunt-studies beside a database)",
        envvar="HEADHUNT_WORK",
        show_default=False,
    ),
]
