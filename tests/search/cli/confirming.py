"""What the tests of `headhunt confirm` share: the notes, the command, what it has recorded."""

import csv

from typer.testing import CliRunner

from headhunt.search.cli import app
from headhunt.search.study import Study
from headhunt.trainables import runner
from headhunt.trainables.notes.synthetic import synthetic_notes

NOTES = 140


def write_synthetic(path, count=NOTES, rows=lambda row: row):
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label", "patient_id"])
        writer.writerows(rows([n.text, n.label, n.patient_id]) for n in synthetic_notes(count))


def confirm(*words, by: str | None = "f1"):
    said = ["--by", by] if by else []
    return CliRunner().invoke(app, ["confirm", "lab", *said, *words])


def read(name="lab/confirm", store="store"):
    study = Study.open(store, name)
    study.close()
    return study.trials


def scoring_of(trial):
    assert trial.outcome
    assert trial.outcome.test
    return trial.outcome.test


def fail_first_replicate(monkeypatch, error):
    """Let the first scoring of the test part end by this error."""
    once = iter([error])

    def examine_but_for_the_first(*words, original=runner.examine, **named):
        for told in once:
            raise told
        return original(*words, **named)

    monkeypatch.setattr(runner, "examine", examine_but_for_the_first)
