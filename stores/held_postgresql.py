"""A study that this process holds in a PostgreSQL database.

Everything is written over one connection, and that connection holds the study's lock: whoever can
write holds the study, and the server frees it when the connection ends, with the process or the
machine. After an outage a new connection takes the lock again, and a mark that every holder leaves
tells whether another one has held the study in between.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar
from uuid import uuid4

import psycopg
from optuna.exceptions import DuplicatedStudyError, StorageInternalError
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from psycopg.errors import LockNotAvailable
from sqlalchemy.exc import PendingRollbackError, SQLAlchemyError
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_delay
from tenacity.wait import wait_exponential

from ..spaces.links import refuse_links_in
from ..spaces.record import MANIFEST_KEY
from .postgresql import (
    Connection,
    PostgresqlStore,
    cause,
    holder_of,
    lock_key,
    this_process,
    words,
)
from .store import Held, StoredStudy, StoreLostError, StudyError, being_searched

OUTAGE_SECONDS = 60.0  # for which a store that has gone away is waited for
LOCK_WAIT = "3s"  # a server needs a moment to see that a killed process is gone
HOLDER_KEY = "headhunt:holder"  # of the study: the mark of whoever held it last
FOLDER_KEY = "headhunt:folder"  # of the study: what its folders on all machines end in
_MARK = """
SELECT value_json FROM study_system_attributes WHERE study_id = %s AND key = %s
"""
T = TypeVar("T")


class _OutageError(Exception):
    """The server has gone away, or was not reached; the next try may find it."""


class HeldPostgresql(Held):
    """A study that is written over the connection that holds it."""

    storage: RDBStorage

    def __init__(self, store: PostgresqlStore, name: str) -> None:
        """Hold the name, whether or not there is such a study yet."""
        self._store, self._name = store, name
        self._mark = uuid4().hex
        self._process: int | None = None  # the server's, behind our latest connection
        self._marked = False
        storage = store.storage(
            self._connect, skip_table_creation=True, skip_compatibility_check=True
        )
        super().__init__(storage, -1, store.work, store.work, store.place_of(name))

    def make(self, directions: Sequence[StudyDirection], manifest: Mapping[str, Any]) -> None:
        """Make the study, with all that makes it one, in one transaction.

        Raises:
            StudyError: another program has a study of this name.
        """
        storage, ending = self.storage, _new_ending()
        try:
            with self._transaction():
                self.study_id = storage.create_new_study(directions, self._name)
                storage.set_study_user_attr(self.study_id, MANIFEST_KEY, dict(manifest))
                storage.set_study_system_attr(self.study_id, FOLDER_KEY, ending)
                storage.set_study_system_attr(self.study_id, HOLDER_KEY, self._mark)
        except DuplicatedStudyError:
            raise StudyError(f"the name {self._name!r} is taken in {self._store}") from None
        self._begin(ending)

    def take(self) -> None:
        """Take up the study, which exists, and leave our mark."""
        storage = self.storage
        with self._transaction():
            self.study_id = storage.get_study_id_from_name(self._name)
            ending = storage.get_study_system_attrs(self.study_id).get(FOLDER_KEY)
            if ending is None:  # copied here by Optuna from a folder's journal
                ending = _new_ending()
                storage.set_study_system_attr(self.study_id, FOLDER_KEY, ending)
            storage.set_study_system_attr(self.study_id, HOLDER_KEY, self._mark)
        self._begin(ending)

    def read(self, name: str) -> StoredStudy:
        """The same; its errors are told as the store's."""
        with self._store.told():
            return super().read(name)

    def write(self, change: Callable[[], T], *, found: Callable[[], T | None]) -> T:
        """In one transaction, tried again through an outage of a minute."""
        tries = Retrying(
            retry=retry_if_exception_type(_OutageError),
            stop=stop_after_delay(OUTAGE_SECONDS),
            wait=wait_exponential(multiplier=0.2, max=5),
            before_sleep=self._tell,
            reraise=True,
        )

        def attempt() -> T:
            with self._outages(), self._transaction():
                if tries.statistics["attempt_number"] > 1 and (there := found()) is not None:
                    return there
                return change()

        try:
            return tries(attempt)
        except _OutageError as error:
            raise StoreLostError(
                f"the store {self._store} has not answered for {OUTAGE_SECONDS:.0f} s ({error})"
            ) from None

    def sync(self) -> None:
        """Each commit was told to the server's disk."""

    def close(self) -> None:
        """End the connection, and with it the lock."""
        self.storage.engine.dispose()

    def _begin(self, ending: str) -> None:
        """The study stands, and is ours: make its folder here, under a name that no other has."""
        self._marked = True
        self.folder = self.work / f"{self._name.replace('/', '@')}@{ending}"
        try:
            refuse_links_in(self.folder)
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise StudyError(
                f"the folder {self.folder}, for checkpoints and weights, cannot be made: {error}"
            ) from error

    def _connect(self) -> Connection:
        """A connection that holds the study."""
        connection = self._store.connect(this_process())
        try:
            self._lock(connection)
            if self._marked:
                self._check_mark(connection)
            connection.rollback()  # SQLAlchemy begins its own transactions
        except BaseException:
            connection.close()
            raise
        self._process = connection.info.backend_pid
        return connection

    def _lock(self, connection: Connection) -> None:
        try:
            with connection.transaction():
                connection.execute("SELECT set_config('lock_timeout', %s, true)", (LOCK_WAIT,))
                connection.execute("SELECT pg_advisory_lock(%s)", (lock_key(self._name),))
        except LockNotAvailable:
            process, who = holder_of(connection, lock_key(self._name)) or (0, "another process")
            if process != self._process:
                raise being_searched(self._name, who) from None
            # The line broke on our side alone: the server still waits for the one that we had.
            connection.execute("SELECT pg_terminate_backend(%s)", (process,))
            connection.commit()
            raise psycopg.OperationalError("it has not let go of an earlier connection") from None

    def _check_mark(self, connection: Connection) -> None:
        found = connection.execute(_MARK, (self.study_id, HOLDER_KEY)).fetchone()
        if found is None or json.loads(found[0]) != self._mark:
            raise StudyError(
                f"the study {self._name!r} was taken up by another process while {self._store} "
                "could not be reached: this search ends, and what it wrote before stands"
            )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """One transaction around all that Optuna does in the block, which would make one a call."""
        sessions = self.storage.scoped_session
        sessions.remove()
        with self.storage.engine.begin() as connection:
            # Here a broken line shows: Optuna, creating a trial, would try five times over it.
            connection.exec_driver_sql("SELECT 1")
            sessions.configure(bind=connection, join_transaction_mode="rollback_only")
            try:
                yield
            finally:
                sessions.remove()
                sessions.configure(
                    bind=self.storage.engine, join_transaction_mode="conditional_savepoint"
                )

    @contextmanager
    def _outages(self) -> Iterator[None]:
        """Tell outages, which may end, from what the server refuses."""
        try:
            yield
        except (SQLAlchemyError, StorageInternalError, psycopg.Error) as error:
            reason = cause(error, psycopg.Error) or cause(error, PendingRollbackError)
            if reason is not None and _may_end(reason):
                raise _OutageError(words(reason)) from None
            raise self._store.refused(error) from None

    def _tell(self, state: RetryCallState) -> None:
        if state.attempt_number == 1 and state.outcome:
            self.on_outage(
                f"the store {self._store} does not answer ({state.outcome.exception()}): it is "
                f"tried for {OUTAGE_SECONDS:.0f} s"
            )


def _new_ending() -> str:
    """Of a study's folders: no other study has it."""
    return uuid4().hex[:12]


def _may_end(error: Exception) -> bool:
    """Whether the line is broken, or the server is going down, coming up or full for a while."""
    if isinstance(error, PendingRollbackError):  # the line broke in the middle of a change
        return True
    if not isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return False
    return error.sqlstate is None or error.sqlstate.startswith(("08", "57P", "533", "40"))
