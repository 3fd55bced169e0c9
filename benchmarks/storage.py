"""What it costs to keep a trial: started, ten epochs reported, ended, as a search writes it.

What is written to a folder is in the system's hands at once, so that it survives SIGKILL of the
process; the disk itself is told once a second. A database has it on its disk. `python -m
benchmarks.storage`; `--store postgresql://...` measures a database that you have, in a new study.
"""

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import numpy as np
import optuna

from headhunt.search.study import Study
from headhunt.spaces.catalogue import SPACES, SpaceOptions
from headhunt.spaces.record import (
    JOURNAL_NAME,
    EpochReport,
    Footprint,
    Outcome,
    Role,
    State,
)
from headhunt.stores import Place, store_at

TRIALS, EPOCHS = 1000, 10
SHARED_TRIALS = 200
LIMIT_MS = 5.0
FOOTPRINT = Footprint(
    peak_bytes=600 * 2**20,
    limit_bytes=1748 * 2**20,
    trainable_parameters=99_136,
    total_parameters=22_812_000,
    step_flops=10**9,
    step_bytes=10**8,
    epoch_seconds=1.0,
    encoding_seconds=10.0,
)


def measure(trials: int = TRIALS) -> str:
    """A study of so many trials in a folder, written and read again."""
    with tempfile.TemporaryDirectory() as folder:
        spent = write(Path(folder), "storage", trials)
        size = (Path(folder) / "storage" / JOURNAL_NAME).stat().st_size / trials
    return (
        f"storage: {spent.a_trial:.1f} ms and {size / 1e3:.1f} KB a trial of {EPOCHS} epochs "
        f"(at most {LIMIT_MS} ms); {trials:,} trials are read in {spent.reading:.1f} s"
    )


def measure_at(store: Place, trials: int = SHARED_TRIALS) -> str:
    """The same in a database, step by step."""
    with tempfile.TemporaryDirectory() as work:
        name = f"storage-{uuid4().hex[:8]}"
        spent = write(store_at(store, work=Path(work)), name, trials)
    return (
        f"storage in a database: {spent.start:.1f} ms to start a trial, {spent.epoch:.1f} ms an "
        f"epoch, {spent.end:.1f} ms to end it; {trials:,} trials are read in {spent.reading:.1f} s"
    )


@dataclass
class Spent:
    """Milliseconds in the mean; the reading in seconds."""

    start: float
    epoch: float
    end: float
    reading: float

    @property
    def a_trial(self) -> float:
        """From its start to its end."""
        return self.start + EPOCHS * self.epoch + self.end


def write(store: Place, name: str, trials: int) -> Spent:
    """Write a study of so many trials, and read it again."""
    space = SPACES["heads"](SpaceOptions(("minilm",), 8, 6))
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    asked = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    proposals = []
    for _ in range(trials):
        trial = asked.ask()
        proposals.append((space.suggest(trial), asked.get_trials(deepcopy=False)[trial.number]))
    study = Study.create(store, name, {"objective": ["f1"]})
    marks = np.zeros((trials, 4))
    for row, (config, sampled) in zip(marks, proposals, strict=True):
        row[0] = time.perf_counter()
        trial = study.start(config, sampled, role=Role.SEARCH, seed=0, footprint=FOOTPRINT)
        row[1] = time.perf_counter()
        for epoch in range(1, EPOCHS + 1):
            study.report(trial.number, report(epoch))
        row[2] = time.perf_counter()
        study.end(trial.number, Outcome(state=State.COMPLETE, reason="all epochs"))
        row[3] = time.perf_counter()
    study.close()
    begin = time.perf_counter()
    Study.open(store, name).close()
    reading = time.perf_counter() - begin
    start, epochs, end = 1e3 * np.diff(marks).mean(axis=0)
    return Spent(start, epochs / EPOCHS, end, reading)


def report(epoch: int) -> EpochReport:
    """Of an epoch like any."""
    return EpochReport(
        epoch=epoch,
        f1=0.8123456789 + epoch / 1e4,
        accuracy=0.8223456789,
        precision=0.8323456789,
        recall=0.8423456789,
        validation_loss=0.4123456789,
        train_loss=0.3123456789,
        wall_seconds=1.123456789,
        cpu_seconds=1.023456789,
        peak_bytes=12_345_678,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", help="address of a database")
    given = parser.parse_args()
    print(measure_at(given.store) if given.store else measure())
