"""What a GPU shows of the promises: `python -m tests.gpu.report --out FILE`, within eight minutes.

Prints one Markdown report and writes it to the file, section by section. A section that fails says
why, and the others still run. Exit status: 0 all promises hold; 1 one does not, or was not shown;
2 there is no GPU. Needs neither Ray nor Optuna.
"""

import argparse
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # nothing is fetched

import torch

from headhunt.trainables.worker import settle

from .cap import capped
from .facts import facts
from .grouped import grouped
from .machine import Machine, gpu_machine
from .peaks import peaks
from .ratio import ratio
from .scale import BASE
from .sections import Deadline, Promise, Section
from .study import Study, make_study
from .times import times
from .together import side_by_side

SECONDS = 450.0  # for all of it
STUDY_NOTES = 320


@dataclass(frozen=True, slots=True)
class Part:
    """A section with its title and the most seconds that it may use."""

    title: str
    seconds: float
    run: Callable[[Deadline], Section]


def parts_of(machine: Machine, study: Callable[[], Study]) -> list[Part]:
    """All sections; the study's files are made by the first one that wants them."""
    return [
        Part("1. The device", 20, lambda deadline: facts(machine, deadline)),
        Part("2. The cap", 40, lambda deadline: capped(machine, deadline, study())),
        Part("3. Footprint and peaks", 140, lambda deadline: peaks(machine, deadline)),
        Part("4. Predicted and measured time", 90, lambda deadline: times(machine, deadline)),
        Part("5. Side by side", 100, lambda deadline: side_by_side(machine, deadline, study())),
        Part("6. BERT-base and MoE", 30, lambda deadline: ratio(machine, deadline)),
        Part("7. Heads in one pass", 30, lambda deadline: grouped(machine, deadline)),
    ]


def report(parts: Sequence[Part], deadline: Deadline, say: Callable[[str], None]) -> int:
    """Run all sections, say what each found, then the promises; the exit status."""
    say("# headhunt on a GPU")
    kept: list[Promise] = []
    missing: list[str] = []
    for part in parts:
        say(f"\n## {part.title}\n")
        if deadline.left <= 0:
            missing.append(part.title)
            say("Time was over before it began.")
            continue
        begin = time.monotonic()
        try:
            found = part.run(deadline.at_most(part.seconds))
            lines, promises = list(found.lines()), list(found.promises())
        except Exception as error:
            missing.append(part.title)
            say("The section failed:\n\n```")
            say("".join(traceback.format_exception(error)).rstrip() + "\n```")
            _let_go(error)
            continue
        kept += promises
        for line in lines:
            say(line)
        if promises:
            say("")
        for promise in promises:
            say(promise.line())
        say(f"\n({time.monotonic() - begin:.0f} s)")
    say("\n## Summary\n")
    for line in _summary(kept, missing):
        say(line)
    return int(bool(missing) or not all(promise.held for promise in kept))


def _let_go(error: Exception) -> None:
    """Its frames would keep the failed section's tensors."""
    traceback.clear_frames(error.__traceback__)


def _summary(promises: Sequence[Promise], missing: Sequence[str]) -> Iterator[str]:
    yield f"{sum(p.held is True for p in promises)} of {len(promises)} promises hold."
    yield from (p.line() for p in promises if not p.held)
    yield from (f"- **FAILED**: {title}" for title in missing)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.gpu.report", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the report, in Markdown")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="that it may take, about")
    chosen = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        print("there is no GPU: run it on a machine that has one", file=sys.stderr)
        return 2
    machine, deadline = gpu_machine(), Deadline(chosen.seconds)
    limits = settle(machine.device, 1)
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    with chosen.out.open("w", encoding="utf-8") as file, tempfile.TemporaryDirectory() as folder:

        def say(text: str) -> None:
            for stream in (file, sys.stdout):
                print(text, file=stream, flush=True)

        status = report(parts_of(machine, lazily(Path(folder))), deadline, say)
    del limits
    return status


def lazily(folder: Path) -> Callable[[], Study]:
    """The study, made once when it is first wanted."""
    made: list[Study] = []

    def study() -> Study:
        if not made:
            made.append(make_study(folder / "study", BASE, STUDY_NOTES))
        return made[0]

    return study


if __name__ == "__main__":
    sys.exit(main())
