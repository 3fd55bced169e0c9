import numpy as np
import pandas as pd
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import create_trial

from benchmarks import toy_study
from headhunt.analysis.importance import importance, importance_of
from headhunt.spaces.record import State

SPACE = {
    "rate": FloatDistribution(1e-4, 1e-1, log=True),
    "share": FloatDistribution(0.0, 1.0),
    "kind": CategoricalDistribution(("a", "b", "c")),
}


def searched(count, f1, *, seed=0):
    """Trials at random places of the space, whose F1 is a function of their parameters."""
    random = np.random.default_rng(seed)
    stored, rows = [], []
    for number in range(count):
        params = {
            "rate": float(10 ** random.uniform(-4, -1)),
            "share": float(random.uniform()),
            "kind": str(random.choice(["a", "b", "c"])),
        }
        trial = create_trial(value=0.0, params=params, distributions=SPACE)
        trial.number = number
        stored.append(trial)
        rows.append(
            {
                **{"trial": number, "state": State.COMPLETE, "role": "search", "family": "moe"},
                "f1": float(f1(params, random)),
            }
        )
    return pd.DataFrame(rows), stored


def by_rate(params, random):
    return 0.8 - 0.1 * (np.log10(params["rate"]) + 2.5) ** 2 + random.normal(0, 0.005)


def noise(params, random):
    del params
    return random.normal()


def level(params, random):
    del params, random
    return 0.5


def test_the_parameter_that_sets_the_score_comes_first_and_is_told_from_chance():
    found = importance_of(*searched(120, by_rate))

    first = found.table.iloc[0]
    assert (first["parameter"], first["told_from_chance"]) == ("rate", True)
    assert first["low"] <= first["importance"] <= 1
    assert not found.table["told_from_chance"].iloc[1:].any()
    assert found.table["importance"].sum() == pytest.approx(1.0)
    assert found.trials == 120
    assert "Told from chance: rate." in found.notes


def test_where_no_parameter_matters_none_is_told_from_chance():
    told = [
        importance_of(*searched(40, noise, seed=seed)).table["told_from_chance"].any()
        for seed in range(12)
    ]

    assert sum(told) <= 2  # at most one in twenty-one, in the long run


def test_few_trials_tell_nothing_and_say_so():
    found = importance_of(*searched(19, by_rate))

    assert found.table.empty
    assert found.notes == (
        "Nothing can be told of importance: 19 complete trials with parameters, and it takes 20.",
    )


def test_equal_scores_tell_nothing():
    found = importance_of(*searched(30, level))

    assert found.table.empty
    assert "the same F1" in found.notes[0]


def test_trials_without_a_score_and_unfinished_ones_do_not_count():
    frame, stored = searched(30, by_rate)
    frame.loc[:5, "f1"] = np.nan
    frame.loc[6:12, "state"] = State.PRUNED

    assert importance_of(frame, stored).trials == 30 - 13


def test_the_same_seed_gives_the_same_numbers():
    once, again = (importance_of(*searched(40, by_rate), seed=7) for _ in range(2))

    pd.testing.assert_frame_equal(once.table, again.table)


def test_a_recorded_study_with_conditional_parameters_finds_the_rate_that_made_its_scores(tmp_path):
    toy_study.record(tmp_path, trials=250)

    found = importance("lab", store=tmp_path)

    assert found.table["parameter"].iloc[0] == "scratch_learning_rate"
    assert found.table["told_from_chance"].iloc[0]
    assert "stopped at rungs" in found.notes[-1]
