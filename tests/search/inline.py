"""Plays a plan without Ray: trials with given curves, so many at a time, an epoch each in turn.

It is the contract of an executor in a page: what it calls on a plan, and when. It leaves out
processes, clocks and models.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from headhunt.search.plan import Plan, Turn
from headhunt.spaces.configs import Config
from headhunt.spaces.record import Outcome, State
from headhunt.trainables.assignment import Assignment

from .toys import epoch_report

# May stand in a curve in the place of an F1.
DIVERGES, DIES, TOO_LARGE = "diverges", "dies", "too large"
Curve = Sequence[float | str]


@dataclass
class Played:
    """What an executor saw."""

    assignments: list[Assignment] = field(default_factory=list)
    epochs: int = 0  # trained
    most_at_once: int = 0


def play(
    plan: Plan,
    curve: Callable[[Config], Curve],
    *,
    slots: int = 1,
    dies: Callable[[Assignment, int], bool] = lambda *_: False,
    on_epoch: Callable[[], None] = lambda: None,
) -> Played:
    """Run the plan until it is over.

    Args:
        plan: whose trials run.
        curve: a config's F1 by epoch; its length is the number of epochs.
        slots: trials at a time.
        dies: whether the process of this assignment dies at the beginning of an epoch.
        on_epoch: called before each epoch; it may raise to end everything.
    """
    played = Played()
    running: dict[int, Assignment] = {}
    place: dict[int, int] = {}  # epochs trained, by trial: what a checkpoint would hold
    try:
        while True:
            while len(running) < slots:
                turn = plan.next()
                if isinstance(turn, Turn):
                    break
                assert turn.number not in running
                running[turn.number] = turn
                place[turn.number] = turn.known_epochs
                played.assignments.append(turn)
            played.most_at_once = max(played.most_at_once, len(running))
            if not running:
                return played
            for number, assignment in list(running.items()):
                on_epoch()
                if _step(plan, assignment, curve(assignment.config), place, dies, played):
                    del running[number]
    finally:
        plan.close()


def _step(
    plan: Plan,
    assignment: Assignment,
    curve: Curve,
    place: dict[int, int],
    dies: Callable[[Assignment, int], bool],
    played: Played,
) -> bool:
    """One epoch of one trial; whether it has left its slot."""
    number = assignment.number
    epoch = min(place[number] + 1, len(curve))
    if curve[epoch - 1] == DIES or dies(assignment, epoch):
        plan.died(number, "killed")
        return True
    if curve[epoch - 1] == DIVERGES:
        plan.end(number, Outcome(state=State.FAILED, reason=f"diverged in epoch {epoch}"))
        return True
    if curve[epoch - 1] == TOO_LARGE:
        reason = f"measured: needs more in epoch {epoch}"
        plan.end(number, Outcome(state=State.INFEASIBLE, reason=reason, excess_bytes=2**20))
        return True
    played.epochs += place[number] < len(curve)
    place[number] = epoch
    goes_on = plan.report(number, epoch_report(epoch, float(curve[epoch - 1])))
    if epoch == len(curve):
        plan.end(number, Outcome(state=State.COMPLETE, reason="all epochs trained"))
        return True
    if not goes_on:
        plan.prune(number, Outcome(state=State.RUNNING))
    return not goes_on
