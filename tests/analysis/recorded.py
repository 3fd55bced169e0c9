"""Writes a study through plain Optuna, the way a search leaves one behind, for the tests."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from headhunt.spaces.configs import (
    BaselineConfig,
    Config,
    HeadConfig,
    ScratchConfig,
    config_hash,
    config_to_dict,
)
from headhunt.spaces.heads import AdapterHead
from headhunt.spaces.record import (
    CONFIG_HASH_KEY,
    CONFIG_KEY,
    EPOCH_KEY,
    FAMILY_KEY,
    FOOTPRINT_KEY,
    JOURNAL_NAME,
    MANIFEST_KEY,
    OUTCOME_KEY,
    ROLE_KEY,
    SEED_KEY,
    EpochReport,
    Footprint,
    Outcome,
    Role,
    State,
)

MIB = 2**20
P620 = {"name": "Quadro P620", "memory_bytes": 2048 * MIB, "watts": 40.0}
ADAPTER = HeadConfig(backbone="almanach/camembert-bio-base", head=AdapterHead())
TRANSFORMER = ScratchConfig()
TFIDF = BaselineConfig()
OPTUNA_STATES = {
    State.RUNNING: None,
    State.COMPLETE: TrialState.COMPLETE,
    State.PRUNED: TrialState.PRUNED,
    State.INFEASIBLE: TrialState.PRUNED,
    State.FAILED: TrialState.FAIL,
}


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """One trial to write; its curve is `f1`, an epoch each, of a minute each."""

    f1: Sequence[float] = (0.8,)
    state: State = State.COMPLETE
    reason: str = ""
    config: Config = ADAPTER
    role: Role = Role.SEARCH
    epoch_seconds: float | None = 3600.0  # on the card; None: no footprint
    encoding_seconds: float = 0.0
    peak_mib: int = 500
    device_fraction: float = 0.0
    excess_bytes: int | None = None  # as measured
    measured: bool = True  # memory and energy
    best_epoch: int | None = None  # None: the first with the largest F1


def control(f1: float, **changes: Any) -> Recorded:
    """A complete baseline."""
    return Recorded(f1=(f1,), config=TFIDF, role=Role.CONTROL, epoch_seconds=None, **changes)


def record(
    store: Path,
    trials: Iterable[Recorded],
    *,
    study: str = "lab",
    manifest: Mapping[str, Any] | None = None,
    card: Mapping[str, Any] | None = P620,
) -> Path:
    """Write a study of these trials into the store; returns its journal."""
    folder = store / study
    folder.mkdir(parents=True)
    journal = folder / JOURNAL_NAME
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    stored = optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(journal))),
        study_name=study,
        direction="maximize",
    )
    optuna.logging.set_verbosity(verbosity)
    told = {"study": study, "card": card, "corpus": {"digest": "d0", "classes": ["None", "NA"]}}
    stored.set_user_attr(MANIFEST_KEY, {**told, **(manifest or {})})
    for trial in trials:
        _write(stored, trial)
    return journal


def _write(study: optuna.Study, recorded: Recorded) -> None:
    trial = study.ask()
    footprint = recorded.epoch_seconds is not None and Footprint(
        peak_bytes=recorded.peak_mib * MIB,
        limit_bytes=1748 * MIB,
        trainable_parameters=100_000,
        total_parameters=110_000_000,
        step_flops=5 * 10**11,
        step_bytes=10**9,
        epoch_seconds=recorded.epoch_seconds,
        encoding_seconds=recorded.encoding_seconds,
    )
    for key, value in {
        CONFIG_KEY: config_to_dict(recorded.config),
        CONFIG_HASH_KEY: config_hash(recorded.config),
        ROLE_KEY: recorded.role,
        FAMILY_KEY: recorded.config.family,
        SEED_KEY: 2**63 - 1 - trial.number,
        FOOTPRINT_KEY: asdict(footprint) if footprint else None,
    }.items():
        trial.set_user_attr(key, value)
    curve = recorded.f1 if recorded.state is not State.INFEASIBLE else ()
    for epoch, f1 in enumerate(curve, start=1):
        trial.set_user_attr(f"{EPOCH_KEY}{epoch}", _report(epoch, f1, recorded.measured).to_dict())
    optuna_state = OPTUNA_STATES[recorded.state]
    if optuna_state is None:
        return
    best = max(range(len(curve)), key=lambda e: (curve[e], -e), default=-1) + 1
    outcome = Outcome(
        state=recorded.state,
        reason=recorded.reason,
        best_epoch=best if recorded.best_epoch is None else recorded.best_epoch,
        device="cpu",
        device_fraction=recorded.device_fraction,
        excess_bytes=recorded.excess_bytes,
    )
    trial.set_user_attr(OUTCOME_KEY, outcome.to_dict())
    complete = optuna_state is TrialState.COMPLETE
    # Optuna refuses a value that is not a number; what a trial is worth stands in its epochs.
    value = [f if f == f else 0.0 for f in [curve[best - 1]]] if complete else None
    study.tell(trial, values=value, state=optuna_state, skip_if_finished=False)


def _report(epoch: int, f1: float, measured: bool) -> EpochReport:
    return EpochReport(
        epoch=epoch,
        f1=f1,
        accuracy=min(1.0, f1 + 0.05),
        precision=f1,
        recall=f1,
        validation_loss=1 - f1,
        train_loss=0.5,
        wall_seconds=60.0,
        cpu_seconds=90.0,
        peak_bytes=300 * MIB if measured else None,
        reserved_bytes=320 * MIB if measured else None,
        energy_joules=7200.0 if measured else None,
    )
