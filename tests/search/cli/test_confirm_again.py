"""`headhunt confirm` called again, and what it says where models do not fit, fail, or are few."""

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from headhunt.analysis import confirmation, rank, trials
from headhunt.search import run
from headhunt.search.cli import app
from headhunt.search.launch import prepare
from headhunt.search.plan import Budget
from headhunt.search.settings import Request
from headhunt.search.study import Study
from headhunt.search.terms import Asked, Choice, Terms, chosen
from headhunt.spaces.configs import HeadConfig
from headhunt.spaces.record import Outcome, State
from headhunt.trainables.card.cap import TooLargeError

from ..here import run_here
from .confirming import confirm, fail_first_replicate, read, write_synthetic


def invoke(*words):
    return CliRunner().invoke(app, words)


def ending_at_once(monkeypatch, outcome, which=lambda _: True):
    """Configs whose end is known before they run, as heads on a backbone that does not fit."""
    monkeypatch.setattr(
        run.Shared, "known_end", lambda _, config: outcome if which(config) else None
    )


TOO_LARGE = Outcome(state=State.INFEASIBLE, reason="measured: needs more", excess_bytes=2**20)
CRASHED = Outcome(state=State.FAILED, reason="crashed")


def test_one_that_did_not_fit_is_left_out_and_the_status_is_that_of_one_that_is_done(
    lab, monkeypatch
):
    fail_first_replicate(monkeypatch, TooLargeError(2**31, 2**30, "the card leaves"))

    result = confirm("--top", "1", "--seeds", "3")

    assert State.INFEASIBLE in {t.state for t in read()}
    assert result.exit_code == 0, result.stderr
    assert "all trials that were wanted have ended, 6 of them" in result.stderr
    assert "1 of 3 seeds failed or did not fit the card" in result.stdout
    again = confirm()
    assert (again.exit_code, again.stdout) == (0, result.stdout)
    assert "budget: 6 of 6 trials" in invoke("status", "lab/confirm").stdout


def test_however_many_of_a_model_do_not_fit_the_models_behind_it_are_trained(lab, monkeypatch):
    ending_at_once(monkeypatch, TOO_LARGE, lambda config: isinstance(config, HeadConfig))

    result = confirm("--top", "4", "--seeds", "11")  # 22 of heads: a search gives up after 20

    assert result.exit_code == 0, result.stderr
    held = read()
    assert len(held) == 55
    assert {t.state for t in held if isinstance(t.config, HeadConfig)} == {State.INFEASIBLE}
    assert sum(t.state is State.COMPLETE for t in held) == 33


@pytest.mark.parametrize("outcome", [TOO_LARGE, CRASHED])
def test_where_nothing_is_complete_it_says_so_and_not_that_it_goes_on(lab, monkeypatch, outcome):
    ending_at_once(monkeypatch, outcome)

    results = [confirm("--top", "1", "--seeds", "2"), confirm()]

    for result in results:
        assert (result.exit_code, result.stdout) == (1, "")
        assert "every trial that confirms 'lab' has ended, and none is complete" in result.stderr
        assert "`headhunt trials lab/confirm` tells why" in result.stderr
        assert "goes on" not in result.stderr
    assert len(read()) == 4


def test_what_is_done_is_shown_without_notes_and_backbones(lab, searched, monkeypatch):
    first = confirm("--top", "4", "--seeds", "1")
    monkeypatch.setattr(run, "run_search", None)
    Path("store/lab/needs.json").unlink()
    Path("store/lab/confirm/needs.json").unlink()
    encoder, away = searched / "encoder", searched / "away"
    encoder.rename(away)
    try:
        again = [confirm(by=None), confirm("--top", "4", "--seeds", "1", "--slots", "2")]
        other = confirm("--top", "3")
        more = confirm("--seeds", "2")
    finally:
        away.rename(encoder)

    assert [(r.exit_code, r.stdout) for r in again] == [(0, first.stdout)] * 2
    assert (other.exit_code, more.exit_code) == (2, 2)
    assert "was confirmed with --top 4" in other.stderr
    assert "name it by --notes" in more.stderr


def test_what_is_forgotten_stays_so_until_something_runs(lab, searched):
    first = confirm("--top", "1", "--seeds", "1")
    invoke("forget", "lab", "--yes")
    notes = ("--notes", str(searched / "notes.csv"))

    shown = [confirm(), confirm(*notes)]

    assert [(r.exit_code, r.stdout) for r in shown] == [(0, first.stdout)] * 2
    assert forgotten_at()
    assert confirm(*notes, "--seeds", "2").exit_code == 0
    assert not forgotten_at()


def forgotten_at():
    study = Study.open("store", "lab/confirm")
    study.close()
    return study.forgotten_at


def test_notes_that_are_named_are_checked_where_nothing_is_to_run(lab):
    confirm("--top", "1", "--seeds", "1")
    write_synthetic(lab / "other.csv", rows=lambda row: [f"{row[0]} .", *row[1:]])

    result = confirm("--notes", "other.csv")

    assert result.exit_code == 2
    assert "the notes, their split or their labels" in " ".join(result.stderr.split())


def without_a_card(lab, **given):
    shutil.rmtree("store/lab")
    write_synthetic(lab / "notes.csv")
    settings = {"space": "scratch", "max_epochs": 2, "max_tokens": 32, "sampler": "random", **given}
    budget = Budget(trials=4)
    run_here(
        prepare(
            Request(
                notes=lab / "notes.csv",
                study="lab",
                store=Path("store"),
                given={"card": "none", **settings},
                budget=budget,
            )
        )
    )


def test_the_order_that_is_named_is_the_one_that_was_used(lab):
    without_a_card(lab)
    ranking = rank(trials("lab"))
    assert ranking.by == "f1"

    results = [
        confirm("--top", "1", "--seeds", "1", by=None),
        confirm(by="f1-per-gpu-hour"),
        confirm(by="f1"),
        confirm("--seeds", "2", by="f1-per-gpu-hour"),
    ]

    assert [r.exit_code for r in results] == [0] * 4, [r.stderr for r in results]
    assert any(s.startswith("The first by f1, ") for s in confirmation("lab").sentences)
    confirms = trials("lab/confirm").attrs["manifest"]["confirms"]
    assert (confirms["by"], confirms["asked_by"]) == ("f1", "f1-per-gpu-hour")
    refused = confirm(by="accuracy")
    assert refused.exit_code == 2
    assert "was confirmed with --by f1," in refused.stderr


def test_status_names_the_command_that_goes_on(lab, monkeypatch):
    class Killed(BaseException):
        """The process is no more."""

    def die(*_):
        raise Killed

    monkeypatch.setattr(
        run, "run_search", lambda prepared, show: run_here(prepared, show, before_hearing=die)
    )
    with pytest.raises(Killed):
        CliRunner().invoke(
            app, ["confirm", "lab", "--by", "f1", "--top", "1"], catch_exceptions=False
        )
    killed = invoke("status", "lab/confirm").stdout
    invoke("forget", "lab", "--yes")
    forgotten = invoke("status", "lab/confirm").stdout

    assert "nobody searches it: `headhunt confirm lab` continues its 1 unfinished trial" in killed
    assert "`headhunt confirm lab` makes them anew for what it trains" in forgotten
    assert "--resume" not in killed + forgotten
    assert "--resume makes them anew" in invoke("status", "lab").stdout


def test_where_nobody_said_how_many_it_is_what_there_is(lab):
    without_a_card(lab)
    ranked = len(rank(trials("lab"), "f1").table)
    assert 0 < ranked < 3

    result = confirm("--seeds", "1")

    assert result.exit_code == 0, result.stderr
    assert len(confirmation("lab").models) == ranked + 1
    refused = confirm("--top", "3")
    assert refused.exit_code == 2
    assert f"was confirmed with --top {ranked}" in refused.stderr


def test_of_baselines_alone_there_is_nothing_to_confirm(lab):
    without_a_card(lab, space="baselines")

    for words in ([], ["--top", "1"], ["--top", "3"]):
        result = confirm(*words, by=None)

        assert (result.exit_code, result.stdout) == (2, "")
        assert "has no complete trial but baselines" in result.stderr
        assert "--by f1" not in result.stderr


def test_where_none_is_ranked_the_order_that_ranks_them_is_named(lab):
    assert len(rank(trials("lab")).table) == 0  # none reaches the best baseline

    result = confirm(by=None)

    assert (result.exit_code, result.stdout) == (2, "")
    assert "no trial of the study 'lab' is ranked by f1-per-gpu-hour" in result.stderr
    assert "give --by f1, which ranks all 4" in result.stderr


@pytest.mark.parametrize(("top", "helps"), [(2, True), (4, True), (5, False)])
def test_the_order_that_leaves_none_out_is_advised_where_it_helps(lab, top, helps):
    held = read("lab")
    best = next(t.number for t in held if isinstance(t.config, HeadConfig))
    problems: list[str] = []

    chosen(
        held,
        lambda by, _: Choice((best,), None, by),
        Asked(study="lab", store=lab / "store", top=top),
        Terms(top=top),
        problems,
    )

    (problem,) = problems
    assert f"--top {top} is more than the 1 trial that is ranked by f1-per-gpu-hour" in problem
    assert ("or give --by f1, which ranks all 4" in problem) == helps
