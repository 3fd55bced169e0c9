"""Trials that one worker trains together: runs of consecutive assignments that allow it.

Nothing is reordered and nothing is waited for: an assignment that does not go with those before it
begins the next group. A sampler that learns from results sees fewer of them, as it does with as
many slots more: a group's configs are asked for before any of them has ended.
"""

import math
from collections.abc import Callable, Hashable

from ..trainables.assignment import Assignment, shape_of
from ..trainables.group import RESIDENT_SHARE
from .plan import Plan, Turn

COPIES = 3  # of what trains, beside a trial's own: gradients, and what an update works in
NUMBER_BYTES = 4


class Groups:
    """What a plan has to run next, by the group."""

    def __init__(self, plan: Plan, most: int, slots: Callable[[], int]) -> None:
        """Begin with none.

        Args:
            plan: whose trials they are.
            most: trials a group; 1 trains each alone.
            slots: that share what is left of a budget of trials.
        """
        self._plan, self._most, self._slots = plan, most, slots
        self._unfit: set[Hashable] = set()  # shapes of which a group could not go on as one
        self._begun: Assignment | None = None  # of the next group, taken from the plan already
        self._alone: set[int] = set()  # trials whose process died: one may have killed the others

    def next(self) -> tuple[Assignment, ...] | Turn:
        """The next trials for one slot."""
        first = self._take()
        if isinstance(first, Turn):
            return first
        group, most = [first], self._share()
        shape = self._shape(first) if most > 1 else None
        while shape is not None and len(group) < most:
            turn = self._take()
            if isinstance(turn, Turn):
                break
            if self._shape(turn) != shape or not self._fit([*group, turn]):
                self._begun = turn
                break
            group.append(turn)
        return tuple(group)

    def died(self, number: int, reason: str) -> None:
        """A trial's process died; it is tried again alone."""
        self._alone.add(number)
        self._plan.died(number, reason)

    def came_apart(self, number: int) -> None:
        """A group of this trial's shape could not go on as one: no other one is formed."""
        trial = self._plan.study.trials[number]
        self._unfit.add(shape_of(trial.config, trial.replicate))

    def is_over(self) -> bool:
        """Whether no more trials start, without starting one."""
        return self._begun is None and self._plan.is_over()

    def _take(self) -> Assignment | Turn:
        begun, self._begun = self._begun, None
        return self._plan.next() if begun is None else begun

    def _share(self) -> int:
        """Trials of the next group at most: a budget's last ones are for all slots."""
        trials = self._plan.budget.trials
        if self._most == 1 or trials is None:
            return self._most
        left = trials - self._plan.started() + 1  # with the one that was just taken
        return min(self._most, max(1, math.ceil(left / max(1, self._slots()))))

    def _shape(self, assignment: Assignment) -> Hashable | None:
        """What the trials of its group have in common; None: it is trained alone."""
        shape = shape_of(assignment.config, assignment.replicate)
        return None if assignment.number in self._alone or shape in self._unfit else shape

    def _fit(self, group: list[Assignment]) -> bool:
        """Whether the card has the memory that all of them need at once, by their footprints."""
        trials = self._plan.study.trials
        footprints = [f for one in group if (f := trials[one.number].footprint)]
        needed = sum(
            f.peak_bytes + COPIES * NUMBER_BYTES * f.trainable_parameters for f in footprints
        )
        return not footprints or needed <= footprints[0].limit_bytes * (1 - RESIDENT_SHARE)
