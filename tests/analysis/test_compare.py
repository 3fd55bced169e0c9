import math
from typing import Any

import pandas as pd
import pytest

from headhunt.analysis import compare, rank, trials
from headhunt.spaces.configs import BaselineConfig, HeadConfig, Mode
from headhunt.spaces.heads import AdapterHead, GrnHead
from headhunt.spaces.record import COMPARISON_COLUMNS, State

from .recorded import ADAPTER, TRANSFORMER, Recorded, control, record

NAN = float("nan")
HOUR = 3600.0
GRN = HeadConfig(backbone=ADAPTER.backbone, head=GrnHead())
LORA = HeadConfig(
    backbone=ADAPTER.backbone, head=AdapterHead(), mode=Mode.LORA, lora_rank=8, lora_alpha=16
)


@pytest.fixture
def study(tmp_path):
    """Records these trials as a study and reads them back."""

    def read(*recorded, study="lab", **changes):
        record(tmp_path, recorded, study=study, **changes)
        return trials(study, store=tmp_path)

    return read


def row(comparison, model, **where):
    table = comparison.table
    for name, value in {"model": model, **where}.items():
        table = table[table[name] == value]
    (found,) = table.to_dict("records")
    return found


def test_a_row_is_a_head_on_a_backbone_in_a_mode_a_scratch_model_or_a_baseline(study):
    frame = study(
        control(0.7),
        Recorded(config=BaselineConfig(model="tfidf_mlp"), f1=(0.72,), epoch_seconds=None),
        *(Recorded(config=config) for config in (ADAPTER, ADAPTER, GRN, LORA, TRANSFORMER)),
    )

    table = compare(frame).table

    assert [c.name for c in COMPARISON_COLUMNS] == list(table.columns)
    found = set(zip(table["model"], table["mode"].fillna("-"), table["trials"], strict=True))
    assert found == {
        ("tfidf_lr", "-", 1),
        ("tfidf_mlp", "-", 1),
        ("adapter", "frozen", 2),
        ("adapter", "lora", 1),
        ("grn", "frozen", 1),
        ("transformer", "-", 1),
    }


def test_a_row_has_the_metrics_and_costs_of_its_best_complete_trial(study):
    frame = study(
        Recorded(f1=(0.5, 0.9), epoch_seconds=HOUR, encoding_seconds=HOUR),
        Recorded(f1=(0.8,), epoch_seconds=HOUR, encoding_seconds=HOUR),
        Recorded(f1=(0.99,), state=State.PRUNED, epoch_seconds=HOUR, encoding_seconds=HOUR),
    )

    best = row(compare(frame), "adapter")

    told = frame.loc[0]
    names = ("f1", "accuracy", "precision", "recall", "trainable_parameters", "peak_mib")
    assert best["trial"] == 0
    assert all(best[name] == told[name] for name in (*names, "card_hours", "cpu_seconds"))
    assert best["f1_per_gpu_hour"] == pytest.approx(0.9 / 3)


def test_the_total_pays_every_trials_epochs_and_the_encoding_once(study):
    paid: dict[str, Any] = {"epoch_seconds": HOUR, "encoding_seconds": 10 * HOUR}
    frame = study(
        Recorded(f1=(0.8, 0.8), **paid),
        Recorded(f1=(0.1,), state=State.PRUNED, **paid),
        Recorded(f1=(NAN,), state=State.FAILED, **paid),
        Recorded(f1=(0.2,), state=State.RUNNING, **paid),
        Recorded(state=State.INFEASIBLE, **paid),
        Recorded(config=GRN, f1=(0.7,), **paid),
        control(0.6),
    )

    comparison = compare(frame)

    adapter = row(comparison, "adapter")
    assert adapter["total_card_hours"] == pytest.approx(2 + 1 + 1 + 1 + 10)
    assert row(comparison, "grn")["total_card_hours"] == pytest.approx(1 + 10)
    assert comparison.card_hours == pytest.approx(5 + 1 + 10)  # the backbone's encoding is shared
    assert math.isnan(row(comparison, "tfidf_lr")["total_card_hours"])
    counts = {state.value: adapter[state] for state in State}
    assert counts == {"running": 1, "complete": 1, "pruned": 1, "infeasible": 1, "failed": 1}
    assert "1 trial not ended: totals are of the epochs so far." in comparison.notes


def test_the_cheapest_model_is_1_and_the_others_are_so_many_times_it(study):
    frame = study(
        Recorded(config=TRANSFORMER, f1=(0.7,), epoch_seconds=HOUR),
        Recorded(config=TRANSFORMER, f1=(0.6,), epoch_seconds=HOUR / 100),  # cheaper, not its best
        Recorded(f1=(0.9,), epoch_seconds=190 * HOUR),
        control(0.8),
    )

    comparison = compare(frame)

    assert row(comparison, "transformer")["times_cheapest"] == 1
    assert row(comparison, "adapter")["times_cheapest"] == pytest.approx(190)
    assert math.isnan(row(comparison, "tfidf_lr")["times_cheapest"])


def test_of_equal_f1_the_trial_with_fewer_hours_is_best_and_then_the_earlier(study):
    frame = study(
        Recorded(f1=(0.8,), epoch_seconds=2 * HOUR),
        Recorded(f1=(0.8,), epoch_seconds=1 * HOUR),
        Recorded(f1=(0.8,), epoch_seconds=1 * HOUR),
        Recorded(f1=(0.8,), epoch_seconds=None),
    )

    for shuffled in (frame, frame.iloc[::-1], frame.sample(frac=1, random_state=0)):
        assert row(compare(shuffled), "adapter")["trial"] == 1


def test_rows_stand_by_f1_then_hours_then_name_and_those_without_a_complete_trial_last(study):
    frame = study(
        Recorded(config=LORA, state=State.FAILED, f1=(0.9,)),
        Recorded(f1=(0.8,), epoch_seconds=2 * HOUR),
        Recorded(config=TRANSFORMER, f1=(0.8,), epoch_seconds=HOUR),
        Recorded(config=GRN, f1=(0.9,), epoch_seconds=9 * HOUR),
        control(0.8),
    )

    for shuffled in (frame, frame.iloc[::-1]):
        table = compare(shuffled).table
        assert table["model"].tolist() == ["grn", "transformer", "adapter", "tfidf_lr", "adapter"]
        assert table["mode"].tolist()[-1] == "lora"


def test_a_model_without_a_complete_trial_has_totals_alone(study):
    frame = study(
        Recorded(f1=(0.3,), state=State.PRUNED, epoch_seconds=HOUR),
        Recorded(config=LORA, state=State.INFEASIBLE),
    )

    comparison = compare(frame)

    pruned, infeasible = (row(comparison, "adapter", mode=m) for m in ("frozen", "lora"))
    for found in (pruned, infeasible):
        assert all(pd.isna(found[name]) for name in ("trial", "f1", "card_hours", "times_cheapest"))
    assert pruned["total_card_hours"] == pytest.approx(1)
    assert infeasible["total_card_hours"] == 0  # nothing was run
    assert "2 models without a complete trial: no F1, totals alone." in comparison.notes


def test_a_complete_trial_whose_score_is_no_number_is_never_best_and_is_counted(study):
    frame = study(Recorded(f1=(NAN,), best_epoch=1), Recorded(f1=(0.4,)))

    comparison = compare(frame)

    assert row(comparison, "adapter")["trial"] == 1
    assert "1 complete trial without an F1 cannot be best." in comparison.notes


def test_measured_hours_decide_instead(study):
    frame = study(
        Recorded(f1=(0.8,), epoch_seconds=1.0, device_fraction=1.0),
        Recorded(f1=(0.8,), epoch_seconds=9 * HOUR, device_fraction=0.5),
        Recorded(config=TRANSFORMER, f1=(0.7,), device_fraction=0.25),
    )

    comparison = compare(frame, hours="measured")

    adapter = row(comparison, "adapter")
    assert adapter["trial"] == 1
    assert adapter["times_cheapest"] == pytest.approx(2)
    assert adapter["f1_per_gpu_hour"] == pytest.approx(0.8 * 120)
    assert adapter["total_gpu_hours"] == pytest.approx(1.5 / 60)
    assert comparison.gpu_hours == pytest.approx(1.75 / 60)


@pytest.mark.parametrize("hours", ["modelled", "measured"])
def test_without_hours_there_is_a_table_by_f1_that_says_so(study, hours):
    frame = study(control(0.8), Recorded(epoch_seconds=None, f1=(0.9,)), card=None)

    comparison = compare(frame, hours=hours)

    assert comparison.table["model"].tolist() == ["adapter", "tfidf_lr"]
    assert comparison.table["times_cheapest"].isna().all()
    expected = f"No model has {hours} hours, so none is so many times the cheapest."
    assert expected in comparison.notes
    assert math.isnan(comparison.card_hours)


def test_several_studies_have_rows_of_their_own_and_one_cheapest(study, tmp_path):
    study(Recorded(f1=(0.8,), epoch_seconds=HOUR), study="one")
    study(Recorded(f1=(0.9,), epoch_seconds=3 * HOUR), study="two")

    comparison = compare(trials(["one", "two"], store=tmp_path))

    table = comparison.table
    assert list(table.columns)[:2] == ["study", "model"]
    assert table["study"].tolist() == ["two", "one"]
    assert table["times_cheapest"].tolist() == pytest.approx([3, 1])


def test_studies_on_different_cards_have_a_cheapest_each_and_a_warning(study, tmp_path):
    study(Recorded(f1=(0.8,), epoch_seconds=HOUR), study="one")
    study(Recorded(f1=(0.9,), epoch_seconds=3 * HOUR), study="two", card={"name": "T4"})

    comparison = compare(trials(["one", "two"], store=tmp_path))

    assert comparison.table["times_cheapest"].tolist() == [1, 1]
    assert any("differ in their card" in note for note in comparison.notes)


def test_a_study_without_trials_is_an_empty_table_of_the_same_columns(study):
    comparison = compare(study())

    assert list(comparison.table.columns) == [c.name for c in COMPARISON_COLUMNS]
    assert len(comparison.table) == 0


def test_every_column_is_described_and_typed_alike_with_or_without_rows(study, tmp_path):
    full = compare(study(control(0.7), Recorded(device_fraction=0.5))).table
    empty = compare(study(study="empty")).table

    assert set(full.attrs["columns"]) == set(full.columns)
    assert full.attrs["columns"]["total_card_hours"]["unit"] == "h"
    assert full.dtypes.to_dict() == empty.dtypes.to_dict()


def test_the_best_of_the_table_is_the_first_of_the_ranking_by_f1(study):
    frame = study(*(Recorded(config=c, f1=(f,)) for c in (ADAPTER, GRN) for f in (0.7, 0.9, 0.8)))

    table, ranking = compare(frame).table, rank(frame, "f1")

    assert table["f1"].max() == ranking.table["f1"][0]
    assert table["trial"][0] == ranking.table["trial"][0]


def test_hours_that_there_are_not_are_refused(study):
    with pytest.raises(ValueError, match=r"modelled, measured; got hours='gpu'"):
        compare(study(), hours="gpu")  # type: ignore[arg-type]
