"""Which trial runs next, when one stops, and when the search is over.

The plan knows neither Ray nor a clock of its own: an executor asks it for the next assignment and
tells it what happened, on real machines or on a virtual one. All that it decides is written to the
study before anybody acts on it.
"""

import math
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from enum import Enum

from ..spaces.configs import BaselineConfig, Config
from ..spaces.record import STARTED, EpochReport, Footprint, Outcome, Role, State
from ..spaces.seeds import derive_seed
from ..trainables.assignment import Assignment
from ..trainables.steps import Step
from ..trainables.training.states import Kind, StateStore
from .ahead import Ahead, Drawing
from .replicates import Wanted, left_of
from .rungs import Rungs
from .sampling import Proposal, Proposes
from .stopping import UNLIKELY, chance_of_better
from .study import Study, Trial

KEPT_WEIGHTS = 10  # trials whose best epoch's weights are kept
SMALLER = "try --space scratch, a smaller backbone, fewer --max-tokens, or another --card"
MOST_DEATHS = 3  # of a trial's process, after which it has failed
TOO_LARGE_IN_A_ROW = 20  # as measured: no budget counts them, and the model is wrong


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What a search may spend; the first that is reached ends it, running trials finish."""

    trials: int | None = None  # that started: complete, pruned and failed
    card_hours: float | None = None
    gpu_hours: float | None = None
    wall_hours: float | None = None  # of this run of the search
    stop_margin: float | None = None  # of F1: over when one better by so much has become unlikely

    def or_else(self, other: "Budget") -> "Budget":
        """Itself; where it names no budget, the other one, with this stop margin if one is said."""
        if self != Budget(stop_margin=self.stop_margin):
            return self
        margin = other.stop_margin if self.stop_margin is None else self.stop_margin
        return replace(other, stop_margin=margin)


class Turn(Enum):
    """What an executor is told where there is no assignment."""

    WAIT = "wait"  # for a trial to end
    OVER = "over"  # no more trials


@dataclass(slots=True)
class Watcher:
    """Is told what happens; the live view and the line log are built on it."""

    on_start: Callable[[Trial], None] = field(default=lambda _: None)
    on_epoch: Callable[[Trial, EpochReport], None] = field(default=lambda *_: None)
    on_end: Callable[[Trial], None] = field(default=lambda _: None)


class Plan:
    """The decisions of one run of a search."""

    def __init__(
        self,
        study: Study,
        proposer: Proposes,
        footprint: Callable[[Config], Footprint | None],
        rungs: Rungs,
        budget: Budget,
        *,
        seed: int,
        elapsed_hours: Callable[[], float],
        watcher: Watcher,
        states: StateStore | None = None,
        known_end: Callable[[Config], Outcome | None] = lambda _: None,
        kept_weights: int = KEPT_WEIGHTS,
        wanted: Sequence[Wanted] = (),
        drawing: Executor | None = None,
    ) -> None:
        """Take up the study where it stands.

        Args:
            study: open, with what earlier runs left.
            proposer: of configs.
            footprint: of a config; None where nothing is modelled.
            rungs: empty.
            budget: of this run.
            seed: the study's.
            elapsed_hours: of this run, by the clock.
            watcher: is told what happens.
            states: of the trials, removed when no longer needed; the study's own by default.
            known_end: of a config that need not run, because the work before it has shown how it
                would end; None of all others.
            kept_weights: trials whose best epoch's weights are kept after their end.
            wanted: all trials there are to be, of a confirmation, and as many as its budget; each
                counts against it whatever becomes of it, and no refusal ends the plan early.
            drawing: draws the next trial ahead, one at a time; None: a thread.
        """
        self.study, self.budget, self.watcher = study, budget, watcher
        self._known_end, self._states = known_end, states or study.states
        self._most_kept = kept_weights
        self._ahead, self._rungs = Ahead(proposer, footprint, study.holds, drawing), rungs
        self._seed, self._elapsed_hours = seed, elapsed_hours
        self._wanted = len(wanted)  # 0: of a search
        self._left = len(left_of(wanted, study.trials))  # of them; of a search no number
        self._deaths: dict[int, int] = {}
        self._scores: list[float] = []  # of searched trials that ended, in their order
        self._settled_at = 0  # of them, when a better one was last asked for
        self._too_large = 0  # trials that were measured so, one after the other
        self._over = ""  # why no more trials start
        self.short = False  # whether the search ended before its budget
        for trial in study.trials:
            self._replay(trial)
        complete = [
            t
            for t in study.trials
            if t.state is State.COMPLETE and t.best and not isinstance(t.config, BaselineConfig)
        ]
        complete.sort(key=lambda t: (-t.best.f1 if t.best else 0.0, t.number))
        self._kept = complete[:kept_weights]
        self._waiting = [t.number for t in study.trials if t.state is State.RUNNING]
        self._tidy()

    def close(self) -> None:
        """The search is over or interrupted: draw no more."""
        self._ahead.close()

    @property
    def over(self) -> str:
        """Why no more trials start; "" while some may."""
        return self._over

    def next(self) -> Assignment | Turn:
        """The next trial to run."""
        while self._waiting:
            trial = self.study.trials[self._waiting.pop(0)]
            if self._ends_at_once(trial):
                continue
            if trial.reports and not self._goes_on(trial):
                self._prune(trial, Outcome(state=State.RUNNING))
                continue
            self.watcher.on_start(trial)
            return self._assignment(trial)
        if self._over or self._spent():
            return Turn.OVER
        if self.budget.trials is not None and self.started() >= self.budget.trials:
            return Turn.WAIT  # of those that run, one may be too large, and count no more
        return self._propose()

    def is_over(self) -> bool:
        """Whether no more trials start, without starting one."""
        return not self._waiting and (bool(self._over) or self._spent())

    def report(self, number: int, report: EpochReport) -> bool:
        """Record an epoch; whether the trial goes on."""
        trial = self.study.trials[number]
        if trial.state is not State.RUNNING:
            return False
        if self.study.report(number, report):
            self._record_rung(trial, report.epoch)
            self.watcher.on_epoch(trial, report)
        return self._goes_on(trial)

    def hear(self, number: int, step: Step) -> bool:
        """Take a step that a trial has taken; whether the trial keeps its slot."""
        goes_on = step.report is None or self.report(number, step.report)
        if step.outcome.state is not State.RUNNING:
            self.end(number, step.outcome)
            return False
        if not goes_on:
            self.prune(number, step.outcome)
        return goes_on

    def prune(self, number: int, ran: Outcome) -> None:
        """The executor has stopped a trial that `report` did not let go on.

        `ran` says on what it ran; its state and reason are given here.
        """
        self._prune(self.study.trials[number], ran)

    def end(self, number: int, outcome: Outcome) -> None:
        """A trial ended by itself."""
        trial = self.study.trials[number]
        if trial.state is not State.RUNNING:
            return
        self.study.end(number, outcome)
        self._record_end(trial)
        self._ended(trial)

    def died(self, number: int, reason: str) -> None:
        """A trial's process died: it goes on from its last epoch, or fails after several deaths."""
        trial = self.study.trials[number]
        if trial.state is not State.RUNNING:
            return
        self._deaths[number] = self._deaths.get(number, 0) + 1
        if self._deaths[number] < MOST_DEATHS:
            self._waiting.append(number)
            return
        died = f"its process died {MOST_DEATHS} times: {reason}"
        self.end(number, Outcome(state=State.FAILED, reason=died))

    def started(self) -> int:
        """Trials that count against the budget, unless one that runs proves too large."""
        return self._wanted - self._left if self._wanted else self.study.tally.started

    def _spent(self) -> bool:
        """Whether a budget is, whatever becomes of the trials that run."""
        tally = self.study.tally
        ended = self.started() - tally.states[State.RUNNING]
        if self._wanted and ended >= self._wanted:
            self._over = f"all trials that were wanted have ended, {self._wanted:,} of them"
            return True
        limits = (
            ("trials", self.budget.trials, ended),
            ("card hours", self.budget.card_hours, tally.card_hours),
            ("GPU hours", self.budget.gpu_hours, tally.gpu_hours),
            ("wall hours", self.budget.wall_hours, self._elapsed_hours()),
        )
        for name, limit, spent in limits:
            if limit is not None and spent >= limit:
                self._over = f"the budget of {limit:g} {name} is spent"
                return True
        self._over = self._settled()
        return bool(self._over)

    def _settled(self) -> str:
        """Why a better trial is unlikely, by the rule that the user has switched on; "" if not."""
        margin, scores = self.budget.stop_margin, self._scores
        if margin is None or len(scores) == self._settled_at:
            return ""
        self._settled_at = len(scores)  # nothing has ended since: the answer would be the same
        more = len(scores) if self.budget.trials is None else self.budget.trials - self.started()
        chance = chance_of_better(scores, margin, more)
        if chance > UNLIKELY:
            return ""
        return (
            f"in {more:,} more trials one that beats the best F1 {max(scores):.3f} by {margin:g} "
            f"is unlikely ({chance:.1%})"
        )

    def _propose(self) -> Assignment | Turn:
        trial = self._start()
        while trial is not None and self._ends_at_once(trial):
            trial = self._start()
        if trial is None:
            return Turn.OVER if self._over or self._spent() else Turn.WAIT
        self.watcher.on_start(trial)
        if self.budget.trials is None or self.started() < self.budget.trials:
            self._ahead.begin(len(self.study.trials))
        return self._assignment(trial)

    def _start(self) -> Trial | None:
        """A new trial; None where none can be found."""
        if self._too_large >= TOO_LARGE_IN_A_ROW and not self._wanted:
            return self._give_up(
                f"{self._too_large} trials in a row were too large for the card, though their "
                f"footprints fit; the nearest one {self._nearest()}"
            )
        drawing = self._drawing()
        if self._wanted and not self._left and drawing.drawn is None:
            return None
        if drawing.drawn is None:
            if drawing.exhausted:
                return self._give_up(self._exhausted())
            return self._give_up(
                f"{len(drawing.refused)} proposals in a row did not fit the card; the nearest one "
                f"{self._nearest()}: {SMALLER}"
            )
        self._left -= 1
        trial = self.study.start(
            drawing.drawn.config,
            drawing.drawn.sampled,
            role=drawing.drawn.role,
            seed=self._trial_seed(drawing.drawn),
            footprint=drawing.footprint,
            replicate=drawing.drawn.replicate,
        )
        self._ahead.accept(drawing.drawn, trial)
        return trial

    def _drawing(self) -> Drawing:
        """What is drawn next, and the refused ones before it recorded; a list is gone through."""
        while True:
            drawing = self._ahead.take(len(self.study.trials))
            for proposal, footprint in drawing.refused:
                refused = self.study.refuse(
                    proposal.config,
                    proposal.sampled,
                    role=proposal.role,
                    seed=self._trial_seed(proposal),
                    footprint=footprint,
                    replicate=proposal.replicate,
                )
                self.watcher.on_end(refused)
            self._left -= len(drawing.refused)
            if drawing.drawn or drawing.exhausted or not self._wanted:
                return drawing

    def _ends_at_once(self, trial: Trial) -> bool:
        """Whether the trial's end was known before it ran."""
        outcome = self._known_end(trial.config)
        if outcome is not None:
            self.end(trial.number, outcome)
        return outcome is not None

    def _trial_seed(self, proposal: Proposal) -> int:
        """Of the trial that is recorded next; the last part is its replicate."""
        if proposal.seed is not None:
            return proposal.seed
        return derive_seed(self._seed, "trial", len(self.study.trials), 0)

    def _exhausted(self) -> str:
        """Why there is nothing left to propose."""
        states = [t.state for t in self.study.trials if t.role is not Role.CONTROL]
        if not states or any(state is not State.INFEASIBLE for state in states):
            return "the space holds no config that was not tried"
        return (
            f"no config of the space fits the card, and all {len(states)} were tried; the nearest "
            f"one {self._nearest()}: {SMALLER}"
        )

    def _nearest(self) -> str:
        refused = [t for t in self.study.trials if t.state is State.INFEASIBLE]
        nearest = min(refused, key=_excess_bytes)
        return nearest.outcome.reason if nearest.outcome else ""

    def _give_up(self, why: str) -> None:
        self._over, self.short = why, True

    def _assignment(self, trial: Trial) -> Assignment:
        return Assignment(
            number=trial.number,
            config=trial.config,
            seed=trial.seed,
            known_epochs=len(trial.reports),
            replicate=trial.replicate,
        )

    def _replay(self, trial: Trial) -> None:
        """Set the rungs to what they were."""
        for report in trial.reports:
            best = max(r.f1 for r in trial.reports[: report.epoch])
            self._rungs.record(trial.config.family, trial.number, report.epoch, best)
        self._record_end(trial)
        self._record_score(trial)

    def _tidy(self) -> None:
        """Remove the files of trials that had ended when a killed run came no further."""
        kept = {trial.number for trial in self._kept}
        for trial in self.study.trials:
            if trial.outcome:
                self._states.remove(trial.number, Kind.CHECKPOINT)
                if trial.number not in kept:
                    self._states.remove(trial.number, Kind.BEST)

    def _record_rung(self, trial: Trial, epoch: int) -> None:
        if trial.best:
            self._rungs.record(trial.config.family, trial.number, epoch, trial.best.f1)

    def _record_score(self, trial: Trial) -> None:
        """For the rule that ends the search; a trial that failed has found nothing."""
        if trial.role is Role.CONTROL or trial.state is State.RUNNING:
            return
        if trial.state in STARTED:
            self._scores.append(trial.best.f1 if trial.best else 0.0)

    def _record_end(self, trial: Trial) -> None:
        """What the rungs keep of a trial that ended by itself."""
        family, number = trial.config.family, trial.number
        if trial.state is State.COMPLETE and trial.best:
            self._rungs.record_end(family, number, trial.reports[-1].epoch, trial.best.f1)
        elif trial.state in (State.INFEASIBLE, State.FAILED):
            self._rungs.forget(family, number)  # it cannot win, so it must end no other one

    def _goes_on(self, trial: Trial) -> bool:
        return self._rungs.goes_on(trial.config.family, trial.number, trial.reports[-1].epoch)

    def _prune(self, trial: Trial, ran: Outcome) -> None:
        epoch = trial.reports[-1].epoch
        reason = f"not among the best of its family at epoch {epoch}"
        self.study.end(trial.number, replace(ran, state=State.PRUNED, reason=reason))
        self._ended(trial)

    def _ended(self, trial: Trial) -> None:
        self._too_large = self._too_large + 1 if trial.state is State.INFEASIBLE else 0
        self._ahead.settle(trial)
        self._record_score(trial)
        self._states.remove(trial.number, Kind.CHECKPOINT)
        self._keep_weights_of_the_best(trial)
        self.watcher.on_end(trial)

    def _keep_weights_of_the_best(self, ended: Trial) -> None:
        if isinstance(ended.config, BaselineConfig):
            return  # it has none
        if ended.state is State.COMPLETE:
            self._kept.append(ended)
            self._kept.sort(key=lambda t: (-t.best.f1 if t.best else 0.0, t.number))
            dropped = self._kept[self._most_kept :]
            self._kept = self._kept[: self._most_kept]
        else:
            dropped = [ended]
        for trial in dropped:
            self._states.remove(trial.number, Kind.BEST)


def _excess_bytes(trial: Trial) -> float:
    """Of an infeasible trial: measured where it ran, else modelled."""
    if trial.outcome and trial.outcome.excess_bytes is not None:
        return trial.outcome.excess_bytes
    return trial.footprint.excess_bytes if trial.footprint else math.inf
