from itertools import pairwise
from math import ceil

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from headhunt.search.rungs import Rungs, rung_epochs

SCORES = st.lists(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75, 1.0]), min_size=1, max_size=30)


@given(first=st.integers(1, 50), spare=st.integers(1, 500), spacing=st.integers(2, 6))
@example(first=1, spare=242, spacing=3)  # 243 = 3**5: floating-point logarithms lose the top rung
@example(first=1, spare=243, spacing=3)
def test_rungs_grow_by_their_spacing_and_stay_below_the_last_epoch(first, spare, spacing):
    last = first + spare

    rungs = rung_epochs(first=first, last=last, spacing=spacing)

    assert rungs[0] == first
    assert all(later == earlier * spacing for earlier, later in pairwise(rungs))
    assert rungs[-1] < last <= rungs[-1] * spacing


@pytest.mark.parametrize(("last", "top"), [(243, 81), (244, 243)])
def test_the_top_rung_of_243_is_there_when_an_epoch_is_left_after_it(last, top):
    assert rung_epochs(first=1, last=last, spacing=3)[-1] == top


def test_a_first_rung_past_the_last_epoch_is_refused():
    with pytest.raises(ValueError, match="first=20 and last=10"):
        rung_epochs(first=20, last=10, spacing=3)


def test_rungs_that_do_not_move_on_are_refused():
    with pytest.raises(ValueError, match="twice the epochs of the last at least; got spacing=1"):
        rung_epochs(first=1, last=10, spacing=1)


def test_an_eta_that_stops_nobody_is_refused():
    with pytest.raises(ValueError, match="eta must be at least 2; got eta=1"):
        Rungs((1,), eta=1)


@given(scores=SCORES, eta=st.integers(2, 5))
def test_the_best_recorded_so_far_always_goes_on(scores, eta):
    rungs = Rungs((1,), eta)
    for trial, score in enumerate(scores):
        rungs.record("family", trial, 1, score)

        best = max(range(trial + 1), key=scores.__getitem__)
        assert rungs.goes_on("family", best, 1)


@given(
    scores=st.lists(st.floats(0, 1), min_size=1, max_size=30, unique=True), eta=st.integers(2, 5)
)
def test_of_all_that_stand_at_a_rung_one_in_eta_rounded_up_goes_on(scores, eta):
    rungs = Rungs((1,), eta)
    for trial, score in enumerate(scores):
        rungs.record("family", trial, 1, score)

    going = [trial for trial in range(len(scores)) if rungs.goes_on("family", trial, 1)]

    assert len(going) == ceil(len(scores) / eta)
    assert min(scores[t] for t in going) >= sorted(scores, reverse=True)[len(going) - 1]


@given(scores=SCORES, eta=st.integers(2, 5))
def test_equal_scores_share_their_fate(scores, eta):
    rungs = Rungs((1,), eta)
    for trial, score in enumerate(scores):
        rungs.record("family", trial, 1, score)

    for trial, score in enumerate(scores):
        twins = [t for t, other in enumerate(scores) if other == score]
        assert {rungs.goes_on("family", t, 1) for t in twins} == {rungs.goes_on("family", trial, 1)}


def test_a_trial_is_judged_against_its_family_alone():
    rungs = Rungs((1,), 2)
    for trial in range(4):
        rungs.record("strong", trial, 1, 0.9)
    rungs.record("weak", 4, 1, 0.1)

    assert rungs.goes_on("weak", 4, 1)


def test_an_epoch_that_is_no_rung_stops_nobody():
    rungs = Rungs((1, 3), 3)
    for trial, score in enumerate((0.9, 0.8, 0.7, 0.1)):
        rungs.record("family", trial, 2, score)

    assert all(rungs.goes_on("family", trial, 2) for trial in range(4))


def test_a_trial_that_ended_early_stands_at_every_later_rung():
    rungs = Rungs((1, 3, 9), 3)
    rungs.record_end("family", 0, 2, 0.9)
    for epoch in (3, 9):
        rungs.record("family", 1, epoch, 0.5)

    assert rungs.goes_on("family", 1, 1)
    assert not rungs.goes_on("family", 1, 3)
    assert not rungs.goes_on("family", 1, 9)


def test_a_score_recorded_again_takes_the_place_of_the_first():
    rungs = Rungs((1,), 2)
    rungs.record("family", 0, 1, 0.9)
    rungs.record("family", 1, 1, 0.1)
    rungs.record("family", 1, 1, 0.95)

    assert rungs.goes_on("family", 1, 1)
    assert not rungs.goes_on("family", 0, 1)


def test_a_trial_that_is_forgotten_ends_nobody():
    rungs = Rungs((1, 3), 3)
    for trial, score in enumerate((0.9, 0.8, 0.7, 0.5)):
        rungs.record("family", trial, 1, score)
    rungs.record_end("family", 0, 1, 0.9)
    rungs.record("family", 3, 3, 0.5)

    for trial in range(3):
        rungs.forget("family", trial)

    assert rungs.goes_on("family", 3, 1)
    assert rungs.goes_on("family", 3, 3)
