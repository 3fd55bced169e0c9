"""TPE that proposes, of its candidates, one that the card will probably hold.

TPE draws candidates where good trials are and takes the one of the largest gain: the density of
good trials over that of the others. This one takes the largest gain among those that may fit,
by a guess from the footprints known so far. It is asked once for a proposal, and gives one.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.samplers import TPESampler
from optuna.study import Study
from optuna.trial import BaseTrial, FixedTrial, FrozenTrial

from .fits import Fits

# Of fitting, below which a candidate is set aside: it would need the luck of one standard
# deviation. A larger one keeps away from the border, where the best configs often are.
LEAST_CHANCE = 0.16


class FittingTPE(TPESampler):
    """Optuna's TPE, with another choice among its candidates."""

    def __init__(self, suggest: Callable[[BaseTrial], object], fits: Fits, **options: Any) -> None:
        super().__init__(**options)
        self._suggest, self._fits = suggest, fits
        # Of each group of parameters that exist together: candidates by name, and their gains.
        self._drawn: list[tuple[dict[str, NDArray[Any]], NDArray[Any]]] = []

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The parameters of the best candidate, all groups at once."""
        self._drawn = []
        params = super().sample_relative(study, trial, search_space)
        if not self._drawn or not self._fits.knows:
            return params  # still the random start, or all that is known fits
        candidates = [
            {
                name: search_space[name].to_external_repr(values[place].item())
                for group, _ in self._drawn
                for name, values in group.items()
            }
            for place in range(len(self._drawn[0][1]))
        ]
        worths = [self._worth(place, each, trial) for place, each in enumerate(candidates)]
        return candidates[worths.index(max(worths))]

    def _compute_acquisition_func(
        self, samples: dict[str, NDArray[Any]], mpe_below: Any, mpe_above: Any
    ) -> NDArray[Any]:
        """Optuna's own, which it calls for each group; what it sees is kept."""
        gains = super()._compute_acquisition_func(samples, mpe_below, mpe_above)
        self._drawn.append((samples, gains))
        return gains

    def _worth(
        self, place: int, params: Mapping[str, Any], trial: FrozenTrial
    ) -> tuple[float, float]:
        """What a candidate is compared by: its chance, as far as it lacks one; then its gain."""
        stand_in = FixedTrial({**self._fits.some_values(), **params}, trial.number)
        try:
            self._suggest(stand_in)
        except Exception:  # a parameter that no trial had; a space that fails says so when asked
            return math.log(LEAST_CHANCE), self._gain(place, params)
        # What TPE does not draw, because no trial that ran had it, is left open in the guess.
        had = {name: value for name, value in stand_in.params.items() if name in params}
        chance = self._fits.log_chance(had)
        return min(chance, math.log(LEAST_CHANCE)), self._gain(place, had)

    def _gain(self, place: int, params: Mapping[str, Any]) -> float:
        """Of the groups that a config has."""
        return sum(
            float(gains[place])
            for group, gains in self._drawn
            if not group.keys().isdisjoint(params)
        )
