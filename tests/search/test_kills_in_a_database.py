"""The same with its study in a PostgreSQL database, where a write is a transaction."""

import random

import pytest

from .kills import make_lab, survive


@pytest.mark.proof
def test_a_search_in_a_database_that_is_killed_ends_as_one_that_never_was(
    tmp_path, database, forkserver
):
    seed = random.randrange(2**32)
    print(f"moments of seed {seed}")  # pytest shows it where the test fails
    chance = random.Random(seed)
    moments = [
        ("in a write", 1),  # the study itself
        ("in a write", chance.randint(2, 30)),
        ("after a start", 1),
        ("in an end", 1),
        ("after an end", 1),
        ("after an epoch", chance.randint(1, 9)),
        ("in time", chance.uniform(0.1, 4)),
    ]

    assert survive(make_lab(tmp_path, lambda _: database, forkserver), moments) >= 5
