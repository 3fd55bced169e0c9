"""How long a simulation takes, and whether a TPE that looks at little finds as much.

`python -m benchmarks.simulation` plays 10,000 trials on 1,000 slots with `random` and with `tpe` on
a toy study; `--study NAME --store DIR` on a recorded one. `--views` plays TPE with the bounded view
and with all trials in view, asked anew for each proposal.
"""

import argparse
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean, stdev

from headhunt.search import sampling
from headhunt.search.plan import Budget
from headhunt.search.simulation import scenarios
from headhunt.search.simulation.recorded import Recorded
from headhunt.search.simulation.report import study_space
from headhunt.search.simulation.scenarios import Scenario, simulate
from headhunt.search.simulation.trainer import Trainer
from headhunt.search.study import Study
from headhunt.spaces.record import Role, State

from . import toy_study

TRIALS, SLOTS, LIMIT_SECONDS = 10_000, 1_000, 60
VIEW_TRIALS, VIEW_SEEDS = 1_000, 4


def measure() -> str:
    """A line for each sampler, on the toy study."""
    recorded = toy_study.chosen(None, None)
    return "\n".join(play(recorded, sampler) for sampler in ("random", "tpe"))


def play(recorded: Recorded, sampler: str, trials: int = TRIALS, slots: int = SLOTS) -> str:
    """Play them once."""
    trainer = Trainer(recorded)
    began, cpu = time.perf_counter(), time.process_time()
    _ = trainer.fitted
    scenario = Scenario(sampler=sampler, slots=slots, rungs=True, budget=Budget(trials=trials))
    run = simulate(trainer, study_space(recorded), scenario, seed=1)
    return (
        f"simulation: {trials:,} trials on {slots:,} slots with {sampler} in "
        f"{time.perf_counter() - began:.0f} s (at most {LIMIT_SECONDS}), of which the processor "
        f"{time.process_time() - cpu:.0f}; "
        f"{run.wall_hours:.3g} virtual hours"
    )


def views(recorded: Recorded, trials: int = VIEW_TRIALS, slots: int = 1) -> Iterator[str]:
    """TPE by what it looks at: means over seeds and their errors."""
    trainer, space = Trainer(recorded), study_space(recorded)
    scenario = Scenario(sampler="tpe", slots=slots, rungs=True, budget=Budget(trials=trials))
    for name, view, most in (("bounded", sampling.VIEW_TRIALS, 32), ("unbounded", 10**9, 1)):
        found: list[tuple[float, float, float]] = []
        began = time.perf_counter()
        for seed in range(1, VIEW_SEEDS + 1):
            with _looking_at(view, most), kept_scores() as scores:
                simulate(trainer, space, scenario, seed=seed)
            best = sorted((max(curve) for curve in scores), reverse=True)
            late = [curve[0] for curve in scores[-trials // 5 :]]
            found.append((best[0], fmean(best[:20]), fmean(late)))
        names = ("best F1", "mean of the 20 best", "last fifth after an epoch")
        figures = zip(names, zip(*found, strict=True), strict=True)
        told = "; ".join(
            f"{figure} {fmean(each):.4f} ± {stdev(each) / len(each) ** 0.5:.4f}"
            for figure, each in figures
        )
        yield f"{name}, {slots} slots: {told} ({time.perf_counter() - began:.0f} s)"


@contextmanager
def _looking_at(view: int, most: int) -> Iterator[None]:
    before = sampling.VIEW_TRIALS, sampling.MOST_PROPOSALS
    sampling.VIEW_TRIALS, sampling.MOST_PROPOSALS = view, most
    try:
        yield
    finally:
        sampling.VIEW_TRIALS, sampling.MOST_PROPOSALS = before


@contextmanager
def kept_scores() -> Iterator[list[list[float]]]:
    """The curves of the searched trials that a simulation would throw away."""
    kept: list[list[float]] = []

    class Kept(Study):
        def close(self) -> None:
            ended = (
                t
                for t in self.trials
                if t.state in (State.COMPLETE, State.PRUNED) and t.role is not Role.CONTROL
            )
            kept.extend([r.f1 for r in trial.reports] for trial in ended)
            super().close()

    before, scenarios.Study = scenarios.Study, Kept
    try:
        yield kept
    finally:
        scenarios.Study = before


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.simulation")
    parser.add_argument("--study", help="a recorded study (default: a toy)")
    parser.add_argument("--store", type=Path, help="its store")
    parser.add_argument("--trials", type=int, help=f"default {TRIALS}, with --views {VIEW_TRIALS}")
    parser.add_argument("--slots", type=int, help=f"default {SLOTS}, with --views 1")
    parser.add_argument("--samplers", default="random,tpe", help="default random,tpe")
    parser.add_argument("--views", action="store_true", help="compare what TPE looks at")
    given = parser.parse_args()
    recorded = toy_study.chosen(given.study, given.store)
    if given.views:
        for line in views(recorded, given.trials or VIEW_TRIALS, given.slots or 1):
            print(line, flush=True)
        return
    for sampler in given.samplers.split(","):
        print(play(recorded, sampler, given.trials or TRIALS, given.slots or SLOTS), flush=True)


if __name__ == "__main__":
    main()
