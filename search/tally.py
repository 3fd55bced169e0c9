"""What a study's trials come to, counted as they change: no decision goes through all of them."""

from collections import Counter, defaultdict
from math import inf, isfinite
from typing import TYPE_CHECKING

from ..spaces.record import STARTED, Outcome, State

if TYPE_CHECKING:
    from .study import Trial


class ModelTally:
    """A head on one backbone in one mode, a scratch model, or a baseline: a row of `compare`."""

    def __init__(self) -> None:
        self.states: Counter[State] = Counter()
        self.best: Trial | None = None  # complete; of equal F1 the one with fewer hours
        self._marginal_hours = 0.0
        self._encoding_hours: float | None = None  # None: nothing is modelled

    @property
    def card_hours(self) -> float | None:
        """Modelled hours of all its trials, the encoding once; None where nothing is modelled."""
        if self._encoding_hours is None:
            return None
        return self._marginal_hours + self._encoding_hours

    def pay(self, trial: "Trial", epochs: int) -> None:
        """So many epochs more."""
        if trial.footprint is None:
            return
        encoding = trial.footprint.encoding_seconds / 3600 if epochs else 0.0
        self._encoding_hours = max(encoding, self._encoding_hours or 0.0)
        self._marginal_hours += trial.footprint.card_hours_marginal(epochs)

    def complete(self, trial: "Trial") -> None:
        """A complete trial, which may be the best."""
        if trial.best is None or not isfinite(trial.best.f1):
            return
        if self.best is None or _order(trial) < _order(self.best):
            self.best = trial


def _order(trial: "Trial") -> tuple[float, float, int]:
    """The smaller the better: larger F1, fewer hours, earlier; as in `analysis.compare`."""
    f1 = trial.best.f1 if trial.best else 0.0
    return -f1, trial.card_hours or inf, trial.number


class Tally:
    """Trials by state, and hours."""

    def __init__(self) -> None:
        self.states: Counter[State] = Counter()
        self.models: defaultdict[tuple[str, str, str], ModelTally] = defaultdict(ModelTally)
        self.gpu_hours = 0.0  # measured
        self._marginal_hours = 0.0  # modelled, of the epochs
        self._encoding_hours: dict[str, float] = {}  # by backbone

    @property
    def started(self) -> int:
        """Trials that a budget counts."""
        return sum(self.states[state] for state in STARTED)

    @property
    def card_hours(self) -> float:
        """Modelled hours spent: every epoch paid, and each backbone's encoding once."""
        return self._marginal_hours + sum(self._encoding_hours.values())

    def add(self, trial: "Trial") -> None:
        """A trial as it stands, new to the study."""
        self.states[trial.state] += 1
        self._model(trial).states[trial.state] += 1
        self.gpu_hours += trial.gpu_hours
        self._pay(trial, len(trial.reports))
        if trial.state is State.COMPLETE:
            self._model(trial).complete(trial)

    def report(self, trial: "Trial") -> None:
        """The trial has one epoch more."""
        self._pay(trial, 1)

    def end(self, trial: "Trial", outcome: Outcome) -> None:
        """The trial's outcome is about to be this one."""
        model = self._model(trial)
        for states in (self.states, model.states):
            states[trial.state] -= 1
            states[outcome.state] += 1
        if outcome.state is State.COMPLETE:
            model.complete(trial)
        self.gpu_hours += trial.gpu_hours_on(outcome.device_fraction) - trial.gpu_hours

    def _model(self, trial: "Trial") -> ModelTally:
        config = trial.config
        return self.models[
            config.model, getattr(config, "backbone", ""), getattr(config, "mode", "")
        ]

    def _pay(self, trial: "Trial", epochs: int) -> None:
        self._model(trial).pay(trial, epochs)
        if not trial.footprint or not epochs:
            return
        self._marginal_hours += trial.footprint.card_hours_marginal(epochs)
        backbone = getattr(trial.config, "backbone", "")
        encoding = trial.footprint.encoding_seconds / 3600  # 0 where the backbone trains
        self._encoding_hours[backbone] = max(encoding, self._encoding_hours.get(backbone, 0.0))
