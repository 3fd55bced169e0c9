"""Scenarios side by side: each played with every seed, with what to know of the figures."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...spaces.catalogue import Space
from ...spaces.record import State
from ..manifest import file_hash
from ..space_checks import check_sampler
from ..space_files import load_space
from .recorded import Recorded, SimulationError
from .scenarios import NEAR, REPLAY, Run, Scenario, simulate
from .surrogate import NAME, Quality
from .trainer import Source, Trainer

ENDED = (State.COMPLETE, State.PRUNED, State.INFEASIBLE, State.FAILED)
TELL_EVERY = 20  # trials between two words of progress
FIGURES = ("wall_hours", "card_hours", "best_f1", "hours_to_best", "busy_share")


@dataclass(frozen=True, slots=True)
class Result:
    """A scenario with all its seeds."""

    scenario: Scenario
    runs: tuple[Run, ...]

    def mean(self, figure: str) -> float | None:
        """Over the seeds that have the figure; None where none has."""
        values = self._values(figure)
        return statistics.fmean(values) if values else None

    def spread(self, figure: str) -> float | None:
        """Standard deviation over the seeds; None with fewer than two."""
        values = self._values(figure)
        return statistics.stdev(values) if len(values) > 1 else None

    def trials(self, which: State | Source) -> float:
        """In this state, or with their curves from there: the mean over the seeds."""
        counts: list[int] = [{**run.states, **run.curves}.get(which, 0) for run in self.runs]
        return statistics.fmean(counts)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "sampler": self.scenario.sampler,
            "slots": self.scenario.slots,
            "rungs": self.scenario.rungs,
            "budget": asdict(self.scenario.budget),
            "mean": {figure: self.mean(figure) for figure in FIGURES},
            "spread": {figure: self.spread(figure) for figure in FIGURES},
            "runs": [asdict(run) for run in self.runs],
        }

    def to_row(self) -> dict[str, Any]:
        """As one flat row, means under their plain names."""
        figures = {figure: self.mean(figure) for figure in FIGURES}
        spreads = {f"{figure}_spread": self.spread(figure) for figure in FIGURES}
        counts = {
            **{f"trials_{state}": self.trials(state) for state in ENDED},
            **{f"curves_{source}": self.trials(source) for source in Source},
        }
        named = {"sampler": self.scenario.sampler, "slots": self.scenario.slots}
        seeds = {"rungs": self.scenario.rungs, "seeds": len(self.runs)}
        return {**named, **seeds, **figures, **spreads, **counts}

    def _values(self, figure: str) -> list[float]:
        return [value for run in self.runs if (value := getattr(run, figure)) is not None]


@dataclass(frozen=True, slots=True)
class Report:
    """All scenarios of a study."""

    study: str
    results: tuple[Result, ...]
    quality: Quality | None  # of the surrogate; None where no curve was guessed
    fitted_to: int  # trials
    best_recorded: float | None
    pause_seconds: float

    @property
    def notes(self) -> list[str]:
        """What to know of the figures."""
        return [
            "Nothing was trained. Hours are virtual: seconds of epochs as the study measured them, "
            f"and {self.pause_seconds:.2g} s a trial besides, the median that it measured; "
            "without the encoding of the notes.",
            f"Hours to best: until a trial had completed within {NEAR:g} of the best F1 of its "
            "scenario.",
            *self._of_the_surrogate(),
        ]

    def _of_the_surrogate(self) -> list[str]:
        if self.quality is None:
            return ["Every curve is as it was recorded."]
        told, final = self.quality, ""
        if told.final_rank_correlation is not None:
            final = f" and {told.final_rank_correlation:.2f} at the end ({told.complete} complete)"
        return [
            f"Guessed curves are no measurements. The surrogate ({NAME}, fitted to "
            f"{self.fitted_to} trials), on trials that it had not seen: rank correlation of F1 "
            f"{told.first_rank_correlation:.2f} after one epoch{final}; median error "
            f"{told.f1_error:.3f} of F1 and {told.seconds_error:.0%} of an epoch's seconds.",
            f"It guesses no F1 above the best recorded one ({self.best_recorded:.4f}), and no "
            "failures: compare scenarios with each other.",
        ]

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        quality = asdict(self.quality) if self.quality else None
        return {
            "study": self.study,
            "surrogate": {"name": NAME, "fitted_to": self.fitted_to, **quality}
            if quality
            else None,
            "pause_seconds": self.pause_seconds,
            "scenarios": [result.to_dict() for result in self.results],
            "notes": self.notes,
        }


def compare(
    recorded: Recorded,
    scenarios: Sequence[Scenario],
    *,
    seeds: Sequence[int],
    on_progress: Callable[[str], None] = lambda _: None,
) -> Report:
    """Play every scenario with every seed.

    Raises:
        SimulationError: the study has too few trials, or its space is gone; each problem a line.
        SpaceError: a sampler cannot search the space.
    """
    trainer, space = Trainer(recorded), None
    samplers = {scenario.sampler for scenario in scenarios} - {REPLAY}
    if samplers:
        space = study_space(recorded)
        for sampler in sorted(samplers):
            check_sampler(sampler, space, recorded.settings.objective)
        on_progress("fitting the surrogate")
        _ = trainer.fitted
    results = []
    for place, scenario in enumerate(scenarios, start=1):
        runs = []
        for seed in seeds:
            tell = _teller(f"scenario {place} of {len(scenarios)}", scenario, seed, on_progress)
            runs.append(simulate(trainer, space, scenario, seed=seed, on_end=tell))
        results.append(Result(scenario, tuple(runs)))
    best = [trial.best.f1 for trial in recorded.scored if trial.best]
    return Report(
        study=recorded.name,
        results=tuple(results),
        quality=trainer.quality,
        fitted_to=len(recorded.scored),
        best_recorded=max(best, default=None),
        pause_seconds=recorded.pause_seconds,
    )


def study_space(recorded: Recorded) -> Space:
    """The space that the study was searched in.

    Raises:
        SimulationError: it is in a file that is gone or has changed.
        SpaceError: the file fails.
    """
    file = recorded.settings.space.rpartition(":")[0]
    if not file:
        return load_space(recorded.settings)
    happened = ""
    if not Path(file).is_file():
        happened = "which is gone"
    elif file_hash(recorded.settings.space) != recorded.manifest["space_file"]:
        happened = "which has changed since"
    if happened:
        raise SimulationError(
            f"the study {recorded.name!r} was searched in the space of {file!r}, {happened}: put "
            f"the file back as it was, or replay what there is with --sampler {REPLAY}"
        )
    return load_space(recorded.settings)


def _teller(
    head: str, scenario: Scenario, seed: int, on_progress: Callable[[str], None]
) -> Callable[[], None]:
    """Tells now and then how many trials have ended."""
    ended = 0
    slots = f"{scenario.slots:,} {'slot' if scenario.slots == 1 else 'slots'}"

    def tell() -> None:
        nonlocal ended
        ended += 1
        if ended % TELL_EVERY == 1:
            on_progress(f"{head}: {scenario.sampler}, {slots}, seed {seed}: {ended:,} trials")

    return tell
