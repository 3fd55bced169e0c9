"""What a trial costs beside its training: asked, placed, started, reported, stored and ended.

The trials are real and tiny: a linear head on one vector a note, twenty notes, one epoch. Wall time
a trial on two slots, their training taken off, over the last tenth of a study of so many, and what
the driver's memory grew by. `python -m benchmarks.overhead --trials 10000 --sampler tpe`.
"""

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
from optuna.trial import BaseTrial

from headhunt.analysis import trials
from headhunt.search.launch import prepare
from headhunt.search.plan import Budget, Watcher
from headhunt.search.run import Show, run_search
from headhunt.search.settings import Request
from headhunt.spaces.catalogue import SpaceOptions
from headhunt.spaces.configs import HeadConfig, Optimisation
from headhunt.spaces.heads import LinearHead
from headhunt.trainables.models.backbones import DEMO
from headhunt.trainables.notes.synthetic import write_synthetic_notes

NOTES, SLOTS = 40, 2
LIMITS_MS = {100: 40, 10_000: 60}  # after so many trials
LIMIT_KB = 60


def linear(trial: BaseTrial, options: SpaceOptions) -> HeadConfig:
    """The smallest trial that there is."""
    return HeadConfig(
        backbone=options.backbones[0],
        head=LinearHead(),
        dropout=trial.suggest_float("dropout", 0.0, 0.5),
        optimisation=Optimisation(
            learning_rate=trial.suggest_float("learning_rate", 1e-4, 1e-1, log=True),
            weight_decay=trial.suggest_float("weight_decay", 1e-4, 1e-1, log=True),
        ),
    )


@dataclass(frozen=True, slots=True)
class Overhead:
    """Of the last tenth of a study."""

    trials: int
    sampler: str
    wall_ms: float  # a trial adds to the search
    training_ms: float  # of that: a trial's own epoch, over the slots
    memory_kb: float  # that a trial leaves in the driver

    def __str__(self) -> str:
        limit = LIMITS_MS.get(self.trials)
        aim = f"; at most {limit} ms and {LIMIT_KB} KB" if limit else ""
        return (
            f"overhead: {self.wall_ms - self.training_ms:.1f} ms a trial after {self.trials:,} "
            f"with {self.sampler} ({self.wall_ms:.1f} ms, of which {self.training_ms:.1f} train), "
            f"{self.memory_kb:.0f} KB each in the driver{aim}"
        )


def measure(count: int = 100, sampler: str = "tpe") -> Overhead:
    """Run a study of so many trials."""
    ends: list[float] = []
    memory: list[int] = []
    process = psutil.Process()

    def on_end(trial: object) -> None:
        del trial
        ends.append(time.perf_counter())
        memory.append(process.memory_info().rss)

    with tempfile.TemporaryDirectory() as folder:
        notes = Path(folder) / "notes.csv"
        write_synthetic_notes(notes, NOTES)
        request = Request(
            notes=notes,
            study="overhead",
            store=Path(folder),
            given={
                "space": f"{__file__}:linear",
                "backbones": (DEMO,),
                "sampler": sampler,
                "max_epochs": 1,
                "rungs": False,
            },
            budget=Budget(trials=count),
            slots=SLOTS,
        )
        show = Show(
            watcher=Watcher(on_end=on_end),
            on_encoding=lambda *_: None,
            on_encoded=lambda _: None,
            on_plan=lambda *_: None,
            on_tick=lambda: None,
        )
        run_search(prepare(request), show)
        frame = trials("overhead", store=Path(folder))
    last = max(20, count // 10)
    trained = frame[frame["role"] == "search"]["wall_seconds"].tail(last)
    return Overhead(
        trials=len(ends),
        sampler=sampler,
        wall_ms=(ends[-1] - ends[-last]) / (last - 1) * 1e3,
        training_ms=trained.mean() / SLOTS * 1e3,
        memory_kb=(memory[-1] - memory[len(memory) // 5]) / (0.8 * len(memory)) / 1e3,
    )


def main() -> None:
    """Print it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overhead")
    parser.add_argument("--trials", type=int, default=100, help="of the study (default 100)")
    parser.add_argument("--sampler", default="tpe", help="tpe or random (default tpe)")
    given = parser.parse_args()
    print(measure(given.trials, given.sampler))


if __name__ == "__main__":
    main()
