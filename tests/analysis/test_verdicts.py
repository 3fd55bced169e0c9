"""What is said of confirmed models: no more than the figures hold."""

import pandas as pd
import pytest

from headhunt.analysis.verdicts import Facts, sentences

FACTS = {
    "study": "lab",
    "winner": 7,
    "by": "f1",
    "test_notes": 160,
    "groups": 80,
    "groups_are": "patients",
    "wanted_seeds": 5,
    "fraction": 1.0,
    "with_validation": False,
    "scorings": 15,
    "unfinished": 0,
}
BASELINE = {"trial": 0, "model": "tfidf_lr", "verdict": "baseline", "difference": None}
MISSING = {"difference_low": None, "difference_high": None, "validation_f1": 0.8, "gap": 0.01}


def model(trial, verdict, difference=0.05, **changes):
    return {
        "trial": trial,
        "model": f"model{trial}",
        "verdict": verdict,
        "difference": difference,
        "difference_low": difference - 0.04,
        "difference_high": difference + 0.04,
        "validation_f1": 0.84,
        "gap": 0.031,
        **changes,
    }


def said(*models, pairs=(), **facts):
    rows = [{"seeds": 5, "failed": 0, "test_f1": 0.8, **MISSING, **row} for row in models]
    columns = ["trial_a", "model_a", "trial_b", "model_b", "verdict"]
    told = sentences(
        Facts(**{**FACTS, **facts}), pd.DataFrame(rows), pd.DataFrame(list(pairs), columns=columns)
    )
    return " ".join(told)


def test_what_is_better_worse_and_undecided_is_said_in_this_order():
    told = said(model(7, "better"), BASELINE, model(8, "undecided", 0.01), model(9, "worse", -0.1))

    better = "Better than the best baseline, tfidf_lr (trial 0): model7 (trial 7) by +0.050 "
    assert told.startswith(f"{better}(+0.010 to +0.090). Worse than the best baseline")
    assert "model9 (trial 9) by -0.100 (-0.140 to -0.060). Cannot be told apart" in told
    assert (
        "Cannot be told apart from the best baseline, tfidf_lr (trial 0): model8 (trial 8)" in told
    )


@pytest.mark.parametrize(("groups", "models", "told"), [(5, 1, True), (6, 1, False), (7, 4, True)])
def test_of_too_few_patients_nothing_is_told(groups, models, told):
    others = [model(number, "undecided") for number in range(7, 7 + models)]

    found = said(*others, BASELINE, groups=groups)

    assert (f"Nothing can be told: with the notes of {groups} patients" in found) is told
    assert ("Cannot be told apart" in found) is not told


@pytest.mark.parametrize(
    ("gap", "told"),
    [
        (0.031, "has 0.800 on test, 0.031 less: a search picks lucky ones."),
        (-0.02, "has 0.800 on test, 0.020 more."),
        (0.0001, "has 0.800 on test, the same."),
    ],
)
def test_how_far_the_search_has_flattered_its_first_is_said(gap, told):
    found = said(model(7, "undecided", gap=gap), BASELINE)

    assert (
        f"The first by f1, model7 (trial 7), had F1 0.840 on validation in the search and {told}"
        in found
    )


@pytest.mark.parametrize(
    ("facts", "row", "told"),
    [
        (
            {"unfinished": 3},
            {},
            "3 trials of this confirmation have not ended: `headhunt confirm l",
        ),
        ({}, {"failed": 2}, "model7 (trial 7): 2 of 5 seeds failed or did not fit the card"),
        ({}, {"seeds": 1}, "what is said is of that one training"),
        ({"groups_are": "texts"}, {}, "Patients are not known: each text counts as one"),
        ({"with_validation": True}, {}, "trained on train and validation"),
        ({"fraction": 0.5}, {}, "trained on 0.5 of the training notes"),
        ({}, {}, "The test part, 160 notes of 80 patients, was scored 15 times, once each trial"),
    ],
)
def test_what_limits_it_is_said(facts, row, told):
    assert told in said(model(7, "undecided", **row), BASELINE, **facts)


def test_pairs_that_are_told_apart_are_named_and_the_others_counted():
    pairs = [(7, "a", 8, "b", "a"), (7, "a", 9, "c", "undecided"), (8, "b", 9, "c", "undecided")]

    told = said(model(7, "undecided"), BASELINE, pairs=pairs)

    assert "models, 3 pairs, told apart: a (trial 7) over b (trial 8); the other 2 pairs" in told


def test_a_gap_between_trainings_on_other_notes_is_not_called_luck():
    told = said(model(7, "undecided", gap=None), BASELINE)

    assert "0.800 on test, trained on other notes than there: what lies between is not" in told
    assert "lucky" not in told


def test_without_a_baseline_nothing_is_compared_with_one():
    assert said(model(7, None)).startswith("No baseline is complete")
