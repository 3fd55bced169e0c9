"""Section 2: the cap holds. A trial that needs more than the card leaves ends infeasible.

What the footprint would refuse is run on purpose, between two small trials, in one warm process.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from headhunt.spaces.configs import HeadConfig, Mode, Optimisation
from headhunt.spaces.heads import LinearHead
from headhunt.spaces.record import EpochReport, State
from headhunt.trainables.assignment import Assignment
from headhunt.trainables.card.cap import Cap
from headhunt.trainables.card.cards import CARDS, MIB
from headhunt.trainables.card.sizing import largest
from headhunt.trainables.runner import run_trial

from .machine import Machine
from .sections import Deadline, Promise, table
from .study import Study

MOST_NOTES = 64  # of a batch


@dataclass(frozen=True, slots=True)
class Sizes:
    """Of the cards and of the trial, in bytes."""

    limit: int  # that the small card leaves
    wanted: int  # that the trial shall need at most, by the footprint
    roomy: int  # that the larger card leaves


# A trial of 2.5 GiB on a card of 2 GiB, then on one of 4 GiB.
REAL = Sizes(CARDS["p620"].limit_bytes, 2560 * MIB, CARDS["gtx1050ti"].limit_bytes)


@dataclass(frozen=True, slots=True)
class Ended:
    """A trial's end."""

    what: str
    limit_bytes: int
    state: State
    reason: str
    excess_bytes: int | None
    report: EpochReport | None  # of the last epoch
    seconds: float


@dataclass(frozen=True, slots=True)
class Capped:
    """What was found."""

    notes: int  # of the large trial's batch
    modelled_bytes: int  # its peak
    total_bytes: int  # of the device
    first: Ended  # small, under the limit
    large: Ended
    second: Ended  # small again
    roomy: Ended  # large, under the larger card's limit

    def lines(self) -> Iterator[str]:
        """See `Section`."""
        yield (
            f"A full fine-tune with AdamW at {self.notes} notes a batch: by the footprint "
            f"{_mib(self.modelled_bytes)} MiB, on a device of {_mib(self.total_bytes)} MiB. The "
            "footprint's refusal is off; one process runs all four."
        )
        yield ""
        yield from table(
            ["trial", "cap MiB", "end", "reason", "allocated MiB", "reserved MiB", "s"],
            (
                [
                    ended.what,
                    _mib(ended.limit_bytes),
                    ended.state,
                    ended.reason,
                    _mib(ended.report.peak_bytes if ended.report else None),
                    _mib(ended.report.reserved_bytes if ended.report else None),
                    f"{ended.seconds:.1f}",
                ]
                for ended in (self.first, self.large, self.second, self.roomy)
            ),
        )

    def promises(self) -> Sequence[Promise]:
        """Of the cap, and of a warm worker."""
        limit, excess = self.large.limit_bytes, self.large.excess_bytes or 0
        reserved = [e.report.reserved_bytes or 0 for e in (self.first, self.second) if e.report]
        same = self.first.report and self.second.report and _same(self.first, self.second)
        return [
            Promise(
                "a trial that needs more than the cap ends infeasible with a positive excess",
                self.large.state is State.INFEASIBLE and excess > 0,
                f"{self.large.state}, {_mib(excess)} MiB over {_mib(limit)}; the footprint says "
                f"{_mib(self.modelled_bytes - limit)}",
            ),
            Promise(
                "its process survives, and trains the next trial to the same numbers as before",
                self.second.state is State.COMPLETE and bool(same),
                f"{self.first.state}, then {self.second.state}",
            ),
            Promise(
                "what is held stays under the cap",
                max(reserved) <= limit if reserved else None,
                f"{_mib(max(reserved, default=0))} of {_mib(limit)} MiB",
            ),
            Promise(
                "the same trial trains on a card that holds it",
                self.roomy.state is State.COMPLETE,
                f"{self.roomy.state} under {_mib(self.roomy.limit_bytes)} MiB",
            ),
        ]


def capped(machine: Machine, deadline: Deadline, study: Study, sizes: Sizes = REAL) -> Capped:
    """Run the four trials in this process."""
    del deadline  # the promise is the report's first: it is not cut short
    footprinter = study.scale.footprinter(CARDS["p620"])

    def config(notes: int) -> HeadConfig:
        optimisation = Optimisation(batch_size=max(1, notes))
        return HeadConfig(
            backbone=study.backbone,
            mode=Mode.FULL,
            head=LinearHead(),
            optimisation=optimisation,
        )

    def peak(notes: int) -> int:
        named = replace(config(notes), backbone=study.scale.backbone)
        return footprinter.training_peak_bytes(named)

    notes = max(1, largest(lambda n: peak(n) - sizes.wanted, start=4, most=MOST_NOTES))
    small = HeadConfig(backbone=study.backbone, head=LinearHead())
    with machine.whole():
        cap = Cap(sizes.limit, machine.functions)
        first = run(machine, study, small, cap, "first", "small")
        large = run(machine, study, config(notes), cap, "large", "large")
        second = run(machine, study, small, cap, "second", "small again")
        roomy_cap = Cap(sizes.roomy, machine.functions)
        roomy = run(machine, study, config(notes), roomy_cap, "roomy", "large, roomier card")
    total = machine.functions.total_bytes()
    return Capped(notes, peak(notes), total, first, large, second, roomy)


def run(
    machine: Machine, study: Study, config: HeadConfig, cap: Cap, folder: str, what: str
) -> Ended:
    """A trial from its assignment to its end, as a worker runs it."""
    materials = replace(study.materials, states=study.states(folder))
    begin = time.perf_counter()
    with machine.running():
        steps = list(
            run_trial(
                Assignment(number=0, config=config, seed=1),
                study.corpus,
                materials,
                device=machine.device,
                device_fraction=0.0,
                cap=cap,
            )
        )
    last = steps[-1]
    return Ended(
        what,
        cap.limit_bytes or 0,
        last.outcome.state,
        last.outcome.reason,
        last.outcome.excess_bytes,
        next((step.report for step in reversed(steps) if step.report), None),
        time.perf_counter() - begin,
    )


def _same(one: Ended, other: Ended) -> bool:
    """To the bit."""
    reports = one.report, other.report
    numbers = [(r.f1, r.validation_loss, r.train_loss) for r in reports if r]
    return numbers[0] == numbers[1]


def _mib(size: int | None) -> str:
    return "" if size is None else f"{size / MIB:,.0f}"
