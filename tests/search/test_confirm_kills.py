"""A real confirmation whose driver is killed while it trains, and continued each time."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from headhunt.analysis import confirmation
from headhunt.search.study import Study
from headhunt.spaces.record import JOURNAL_NAME
from headhunt.stores import StoreError

from .kills import MARK, wait_until_gone
from .toys import learned, write_notes

pytestmark = pytest.mark.proof

MAIN = "import sys\nfrom headhunt.search.cli import main\nsys.argv[0] = 'headhunt'\nmain()\n"
WAIT_SECONDS = 240
SPACE = """
from headhunt.spaces.configs import Optimisation, ScratchConfig


def small(trial):
    return ScratchConfig(width=8, feed_forward=8, vocabulary=300, dropout=0.2,
        optimisation=Optimisation(learning_rate=trial.suggest_float("rate", 1e-3, 3e-2, log=True)))
"""
CONFIRM = ["confirm", "lab", "--top", "2", "--seeds", "3", "--by", "f1", "--slots", "2"]


def start(folder, *words):
    return subprocess.Popen(
        [sys.executable, "-c", MAIN, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env={**os.environ, MARK: str(folder), "HEADHUNT_STORE": "store"},
        start_new_session=True,
    )


def run(folder, *words):
    process = start(folder, *words)
    out, error = process.communicate(timeout=WAIT_SECONDS)
    assert process.returncode == 0, error
    wait_until_gone(folder)
    return out


def trials_of(folder):
    study = Study.open(folder / "store", "lab/confirm")
    study.close()
    return study.trials


def ended(folder):
    journal = folder / "store" / "lab" / "confirm" / JOURNAL_NAME
    with contextlib.suppress(OSError, StoreError):
        return journal.read_bytes().count(b'"outcome"')
    return 0


def test_a_driver_that_is_killed_scores_nothing_twice_and_changes_no_number(tmp_path):
    lab, whole = tmp_path / "lab", tmp_path / "whole"
    lab.mkdir()
    write_notes(lab / "notes.csv", 160)
    (lab / "mine.py").write_text(SPACE)
    search = ["search", "notes.csv", "--study", "lab", "--space", "mine.py:small", "--trials", "5"]
    run(lab, *search, "--max-epochs", "4", "--no-rungs", "--max-tokens", "24", "--card", "none")
    searched = (lab / "store" / "lab" / JOURNAL_NAME).read_bytes()
    shutil.copytree(lab, whole)
    shown = run(whole, *CONFIRM)

    before, killed = [], 0
    for many in (1, 5):
        process = start(lab, *CONFIRM)
        end = time.monotonic() + WAIT_SECONDS
        while ended(lab) < many and process.poll() is None and time.monotonic() < end:
            time.sleep(0.05)
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
        process.communicate()
        wait_until_gone(lab)
        now = trials_of(lab)
        for old, new in zip(before, now, strict=False):
            if old.outcome:
                assert (new.outcome, new.reports) == (old.outcome, old.reports)  # to the second
        before = now
    assert run(lab, *CONFIRM) == shown

    assert killed
    trials = trials_of(lab)
    assert list(map(learned, trials)) == list(map(learned, trials_of(whole)))
    predicted = [
        [t.outcome and t.outcome.test and t.outcome.test.predicted for t in found]
        for found in (trials, trials_of(whole))
    ]
    assert predicted[0] == predicted[1]
    scorings = confirmation("lab", store=lab / "store").scorings
    assert len(scorings) == 9 == len({(t.config_hash, t.seed) for t in trials})
    assert (lab / "store" / "lab" / JOURNAL_NAME).read_bytes() == searched
    assert not list(Path(lab / "store" / "lab" / "confirm").rglob("*.safetensors"))
