import io
import json

import pandas as pd
import pytest
from rich.console import Console
from typer.testing import CliRunner

from headhunt.analysis import curves as read_curves
from headhunt.analysis import rank, trials
from headhunt.analysis.tables import ranking_table
from headhunt.search.cli.rank import app as rank_app
from headhunt.search.cli.trials import app as trials_app
from headhunt.spaces.configs import HeadConfig
from headhunt.spaces.heads import LinearHead
from headhunt.spaces.record import State

from ...analysis.recorded import TRANSFORMER, Recorded, control, record

ESCAPE = "\x1b"


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Records a study `lab` of these trials and returns a way to call a command on it."""
    monkeypatch.setenv("HEADHUNT_STORE", str(tmp_path))
    record(
        tmp_path,
        [
            control(0.8123),
            Recorded(f1=(0.83, 0.86), epoch_seconds=7200.0),
            Recorded(f1=(0.82,), config=TRANSFORMER, epoch_seconds=60.0),
            Recorded(f1=(0.5,), state=State.PRUNED, reason="below [its] rung"),
            Recorded(state=State.INFEASIBLE, peak_mib=2000),
            Recorded(f1=(float("nan"),), state=State.FAILED, reason="diverged"),
        ],
    )
    record(tmp_path, [Recorded(state=State.RUNNING)], study="young")
    record(tmp_path, [control(0.8), Recorded(epoch_seconds=None)], study="nocard", card=None)
    runner = CliRunner()
    return lambda app, *words: runner.invoke(app, list(words))


def test_rank_prints_a_table_that_says_what_its_hours_are_and_what_was_left_out(run):
    result = run(rank_app, "lab")

    assert result.exit_code == 0
    assert result.stdout.index("transformer") < result.stdout.index("adapter")
    assert "Hours are modelled on the card Quadro P620" in result.stdout
    assert "Controls: baselines use no GPU" in result.stdout
    assert "beside them: 1 pruned, 1 infeasible, 1 failed." in result.stdout
    assert "The floor is F1 0.8123" in result.stdout


@pytest.mark.parametrize("app", [rank_app, trials_app])
def test_a_table_fits_100_columns_and_has_no_colour_codes_outside_a_terminal(run, app):
    result = run(app, "lab", "--format", "table")

    assert max(map(len, result.stdout.splitlines())) <= 100
    assert ESCAPE not in result.stdout


def test_no_number_is_cut_in_a_wide_ranking(tmp_path, run):
    backbones = ("almanach/camembert-bio-base", "Dr-BERT/DrBERT-7GB-with-a-rather-long-name")
    heads = [HeadConfig(backbone=backbone, head=LinearHead()) for backbone in backbones]
    record(tmp_path, [Recorded(config=head, f1=(0.81234,)) for head in heads], study="wide")

    result = run(rank_app, "wide", "--by", "validation-loss")

    assert max(map(len, result.stdout.splitlines())) <= 100
    assert result.stdout.count("0.8123") == 2
    assert "camembert-bio-" in result.stdout  # goes on in the next line
    assert "…" not in result.stdout


@pytest.mark.parametrize("width", [80, 100])
def test_a_narrow_terminal_breaks_words_and_cuts_no_number(tmp_path, width):
    big = Recorded(f1=(0.81234,), epoch_seconds=9.3, peak_mib=1234)
    record(tmp_path, [big], study="narrow")
    ranking = rank(trials("narrow", store=tmp_path), "validation-loss")
    console = Console(width=width, record=True, file=io.StringIO())

    console.print(ranking_table(ranking, "narrow", width=width))

    printed = console.export_text()
    assert all(number in printed for number in ("0.8123", "0.00258", "314", "1,234", "100,000"))


def test_rank_as_json_has_the_ranking_the_controls_and_the_notes(run):
    written = json.loads(run(rank_app, "lab", "--format", "json", "--top", "1").stdout)

    assert (written["by"], written["floor"]) == ("f1-per-gpu-hour", 0.8123)
    assert (written["hours"], written["card"]) == ("modelled", "Quadro P620")
    assert [(row["rank"], row["trial"]) for row in written["ranking"]] == [(1, 2)]
    assert written["ranking"][0]["pareto"] is True
    assert written["ranking"][0]["bottleneck"] is None
    assert [row["model"] for row in written["controls"]] == ["tfidf_lr"]
    assert written["notes"]


def test_rank_as_csv_is_the_table_alone_and_the_notes_go_to_standard_error(run):
    result = run(rank_app, "lab", "--format", "csv")

    lines = result.stdout.splitlines()
    assert lines[0].startswith("rank,trial,model,backbone,mode,f1_per_gpu_hour,f1,card_hours,")
    assert [line.split(",")[1] for line in lines[1:]] == ["2", "1"]
    assert "The floor is F1 0.8123" in result.stderr


def test_the_front_alone_keeps_its_ranks(run, tmp_path):
    record(
        tmp_path,
        [
            Recorded(f1=(f1,), epoch_seconds=hours * 3600)
            for f1, hours in [(0.9, 3), (0.8, 2), (0.7, 2)]
        ],
        study="front",
    )
    path = tmp_path / "front.parquet"

    result = run(rank_app, "front", "--pareto", "-o", str(path))

    front = pd.read_parquet(path)
    assert (result.exit_code, result.stdout) == (0, "")
    assert list(zip(front["rank"], front["trial"], strict=True)) == [(1, 1), (3, 0)]
    assert front["pareto"].all()
    assert "Of 3 ranked trials, 2 on the front of F1 and hours." in result.stderr


def test_top_says_how_many_there_are(run):
    assert "lab by f1, 1 of 2" in run(rank_app, "lab", "--by", "f1", "--top", "1").stdout


def test_a_study_without_a_card_is_ranked_by_f1_and_says_so(run):
    result = run(rank_app, "nocard")

    assert result.exit_code == 0
    assert "nocard by f1" in result.stdout
    assert "no F1 per GPU-hour: ranked by F1 instead." in " ".join(result.stdout.split())


def test_a_floor_that_nobody_reaches_leaves_the_controls_and_a_way_out(run):
    result = run(rank_app, "lab", "--min-f1", "0.99")

    assert result.exit_code == 0
    assert "no trial to rank" in result.stdout
    assert "tfidf_lr" in result.stdout
    assert "--min-f1 0.860 shows it." in " ".join(result.stdout.split())


def test_a_study_without_a_complete_trial_ends_with_1_and_says_what_there_is(run):
    result = run(rank_app, "young")

    assert result.exit_code == 1
    assert result.stdout == ""
    assert "no complete trial to rank; its trials: 1 running" in result.stderr


@pytest.mark.parametrize(
    ("app", "words", "message"),
    [
        (rank_app, ["nowhere"], "it has: lab, nocard, young"),
        (trials_app, ["nowhere"], "it has: lab, nocard, young"),
        (rank_app, ["lab", "--by", "speed"], "f1-per-kwh, f1, accuracy"),
        (rank_app, ["lab", "--min-f1", "81"], "in [0, 1]; got min_f1=81"),
        (trials_app, ["lab", "--format", "parquet"], "add -o FILE"),
        (trials_app, ["lab", "-o", "/nowhere/at/all.csv"], "/nowhere/at/all.csv"),
    ],
)
def test_a_wrong_option_ends_with_2_and_one_message(run, app, words, message):
    result = run(app, *words)

    assert result.exit_code == 2
    assert result.stdout == ""
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_broken_journal_ends_with_2_and_one_message(run, tmp_path):
    journal = tmp_path / "lab" / "study.journal"
    journal.write_bytes(b"not a journal\n" + journal.read_bytes())

    for app in (rank_app, trials_app):
        result = run(app, "lab")
        assert result.exit_code == 2
        assert "cannot be read" in result.stderr


def test_trials_are_csv_unless_told_otherwise_with_nothing_where_a_value_is_missing(run):
    lines = run(trials_app, "lab").stdout.splitlines()

    assert lines[0].startswith("trial,state,reason,role,family,model,backbone,mode,f1,")
    assert lines[5].startswith("4,infeasible,,search,camembert-bio-base frozen,adapter,")
    assert len(lines) == 7


def test_trials_as_json_have_null_where_a_value_is_missing(run):
    records = json.loads(run(trials_app, "lab", "--format", "json").stdout)

    assert [row["f1"] for row in records] == [0.8123, 0.86, 0.82, 0.5, None, None]


@pytest.mark.parametrize("ending", ["csv", "json", "parquet"])
def test_the_file_tells_the_format(run, tmp_path, ending):
    path = tmp_path / f"trials.{ending}"

    result = run(trials_app, "lab", "-o", str(path))

    read = {"csv": pd.read_csv, "json": pd.read_json, "parquet": pd.read_parquet}[ending]
    assert (result.exit_code, result.stdout) == (0, "")
    assert len(read(path)) == 6


def test_a_reason_in_brackets_is_printed_as_it_stands(run):
    words = " ".join(run(trials_app, "lab", "--format", "table").stdout.split())

    assert "below [its]" in words


@pytest.mark.parametrize("curves", [[], ["--curves"]])
def test_parquet_gives_back_the_frame_of_several_studies(run, tmp_path, curves):
    path = tmp_path / "both.parquet"

    result = run(trials_app, "lab", "nocard", *curves, "-o", str(path))

    expected = (read_curves if curves else trials)(["lab", "nocard"], store=tmp_path)
    assert result.exit_code == 0
    pd.testing.assert_frame_equal(pd.read_parquet(path), expected)
    assert pd.read_parquet(path).attrs == expected.attrs


@pytest.mark.parametrize("ending", ["csv", "json"])
def test_text_gives_back_the_values_of_several_studies(run, tmp_path, ending):
    path = tmp_path / f"both.{ending}"

    run(trials_app, "lab", "nocard", "-o", str(path))

    expected = trials(["lab", "nocard"], store=tmp_path)
    read = {"csv": pd.read_csv, "json": lambda p: pd.DataFrame(json.loads(p.read_text()))}[ending]
    pd.testing.assert_frame_equal(read(path).astype(expected.dtypes), expected)


def test_curves_have_a_row_an_epoch(run):
    lines = run(trials_app, "lab", "--curves").stdout.splitlines()

    assert lines[0].startswith("trial,state,family,model,epoch,f1,")
    assert len(lines) == 1 + 6
