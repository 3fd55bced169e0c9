import json

import pandas as pd
import pytest
from typer.testing import CliRunner

from headhunt.analysis import compare, trials
from headhunt.search.cli.compare import app
from headhunt.spaces.configs import HeadConfig, Mode
from headhunt.spaces.heads import AdapterHead
from headhunt.spaces.record import COMPARISON_COLUMNS, State

from ...analysis.recorded import TRANSFORMER, Recorded, control, record

LONG = HeadConfig(
    backbone="hospital/a-rather-long-name-of-an-encoder-v2", head=AdapterHead(), mode=Mode.FULL
)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Records the study `lab` and returns a way to compare."""
    monkeypatch.setenv("HEADHUNT_STORE", str(tmp_path))
    record(
        tmp_path,
        [
            control(0.8123),
            Recorded(f1=(0.83, 0.86), epoch_seconds=7200.0),
            Recorded(f1=(0.82,), config=TRANSFORMER, epoch_seconds=60.0),
            Recorded(f1=(0.5,), state=State.PRUNED),
            Recorded(config=LONG, state=State.INFEASIBLE, peak_mib=2000),
        ],
    )
    record(tmp_path, [Recorded(f1=(0.7,)), control(0.5)], study="other")
    record(tmp_path, [Recorded(state=State.RUNNING)], study="young")
    return lambda *words: CliRunner().invoke(app, list(words))


def test_the_table_has_a_row_a_model_and_says_what_its_hours_are(run):
    result = run("lab")

    assert result.exit_code == 0
    assert result.stdout.index("adapter") < result.stdout.index("transformer")
    words = " ".join(result.stdout.split())
    assert "Hours are modelled on the card Quadro P620" in words
    assert "240 5.00 1/1/0/0" in words  # four hours and one pruned; a minute is the least
    assert "1 model without a complete trial: no F1, totals alone." in words
    assert max(map(len, result.stdout.splitlines())) <= 100
    assert "…" not in result.stdout


def test_several_studies_stand_in_one_table(run):
    result = run("lab", "other", "lab")

    assert result.exit_code == 0
    assert [result.stdout.count(name) for name in ("lab ", "other ")] == [4, 2]


@pytest.mark.parametrize("ending", ["csv", "json", "parquet"])
def test_every_format_holds_the_table_of_the_library(run, tmp_path, ending):
    path = tmp_path / f"table.{ending}"

    result = run("lab", "other", "-o", str(path))

    expected = compare(trials(["lab", "other"], store=tmp_path)).table
    read = {
        "csv": pd.read_csv,
        "json": lambda p: pd.DataFrame(json.loads(p.read_text())["models"]),
        "parquet": pd.read_parquet,
    }[ending](path)
    assert (result.exit_code, result.stdout) == (0, "")
    pd.testing.assert_frame_equal(read.astype(expected.dtypes), expected)
    assert list(read.columns) == ["study", *(c.name for c in COMPARISON_COLUMNS)]
    if ending == "parquet":
        pd.testing.assert_frame_equal(read, expected)
        assert read.attrs["columns"] == expected.attrs["columns"]


def test_json_has_the_notes_the_card_and_null_where_a_value_is_missing(run):
    written = json.loads(run("lab", "--format", "json").stdout)

    assert (written["hours"], written["card"], written["gpu_hours"]) == (
        "modelled",
        "Quadro P620",
        None,
    )
    assert written["models"][-1]["f1"] is None
    assert written["notes"]


def test_a_study_without_a_complete_trial_shows_what_it_cost_and_ends_with_1(run):
    result = run("young")

    assert result.exit_code == 1
    assert "adapter" in result.stdout
    assert result.stderr == "error: no trial of young is complete\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "it has: lab, other, young"),
        (["lab", "nowhere"], "no study 'nowhere'"),
        (["lab", "--format", "parquet"], "add -o FILE"),
        (["lab", "-o", "/nowhere/at/all.csv"], "/nowhere/at/all.csv"),
        (["lab", "-o", "/nowhere/at/all.json"], "/nowhere/at/all.json"),
    ],
)
def test_a_wrong_option_ends_with_2_and_one_message(run, words, message):
    result = run(*words)

    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
