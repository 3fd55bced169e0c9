import os
import resource
import signal
import subprocess
import sys
from itertools import pairwise

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from headhunt.stores.journal import JournalFile

LOGS = [{"op": 1, "text": "é" * 5}, {"op": 2}, {"op": 3, "text": "x" * 20, "list": [1, None]}]
KILLED_AFTER_APPENDS = """
import os, signal, sys
from pathlib import Path
from headhunt.stores.journal import JournalFile
journal = JournalFile(Path(sys.argv[1]))
for place in range(50):
    journal.append_logs([{"place": place}])
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "study.journal"


@pytest.fixture
def full_disk():
    """A way to make this process's files end at a size, and without one to end that."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size=soft: resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def ten_trials(backend):
    study = optuna.create_study(
        storage=JournalStorage(backend), study_name="lab", sampler=optuna.samplers.RandomSampler(0)
    )
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=10)
    return [(t.number, t.state, t.params, t.values) for t in study.trials]


def trials_in(backend):
    study = optuna.load_study(storage=JournalStorage(backend), study_name="lab")
    return [(t.number, t.state, t.params, t.values) for t in study.trials]


def test_optunas_own_backend_reads_what_is_written_here(path):
    written = ten_trials(JournalFile(path))

    assert trials_in(JournalFileBackend(str(path))) == written


def test_what_optunas_own_backend_wrote_is_read_here(path):
    written = ten_trials(JournalFileBackend(str(path)))

    assert trials_in(JournalFile(path)) == written


@pytest.mark.parametrize("start", range(5))
def test_entries_are_read_from_any_number_on(path, start):
    JournalFile(path).append_logs(LOGS)

    assert list(JournalFile(path).read_logs(start)) == LOGS[start:]


def test_a_reader_goes_on_where_it_stood(path):
    journal = JournalFile(path)
    journal.append_logs(LOGS[:2])
    assert list(journal.read_logs(0)) == LOGS[:2]

    journal.append_logs(LOGS[2:])

    assert list(journal.read_logs(2)) == LOGS[2:]
    assert list(journal.read_logs(3)) == []


def test_a_line_torn_at_any_byte_is_cut_and_what_comes_later_is_read(path):
    JournalFile(path).append_logs(LOGS)
    whole = path.read_bytes()
    ends = [0, *(place + 1 for place, byte in enumerate(whole) if byte == ord("\n"))]
    for number, (begin, end) in enumerate(pairwise(ends)):
        for cut in range(begin, end):
            path.write_bytes(whole[:cut])

            JournalFile(path).append_logs([{"later": cut}])

            assert list(JournalFile(path).read_logs(0)) == [*LOGS[:number], {"later": cut}]


@pytest.mark.parametrize("size", [65_535, 65_536, 65_537, 200_000])
def test_a_torn_line_longer_than_the_step_that_looks_for_it_is_cut(path, size):
    JournalFile(path).append_logs(LOGS)
    whole = path.read_bytes()
    path.write_bytes(whole + b"x" * size)

    JournalFile(path)

    assert path.read_bytes() == whole


def test_an_append_that_fails_leaves_the_file_as_it_was(path, full_disk):
    journal = JournalFile(path)
    journal.append_logs(LOGS)
    whole = path.read_bytes()
    full_disk(len(whole) + 10)  # the disk is full in the middle of the next line

    with pytest.raises(OSError, match="File too large"):
        journal.append_logs([{"text": "y" * 100}])

    assert path.read_bytes() == whole


def test_after_a_failed_append_the_next_one_is_read(path, full_disk):
    journal = JournalFile(path)
    journal.append_logs(LOGS)
    full_disk(path.stat().st_size + 10)
    with pytest.raises(OSError, match="File too large"):
        journal.append_logs([{"text": "y" * 100}])
    full_disk()

    journal.append_logs([{"later": 1}])

    assert list(journal.read_logs(0)) == [*LOGS, {"later": 1}]
    assert list(JournalFile(path).read_logs(0)) == [*LOGS, {"later": 1}]


def test_what_was_appended_survives_the_kill_of_its_writer(path):
    ended = subprocess.run([sys.executable, "-c", KILLED_AFTER_APPENDS, str(path)], check=False)

    assert ended.returncode == -signal.SIGKILL
    assert list(JournalFile(path).read_logs(0)) == [{"place": place} for place in range(50)]


def test_the_disk_is_told_when_the_journal_is_closed(path, monkeypatch):
    told = []
    monkeypatch.setattr(os, "fsync", told.append)
    journal = JournalFile(path)
    journal.append_logs(LOGS)

    journal.close()

    assert len(told) == 1
