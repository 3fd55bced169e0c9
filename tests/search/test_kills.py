"""A search killed twenty times at the worst moments and at any, with its study in a folder."""

import random

import pytest

from .kills import make_lab, survive

ROUNDS = 20


def moments(seed: int) -> list[tuple[str, float]]:
    """The worst ones first, then any."""
    chance = random.Random(seed)
    worst: list[tuple[str, float]] = [
        ("before encoding", 1),
        ("during encoding", 1),
        ("after encoding", 1),
        ("in a write", 1),
        ("in a write", chance.randint(2, 12)),
        ("in a write", chance.randint(2, 30)),
        ("after a start", 2),
        ("before an end", 1),
        ("in an end", 1),
        ("in an end", 2),
        ("after an end", 1),
        ("after an epoch", chance.randint(1, 9)),
    ]
    return worst + [("in time", chance.uniform(0.1, 6)) for _ in range(ROUNDS - len(worst))]


@pytest.mark.proof
def test_a_search_that_is_killed_twenty_times_ends_as_one_that_never_was(tmp_path, forkserver):
    seed = random.randrange(2**32)
    print(f"moments of seed {seed}")  # pytest shows it where the test fails
    lab = make_lab(tmp_path, lambda study: str(tmp_path / f"work-{study}"), forkserver)

    assert survive(lab, moments(seed)) >= 12
