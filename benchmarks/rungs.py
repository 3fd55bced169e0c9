"""What rungs save, and what they lose: real searches without them, and the same ones with them.

A random search proposes the same configs whatever comes of them, so what it would have done with
rungs follows from its recorded curves: no config and no epoch is guessed. Hours are card hours of
training; the encoding is left out, which both need once. Then the trials of all seeds are drawn
from, in any order, to tell one rule from another. `python -m benchmarks.rungs --notes FILE`;
`--store DIR` keeps the searches, and continues those that were interrupted; `--keep FILE.csv` keeps
their curves, which are numbers alone, and `--curves FILE.csv` judges rules by those, in a minute.
"""

import argparse
import random
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from heapq import heappop, heappush
from itertools import islice
from pathlib import Path
from statistics import fmean

import pandas as pd

from headhunt.search.launch import prepare
from headhunt.search.plan import Budget, Watcher
from headhunt.search.run import Show, run_search
from headhunt.search.rungs import Rungs
from headhunt.search.settings import Request
from headhunt.search.simulation.recorded import Recorded
from headhunt.search.simulation.scenarios import REPLAY, Scenario, simulate
from headhunt.search.simulation.trainer import Source, Trainer
from headhunt.search.study import Trial
from headhunt.spaces.configs import BaselineConfig
from headhunt.spaces.record import State
from headhunt.stores import store_at
from headhunt.trainables.models.backbones import DEMO
from headhunt.trainables.notes.synthetic import write_synthetic_notes

NOTES, SEEDS, TRIALS, SLOTS = 1200, 5, 40, 2
LOST, SHARE = 0.005, 1 / 3  # at most: F1 in the mean, and of the card hours
RULES = (
    ((1, 2, 4, 8), 3),
    ((1, 2, 4, 8), 4),
    ((1, 3, 9), 2),
    ((1, 3, 9), 3),
    ((1, 3, 9), 4),
    ((1, 3, 9), 5),
    ((1, 2, 3, 4), 4),
    ((2, 4, 8), 3),
    ((2, 6), 4),
    ((3,), 3),
)
COLUMNS = ["trial", "family", "epoch_seconds", "epoch", "f1", "wall_seconds"]
DRAWS, DRAWN = 300, 38  # searches that are drawn, and trials of each


@dataclass(frozen=True, slots=True)
class Curve:
    """A trial that trained to its end."""

    family: str
    epoch_seconds: float  # on the card
    f1: tuple[float, ...]  # by epoch
    wall_seconds: tuple[float, ...]  # of each epoch


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
    study = f"seed-{seed}"
    resume = (store / study).exists()
    settings = {
        "space": space,
        "backbones": () if space == "scratch" else (DEMO,),
        "sampler": "random",
        "seed": seed,
        "rungs": False,
    }
    request = Request(
        notes=notes,
        study=study,
        store=store,
        resume=resume,
        given={} if resume else settings,
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
    stored = store_at(store).read(request.study)
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
    if run.curves[Source.RECORDED] != sum(run.curves.values()):
        raise ValueError(f"a replay guesses nothing; got {run.curves=}")
    if run.best_f1 is None or run.card_hours is None:
        raise ValueError(f"a search needs a score and a card; got {run.best_f1=}")
    encoding = max(t.footprint.encoding_seconds for t in trainer.recorded.trials if t.footprint)
    return run.best_f1, run.card_hours - encoding / 3600


def curves_of(searches: Sequence[Recorded]) -> list[Curve]:
    """Of all networks that were trained to their end."""
    return [
        Curve(
            trial.config.family,
            _epoch_seconds(trial),
            tuple(report.f1 for report in trial.reports),
            tuple(report.wall_seconds for report in trial.reports),
        )
        for found in searches
        for trial in found.trials
        if trial.state is State.COMPLETE and not isinstance(trial.config, BaselineConfig)
    ]


def keep(curves: Sequence[Curve], file: Path) -> None:
    """A row an epoch."""
    rows = [
        (number, curve.family, curve.epoch_seconds, epoch, f1, seconds)
        for number, curve in enumerate(curves)
        for epoch, (f1, seconds) in enumerate(
            zip(curve.f1, curve.wall_seconds, strict=True), start=1
        )
    ]
    frame = pd.DataFrame(rows, columns=COLUMNS)
    frame.to_csv(file, index=False, float_format="%.6g")


def kept(file: Path) -> list[Curve]:
    """What `keep` wrote."""
    return [
        Curve(
            str(rows["family"].iloc[0]),
            float(rows["epoch_seconds"].iloc[0]),
            tuple(rows["f1"]),
            tuple(rows["wall_seconds"]),
        )
        for _, rows in pd.read_csv(file).groupby("trial")
    ]


def rules(pool: Sequence[Curve]) -> Iterator[str]:
    """What other rules would lose and save, in searches drawn from these trials."""
    generator = random.Random(0)
    drawn = [generator.sample(pool, min(DRAWN, len(pool))) for _ in range(DRAWS)]
    yield f"\n{DRAWS} searches drawn from {len(pool)} trials:\n"
    yield "| rungs | goes on | lost F1 | card hours |\n|---|---|---|---|"
    for epochs, eta in RULES:
        found = [_by_rule(curves, Rungs(epochs, eta)) for curves in drawn]
        lost, share = (fmean(column) for column in zip(*found, strict=True))
        rungs = ", ".join(map(str, epochs))
        yield f"| {rungs} | one in {eta} | {lost:.4f} | {share:.0%} |"
    yield "\nRank correlation of F1 up to an epoch with the best F1 of all:\n"
    yield "| family | trials | epoch 1 | 2 | 3 |\n|---|---|---|---|---|"
    for family in sorted({curve.family for curve in pool}):
        own = [curve for curve in pool if curve.family == family]
        best = pd.Series([max(curve.f1) for curve in own])
        told = [best.corr(_so_far(own, epoch), method="spearman") for epoch in (1, 2, 3)]
        yield f"| {family} | {len(own)} | " + " | ".join(f"{each:.2f}" for each in told) + " |"


def _so_far(curves: Sequence[Curve], epoch: int) -> pd.Series:
    return pd.Series([max(curve.f1[:epoch]) for curve in curves])


def _by_rule(curves: Sequence[Curve], rungs: Rungs) -> tuple[float, float]:
    """F1 lost and the share of the hours, on slots that take the trials in their order."""
    best, spent, todo = 0.0, 0.0, iter(range(len(curves)))
    running: list[tuple[float, int, int]] = []  # when its epoch ends, which, which epoch

    def begin(which: int, epoch: int, now: float) -> None:
        heappush(running, (now + curves[which].wall_seconds[epoch - 1], which, epoch))

    for which in islice(todo, SLOTS):
        begin(which, 1, 0.0)
    while running:
        now, which, epoch = heappop(running)
        curve = curves[which]
        score = max(curve.f1[:epoch])
        best, spent = max(best, score), spent + curve.epoch_seconds
        rungs.record(curve.family, which, epoch, score)
        last = epoch == len(curve.f1)
        if last:
            rungs.record_end(curve.family, which, epoch, score)
        if not last and rungs.goes_on(curve.family, which, epoch):
            begin(which, epoch + 1, now)
        elif (following := next(todo, None)) is not None:
            begin(following, 1, now)
    plain = max(max(curve.f1) for curve in curves)
    return plain - best, spent / sum(len(curve.f1) * curve.epoch_seconds for curve in curves)


def _epoch_seconds(trial: Trial) -> float:
    if trial.footprint is None:
        raise ValueError(f"card hours need a footprint; trial {trial.number} has none")
    return trial.footprint.epoch_seconds


def main() -> None:
    """A line a seed, the means, and the other rules."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rungs")
    parser.add_argument("--notes", type=Path, help=f"notes (default: {NOTES} synthetic ones)")
    parser.add_argument("--seeds", type=int, default=SEEDS, help=f"default {SEEDS}")
    parser.add_argument("--trials", type=int, default=TRIALS, help=f"default {TRIALS}")
    parser.add_argument("--space", default="all", help="default all")
    parser.add_argument("--store", type=Path, help="keep the searches here")
    parser.add_argument("--keep", type=Path, help="write the searches' curves here (CSV)")
    parser.add_argument("--curves", type=Path, help="judge rules by these, and search nothing")
    given = parser.parse_args()
    if given.curves:
        print("\n".join(rules(kept(given.curves))))
        return
    found: list[Compared] = []
    searches: list[Recorded] = []
    print("| seed | best F1 | with rungs | card hours | with rungs |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        notes = given.notes or Path(folder) / "notes.csv"
        if not given.notes:
            write_synthetic_notes(notes, NOTES)
        for seed in range(1, given.seeds + 1):
            store = given.store or Path(folder) / "store"
            searches.append(search(notes, store, seed, given.trials, given.space))
            found.append(compare(searches[-1], seed))
            print(f"| {seed} | {found[-1]} |", flush=True)
    lost = fmean(each.f1 - each.f1_with_rungs for each in found)
    share = sum(e.hours_with_rungs for e in found) / sum(e.hours for e in found)
    print(
        f"\nlost {lost:.4f} of F1 in the mean (at most {LOST}), for {share:.0%} of the card hours "
        f"(at most {SHARE:.0%})"
    )
    curves = curves_of(searches)
    if given.keep:
        keep(curves, given.keep)
    print("\n".join(rules(curves)))


if __name__ == "__main__":
    main()
