"""A PostgreSQL server of the tests' own, in a temporary folder, on a free port of localhost.

It asks every role for its password. PostgreSQL refuses to run as root: then it runs as `postgres`,
or else `nobody`.
"""

import os
import pwd
import re
import shutil
import socket
import subprocess
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from urllib.parse import quote

import psycopg

OWNER, PASSWORD = "owner", "Xq7#canary/@%pass"
DATABASES = count()


def binaries() -> Path | None:
    """Where initdb and pg_ctl are, of the latest version; None without."""
    on_path = shutil.which("initdb")
    found = [Path(on_path).parent] if on_path else []
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_version)
    return next(
        (f for f in reversed(found) if all((f / b).exists() for b in ("initdb", "pg_ctl"))), None
    )


def _version(folder: Path) -> int:
    return int(re.sub(r"\D", "", folder.parent.name) or 0)


@dataclass
class Server:
    """A running server."""

    folder: Path
    port: int

    @classmethod
    def start_new(cls, folder: Path) -> "Server":
        """Make a cluster in the folder, which its user must be able to enter, and start it."""
        folder.mkdir()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        server = cls(folder, port)
        password = folder / "password"
        password.write_text(PASSWORD)
        if os.geteuid() == 0:
            for path in (folder, password):
                shutil.chown(path, _unprivileged())
        server._run("initdb", "-D", folder / "data", "-U", OWNER, "-A", "scram-sha-256",
            f"--pwfile={password}", "-E", "UTF8", "--no-locale", "--no-sync")  # fmt: skip
        password.unlink()
        server.start()
        return server

    def start(self) -> None:
        """And wait until it takes connections."""
        # What a crashed server has written is in the system's memory still: only a power cut would
        # need fsync, and after a crash it would go over each file of every test's database.
        options = f"-p {self.port} -k '' -c listen_addresses=127.0.0.1 -c fsync=off"
        self._run("pg_ctl", "start", "-w", "-D", self.folder / "data", "-l", self.folder / "log",
            "-o", options)  # fmt: skip

    def stop(self, mode: str = "fast") -> None:
        """All connections end; `immediate` is a crash."""
        self._run("pg_ctl", "stop", "-w", "-m", mode, "-D", self.folder / "data")

    def new_database(self) -> str:
        """Its address, without the password."""
        name = f"lab{next(DATABASES)}"
        with self.connect("postgres", autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return self.address(name)

    def drop_database(self, address: str) -> None:
        """With all connections to it. Files that never reached the disk go in no time."""
        name = address.rpartition("/")[2]
        with self.connect("postgres", autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())

    def address(self, database: str, *, user: str = OWNER, password: str = "") -> str:
        """Of a database, for --store."""
        secret = f":{quote(password, safe='')}" if password else ""
        return f"postgresql://{user}{secret}@127.0.0.1:{self.port}/{database}"

    def connect(self, database: str, *, autocommit: bool = False) -> psycopg.Connection:
        """As the owner."""
        return psycopg.connect(self.address(database), password=PASSWORD, autocommit=autocommit)

    def _run(self, program: str, *words: object) -> None:
        folder = binaries()
        assert folder is not None
        command = [str(folder / program), *map(str, words)]
        if os.geteuid() == 0:
            command = ["setpriv", f"--reuid={_unprivileged()}", "--clear-groups", *command]
        # A server inherits what it is not kept from: a pipe would never end.
        done = subprocess.run(
            command,
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
        )
        assert done.returncode == 0, f"{program} ended with {done.returncode}"


def _unprivileged() -> str:
    """A user that is not root."""
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    raise LookupError("no user to run PostgreSQL as")
