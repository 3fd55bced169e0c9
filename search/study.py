"""A study on disk: the truth about its trials, as an Optuna study in a journal file.

Every trial is here with its config, curve, footprint and honest end. The sampler does not read it
directly (see `sampling`): what may mislead a sampler is decided there, not here. One process holds
a study at a time.
"""

from collections.abc import Mapping
from copy import copy
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock, Timeout
from optuna.storages import JournalStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from ..spaces import record
from ..spaces.configs import Config, config_from_dict, config_hash, config_to_dict
from ..spaces.record import EpochReport, Footprint, Outcome, Role, State, best_report
from ..trainables.files import refuse_link
from ..trainables.training.states import StateFolder
from .journal import JournalFile
from .lock import hold, holder_name
from .tally import Tally

TRIALS_FOLDER = "trials"
LONGEST_NAME = 100  # bytes; file systems take 255
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


class StudyError(ValueError):
    """The study cannot be created, opened or continued; the message says what to do."""


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

    def __init__(self, folder: Path, lock: FileLock) -> None:
        self.folder, self.name = folder, folder.name
        self._lock = lock
        self._journal = JournalFile(folder / record.JOURNAL_NAME)
        self._storage = JournalStorage(self._journal)
        self.trials: list[Trial] = []
        self.tally = Tally()
        self._by_hash: dict[str, int] = {}
        self._id = -1

    @classmethod
    def create(cls, store: Path, name: str, manifest: Mapping[str, Any]) -> "Study":
        """Make a new study.

        Raises:
            StudyError: the name is taken, is no name, or its folder cannot be written.
        """
        folder = _folder(store, name)
        refuse_taken(store, name)
        lock = _hold(folder)
        try:
            refuse_taken(store, name)  # made since, by a process that is gone
            # What a process left that was killed before its manifest was whole is no study.
            (folder / record.JOURNAL_NAME).unlink(missing_ok=True)
            study = cls(folder, lock)
        except BaseException:
            lock.release()
            raise
        directions = [OBJECTIVES[objective] for objective in manifest["objective"]]
        study._id = study._storage.create_new_study(directions, name)
        study._storage.set_study_user_attr(study._id, record.MANIFEST_KEY, dict(manifest))
        study._journal.sync()
        return study

    @classmethod
    def open(cls, store: Path, name: str) -> "Study":
        """Open an existing study to continue it.

        Raises:
            StudyError: there is no such study, its journal is broken, or another process holds it.
        """
        folder = _folder(store, name)
        if not exists(store, name):
            there = ", ".join(names(store)) or "none"
            raise StudyError(f"there is no study {name!r} in {store}; studies there: {there}")
        lock = _hold(folder)
        try:
            study = cls(folder, lock)
            study._id = study._storage.get_study_id_from_name(name)
            for stored in study._storage.get_all_trials(study._id, deepcopy=False):
                study._remember(read_trial(stored))
            study.manifest["objective"]  # which every later line needs
        except record.UNREADABLE as error:
            lock.release()
            raise StudyError(
                f"the journal {folder / record.JOURNAL_NAME} cannot be read: it is broken, or not "
                f"of this study ({type(error).__name__}); restore the file from a copy"
            ) from error
        return study

    def close(self) -> None:
        """Write everything to disk and let others open the study."""
        self._journal.close()
        self._lock.release()

    def set_budget(self, budget: Any) -> None:
        """Remember the budget of the latest run; `budget` is a `plan.Budget`."""
        manifest = {**self.manifest, "budget": asdict(budget)}
        self._storage.set_study_user_attr(self._id, record.MANIFEST_KEY, manifest)

    @property
    def forgotten_at(self) -> str:
        """When its confidential files were removed, in UTC; "" where they may be there."""
        return self.manifest.get(FORGOTTEN, "")

    def set_forgotten(self, when: str) -> None:
        """Remember that its confidential files are removed, or with "" that they are made again."""
        manifest = {key: value for key, value in self.manifest.items() if key != FORGOTTEN}
        manifest |= {FORGOTTEN: when} if when else {}
        self._storage.set_study_user_attr(self._id, record.MANIFEST_KEY, manifest)
        self._journal.sync()

    @property
    def manifest(self) -> dict[str, Any]:
        """What was asked when the study was made."""
        return self._storage.get_study_user_attrs(self._id)[record.MANIFEST_KEY]

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
    ) -> Trial:
        """Record a trial that is about to run, in one write."""
        return self._add(config, sampled, role, seed, footprint, outcome=None)

    def refuse(
        self, config: Config, sampled: FrozenTrial, *, role: Role, seed: int, footprint: Footprint
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
        return self._add(config, sampled, role, seed, footprint, outcome)

    def report(self, number: int, report: EpochReport) -> bool:
        """Record an epoch; False where the study holds it already."""
        trial = self.trials[number]
        if report.epoch <= len(trial.reports):
            return False
        key = f"{record.EPOCH_KEY}{report.epoch}"
        self._storage.set_trial_user_attr(trial.storage_id, key, report.to_dict())
        trial.reports.append(report)
        self.tally.report(trial)
        return True

    def end(self, number: int, outcome: Outcome) -> None:
        """Record how a trial ended. The state is written last: with it, the trial is finished."""
        trial = self.trials[number]
        best = trial.best
        outcome = Outcome(**{**asdict(outcome), "best_epoch": best.epoch if best else 0})
        single = len(self.objective) == 1
        if single and outcome.state in (State.COMPLETE, State.PRUNED):
            for report in trial.reports:
                self._storage.set_trial_intermediate_value(
                    trial.storage_id, report.epoch, report.f1
                )
        if outcome.state is State.INFEASIBLE and outcome.excess_bytes is not None:
            # As measured: it stands in the place of what the model said, which was that it fits.
            excess = outcome.excess_bytes / 2**20
            self._storage.set_trial_system_attr(trial.storage_id, EXCESS_ATTRIBUTE, excess)
        self._storage.set_trial_user_attr(trial.storage_id, record.OUTCOME_KEY, outcome.to_dict())
        self.tally.end(trial, outcome)
        trial.outcome = outcome
        state = _OPTUNA_STATES[outcome.state]
        if not single and trial.footprint is None and state is TrialState.COMPLETE:
            # A baseline has no hours, and Optuna's complete trials have all values: rather than a
            # made-up 0, which would stand on its front, none. The outcome says what it is.
            state = TrialState.PRUNED
        values = self.values(trial) if state is TrialState.COMPLETE else None
        self._storage.set_trial_state_values(trial.storage_id, state, values)

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
        outcome: Outcome | None,
    ) -> Trial:
        attributes: dict[str, Any] = {
            record.CONFIG_KEY: config_to_dict(config),
            record.CONFIG_HASH_KEY: config_hash(config),
            record.ROLE_KEY: role.value,
            record.FAMILY_KEY: config.family,
            record.SEED_KEY: seed,
            record.FOOTPRINT_KEY: asdict(footprint) if footprint else None,
        }
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
        storage_id = self._storage.create_new_trial(self._id, template)
        number = self._storage.get_trial_number_from_id(storage_id)
        trial = Trial(
            number=number,
            config=config,
            config_hash=attributes[record.CONFIG_HASH_KEY],
            role=role,
            seed=seed,
            footprint=footprint,
            sampled=template,
            outcome=outcome,
            storage_id=storage_id,
        )
        self._remember(trial)
        return trial

    def _remember(self, trial: Trial) -> None:
        self.trials.append(trial)
        self.tally.add(trial)
        self._by_hash[trial.config_hash] = trial.number


def exists(store: Path, name: str) -> bool:
    """Whether the store has a study of this name: its first two lines make it and say what it is.

    Raises:
        StudyError: it is no name.
    """
    return _is_study(_folder(store, name))


def refuse_taken(store: Path, name: str) -> None:
    """Refuse a name for a new study.

    Raises:
        StudyError: the name is taken, or is no name.
    """
    if exists(store, name):
        raise StudyError(
            f"the study {name!r} exists in {store}: continue it with --resume, or choose "
            "another --study name"
        )


def names(store: Path) -> list[str]:
    """The studies of a store."""
    return sorted(
        p.parent.name for p in store.glob(f"*/{record.JOURNAL_NAME}") if _is_study(p.parent)
    )


def _is_study(folder: Path) -> bool:
    try:
        with (folder / record.JOURNAL_NAME).open("rb") as journal:
            return sum(line.endswith(b"\n") for line in islice(journal, 2)) == 2
    except OSError:
        return False


def _folder(store: Path, name: str) -> Path:
    bad = not name.isprintable() or name != name.strip() or any(c in name for c in "/\\")
    if (
        bad
        or not name
        or name.startswith((".", "-"))
        or len(name.encode(errors="replace")) > LONGEST_NAME
    ):
        raise StudyError(
            "a study's name becomes a folder: no slashes, nothing that cannot be printed, no white "
            "space around it, not beginning with '.' or '-', and at most "
            f"{LONGEST_NAME} bytes; got {name!r}"
        )
    return store / name


def _hold(folder: Path) -> FileLock:
    try:
        for place in (folder, *folder.glob("*"), *folder.glob(f"{TRIALS_FOLDER}/*")):
            refuse_link(place)
        return hold(folder)
    except Timeout as error:
        raise StudyError(
            f"the study {folder.name!r} is being searched by {holder_name(folder)}: wait for it, "
            "or end it and use --resume"
        ) from error
    except OSError as error:
        raise StudyError(f"the store {folder.parent} cannot be written: {error}") from error


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
    """A trial as its journal has it."""
    attributes = stored.user_attrs
    footprint, outcome = attributes[record.FOOTPRINT_KEY], attributes.get(record.OUTCOME_KEY)
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
        reports=[
            EpochReport(**attributes[f"{record.EPOCH_KEY}{epoch}"])
            for epoch in range(1, epochs + 1)
        ],
        outcome=Outcome(**{**outcome, "state": State(outcome["state"])}) if outcome else None,
        storage_id=stored._trial_id,
    )


optuna.logging.set_verbosity(optuna.logging.WARNING)
