"""Small stand-ins that the search's tests share: reports, footprints, spaces, notes."""

import csv
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from optuna.trial import BaseTrial, TrialState, create_trial

from headhunt.search.study import Study, Trial
from headhunt.spaces.catalogue import Space
from headhunt.spaces.configs import Config, Optimisation, ScratchConfig
from headhunt.spaces.record import EpochReport, Footprint, Outcome, Role, State

HEADHUNT = (sys.executable, "-c", "from headhunt.search.cli import main; main()")
MIB = 2**20
MANIFEST = {"objective": ["f1"], "study": "lab"}
# A file of a user's own space: heads and small Transformers in turn.
MIXED_SPACE = """
from headhunt.spaces.configs import HeadConfig, Mode, Optimisation, ScratchConfig
from headhunt.spaces.heads import AdapterHead, LinearHead


def mixed(trial, options):
    rate = trial.suggest_float("rate", 1e-4, 1e-2, log=True)
    tuned = Optimisation(learning_rate=rate)
    if trial.number % 2:
        return ScratchConfig(vocabulary=300, optimisation=tuned)
    return HeadConfig(backbone=options.backbones[0], head=AdapterHead(bottleneck=32),
        optimisation=tuned)
"""


def epoch_report(epoch: int, f1: float, wall_seconds: float = 60.0) -> EpochReport:
    return EpochReport(
        epoch=epoch,
        f1=f1,
        accuracy=f1,
        precision=f1,
        recall=f1,
        validation_loss=1 - f1,
        train_loss=0.5,
        wall_seconds=wall_seconds,
        cpu_seconds=wall_seconds,
    )


def learned(trial: Trial) -> tuple[str, int, State, list[EpochReport]]:
    """What of a trial does not depend on when, how often and beside what it ran."""
    timeless = [
        replace(r, wall_seconds=0.0, cpu_seconds=0.0, peak_bytes=None, reserved_bytes=None)
        for r in trial.reports
    ]
    return trial.config_hash, trial.seed, trial.state, timeless


def footprint(
    *, excess_mib: float = -100, epoch_seconds: float = 3600.0, encoding_seconds: float = 0.0
) -> Footprint:
    return Footprint(
        peak_bytes=int((1748 + excess_mib) * MIB),
        limit_bytes=1748 * MIB,
        trainable_parameters=1000,
        total_parameters=1000,
        step_flops=10**9,
        step_bytes=10**6,
        epoch_seconds=epoch_seconds,
        encoding_seconds=encoding_seconds,
    )


def scratch(rate: float = 1e-3, **changes: Any) -> ScratchConfig:
    return ScratchConfig(optimisation=Optimisation(learning_rate=rate), **changes)


def suggest_two_numbers(trial: BaseTrial) -> Config:
    """Two parameters that always exist."""
    rate = trial.suggest_float("rate", 1e-4, 1e-2, log=True)
    return scratch(rate, dropout=trial.suggest_float("dropout", 0.0, 0.5))


def suggest_two_families(trial: BaseTrial) -> Config:
    """A Transformer, or an MoE with an expert count of its own."""
    rate = trial.suggest_float("rate", 1e-4, 1e-2, log=True)
    if trial.suggest_categorical("model", ["transformer", "moe"]) == "moe":
        return scratch(rate, model="moe", experts=trial.suggest_int("experts", 2, 8))
    return scratch(rate)


def suggest_eighteen(trial: BaseTrial) -> Config:
    """A space of 2 x 3 x 3 points."""
    return scratch(
        blocks=trial.suggest_int("blocks", 1, 2),
        width=trial.suggest_categorical("width", [32, 64, 128]),
        feed_forward=trial.suggest_categorical("feed_forward", [32, 64, 128]),
    )


NUMBERS = Space("numbers", suggest_two_numbers, controls=())
FAMILIES = Space("families", suggest_two_families)
EIGHTEEN = Space("eighteen", suggest_eighteen, controls=())


def begin(study: Study, config: Config, **changes: Any) -> Trial:
    """A trial of this config that runs in the study."""
    given = {"role": Role.SEARCH, "seed": 1, "footprint": None, **changes}
    return study.start(config, create_trial(state=TrialState.RUNNING), **given)


def finish(study: Study, trial: Trial, *f1: float, state: State = State.COMPLETE) -> None:
    """Its epochs, and its end."""
    for epoch, score in enumerate(f1, start=1):
        study.report(trial.number, epoch_report(epoch, score))
    study.end(trial.number, Outcome(state=state, reason=f"{state} here"))


def write_notes(path: Path, count: int = 120, *, words: str = "word") -> Path:
    """Notes of two classes that a bag of words tells apart, mostly."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for place in range(count):
            label = ("quiet", "loud")[place % 2]
            told = label if place % 7 else "either"
            writer.writerow([f"{words} {place} was {told} in room {place % 11}", label])
    return path
