"""Searches that might be made, played on a study's recorded curves, and what each would come to.

Plan, sampler, rungs and study are those of a real search; the clock is virtual, and nobody trains.
The study that a scenario leaves is thrown away: the user's own is never written.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ...spaces.catalogue import Space
from ...spaces.configs import Config
from ...spaces.record import Footprint, Role, State
from ..ahead import AtOnce
from ..executor.simulated import Occupation, VirtualClock, run_virtually
from ..plan import Budget, Plan, Watcher
from ..rungs import study_rungs
from ..sampling import Proposal, Proposer, Proposes
from ..study import Study, Trial
from .recorded import Recorded
from .trainer import Source, Trainer

REPLAY = "recorded"  # the sampler that proposes the study's own configs in their order
NEAR = 0.005  # of F1: so close to a scenario's best is as good as it


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A search that might be made."""

    sampler: str
    slots: int  # trials at a time
    rungs: bool
    budget: Budget


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What a scenario comes to with one seed; hours are virtual."""

    seed: int
    wall_hours: float
    card_hours: float | None  # modelled; None without a card
    best_f1: float | None  # of complete trials, controls left out
    hours_to_best: float | None  # until one was within NEAR of it
    busy_share: float  # of the slots' time in epochs
    states: dict[State, int]
    curves: dict[Source, int]  # trials by where their curves are from
    over: str  # why no more trials started


class Replayer:
    """Proposes what a study tried, in its order."""

    def __init__(self, recorded: Recorded) -> None:
        self._left = list(recorded.trials)

    def propose(self, number: int, is_known: Callable[[Config], bool]) -> Proposal | None:
        """The next recorded config."""
        del number, is_known
        if not self._left:
            return None
        trial = self._left.pop(0)
        return Proposal(trial.config, trial.role, trial.sampled, None)

    def accept(self, proposal: Proposal, trial: Trial) -> None:
        """Nothing to learn."""

    def refuse(self, proposal: Proposal, footprint: Footprint) -> None:
        """Nothing to learn."""

    def settle(self, trial: Trial) -> None:
        """Nothing to learn."""


def simulate(
    trainer: Trainer,
    space: Space | None,
    scenario: Scenario,
    *,
    seed: int,
    on_end: Callable[[], None] = lambda: None,
) -> Run:
    """Play the scenario.

    Args:
        trainer: of the recorded study.
        space: the study's; None where only its own configs are proposed.
        scenario: what is searched, and how.
        seed: of the sampler.
        on_end: called as each trial ends.

    Raises:
        SimulationError: a curve must be guessed, and too few trials have a score.
        SpaceError: the space's own function failed.
    """
    recorded, clock = trainer.recorded, VirtualClock()
    sources: dict[int, Source] = {}
    improved: list[tuple[float, float]] = []  # at which hour, which best F1

    def ended(trial: Trial) -> None:
        best = improved[-1][1] if improved else -1.0
        counts = trial.state is State.COMPLETE and trial.role is not Role.CONTROL
        if counts and trial.best and trial.best.f1 > best:
            improved.append((clock.hours(), trial.best.f1))
        on_end()

    objective = list(recorded.settings.objective)
    study = Study.in_memory("simulated", {"objective": objective})
    plan = Plan(
        study,
        _proposer(recorded, study, space, scenario.sampler, seed),
        trainer.footprint,
        study_rungs(recorded.settings.max_epochs, wanted=scenario.rungs and len(objective) == 1),
        scenario.budget,
        seed=seed,
        elapsed_hours=clock.hours,
        watcher=Watcher(on_end=ended),
        drawing=AtOnce(),
    )
    try:
        used = run_virtually(
            plan,
            lambda trial: trainer.steps(
                trial, lambda source: sources.__setitem__(trial.number, source)
            ),
            clock,
            slots=scenario.slots,
            pause_seconds=recorded.pause_seconds,
        )
    finally:
        plan.close()
        study.close()
    return _run(plan, clock, used, sources, improved, seed, scenario.slots)


def _proposer(
    recorded: Recorded, study: Study, space: Space | None, sampler: str, seed: int
) -> Proposes:
    if sampler == REPLAY or space is None:
        return Replayer(recorded)
    tried = {trial.config for trial in recorded.trials}
    controls = tuple(config for config in space.controls if config in tried)
    return Proposer(
        replace(space, controls=controls),
        sampler=sampler,
        seed=seed,
        objective=recorded.settings.objective,
        trials=(),
        values=study.values,
    )


def _run(
    plan: Plan,
    clock: VirtualClock,
    used: Occupation,
    sources: dict[int, Source],
    improved: Sequence[tuple[float, float]],
    seed: int,
    slots: int,
) -> Run:
    tally, best = plan.study.tally, improved[-1][1] if improved else None
    near = [hours for hours, f1 in improved if best is not None and f1 >= best - NEAR]
    has_card = any(trial.footprint for trial in plan.study.trials)
    counts = Counter(sources.values())
    return Run(
        seed=seed,
        wall_hours=clock.hours(),
        card_hours=tally.card_hours if has_card else None,
        best_f1=best,
        hours_to_best=near[0] if near else None,
        busy_share=used.busy_seconds / (slots * clock.seconds) if clock.seconds else 0.0,
        states={state: tally.states[state] for state in State if tally.states[state]},
        curves={source: counts[source] for source in Source},
        over=plan.over,
    )
