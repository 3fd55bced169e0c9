"""What a study's trials come to, counted as they change: no decision goes through all of them."""

from collections import Counter
from typing import TYPE_CHECKING

from ..spaces.record import STARTED, Outcome, State

if TYPE_CHECKING:
    from .study import Trial


class Tally:
    """Trials by state, and hours."""

    def __init__(self) -> None:
        self.states: Counter[State] = Counter()
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
        self.gpu_hours += trial.gpu_hours
        self._pay(trial, len(trial.reports))

    def report(self, trial: "Trial") -> None:
        """The trial has one epoch more."""
        self._pay(trial, 1)

    def end(self, trial: "Trial", outcome: Outcome) -> None:
        """The trial's outcome is about to be this one."""
        self.states[trial.state] -= 1
        self.states[outcome.state] += 1
        self.gpu_hours += trial.gpu_hours_on(outcome.device_fraction) - trial.gpu_hours

    def _pay(self, trial: "Trial", epochs: int) -> None:
        if not trial.footprint or not epochs:
            return
        self._marginal_hours += trial.footprint.card_hours_marginal(epochs)
        backbone = getattr(trial.config, "backbone", "")
        encoding = trial.footprint.encoding_seconds / 3600  # 0 where the backbone trains
        self._encoding_hours[backbone] = max(encoding, self._encoding_hours.get(backbone, 0.0))
