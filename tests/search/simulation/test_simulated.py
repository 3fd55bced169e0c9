"""The virtual executor alone: known seconds, a plan that hands out trials, slots."""

import itertools
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headhunt.search.executor.simulated import VirtualClock, run_virtually
from headhunt.search.plan import Plan, Turn
from headhunt.spaces.configs import ScratchConfig
from headhunt.spaces.record import Outcome, State
from headhunt.trainables.assignment import Assignment
from headhunt.trainables.steps import Step

from ..toys import epoch_report

RUNNING = Outcome(state=State.RUNNING)


class Told:
    """In the place of a plan: so many trials, and what it was told, with the time."""

    hear = Plan.hear

    def __init__(self, trials: int, clock: VirtualClock, *, stops: int = 0) -> None:
        self.study = SimpleNamespace(trials=[SimpleNamespace(number=n) for n in range(trials)])
        self._numbers, self._clock, self._stops = itertools.count(), clock, stops
        self.told: list[tuple[str, int, float]] = []
        self.waiting: list[int] = []  # slots that were free whenever it had no trial left

    def next(self):
        number = next(self._numbers)
        if number >= len(self.study.trials):
            return Turn.OVER
        self._tell("start", number)
        return Assignment(number=number, config=ScratchConfig(), seed=0)

    def report(self, number, report):
        self._tell("epoch", number)
        return report.epoch != self._stops

    def end(self, number, outcome):
        self._tell(outcome.state.value, number)

    def prune(self, number, ran):
        assert ran.state is State.RUNNING
        self._tell("pruned", number)

    def _tell(self, what, number):
        self.told.append((what, number, self._clock.seconds))

    def times(self, what):
        return {number: seconds for kind, number, seconds in self.told if kind == what}


def lasting(lengths):
    """Trials whose epochs take these seconds; the last epoch completes them."""

    def train(trial):
        seconds = lengths[trial.number]
        for epoch, each in enumerate(seconds, start=1):
            last = epoch == len(seconds)
            outcome = Outcome(state=State.COMPLETE) if last else RUNNING
            yield Step(epoch_report(epoch, 0.5, each), outcome)

    return train


def play(lengths, *, slots, pause=0.0, stops=0, train=None):
    clock = VirtualClock()
    plan = Told(len(lengths), clock, stops=stops)
    used = run_virtually(
        cast("Plan", cast("Any", plan)),
        train or lasting(lengths),
        clock,
        slots=slots,
        pause_seconds=pause,
    )
    return plan, clock, used


@pytest.mark.parametrize(
    ("slots", "ends", "seconds"),
    [(1, {0: 30.0, 1: 35.0, 2: 45.0, 3: 46.0}, 46.0), (2, {0: 30.0, 1: 5.0, 2: 15.0, 3: 16.0}, 30)],
)
def test_trials_end_when_their_epochs_are_over_one_slot_after_the_other(slots, ends, seconds):
    plan, clock, used = play([[10, 20], [5], [10], [1]], slots=slots)

    assert plan.times("complete") == ends
    assert clock.seconds == seconds
    assert used.busy_seconds == 46


def test_a_slot_pauses_before_each_trial_and_is_not_busy_then():
    _, clock, used = play([[10], [10], [10]], slots=1, pause=2.0)

    assert (clock.seconds, used.busy_seconds) == (36, 30)


def test_a_trial_that_does_not_go_on_leaves_its_slot_at_once():
    plan, clock, _ = play([[10, 90], [1, 9]], slots=1, stops=1)

    assert plan.times("pruned") == {0: 10, 1: 11}
    assert clock.seconds == 11


def test_a_trial_may_end_without_an_epoch():
    failed = Step(None, Outcome(state=State.FAILED, reason="diverged"))
    plan, clock, _ = play([[], []], slots=1, train=lambda _: iter([failed]))

    assert plan.times("failed") == {0: 0.0, 1: 0.0}
    assert clock.seconds == 0


@given(
    lengths=st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=4), min_size=1, max_size=20),
    slots=st.integers(1, 6),
)
def test_all_slots_are_taken_while_trials_wait_and_never_more(lengths, slots):
    plan, clock, used = play(lengths, slots=slots)

    starts, ends = plan.times("start"), plan.times("complete")
    assert used.most_at_once == min(slots, len(lengths))
    assert clock.seconds == max(ends.values())
    for moment in {*starts.values(), *ends.values()}:
        running = sum(starts[n] <= moment < ends[n] for n in starts)
        waiting = sum(start > moment for start in starts.values())
        assert running <= slots
        assert running == slots or not waiting
