"""Run a plan's trials on a virtual clock: hours of a search in the seconds that its decisions take.

It calls on the plan what `executor/ray.py` calls, and when; what a trial would report comes from a
trainer. It leaves out processes, devices and memory.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from heapq import heappop, heappush

from ...trainables.steps import Step
from ..plan import Plan, Turn
from ..study import Trial


class VirtualClock:
    """Stands still until it is set."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def hours(self) -> float:
        """Since the search began."""
        return self.seconds / 3600


@dataclass(slots=True)
class Occupation:
    """How the slots were used."""

    busy_seconds: float = 0.0  # in epochs, over all slots
    most_at_once: int = 0


def run_virtually(
    plan: Plan,
    train: Callable[[Trial], Iterator[Step]],
    clock: VirtualClock,
    *,
    slots: int,
    pause_seconds: float = 0.0,
) -> Occupation:
    """Run the plan until it is over.

    Args:
        plan: whose trials run; its clock is this one.
        train: a trial's steps as a worker yields them; a step's report says how long it took.
        clock: is set to the end of each epoch in turn.
        slots: trials at a time.
        pause_seconds: that a slot spends on a trial before its first epoch.
    """
    events: list[tuple[float, int, int, Step]] = []  # when, in which order of equals, whose, what
    running: dict[int, Iterator[Step]] = {}
    used, order = Occupation(), 0

    def begin_epoch(number: int, after_seconds: float) -> None:
        nonlocal order
        step = next(running[number])
        lasts = step.report.wall_seconds if step.report else 0.0
        used.busy_seconds += lasts
        order += 1
        heappush(events, (clock.seconds + after_seconds + lasts, order, number, step))

    def fill() -> None:
        while len(running) < slots and not isinstance(turn := plan.next(), Turn):
            running[turn.number] = train(plan.study.trials[turn.number])
            begin_epoch(turn.number, pause_seconds)
        used.most_at_once = max(used.most_at_once, len(running))

    fill()
    while events:
        clock.seconds, _, number, step = heappop(events)
        if plan.hear(number, step):
            begin_epoch(number, 0.0)
            continue
        del running[number]
        fill()
    return used
