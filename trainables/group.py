"""Run several assignments as one: heads of one shape, trained together, each its own trial.

What `run_trial` does for one, for all of them at once, without Ray: each tells its own epochs and
end, and leaves on disk what it would leave alone. A group that cannot go on as one, be it too large
or crashed, says nothing of its members: they go on alone from their last epochs.
"""

import warnings
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import cast

import torch

from ..spaces.configs import HeadConfig
from ..spaces.record import EpochReport, Scoring, State
from .assignment import Assignment, Materials, TrainingSettings, lesson_of, shape_of
from .card.cap import Cap, ShortOfMemoryError, cap_of
from .card.gauge import gauge_of
from .notes.corpus import Corpus
from .runner import (
    TRAINED_BEFORE,
    Ending,
    Network,
    StoredState,
    crash_reason,
    examined,
    network_of,
    run_trial,
)
from .steps import Step
from .training.checkpoints import Checkpoint
from .training.loop import DivergedError, Epoch
from .training.states import storage_problem
from .training.stopping import why_over
from .training.together import Member, train_together

RESIDENT_SHARE = 0.25  # of what a trial may take of a GPU: where features below it are kept there


class ApartWarning(RuntimeWarning):
    """A group could not train as one; its words quote no note."""


Round = dict[int, Step]  # of those that still ran, by the trial's number
Rounds = Generator[Round, Collection[int] | None, None]


def run_group(
    assignments: Sequence[Assignment],
    corpus: Corpus,
    materials: Materials,
    *,
    device: torch.device,
    device_fraction: float,
    cap: Cap | None = None,
) -> Rounds:
    """Yield the members' steps round by round, an epoch of each; the last one has its outcome.

    `send` the numbers of trials that are to be dropped before the next round; `next` drops none. A
    report has its share of the round's seconds and energy. It has no peak: the group's memory is no
    member's. One assignment runs as `run_trial` has it. A group that cannot train as one warns, and
    its members are trained one after the other, in rounds of one.

    Args:
        assignments: whose configs have one `shared_shape`; they may stand at different epochs.
        corpus: the notes.
        materials: what the study's trials share.
        device: where they train.
        device_fraction: share of a GPU that the group holds; 0 without one.
        cap: of this process; made from the materials' limit where none is given.

    Raises:
        ValueError: the configs cannot be trained together.
        ShortOfMemoryError: the machine had less memory than a trial may take; a step of each member
            has said so. They shall be tried again in another process.
    """
    cap = cap or cap_of(device, materials.limit_bytes)
    bench = _Bench(corpus, materials, device, device_fraction, cap)
    left = {assignment.number: assignment for assignment in assignments}
    if len(left) == 1:
        yield from _one_by_one(left, bench)
        return
    _require_one_shape(assignments)
    cap.begin()
    try:
        yield from _together(left, bench)
    except Exception as error:
        problem, memory, why = storage_problem(error), cap.judge(error), crash_reason(error)
    else:
        return
    # Not in the handler: while it stands still, its error keeps the group's tensors.
    if problem:
        yield dict.fromkeys(left, Step(None, bench.ending()(State.RUNNING, problem), problem))
        return
    if isinstance(memory, ShortOfMemoryError):
        lost = Step(None, bench.ending()(State.RUNNING, str(memory)))
        yield dict.fromkeys(left, lost)
        raise memory
    warnings.warn(
        f"{len(left)} heads go on one after the other, not together: {memory or why}",
        ApartWarning,
        stacklevel=2,
    )
    yield from _one_by_one(left, bench)


def _require_one_shape(assignments: Sequence[Assignment]) -> None:
    shapes = [shape_of(each.config, each.replicate) for each in assignments]
    if None in shapes or len(set(shapes)) != 1:
        raise ValueError(
            "heads that are trained together need one shared_shape and a frozen backbone; got "
            f"{len(set(shapes))} of {len(assignments)} trials: form the groups by shared_shape"
        )


@dataclass(frozen=True, slots=True)
class _Bench:
    """On what, where and under which limit a group trains."""

    corpus: Corpus
    materials: Materials
    device: torch.device
    device_fraction: float
    cap: Cap

    def ending(self) -> Ending:
        return Ending.on(self.device, self.device_fraction)

    def alone(self, assignment: Assignment) -> Iterator[Step]:
        return run_trial(
            assignment,
            self.corpus,
            self.materials,
            device=self.device,
            device_fraction=self.device_fraction,
            cap=self.cap,
        )

    @property
    def resident_bytes(self) -> int:
        on_gpu = self.device.type == "cuda"
        return int((self.cap.limit_bytes or 0) * RESIDENT_SHARE) if on_gpu else 0


@dataclass(frozen=True, slots=True)
class _Trial:
    """A member as `run_trial` would prepare it."""

    network: Network
    state: StoredState
    checkpoint: Checkpoint | None
    ending: Ending
    examine: Callable[[], Scoring | None]  # once it has ended

    @classmethod
    def of(cls, assignment: Assignment, bench: _Bench) -> "_Trial":
        config = cast("HeadConfig", assignment.config)
        corpus, settings = lesson_of(assignment, bench.corpus, bench.materials)
        network = network_of(config, corpus, bench.materials)
        state = StoredState.of(assignment, bench.materials, network.backbone)
        ending = replace(bench.ending(), sizes=network.sizes)
        limit = settings.batch_limit
        examine = partial(examined, assignment, network, corpus, state, limit, bench.device)
        return cls(network, state, state.load(), ending, examine)

    def step(self, result: Epoch | DivergedError) -> Step:
        """What the trial tells of its epoch, once it is on disk."""
        if isinstance(result, DivergedError):
            return Step(None, self.ending(State.FAILED, str(result)))
        self.state.save(result)
        return self.last_step(result.report, result.ended)

    def last_step(self, report: EpochReport, ended: str) -> Step:
        """An epoch; where it is the last one of a confirming trial, with its scoring on test."""
        try:
            test = self.examine() if ended else None
        except DivergedError as error:
            return Step(None, self.ending(State.FAILED, str(error)))
        return self.ending.step(report, ended, test)


def _together(left: dict[int, Assignment], bench: _Bench) -> Rounds:
    """All of them in one pass; `left` is kept up to what has been told."""
    # The same for all of them: those that learn something else are not trained together.
    corpus, settings = lesson_of(next(iter(left.values())), bench.corpus, bench.materials)
    trials = {number: _Trial.of(assignment, bench) for number, assignment in left.items()}
    while told := _stored(left, trials):
        _note(left, told, (yield told))
    if told := _over(left, trials, settings):
        _note(left, told, (yield told))
    numbers = list(left)
    training = train_together(
        [_member(left[number], trials[number]) for number in numbers],
        next(iter(trials.values())).network.task(corpus),
        settings,
        device=bench.device,
        gauge=gauge_of(bench.cap, bench.device, bench.device_fraction),
        resident_bytes=bench.resident_bytes,
    )
    found = next(training, None)
    while found is not None:
        told = {numbers[p]: trials[numbers[p]].step(result) for p, result in found.items()}
        _note(left, told, (yield told))
        gone = [place for place, number in enumerate(numbers) if number not in left]
        try:
            found = training.send(gone)
        except StopIteration:
            return


def _stored(left: dict[int, Assignment], trials: dict[int, _Trial]) -> Round:
    """Of each, the first epoch that only its checkpoint knows."""
    told = {}
    for number, assignment in left.items():
        checkpoint = trials[number].checkpoint
        unheard = checkpoint.reports[assignment.known_epochs :] if checkpoint else ()
        if unheard:
            told[number] = trials[number].ending.step(unheard[0], "")
    return told


def _over(
    left: dict[int, Assignment], trials: dict[int, _Trial], settings: TrainingSettings
) -> Round:
    """Those that were killed after their last epoch, before their end was recorded."""
    told = {}
    for number in left:
        checkpoint = trials[number].checkpoint
        if checkpoint and why_over(
            checkpoint.reports,
            max_epochs=settings.max_epochs,
            patience=settings.patience,
            epochs=settings.epochs,
        ):
            told[number] = trials[number].last_step(checkpoint.reports[-1], TRAINED_BEFORE)
    return told


def _member(assignment: Assignment, trial: _Trial) -> Member:
    optimisation = cast("HeadConfig", assignment.config).optimisation
    return Member(trial.network.build, optimisation, assignment.seed, trial.checkpoint)


def _one_by_one(left: dict[int, Assignment], bench: _Bench) -> Rounds:
    """Each alone, from what was told of it."""
    for number in list(left):
        if number not in left:
            continue
        for step in bench.alone(left[number]):
            lost = step.report is None and step.outcome.state is State.RUNNING
            told = dict.fromkeys(left, step) if lost else {number: step}
            _note(left, told, (yield told))
            if number not in left:
                break


def _note(left: dict[int, Assignment], told: Round, dropped: Iterable[int] | None) -> None:
    """Count what was told as known; who ended or is dropped is left no more."""
    for number, step in told.items():
        if step.report:
            left[number] = replace(left[number], known_epochs=step.report.epoch)
        if step.outcome.state is not State.RUNNING:
            del left[number]
    for number in dropped or ():
        left.pop(number, None)
