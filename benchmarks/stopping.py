"""How often `--stop-margin` ends a search too early, on the curves of a recorded study.

Searches are simulated to their end without the rule; then the rule is asked after every trial where
it would have ended them. A stop is false where a later trial beats the best one of then by the
margin. `python -m benchmarks.stopping --study NAME --store DIR` (without a study: a toy).
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

from headhunt.search.plan import Budget
from headhunt.search.simulation.recorded import Recorded
from headhunt.search.simulation.report import study_space
from headhunt.search.simulation.scenarios import Scenario, simulate
from headhunt.search.simulation.trainer import Trainer
from headhunt.search.stopping import UNLIKELY, chance_of_better

from . import toy_study
from .simulation import kept_scores

SEEDS, TRIALS = 20, 200
MARGINS = (0.005, 0.01, 0.02)


@dataclass(frozen=True, slots=True)
class Stopped:
    """One search, as the rule would have ended it."""

    at: int  # trials, of those that the search had
    false: bool


def stopped(scores: list[float], margin: float) -> Stopped:
    """Where the rule would have ended a search with these scores, in their order."""
    for at in range(1, len(scores)):
        if chance_of_better(scores[:at], margin, len(scores) - at) <= UNLIKELY:
            return Stopped(at, max(scores[at:]) > max(scores[:at]) + margin)
    return Stopped(len(scores), false=False)


def measure(recorded: Recorded, sampler: str, seeds: int, trials: int) -> list[str]:
    """A row for each margin."""
    trainer, space = Trainer(recorded), study_space(recorded)
    scenario = Scenario(sampler=sampler, slots=1, rungs=True, budget=Budget(trials=trials))
    searches = []
    for seed in range(1, seeds + 1):
        with kept_scores() as curves:
            simulate(trainer, space, scenario, seed=seed)
        searches.append([max(curve) for curve in curves])
    rows = []
    for margin in MARGINS:
        ends = [stopped(scores, margin) for scores in searches]
        early = [end for end, scores in zip(ends, searches, strict=True) if end.at < len(scores)]
        left_out = 1 - sum(end.at for end in ends) / sum(map(len, searches))
        rows.append(
            f"| {sampler} | {margin} | {len(early)} of {seeds} | {sum(e.false for e in ends)} "
            f"| {left_out:.0%} |"
        )
    return rows


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stopping")
    parser.add_argument("--study", help="a recorded study (default: a toy)")
    parser.add_argument("--store", type=Path, help="its store")
    parser.add_argument("--seeds", type=int, default=SEEDS, help=f"default {SEEDS}")
    parser.add_argument("--trials", type=int, default=TRIALS, help=f"default {TRIALS}")
    given = parser.parse_args()
    recorded = toy_study.chosen(given.study, given.store)
    print(
        "| sampler | margin | ended early | of them falsely | trials left out |\n"
        "|---|---|---|---|---|"
    )
    for sampler in ("random", "tpe"):
        for row in measure(recorded, sampler, given.seeds, given.trials):
            print(row, flush=True)


if __name__ == "__main__":
    main()
