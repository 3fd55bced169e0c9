"""What will probably fit the card, guessed from the footprints known so far.

A footprint is exact but takes tenths of a second; this guess takes a millisecond. It is a Gaussian
process on the logarithm of peak over limit, with a cubic kernel: memory is a sum of products of a
few choices (batch x length x width). Which choices matter, it learns too (automatic relevance).
It knows configs by the sampler's parameters, and nothing of what they mean.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from scipy.optimize import minimize
from scipy.special import log_ndtr
from threadpoolctl import ThreadpoolController

from ..spaces.record import Footprint

LEAST_KNOWN = 10  # footprints before anything is guessed
MOST_KNOWN = 200  # the latest: learning from them takes tenths of a second
BLOCK = 5  # footprints after which relevance is learned anew; a tenth of them where that is more
FRESH = 50  # of so many footprints one may be new to the process
STEPS = 30  # of the optimiser that learns it
# Of the prior on the logarithm of a weight. Without it, a process that knew 30 real footprints of
# `--space finetune` was 24 times as far off as it said; with it, twice.
SPREAD = 2.0
LOG_WEIGHT = (-12.0, 3.0)  # bounds
LOG_NOISE = (math.log(1e-6), 0.0)  # bounds, a share of the signal's variance
LEAST_VARIANCE = 1e-12  # where all footprints are equal
BLAS = ThreadpoolController()  # small matrices on all cores get slow where trials hold the cores

Params = Mapping[str, Any]
Floats = NDArray[np.floating[Any]]


class Fits:
    """Guesses whether configs fit, by their parameters."""

    def __init__(self) -> None:
        self._distributions: dict[str, BaseDistribution] = {}
        self._known: dict[tuple[tuple[str, Any], ...], float] = {}  # log of peak over limit
        self._any_over = False
        self._relevance: Relevance | None = None
        self._stage = (0, 0)  # blocks and columns that it was learned from
        self._process: Process | None = None  # None: to be made of what is known
        self._row_of: dict[tuple[tuple[str, Any], ...], Floats] = {}  # made when first wanted

    def learn(
        self, params: Params, distributions: Mapping[str, BaseDistribution], footprint: Footprint
    ) -> None:
        """Take in what a config needs; what was thought before of the same one is forgotten."""
        ratio = max(footprint.peak_bytes, 1) / max(footprint.limit_bytes, 1)
        key = tuple(sorted(params.items()))
        if key in self._known:
            self._relevance = None  # or it would depend on when it was learned, unlike on a resume
        again = key in self._known or not distributions.keys() <= self._distributions.keys()
        if any(self._distributions.get(name) != found for name, found in distributions.items()):
            self._row_of.clear()  # on another scale, with all that was learned from them
            self._relevance = self._process = None
        self._known[key] = math.log(ratio)
        self._distributions.update(distributions)
        self._any_over = self._any_over or ratio > 1
        if again or _whole(len(self._known), 1, FRESH) == len(self._known):
            self._process = None

    @property
    def knows(self) -> bool:
        """Whether there is something to guess from; False while all that is known fits."""
        return self._any_over and len(self._known) >= LEAST_KNOWN

    def some_values(self) -> dict[str, Any]:
        """A value that every parameter known so far can have."""
        return {name: _some_value(d) for name, d in self._distributions.items()}

    def log_chance(self, params: Params) -> float:
        """Logarithm of the probability that a config fits."""
        mean, deviation = self.margin(params)
        return float(log_ndtr(-mean / deviation))

    def margin(self, params: Params) -> tuple[float, float]:
        """Mean and standard deviation of log(peak / limit); below 0, it fits."""
        with BLAS.limit(limits=1):
            if self._process is None:
                self._process = self._learned()
            return self._process.guess(self._row(params))

    def _learned(self) -> "Process":
        count = len(self._known)
        known = list(self._known.items())[: _whole(count, 1, FRESH)]
        rows, logs = self._rows(known[-MOST_KNOWN:])
        # Of whole blocks alone: a resumed search, which learns all at once, then guesses what the
        # one does that never stopped.
        block = _whole(count, BLOCK, 10)
        stage = (block, rows.shape[1])
        if self._relevance is None or self._stage != stage:
            learned = Relevance.learned(*self._rows(known[:block][-MOST_KNOWN:]))
            self._relevance, self._stage = learned, stage
        return Process.of(rows, logs, self._relevance)

    def _rows(
        self, known: Sequence[tuple[tuple[tuple[str, Any], ...], float]]
    ) -> tuple[Floats, Floats]:
        """What is known: [footprints, columns], and [footprints]."""
        for key, _ in known:
            if key not in self._row_of:
                self._row_of[key] = self._row(dict(key))
        rows = np.stack([self._row_of[key] for key, _ in known])
        return rows, np.array([log for _, log in known])

    def _row(self, params: Params) -> Floats:
        """What a config has, as numbers; parameters that it does not have stand at 0."""
        row: list[float] = []
        for name, distribution in sorted(self._distributions.items()):
            row += _columns(distribution, params.get(name), there=name in params)
        return np.array(row)


def _whole(count: int, block: int, share: int) -> int:
    """How many of `count` are whole blocks, each a `share`-th of them where that is more.

    >>> _whole(49, 5, 10), _whole(149, 5, 10), _whole(150, 5, 10), _whole(1999, 5, 10)
    (45, 140, 150, 1950)
    """
    size = block * max(1, count // (block * share))
    return count - count % size


def _some_value(distribution: BaseDistribution) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[0]
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    return distribution.low


def _columns(distribution: BaseDistribution, value: Any, *, there: bool) -> list[float]:
    """A number in [-1, 1] on its own scale, or a place for each choice of a category."""
    if distribution.single():
        return []
    if isinstance(distribution, CategoricalDistribution):
        chosen = distribution.to_internal_repr(value) if there else None
        return [float(place == chosen) for place in range(len(distribution.choices))]
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    if not there:
        return [0.0]
    low, high = distribution.low, distribution.high
    if distribution.log:
        return [2 * math.log(value / low) / math.log(high / low) - 1]
    return [2 * (value - low) / (high - low) - 1]


@dataclass(frozen=True, slots=True)
class Relevance:
    """How much each column of the rows matters."""

    weights: Floats  # [columns], positive
    noise: float  # what the columns do not tell, a share of the signal's variance

    @classmethod
    def learned(cls, rows: Floats, logs: Floats) -> Self:
        """The likeliest relevance, found from a fixed start.

        Args:
            rows: [footprints, columns]
            logs: [footprints]
        """
        columns = rows.shape[1]
        found = minimize(
            surprise,
            np.array([_usual(columns)] * columns + [math.log(1e-3)]),
            args=(rows, logs - logs.mean()),
            jac=True,
            method="L-BFGS-B",
            bounds=[LOG_WEIGHT] * columns + [LOG_NOISE],
            options={"maxiter": STEPS},
        )
        return cls(np.exp(found.x[:-1]), math.exp(found.x[-1]))

    def covariance(self, rows: Floats) -> Floats:
        """Of rows [footprints, columns], over the signal's variance: [footprints, footprints]."""
        return self.shared(rows, rows) + self.noise * np.eye(len(rows))

    def shared(self, left: Floats, right: Floats) -> Floats:
        """The signal's part of it: [left, right]."""
        base = self.base(left, right)
        return base * base * base  # a power is worked out number by number, in 20 times as long

    def base(self, left: Floats, right: Floats) -> Floats:
        """What the cubic kernel takes the third power of: [left, right]."""
        return 1 + (left * self.weights) @ right.T


def surprise(scales: Floats, rows: Floats, logs: Floats) -> tuple[float, Floats]:
    """Negative log posterior at the signal's likeliest variance, and its gradient.

    Args:
        scales: logarithms of the weights and of the noise, [columns + 1]
        rows: [footprints, columns]
        logs: [footprints], of mean 0
    """
    relevance = Relevance(np.exp(scales[:-1]), math.exp(scales[-1]))
    covariance = relevance.covariance(rows)
    inverse = np.linalg.inv(covariance)
    pulled = inverse @ logs
    variance = float(logs @ pulled) / len(logs) + LEAST_VARIANCE
    likelihood = -(len(logs) * math.log(variance) + np.linalg.slogdet(covariance).logabsdet) / 2
    by_covariance = (inverse - np.outer(pulled, pulled) / variance) / 2
    base = relevance.base(rows, rows)
    by_base = by_covariance * 3 * base * base
    by_weights = np.einsum("ij,ij->j", rows, by_base @ rows) * relevance.weights
    off = (scales[:-1] - _usual(rows.shape[1])) / SPREAD
    return (
        float(off @ off) / 2 - likelihood,
        np.append(by_weights + off / SPREAD, by_covariance.trace() * relevance.noise),
    )


def _usual(columns: int) -> float:
    """Log weight at which many columns together weigh as much as few."""
    return -math.log(columns)


@dataclass(frozen=True, slots=True)
class Process:
    """The Gaussian process after it has seen the footprints."""

    rows: Floats  # [footprints, columns]
    relevance: Relevance
    mean: float
    variance: float  # of the signal
    inverse: Floats  # of the covariance over the variance, [footprints, footprints]
    pulled: Floats  # what each footprint adds to a guess, [footprints]

    @classmethod
    def of(cls, rows: Floats, logs: Floats, relevance: Relevance) -> Self:
        """Of rows [footprints, columns] and logs [footprints]."""
        mean = float(logs.mean())
        inverse = np.linalg.inv(relevance.covariance(rows))
        pulled = inverse @ (logs - mean)
        variance = float((logs - mean) @ pulled) / len(logs) + LEAST_VARIANCE
        return cls(rows, relevance, mean, variance, inverse, pulled)

    def guess(self, row: Floats) -> tuple[float, float]:
        """Mean and standard deviation at a row [columns]."""
        noise = self.relevance.noise
        shared = self.relevance.shared(row[None], self.rows)[0]
        own = self.relevance.shared(row[None], row[None]).item() + noise
        left = max(own - float(shared @ self.inverse @ shared), noise)
        return float(shared @ self.pulled) + self.mean, math.sqrt(self.variance * left)
