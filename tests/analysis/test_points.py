import doctest

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score

from headhunt.analysis import curves, points, trials
from headhunt.analysis.ends import ends, energy, reasons
from headhunt.analysis.figures.learning import learning_curves
from headhunt.analysis.points import drawn_curves, learning, parallel, rough_interval, spending
from headhunt.spaces.configs import HeadConfig, Optimisation
from headhunt.spaces.heads import AdapterHead
from headhunt.spaces.record import State

from .recorded import MIB, TRANSFORMER, Recorded, control, record

NAN = float("nan")
PARTS = {"corpus": {"digest": "d", "classes": ["a", "b"], "parts": {"validation": 200}}}


def adapter(rate, bottleneck=16):
    return HeadConfig(
        backbone="minilm",
        head=AdapterHead(bottleneck=bottleneck),
        optimisation=Optimisation(learning_rate=rate),
    )


@pytest.fixture
def frame(tmp_path):
    """Records these trials as a study and reads them back."""

    def read(*recorded, **changes):
        record(tmp_path, recorded, **changes)
        return trials("lab", store=tmp_path)

    return read


def test_the_examples_hold():
    assert doctest.testmod(points).failed == 0


def test_a_rough_interval_holds_the_macro_f1_of_a_larger_draw_nineteen_times_in_twenty():
    # Two classes of one size, of which a model tells 85 % right, over and over.
    random, notes = np.random.default_rng(0), 200
    f1 = []
    for _ in range(500):
        truth = random.integers(0, 2, notes)
        said = np.where(random.uniform(size=notes) < 0.85, truth, 1 - truth)
        f1.append(f1_score(truth, said, average="macro"))
    low, high = rough_interval(pd.Series(f1), notes)

    assert 0.92 <= ((low <= 0.85) & (high >= 0.85)).mean() <= 0.98


def test_a_rough_interval_stays_within_0_and_1_and_narrows_with_notes():
    ends_of = [rough_interval(pd.Series([0.0, 0.5, 1.0]), notes) for notes in (10, 1000)]

    for low, high in ends_of:
        assert (low >= -1e-12).all()
        assert (high <= 1 + 1e-12).all()
    assert (ends_of[1][1] - ends_of[1][0] < ends_of[0][1] - ends_of[0][0]).all()


def test_without_a_count_of_validation_notes_there_is_no_interval(frame):
    placed = points.points(frame(Recorded()))

    assert placed[["f1_low", "f1_high"]].isna().all(axis=None)


def test_points_are_the_trials_with_a_score_and_carry_their_settings(frame):
    placed = points.points(
        frame(
            Recorded(config=adapter(0.00123456)),
            Recorded(state=State.FAILED),
            Recorded(f1=(NAN,)),
            control(0.7),
            manifest=PARTS,
        )
    )

    assert list(placed["trial"]) == [0, 3]
    assert "learning_rate 0.00123," in placed["settings"][0]
    assert list(placed["control"]) == [False, True]
    assert placed["f1_low"].notna().all()


def test_spending_counts_every_end_and_a_backbones_encoding_once(frame):
    spent = spending(
        frame(
            Recorded(f1=(0.5, 0.6), encoding_seconds=1800.0),
            Recorded(f1=(0.9,), state=State.PRUNED, encoding_seconds=1800.0),
            Recorded(f1=(0.7,), encoding_seconds=1800.0),
            Recorded(f1=(0.4,), config=TRANSFORMER),
            control(0.8),
        )
    )

    heads = spent[spent["family"].str.startswith("camembert")]
    assert list(heads["spent_hours"]) == pytest.approx([2.5, 3.5, 4.5])  # an hour an epoch
    assert list(heads["best_f1"]) == [0.6, 0.6, 0.7]  # the pruned one's does not count
    assert list(spent[~spent.index.isin(heads.index)]["spent_hours"]) == [1.0]


def test_learning_counts_who_trained_and_who_was_stopped(tmp_path):
    record(
        tmp_path,
        [
            Recorded(f1=(0.1, 0.2, 0.6)),
            Recorded(f1=(0.3,), state=State.PRUNED),
            Recorded(f1=(0.9, NAN), state=State.FAILED),
        ],
    )
    table = learning(curves("lab", store=tmp_path)).set_index("epoch")

    assert list(table["trained"]) == [3, 2, 1]  # the failed one too, but its F1 is none
    assert list(table["stopped"]) == [1, 0, 0]
    assert list(table["best_f1"]) == [0.3, 0.2, 0.6]
    assert table["median_f1"][1] == pytest.approx(0.2)


def test_of_many_curves_the_best_are_drawn_and_the_others_thinned(tmp_path):
    record(tmp_path, [Recorded(f1=(0.0,))])
    one = curves("lab", store=tmp_path)
    drawn = drawn_curves(pd.concat([one.assign(trial=n, f1=n / 1000) for n in range(500)]))

    assert drawn["trial"].nunique() <= 200
    assert set(range(460, 500)) <= set(drawn["trial"])
    assert list(drawn.loc[drawn["best"], "trial"]) == [499]


def test_neither_a_failed_nor_an_unfinished_trial_is_drawn_as_the_best(tmp_path):
    others = (State.FAILED, State.PRUNED, State.RUNNING)
    record(tmp_path, [Recorded(f1=(0.9, 0.8), state=state) for state in others])
    ended = [Recorded(f1=(0.5,)), *(Recorded(f1=(0.9,), state=state) for state in others)]
    record(tmp_path, ended, study="two")
    none, one = (drawn_curves(curves(name, store=tmp_path)) for name in ("lab", "two"))

    assert not none["best"].any()
    assert "No trial is complete." in learning_curves(none, learning(none), {}).finding
    assert list(one.loc[one["best"], "trial"]) == [0]
    assert "0.5000, is trial 0's" in learning_curves(one, learning(one), {}).finding
    across = parallel(trials("two", store=tmp_path))
    assert set(across.loc[across["best"], "trial"]) <= {0}


def test_parallel_lays_each_parameter_out_between_0_and_1(frame):
    table = parallel(
        frame(
            *(
                Recorded(f1=(0.5 + n / 100,), config=adapter(10.0 ** -(1 + n % 4), 2 ** (n % 3)))
                for n in range(12)
            )
        )
    )
    by_axis = table.groupby("axis")["position"]

    assert set(by_axis.groups) == {"f1", "learning_rate", "bottleneck"}  # what varies, alone
    assert (by_axis.min() >= 0).all()
    assert (by_axis.max() <= 1).all()
    assert sorted(table.loc[table["best"], "trial"].unique()) == [10, 11]
    assert table[table["axis"] == "bottleneck"].groupby("told")["position"].nunique().max() > 1


def test_a_parameter_of_many_values_and_a_wide_range_is_laid_out_by_its_logarithm(frame):
    table = parallel(
        frame(*(Recorded(f1=(0.5 + n / 100,), config=adapter(10.0**-n)) for n in range(1, 8)))
    )
    rates = table[table["axis"] == "learning_rate"].set_index("trial")["position"]

    assert list(rates.sort_index()) == pytest.approx([n / 6 for n in range(6, -1, -1)])


def test_ends_and_reasons_tell_what_did_not_fit_by_how_much(frame):
    read = frame(
        Recorded(),
        Recorded(state=State.INFEASIBLE, peak_mib=1848, reason="needs 1848 MiB"),
        Recorded(state=State.INFEASIBLE, peak_mib=2748, reason="needs 2748 MiB"),
        Recorded(state=State.FAILED, f1=(), reason="diverged", config=TRANSFORMER),
        Recorded(state=State.INFEASIBLE, excess_bytes=7 * MIB, reason="as measured"),
    )
    heads = ends(read).set_index("family").loc["camembert-bio-base frozen"].to_dict()
    why = reasons(read)

    assert (heads["trials"], heads["complete"], heads["infeasible"]) == (4, 1, 3)
    assert list(why["state"]) == ["infeasible", "failed"]
    assert list(why["least_excess_mib"].dropna()) == [7]  # one that failed has none
    assert list(why["largest_excess_mib"].dropna()) == [1000]
    assert list(why["reason"]) == ["needs 1848 MiB", "diverged"]


def test_energy_is_told_as_modelled_and_as_measured(frame):
    table = energy(frame(Recorded(f1=(0.5, 0.6)), control(0.7, measured=False)))

    assert list(table["family"]) == ["baselines", "camembert-bio-base frozen"]
    modelled, measured = table["total_card_energy_kwh"], table["total_energy_kwh"]
    assert list(modelled) == pytest.approx([NAN, 2 * 40 / 1000], nan_ok=True)
    assert list(measured) == pytest.approx([NAN, 2 * 7200 / 3.6e6], nan_ok=True)


@pytest.mark.parametrize("made", [spending, ends, reasons, energy, points.points, parallel])
def test_a_study_without_a_trial_makes_an_empty_table(frame, made):
    assert made(frame()).empty
