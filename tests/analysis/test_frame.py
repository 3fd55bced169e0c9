import json
import math

import pandas as pd
import pytest

from headhunt.analysis import (
    StudyNotFoundError,
    StudyUnreadableError,
    curves,
    trials,
)
from headhunt.analysis.columns import (
    CURVE_COLUMNS,
    DTYPES,
    NOT_PARAMETERS,
    PARAMETERS,
    UNREAD,
    parameter_dtypes,
)
from headhunt.analysis.tables import as_records
from headhunt.spaces.catalogue import CONTROLS, SCRATCH_MODELS
from headhunt.spaces.configs import BaselineConfig, HeadConfig, ScratchConfig
from headhunt.spaces.heads import GrnHead, TinyAttentionHead
from headhunt.spaces.record import COLUMNS, State

from .recorded import MIB, TFIDF, TRANSFORMER, Recorded, control, record

NAN = float("nan")
METRICS = ["f1", "accuracy", "precision", "recall", "validation_loss_nats", "train_loss_nats"]
TIMES = ["card_hours", "card_hours_marginal", "gpu_hours", "cpu_seconds", "wall_seconds"]

EVERY_STATE = [
    control(0.7),
    Recorded(f1=(0.6, 0.8, 0.75), epoch_seconds=1800.0, encoding_seconds=360.0),
    Recorded(f1=(0.5, 0.4), state=State.PRUNED, reason="below its rung"),
    Recorded(state=State.INFEASIBLE, reason="too large", peak_mib=2000, device_fraction=0.5),
    Recorded(f1=(0.99, NAN), state=State.FAILED, reason="diverged", device_fraction=0.25),
    Recorded(f1=(0.3, 0.6, 0.5), state=State.RUNNING),
    Recorded(f1=(), state=State.RUNNING),
]


@pytest.fixture
def every_state(tmp_path):
    record(tmp_path, EVERY_STATE)
    return trials("lab", store=tmp_path)


def test_a_frame_has_one_row_a_trial_in_their_order_and_the_records_columns_first(every_state):
    assert every_state["trial"].tolist() == list(range(len(EVERY_STATE)))
    assert every_state["state"].tolist() == [t.state for t in EVERY_STATE]
    assert list(every_state.columns)[: len(COLUMNS)] == [c.name for c in COLUMNS]


def test_every_column_of_the_record_is_filled_for_a_complete_trial(tmp_path):
    # A column that the record describes and no trial fills would be a promise without a number.
    record(tmp_path, [Recorded(device_fraction=0.5, reason="early stop")])

    row = trials("lab", store=tmp_path).iloc[0]

    assert [c.name for c in COLUMNS if pd.isna(row[c.name])] == []


def test_a_complete_trial_has_the_metrics_of_its_best_epoch_and_the_hours_of_all(every_state):
    row = every_state.loc[1]

    assert (row["f1"], row["best_epoch"], row["epochs"]) == (0.8, 2, 3)
    assert row["card_hours"] == pytest.approx(3 * 0.5 + 0.1)
    assert row["card_hours_marginal"] == pytest.approx(1.5)
    assert (row["wall_seconds"], row["cpu_seconds"]) == (180.0, 270.0)
    assert pd.isna(row["reason"])


@pytest.mark.parametrize(("number", "best", "epochs"), [(2, 0.5, 2), (5, 0.6, 3)])
def test_a_pruned_or_running_trial_has_its_best_so_far_and_pays_its_epochs(
    every_state, number, best, epochs
):
    row = every_state.loc[number]

    assert row["f1"] == best
    assert (row["epochs"], row["card_hours"]) == (epochs, epochs * 1.0)


def test_an_infeasible_trial_has_no_score_and_no_time_and_its_excess(every_state):
    row = every_state.loc[3]

    assert row[[*METRICS, *TIMES, "best_epoch", "started_at"]].isna().all()
    assert row["excess_mib"] == pytest.approx(2000 - 1748)
    assert row["epochs"] == 0


def test_a_trial_measured_too_large_was_started_and_has_no_score_and_both_figures(tmp_path):
    ran = Recorded(state=State.INFEASIBLE, reason="measured", peak_mib=1700, excess_bytes=2 * MIB)
    record(tmp_path, [ran])

    row = trials("lab", store=tmp_path).iloc[0]

    assert pd.notna(row["started_at"])
    assert row[METRICS].isna().all()
    assert (row["peak_mib"], row["excess_mib"]) == (1700, 1700 - 1748)  # by the model it fits
    assert (row["measured_peak_mib"], row["measured_excess_mib"]) == (1750, 2)


def test_measured_memory_and_energy_stand_beside_the_modelled_and_never_in_their_place(every_state):
    row = every_state.loc[1]

    assert (row["measured_peak_mib"], row["measured_reserved_mib"]) == (300, 320)
    assert row["measured_excess_mib"] == 300 - 1748
    assert row["energy_kwh"] == pytest.approx(3 * 7200 / 3.6e6)
    assert row["card_energy_kwh"] == pytest.approx(1.6 * 0.04)


def test_what_was_not_measured_is_missing(tmp_path):
    record(tmp_path, [Recorded(f1=(0.5, 0.6), measured=False), control(0.7, measured=False)])

    frame = trials("lab", store=tmp_path)

    measured = [c.name for c in COLUMNS if c.name.startswith("measured_")] + ["energy_kwh"]
    assert frame[measured].isna().all(axis=None)
    assert frame["card_energy_kwh"].notna().tolist() == [True, False]


def test_energy_of_some_epochs_is_not_told_as_that_of_all(tmp_path):
    journal = record(tmp_path, [Recorded(f1=(0.5, 0.6))])
    journal.write_text(journal.read_text().replace('"energy_joules":', '"x":', 1))

    assert trials("lab", store=tmp_path)["energy_kwh"].isna().all()


def test_a_card_without_watts_has_no_energy(tmp_path):
    record(tmp_path, [Recorded()], card={"name": "old"})

    assert trials("lab", store=tmp_path)["card_energy_kwh"].isna().all()


def test_a_failed_trial_has_no_score_but_pays_its_epochs(every_state):
    row = every_state.loc[4]

    assert row[[*METRICS, "best_epoch"]].isna().all()
    assert (row["epochs"], row["card_hours"]) == (2, 2.0)
    assert row["gpu_hours"] == pytest.approx(120 / 3600 * 0.25)


def test_a_trial_without_an_epoch_has_missing_times_and_not_zero(every_state):
    assert every_state.loc[6, [*METRICS, *TIMES]].isna().all()


def test_a_baseline_has_cpu_seconds_and_no_hours_and_no_memory(tmp_path):
    record(tmp_path, [Recorded(config=TFIDF, device_fraction=1.0)])

    row = trials("lab", store=tmp_path).iloc[0]

    missing = ["card_hours", "card_hours_marginal", "gpu_hours", "peak_mib", "excess_mib"]
    assert row[missing].isna().all()
    assert row["cpu_seconds"] == 90.0


def test_gpu_hours_are_missing_and_not_zero_without_a_gpu(every_state):
    assert pd.isna(every_state.loc[1, "gpu_hours"])


def test_a_score_that_is_no_number_is_missing(tmp_path):
    record(tmp_path, [Recorded(f1=(NAN, NAN), best_epoch=1), Recorded(f1=(NAN, 0.7), best_epoch=0)])

    frame = trials("lab", store=tmp_path)

    assert frame["f1"].isna().tolist() == [True, False]
    assert frame.loc[1, "best_epoch"] == 2


def test_without_a_card_there_are_neither_hours_nor_memory(tmp_path):
    record(tmp_path, [Recorded(epoch_seconds=None)], card=None)

    row = trials("lab", store=tmp_path).iloc[0]

    assert row[["card_hours", "peak_mib", "trainable_parameters"]].isna().all()
    assert row["f1"] == 0.8


def test_times_are_utc_and_a_running_trial_has_not_ended(every_state):
    assert str(every_state["started_at"].dtype) == "datetime64[us, UTC]"
    now = pd.Timestamp.now(tz="UTC")
    assert (now - every_state["started_at"].dropna()).max() < pd.Timedelta(minutes=30)
    assert pd.isna(every_state.loc[5, "ended_at"])
    assert every_state.loc[1, "ended_at"] >= every_state.loc[1, "started_at"]


def test_parameters_stand_under_their_own_names_with_their_own_types(tmp_path):
    grn = HeadConfig(backbone="b", head=GrnHead(bottleneck=16), dropout=0)
    record(tmp_path, [Recorded(config=grn), Recorded(config=TRANSFORMER)])

    frame = trials("lab", store=tmp_path)

    assert list(frame.loc[0, ["model", "backbone", "mode"]]) == ["grn", "b", "frozen"]
    assert frame["model"].tolist() == ["grn", "transformer"]
    assert frame["bottleneck"].tolist() == [16, pd.NA]
    dtypes = frame[["bottleneck", "dropout", "class_weights", "pooling"]].dtypes.astype(str)
    assert dtypes.tolist() == ["Int64", "float64", "boolean", "string"]
    assert not NOT_PARAMETERS - {"model", "backbone", "mode"} & set(frame.columns)


def test_a_parameter_that_its_model_does_not_read_is_missing(tmp_path):
    moe = ScratchConfig(model="moe", experts=4)
    configs = [TRANSFORMER, moe, TFIDF, BaselineConfig(model="tfidf_mlp")]
    record(tmp_path, [Recorded(config=config) for config in configs])

    frame = trials("lab", store=tmp_path)

    assert frame["experts"].tolist() == [pd.NA, 4, pd.NA, pd.NA]
    assert frame["learning_rate"].isna().tolist() == [False, False, True, False]
    assert frame["balanced"].tolist() == [pd.NA, pd.NA, True, pd.NA]


def test_parameters_that_are_unread_belong_to_known_models_and_are_described():
    models = {*SCRATCH_MODELS, *(c.model for c in CONTROLS if isinstance(c, BaselineConfig))}
    described = {column.name for column in PARAMETERS}

    assert set(UNREAD) <= models
    assert set().union(*UNREAD.values()) <= described


def test_every_field_of_every_config_is_described_and_clashes_with_no_column():
    described = [column.name for column in PARAMETERS]

    assert sorted(described) == sorted(parameter_dtypes())
    assert not set(described) & {column.name for column in (*COLUMNS, *CURVE_COLUMNS)}


def test_every_column_of_the_record_has_a_dtype_and_is_described_in_the_frame(every_state):
    assert {column.name for column in COLUMNS} <= set(DTYPES)
    assert set(every_state.attrs["columns"]) == set(every_state.columns)
    assert every_state.attrs["columns"]["card_hours"]["unit"] == "h"
    assert all(column["text"] for column in every_state.attrs["columns"].values())


def test_the_manifest_comes_with_the_frame_and_a_class_named_none_stays_a_class(every_state):
    assert every_state.attrs["manifest"]["corpus"]["classes"] == ["None", "NA"]


def test_a_value_named_none_is_a_value_in_the_frame_and_in_csv(tmp_path):
    config = HeadConfig(backbone="None", head=TinyAttentionHead())
    record(tmp_path, [Recorded(config=config)])

    frame = trials("lab", store=tmp_path)

    assert frame["backbone"].tolist() == ["None"]
    assert frame["backbone"].notna().all()
    assert ",None,frozen," in frame.to_csv(index=False)


def test_an_empty_study_is_an_empty_frame_with_all_columns_and_dtypes(tmp_path, every_state):
    record(tmp_path, [], study="empty")

    frame = trials("empty", store=tmp_path)

    assert len(frame) == 0
    assert list(frame.columns) == [c.name for c in COLUMNS]
    pd.testing.assert_series_equal(frame.dtypes, every_state.dtypes[: len(COLUMNS)])


def test_several_studies_stand_in_one_frame_under_their_names(tmp_path):
    record(tmp_path, [Recorded(), Recorded()], study="first")
    record(tmp_path, [Recorded(config=TRANSFORMER)], study="second")

    frame = trials(["first", "second"], store=tmp_path)

    assert next(iter(frame.columns)) == "study"
    assert list(zip(frame["study"], frame["trial"], strict=True)) == [
        ("first", 0),
        ("first", 1),
        ("second", 0),
    ]
    assert set(frame.attrs["manifests"]) == {"first", "second"}


def test_curves_have_every_epoch_of_every_trial_also_of_those_without_a_score(tmp_path):
    record(tmp_path, EVERY_STATE)

    frame = curves("lab", store=tmp_path)

    assert list(frame.columns) == [c.name for c in CURVE_COLUMNS]
    assert frame.groupby("trial").size().to_dict() == {0: 1, 1: 3, 2: 2, 4: 2, 5: 3}
    failed = frame[frame["trial"] == 4]
    assert failed["f1"].iloc[0] == 0.99
    assert math.isnan(failed["f1"].iloc[1])
    assert frame[frame["trial"] == 1]["card_hours"].tolist() == pytest.approx([0.6, 1.1, 1.6])


def test_epochs_are_in_order_past_the_ninth(tmp_path):
    record(tmp_path, [Recorded(f1=tuple(epoch / 20 for epoch in range(12)))])

    assert curves("lab", store=tmp_path)["epoch"].tolist() == list(range(1, 13))


def test_a_torn_last_line_is_not_read_and_what_stands_before_it_is(tmp_path):
    journal = record(tmp_path, EVERY_STATE)
    whole = trials("lab", store=tmp_path)
    with journal.open("ab") as file:
        file.write(b'{"op_code":8,"worker_id":"x","trial_id":1,"user_at')

    pd.testing.assert_frame_equal(trials("lab", store=tmp_path), whole)


def test_a_journal_cut_at_any_byte_is_read_up_to_its_last_whole_line(tmp_path):
    journal = record(tmp_path, [Recorded(), control(0.7)])
    written = journal.read_bytes()
    seen = 0
    for cut in range(0, len(written), 97):
        journal.write_bytes(written[:cut])
        count = len(trials("lab", store=tmp_path))
        assert count >= seen
        seen = count
    assert seen == 2


def test_a_line_broken_in_the_middle_is_an_error_that_names_the_journal(tmp_path):
    journal = record(tmp_path, EVERY_STATE)
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([*lines[:3], b'{"op_co\n', *lines[3:]]))

    with pytest.raises(StudyUnreadableError, match=r"lab/study\.journal cannot be read"):
        trials("lab", store=tmp_path)


def test_a_file_that_is_no_journal_is_an_error_that_names_it(tmp_path):
    journal = record(tmp_path, [])
    journal.write_text('["not", "a journal"]\n{}\n')

    with pytest.raises(StudyUnreadableError, match=r"study\.journal"):
        trials("lab", store=tmp_path)


def test_reading_changes_nothing_in_the_store(tmp_path):
    journal = record(tmp_path, EVERY_STATE)
    before = journal.read_bytes()

    trials("lab", store=tmp_path)

    assert journal.read_bytes() == before
    assert [p.name for p in tmp_path.rglob("*")] == ["lab", "study.journal"]


def test_an_unknown_study_is_told_with_the_store_and_its_studies(tmp_path):
    record(tmp_path, [], study="cardio")
    record(tmp_path, [], study="bedside")

    with pytest.raises(StudyNotFoundError, match=r"no study 'lab' .* it has: bedside, cardio"):
        trials("lab", store=tmp_path)
    assert not (tmp_path / "lab").exists()


@pytest.mark.parametrize("name", ["../store/lab", ".", "", "lab/"])
def test_a_name_that_leaves_the_store_is_no_study(tmp_path, name):
    record(tmp_path / "store", [])

    with pytest.raises(StudyNotFoundError, match="no study"):
        trials(name, store=tmp_path / "store")


def test_a_store_that_does_not_exist_is_told(tmp_path):
    with pytest.raises(StudyNotFoundError, match="does not exist; name another by --store"):
        trials("lab", store=tmp_path / "nowhere")


def test_the_store_comes_from_the_environment_when_it_is_not_given(tmp_path, monkeypatch):
    record(tmp_path, [Recorded()])
    monkeypatch.setenv("HEADHUNT_STORE", str(tmp_path))

    assert len(trials("lab")) == 1


def test_records_are_json_with_null_where_a_value_is_missing(every_state):
    records = json.loads(json.dumps(as_records(every_state), allow_nan=False))

    assert records[3]["f1"] is None
    assert records[0]["pooling"] is None
    assert records[1]["seed"] == 2**63 - 2  # whole, not rounded through a float
    assert records[1]["started_at"].endswith("+00:00")


def test_parquet_keeps_the_frame_with_its_types_and_its_words(every_state, tmp_path):
    every_state.to_parquet(tmp_path / "trials.parquet", index=False)

    back = pd.read_parquet(tmp_path / "trials.parquet")

    pd.testing.assert_frame_equal(back, every_state, check_dtype=False)
    assert back.attrs == every_state.attrs
