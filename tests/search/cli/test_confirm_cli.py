"""`headhunt confirm`, over real searches: what it trains, asks of the test part, and refuses."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from headhunt.analysis import StudyNotFoundError, confirmation, rank, trials
from headhunt.search import run
from headhunt.search.cli import app
from headhunt.search.launch import prepare
from headhunt.search.plan import Budget
from headhunt.search.settings import Request
from headhunt.search.study import Study
from headhunt.spaces.record import JOURNAL_NAME
from headhunt.stores import store_at
from headhunt.trainables.notes.corpus import Part, read_corpus
from headhunt.trainables.training.loop import DivergedError
from headhunt.trainables.training.metrics import score

from ..here import run_here
from ..toys import begin, learned, scratch
from .confirming import confirm, fail_first_replicate, read, scoring_of, write_synthetic


def test_the_best_and_the_best_baseline_are_trained_with_other_seeds_and_scored_once(lab):
    before = {p: p.read_bytes() for p in Path("store/lab").rglob("*") if p.is_file()}
    ranking, seeds = rank(trials("lab"), "f1"), {t.seed for t in read("lab")}

    result = confirm("--top", "2", "--seeds", "2")

    assert result.exit_code == 0, result.stderr
    again = read()
    best = [*ranking.table["trial"].head(2), ranking.controls["trial"].iloc[0]]
    asked = [(t.replicate.trial, t.replicate.number) for t in again if t.replicate]
    assert asked == [(number, seed) for number in best for seed in (1, 2)]
    assert len({(t.config_hash, t.seed) for t in again}) == 6
    assert not seeds & {t.seed for t in again}
    found = confirmation("lab")
    assert found.scorings["confirming_trial"].tolist() == [0, 1, 2, 3, 4, 5]
    assert "was scored 6 times" in found.sentences[-1]
    assert set(found.models["trial"]) == set(best)
    now = {p: p.read_bytes() for p in before if p.name not in ("lock", "lock.holder")}
    assert now == {p: before[p] for p in now}
    assert rank(trials("lab"), "f1").table.equals(ranking.table)
    assert Path("store/lab/confirm", JOURNAL_NAME).stat().st_mode & 0o777 == 0o600


def test_a_test_score_is_that_of_the_predictions_on_the_test_part(lab, searched):
    confirm("--top", "1", "--seeds", "1")
    corpus = read_corpus(searched / "notes.csv")
    test = corpus.indices(Part.TEST)

    told = store_at("store").read("lab/confirm").manifest["confirms"]["test"]
    found = confirmation("lab").models.set_index("trial")

    assert told["rows"] == corpus.rows[test].tolist()
    assert told["classes"] == corpus.labels[test].tolist()
    for trial in read():
        said = scoring_of(trial)
        scores = score(np.eye(len(corpus.label_names))[said.predicted], corpus.labels[test])
        assert (said.f1, said.accuracy) == (scores.f1, scores.accuracy)
        assert trial.replicate
        row = found.loc[trial.replicate.trial].to_dict()
        assert row["test_f1"] == pytest.approx(scores.f1)
        assert row["test_f1_low"] <= scores.f1 <= row["test_f1_high"]
        assert row["gap"] == pytest.approx(row["validation_f1"] - scores.f1)


class Killed(BaseException):
    """The process is no more."""


@pytest.mark.parametrize("together", [1, 3])
def test_one_that_is_killed_again_and_again_ends_as_one_that_never_was(lab, monkeypatch, together):
    words = ["--top", "2", "--seeds", "3", "--together", str(together)]
    shutil.copytree("store", "other")
    whole = CliRunner().invoke(app, ["confirm", "lab", "--by", "f1", *words, "--store", "other"])
    assert whole.exit_code == 0, whole.stderr
    heard = []

    def dying(left):
        def before_hearing(number, step):
            nonlocal left
            left -= 1
            if left < 0:
                raise Killed
            if step.outcome.test:
                heard.append(number)

        return lambda prepared, show: run_here(prepared, show, before_hearing=before_hearing)

    for left in (0, 2, 4, 5):
        monkeypatch.setattr(run, "run_search", dying(left))
        with pytest.raises(Killed):
            CliRunner().invoke(
                app, ["confirm", "lab", "--by", "f1", *words], catch_exceptions=False
            )
    monkeypatch.setattr(run, "run_search", dying(1000))
    result = confirm(*words)

    assert result.exit_code == 0
    assert heard == sorted(set(heard)) == list(range(9))  # each once
    trials_here, trials_there = read(), read(store="other")
    if together == 1:  # in one pass floats are added in another order
        assert list(map(learned, trials_here)) == list(map(learned, trials_there))
        assert [scoring_of(t).predicted for t in trials_here] == [
            scoring_of(t).predicted for t in trials_there
        ]
        assert result.stdout == whole.stdout
    assert not list(Path("store/lab/confirm").rglob("*.safetensors"))


def test_one_that_is_interrupted_tells_how_it_goes_on(lab, monkeypatch):
    def interrupted(prepared, show):
        prepared.study.close()
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "run_search", interrupted)

    result = confirm("--top", "1", "--seeds", "1", "--slots", "2")

    assert (result.exit_code, result.stdout) == (130, "")
    assert "continue with `headhunt confirm lab --store store --slots 2`" in result.stderr


def test_called_again_it_trains_nothing_and_says_the_same(lab, monkeypatch):
    first = confirm("--top", "1", "--seeds", "1")
    monkeypatch.setattr(run, "run_search", None)

    again = confirm(by=None)

    assert (again.exit_code, again.stdout) == (0, first.stdout)


def test_more_seeds_are_added_to_those_that_were(lab):
    confirm("--top", "1", "--seeds", "1")
    before = read()

    assert confirm("--seeds", "2", by=None).exit_code == 0

    now = read()
    assert [t.outcome for t in now[:2]] == [t.outcome for t in before]
    assert [t.replicate.number for t in now[2:] if t.replicate] == [2, 2]
    assert set(confirmation("lab").models["seeds"]) == {2}


def test_on_train_and_validation_the_epochs_are_fixed_beforehand(lab):
    best = {t.number: t.best_epoch for t in read("lab")}

    result = confirm("--top", "3", "--seeds", "1", "--train-plus-validation")

    assert result.exit_code == 0, result.stderr
    for trial in read():
        assert trial.replicate
        assert trial.replicate.epochs == len(trial.reports) == best[trial.replicate.trial]
        assert all(np.isnan(r.f1) for r in trial.reports)  # nothing was left to validate on
        assert trial.outcome
        assert trial.outcome.best_epoch == len(trial.reports)
        assert scoring_of(trial).predicted
    found = confirmation("lab")
    corpus = trials("lab").attrs["manifest"]["corpus"]["parts"]
    assert set(found.models["training_notes"]) == {corpus["train"] + corpus["validation"]}
    assert trials("lab/confirm")["f1"].isna().all()
    assert any("trained on train and validation" in s for s in found.sentences)
    assert confirmation("lab").models["gap"].isna().all()  # other notes than in the search


def test_train_fractions_are_shown_by_their_notes(lab):
    result = confirm("--top", "2", "--seeds", "1", "--train-fractions", "1,0.4")

    assert result.exit_code == 0, result.stderr
    assert "F1 on test by the number of training notes" in result.stdout
    found = confirmation("lab")
    assert found.fractions is not None
    assert found.fractions["train_fraction"].tolist() == [0.4, 1.0] * 3
    notes = found.fractions.groupby("train_fraction")["training_notes"].unique()
    train = trials("lab").attrs["manifest"]["corpus"]["parts"]["train"]
    assert notes[1.0].tolist() == [train]
    assert notes[0.4].tolist() == [pytest.approx(0.4 * train, abs=0.06 * train)]
    assert len(found.scorings) == len(read()) == 6
    assert set(found.models["training_notes"]) == {train}


def test_it_stands_under_the_study_that_it_confirms(lab):
    shutil.copytree("store/lab", "store/lab-2")
    confirm("--top", "1", "--seeds", "1")

    shown = CliRunner().invoke(app, ["studies"]).stdout
    told = CliRunner().invoke(app, ["trials", "lab/confirm", "--format", "json"])

    assert [line.split()[0] for line in shown.splitlines()[1:]] == ["lab", "lab/confirm", "lab-2"]
    assert len(json.loads(told.stdout)) == 2
    assert CliRunner().invoke(app, ["status", "lab/confirm"]).exit_code == 0


@pytest.mark.parametrize("more", [[], ["--resume"]])
def test_a_confirmation_is_not_searched(lab, searched, more):
    confirm("--top", "1", "--seeds", "1")

    words = ["search", str(searched / "notes.csv"), "--study", "lab/confirm", "--space", "scratch"]
    result = CliRunner().invoke(app, [*words, *more])

    assert result.exit_code == 2
    assert "confirms 'lab', and is not searched: `headhunt confirm lab` makes it" in result.stderr


def test_what_is_forgotten_goes_with_its_confirmation(lab):
    confirm("--top", "2", "--seeds", "1", "--train-fractions", "0.4,1")
    cache = Path("store/.confidential")
    made = len([p for p in cache.iterdir() if p.is_dir()])

    result = CliRunner().invoke(app, ["forget", "lab", "--yes"])

    assert result.exit_code == 0, result.stderr
    assert made >= 3  # of the encoder, and a vocabulary a fraction
    assert [p.name for p in cache.iterdir() if p.is_dir() and "backbone" not in p.name] == []
    assert not Path("store/lab/confirm/needs.json").exists()
    assert not Path("store/lab/trials").exists()
    assert len(confirmation("lab").scorings) == 6  # the record stays


def test_the_result_is_written_as_json_and_as_csv(lab):
    confirm("--top", "2", "--seeds", "2")

    told = json.loads(confirm("--format", "json").stdout)
    table = confirm("--format", "csv")

    assert {"models", "pairs", "fractions", "sentences", "scorings", "study"} == told.keys()
    assert len(told["pairs"]) == 1  # the baseline is compared in the models' table
    assert [row["trial"] for row in told["models"]] == [
        int(row["trial"]) for row in csv.DictReader(table.stdout.splitlines())
    ]
    assert told["sentences"][0] in table.stderr


def test_a_replicate_that_failed_is_told_and_left_out(lab, monkeypatch):
    fail_first_replicate(
        monkeypatch, DivergedError("diverged: what it says of the test part is not finite")
    )

    result = confirm("--top", "1", "--seeds", "3")

    assert result.exit_code == 0, result.stderr
    assert "1 of 3 seeds failed or did not fit the card, and are left out." in result.stdout
    assert sorted(confirmation("lab").models["seeds"]) == [2, 3]


def changed_notes(lab):
    write_synthetic(lab / "other.csv", rows=lambda row: [f"{row[0]} .", *row[1:]])


def nothing_complete(lab):
    shutil.rmtree("store/lab/trials")
    journal = Path("store/lab") / JOURNAL_NAME
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(lines[:2]))


def being_searched(lab):
    study = Study.open("store", "lab")
    begin(study, scratch(0.5))
    return study.close


def confirmed(*words):
    return lambda _: confirm("--top", "1", "--seeds", "2", *words) and None


def without_word_of_notes(lab):
    Path("store/lab/needs.json").unlink()


REFUSED = {
    "no study": (None, ["--by", "f1"], "no study 'nobody' in the store"),
    "nothing complete": (nothing_complete, [], "has no complete trial: there is nothing to"),
    "a study that is searched": (being_searched, [], "is being searched by process"),
    "more than there are": (
        None,
        ["--top", "9"],
        "--top 9 is more than the 4 trials that are rank",
    ),
    "no trial": (None, ["--top", "0"], "--top must be at least 1; got 0"),
    "no seed": (None, ["--seeds", "0"], "--seeds must be at least 1; got 0"),
    "ever so many seeds": (None, ["--seeds", "99999"], "--seeds must be at most 10,000; got 99999"),
    "an unknown order": (None, ["--by", "luck"], "a ranking is by one of"),
    "other notes": (changed_notes, ["--notes", "other.csv"], "the notes, their split or their la"),
    "no notes": (None, ["--notes", "nowhere.csv"], "nowhere.csv does not exist"),
    "notes of which nobody knows": (without_word_of_notes, [], "name it by --notes"),
    "fractions that are words": (
        None,
        ["--train-fractions", "half"],
        "--train-fractions is numbers",
    ),
    "a fraction of nothing": (None, ["--train-fractions", "0,1"], "must be in (0, 1]; got 0,1"),
    "no number as a fraction": (None, ["--train-fractions", "nan,1"], "must be in (0, 1]; got"),
    "a fraction twice": (None, ["--train-fractions", "0.5,1,1"], "--train-fractions must differ"),
    "a fraction without a class": (
        None,
        ["--train-fractions", "0.001,1"],
        "0.001 of the training notes leaves a class without a note; the smallest that works is 0.0",
    ),
    "no slot": (None, ["--slots", "0"], "--slots must be 1 or more; got 0"),
    "fewer seeds": (
        confirmed(),
        ["--seeds", "1"],
        "was confirmed with --seeds 2, and its test part",
    ),
    "another order": (confirmed(), ["--by", "accuracy"], "was confirmed with --by f1"),
    "other parts": (confirmed(), ["--train-plus-validation"], "with --train-plus-validation off"),
    "other fractions": (
        confirmed("--train-fractions", "0.5,1"),
        ["--train-fractions", "1"],
        "was confirmed with --train-fractions 0.5,1",
    ),
}


def contents(folder):
    files = (p for p in folder.rglob("*") if p.is_file() and not p.name.startswith("lock"))
    return {path: path.read_bytes() for path in files}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_confirmed_is_one_message_and_writes_nothing(lab, case):
    make, words, said = REFUSED[case]
    end = make(lab) if make else None
    before = contents(lab)

    study = "nobody" if case == "no study" else "lab"
    order = [] if "--by" in words else ["--by", "f1"]
    result = CliRunner().invoke(app, ["confirm", study, *order, *words])
    if end:
        end()

    assert (result.exit_code, result.stdout) == (2, ""), result.stderr
    assert said in " ".join(result.stderr.split())
    assert result.stderr.count("error: ") == 1
    assert contents(lab) == before


def test_a_confirmation_of_a_confirmation_is_refused(lab):
    result = CliRunner().invoke(app, ["confirm", "lab/confirm"])

    assert result.exit_code == 2
    assert "the study 'lab/confirm' is a confirmation: confirm 'lab'" in result.stderr


def test_a_test_part_of_one_patient_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEADHUNT_STORE", "store")
    with Path("notes.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["text", "label", "patient_id", "split"])
        for place in range(60):
            part = "test" if place < 4 else ("train", "validation")[place % 4 == 0]
            patient = "one" if part == "test" else f"p{place}"
            rows.writerow([f"note {place}", ("a", "b")[place % 2], patient, part])
    request = Request(
        notes=Path("notes.csv"),
        study="lab",
        store=Path("store"),
        given={"space": "baselines"},
        budget=Budget(trials=3),
    )
    run_here(prepare(request))

    result = CliRunner().invoke(app, ["confirm", "lab", "--top", "1"])

    assert result.exit_code == 2
    assert "the test part has notes of 1 patients" in " ".join(result.stderr.split())
    assert store_at("store").names() == ["lab"]


def test_of_a_study_that_nobody_has_confirmed_there_is_no_confirmation(lab):
    with pytest.raises(StudyNotFoundError, match="nothing of the study 'lab' in the store"):
        confirmation("lab")
    with pytest.raises(StudyNotFoundError, match="no study 'nobody'"):
        confirmation("nobody")


@pytest.mark.proof
def test_a_study_in_a_database_is_confirmed_there(tmp_path, monkeypatch, database):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEADHUNT_STORE", database)
    monkeypatch.setenv("HEADHUNT_WORK", "work")
    monkeypatch.setattr(run, "run_search", run_here)
    write_synthetic(Path("notes.csv"))
    place = store_at(database, work=Path("work"))
    given = {"space": "scratch", "max_epochs": 2, "max_tokens": 32}
    request = Request(
        notes=Path("notes.csv"), study="net", store=place, given=given, budget=Budget(trials=3)
    )
    run_here(prepare(request))

    words = ["confirm", "net", "--by", "f1", "--top", "1", "--seeds", "2"]
    result = CliRunner().invoke(app, [*words, "--train-plus-validation"])

    assert result.exit_code == 0, result.stderr
    assert len(confirmation("net", store=place).scorings) == 4
    assert place.names() == ["net", "net/confirm"]
    folders = sorted(p.name.partition("@")[0] for p in Path("work").iterdir() if "@" in p.name)
    assert folders == ["net", "net"]
    assert CliRunner().invoke(app, ["forget", "net", "--yes"]).exit_code == 0
    assert CliRunner().invoke(app, [*words[:2], "--seeds", "3"]).exit_code == 2  # no notes known
    again = CliRunner().invoke(app, [*words[:2], "--seeds", "3", "--notes", "notes.csv"])
    assert again.exit_code == 0, again.stderr
    assert set(confirmation("net", store=place).models["seeds"]) == {3}
