"""What rungs save, and what they lose: real searches without them, and the same ones with them.

A random search proposes the same configs whatever comes of them, so what it would have done with
rungs follows from its recorded curves: no config and no epoch is guessed. Hours are card hours of
training; the encoding is left out, which both need once. `python -m benchmarks.rungs --notes FILE`.
"""

import argparse
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

from headhunt.analysis.stored import read_study
from headhunt.search.launch import prepare
from headhunt.search.plan import Budget, Watcher
from headhunt.search.run import Show, run_search
from headhunt.search.settings import Request
from headhunt.search.simulation.recorded import Recorded
from headhunt.search.simulation.scenarios import REPLAY, Scenario, simulate
from headhunt.search.simulation.trainer import Source, Trainer
from headhunt.trainables.models.backbones import DEMO
from headhunt.trainables.notes.synthetic import write_synthetic_notes

NOTES, SEEDS, TRIALS, SLOTS = 1200, 5, 50, 2
LOST, SHARE = 0.005, 1 / 3  # at most: F1 in the mean, and of the card hours


@dataclass(frozen=True, slots=True)
class Compared:
    """A search, and the same one with rungs."""

    f1: float
    hours: float  # on the card
    f1_with_rungs: float
    hours_with_rungs: float

    def __str__(self) -> str:
        return (
            f"{self.f1:.4f} | {self.f1_with_rungs:.4f} | {self.hours:.4f} "
            f"| {self.hours_with_rungs:.4f}"
        )


def search(notes: Path, store: Path, seed: int, trials: int, space: str) -> Recorded:
    """A random search that trains every trial to its end."""
    request = Request(
        notes=notes,
        study=f"seed-{seed}",
        store=store,
        given={
            "space": space,
            "backbones": () if space == "scratch" else (DEMO,),
            "sampler": "random",
            "seed": seed,
            "rungs": False,
        },
        budget=Budget(trials=trials),
        slots=SLOTS,
    )
    show = Show(
        watcher=Watcher(),
        on_encoding=lambda *_: None,
        on_encoded=lambda _: None,
        on_plan=lambda *_: None,
        on_tick=lambda: None,
    )
    run_search(prepare(request), show)
    stored = read_study(request.study, store)
    return Recorded.of(request.study, stored.manifest, stored.trials)


def compare(recorded: Recorded, seed: int) -> Compared:
    """Its curves again, without rungs and with them."""
    trainer = Trainer(recorded)
    scenario = Scenario(sampler=REPLAY, slots=SLOTS, rungs=False, budget=recorded.budget)
    plain = _played(trainer, scenario, seed)
    return Compared(*plain, *_played(trainer, replace(scenario, rungs=True), seed))


def _played(trainer: Trainer, scenario: Scenario, seed: int) -> tuple[float, float]:
    """Best F1 and card hours."""
    run = simulate(trainer, None, scenario, seed=seed)
    assert run.curves[Source.RECORDED] == sum(run.curves.values()), run.curves
    assert run.best_f1 is not None
    assert run.card_hours is not None
    encoding = max(t.footprint.encoding_seconds for t in trainer.recorded.trials if t.footprint)
    return run.best_f1, run.card_hours - encoding / 3600


def main() -> None:
    """A line a seed, and the means."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rungs")
    parser.add_argument("--notes", type=Path, help=f"notes (default: {NOTES} synthetic ones)")
    parser.add_argument("--seeds", type=int, default=SEEDS, help=f"default {SEEDS}")
    parser.add_argument("--trials", type=int, default=TRIALS, help=f"default {TRIALS}")
    parser.add_argument("--space", default="all", help="default all")
    given = parser.parse_args()
    found = []
    print("| seed | best F1 | with rungs | card hours | with rungs |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        notes = given.notes or Path(folder) / "notes.csv"
        if not given.notes:
            write_synthetic_notes(notes, NOTES)
        for seed in range(1, given.seeds + 1):
            recorded = search(notes, Path(folder) / "store", seed, given.trials, given.space)
            found.append(compare(recorded, seed))
            print(f"| {seed} | {found[-1]} |", flush=True)
    lost = fmean(each.f1 - each.f1_with_rungs for each in found)
    share = sum(e.hours_with_rungs for e in found) / sum(e.hours for e in found)
    print(
        f"\nlost {lost:.4f} of F1 in the mean (at most {LOST}), for {share:.0%} of the card hours "
        f"(at most {SHARE:.0%})"
    )


if __name__ == "__main__":
    main()
