"""Encodings in processes of their own: as many at a time as there are places, then the next.

A process is told its job over a pipe, never through a file, and answers with how far it is, and
with its end. It never outlives the search: Ctrl-C and errors end it from here, and where this
process is killed it sees that, and ends. What it has written by then stands, and the lock on its
folder goes with it, so that a later search continues there and no two ever write to it.
"""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Protocol

import torch

from ..spaces.configs import backbone_label
from ..trainables.card.cap import TooLargeError
from ..trainables.worker import share_threads
from .telling import EncodingError, in_our_words

Encoded = tuple[Path, bool] | TooLargeError  # the folder, and whether it was made just now
READY = "ready"  # said first: from then on a corpus of any size is taken at once
END_SECONDS = 5.0  # that a process has to end in when it is told to


class Job(Protocol):
    """One encoding; it is pickled."""

    @property
    def backbone(self) -> str:
        """As the user named it."""
        ...

    def encode(self, device: torch.device, progress: Callable[[int, int], None]) -> Encoded:
        """Encode; `progress` is told (tokens done, tokens in all)."""
        ...


def encode_side_by_side(
    jobs: Sequence[Job],
    places: Sequence[torch.device],
    *,
    on_progress: Callable[[str, int, int], None],
    on_end: Callable[[str, Encoded], None],
) -> None:
    """Run each job in a process, at most one a place; all have ended when this returns or raises.

    The threads of this process are shared out evenly: two processes with two threads each on two
    cores run 10 to 100 times slower than with one.

    Args:
        jobs: begun in this order.
        places: the device of each place.
        on_progress: told (backbone, tokens done, tokens in all) of all that run.
        on_end: told of each job's end, in the order in which they end.

    Raises:
        ShortOfMemoryError: as the job raised it; so are the next two.
        BackboneError: see above.
        OSError: see above.
        EncodingError: a job failed otherwise, or its process was killed.
    """
    threads = max(1, torch.get_num_threads() // len(places))
    waiting, free = deque(jobs), deque(places)
    running: dict[Connection, _Process] = {}
    try:
        while waiting or running:
            while waiting and free:
                process = _Process(waiting.popleft(), free.popleft(), threads)
                running[process.pipe] = process
            for pipe in wait(list(running)):
                process = running[pipe]  # type: ignore[index]  # these are all connections
                said = process.hear()
                if isinstance(said, _Progress):
                    on_progress(process.job.backbone, *said)
                elif said is not None:
                    free.append(process.device)
                    running.pop(process.pipe).end()
                    on_end(process.job.backbone, said)
    finally:
        for process in running.values():
            process.end()


class _Progress(tuple[int, int]):
    """Tokens done, tokens in all."""

    __slots__ = ()


class _Process:
    """A process with its job, as it is seen from the search."""

    def __init__(self, job: Job, device: torch.device, threads: int) -> None:
        self.job, self.device, self._threads = job, device, threads
        context = multiprocessing.get_context("spawn")  # a copy of this one could not use its GPU
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(target=_life, args=(theirs,), daemon=True)
        with _deaf_to_interrupts():
            self._process.start()
        theirs.close()

    def hear(self) -> _Progress | Encoded | None:
        """What it says next; an error that it tells is raised, and None is nothing to tell."""
        try:
            said = self.pipe.recv()
            if said == READY:
                self.pipe.send((self.job, self.device, self._threads))
                return None
        except (EOFError, ConnectionError) as error:
            self._process.join(END_SECONDS)
            raise EncodingError(
                f"{about(self.job.backbone)} ended with its process (exit code "
                f"{self._process.exitcode}; -9: killed, as a machine does that is out of memory)"
            ) from error
        if isinstance(said, Exception) and not isinstance(said, TooLargeError):
            raise said
        return said

    def end(self) -> None:
        """End it, wherever it is."""
        self._process.terminate()
        self._process.join(END_SECONDS)
        if self._process.exitcode is None:
            self._process.kill()
            self._process.join()
        self._process.close()
        self.pipe.close()


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """What is started meanwhile does not hear Ctrl-C, which goes to it too: the search ends it."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _life(pipe: Connection) -> None:
    """Of the process: from the job to its end."""
    threading.Thread(target=_end_with_the_search, daemon=True).start()
    with suppress(OSError):  # the search is gone
        pipe.send(READY)
        job, device, threads = pipe.recv()
        limits = share_threads(threads)
        pipe.send(_end_of(job, device, lambda *tokens: pipe.send(_Progress(tokens))))
        del limits


def _end_with_the_search() -> None:
    """End at once when the process that started this one is no more."""
    parent = multiprocessing.parent_process()
    if parent:
        parent.join()
        os._exit(1)


def _end_of(
    job: Job, device: torch.device, progress: Callable[[int, int], None]
) -> Encoded | Exception:
    """How the job ends: an error without its frames, and without words that are not ours."""
    try:
        if device.type == "cuda":
            torch.cuda.set_device(device)  # or a context would be made on the first one as well
        return job.encode(device, progress)
    except Exception as error:
        return in_our_words(about(job.backbone), error)


def about(backbone: str) -> str:
    """What is done with it, as a message begins."""
    return f"encoding the notes with the backbone {backbone_label(backbone)!r}"
