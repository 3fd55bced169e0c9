"""TPE that proposes, of its candidates, one that the card will probably hold.

TPE draws candidates where good trials are and takes the one of the largest gain: the density of
good trials over that of the others. This one takes the largest gain among those that may fit,
by a guess from the footprints known so far. Its candidates can be drawn for several proposals at
once, as working out the densities takes far longer than drawing from them.
"""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.samplers import TPESampler
from optuna.study import Study
from optuna.trial import BaseTrial, FixedTrial, FrozenTrial

from .densities import Estimator, log_density
from .fits import Fits

# Of fitting, below which a candidate is set aside: it would need the luck of one standard
# deviation. A larger one keeps away from the border, where the best configs often are.
LEAST_CHANCE = 0.16
LOG_LEAST_CHANCE = math.log(LEAST_CHANCE)
CANDIDATES = 24  # of a proposal, as many as Optuna's own


class _Asked(FixedTrial):
    """Gives the values that it is told, and notes what it was asked for.

    Optuna's own makes a distribution of every parameter to check the value by: here TPE has drawn
    it from that very distribution, and a proposal asks for hundreds. So `distributions` is empty.
    """

    def __init__(self, value_of: Callable[[str], Any], number: int) -> None:
        """`value_of` raises a KeyError where it has none."""
        super().__init__({}, number)
        self._value_of, self._asked = value_of, dict[str, Any]()

    @property
    def params(self) -> dict[str, Any]:
        """What was asked for so far, in that order."""
        return self._asked

    def _give(self, name: str, *_: Any, **__: Any) -> Any:
        value = self._asked[name] = self._value_of(name)
        return value

    suggest_float = suggest_int = suggest_categorical = _give


class FittingTPE(TPESampler):
    """Optuna's TPE, with another choice among its candidates."""

    def __init__(
        self,
        suggest: Callable[[BaseTrial], object],
        fits: Fits,
        *,
        proposals: int = 1,
        **options: Any,
    ) -> None:
        """Make it for so many proposals: from one on it looks at no newer trials."""
        super().__init__(n_ei_candidates=CANDIDATES * proposals, **options)
        self._parzen_estimator_cls = Estimator
        self._suggest, self._fits, self.left = suggest, fits, proposals
        self._space: dict[str, BaseDistribution] = {}
        # Of each group of parameters that exist together: candidates by name, and their gains.
        self._drawn: list[tuple[dict[str, NDArray[Any]], NDArray[Any]]] = []
        self._seen = list(self._drawn)  # and of single parameters that no trial had

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Of the trials that it looks at."""
        if not self._drawn:
            self._space = super().infer_relative_search_space(study, trial)
        return self._space

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The parameters of the best candidate, all groups at once."""
        if not self._drawn:
            self._seen = []
            super().sample_relative(study, trial, search_space)
            self._drawn = list(self._seen)
        if not self._drawn:
            self.left = 0  # still the random start
            return {}
        self.left -= 1
        places = range(self.left * CANDIDATES, (self.left + 1) * CANDIDATES)
        if not self._fits.knows:  # all that is known fits
            return self._largest_gains(places, search_space)
        return self._fitting(places, search_space, trial)

    def _fitting(
        self, places: range, search_space: dict[str, BaseDistribution], trial: FrozenTrial
    ) -> dict[str, Any]:
        """The candidate of the largest gain that may fit; where none may, the likeliest to."""
        had = self._had(places, search_space, trial.number)
        gains = {place: self._gain(place, had[place] or search_space) for place in places}
        chances: dict[int, float] = {}
        for place in sorted(places, key=lambda place: -gains[place]):
            params = had[place]
            chances[place] = self._fits.log_chance(params) if params else LOG_LEAST_CHANCE
            if chances[place] >= LOG_LEAST_CHANCE:
                return self._candidate(place, self._drawn, search_space)
        likeliest = max(chances, key=chances.__getitem__)
        return self._candidate(likeliest, self._drawn, search_space)

    def _largest_gains(
        self, places: range, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The best of each group by itself, which is what Optuna's own takes."""
        params: dict[str, Any] = {}
        for samples, gains in self._drawn:
            best = places.start + int(gains[places.start : places.stop].argmax())
            params |= self._candidate(best, [(samples, gains)], search_space)
        return params

    @staticmethod
    def _candidate(
        place: int,
        drawn: list[tuple[dict[str, NDArray[Any]], NDArray[Any]]],
        search_space: dict[str, BaseDistribution],
    ) -> dict[str, Any]:
        """The parameters that these groups have at this place."""
        return {
            name: search_space[name].to_external_repr(values[place].item())
            for samples, _ in drawn
            for name, values in samples.items()
        }

    def _compute_acquisition_func(
        self, samples: dict[str, NDArray[Any]], mpe_below: Any, mpe_above: Any
    ) -> NDArray[Any]:
        """The gains, as Optuna's own, which it asks for once a group; what it sees is kept."""
        points = np.array(list(samples.values())).T
        below, above = mpe_below._mixture_distribution, mpe_above._mixture_distribution
        gains = log_density(below, points) - log_density(above, points)
        self._seen.append((samples, gains))
        return gains

    def _had(
        self, places: range, search_space: Mapping[str, BaseDistribution], number: int
    ) -> dict[int, dict[str, Any]]:
        """What each candidate's config has of its parameters; nothing where it is not known.

        A parameter is worked out when the config asks for it: most belong to other models. What
        TPE does not draw, because no trial that ran had it, is left open.
        """
        left_open = self._fits.some_values()
        columns = {
            name: (values, search_space[name].to_external_repr)
            for samples, _ in self._drawn
            for name, values in samples.items()
        }

        def value_of(name: str, place: int) -> Any:
            if name not in columns:
                return left_open[name]
            values, told = columns[name]
            return told(values[place].item())

        had: dict[int, dict[str, Any]] = {}
        for place in places:
            asked = _Asked(partial(value_of, place=place), number)
            try:
                self._suggest(asked)
            except Exception:  # a parameter that no trial had; a space that fails is told of later
                asked.params.clear()
            had[place] = {name: value for name, value in asked.params.items() if name in columns}
        return had

    def _gain(self, place: int, params: Mapping[str, object]) -> float:
        """Of the groups that a config has."""
        return sum(
            float(gains[place])
            for group, gains in self._drawn
            if not group.keys().isdisjoint(params)
        )
