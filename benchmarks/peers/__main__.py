"""Run them and print the table."""

import argparse
import os
import tempfile
from pathlib import Path

import numpy as np

from headhunt.trainables.notes.corpus import read_corpus
from headhunt.trainables.notes.synthetic import write_synthetic_notes

from .alone import alone
from .problem import Problem, Ran

FAIR = 0.01  # of F1
LARGE = 1000  # trials, among which what is needed once is divided too


def main() -> None:
    """Run what is asked for, each in a fresh process."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers")
    parser.add_argument("--notes", type=Path, help="a file of notes (default: synthetic ones)")
    parser.add_argument("--count", type=int, default=1200, help="synthetic notes (default 1200)")
    parser.add_argument("--epochs", type=int, default=10, help="of a trial (default 10)")
    parser.add_argument("--trials", type=int, default=100, help="headhunt's (default 100)")
    parser.add_argument("--peers", type=int, default=2, help="trials of 2 and 3 (default 2)")
    parser.add_argument("--stored", type=int, default=10, help="trials of 4 (default 10)")
    given = parser.parse_args()
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        notes = given.notes or folder / "notes.csv"
        if not given.notes:
            write_synthetic_notes(notes, given.count)
        problem = Problem(notes, read_corpus(notes), given.epochs)
        print(f"{len(problem.corpus):,} notes, {given.epochs} epochs a trial", flush=True)
        ours, rates = alone("ours", "run_headhunt", problem, given.trials, folder / "store")
        ran = [ours]
        if given.peers:
            few = rates[: given.peers]
            ran.append(alone("trainer", "run_trainer", problem, few, folder / "trainer"))
            ran.append(alone("ray_tune", "run_tune", problem, few, folder / "tune", stored=False))
        if given.stored:
            ran.append(
                alone(
                    "ray_tune",
                    "run_tune",
                    problem,
                    rates[: given.stored],
                    folder / "stored",
                    stored=True,
                )
            )
        for study in (given.trials, LARGE):
            print(compare(ran, study))


def compare(ran: list[Ran], study: int) -> str:
    """As a table, by what one trial of these cost in a study of so many; the first is headhunt."""
    ours = ran[0].hourly(study)
    lines = [
        f"in a study of {study} trials, with what is needed once:",
        "",
        "| engine | trials run | s a trial | s once | trials an hour | headhunt is | best F1 "
        "| headhunt's best of the same | mean F1 | headhunt's |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for one in ran:
        same = ran[0].best[: one.trials]
        fair = abs(max(same) - max(one.best)) <= FAIR
        lines.append(
            f"| {one.name} | {one.trials} | {one.each:.3f} | {one.once:.1f} "
            f"| {one.hourly(study):,.1f} | {ours / one.hourly(study):.1f} times "
            f"| {max(one.best):.3f} | {max(same):.3f}{'' if fair else ' (not equal)'} "
            f"| {np.mean(one.best):.3f} | {np.mean(same):.3f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
