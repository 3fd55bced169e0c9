"""Processes that begin from nothing: one for one question, or several that run trials side by side.

A worker is what Ray's is without Ray: settled once, warm, each trial under the cap. It is asked by
a pipe; an error comes back as text, and one that does not answer in time is ended.
"""

import os
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, Protocol

import torch

from headhunt.trainables.assignment import Assignment, Materials
from headhunt.trainables.card.cap import Cap, cap_of
from headhunt.trainables.notes.corpus import Corpus
from headhunt.trainables.runner import Step, run_trial
from headhunt.trainables.worker import settle

START_SECONDS = 120  # to import everything, many at a time


class ChildError(RuntimeError):
    """A process did not answer, or answered with an error."""


@dataclass(frozen=True, slots=True)
class Order:
    """A trial for a worker."""

    assignment: str  # as JSON
    corpus: Corpus
    materials: Materials


class Workers(Protocol):
    """Warm processes, each with a cap of its own."""

    def run(self, orders: Sequence[Order], seconds: float) -> tuple[list[list[Step]], float]:
        """The steps of each trial, all begun at once, and the seconds until the last one ended."""
        ...


@dataclass(frozen=True, slots=True)
class _State:
    device: torch.device
    fraction: float
    cap: Cap


_state: list[_State] = []  # of a worker's process: what it was prepared with


def prepare(device: str, limit_bytes: int, fraction: float) -> None:
    """In a worker, once."""
    where = torch.device(device)
    _kept.append(settle(where, 1))
    _state.append(_State(where, fraction, cap_of(where, limit_bytes)))


_kept: list[object] = []


def run_order(order: Order) -> list[Step]:
    """In a worker: one trial to its end."""
    (state,) = _state
    steps = run_trial(
        Assignment.from_json(order.assignment),
        order.corpus,
        order.materials,
        device=state.device,
        device_fraction=state.fraction,
        cap=state.cap,
    )
    return list(steps)


class Child:
    """A process and the pipe to it."""

    def __init__(self) -> None:
        context = get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_answer, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()

    def send(self, function: Callable[..., Any], *given: Any) -> None:
        """Ask for the function's result."""
        self._pipe.send((function, given))

    def receive(self, seconds: float) -> Any:
        """The result.

        Raises:
            ChildError: it failed, died, or took longer.
        """
        try:
            if not self._pipe.poll(max(0.0, seconds)):
                raise ChildError(f"a process has not answered within {seconds:.0f} s")
            done, found = self._pipe.recv()
        except EOFError:
            self._process.join(5)
            raise ChildError(f"a process ended with status {self._process.exitcode}") from None
        if not done:
            raise ChildError(found)
        return found

    def ask(self, function: Callable[..., Any], *given: Any, seconds: float = START_SECONDS) -> Any:
        """Both."""
        self.send(function, *given)
        return self.receive(seconds)

    def end(self) -> None:
        """Politely, then not."""
        self._pipe.close()
        self._process.join(10)
        if self._process.is_alive():
            self._process.kill()
            self._process.join(5)


def _answer(pipe: Connection) -> None:
    """What a process does: answer until nobody asks."""
    while True:
        try:
            function, given = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            answer = True, function(*given)
        except Exception as error:
            answer = False, "".join(traceback.format_exception(error)[-3:])
        pipe.send(answer)


class Pool:
    """The workers in processes of their own."""

    def __init__(self) -> None:
        self.children: list[Child] = []

    def add(self) -> Child:
        """One more."""
        self.children.append(Child())
        return self.children[-1]

    def run(self, orders: Sequence[Order], seconds: float) -> tuple[list[list[Step]], float]:
        """See `Workers`."""
        chosen = self.children[: len(orders)]
        begin = time.perf_counter()
        for child, order in zip(chosen, orders, strict=True):
            child.send(run_order, order)
        found = [child.receive(seconds - (time.perf_counter() - begin)) for child in chosen]
        return found, time.perf_counter() - begin


@contextmanager
def open_workers(
    count: int, *, device: str = "cpu", limit_bytes: int = 0, fraction: float = 0.0
) -> Iterator[Pool]:
    """So many workers, prepared; ended with the block."""
    pool = Pool()
    try:
        children = [pool.add() for _ in range(count)]
        for child in children:
            child.send(prepare, device, limit_bytes, fraction)
        for child in children:
            child.receive(START_SECONDS)
        yield pool
    finally:
        for child in pool.children:
            child.end()


def apart(
    function: Callable[..., Any],
    *given: Any,
    environment: Mapping[str, str] | None = None,
    seconds: float = START_SECONDS,
) -> Any:
    """The function's result in a process with these variables set."""
    before = dict(os.environ)
    os.environ.update(environment or {})
    try:
        child = Child()
    finally:
        os.environ.clear()
        os.environ.update(before)
    try:
        return child.ask(function, *given, seconds=seconds)
    finally:
        child.end()
