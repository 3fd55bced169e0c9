import io
import json
import subprocess
import sys

import pandas as pd
import pytest
from typer.testing import CliRunner

from benchmarks import toy_study as toy
from headhunt.search.cli.simulate import app
from headhunt.search.study import Study

from ...analysis.recorded import Recorded, record


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("store")
    toy.record(folder, trials=40)
    toy.record(folder, trials=10, name="young")
    record(folder, [Recorded()], study="nocard", card=None)
    return folder


@pytest.fixture
def run(store):
    return lambda *words: CliRunner().invoke(app, [*words, "--store", str(store)])


def files(store):
    return {path: path.read_bytes() for path in store.rglob("*") if path.is_file()}


def test_the_table_has_a_row_a_scenario_and_names_the_surrogate_and_its_errors(run):
    result = run("lab", "--slots", "1,4", "--sampler", "random,recorded", "--trials", "60")

    assert result.exit_code == 0, result.stderr
    rows = [line.split() for line in result.stdout.splitlines() if "on " in line]
    assert [(row[0], row[1]) for row in rows[:4]] == [
        ("random", "1"),
        ("random", "4"),
        ("recorded", "1"),
        ("recorded", "4"),
    ]
    said = " ".join(result.stdout.split())
    assert "The surrogate (extra-trees, fitted to 38 trials), on trials that it had not" in said
    assert "Nothing was trained." in said
    assert max(map(len, result.stdout.splitlines())) <= 100


def test_a_replay_alone_says_that_every_curve_was_recorded(run):
    result = run("lab", "--sampler", "recorded")

    assert "Every curve is as it was recorded." in result.stdout
    assert "surrogate" not in result.stdout


def test_json_has_every_run_with_where_its_curves_are_from(run):
    result = run("lab", "--sampler", "tpe", "--rungs", "both", "--seeds", "2", "--format", "json")

    written = json.loads(result.stdout)
    assert written["study"] == "lab"
    assert written["surrogate"]["name"] == "extra-trees"
    assert written["surrogate"]["trials"] == written["surrogate"]["fitted_to"] == 38
    assert [scenario["rungs"] for scenario in written["scenarios"]] == [True, False]
    for scenario in written["scenarios"]:
        assert [each["seed"] for each in scenario["runs"]] == [0, 1]
        assert scenario["spread"]["wall_hours"] > 0
        for each in scenario["runs"]:
            assert sum(each["curves"].values()) == scenario["budget"]["trials"] == 40
            assert each["curves"]["surrogate"] > 0
    assert (
        written["scenarios"][0]["mean"]["wall_hours"]
        < (written["scenarios"][1]["mean"]["wall_hours"])
    )


def test_csv_is_the_table_alone_and_the_notes_go_to_standard_error(run):
    result = run("lab", "--slots", "1,2", "--sampler", "recorded", "--format", "csv")

    frame = pd.read_csv(io.StringIO(result.stdout))
    assert list(frame["slots"]) == [1, 2]
    assert {"wall_hours", "wall_hours_spread", "trials_pruned", "curves_surrogate"} <= {*frame}
    assert "Nothing was trained" in result.stderr


def test_the_store_is_as_it_was_even_while_the_study_is_searched(run, store):
    before = files(store)
    study = Study.open(store, "lab")
    held = files(store)

    result = run("lab", "--sampler", "random", "--trials", "30")

    assert result.exit_code == 0
    assert files(store) == held
    study.close()
    assert {path for path in files(store) if path not in before} <= {store / "lab" / "lock.holder"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "it has: lab, nocard, young"),
        (["young"], "has 8 trials with a score, baselines left out, and the surrogate needs 20"),
        (["lab", "--slots", "0"], "--slots takes numbers from 1 on, commas between; got '0'"),
        (["lab", "--slots", "1,x"], "--slots takes numbers from 1 on, commas between; got '1,x'"),
        (["lab", "--sampler", "grid"], "--sampler takes tpe, random, gp, cmaes, nsga2, recorded"),
        (["lab", "--sampler", "cmaes"], "the sampler 'cmaes' models only"),
        (["lab", "--card-hours", "-1"], "--card-hours must be a positive number; got -1.0"),
    ],
)
def test_a_wrong_option_ends_with_2_and_one_message(run, words, message):
    result = run(*words)

    assert result.exit_code == 2
    assert result.stdout == ""
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_all_that_is_wrong_is_said_at_once(run):
    result = run("lab", "--slots", "0", "--sampler", "grid", "--wall-hours", "inf")

    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 3)


def test_ray_is_not_imported(store):
    asks = (
        "import sys; from headhunt.search.cli.simulate import app; "
        f"app(['lab', '--sampler', 'random', '--trials', '5', '--store', {str(store)!r}], "
        "standalone_mode=False); sys.exit('ray' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", asks], check=False).returncode == 0
