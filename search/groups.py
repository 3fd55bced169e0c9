"""Trials that one worker trains together: runs of consecutive assignments that allow it.

Nothing is reordered and nothing is waited for: an assignment that does not go with those before it
begins the next group. So the configs that are asked for, and their numbers, are those of a search
in which each trains alone.
"""

from ..spaces.together import shared_shape
from ..trainables.assignment import Assignment
from .plan import Plan, Turn


class Groups:
    """What a plan has to run next, by the group."""

    def __init__(self, plan: Plan, most: int) -> None:
        """At most `most` trials a group; 1 trains each alone."""
        self._plan, self._most = plan, most
        self._begun: Assignment | None = None  # of the next group, taken from the plan already
        self._alone: set[int] = set()  # trials whose process died: one may have killed the others

    def next(self) -> tuple[Assignment, ...] | Turn:
        """The next trials for one slot."""
        first = self._take()
        if isinstance(first, Turn):
            return first
        group = [first]
        while len(group) < self._most and self._has_shape(group[0]):
            turn = self._take()
            if isinstance(turn, Turn):
                break
            if not self._joins(turn, group):
                self._begun = turn
                break
            group.append(turn)
        return tuple(group)

    def died(self, number: int, reason: str) -> None:
        """A trial's process died; it is tried again alone."""
        self._alone.add(number)
        self._plan.died(number, reason)

    def is_over(self) -> bool:
        """Whether no more trials start, without starting one."""
        return self._begun is None and self._plan.is_over()

    def _take(self) -> Assignment | Turn:
        begun, self._begun = self._begun, None
        return self._plan.next() if begun is None else begun

    def _has_shape(self, assignment: Assignment) -> bool:
        return assignment.number not in self._alone and shared_shape(assignment.config) is not None

    def _joins(self, other: Assignment, group: list[Assignment]) -> bool:
        same = shared_shape(other.config) == shared_shape(group[0].config)
        return self._has_shape(other) and same and self._fit([*group, other])

    def _fit(self, group: list[Assignment]) -> bool:
        """Whether the card has the memory that all of them need at once, by their footprints."""
        trials = self._plan.study.trials
        footprints = [f for one in group if (f := trials[one.number].footprint)]
        return not footprints or sum(f.peak_bytes for f in footprints) <= footprints[0].limit_bytes
