"""What a simulation takes from a study: its trials as they were, and what lies between them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import median
from typing import Any

from optuna.trial import FrozenTrial

from ...spaces.configs import BaselineConfig
from ...spaces.record import UNREADABLE, State
from ..plan import Budget
from ..settings import Settings
from ..study import Trial, read_trial

SCORED = (State.COMPLETE, State.PRUNED)


class SimulationError(ValueError):
    """The study cannot be simulated as asked; the message says what to do."""


@dataclass(frozen=True)
class Recorded:
    """A study as its journal has it."""

    name: str
    manifest: Mapping[str, Any]
    trials: tuple[Trial, ...]

    @classmethod
    def of(
        cls, name: str, manifest: Mapping[str, Any], stored: Sequence[FrozenTrial]
    ) -> "Recorded":
        """From the journal's trials.

        Raises:
            SimulationError: the study was killed while it was made, has no trial, or is broken.
        """
        if not manifest:
            raise SimulationError(f"the study {name!r} was killed while it was made: start it anew")
        if not stored:
            raise SimulationError(
                f"the study {name!r} has no trial yet: there is nothing to replay"
            )
        try:
            recorded = cls(name, manifest, tuple(read_trial(trial) for trial in stored))
            _ = recorded.settings, recorded.budget
        except UNREADABLE as error:
            raise SimulationError(
                f"the study {name!r} lacks what a search records, or has it in another form "
                f"({type(error).__name__}): it is broken, or of another version"
            ) from error
        return recorded

    @cached_property
    def settings(self) -> Settings:
        """What the study was made with."""
        values = dict(self.manifest["settings"])
        for name in ("backbones", "objective"):
            values[name] = tuple(values[name])
        return Settings(**values)

    @cached_property
    def by_hash(self) -> dict[str, Trial]:
        """Its trials by their configs."""
        return {trial.config_hash: trial for trial in self.trials}

    @cached_property
    def scored(self) -> list[Trial]:
        """Networks that ended with a score: what a surrogate learns from."""
        return [
            trial
            for trial in self.trials
            if trial.state in SCORED and trial.reports and not _is_baseline(trial)
        ]

    @cached_property
    def pause_seconds(self) -> float:
        """Between a trial's start and end, not in its epochs: the median, as measured."""
        pauses = [pause for trial in self.trials if (pause := _pause(trial)) is not None]
        return max(0.0, median(pauses)) if pauses else 0.0

    @property
    def limit_bytes(self) -> int | None:
        """That the card leaves; None without a card."""
        return next((t.footprint.limit_bytes for t in self.trials if t.footprint), None)

    @property
    def budget(self) -> Budget:
        """As many trials as the study has started."""
        started = [t for t in self.trials if t.state is not State.INFEASIBLE]
        return Budget(trials=len(started))


def _is_baseline(trial: Trial) -> bool:
    return isinstance(trial.config, BaselineConfig)


def _pause(trial: Trial) -> float | None:
    began, ended = trial.sampled.datetime_start, trial.sampled.datetime_complete
    if not trial.reports or began is None or ended is None:
        return None
    return (ended - began).total_seconds() - sum(
        r.wall_seconds * r.group_size for r in trial.reports
    )
