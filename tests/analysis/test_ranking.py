import math

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headhunt.analysis import pareto, rank, trials
from headhunt.analysis.ranking import ORDERS
from headhunt.spaces.record import RANKING_COLUMNS, State

from .recorded import TFIDF, Recorded, control, record

NAN = float("nan")
HOUR = 3600.0


@pytest.fixture
def study(tmp_path):
    """Records these trials as a study and reads them back."""

    def read(*recorded, **changes):
        record(tmp_path, recorded, **changes)
        return trials("lab", store=tmp_path)

    return read


def frame_of(rows):
    """A frame as `trials` makes one, from (f1, card hours) of complete trials."""
    words = {"state": "complete", "role": "search", "family": "heads", "model": "adapter"}
    return pd.DataFrame(
        {
            "trial": pd.Series(range(len(rows)), dtype="Int64"),
            **{name: pd.Series([word] * len(rows), dtype="string") for name, word in words.items()},
            "f1": pd.Series([f1 for f1, _ in rows], dtype="float64"),
            "card_hours": pd.Series([hours for _, hours in rows], dtype="float64"),
            "gpu_hours": pd.Series([NAN] * len(rows), dtype="float64"),
        }
    )


SCORES = st.one_of(st.sampled_from([0.5, 0.6, 0.7]), st.floats(0, 1), st.just(NAN))
HOURS = st.one_of(st.sampled_from([0.0, 1.0, 2.0]), st.floats(1e-6, 10), st.just(NAN))
FRAMES = st.lists(st.tuples(SCORES, HOURS), max_size=12).map(frame_of)
# A frame takes milliseconds, and this machine's cores are shared: no deadline, fewer examples.
slow_machine = settings(deadline=None, max_examples=50)


def test_trials_stand_by_f1_per_modelled_card_hour(study):
    frame = study(
        control(0.5),
        Recorded(f1=(0.9,), epoch_seconds=4 * HOUR),
        Recorded(f1=(0.6,), epoch_seconds=1 * HOUR),
        Recorded(f1=(0.8,), epoch_seconds=2 * HOUR),
    )

    ranking = rank(frame)

    assert ranking.table["trial"].tolist() == [2, 3, 1]
    assert ranking.table["rank"].tolist() == [1, 2, 3]
    assert ranking.table["f1_per_gpu_hour"].tolist() == pytest.approx([0.6, 0.4, 0.225])
    assert (ranking.by, ranking.hours, ranking.card) == (
        "f1-per-gpu-hour",
        "modelled",
        "Quadro P620",
    )


def test_a_ranked_trial_shows_f1_hours_memory_parameters_and_the_front_and_then_all_else(study):
    ranking = rank(study(control(0.5), Recorded()))

    assert list(ranking.table.columns)[:11] == [
        "rank",
        "trial",
        "model",
        "backbone",
        "mode",
        "f1_per_gpu_hour",
        "f1",
        "card_hours",
        "peak_mib",
        "trainable_parameters",
        "pareto",
    ]
    assert "bottleneck" in ranking.table.columns
    described = ranking.table.attrs["columns"]
    assert {c.name for c in RANKING_COLUMNS} <= set(ranking.table.columns) == set(described)


def test_measured_hours_divide_instead_and_trials_without_a_gpu_are_left_out_with_a_count(study):
    frame = study(
        control(0.5),
        Recorded(f1=(0.8,), epoch_seconds=9 * HOUR, device_fraction=0.5),
        Recorded(f1=(0.7,), epoch_seconds=1 * HOUR, device_fraction=0.1),
        Recorded(f1=(0.9,)),
    )

    ranking = rank(frame, hours="measured")

    assert ranking.table["trial"].tolist() == [2, 1]
    assert ranking.table["f1_per_gpu_hour"].tolist() == pytest.approx([0.7 * 600, 0.8 * 120])
    assert "1 complete trial without measured hours left out." in ranking.notes


def test_the_marginal_ratio_leaves_the_shared_encoding_out(study):
    frame = study(
        control(0.5),
        Recorded(f1=(0.8,), epoch_seconds=2 * HOUR, encoding_seconds=8 * HOUR),
        Recorded(f1=(0.6,), epoch_seconds=3 * HOUR),
    )

    assert rank(frame).table["trial"].tolist() == [2, 1]
    marginal = rank(frame, "f1-per-gpu-hour-marginal")
    assert marginal.table["trial"].tolist() == [1, 2]
    assert marginal.table["f1_per_gpu_hour_marginal"].tolist() == pytest.approx([0.4, 0.2])
    assert marginal.floor == 0.5


@pytest.mark.parametrize(
    ("hours", "kwh"), [("modelled", 2 * 40 / 1000), ("measured", 7200 / 3_600_000)]
)
def test_f1_per_kwh_is_of_modelled_or_measured_energy(study, hours, kwh):
    frame = study(control(0.5), Recorded(f1=(0.8,), epoch_seconds=2 * HOUR, device_fraction=0.5))

    ranking = rank(frame, "f1-per-kwh", hours=hours)

    assert ranking.table["f1_per_kwh"].tolist() == pytest.approx([0.8 / kwh])


def test_without_energy_the_ranking_is_by_f1_and_says_so(study):
    frame = study(control(0.5), Recorded(f1=(0.8,), measured=False, device_fraction=0.5))

    ranking = rank(frame, "f1-per-kwh", hours="measured")

    assert (ranking.by, ranking.floor) == ("f1", None)
    expected = "No complete trial has energy_kwh, so there is no f1-per-kwh: ranked by F1 instead."
    assert expected in ranking.notes


@pytest.mark.parametrize("state", [State.FAILED, State.INFEASIBLE, State.PRUNED, State.RUNNING])
@pytest.mark.parametrize("by", ORDERS)
def test_only_a_complete_trial_can_win(study, state, by):
    best = Recorded(f1=(1.0,), state=state, epoch_seconds=1.0, peak_mib=1, device_fraction=0.01)
    frame = study(control(0.5), Recorded(f1=(0.6,), device_fraction=1.0), best)

    ranking = rank(frame, by)

    assert ranking.table["trial"].tolist() == [1]
    assert f"Only complete trials are ranked; beside them: 1 {state}." in ranking.notes
    assert pareto(frame).tolist() == [False, True, False]


def test_a_failed_trial_whose_row_was_given_a_score_by_hand_cannot_win(study):
    frame = study(control(0.5), Recorded(f1=(0.6,)), Recorded(f1=(0.9,), state=State.FAILED))
    frame.loc[2, "f1"] = 0.9

    assert rank(frame).table["trial"].tolist() == [1]
    assert rank(frame, "f1").table["trial"].tolist() == [1]


@pytest.mark.parametrize("by", ["f1-per-gpu-hour", "f1", "card-hours", "accuracy"])
def test_a_score_that_is_no_number_never_ranks_and_is_counted(study, by):
    frame = study(control(0.5), Recorded(f1=(NAN,), best_epoch=1), Recorded(f1=(0.6,)))

    ranking = rank(frame, by)

    assert ranking.table["trial"].tolist() == [2]
    assert "1 complete trial without an F1 left out." in ranking.notes


def test_zero_hours_never_divide(study):
    frame = study(control(0.5), Recorded(f1=(0.6,), epoch_seconds=0.0), Recorded(f1=(0.7,)))

    ranking = rank(frame)

    assert ranking.table["trial"].tolist() == [2]
    assert "1 complete trial without modelled hours left out." in ranking.notes
    assert rank(frame, "card-hours").table["trial"].tolist() == [2]
    assert pareto(frame).tolist() == [False, False, True]


def test_the_floor_is_the_best_baselines_f1_and_what_it_leaves_out_is_told(study):
    frame = study(
        control(0.7),
        control(0.8),
        Recorded(f1=(0.8,), epoch_seconds=9 * HOUR),
        Recorded(f1=(0.79,), epoch_seconds=1.0),
        Recorded(f1=(0.4,), epoch_seconds=1.0),
    )

    ranking = rank(frame)

    assert ranking.floor == 0.8
    assert ranking.table["trial"].tolist() == [2]
    assert ranking.notes[-1] == (
        "The floor is F1 0.8000, the best baseline's (tfidf_lr, trial 1): "
        "2 trials below it left out."
    )


def test_a_baseline_that_is_not_complete_sets_no_floor(study):
    frame = study(control(0.9, state=State.FAILED), Recorded(f1=(0.4,)))

    ranking = rank(frame)

    assert ranking.floor is None
    assert ranking.table["trial"].tolist() == [1]
    assert "No baseline is complete, so no floor of F1 was applied." in ranking.notes


def test_another_floor_can_be_asked_for(study):
    frame = study(control(0.8), Recorded(f1=(0.79,)), Recorded(f1=(0.4,)))

    ranking = rank(frame, min_f1=0.5)

    assert ranking.table["trial"].tolist() == [1]
    assert ranking.notes[-1] == "The floor is F1 0.5000, as asked: 1 trial below it left out."


@pytest.mark.parametrize("best", [0.79, 0.7, 0.12345, 0.57])
def test_when_none_reaches_the_floor_the_floor_that_shows_the_best_is_told(study, best):
    frame = study(control(0.8), Recorded(f1=(0.01,)), Recorded(f1=(best,)))

    ranking = rank(frame)

    assert ranking.table.empty
    assert "No trial reaches the floor of F1 0.8000" in ranking.notes[-1]
    assert f"The best has F1 {best:.4f} (adapter, trial 2)" in ranking.notes[-1]
    told = float(ranking.notes[-1].split("--min-f1 ")[1].split()[0])
    assert rank(frame, min_f1=told).table["trial"].tolist() == [2]


def test_the_metrics_have_no_floor_unless_one_is_asked_for(study):
    frame = study(control(0.8), Recorded(f1=(0.4,)), Recorded(f1=(0.6,)))

    assert rank(frame, "f1").table["trial"].tolist() == [2, 1]
    assert rank(frame, "f1").floor is None
    assert rank(frame, "f1", min_f1=0.5).table["trial"].tolist() == [2]


@pytest.mark.parametrize("by", ["card-hours", "peak-mib", "trainable-parameters", "cpu-seconds"])
def test_the_costs_have_the_floor_because_a_useless_model_may_cost_nothing(study, by):
    frame = study(control(0.5), Recorded(f1=(0.1,), epoch_seconds=1.0, peak_mib=1), Recorded())

    assert rank(frame, by).table["trial"].tolist() == [2]


@pytest.mark.parametrize(
    ("by", "best"), [("card-hours", 1), ("peak_mib", 2), ("validation-loss", 3), ("recall", 3)]
)
def test_a_cost_ranks_from_the_smallest_and_a_metric_from_the_largest(study, by, best):
    frame = study(
        control(0.5),
        Recorded(f1=(0.6,), epoch_seconds=1 * HOUR, peak_mib=600),
        Recorded(f1=(0.7,), epoch_seconds=3 * HOUR, peak_mib=400),
        Recorded(f1=(0.8,), epoch_seconds=2 * HOUR, peak_mib=500),
    )

    assert rank(frame, by).table.loc[0, "trial"] == best


def test_baselines_stand_beside_the_ranking_by_f1_with_cpu_seconds_and_no_hours(study):
    searched = Recorded(config=TFIDF, f1=(0.75,), epoch_seconds=None)
    frame = study(control(0.7), control(0.8), searched, Recorded(f1=(0.9,)))

    ranking = rank(frame)

    assert ranking.controls["trial"].tolist() == [1, 2, 0]
    assert ranking.controls["cpu_seconds"].tolist() == [90.0] * 3
    assert ranking.controls["card_hours"].isna().all()
    assert ranking.table["trial"].tolist() == [3]


def test_a_study_of_baselines_alone_says_that_there_is_nothing_to_rank(study):
    ranking = rank(study(control(0.7)))

    assert ranking.table.empty
    assert ranking.notes == ("Only baselines are complete: there is nothing to rank beside them.",)


def test_without_a_card_the_ratio_is_refused_in_words_and_f1_ranks(study):
    trial = Recorded(epoch_seconds=None)
    frame = study(control(0.5), Recorded(f1=(0.4,), epoch_seconds=None), trial, card=None)

    ranking = rank(frame)

    assert (ranking.by, ranking.floor, ranking.card) == ("f1", None, None)
    assert ranking.table["trial"].tolist() == [2, 1]
    assert ranking.table[["f1_per_gpu_hour", "pareto"]].isna().all(axis=None)
    assert ranking.notes == (
        "The study has no card, so there are no modelled hours and no F1 per GPU-hour: "
        "ranked by F1 instead.",
    )


def test_where_the_other_hours_exist_the_note_names_them(study):
    frame = study(Recorded(epoch_seconds=None, device_fraction=1.0), card=None)
    assert "(1 trial with --hours measured)" in rank(frame).notes[0]


def test_measured_hours_without_a_gpu_are_told_and_f1_ranks(study):
    ranking = rank(study(control(0.5), Recorded()), hours="measured")

    assert ranking.by == "f1"
    assert "No complete trial ran on a GPU, so there are no measured hours" in ranking.notes[0]


def test_ties_go_to_the_larger_f1_then_to_fewer_hours_then_to_the_earlier_trial(study):
    frame = study(
        Recorded(f1=(0.4,), epoch_seconds=1 * HOUR),
        Recorded(f1=(0.8,), epoch_seconds=2 * HOUR),
        Recorded(f1=(0.8,), epoch_seconds=2 * HOUR),
        Recorded(f1=(0.8,), epoch_seconds=3 * HOUR),
    )

    assert rank(frame).table["trial"].tolist() == [1, 2, 0, 3]
    assert rank(frame, "f1").table["trial"].tolist() == [1, 2, 3, 0]
    assert rank(frame, "peak-mib").table["trial"].tolist() == [1, 2, 3, 0]


def test_equal_trials_are_on_the_front_together():
    frame = frame_of([(0.8, 1.0), (0.8, 1.0), (0.8, 2.0), (0.7, 1.0), (0.9, 3.0), (0.6, 0.5)])

    assert pareto(frame).tolist() == [True, True, False, False, True, True]


def test_a_floor_does_not_change_who_is_on_the_front(study):
    frame = study(
        control(0.7),
        Recorded(f1=(0.6,), epoch_seconds=1 * HOUR),
        Recorded(f1=(0.8,), epoch_seconds=2 * HOUR),
        Recorded(f1=(0.75,), epoch_seconds=3 * HOUR),
    )

    table = rank(frame).table.set_index("trial")

    assert table["pareto"].to_dict() == {2: True, 3: False}
    assert pareto(frame).tolist() == [False, True, True, False]


def test_trials_of_several_studies_are_ranked_together_and_different_corpora_are_told(tmp_path):
    record(tmp_path, [control(0.5), Recorded(f1=(0.6,))], study="b")
    other = {"corpus": {"digest": "d1"}}
    record(tmp_path, [Recorded(f1=(0.6,)), Recorded(f1=(0.8,))], study="a", manifest=other)

    ranking = rank(trials(["b", "a"], store=tmp_path))

    places = list(zip(ranking.table["study"], ranking.table["trial"], strict=True))
    assert places == [("a", 1), ("a", 0), ("b", 1)]
    assert (
        "The studies differ in their corpus: scores do not compare between them." in ranking.notes
    )


def test_a_frame_without_trials_ranks_to_nothing(study):
    ranking = rank(study())

    assert ranking.table.empty
    assert ranking.controls.empty
    assert ranking.notes == ()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"by": "speed"}, "by one of f1-per-gpu-hour, .* by='speed'"),
        ({"min_f1": 81}, r"in \[0, 1\]; got min_f1=81"),
        ({"min_f1": NAN}, r"in \[0, 1\]; got min_f1=nan"),
        ({"hours": "cpu"}, "modelled, measured; got hours='cpu'"),
    ],
)
def test_an_unknown_order_floor_or_kind_of_hours_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        rank(frame_of([]), **options)


def dominates(one, other):
    better = one["f1"] >= other["f1"] and one["card_hours"] <= other["card_hours"]
    return better and (one["f1"] > other["f1"] or one["card_hours"] < other["card_hours"])


@slow_machine
@given(FRAMES)
def test_a_ranked_trial_is_on_the_front_exactly_when_no_other_dominates_it(frame):
    rows = rank(frame).table.to_dict("records")

    for row in rows:
        if not pd.isna(row["pareto"]):
            assert row["pareto"] == (not any(dominates(other, row) for other in rows))


@slow_machine
@given(
    FRAMES,
    st.randoms(use_true_random=False),
    st.sampled_from(["f1-per-gpu-hour", "f1", "card-hours"]),
)
def test_the_order_of_the_rows_never_changes_the_ranking(frame, random, by):
    rows = list(frame.index)
    random.shuffle(rows)

    ranking, shuffled = rank(frame, by), rank(frame.loc[rows], by)

    assert ranking.table["trial"].tolist() == shuffled.table["trial"].tolist()
    assert ranking.table["pareto"].tolist() == shuffled.table["pareto"].tolist()
    assert ranking.notes == shuffled.notes
    assert pareto(frame).equals(pareto(frame.loc[rows]).sort_index())


@slow_machine
@given(FRAMES)
def test_ranked_ratios_are_finite_and_fall(frame):
    ranking = rank(frame)

    if ranking.by == "f1-per-gpu-hour":
        ratios = ranking.table["f1_per_gpu_hour"].tolist()
        assert all(math.isfinite(ratio) for ratio in ratios)
        assert ratios == sorted(ratios, reverse=True)
