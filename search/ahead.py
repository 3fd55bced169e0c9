"""Draws the next trial while the present ones train.

Asking a sampler and tracing a footprint take tenths of a second, in which no slot should stand
still. One drawing is made ahead, in a thread, from what was known when it began; what trials end
with meanwhile is told to the sampler before the next drawing. So the order of what the sampler
sees does not depend on how fast the thread is, and the same search finds the same configs.
"""

from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

from ..spaces.configs import Config, config_hash
from ..spaces.record import Footprint
from .sampling import Proposal, Proposes, SpaceError
from .study import Trial

P = ParamSpec("P")
T = TypeVar("T")
REFUSALS_IN_A_ROW = 200  # infeasible proposals after which nothing feasible is expected


@dataclass(frozen=True, slots=True)
class Drawing:
    """What was proposed for one trial, in order."""

    refused: tuple[tuple[Proposal, Footprint], ...]  # too large for the card
    drawn: Proposal | None  # fits; None where none was found
    footprint: Footprint | None
    exhausted: bool = False  # no config is left that was not tried


class AtOnce(Executor):
    """Draws while it is asked to: where nothing trains, two threads only wait for each other."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """The result, or the error, is there when this returns."""
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # whoever asks for the result is told
            future.set_exception(error)
        return future


class Ahead:
    """One drawing at a time, made now or ahead."""

    def __init__(
        self,
        proposer: Proposes,
        footprint: Callable[[Config], Footprint | None],
        is_known: Callable[[Config], bool],
        pool: Executor | None = None,
    ) -> None:
        """`pool` draws, one at a time; None: a thread."""
        self._proposer, self._footprint, self._is_known = proposer, footprint, is_known
        self._pool = pool or ThreadPoolExecutor(1, thread_name_prefix="headhunt-draw")
        self._pending: Future[Drawing] | None = None
        self._ended: list[Trial] = []  # not yet told to the sampler

    def begin(self, number: int) -> None:
        """Start the drawing of trial `number` ahead."""
        self._tell()
        self._pending = self._pool.submit(self._draw, number)

    def take(self, number: int) -> Drawing:
        """The drawing of trial `number`; made now if none was begun.

        Raises:
            SpaceError: the space's own function failed.
        """
        if self._pending is None:
            self._tell()
            return self._draw(number)
        pending, self._pending = self._pending, None
        return pending.result()

    def accept(self, proposal: Proposal, trial: Trial) -> None:
        """The proposal has become this trial."""
        self._proposer.accept(proposal, trial)

    def settle(self, trial: Trial) -> None:
        """A trial has ended; the sampler hears of it before the next drawing."""
        self._ended.append(trial)

    def close(self) -> None:
        """Draw no more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _tell(self) -> None:
        for trial in self._ended:
            self._proposer.settle(trial)
        self._ended.clear()

    def _draw(self, number: int) -> Drawing:
        refused: list[tuple[Proposal, Footprint]] = []
        seen: set[str] = set()
        while len(refused) < REFUSALS_IN_A_ROW:
            proposal = self._proposer.propose(
                number + len(refused),
                lambda config: config_hash(config) in seen or self._is_known(config),
            )
            if proposal is None:
                return Drawing(tuple(refused), None, None, exhausted=True)
            try:
                footprint = (proposal.footprint or self._footprint)(proposal.config)
            except ValueError as error:
                raise SpaceError(f"a proposed config cannot be built: {error}") from error
            if footprint is None or footprint.excess_bytes <= 0:
                return Drawing(tuple(refused), proposal, footprint)
            self._proposer.refuse(proposal, footprint)
            seen.add(config_hash(proposal.config))
            refused.append((proposal, footprint))
        return Drawing(tuple(refused), None, None)
