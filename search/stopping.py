"""When a better trial has become unlikely: the rule that a user can let end a search.

Scores of trials are taken as draws whose upper tail is exponential (peaks over a threshold: Davison
and Smith 1990). F1 cannot pass 1 and so has a lighter tail, and a sampler that still learns draws
better than before: only the later half of the trials is looked at. How often the rule is wrong
stands in docs/benchmarks.md.
"""

from collections.abc import Sequence

import numpy as np
from scipy.special import gammaincinv

LEAST_TRIALS = 20  # that are looked at, before anything is said
TAIL = 0.2  # of them are the upper tail
LEAST_TAIL = 5
STEPS = 100
UNLIKELY = 0.05


def chance_of_better(scores: Sequence[float], margin: float, more: int) -> float:
    """The probability that one of `more` trials beats the best of all by the margin.

    The rate at which the tail falls is guessed from few trials: what it may be, under Jeffreys'
    prior a gamma distribution, is gone through in steps of equal probability.

    Args:
        scores: of all trials that have ended, in their order; a trial without one has 0.
        margin: by which the best is to be beaten, in the scores' own unit.
        more: trials that may still come.

    >>> chance_of_better([0.8] * 100, 0.01, 100) < 0.001, chance_of_better([0.8] * 19, 0.01, 100)
    (True, 1.0)
    """
    if more <= 0:
        return 0.0
    looked_at = np.sort(scores[-max(LEAST_TRIALS, len(scores) // 2) :])
    if len(looked_at) < LEAST_TRIALS:
        return 1.0
    tail = max(LEAST_TAIL, round(TAIL * len(looked_at)))
    threshold = looked_at[-tail - 1]
    excesses = float((looked_at[-tail:] - threshold).sum()) + 1e-12
    beyond = max(scores) + margin - threshold
    rates = gammaincinv(tail, (np.arange(STEPS) + 0.5) / STEPS) / excesses
    one = tail / len(looked_at) * np.exp(-rates * beyond)
    return float(abs(np.expm1(more * np.log1p(-one))).mean())
