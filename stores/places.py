"""Which store is meant: what was said, or HEADHUNT_STORE, or the folder headhunt-studies.

A password for a store comes in by its address, or by PGPASSWORD, or libpq finds one in ~/.pgpass,
or the user is asked. It goes no further than the store's own memory.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

from .folder import FolderStore
from .store import Store, StoreError

STORE_VARIABLE = "HEADHUNT_STORE"
PASSWORD_VARIABLE = "PGPASSWORD"
DEFAULT_STORE = "headhunt-studies"
Place: TypeAlias = Store | Path | str

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
_POSTGRESQL = ("postgresql", "postgres")


def store_at(place: Place | None = None, *, work: Path | None = None) -> Store:
    """The store at a folder or a postgresql:// address; nothing is looked up or made yet.

    Args:
        place: a folder or an address; a store is itself.
        work: folder of what stays on this machine. Without it that of a folder store is the folder
            itself, and that of an address is headhunt-studies.

    Raises:
        StoreError: it is an address of another kind, or what reads it is not installed.
    """
    if isinstance(place, Store):
        return place
    given = str(place or os.environ.get(STORE_VARIABLE) or DEFAULT_STORE)
    scheme = _SCHEME.match(given)
    if scheme is None:
        return FolderStore(Path(given), work=work)
    if scheme[1].lower() not in _POSTGRESQL:
        raise StoreError(
            f"a store is a folder or postgresql://USER@HOST:PORT/DATABASE; got {scheme[1]}://..."
        )
    from .postgresql import PostgresqlStore

    return PostgresqlStore(given, work=work or Path(DEFAULT_STORE))


@contextmanager
def secrets_hidden() -> Iterator[None]:
    """Keep what may hold a password out of the environment that new processes inherit."""
    names = (STORE_VARIABLE, PASSWORD_VARIABLE)
    hidden = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(hidden)
