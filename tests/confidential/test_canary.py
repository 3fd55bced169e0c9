"""No text of a note and no patient is in anything that is written, whatever fails, and wherever.

A corpus of canaries goes through the commands, as a user calls them, in a folder that holds all
they may write to: their output, the store, home, the temporary folder and Ray's. Then each byte is
read.
"""

import base64
import io
import os
import re
import signal
import tempfile
import time
import urllib.request
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from headhunt.analysis import trials
from headhunt.search.cli import app
from headhunt.trainables.notes.cache import CACHE_FOLDER

from ..trainables.backbone_dirs import make_backbone
from . import faults
from .canaries import (
    EVERYWHERE,
    ONCE,
    PATIENT,
    Lab,
    found_in,
    modes_in,
    tells,
    write_confidential_notes,
)

SEARCH = ["search", "notes.csv", "--max-tokens", "48", "--max-epochs", "2", "--slots", "1"]
HEADS = [*SEARCH, "--backbone", "./encoder", "--space", "spaces.py:mixed"]
SMALL = [*SEARCH, "--space", "spaces.py:small"]
PROOF_SECONDS = 240.0
QUESTIONS = [
    ["corpus", "check", "notes.csv"],
    ["corpus", "check", "notes.csv", "--backbone", "./encoder"],
    ["status", "lab"],
    ["studies"],
    *(["trials", "lab", "--format", written] for written in ("csv", "json", "table")),
    ["trials", "lab", "--curves"],
    *(["rank", "lab", "--by", "f1", "--format", written] for written in ("csv", "json", "table")),
    ["rank", "lab", "--min-f1", "0"],
    ["report", "lab"],
    ["bundle", "lab"],
    ["trials", "lab.headhunt.zip"],
    *(["compare", "lab", "--format", written] for written in ("csv", "json", "table")),
    ["simulate", "lab", "--trials", "4"],
    ["simulate", "lab", "--trials", "4", "--format", "json"],
    ["footprint", "linear", "--backbone", "./encoder", "--notes", "notes.csv"],
    ["search", "notes.csv", "--study", "lab"],
    ["search", "notes.csv", "--study", "lab", "--resume", "--label-column", "text"],
    ["corpus", "check", "notes.csv", "--label-column", "text"],
    ["corpus", "check", "notes.csv", "--label-column", "patient_id"],
    ["corpus", "check", "notes.csv", "--text-column", "note"],
    ["corpus", "check", "notes.csv", "--split-column", "text"],
    ["corpus", "check", "headless.csv"],
    ["corpus", "check", "torn.csv"],
    ["corpus", "check", "torn.jsonl"],
    ["search", "headless.csv", "--study", "headless", "--space", "scratch"],
    ["search", "torn.csv", "--study", "torn", "--space", "scratch"],
]

TAKEN_AWAY = [
    ["status", "lab/confirm"],
    ["trials", "lab/confirm", "--format", "json"],
    ["confirm", "lab", "--by", "f1", "--top", "1", "--seeds", "4", "--format", "json"],
    *(["trials", "lab", "--format", name, "-o", name] for name in ("tensorboard", "mlflow")),
    ["report", "lab", "-o", "report.html"],
    ["bundle", "lab", "-o", "lab.headhunt.zip"],
    ["export", "lab", "-o", "model"],
    ["export", "lab", "-o", "refused", "--notes", "torn.csv"],
    ["predict", "model", "notes.csv", "-o", "predictions.csv", "--score"],
    ["predict", "model", "notes.csv", "-o", "scored.csv", "--score", "--label-column", "text"],
    ["predict", "model", "torn.csv", "-o", "torn-predictions.csv"],
    ["predict", "model", "torn.jsonl", "-o", "torn-predictions.csv"],
    ["predict", "model", "headless.csv", "-o", "headless-predictions.csv"],
]


@pytest.fixture
def lab():
    """Not below pytest's folder: Ray's sockets take a short path only."""
    lab = Lab(Path(tempfile.mkdtemp(prefix="hh")))
    make_backbone(lab.work / "encoder")
    broken = {
        "headless.csv": f"{EVERYWHERE} {ONCE},quiet,{PATIENT}1\n" * 3,
        "torn.csv": f'text,label,patient_id\n{EVERYWHERE},quiet,{PATIENT}1\n"{ONCE},loud,{PATIENT}',
        "torn.jsonl": f'{{"text": "{EVERYWHERE}", "label": "{ONCE}\n{PATIENT}\n',
    }
    for name, text in broken.items():
        (lab.work / name).write_text(text)
    yield lab
    lab.remove()


def leaks(lab):
    return found_in(lab.folder, besides=[p for p in lab.work.iterdir() if p.is_file()])


def wait_for(condition, command):
    end = time.monotonic() + PROOF_SECONDS
    while not condition():
        assert command.process.poll() is None, command.said
        assert time.monotonic() < end, command.said
        time.sleep(0.1)


# --- what looks for canaries finds them --------------------------------------------------------


@pytest.mark.parametrize(
    "told",
    [
        EVERYWHERE.lower().encode(),
        f"crashed at {ONCE[2:10].upper()}...".encode(),
        PATIENT.encode("utf-16-le"),
        base64.b64encode(f"{{'patient': '{PATIENT}7'}}".encode()),
    ],
)
def test_a_canary_is_found_in_any_case_cut_or_encoded(told):
    assert tells(b"\x00\xff some log " + told + b" of it")


def test_common_words_and_random_names_are_no_canary():
    text = Path(__file__).read_bytes()

    assert not tells(text)
    assert not any(tells(os.urandom(2**16)) for _ in range(8))


def test_a_canary_in_a_files_name_or_deep_in_a_folder_is_found(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / f"{ONCE}.log").touch()
    (tmp_path / CACHE_FOLDER).mkdir()
    (tmp_path / CACHE_FOLDER / "vocabulary").write_text(ONCE)
    notes = write_confidential_notes(tmp_path / "notes.csv")

    assert set(found_in(tmp_path, besides=[notes])) == {f"a/b/{ONCE}.log"}


# --- the commands ------------------------------------------------------------------------------


def test_a_search_whose_trial_fails_quoting_a_note_and_every_question_about_it_tell_nothing(
    lab, monkeypatch
):
    lab.inject(faults.BASELINE)
    searched = lab.run(*HEADS, "--study", "lab", "--trials", "4")

    assert searched.status == 0, searched.said
    monkeypatch.chdir(lab.work)
    monkeypatch.setenv("HEADHUNT_STORE", "store")
    reasons = trials("lab", store=lab.store)["reason"].tolist()
    assert [reason for reason in reasons if "crashed: ValueError at " in reason] == reasons[:2]
    for words in QUESTIONS:
        asked = CliRunner().invoke(app, words)
        assert asked.exit_code in (0, 1, 2), words
        assert asked.output, words
        assert not tells(asked.output.encode()), (words, asked.output)
        assert asked.exception is None or isinstance(asked.exception, SystemExit), words
    assert CliRunner().invoke(app, ["trials", "lab", "-o", "trials.parquet"]).exit_code == 0
    written = io.StringIO()
    pd.read_parquet("trials.parquet").to_csv(written)  # Parquet packs its pages
    assert not tells(written.getvalue().encode())
    assert leaks(lab) == {}
    confidential = modes_in(lab.store / CACHE_FOLDER)
    weights = modes_in(lab.store / "lab" / "trials")
    assert {mode for name, mode in confidential.items() if "." in name[1:]} == {0o600}
    assert {mode for name, mode in weights.items() if name.endswith("safetensors")} == {0o600}
    vocabularies = list((lab.store / CACHE_FOLDER).glob("tokens-*/tokenizer.json"))
    assert any(tells(file.read_bytes()) for file in vocabularies) == bool(vocabularies)
    assert CliRunner().invoke(app, ["forget", "lab", "--yes"]).exit_code == 0
    assert found_in(lab.folder, besides=lab.work.iterdir()) == {}
    assert not any((lab.store / CACHE_FOLDER).glob("*/"))


# --- the rest, with all that fails -------------------------------------------------------------


@pytest.mark.proof
@pytest.mark.parametrize(
    ("fault", "words", "status", "said"),
    [
        (faults.READING, HEADS, 1, "headhunt failed: RuntimeError at "),
        (faults.TOKENISING, HEADS, 1, "backbone 'encoder' failed: ValueError"),
        (faults.SUB_WORDS, SMALL, 1, "sub-words of the scratch models failed: ValueError"),
        (faults.TRAINING, HEADS, 0, "failed: crashed: OSError at runner.py:"),
        (faults.WORKER, HEADS, 1, "its process died 3 times"),
        (faults.SETTING_UP, HEADS, 1, "its process died 3 times"),
    ],
    ids=["reading", "tokenising", "sub-words", "training", "a worker's step", "a worker's start"],
)
def test_a_failure_that_quotes_a_note_tells_nothing_at_any_stage(lab, fault, words, status, said):
    lab.inject(fault)

    search = lab.run(*words, "--study", "lab", "--trials", "3")  # both baselines and a network

    assert said in search.said
    assert search.status == status
    assert leaks(lab) == {}


@pytest.mark.proof
def test_what_is_confirmed_shown_and_taken_away_tells_nothing_whatever_fails(lab, monkeypatch):
    searched = lab.run(*SMALL, "--study", "lab", "--trials", "4")
    assert searched.status == 0, searched.said
    confirm = ["confirm", "lab", "--by", "f1", "--top", "1", "--slots", "1"]
    lab.inject(faults.SCORING)
    failed = lab.run(*confirm, "--seeds", "2")
    assert "crashed: ValueError at " in failed.said
    assert leaks(lab) == {}
    lab.inject("")
    again = lab.run(*confirm, "--seeds", "4")
    assert again.status == 0, again.said

    monkeypatch.chdir(lab.work)
    monkeypatch.setenv("HEADHUNT_STORE", "store")
    for words in TAKEN_AWAY:
        asked = CliRunner().invoke(app, words)
        assert asked.exit_code in (0, 1, 2), words
        assert not tells(asked.output.encode()), (words, asked.output)
        assert asked.exception is None or isinstance(asked.exception, SystemExit), words
    assert Path("model/README.md").exists()
    assert len(Path("predictions.csv").read_text().splitlines()) == 61
    shown = lab.start("dashboard", "lab", "--port", "0")
    wait_for(lambda: "http://" in shown.said, shown)
    address = re.findall(r"http://[^\s/]+", shown.said)[0]
    for page in ("/dashboard", "/api/studies", "/api/studies/0"):
        with urllib.request.urlopen(address + page, timeout=30) as answer:
            assert not tells(answer.read())
    shown.process.send_signal(signal.SIGINT)
    shown.process.wait(PROOF_SECONDS)

    known = {"work/model/tokenizer.json", "work/model/vocabulary.json"}
    outside = [p for p in lab.work.iterdir() if p.name in ("notes.csv", "torn.csv", "torn.jsonl")]
    told = found_in(lab.folder, besides=[*outside, lab.work / "headless.csv"])
    assert told.keys() <= known | {"work/spaces.py"}
    assert told.keys() & known  # a vocabulary was found where there is one


def test_a_space_that_quotes_a_note_tells_its_type_and_line(lab, monkeypatch):
    monkeypatch.chdir(lab.work)

    asked = CliRunner().invoke(
        app, ["search", "notes.csv", "--study", "lab", "--space", "spaces.py:quoting"]
    )

    assert asked.exit_code == 2
    assert "spaces.py:quoting' failed: ValueError at spaces.py:23 (what it says" in asked.output
    assert not tells(asked.output.encode())


@pytest.mark.proof
def test_processes_that_are_killed_leave_nothing_that_tells(lab):
    lab.inject(faults.killed_once(str(lab.folder / "marker")))
    worker = lab.run(*SMALL, "--study", "worker", "--trials", "4")
    assert worker.status == 0, worker.said
    assert (lab.folder / "marker").exists()
    assert leaks(lab) == {}

    reached = lab.folder / "reached"
    lab.inject(faults.stalled(str(reached)))
    driver = lab.start(*HEADS, "--study", "driver", "--trials", "4")
    wait_for(reached.exists, driver)
    driver.process.kill()
    driver.process.wait()
    assert leaks(lab) == {}

    reached.unlink()
    interrupted = lab.start(*SEARCH, "--study", "driver", "--resume")
    wait_for(reached.exists, interrupted)
    lab.inject("")
    interrupted.process.send_signal(signal.SIGINT)
    interrupted.process.send_signal(signal.SIGINT)
    assert interrupted.process.wait(PROOF_SECONDS) == 130, interrupted.said
    resumed = lab.run("search", "notes.csv", "--study", "driver", "--resume", "--slots", "1")
    assert resumed.status == 0, resumed.said
    demo = lab.run("demo", "--notes", "100", "--trials", "3", "--max-epochs", "1")
    assert demo.status in (0, 1), demo.said
    forgotten = lab.run("forget", "driver", "--yes")
    assert forgotten.status == 0, forgotten.said
    assert leaks(lab) == {}
