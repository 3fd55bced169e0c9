"""What the other commands make of a study whose best were confirmed on the test part."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from headhunt.analysis import confirmation, trials
from headhunt.search import run
from headhunt.search.cli import app
from headhunt.search.launch import prepare
from headhunt.search.plan import Budget
from headhunt.search.settings import Request
from headhunt.stores import store_at
from headhunt.trainables.notes.synthetic import write_synthetic_notes

from ..here import run_here


def invoke(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where scratch models were searched; the best is confirmed with two seeds."""
    folder = tmp_path_factory.mktemp("confirmed")
    write_synthetic_notes(folder / "notes.csv", 140)
    request = Request(
        notes=folder / "notes.csv",
        study="lab",
        store=store_at(folder / "store"),
        given={"space": "scratch", "sampler": "random", "max_epochs": 2, "max_tokens": 32},
        budget=Budget(trials=4),
    )
    run_here(prepare(request))
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("HEADHUNT_STORE", str(folder / "store"))
        patched.setattr(run, "run_search", run_here)
        result = invoke("confirm", "lab", "--by", "f1", "--top", 1, "--seeds", 2)
    assert result.exit_code == 0, result.stderr
    return folder


@pytest.fixture
def store(folder, monkeypatch):
    monkeypatch.setenv("HEADHUNT_STORE", str(folder / "store"))
    return folder / "store"


def test_the_card_of_a_confirmed_model_has_its_figures_on_test(store, tmp_path):
    found = confirmation("lab")
    best = found.models.iloc[0]

    result = invoke("export", "lab", "--trial", best["trial"], "-o", tmp_path / "model")

    assert result.exit_code == 0, result.stderr
    card = Path(tmp_path, "model", "README.md").read_text()
    assert f"({found.scorings['test_notes'].max()} notes; trained 2 times anew on" in card
    assert "| 95 % interval |" in card
    for name, column in {"F1": "f1", "recall": "recall"}.items():
        value, low, high = (best[f"test_{column}{end}"] for end in ("", "_low", "_high"))
        assert f"| {name} | {value:.4f} | {low:.4f} to {high:.4f} |" in card


def test_the_card_of_another_trial_says_that_it_was_not_confirmed(store, tmp_path):
    other = (set(range(4)) - set(confirmation("lab").models["trial"])).pop()

    result = invoke("export", "lab", "--trial", other, "-o", tmp_path / "model")

    assert result.exit_code == 0, result.stderr
    assert "It was not confirmed on the test part" in Path(tmp_path, "model/README.md").read_text()


def test_a_confirmation_has_no_model_to_export(store, tmp_path):
    result = invoke("export", "lab/confirm", "-o", tmp_path / "model")

    assert result.exit_code == 2
    assert "`headhunt export lab`, and the card tells what was measured" in result.stderr
    assert not (tmp_path / "model").exists()


def test_a_confirmation_has_no_report_of_its_own(store, tmp_path):
    result = invoke("report", "lab/confirm", "-o", tmp_path / "report.html")

    assert result.exit_code == 2
    assert "`headhunt report lab`" in result.stderr
    assert invoke("report", "lab", "-o", tmp_path / "report.html").exit_code == 0
    assert '"confirms"' not in (tmp_path / "report.html").read_text()


def test_a_frame_of_a_confirmation_does_not_hold_the_class_of_each_test_note(store):
    told = trials("lab/confirm").attrs["manifest"]["confirms"]

    assert "test" not in told
    assert told["seeds"] == 2


def test_forgetting_a_study_drops_the_snapshots_of_its_confirmation(store, monkeypatch):
    monkeypatch.setattr("headhunt.analysis.snapshot.LEAST_TRIALS", 1)
    trials(["lab", "lab/confirm"])
    assert sorted(p.parent.name for p in store.rglob("*.parquet")) == ["confirm", "lab"]

    assert invoke("forget", "lab", "--yes").exit_code == 0

    assert not list(store.rglob("*.parquet"))
