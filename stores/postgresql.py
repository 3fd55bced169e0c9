"""A PostgreSQL database of studies, which several machines share: Optuna's own tables.

What is read needs no right to write. What is written goes over the one connection that holds the
study (see `held_postgresql`). The password stays in this object.
"""

import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, LiteralString, NoReturn, TypeAlias, TypeVar, cast

from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.study._frozen import FrozenStudy

from ..spaces.record import MANIFEST_KEY
from .address import SECRETS, parameters_of, shown
from .store import (
    Held,
    Store,
    StoredStudy,
    StoreError,
    StoreLostError,
    StudyError,
    StudyUnreadableError,
    check_name,
    in_order,
    reading,
)

try:
    import psycopg
    from psycopg.conninfo import make_conninfo
    from psycopg.rows import TupleRow
    from sqlalchemy.exc import SQLAlchemyError
except ImportError as error:
    raise StoreError(
        f"a store at a postgresql:// address needs the package {error.name}: "
        "pip install 'headhunt[postgresql]'"
    ) from error

T = TypeVar("T", bound=BaseException)
Connection: TypeAlias = psycopg.Connection[TupleRow]

# A vanished machine is noticed in a minute on both sides, and no lock outlives it for longer; what
# the address says goes before it.
_CLIENT = {
    "connect_timeout": "10",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "60000",
}
# Of the server's end of the line; and it must not close one on which no epoch ends for long.
_SERVER = {
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
    "idle_session_timeout": "0",
}
_SET = "SELECT set_config(name, %s, false) FROM pg_settings WHERE name = %s"
_HOLDER = """
SELECT activity.pid, activity.application_name
FROM pg_locks JOIN pg_stat_activity AS activity USING (pid)
WHERE locktype = 'advisory' AND granted AND objsubid = 1 AND database =
    (SELECT oid FROM pg_database WHERE datname = current_database())
    AND classid::bigint << 32 | objid::bigint = %s
"""
# All that is stored of a study, in sums that do not depend on the order of the rows.
_ROWS: tuple[LiteralString, ...] = (
    "studies AS t WHERE study_name = %s",
    "study_user_attributes AS t JOIN studies USING (study_id) WHERE study_name = %s",
    "trials AS t JOIN studies USING (study_id) WHERE study_name = %s",
    "trial_user_attributes AS t JOIN trials USING (trial_id) JOIN studies USING (study_id) "
    "WHERE study_name = %s",
)
_STATE: tuple[LiteralString, ...] = tuple(
    f"SELECT md5(string_agg(line, '' ORDER BY line)) FROM (SELECT md5(t::text) AS line FROM {rows})"
    " AS lines"
    for rows in _ROWS
)
SNAPSHOTS = ".snapshots"
_APPLICATION = "headhunt "
_LONGEST_APPLICATION = 63  # bytes; the server cuts the rest


class PostgresqlStore(Store):
    """The studies in a database's Optuna tables that headhunt made."""

    def __init__(self, address: str, *, work: Path) -> None:
        self.work = work
        self._parameters = parameters_of(address)
        self._shown = shown(self._parameters)
        self.has_secret = not self._parameters.keys().isdisjoint(SECRETS)
        # It may be hidden from the environment later, and a line that broke is opened again.
        self._password = self._parameters.pop("password", None) or os.environ.get("PGPASSWORD")

    def __str__(self) -> str:
        return self._shown

    def __reduce__(self) -> NoReturn:
        """A store stays in its process."""
        raise TypeError("a store may hold a password, and is not sent to another process")

    def unlock(self, ask: Callable[[str], str]) -> None:
        """By the server's own word; whatever else is wrong is told when the store is used."""
        try:
            self.connect("asks").close()
        except psycopg.OperationalError as error:
            if error.pgconn and error.pgconn.needs_password:
                self._password = ask(f"Password for {self}")

    def place_of(self, name: str) -> str:
        """By its name and the store's."""
        return f"the study {name!r} in the store {self}"

    def names(self) -> list[str]:
        """Those of headhunt: the tables may hold other programs' too."""
        with self._reader() as storage:
            return in_order(s.study_name for s in _ours(storage))

    def exists(self, name: str) -> bool:
        """Whether there is one in the tables, whoever made it."""
        check_name(name)
        with self._reader() as storage:
            return storage is not None and any(
                study.study_name == name for study in storage.get_all_studies()
            )

    def holder(self, name: str) -> str:
        """By the connection that holds its lock."""
        with self.told(), self.connect("reads") as connection:
            found = holder_of(connection, lock_key(name))
        return found[1] if found else ""

    def create(
        self, name: str, directions: Sequence[StudyDirection], manifest: Mapping[str, Any]
    ) -> Held:
        """Make the tables where there are none, and the study in one transaction."""
        from .held_postgresql import HeldPostgresql

        check_name(name)
        with self.told():
            self._make_tables()
            self.refuse_taken(name)
            held = HeldPostgresql(self, name)
            try:
                held.make(directions, manifest)
            except BaseException:
                held.close()
                raise
            return held

    def open(self, name: str) -> Held:
        """Hold it by a lock that ends with the connection."""
        from .held_postgresql import HeldPostgresql

        check_name(name)
        with self.told():
            if name not in self.names():
                raise self.not_found(name)
            held = HeldPostgresql(self, name)
            try:
                held.take()
            except BaseException:
                held.close()
                raise
            return held

    def read(self, name: str) -> StoredStudy:
        """In one snapshot."""
        place = self.place_of(name)
        with reading(place), self._reader() as storage:
            found = next((s for s in _ours(storage) if s.study_name == name), None)
            if storage is not None and found is not None:
                return StoredStudy.of(name, storage, found, place)
        raise self.not_found(name)

    def state_of(self, name: str) -> str:
        """By the server's own sums over all rows of the study."""
        with self.told(), self.connect("reads") as connection:
            found = connection.execute("SELECT to_regclass('studies')").fetchone()
            if found is None or found[0] is None:
                return ""
            parts = [connection.execute(query, (name,)).fetchone() for query in _STATE]
        return " ".join(str(part[0]) for part in parts if part and part[0])

    def snapshot_folder(self, name: str) -> Path | None:
        """In the work folder, where this machine has one; of the study's name and its store's.

        Studies of several stores may lie in one work folder.
        """
        if not self.work.is_dir():
            return None
        store = sha256(str(self).encode()).hexdigest()[:12]
        folder = self.work / SNAPSHOTS / f"{check_name(name)}-{store}"
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return folder

    def connect(self, purpose: str) -> Connection:
        """A connection, named after this process for whoever looks at the server.

        Raises:
            psycopg.Error: there is none.
        """
        parameters = {
            **_CLIENT,
            **self._parameters,
            "application_name": f"{_APPLICATION}{purpose}",
        }
        connection = psycopg.connect(make_conninfo("", **parameters), password=self._password)
        connection.autocommit = True
        for name, value in _SERVER.items():
            connection.execute(_SET, (value, name))
        connection.autocommit = False
        return connection

    def storage(
        self,
        connect: Callable[[], Connection],
        *,
        isolation: str = "READ COMMITTED",
        **options: bool,
    ) -> RDBStorage:
        """Optuna's storage over connections made so; `options` are its own, which skip steps."""
        checks = not options.get("skip_compatibility_check", False)
        return RDBStorage(
            "postgresql+psycopg://",  # it knows no address, and no password
            engine_kwargs={
                "creator": connect,
                "hide_parameters": True,
                "pool_size": 1,
                "max_overflow": int(checks),  # it looks at its version over a second one
                "isolation_level": isolation,
            },
            **cast("Any", options),
        )

    @contextmanager
    def _reader(self) -> Iterator[RDBStorage | None]:
        """A storage that is only read; None where the database has no tables yet."""
        with self.told():
            with self.connect("reads") as connection:
                found = connection.execute("SELECT to_regclass('studies')").fetchone()
            if found is None or found[0] is None:
                yield None
                return
            storage = self.storage(
                lambda: self.connect("reads"),
                isolation="REPEATABLE READ",  # trials and their attributes of one moment
                skip_table_creation=True,
            )
            try:
                yield storage
            finally:
                storage.engine.dispose()

    def _make_tables(self) -> None:
        """One process at a time: two would trip over each other."""
        with self.connect("makes tables") as connection:
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (lock_key("/tables"),))
            self.storage(lambda: self.connect("makes tables")).engine.dispose()

    @contextmanager
    def told(self) -> Iterator[None]:
        """Database errors in words for the user."""
        try:
            yield
        except (SQLAlchemyError, StorageInternalError, psycopg.Error) as error:
            raise self.refused(error) from None
        except RuntimeError as error:  # Optuna's, of tables that another version made
            raise StudyUnreadableError(f"the store {self} cannot be read: {error}") from error

    def refused(self, error: BaseException) -> StoreError:
        """What the server or the way to it does not let us do."""
        reason = cause(error, psycopg.Error) or error
        if not isinstance(reason, psycopg.OperationalError):
            return StudyError(f"the store {self} cannot be used: {words(reason)}")
        cannot = "cannot be used" if reason.sqlstate else "cannot be reached"
        return StoreLostError(f"the store {self} {cannot}: {words(reason)}")


def lock_key(name: str) -> int:
    """The advisory lock of a study: a signed number of 64 bits."""
    return int.from_bytes(sha256(f"headhunt study {name}".encode()).digest()[:8], signed=True)


def holder_of(connection: Connection, key: int) -> tuple[int, str] | None:
    """The server's process behind whoever holds the lock, and who that is."""
    found = connection.execute(_HOLDER, (key,)).fetchone()
    if found is None:
        return None
    process, application = found
    name = application.removeprefix(_APPLICATION) if application else ""
    return process, name or "another process"


def this_process() -> str:
    """As a lock shows who holds it."""
    who = f"process {os.getpid()} on {socket.gethostname()}"
    room = _LONGEST_APPLICATION - len(_APPLICATION)
    return who.encode()[:room].decode(errors="ignore")


def cause(error: BaseException, kind: type[T]) -> T | None:
    """The error of this kind below what SQLAlchemy and Optuna made of it."""
    below: BaseException | None = error
    while below is not None and not isinstance(below, kind):
        below = getattr(below, "orig", None) or below.__cause__ or below.__context__
    return below


def words(error: BaseException) -> str:
    """The driver's words in one line, without the statement; they hold no password."""
    if isinstance(error, psycopg.Error) and error.sqlstate:
        return str(error).strip().partition("\n")[0]
    wants = isinstance(error, psycopg.Error) and error.pgconn and error.pgconn.needs_password
    hint = "; give one by ~/.pgpass, PGPASSWORD or an address in HEADHUNT_STORE" if wants else ""
    return " ".join(str(error).split()) + hint


def _ours(storage: RDBStorage | None) -> list[FrozenStudy]:
    """The studies that headhunt made."""
    studies = storage.get_all_studies() if storage else []
    return [study for study in studies if MANIFEST_KEY in study.user_attrs]
