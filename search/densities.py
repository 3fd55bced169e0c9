"""The density of a TPE's mixture, and draws from it, by SciPy's vectorised functions.

Optuna, which does without SciPy, works out each Gaussian mass in Python: of a few hundred trials
and candidates that takes tenths of a second, and this a few milliseconds. The values are the same.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.samplers._tpe.parzen_estimator import _ParzenEstimator
from scipy.special import log_ndtr, logsumexp, ndtri_exp

Floats = NDArray[np.floating[Any]]
HALF_LOG_2_PI = math.log(2 * math.pi) / 2


class Estimator(_ParzenEstimator):
    """Optuna's, drawing by `draw`."""

    def sample(self, rng: np.random.RandomState, size: int) -> dict[str, Floats]:
        """So many draws by parameter, as Optuna's own with the same generator."""
        return self._untransform(draw(self._mixture_distribution, rng, size))


def draw(mixture: Any, generator: np.random.RandomState, count: int) -> Floats:
    """So many points of the mixture, [count, parameters]: Optuna's own, to rounding.

    Args:
        mixture: see `log_density`.
        generator: asked for the same numbers in the same order as by Optuna.
        count: of the points.
    """
    kernels = generator.choice(len(mixture.weights), p=mixture.weights, size=count)
    points, numbers = np.empty((count, len(mixture.distributions))), []
    for place, distribution in enumerate(mixture.distributions):
        if hasattr(distribution, "weights"):  # of a category's choices, [kernels, choices]
            below = np.cumsum(distribution.weights[kernels, :-1], axis=1)
            points[:, place] = (below < generator.rand(count)[:, None]).sum(axis=1)
        else:
            numbers.append(place)
    for place, quantiles in zip(
        numbers, generator.uniform(size=(len(numbers), count)), strict=True
    ):
        points[:, place] = _at_quantiles(mixture.distributions[place], kernels, quantiles)
    return points


def _at_quantiles(distribution: Any, kernels: NDArray[Any], quantiles: Floats) -> Floats:
    """Of truncated normal kernels, one a quantile in [0, 1): [count]."""
    mu, sigma = distribution.mu[kernels], distribution.sigma[kernels]
    low, high = ((bound - mu) / sigma for bound in _bounds(distribution))
    right = low >= 0  # is seen as the left, where the logarithm of a tail is exact
    lower = np.where(right, -high, low)
    with np.errstate(divide="ignore"):  # of quantile 0
        shares = np.where(right, np.log1p(-quantiles), np.log(quantiles))
    found = ndtri_exp(np.logaddexp(log_ndtr(lower), shares + _log_mass(low, high)))
    values = np.where(right, -found, found).clip(low, high) * sigma + mu
    if distribution.is_log:
        values = np.exp(values)
    if distribution.step:
        steps = np.round((values - distribution.low) / distribution.step)
        values = distribution.low + steps * distribution.step
    return np.clip(values, distribution.low, distribution.high)


def _bounds(distribution: Any) -> tuple[float, float]:
    """On the scale of the kernels."""
    return distribution.adapted_low, distribution.adapted_high


def log_density(mixture: Any, points: Floats) -> Floats:
    """Logarithm of the density at points [points, parameters]: [points].

    `mixture` is Optuna's mixture of products: weights [kernels], and a distribution a parameter.
    """
    logs = np.tile(np.log(mixture.weights), (len(points), 1))
    for column, distribution in zip(points.T, mixture.distributions, strict=True):
        if hasattr(distribution, "weights"):  # of a category's choices, [kernels, choices]
            logs += np.log(distribution.weights).T[column.astype(np.int64)]
        elif distribution.step:
            values, places = np.unique(column, return_inverse=True)
            logs += _discrete(distribution, values)[places]
        else:
            logs += _continuous(distribution, column)
    return np.asarray(logsumexp(logs, axis=1))


def _continuous(distribution: Any, values: Floats) -> Floats:
    """Of truncated normal kernels at values [values]: [values, kernels]."""
    scaled = np.log(values) if distribution.is_log else values
    off = (scaled[:, None] - distribution.mu) / distribution.sigma
    return -(off**2) / 2 - HALF_LOG_2_PI - np.log(distribution.sigma) - _whole_mass(distribution)


def _discrete(distribution: Any, values: Floats) -> Floats:
    """Of the same kernels, each value standing for the step around it."""
    sides = np.stack([values - distribution.step / 2, values + distribution.step / 2])
    scaled = np.log(sides) if distribution.is_log else sides
    left, right = (scaled[:, :, None] - distribution.mu) / distribution.sigma
    return _log_mass(left, right) - _whole_mass(distribution)


def _whole_mass(distribution: Any) -> Floats:
    """Of each kernel between the parameter's bounds."""
    low, high = (np.array([_bounds(distribution)]).T - distribution.mu) / distribution.sigma
    return _log_mass(low, high)


def _log_mass(low: Floats, high: Floats) -> Floats:
    """Logarithm of a standard normal's mass between them; the right tail is seen as the left."""
    right = low > 0
    low, high = np.where(right, -high, low), np.where(right, -low, high)
    upper = log_ndtr(high)
    return upper + np.log1p(-np.exp(log_ndtr(low) - upper))
