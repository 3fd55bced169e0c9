"""What a simulated trial reports: its recorded curve, and the surrogate's where that ends.

It takes the place of `trainables/runner.py`: the same steps, without training.
"""

from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from functools import cached_property

from ...spaces.configs import BaselineConfig, Config, config_hash
from ...spaces.record import EpochReport, Footprint, Outcome, State
from ...trainables.steps import Step
from ...trainables.training.stopping import why_over
from ..study import Trial
from .recorded import Recorded
from .surrogate import Quality, Surrogate, epoch_report, epoch_seconds

RUNNING = Outcome(state=State.RUNNING)
ENDED_BY_ITSELF = (State.COMPLETE, State.FAILED, State.INFEASIBLE)


class Source(StrEnum):
    """Where a simulated trial's curve is from."""

    RECORDED = "recorded"
    PARTLY = "partly"  # recorded, and the surrogate's from its recorded end on
    SURROGATE = "surrogate"


class Trainer:
    """Trials of one study, without training."""

    def __init__(self, recorded: Recorded) -> None:
        self.recorded = recorded

    @cached_property
    def fitted(self) -> tuple[Surrogate, Quality]:
        """The surrogate, made when it is first asked for.

        Raises:
            SimulationError: too few trials have a score.
        """
        return Surrogate.of(self.recorded)

    @property
    def quality(self) -> Quality | None:
        """Of the surrogate; None where it was never asked for."""
        return self.fitted[1] if "fitted" in self.__dict__ else None

    def footprint(self, config: Config) -> Footprint | None:
        """As recorded, or as the surrogate guesses."""
        known = self.recorded.by_hash.get(config_hash(config))
        if known is not None:
            return known.footprint
        if isinstance(config, BaselineConfig) or self.recorded.limit_bytes is None:
            return None
        return self.fitted[0].footprint(config)

    def steps(self, trial: Trial, on_source: Callable[[Source], None]) -> Iterator[Step]:
        """The trial's steps; `on_source` hears where its curve is from: the last word counts."""
        known = self.recorded.by_hash.get(trial.config_hash)
        reports = list(known.reports) if known else []
        ended = self._recorded_end(known) if known else None
        if reports or ended:
            on_source(Source.RECORDED)
        for report in reports[:-1]:
            yield Step(report, RUNNING)
        complete = ended is not None and ended.state is State.COMPLETE
        if reports:
            yield Step(reports[-1], ended if ended and complete else RUNNING)
        if ended is None:
            on_source(Source.PARTLY if reports else Source.SURROGATE)
            yield from self._guessed(trial.config, reports)
        elif not complete:
            yield Step(None, ended)

    def _recorded_end(self, known: Trial) -> Outcome | None:
        """How it ended by itself; None where something else stopped it."""
        if known.outcome and known.state in ENDED_BY_ITSELF:
            return known.outcome
        why = self._why_over(known.config, known.reports) if known.reports else ""
        return Outcome(state=State.COMPLETE, reason=why) if why else None

    def _guessed(self, config: Config, reports: list[EpochReport]) -> Iterator[Step]:
        """The rest of a curve, up to where the study's rule ends it."""
        surrogate = self.fitted[0]
        seconds = epoch_seconds(reports) if reports else surrogate.seconds(config)
        why = ""
        while not why:
            f1 = surrogate.next_f1(config, reports)
            reports.append(epoch_report(len(reports) + 1, f1, seconds))
            why = self._why_over(config, reports)
            ended = Outcome(state=State.COMPLETE, reason=why) if why else RUNNING
            yield Step(reports[-1], ended)

    def _why_over(self, config: Config, reports: Sequence[EpochReport]) -> str:
        if isinstance(config, BaselineConfig):
            return "fitted"  # in one epoch
        settings = self.recorded.settings
        return why_over(reports, max_epochs=settings.max_epochs, patience=settings.patience)
