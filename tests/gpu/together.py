"""Section 5: trials side by side on one card, each capped, and what they finish an hour.

Processes rather than Ray's actors: what is measured is the device, not the scheduling. All are
warm, all train the same trial, and all begin at once.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count

from headhunt.spaces.configs import HeadConfig, Mode
from headhunt.spaces.heads import AdapterHead, LinearHead
from headhunt.spaces.record import State
from headhunt.trainables.assignment import Assignment, Materials
from headhunt.trainables.card.cards import CARDS, MIB, gpu_fraction
from headhunt.trainables.runner import Step

from .machine import Machine
from .processes import Order, Workers
from .sections import Deadline, Promise, table
from .study import Study

AT_ONCE = (1, 2, 4, 8, 16)
TRIAL_SECONDS = 2.5  # of one alone, about: long enough to be told from its start
MOST_EPOCHS = 40
CONTEXT_BYTES = 600 * MIB  # of a process, when it is counted how many fit


@dataclass(frozen=True, slots=True)
class Together:
    """So many at once."""

    trials: int
    seconds: float  # until the last one ended
    joules: float | None  # of the board meanwhile
    complete: int
    alike: bool  # all have the numbers of the one alone
    reserved_bytes: int  # most that one of them held


@dataclass(frozen=True, slots=True)
class Shared:
    """One kind of trial, alone and with others."""

    what: str
    epochs: int
    runs: list[Together]
    stopped: str  # why there are no more; "" where there are

    def line(self, run: Together) -> list[str]:
        """Of the table."""
        hourly = run.trials * 3600 / run.seconds
        alone = self.runs[0]
        energy = "" if run.joules is None else f"{run.joules / run.trials:.0f}"
        watts = "" if run.joules is None else f"{run.joules / run.seconds:.0f}"
        return [
            self.what,
            str(run.trials),
            f"{run.seconds:.2f}",
            f"{hourly:,.0f}",
            f"{hourly * alone.seconds / 3600 / alone.trials:.2f}",
            watts,
            energy,
            f"{run.reserved_bytes / MIB:,.0f}",
            f"{run.complete}, {'alike' if run.alike else 'NOT ALIKE'}",
        ]


@dataclass(frozen=True, slots=True)
class SideBySide:
    """What was found."""

    kinds: list[Shared]
    limit_bytes: int  # of each
    room: int  # trials that the device has memory for

    def lines(self) -> Iterator[str]:
        """See `Section`."""
        yield (
            f"Each process is capped at {self.limit_bytes / MIB:,.0f} MiB, the limit of a Quadro "
            f"P620; {self.room} such trials have room (at most 100 are allowed). Processes without "
            "Ray, one thread each; energy is the board's."
        )
        yield ""
        yield from table(
            [
                "trial",
                "at once",
                "s",
                "trials an hour",
                "of one alone",
                "W",
                "J a trial",
                "reserved MiB",
                "complete",
            ],
            (kind.line(run) for kind in self.kinds for run in kind.runs),
        )
        for kind in self.kinds:
            if kind.stopped:
                yield ""
                yield f"{kind.what}: {kind.stopped}"

    def promises(self) -> Sequence[Promise]:
        """Of trials that share a card."""
        runs = [run for kind in self.kinds for run in kind.runs]
        most = max((run.trials for run in runs), default=0)
        return [
            Promise(
                "trials side by side complete under their caps with the numbers of one alone",
                all(r.complete == r.trials and r.alike for r in runs) if most > 1 else None,
                f"up to {most} at once",
            ),
            Promise(
                "what each holds stays under its cap",
                max(r.reserved_bytes for r in runs) <= self.limit_bytes if runs else None,
                f"{max((r.reserved_bytes for r in runs), default=0) / MIB:,.0f} of "
                f"{self.limit_bytes / MIB:,.0f} MiB",
            ),
        ]


@dataclass(frozen=True, slots=True)
class Plan:
    """How many, of what."""

    at_once: tuple[int, ...] = AT_ONCE
    limit_bytes: int = CARDS["p620"].limit_bytes
    trial_seconds: float = TRIAL_SECONDS


def kinds(backbone: str) -> list[tuple[str, HeadConfig]]:
    """A head on stored states, as the study has most, and a backbone that trains."""
    head = HeadConfig(backbone=backbone, head=AdapterHead())
    last = HeadConfig(backbone=backbone, head=LinearHead(), mode=Mode.LAST_K, last_k=2)
    return [("adapter head, frozen backbone", head), ("last 2 layers", last)]


def side_by_side(
    machine: Machine, deadline: Deadline, study: Study, plan: Plan | None = None
) -> SideBySide:
    """Warm as many processes as are wanted and have room, and let more and more of them train."""
    plan = plan or Plan()
    share = gpu_fraction(CARDS["p620"], machine.functions.total_bytes(), CONTEXT_BYTES)
    room = int(1 / share)
    wanted = [trials for trials in plan.at_once if trials <= room]
    found = []
    chosen = kinds(study.backbone)
    with machine.open_workers(max(wanted), limit_bytes=plan.limit_bytes, fraction=share) as workers:
        for place, (what, config) in enumerate(chosen):
            own = deadline.at_most(deadline.left / (len(chosen) - place))
            bench = _Bench(machine, workers, study, config, deadline)
            found.append(_shared(bench, what, wanted, own, plan))
    return SideBySide(found, plan.limit_bytes, room)


def _shared(
    bench: "_Bench", what: str, wanted: Sequence[int], deadline: Deadline, plan: Plan
) -> Shared:
    warm, _, _ = bench.run(max(wanted), epochs=2)
    reports = [step.report for step in warm[0] if step.report]
    if len(reports) < 2:
        last = warm[0][-1].outcome
        return Shared(what, 0, [], f"one alone ended {last.state}: {last.reason}")
    epochs = round(plan.trial_seconds / max(1e-6, reports[-1].wall_seconds))
    epochs = min(MOST_EPOCHS, max(1, epochs))
    runs: list[Together] = []
    curve: list[object] = []
    for trials in wanted:
        slowest = trials * runs[0].seconds if runs else 0.0  # if sharing brings nothing
        if deadline.left < slowest:
            return Shared(what, epochs, runs, f"time was over before {trials} at once")
        steps, seconds, joules = bench.run(trials, epochs)
        curve = curve or _curve(steps[0])
        runs.append(
            Together(
                trials,
                seconds,
                joules,
                complete=sum(one[-1].outcome.state is State.COMPLETE for one in steps),
                alike=all(_curve(one) == curve for one in steps),
                reserved_bytes=max(_reserved(one) for one in steps),
            )
        )
    return Shared(what, epochs, runs, "")


@dataclass(slots=True)
class _Bench:
    """Runs one config on so many workers, each time in a folder of its own."""

    machine: Machine
    workers: Workers
    study: Study
    config: HeadConfig
    deadline: Deadline
    _folders: Callable[[], int] = count().__next__

    def run(self, trials: int, epochs: int) -> tuple[list[list[Step]], float, float | None]:
        """Steps of each, seconds of all, joules of the board."""
        states = self.study.states(f"together-{self._folders()}")
        materials: Materials = replace(
            self.study.materials, states=states, settings=self.study.scale.settings(epochs)
        )
        orders = [
            Order(
                Assignment(number=number, config=self.config, seed=1).to_json(),
                self.study.corpus,
                materials,
            )
            for number in range(trials)
        ]
        meter = self.machine.meter()
        if meter:
            meter.begin()
        steps, seconds = self.workers.run(orders, max(60.0, self.deadline.left))
        joules = meter.joules() if meter else None
        shutil.rmtree(states.root, ignore_errors=True)
        return steps, seconds, joules


def _curve(steps: Sequence[Step]) -> list[object]:
    return [(s.report.f1, s.report.validation_loss, s.report.train_loss) for s in steps if s.report]


def _reserved(steps: Sequence[Step]) -> int:
    return max((s.report.reserved_bytes or 0 for s in steps if s.report), default=0)
