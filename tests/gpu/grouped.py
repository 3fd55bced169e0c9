"""Section 7: heads of one shape in one batched pass, and what that saves a trial.

Where it pays on this device is a finding. That a member has the numbers of training alone is a
promise.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.together import Group, Plan, kinds, made_task, trained

from .machine import Machine
from .sections import Deadline, Promise, table

TOLERANCE = 1e-3  # of a validation loss, relatively: floats are added in another order
REAL = Plan(training=320, validation=80)


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of head in groups of several sizes; the first is a trial alone."""

    name: str
    groups: list[Group]
    stopped: str  # why there are no more; "" where there are

    def times(self, group: Group) -> float:
        """How much faster a trial's epoch is than alone."""
        return self.groups[0].seconds / group.seconds

    @property
    def off(self) -> float:
        """Most that a loss differs from the one alone, relatively."""
        alone = self.groups[0].losses
        pairs = [(a, b) for g in self.groups for a, b in zip(alone, g.losses, strict=True)]
        return max(abs(a - b) / a for a, b in pairs)


@dataclass(frozen=True, slots=True)
class Grouped:
    """What was found."""

    kinds: list[Kind]

    def lines(self) -> Iterator[str]:
        """See `Section`."""
        yield "A trial's epoch alone (1), and its share of a group's; the fastest after the first."
        yield ""
        yield from table(
            ["head", "members", "ms an epoch a trial", "of one alone"],
            (
                [kind.name, g.members, f"{g.seconds * 1e3:,.2f}", f"{kind.times(g):.2f}"]
                for kind in self.kinds
                for g in kind.groups
            ),
        )
        for kind in self.kinds:
            if kind.stopped:
                yield ""
                yield f"{kind.name}: {kind.stopped}"

    def promises(self) -> Sequence[Promise]:
        """Of the numbers."""
        shown = [kind for kind in self.kinds if len(kind.groups) > 1]
        off = max((kind.off for kind in shown), default=0.0)
        return [
            Promise(
                "a head trained with others has the losses of training alone",
                off <= TOLERANCE if shown else None,
                f"{off:.0e} off at most, of {TOLERANCE:.0e}",
            )
        ]


def grouped(machine: Machine, deadline: Deadline, plan: Plan = REAL) -> Grouped:
    """Measure each kind, in larger and larger groups while there is time."""
    chosen, found = kinds(), []
    with machine.whole():
        for place, (name, config) in enumerate(chosen):
            own = deadline.at_most(deadline.left / (len(chosen) - place))
            task, groups, stopped = made_task(config, plan), [], ""
            for members in plan.members:
                if own.left <= 0:
                    stopped = f"time was over before {members} together"
                    break
                machine.functions.release()
                groups.append(trained(config, task, plan, members, machine.device))
            found.append(Kind(name, groups, stopped))
    return Grouped(found)
