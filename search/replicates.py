"""Trials that are settled beforehand: those of a search, again, with other seeds.

Where a search asks a sampler, a confirmation has a list. A trial's identity is the hash of its
config and its seed, so what the study holds is not run again, in whatever order it came.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from optuna.trial import TrialState, create_trial

from ..spaces.catalogue import Space
from ..spaces.configs import Config, HeadConfig, Mode, config_hash
from ..spaces.record import Footprint, Replicate, Role
from ..spaces.seeds import derive_seed
from .sampling import Proposal
from .study import Trial


@dataclass(frozen=True, slots=True)
class Wanted:
    """A trial of a confirmation."""

    config: Config
    role: Role  # of the searched trial
    replicate: Replicate
    seed: int

    @classmethod
    def of(cls, config: Config, role: Role, replicate: Replicate, study_seed: int) -> "Wanted":
        """With a seed that no trial of the search has: theirs follow from their numbers."""
        parts = replicate.number, float(replicate.train_fraction), int(replicate.with_validation)
        seed = derive_seed(study_seed, "confirm", config_hash(config), *map(str, parts))
        return cls(config, role, replicate, seed)

    @property
    def identity(self) -> tuple[str, int]:
        """What no other trial of the confirmation has."""
        return config_hash(self.config), self.seed


def left_of(wanted: Iterable[Wanted], trials: Iterable[Trial]) -> list[Wanted]:
    """Those that the study does not hold, in their order."""
    held = {(trial.config_hash, trial.seed) for trial in trials}
    return [one for one in wanted if one.identity not in held]


class Replicates:
    """Proposes what is wanted, in its order (see `sampling.Proposes`)."""

    def __init__(
        self,
        wanted: Sequence[Wanted],
        trials: Sequence[Trial],
        footprint_of: Callable[[Replicate], Callable[[Config], Footprint | None]],
    ) -> None:
        """Begin where the study stands.

        Args:
            wanted: all trials of the confirmation.
            trials: that the study holds.
            footprint_of: what tells footprints on the notes that a replicate learns from.
        """
        self._left, self._footprint_of = left_of(wanted, trials), footprint_of

    def propose(self, number: int, is_known: Callable[[Config], bool]) -> Proposal | None:
        """The next one; its config may be known, its seed is not."""
        del number, is_known
        if not self._left:
            return None
        one = self._left.pop(0)
        return Proposal(
            config=one.config,
            role=one.role,
            sampled=create_trial(state=TrialState.RUNNING),
            live=None,
            replicate=one.replicate,
            seed=one.seed,
            footprint=self._footprint_of(one.replicate),
        )

    def accept(self, proposal: Proposal, trial: Trial) -> None:
        """Nothing is learned from it."""

    def refuse(self, proposal: Proposal, footprint: Footprint) -> None:
        """Nothing is proposed in its place."""

    def settle(self, trial: Trial) -> None:
        """Nothing is learned from it."""


def space_of(configs: Sequence[Config]) -> Space:
    """These configs as a space, by which a run knows what to encode and which states travel."""
    modes = frozenset(config.mode for config in configs if isinstance(config, HeadConfig))
    return Space(
        "confirmation",
        lambda trial: configs[trial.number % len(configs)],
        controls=(),
        modes=modes or frozenset({Mode.FROZEN}),
    )
