"""A study: the truth about its trials, as an Optuna study in a store.

Every trial is here with its config, curve, footprint and honest end. The sampler does not read it
directly (see `sampling`): what may mislead a sampler is decided there, not here. Where studies are,
and how one process alone holds one, is the store's.
"""

from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from math import isfinite
from pathlib import Path
from typing import Any, TypeVar

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from ..spaces import record
from ..spaces.configs import Config, config_from_dict, config_hash, config_to_dict
from ..spaces.record import (
    EpochReport,
    Footprint,
    Outcome,
    Replicate,
    Role,
    State,
    best_report,
)
from ..stores import Held, HeldInMemory, Place, reading, store_at
from ..trainables.training.states import StateFolder
from .tally import Tally

T = TypeVar("T")
TRIALS_FOLDER = "trials"
OBJECTIVES = {"f1": StudyDirection.MAXIMIZE, "card-hours": StudyDirection.MINIMIZE}
FORGOTTEN = "forgotten_at"  # in the manifest
PICKLED_NOTES = ("cma:", "sepcma:", "cmawm:")  # how the keys of CMA-ES's notes begin
# Where Optuna keeps a constraint. Its own method does not change one that is set.
EXCESS_ATTRIBUTE = f"constraints:{record.EXCESS_CONSTRAINT}"
_OPTUNA_STATES = {
    State.COMPLETE: TrialState.COMPLETE,
    State.PRUNED: TrialState.PRUNED,
    State.INFEASIBLE: TrialState.PRUNED,
    State.FAILED: TrialState.FAIL,
}


@dataclass(slots=True)
class Trial:
    """One trial as the study holds it."""

    number: int
    config: Config
    config_hash: str
    role: Role
    seed: int
    footprint: Footprint | None
    sampled: FrozenTrial  # parameters and distributions as the sampler knows them
    replicate: Replicate | None = None  # of a confirmation: what it repeats
    reports: list[EpochReport] = field(default_factory=list)
    outcome: Outcome | None = None
    storage_id: int = -1

    @property
    def state(self) -> State:
        """Running until its outcome is known."""
        return self.outcome.state if self.outcome else State.RUNNING

    @property
    def best(self) -> EpochReport | None:
        """The epoch of the score."""
        return best_report(self.reports)

    @property
    def best_epoch(self) -> int:
        """Whose weights count: the last one where their number was fixed; 0 before the first."""
        if self.replicate and self.replicate.epochs:
            return len(self.reports)
        return self.best.epoch if self.best else 0

    @property
    def card_hours(self) -> float:
        """Modelled hours of all epochs paid, encoding included; 0 where nothing is modelled."""
        return self.footprint.card_hours(len(self.reports)) if self.footprint else 0.0

    @property
    def gpu_hours(self) -> float:
        """Measured hours of the share of a GPU that it held; 0 without one."""
        return self.gpu_hours_on(self.outcome.device_fraction if self.outcome else None)

    def gpu_hours_on(self, share: float | None) -> float:
        """Measured hours, had it held this share of a GPU."""
        return (share or 0.0) * sum(r.wall_seconds for r in self.reports) / 3600


class Study:
    """An open study: its trials in memory, every change written before it is acted on."""

    def __init__(self, name: str, held: Held, manifest: Mapping[str, Any]) -> None:
        self.name, self.manifest = name, dict(manifest)  # what was asked when it was made
        self._held, self._storage = held, held.storage
        self.trials: list[Trial] = []
        self.tally = Tally()
        self._by_hash: dict[str, int] = {}

    @classmethod
    def create(cls, store: Place, name: str, manifest: Mapping[str, Any]) -> "Study":
        """Make a new study.

        Raises:
            StoreError: the name is taken or is no name, or the store cannot be written.
        """
        return cls(name, store_at(store).create(name, _directions(manifest), manifest), manifest)

    @classmethod
    def in_memory(cls, name: str, manifest: Mapping[str, Any]) -> "Study":
        """Make a study that is gone with this process, and has no folder."""
        return cls(name, HeldInMemory(name, _directions(manifest)), manifest)

    @classmethod
    def open(cls, store: Place, name: str) -> "Study":
        """Open an existing study to continue it.

        Raises:
            StoreError: there is no such study, it is broken, or another process holds it.
        """
        held = store_at(store).open(name)
        try:
            stored = held.read(name)
            with reading(stored.place):
                study = cls(name, held, stored.manifest)
                for trial in stored.trials:
                    study._remember(read_trial(trial))
                study.manifest["objective"]  # which every later line needs
        except BaseException:
            held.close()
            raise
        return study

    def close(self) -> None:
        """Let others open the study."""
        self._held.close()

    @property
    def folder(self) -> Path:
        """On this machine: checkpoints and weights."""
        return self._held.folder

    @property
    def work(self) -> Path:
        """The store's folder on this machine, in which this study's lies."""
        return self._held.work

    @property
    def own_name(self) -> str:
        """Of its folder in that one: no other study of the store has it."""
        return self.folder.relative_to(self.work).as_posix()

    def set_manifest(self, **changes: Any) -> None:
        """Change what it was asked, of which a confirmation may be asked for more."""
        self._set_manifest({**self.manifest, **changes})

    def on_outage(self, tell: Callable[[str], None]) -> None:
        """Whom to tell that the store does not answer, and is waited for."""
        self._held.on_outage = tell

    def set_budget(self, budget: Any) -> None:
        """Remember the budget of the latest run; `budget` is a `plan.Budget`."""
        self._set_manifest({**self.manifest, "budget": asdict(budget)})

    @property
    def forgotten_at(self) -> str:
        """When its confidential files were removed, in UTC; "" where they may be there."""
        return self.manifest.get(FORGOTTEN, "")

    def set_forgotten(self, when: str) -> None:
        """Remember that its confidential files are removed, or with "" that they are made again."""
        manifest = {key: value for key, value in self.manifest.items() if key != FORGOTTEN}
        self._set_manifest(manifest | ({FORGOTTEN: when} if when else {}))
        self._held.sync()

    def _set_manifest(self, manifest: dict[str, Any]) -> None:
        self._write(
            lambda: self._storage.set_study_user_attr(
                self._held.study_id, record.MANIFEST_KEY, manifest
            )
        )
        self.manifest = manifest

    def holds(self, config: Config) -> bool:
        """Whether a trial of this config exists, whatever became of it."""
        return config_hash(config) in self._by_hash

    def start(
        self,
        config: Config,
        sampled: FrozenTrial,
        *,
        role: Role,
        seed: int,
        footprint: Footprint | None,
        replicate: Replicate | None = None,
    ) -> Trial:
        """Record a trial that is about to run, in one write."""
        return self._add(config, sampled, role, seed, footprint, replicate, outcome=None)

    def refuse(
        self,
        config: Config,
        sampled: FrozenTrial,
        *,
        role: Role,
        seed: int,
        footprint: Footprint,
        replicate: Replicate | None = None,
    ) -> Trial:
        """Record a config that the card could not hold: its excess, and no score."""
        excess, limit = footprint.excess_bytes / 2**20, footprint.limit_bytes / 2**20
        encodes = footprint.encoding_bytes + footprint.workspace_bytes == footprint.peak_bytes
        what = " to encode the notes with its backbone" if encodes else ""
        outcome = Outcome(
            state=State.INFEASIBLE,
            reason=f"needs {footprint.peak_bytes / 2**20:.0f} MiB{what}, {excess:.0f} MiB more "
            f"than the {limit:.0f} MiB that the card leaves",
        )
        return self._add(config, sampled, role, seed, footprint, replicate, outcome)

    def report(self, number: int, report: EpochReport) -> bool:
        """Record an epoch; False where the study holds it already."""
        trial = self.trials[number]
        if report.epoch <= len(trial.reports):
            return False
        key = f"{record.EPOCH_KEY}{report.epoch}"
        self._write(
            lambda: self._storage.set_trial_user_attr(trial.storage_id, key, report.to_dict())
        )
        trial.reports.append(report)
        self.tally.report(trial)
        return True

    def end(self, number: int, outcome: Outcome) -> None:
        """Record how a trial ended. The state is written last: with it, the trial is finished."""
        trial = self.trials[number]
        outcome = replace(outcome, best_epoch=trial.best_epoch)
        self._write(
            lambda: self._write_end(trial, outcome),
            found=lambda: self._storage.get_trial(trial.storage_id).state.is_finished() or None,
        )
        self.tally.end(trial, outcome)
        trial.outcome = outcome

    def _write_end(self, trial: Trial, outcome: Outcome) -> bool:
        """Write how it ended; true, as the store says of one that has."""
        single = len(self.objective) == 1
        if single and outcome.state in (State.COMPLETE, State.PRUNED):
            for report in trial.reports:
                if isfinite(report.f1):
                    self._storage.set_trial_intermediate_value(
                        trial.storage_id, report.epoch, report.f1
                    )
        if outcome.state is State.INFEASIBLE and outcome.excess_bytes is not None:
            # As measured: it stands in the place of what the model said, which was that it fits.
            excess = outcome.excess_bytes / 2**20
            self._storage.set_trial_system_attr(trial.storage_id, EXCESS_ATTRIBUTE, excess)
        self._storage.set_trial_user_attr(trial.storage_id, record.OUTCOME_KEY, outcome.to_dict())
        state = _OPTUNA_STATES[outcome.state]
        if not single and trial.footprint is None and state is TrialState.COMPLETE:
            # A baseline has no hours, and Optuna's complete trials have all values: rather than a
            # made-up 0, which would stand on its front, none. The outcome says what it is.
            state = TrialState.PRUNED
        values = self.values(trial) if state is TrialState.COMPLETE else None
        if values and outcome.test:
            values = [outcome.test.f1]
        return self._storage.set_trial_state_values(trial.storage_id, state, values)

    def _write(self, change: Callable[[], T], found: Callable[[], T | None] = lambda: None) -> T:
        return self._held.write(change, found=found)

    @cached_property
    def objective(self) -> list[str]:
        """The objectives by name; they never change."""
        return list(self.manifest["objective"])

    def values(self, trial: Trial) -> list[float]:
        """The trial's objective values."""
        score = trial.best.f1 if trial.best else float("nan")
        known = {"f1": score, "card-hours": trial.card_hours}
        return [known[objective] for objective in self.objective]

    def card_hours(self) -> float:
        """Modelled hours spent: every epoch paid, and each backbone's encoding once."""
        return self.tally.card_hours

    @property
    def states(self) -> StateFolder:
        """Where the trials' checkpoints and weights lie."""
        return StateFolder(self.folder.resolve() / TRIALS_FOLDER)

    def _add(
        self,
        config: Config,
        sampled: FrozenTrial,
        role: Role,
        seed: int,
        footprint: Footprint | None,
        replicate: Replicate | None,
        outcome: Outcome | None,
    ) -> Trial:
        attributes: dict[str, Any] = {
            record.CONFIG_KEY: config_to_dict(config),
            record.CONFIG_HASH_KEY: config_hash(config),
            record.ROLE_KEY: role.value,
            record.FAMILY_KEY: config.family,
            record.SEED_KEY: seed,
            record.FOOTPRINT_KEY: record.flat(footprint) if footprint else None,
        }
        if replicate:
            attributes[record.REPLICATE_KEY] = replicate.to_dict()
        system = _portable(sampled.system_attrs)
        if outcome:
            attributes[record.OUTCOME_KEY] = outcome.to_dict()
        template = create_trial(
            state=TrialState.PRUNED if outcome else TrialState.RUNNING,
            params=sampled.params,
            distributions=sampled.distributions,
            user_attrs=attributes,
            system_attrs=system,
            constraints=(
                {record.EXCESS_CONSTRAINT: footprint.excess_bytes / 2**20} if footprint else None
            ),
        )
        number = len(self.trials)
        storage_id = self._write(
            lambda: self._storage.create_new_trial(self._held.study_id, template),
            found=lambda: self._stored_as(number),
        )
        trial = Trial(
            number=number,
            config=config,
            config_hash=attributes[record.CONFIG_HASH_KEY],
            role=role,
            seed=seed,
            footprint=footprint,
            sampled=template,
            replicate=replicate,
            outcome=outcome,
            storage_id=storage_id,
        )
        self._remember(trial)
        return trial

    def _stored_as(self, number: int) -> int | None:
        """The storage's own number of a trial; None where it has none such."""
        trials = self._storage.get_all_trials(self._held.study_id, deepcopy=False)
        return next((trial._trial_id for trial in trials if trial.number == number), None)

    def _remember(self, trial: Trial) -> None:
        self.trials.append(trial)
        self.tally.add(trial)
        self._by_hash[trial.config_hash] = trial.number


def _directions(manifest: Mapping[str, Any]) -> list[StudyDirection]:
    return [OBJECTIVES[objective] for objective in manifest["objective"]]


def _portable(system: Mapping[str, Any]) -> dict[str, Any]:
    """The sampler's own notes, less CMA-ES's, which are pickled: a study is data alone.

    They are left out where a study is written, and again where it is read, for it may have come
    from elsewhere.
    """
    left_out = (*PICKLED_NOTES, "constraints")
    return {key: value for key, value in system.items() if not key.startswith(left_out)}


def without_pickles(stored: FrozenTrial) -> FrozenTrial:
    """The stored trial without what a sampler would unpickle."""
    kept = {k: v for k, v in stored.system_attrs.items() if not k.startswith(PICKLED_NOTES)}
    if len(kept) == len(stored.system_attrs):
        return stored
    harmless = copy(stored)  # the storage's own stays as it is
    harmless.system_attrs = kept
    return harmless


def read_trial(stored: FrozenTrial) -> Trial:
    """A trial as its store has it."""
    attributes = stored.user_attrs
    footprint, outcome = attributes[record.FOOTPRINT_KEY], attributes.get(record.OUTCOME_KEY)
    replicate = attributes.get(record.REPLICATE_KEY)
    epochs = sum(key.startswith(record.EPOCH_KEY) for key in attributes)
    if outcome is not None and not stored.state.is_finished():
        outcome = None  # killed between the two writes of its end: it is ended again
    return Trial(
        number=stored.number,
        config=config_from_dict(attributes[record.CONFIG_KEY]),
        config_hash=attributes[record.CONFIG_HASH_KEY],
        role=Role(attributes[record.ROLE_KEY]),
        seed=attributes[record.SEED_KEY],
        footprint=Footprint(**footprint) if footprint else None,
        sampled=without_pickles(stored),
        replicate=Replicate(**replicate) if replicate else None,
        reports=[
            EpochReport(**attributes[f"{record.EPOCH_KEY}{epoch}"])
            for epoch in range(1, epochs + 1)
        ],
        outcome=Outcome.from_dict(outcome) if outcome else None,
        storage_id=stored._trial_id,
    )


optuna.logging.set_verbosity(optuna.logging.WARNING)
