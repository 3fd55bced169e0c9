"""The rule that ends a search when a better trial is unlikely."""

import numpy as np
import pytest

from headhunt.search.stopping import LEAST_TRIALS, chance_of_better


def drawn(seed: int, count: int, *, scale: float = 0.02) -> np.ndarray:
    """Scores below .9 with an exponential tail towards lower ones turned round: a bounded best."""
    return 0.9 - np.random.default_rng(seed).beta(2.0, 5.0, size=count) * scale * 10


def test_nothing_is_said_of_few_trials_and_none_can_come_of_no_trials():
    assert chance_of_better([0.5] * (LEAST_TRIALS - 1), 0.1, 1) == 1.0
    assert chance_of_better([0.5] * LEAST_TRIALS, 0.1, 0) == 0.0


def test_the_chance_falls_with_the_margin_and_grows_with_the_trials_that_may_come():
    scores = drawn(0, 60).tolist()

    by_margin = [chance_of_better(scores, margin, 50) for margin in (0.0, 0.01, 0.03, 0.1)]
    by_count = [chance_of_better(scores, 0.01, more) for more in (1, 10, 100, 1000)]

    assert by_margin == sorted(set(by_margin), reverse=True)
    assert by_count == sorted(set(by_count))


def test_of_exponential_scores_the_chance_is_what_happens():
    """The rule's own assumption: the mean of what it says is how often a record comes."""
    said, came = [], []
    for seed in range(400):
        scores = np.random.default_rng(seed).exponential(0.02, size=120)
        said.append(chance_of_better(scores[:60].tolist(), 0.01, 60))
        came.append(scores[60:].max() > scores[:60].max() + 0.01)

    assert np.mean(said) == pytest.approx(np.mean(came), abs=0.05)


def test_of_bounded_scores_it_errs_towards_going_on():
    said, came = [], []
    for seed in range(200):
        scores = drawn(seed, 120)
        said.append(chance_of_better(scores[:60].tolist(), 0.005, 60))
        came.append(scores[60:].max() > scores[:60].max() + 0.005)

    assert np.mean(said) > np.mean(came)


def test_a_search_that_still_climbs_is_judged_by_its_later_half():
    low, high = np.linspace(0.3, 0.6, 60).tolist(), np.linspace(0.6, 0.8, 60).tolist()

    assert chance_of_better([*low, *high], 0.01, 60) > 0.5
