"""A study as pandas frames: one row a trial, or one row a trial and epoch.

What a trial did not have is missing, never 0: no hours without a card, no score without an end that
earned one. What each column means stands in `frame.attrs["columns"]`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from datetime import UTC, datetime
from math import isfinite
from typing import Any

import pandas as pd
from optuna.trial import FrozenTrial

from ..spaces.configs import BaselineConfig, Optimisation
from ..spaces.finetune import TRAINED_MODES
from ..spaces.record import (
    COLUMNS,
    CONFIG_HASH_KEY,
    CONFIG_KEY,
    CONFIRMS_KEY,
    EPOCH_KEY,
    FAMILY_KEY,
    FOOTPRINT_KEY,
    OUTCOME_KEY,
    ROLE_KEY,
    SEED_KEY,
    UNSCORED,
    Column,
    Footprint,
    State,
)
from ..stores import Place, Store, StoredStudy, reading, store_at
from .bundle_file import Bundle, is_bundle, read_bundle
from .columns import (
    CURVE_COLUMNS,
    DTYPES,
    NOT_PARAMETERS,
    UNREAD,
    described,
    parameter_dtypes,
)
from .several import called, in_order, joined
from .shareable import CURVES, TRIALS
from .snapshot import Snapshot

MIB = 2**20
GIGA = 10**9
KILO = 1000
SECONDS_PER_HOUR = 3600
JOULES_PER_KWH = 3_600_000

# Column here, key in an epoch's report.
METRICS = {
    "f1": "f1",
    "accuracy": "accuracy",
    "precision": "precision",
    "recall": "recall",
    "validation_loss_nats": "validation_loss",
    "train_loss_nats": "train_loss",
}

Row = dict[str, Any]


def trials(study: str | Sequence[str], *, store: Place | None = None) -> pd.DataFrame:
    """One row a trial, in the order of their numbers: the record's columns, then the parameters.

    A complete trial has the metrics of its best epoch, a pruned or running one those of its best so
    far, a failed or infeasible one none. Hours and seconds are those of all epochs paid.
    `attrs["columns"]` describes the columns; `attrs["manifest"]` is what the study was asked, and
    for several studies `attrs["manifests"]` has it by study.

    Args:
        study: a study's name, or a bundle's file (`NAME.headhunt.zip`); or several of both: then a
            column `study` comes first. A bundle is called by its study there, or by its file where
            another one has that name.
        store: folder of the studies, or the address of a database, postgresql://...; HEADHUNT_STORE
            or `headhunt-studies` when not given.

    Raises:
        StudyNotFoundError: the store has no such study.
        StudyUnreadableError: what the store has of it is broken, or something else has written it.
        BundleError: a file is no bundle that can be read, or the same as another one.
        StoreError: the store cannot be reached, or its address is none.
    """
    return _loaded(study, store, TRIALS, COLUMNS)


def curves(study: str | Sequence[str], *, store: Place | None = None) -> pd.DataFrame:
    """One row a trial and epoch, failed and pruned trials' epochs included.

    Args and errors are those of `trials`.
    """
    return _loaded(study, store, CURVES, CURVE_COLUMNS)


def frames_in(stored: StoredStudy) -> dict[str, pd.DataFrame]:
    """Trials and curves of a study at one moment, by the names of their tables."""
    with reading(stored.place):
        return {kind: frame_of(stored) for kind, frame_of in _FRAMES.items()}


def _loaded(
    study: str | Sequence[str], store: Place | None, kind: str, columns: Sequence[Column]
) -> pd.DataFrame:
    """One study's frame, or several studies' joined in one."""
    place = store_at(store)
    if isinstance(study, str):
        return _bundled(study, kind)[1] if is_bundle(study) else _loaded_one(place, study, kind)
    sources = list(dict.fromkeys(study))
    bundled = {source: _bundled(source, kind) for source in sources if is_bundle(source)}
    names = called(sources, {source: bundle for source, (bundle, _) in bundled.items()})
    frames = {
        names[source]: bundled[source][1] if source in bundled else _loaded_one(place, source, kind)
        for source in sources
    }
    return joined(frames, columns)


def _bundled(file: str, kind: str) -> tuple[Bundle, pd.DataFrame]:
    bundle = read_bundle(file, (kind,))
    frame = bundle.tables[kind]
    frame.attrs["manifest"] = bundle.manifest
    return bundle, frame


def _loaded_one(place: Store, name: str, kind: str) -> pd.DataFrame:
    """From its snapshot, or from the store."""
    snapshot = Snapshot(place, name, kind)
    frame = snapshot.load()
    if frame is not None:
        return frame
    stored = place.read(name)
    with reading(stored.place):
        frame = _FRAMES[kind](stored)
        states = [_state(trial) for trial in stored.trials]
    snapshot.keep(frame, pd.Series(states, dtype="string"))
    return frame


def _trials_frame(stored: StoredStudy) -> pd.DataFrame:
    rows = [_trial_row(trial, _watts(stored.manifest)) for trial in stored.trials]
    found = {name for trial in stored.trials for name in _parameters(trial)}
    names = [c.name for c in COLUMNS] + in_order(found)
    return _framed(rows, names, COLUMNS, stored)


def _curves_frame(stored: StoredStudy) -> pd.DataFrame:
    rows = [row for trial in stored.trials for row in _curve_rows(trial)]
    return _framed(rows, [c.name for c in CURVE_COLUMNS], CURVE_COLUMNS, stored)


_FRAMES = {TRIALS: _trials_frame, CURVES: _curves_frame}


def _watts(manifest: Mapping[str, Any]) -> float | None:
    """Of the study's card; None without one."""
    return (manifest.get("card") or {}).get("watts")


def _trial_row(trial: FrozenTrial, watts: float | None) -> Row:
    attributes = trial.user_attrs
    config = attributes.get(CONFIG_KEY) or {}
    outcome = attributes.get(OUTCOME_KEY) or {}
    state = _state(trial)
    epochs = _epochs(trial)
    footprint, excess_bytes = _footprint(trial), outcome.get("excess_bytes")
    return {
        "trial": trial.number,
        "state": state,
        "reason": outcome.get("reason") or None,
        "role": attributes.get(ROLE_KEY),
        "family": attributes.get(FAMILY_KEY),
        "model": _model(config),
        "backbone": config.get("backbone"),
        "mode": config.get("mode"),
        **({} if state in UNSCORED else _best(epochs, outcome.get("best_epoch", 0))),
        "epochs": len(epochs),
        **_cost(config, epochs, outcome.get("device_fraction")),
        **_need(footprint, len(epochs), watts),
        **_measured(epochs, footprint, excess_bytes),
        **_sizes(outcome),
        "device": outcome.get("device"),
        "config_hash": attributes.get(CONFIG_HASH_KEY),
        "seed": attributes.get(SEED_KEY),
        # Optuna stamps the proposal; one that the model refused was never started.
        "started_at": (
            None
            if state == State.INFEASIBLE and excess_bytes is None
            else _utc(trial.datetime_start)
        ),
        "ended_at": _utc(trial.datetime_complete),
        **_parameters(trial),
    }


def _curve_rows(trial: FrozenTrial) -> Iterable[Row]:
    attributes = trial.user_attrs
    footprint = _footprint(trial)
    for number, report in _epochs(trial).items():
        yield {
            "trial": trial.number,
            "state": _state(trial),
            "family": attributes.get(FAMILY_KEY),
            "model": _model(attributes.get(CONFIG_KEY) or {}),
            "epoch": number,
            **{column: report.get(key) for column, key in METRICS.items()},
            "wall_seconds": report.get("wall_seconds"),
            "cpu_seconds": report.get("cpu_seconds"),
            "card_hours": footprint.card_hours(number) if footprint else None,
        }


def _state(trial: FrozenTrial) -> str:
    """Not Optuna's, which has no infeasible."""
    return (trial.user_attrs.get(OUTCOME_KEY) or {}).get("state", State.RUNNING)


def _epochs(trial: FrozenTrial) -> dict[int, Mapping[str, Any]]:
    """The trial's reports by epoch, in order."""
    numbers = sorted(
        int(key.removeprefix(EPOCH_KEY)) for key in trial.user_attrs if key.startswith(EPOCH_KEY)
    )
    return {number: trial.user_attrs[f"{EPOCH_KEY}{number}"] for number in numbers}


def _best(epochs: Mapping[int, Mapping[str, Any]], best_epoch: int) -> Row:
    """The metrics of the best epoch: the one told, else the first with the largest F1 so far."""
    if best_epoch not in epochs:
        scored = [number for number, report in epochs.items() if isfinite(report["f1"])]
        if not scored:
            return {}
        best_epoch = max(scored, key=lambda number: (epochs[number]["f1"], -number))
    report = epochs[best_epoch]
    metrics = {column: report.get(key) for column, key in METRICS.items()}
    return {"best_epoch": best_epoch, **metrics}


def _cost(
    config: Mapping[str, Any],
    epochs: Mapping[int, Mapping[str, Any]],
    device_fraction: float | None,
) -> Row:
    """What the epochs took here. A baseline uses no GPU, whatever its process held."""
    if not epochs:
        return {"device_fraction": device_fraction}
    wall_seconds = sum(report["wall_seconds"] for report in epochs.values())
    held = device_fraction if device_fraction and not _is_baseline(config) else None
    return {
        "wall_seconds": wall_seconds,
        "group_size": max(report.get("group_size", 1) for report in epochs.values()),
        "cpu_seconds": sum(report["cpu_seconds"] for report in epochs.values()),
        "device_fraction": device_fraction,
        "gpu_hours": wall_seconds / SECONDS_PER_HOUR * held if held else None,
    }


def _need(footprint: Footprint | None, epochs: int, watts: float | None) -> Row:
    """What the card's model says: hours for the epochs paid, and what holds without any."""
    if footprint is None:
        return {}
    hours = footprint.card_hours(epochs) if epochs else None
    return {
        "card_hours": hours,
        "card_energy_kwh": hours * watts / KILO if hours is not None and watts else None,
        "card_hours_marginal": footprint.card_hours_marginal(epochs) if epochs else None,
        "peak_mib": footprint.peak_bytes / MIB,
        "excess_mib": footprint.excess_bytes / MIB,
        "step_gflop": footprint.step_flops / GIGA,
        "trainable_parameters": footprint.trainable_parameters,
        "total_parameters": footprint.total_parameters,
    }


def _measured(
    epochs: Mapping[int, Mapping[str, Any]], footprint: Footprint | None, excess_bytes: int | None
) -> Row:
    """Memory and energy as they were; a trial that was too large needed at least so much."""
    reports = epochs.values()
    peak, reserved = (
        max((report.get(key) or 0 for report in reports), default=0) or None
        for key in ("peak_bytes", "reserved_bytes")
    )
    limit = footprint.limit_bytes if footprint else None
    if excess_bytes is not None and limit is not None:
        peak = limit + excess_bytes
    elif peak is not None and limit is not None:
        excess_bytes = peak - limit
    joules = [report.get("energy_joules") for report in reports]
    counted = [each for each in joules if each is not None]
    energy = sum(counted) / JOULES_PER_KWH if joules and len(counted) == len(joules) else None
    return {
        "measured_peak_mib": peak / MIB if peak else None,
        "measured_reserved_mib": reserved / MIB if reserved else None,
        "measured_excess_mib": excess_bytes / MIB if excess_bytes is not None else None,
        "energy_kwh": energy,
    }


def _sizes(outcome: Mapping[str, Any]) -> Row:
    """Parameters of the model that ran; the footprint's stand where none did."""
    names = ("trainable_parameters", "total_parameters")
    return {name: outcome[name] for name in names if outcome.get(name) is not None}


def _footprint(trial: FrozenTrial) -> Footprint | None:
    stored = trial.user_attrs.get(FOOTPRINT_KEY)
    if stored is None or _is_baseline(trial.user_attrs.get(CONFIG_KEY) or {}):
        return None
    known = {f.name: stored[f.name] for f in fields(Footprint) if f.name in stored}
    return Footprint(**known)  # parts that an older study did not record stay at their defaults


def _parameters(trial: FrozenTrial) -> Row:
    """The config's fields under their own names, without those that its model does not read."""
    config = trial.user_attrs.get(CONFIG_KEY) or {}
    flat = {**config, **(config.get("head") or {}), **(config.get("optimisation") or {})}
    if "optimisation" in config:  # what a config leaves out while it is the default
        flat = {"optimiser": Optimisation().optimiser.value, "accumulation": 1, **flat}
    if config.get("mode") in TRAINED_MODES:
        flat = {"checkpointing": False, **flat}
    skipped = NOT_PARAMETERS | UNREAD.get(_model(config) or "", set())
    return {name: value for name, value in flat.items() if name not in skipped}


def _model(config: Mapping[str, Any]) -> str | None:
    return (config.get("head") or {}).get("kind") or config.get("model")


def _is_baseline(config: Mapping[str, Any]) -> bool:
    return config.get("kind") == BaselineConfig.kind


def _utc(moment: datetime | None) -> datetime | None:
    """Optuna keeps UTC in the journal and hands out local time without a zone."""
    return None if moment is None else moment.astimezone(UTC)


def _framed(
    rows: Sequence[Row], names: Sequence[str], columns: Iterable[Column], stored: StoredStudy
) -> pd.DataFrame:
    dtypes = parameter_dtypes() | DTYPES
    frame = pd.DataFrame(
        {name: _series([row.get(name) for row in rows], dtypes.get(name)) for name in names}
    )
    frame.attrs["columns"] = described(names, columns)
    frame.attrs["manifest"] = _told_manifest(stored.manifest)
    return frame


def _told_manifest(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Without the class and the patient of each test note, which a confirmation's holds."""
    if CONFIRMS_KEY not in manifest:
        return dict(manifest)
    confirms = {name: told for name, told in manifest[CONFIRMS_KEY].items() if name != "test"}
    return {**manifest, CONFIRMS_KEY: confirms}


def _series(values: list[Any], dtype: str | None) -> pd.Series:
    """The values in this dtype; without one, a parameter of a config that is not from here."""
    if dtype is not None:
        return pd.Series(values, dtype=dtype)
    inferred = pd.Series(values, dtype=object).convert_dtypes(convert_floating=False)
    if inferred.dtype != object:
        return inferred
    texts = [None if value is None else str(value) for value in values]
    return pd.Series(texts, dtype="string")
