"""What it costs to keep a trial: started, ten epochs reported, ended, as a search writes it.

What is written is in the system's hands at once, so that it survives SIGKILL of the process; the
disk itself is told once a second. `python -m benchmarks.storage`.
"""

import tempfile
import time
from pathlib import Path

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

TRIALS, EPOCHS = 1000, 10
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


def measure() -> str:
    """A study of so many trials, written and read again."""
    space = SPACES["heads"](SpaceOptions(("minilm",), 8, 6))
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    asked = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    proposals = []
    for _ in range(TRIALS):
        trial = asked.ask()
        proposals.append((space.suggest(trial), asked.trials[trial.number]))
    with tempfile.TemporaryDirectory() as folder:
        study = Study.create(Path(folder), "storage", {"objective": ["f1"]})
        begin = time.perf_counter()
        for config, sampled in proposals:
            trial = study.start(config, sampled, role=Role.SEARCH, seed=0, footprint=FOOTPRINT)
            for epoch in range(1, EPOCHS + 1):
                study.report(trial.number, report(epoch))
            study.end(trial.number, Outcome(state=State.COMPLETE, reason="all epochs"))
        each = (time.perf_counter() - begin) / TRIALS
        size = (study.folder / JOURNAL_NAME).stat().st_size / TRIALS
        study.close()
        begin = time.perf_counter()
        Study.open(Path(folder), "storage").close()
        read = time.perf_counter() - begin
    return (
        f"storage: {1e3 * each:.1f} ms and {size / 1e3:.1f} KB a trial of {EPOCHS} epochs "
        f"(at most {LIMIT_MS} ms); {TRIALS:,} trials are read in {read:.1f} s"
    )


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
    print(measure())
