"""A study's frames as files beside it, for studies that are slow to read: never a truth of its own.

A snapshot is of exactly one state of the store, by the hash of all that the store has of the study,
and of one version of the code that makes frames; anything else is read anew. It holds what the
record holds, in Parquet, which executes nothing.
"""

from contextlib import suppress
from functools import cache
from hashlib import sha256
from pathlib import Path
from stat import S_ISREG
from typing import Any

import pandas as pd
import pyarrow as pa

from .. import spaces
from ..spaces.record import UNREADABLE
from ..stores import SNAPSHOT, Store
from .aside import written_aside

LEAST_TRIALS = 500  # of a study that has one: a smaller one is read in a fraction of a second
_KEY = "snapshot_of"  # in the frame's attributes, on the disk alone
_BROKEN = (*UNREADABLE, OSError, pa.ArrowException, MemoryError, NotImplementedError)


class Snapshot:
    """The place of one of a study's frames, and what that must be of."""

    def __init__(self, store: Store, name: str, kind: str) -> None:
        self._store, self._name, self._kind = store, name, kind
        self._state = store.state_of(name)
        folder = store.snapshot_folder(name) if self._state else None
        self._path = folder / SNAPSHOT.format(kind) if folder else None

    def load(self) -> pd.DataFrame | None:
        """The frame as it was kept; None where there is none of this state, or it is broken."""
        if self._path is None:
            return None
        try:
            if not S_ISREG(self._path.lstat().st_mode):  # nor a link to somewhere
                return None
            frame = pd.read_parquet(self._path)
            key = frame.attrs.pop(_KEY, None)
        except _BROKEN:
            return None
        return frame if key == self._key() else None

    def keep(self, frame: pd.DataFrame, states: pd.Series) -> None:
        """Write it for the next time, where that is of use and the store can be written.

        A study with a running trial has none: it will have changed by then. Neither has one that
        somebody wrote while the frame was made.
        """
        finished = len(states) >= LEAST_TRIALS and not (states == "running").any()
        if self._path is None or not finished or self._store.state_of(self._name) != self._state:
            return
        unwritable = suppress(OSError, pa.ArrowException, ValueError, TypeError)
        with unwritable, written_aside(self._path) as file:
            _marked(frame, self._key()).to_parquet(file, index=False)

    def _key(self) -> str:
        return sha256(f"{self._kind}\n{_code()}\n{self._state}".encode()).hexdigest()


def _marked(frame: pd.DataFrame, key: str) -> pd.DataFrame:
    marked = frame.copy(deep=False)
    marked.attrs = {**frame.attrs, _KEY: key}
    return marked


@cache
def _code() -> str:
    """What makes frames: this folder, the record and the configs, and the libraries' versions."""
    digest = sha256(f"{pd.__version__} {pa.__version__}".encode())
    folders: tuple[Any, ...] = (Path(__file__).parent, *spaces.__path__)
    for folder in folders:
        for file in sorted(Path(folder).glob("*.py")):
            digest.update(file.read_bytes())
    return digest.hexdigest()
