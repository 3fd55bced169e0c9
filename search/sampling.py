"""What to try next: Optuna's samplers over a view of the study that is made for them.

The view is an Optuna study in memory. A proposal can be thrown away there without a record, which
keeps duplicates out of the real study; and what a sampler must not take for good (infeasible and
failed trials, controls) is told to it in the form that it reads rightly. The sampler's randomness
depends on (study seed, trial number, try) alone, so a resumed study does not repeat itself.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, cast

import optuna
from optuna.samplers import (
    BaseSampler,
    CmaEsSampler,
    GPSampler,
    NSGAIISampler,
    RandomSampler,
)
from optuna.study import StudyDirection
from optuna.trial import BaseTrial, FrozenTrial, TrialState, create_trial

from ..spaces.catalogue import Space
from ..spaces.configs import Config
from ..spaces.ranges import config_problems
from ..spaces.record import EXCESS_CONSTRAINT, Footprint, Replicate, Role, State
from ..spaces.seeds import derive_seed
from ..stores import SharingStorage
from .fits import Fits
from .fitting_tpe import FittingTPE
from .study import OBJECTIVES, Trial
from .telling import of_a_space

SAMPLERS = ("tpe", "random", "gp", "cmaes", "nsga2")
LEARNS_WHAT_FITS = "tpe"
STARTUP_TRIALS = 10  # random proposals before TPE trusts its model
POPULATION = 20  # of NSGA-II: small, because small studies are the rule here
TRIES = 10  # proposals of the sampler for one trial: it may insist on what it knows
# Then at random, before the space is held for exhausted: of 100 configs the last one is missed in
# 1 of 150 searches, and of 18 never.
RANDOM_TRIES = 500
# A TPE's view of a study: at this many trials it is cut, to half as many that ended, the best and
# the latest, and the latest of those that run. It works through all of them, those that run told
# as bad ones; its idea of good are the 25 best.
VIEW_TRIALS = 300
VIEW_BEST = 100
VIEW_RUNNING = 50
# So many results, or so many trials that run, let a TPE draw for one proposal more before it looks
# again: what it then does not see is a hundredth of what it knows, or a twentieth of what nobody
# does.
RESULTS_A_PROPOSAL = 100
RUNNING_A_PROPOSAL = 20
MOST_PROPOSALS = 32
_SHOWN_CHARACTERS = 200  # of what a space's own error says


class SpaceError(ValueError):
    """The space cannot be searched as asked."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """A config that no trial has had, with what the sampler knows about it."""

    config: Config
    role: Role
    sampled: FrozenTrial  # parameters, distributions and the sampler's notes
    live: optuna.Trial | None  # in the view; None for a control, which the sampler never sees
    replicate: Replicate | None = None  # in a confirmation: what is trained again
    seed: int | None = None  # of the trial; None: it follows from the trial's number
    footprint: Callable[[Config], Footprint | None] | None = None  # its own; None: the study's


def make_sampler(
    name: str, seed: int, space: Space, fits: Fits, *, proposals: int = 1
) -> BaseSampler:
    """A sampler of this name, fresh: its only state is the seed, the view and what fits.

    A TPE may be asked for so many proposals, the others for any number.
    """
    seed %= 2**32
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        match name:
            case "tpe":
                return FittingTPE(
                    space.suggest,
                    fits,
                    proposals=proposals,
                    n_startup_trials=STARTUP_TRIALS,
                    group=True,
                    seed=seed,
                )
            case "random":
                return RandomSampler(seed=seed)
            case "gp":
                return GPSampler(seed=seed, n_startup_trials=STARTUP_TRIALS)
            case "cmaes":
                return CmaEsSampler(
                    seed=seed, n_startup_trials=STARTUP_TRIALS, warn_independent_sampling=False
                )
            case "nsga2":
                return NSGAIISampler(seed=seed, population_size=POPULATION)
    raise SpaceError(f"a sampler is one of {list(SAMPLERS)}; got {name!r}")


def suggest(space: Space, trial: BaseTrial) -> Config:
    """The space's config for this trial.

    Raises:
        SpaceError: the space's own function failed, or returned something else.
    """
    try:
        config = space.suggest(trial)
    except (Exception, SystemExit) as error:  # a user's own code may do anything
        raise SpaceError(f"the space {space.name!r} failed: {of_a_space(error)}") from error
    if not isinstance(config, Config):
        raise SpaceError(
            f"the space {space.name!r} must return a config of headhunt.spaces.configs; "
            f"got {type(config).__name__}"
        )
    if problems := config_problems(config):
        raise SpaceError(
            f"the space {space.name!r} proposes what no trial can run with: {'; '.join(problems)}"
        )
    return config


class Proposes(Protocol):
    """What a plan wants of a proposer, and tells it."""

    def propose(self, number: int, is_known: Callable[[Config], bool]) -> Proposal | None:
        """A config for trial `number` that `is_known` does not know; None where none is left."""
        ...

    def accept(self, proposal: Proposal, trial: Trial) -> None:
        """The proposal has become this trial."""

    def refuse(self, proposal: Proposal, footprint: Footprint) -> None:
        """The card cannot hold it."""

    def settle(self, trial: Trial) -> None:
        """How a trial that ran has ended."""


class Proposer:
    """Proposes configs: controls, references, what is asked for, then what the sampler says."""

    def __init__(
        self,
        space: Space,
        *,
        sampler: str,
        seed: int,
        objective: Sequence[str],
        trials: Sequence[Trial],
        values: Callable[[Trial], list[float]],
    ) -> None:
        self._space, self._sampler, self._seed = space, sampler, seed
        self._single, self._values = len(objective) == 1, values
        self._directions = [OBJECTIVES[name] for name in objective]
        self._view = self._new_view()
        self._live: dict[int, Proposal] = {}  # trial number -> what runs
        self._fits = Fits()
        self._results = 0  # trials that ended, which the sampler was told of
        self._tpe: FittingTPE | None = None  # the latest; it may have candidates left
        roles = [trial.role for trial in trials]
        known = {trial.config for trial in trials}
        self._controls = [c for c in space.controls if c not in known]
        self._references = list(space.references[roles.count(Role.REFERENCE) :])
        self._asked = list(space.asked[sum(map(_was_asked, trials)) :])
        for trial in trials:
            self._restore(trial)

    def propose(self, number: int, is_known: Callable[[Config], bool]) -> Proposal | None:
        """A config for trial `number` that `is_known` does not know; None where none is left.

        Raises:
            SpaceError: the space's own function failed.
        """
        self._forget()
        if self._controls:
            empty = create_trial(state=TrialState.RUNNING)
            return Proposal(self._controls.pop(0), Role.CONTROL, empty, None)
        while self._references:
            proposal = self._ask(number, 0, self._sampler, self._references.pop(0))
            if not is_known(proposal.config):
                return replace(proposal, role=Role.REFERENCE)
            self._drop(proposal)
        asked = self._asked.pop(0) if self._asked else None
        for attempt in range(1, TRIES + RANDOM_TRIES + 1):
            sampler, fixed = (self._sampler, asked) if attempt <= TRIES else ("random", None)
            proposal = self._ask(number, attempt, sampler, fixed)
            if not is_known(proposal.config):
                return proposal
            self._drop(proposal)
        return None

    def _forget(self) -> None:
        """Cut the view where it has grown too large; what runs stays, and what failed goes."""
        if self._sampler not in {"tpe", "random"}:
            return  # the others' notes name trials by their numbers, or say of each what it was
        trials = self._view.get_trials(deepcopy=False)
        if len(trials) < VIEW_TRIALS:
            return
        ended = [t for t in trials if t.state in {TrialState.COMPLETE, TrialState.PRUNED}]
        best = self._best([t for t in ended if t.state is TrialState.COMPLETE])
        kept = {t.number for t in [*best, *ended[len(best) - VIEW_TRIALS // 2 :]]}
        running = VIEW_RUNNING
        if self._sampler == "random":  # it looks at none
            kept, running = set[int](), 0
        shown = sorted(n for n, p in self._live.items() if p.live is not None)
        for number in shown[: max(0, len(shown) - running)]:
            self._live[number] = replace(self._live[number], live=None)
        live = {p.live.number: n for n, p in self._live.items() if p.live is not None}
        self._view = self._new_view()
        for trial in trials:
            if trial.number not in kept and trial.number not in live:
                continue
            again = self._show(trial)
            if (number := live.get(trial.number)) is not None:
                self._live[number] = replace(self._live[number], live=again)

    def _new_view(self) -> optuna.Study:
        return optuna.create_study(storage=SharingStorage(), directions=self._directions)

    def _show(self, trial: FrozenTrial) -> optuna.Trial:
        """Put a trial into the view."""
        self._view.add_trial(trial)
        return optuna.Trial(self._view, self._view.get_trials(deepcopy=False)[-1]._trial_id)

    def _best(self, complete: list[FrozenTrial]) -> list[FrozenTrial]:
        """Under two objectives, those that no other one beats, at most as many."""
        if not self._single:
            return self._view.best_trials[:VIEW_BEST] if complete else []
        sign = -1 if self._directions[0] is StudyDirection.MAXIMIZE else 1
        return sorted(complete, key=lambda trial: sign * trial.values[0])[:VIEW_BEST]

    def accept(self, proposal: Proposal, trial: Trial) -> None:
        """The proposal has become this trial."""
        if proposal.live is not None:
            self._live[trial.number] = proposal
            self._learn(proposal, trial.footprint)

    def refuse(self, proposal: Proposal, footprint: Footprint) -> None:
        """The card cannot hold it: learn from it what fits, and leave what is good alone.

        The view has it as failed, which no sampler reads. A TPE that counts refusals keeps away
        from the border, where the best configs often are (decision 8).
        """
        self._drop(proposal)
        if proposal.live is not None:
            self._learn(proposal, footprint)

    def settle(self, trial: Trial) -> None:
        """Tell the sampler how a trial that ran has ended."""
        proposal = self._live.pop(trial.number, None)
        if proposal is None:
            return
        self._results += 1
        if proposal.live is None:  # it ran for so long that the view has forgotten it
            if self._sampler == "random":
                return
            if trial.state in {State.COMPLETE, State.PRUNED}:
                self._view.add_trial(self._as_ended(trial))
                return
            proposal = replace(proposal, live=self._show(_running(trial.sampled)))
        if trial.state is State.INFEASIBLE:
            self._outgrew(proposal, trial)
            return
        live = cast("optuna.Trial", proposal.live)
        if trial.footprint:
            live.set_constraint(EXCESS_CONSTRAINT, trial.footprint.excess_bytes / 2**20)
        match trial.state:
            case State.COMPLETE:
                self._tell(live, values=self._values(trial))
            case State.PRUNED:
                if self._single:
                    for report in trial.reports:
                        live.report(report.f1, report.epoch)
                self._tell(live, state=TrialState.PRUNED)
            case _:
                self._tell(live, state=TrialState.FAIL)

    def _as_ended(self, trial: Trial) -> FrozenTrial:
        """What the view would hold of it now, had it shown it all the time."""
        complete = trial.state is State.COMPLETE
        curve = {} if complete or not self._single else {r.epoch: r.f1 for r in trial.reports}
        last = list(curve.values())[-1:] or None  # as Optuna tells of a pruned one
        excess = trial.footprint.excess_bytes / 2**20 if trial.footprint else None
        return create_trial(
            state=TrialState.COMPLETE if complete else TrialState.PRUNED,
            values=self._values(trial) if complete else last,
            params=trial.sampled.params,
            distributions=trial.sampled.distributions,
            system_attrs=_without_constraints(trial.sampled),
            intermediate_values=curve,
            constraints=None if excess is None else {EXCESS_CONSTRAINT: excess},
        )

    def _outgrew(self, proposal: Proposal, trial: Trial) -> None:
        """It ran out of memory: a refusal, only later; its footprint was too small."""
        measured = trial.outcome.excess_bytes if trial.outcome else None
        excess = max(measured or 0, 1)  # bytes: it was over, known by how much or not
        if trial.footprint:
            needed = trial.footprint.limit_bytes + excess
            self.refuse(proposal, replace(trial.footprint, peak_bytes=needed))
        elif proposal.live is not None:
            # Without a card nothing is known of what fits, so TPE hears of it: pruned, no value.
            proposal.live.set_constraint(EXCESS_CONSTRAINT, excess / 2**20)
            self._tell(proposal.live, state=TrialState.PRUNED)

    def _ask(
        self, number: int, attempt: int, sampler: str, fixed: Mapping[str, Any] | None
    ) -> Proposal:
        self._view.sampler = self._sampler_for(number, attempt, sampler)
        if fixed is not None:
            self._view.enqueue_trial(dict(fixed))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            live = self._view.ask()
            config = suggest(self._space, live)
        return Proposal(
            config, Role.SEARCH, self._view.get_trials(deepcopy=False)[live.number], live
        )

    def _sampler_for(self, number: int, attempt: int, name: str) -> BaseSampler:
        """A fresh one, or the TPE that has drawn for several proposals."""
        if name == "tpe" and self._tpe is not None and self._tpe.left:
            return self._tpe
        seed = derive_seed(self._seed, "sampler", number, attempt)
        by_results = self._results // RESULTS_A_PROPOSAL
        by_running = len(self._live) // RUNNING_A_PROPOSAL
        proposals = min(max(1, by_results, by_running), MOST_PROPOSALS)
        made = make_sampler(name, seed, self._space, self._fits, proposals=proposals)
        self._tpe = made if isinstance(made, FittingTPE) else self._tpe
        return made

    def _learn(self, proposal: Proposal, footprint: Footprint | None) -> None:
        if footprint:
            self._fits.learn(proposal.sampled.params, proposal.sampled.distributions, footprint)

    def _drop(self, proposal: Proposal) -> None:
        if proposal.live is not None:
            self._tell(proposal.live, state=TrialState.FAIL)

    def _tell(self, live: optuna.Trial, **end: Any) -> None:
        with warnings.catch_warnings():  # CMA-ES does not use constraints, and says so each time
            warnings.simplefilter("ignore")
            self._view.tell(live, **end)

    def _restore(self, trial: Trial) -> None:
        """Put a trial of the stored study into the view."""
        if trial.role is Role.CONTROL:
            return
        template = _running(trial.sampled)
        proposal = Proposal(trial.config, trial.role, template, self._show(template))
        needed = trial.footprint
        if trial.state is State.INFEASIBLE and needed and needed.excess_bytes > 0:
            self.refuse(proposal, needed)  # it never ran
            return
        self.accept(proposal, trial)
        if trial.state is not State.RUNNING:
            self.settle(trial)


def _was_asked(trial: Trial) -> bool:
    """Whether the space fixed a part of what the sampler proposed; Optuna notes that."""
    return trial.role is Role.SEARCH and "fixed_params" in trial.sampled.system_attrs


def _running(sampled: FrozenTrial) -> FrozenTrial:
    """The same proposal as one that runs, without what was known of its end."""
    return create_trial(
        state=TrialState.RUNNING,
        params=sampled.params,
        distributions=sampled.distributions,
        system_attrs=_without_constraints(sampled),
    )


def _without_constraints(sampled: FrozenTrial) -> dict[str, Any]:
    """What the sampler noted when it proposed."""
    noted = sampled.system_attrs.items()
    return {key: value for key, value in noted if not key.startswith("constraints")}
