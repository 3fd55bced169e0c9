"""One process holds a study at a time; a lock left by a dead process is none."""

import os
import socket
from pathlib import Path

from filelock import FileLock, Timeout

LOCK_NAME = "lock"
HOLDER_NAME = "lock.holder"


def hold(folder: Path) -> FileLock:
    """Hold the study in `folder` until the lock is released or the process dies.

    Raises:
        Timeout: another process holds it.
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = FileLock(folder / LOCK_NAME)
    lock.acquire(timeout=0)
    who = f"process {os.getpid()} on {socket.gethostname()}"
    (folder / HOLDER_NAME).write_text(who, encoding="utf-8")
    return lock


def holder(folder: Path) -> str:
    """Who holds the study in `folder`; "" where nobody does."""
    if not (folder / LOCK_NAME).exists():
        return ""
    lock = FileLock(folder / LOCK_NAME)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return holder_name(folder)
    except OSError:
        return ""
    lock.release()
    return ""


def holder_name(folder: Path) -> str:
    """The last process that held the study, by its own word."""
    try:
        return (folder / HOLDER_NAME).read_text(encoding="utf-8")
    except OSError:
        return "another process"
