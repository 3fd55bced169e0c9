"""Ray, for as long as a search runs: started on this machine, or joined."""

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ray
import ray._raylet

from .access import AccessError, refuse_open, require_token

KNOCK_SECONDS = 10.0


class EngineError(RuntimeError):
    """Ray could not be started or reached."""


class StorageError(OSError):
    """A trial could not write or read what it needs: the others cannot either."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What this machine has to start Ray with."""

    cpus: int
    gpus: int


def look_around() -> Machine:
    """The CPUs and GPUs of this machine, without starting anything."""
    import torch

    return Machine(_cpus(), torch.cuda.device_count() if torch.cuda.is_available() else 0)


def _cpus() -> int:
    """CPUs that this process may use; macOS does not tell, and has all of them."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def engine(
    *,
    cpus: int,
    gpus: int,
    address: str | None,
    shared_bytes: int = 0,
    allow_open: bool = False,
) -> Iterator[None]:
    """Ray for as long as the block runs: started here, or joined.

    Args:
        cpus: of this machine, if it is started.
        gpus: likewise.
        address: of the cluster to join; None starts Ray here.
        shared_bytes: the size of the notes, which workers get through Ray's memory: it is made
            large enough that they are never spilled to a disk.
        allow_open: use a Ray that asks nobody for a token.

    Raises:
        EngineError: it could not be started or reached, or is open to everybody.
    """
    # A worker's traceback could quote a note, and what happened is told by the study.
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    if address:
        options["address"] = address
    else:
        options |= {
            "address": "local",  # never a cluster that happens to run here
            "num_cpus": cpus,
            "num_gpus": gpus,
            "include_dashboard": False,
            # Features are mapped files, not objects; only the notes pass through here.
            "object_store_memory": max(256 * 1024**2, 4 * shared_bytes),
        }
    try:
        require_token(joins=bool(address), allow_open=allow_open)
        # Ray has read its environment already, and its types know nothing of this.
        getattr(ray._raylet, "Config").initialize("")  # noqa: B009
        if address:
            _knock(address)
        ray.init(**options)
        if address and not allow_open:
            _refuse_open()
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        where = f"reached at {address!r}" if address else "started"
        raise EngineError(f"Ray could not be {where}: {error}") from error
    try:
        yield
    finally:
        ray.shutdown()


def _refuse_open() -> None:
    """Leave a cluster that asks for no token."""
    try:
        refuse_open(ray.get_runtime_context().gcs_address)
    except AccessError:
        ray.shutdown()
        raise


def _knock(address: str) -> None:
    """Fail at once where nobody listens: Ray itself tries for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=KNOCK_SECONDS).close()
