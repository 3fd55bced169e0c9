import os
import pty
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta

import optuna
import pandas as pd
import psycopg
import pytest
from optuna.storages import JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from typer.testing import CliRunner

from headhunt.analysis import trials
from headhunt.search.cli import app
from headhunt.search.study import Study
from headhunt.spaces.record import JOURNAL_NAME, OUTCOME_KEY, Outcome, State
from headhunt.stores import StoreError, StoreLostError, StudyError, held_postgresql, store_at

from ..search.toys import MANIFEST, begin, epoch_report, finish, scratch
from .server import OWNER, PASSWORD
from .wire import Wire

pytestmark = pytest.mark.proof


@pytest.fixture
def shared(database, tmp_path):
    """A store in an empty database."""
    return store_at(database, work=tmp_path / "work")


@pytest.fixture
def study(shared):
    study = Study.create(shared, "lab", MANIFEST)
    yield study
    study.close()


@pytest.fixture
def wire(postgresql):
    wire = Wire(postgresql.port)
    yield wire
    wire.close()


@pytest.fixture
def wired(postgresql, database, wire, shared, tmp_path):
    """A study that is written over the wire."""
    address = database.replace(f":{postgresql.port}/", f":{wire.port}/")
    study = Study.create(store_at(address, work=tmp_path / "wired"), "lab", MANIFEST)
    yield study
    study.close()


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(held_postgresql, "OUTAGE_SECONDS", 2.0)


def tables(database):
    with psycopg.connect(database) as connection:
        found = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        return {name for (name,) in found}


def test_reading_an_empty_database_finds_nothing_and_makes_nothing(database, shared):
    assert shared.names() == []
    assert not shared.exists("lab")
    with pytest.raises(StoreError, match=r"no study 'lab' in the store .*; it has no study yet"):
        shared.read("lab")

    assert tables(database) == set()


def test_optuna_itself_reads_the_study(database, study):
    finish(study, begin(study, scratch()), 0.2, 0.8, 0.5)

    url = database.replace("postgresql://", "postgresql+psycopg://")
    [found] = optuna.load_study(study_name="lab", storage=RDBStorage(url)).trials

    assert found.values == [0.8]
    assert found.intermediate_values == {1: 0.2, 2: 0.8, 3: 0.5}


def test_a_study_that_optuna_copied_from_a_folder_goes_on_here(database, shared, tmp_path):
    here = Study.create(tmp_path, "lab", MANIFEST)
    finish(here, begin(here, scratch(0.1)), 0.2, 0.8)
    here.report(begin(here, scratch(0.2)).number, epoch_report(1, 0.5))
    here.close()
    journal = JournalStorage(JournalFileBackend(str(tmp_path / "lab" / JOURNAL_NAME)))
    url = database.replace("postgresql://", "postgresql+psycopg://")

    optuna.copy_study(from_study_name="lab", from_storage=journal, to_storage=url)

    study = Study.open(shared, "lab")
    assert [t.state for t in study.trials] == [State.COMPLETE, State.RUNNING]
    study.end(1, Outcome(state=State.COMPLETE))
    study.close()
    assert list(trials("lab", store=shared)["f1"]) == [0.8, 0.5]


def test_the_study_of_another_program_is_not_listed_and_its_name_is_taken(database, shared):
    url = database.replace("postgresql://", "postgresql+psycopg://")
    optuna.create_study(study_name="theirs", storage=url)

    assert shared.names() == []
    with pytest.raises(StudyError, match="the study 'theirs' exists in"):
        Study.create(shared, "theirs", MANIFEST)
    with pytest.raises(StoreError, match="no study 'theirs'"):
        Study.open(shared, "theirs")


def test_searches_that_begin_at_once_in_an_empty_database_do_not_trip_over_each_other(
    database, tmp_path
):
    made, names = [], [f"lab{number}" for number in range(4)]

    def make(name):
        study = Study.create(store_at(database, work=tmp_path), name, MANIFEST)
        made.append(study.name)
        study.close()

    threads = [threading.Thread(target=make, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(made) == store_at(database).names() == names


def test_the_same_name_at_once_is_made_once(database, tmp_path):
    made, refused = [], []

    def make():
        try:
            made.append(Study.create(store_at(database, work=tmp_path), "lab", MANIFEST))
        except StudyError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=make) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (len(made), len(refused)) == (1, 1)
    made[0].close()


def test_a_role_that_may_only_read_reads_and_is_told_that_it_cannot_search(
    postgresql, database, study, tmp_path, monkeypatch
):
    finish(study, begin(study, scratch()), 0.5)
    with psycopg.connect(database, autocommit=True) as owner:
        owner.execute("DROP ROLE IF EXISTS reader")
        owner.execute("CREATE ROLE reader LOGIN PASSWORD 'reads'")
        owner.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")
    monkeypatch.setenv("PGPASSWORD", "reads")
    reader = store_at(database.replace(f"{OWNER}@", "reader@"), work=tmp_path)

    assert list(trials("lab", store=reader)["f1"]) == [0.5]
    assert reader.holder("lab") == f"process {os.getpid()} on {os.uname().nodename}"
    with pytest.raises(StudyError, match=r"the store .* cannot be used: permission denied for"):
        Study.create(reader, "other", MANIFEST)


def test_moments_are_the_same_for_readers_in_other_zones(shared, study, monkeypatch):
    before = datetime.now(UTC)
    try:
        monkeypatch.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        finish(study, begin(study, scratch()), 0.5)
        monkeypatch.setenv("TZ", "America/New_York")
        time.tzset()
        read = trials("lab", store=shared).iloc[0]
    finally:
        monkeypatch.undo()
        time.tzset()

    for moment in (read["started_at"], read["ended_at"]):
        assert timedelta(0) <= pd.Timestamp(moment) - before < timedelta(minutes=1)


def test_folders_on_a_machine_are_those_of_one_study_alone(database, study, shared):
    first = study.folder
    study.close()
    assert first.stat().st_mode & 0o077 == 0
    with psycopg.connect(database, autocommit=True) as owner:
        for table in tables(database) - {"version_info", "alembic_version"}:
            owner.execute(f"TRUNCATE {table} CASCADE".encode())

    again = Study.create(shared, "lab", MANIFEST)

    assert again.folder != first
    assert again.folder.name.startswith("lab@")
    again.close()


def test_a_work_folder_that_cannot_be_made_is_told(database, tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises(StudyError, match=r"the folder .*file/lab@.* cannot be made"):
        Study.create(store_at(database, work=tmp_path / "file"), "lab", MANIFEST)


def test_a_restart_of_the_server_is_waited_for_and_loses_nothing(postgresql, shared, study):
    told = []
    study.on_outage(told.append)
    first, second = begin(study, scratch(0.1)), begin(study, scratch(0.2))
    back = threading.Thread(target=lambda: (time.sleep(1), postgresql.start()))
    postgresql.stop("immediate")  # as a crash
    back.start()

    study.report(first.number, epoch_report(1, 0.5))
    back.join()
    postgresql.stop()
    postgresql.start()
    study.end(first.number, Outcome(state=State.COMPLETE))
    postgresql.stop()
    postgresql.start()
    begin(study, scratch(0.3))

    assert told[0].startswith(f"the store {shared} does not answer (")
    assert [t.number for t in shared.read("lab").trials] == [0, 1, 2]
    assert list(trials("lab", store=shared)["state"]) == ["complete", "running", "running"]
    assert second.state is State.RUNNING
    assert shared.holder("lab").startswith(f"process {os.getpid()}")


def test_a_server_that_stays_away_ends_the_search_in_one_message(
    postgresql, shared, study, impatient
):
    trial = begin(study, scratch())
    postgresql.stop()
    try:
        with pytest.raises(StoreLostError) as lost:
            study.report(trial.number, epoch_report(1, 0.5))
        study.close()
    finally:
        postgresql.start()

    assert str(lost.value).startswith(f"the store {shared} has not answered for 2 s (connection")
    assert "\n" not in str(lost.value)
    assert PASSWORD not in str(lost.value)
    study = Study.open(shared, "lab")
    assert study.trials[0].reports == []
    study.close()


@pytest.mark.parametrize("change", ["start", "report", "end"])
def test_an_answer_that_was_lost_is_no_reason_to_write_twice(wire, wired, shared, change):
    trial = begin(wired, scratch(0.1))
    wired.report(trial.number, epoch_report(1, 0.5))
    wire.lose_the_answer_to(b"COMMIT\0")  # and not that to a level of isolation

    if change == "start":
        begin(wired, scratch(0.2))
    elif change == "report":
        wired.report(trial.number, epoch_report(2, 0.6))
    else:
        wired.end(trial.number, Outcome(state=State.COMPLETE))

    assert wire.has_lost_one
    begin(wired, scratch(0.3))
    stored = shared.read("lab").trials
    assert [t.number for t in stored] == [t.number for t in wired.trials]
    assert [t._trial_id for t in stored] == [t.storage_id for t in wired.trials]
    assert len(stored) == (3 if change == "start" else 2)
    assert stored[0].state.is_finished() == (change == "end")


def test_an_end_that_was_cut_short_has_left_nothing(wire, wired, shared, impatient):
    trial = begin(wired, scratch(0.1))
    wired.report(trial.number, epoch_report(1, 0.5))
    wire.lose_the_answer_to(b"UPDATE trials SET state")  # the last of it
    wire.open = False

    with pytest.raises(StoreLostError):
        wired.end(trial.number, Outcome(state=State.COMPLETE))

    assert wire.has_lost_one
    [stored] = shared.read("lab").trials
    assert not stored.state.is_finished()
    assert stored.intermediate_values == {}
    assert OUTCOME_KEY not in stored.user_attrs


def test_a_line_that_broke_on_our_side_alone_does_not_lock_us_out(wire, wired, shared):
    trial = begin(wired, scratch())
    wire.cut(server_hears_of_it=False)

    wired.report(trial.number, epoch_report(1, 0.5))

    assert "epoch:1" in shared.read("lab").trials[0].user_attrs


def test_a_search_that_another_one_took_over_in_an_outage_writes_no_more(wire, wired, shared):
    trial = begin(wired, scratch())
    wire.open = False
    wire.cut()
    Study.open(shared, "lab").close()
    wire.open = True

    with pytest.raises(StudyError, match="the study 'lab' was taken up by another process while"):
        wired.report(trial.number, epoch_report(1, 0.5))

    assert "epoch:1" not in shared.read("lab").trials[0].user_attrs


def test_a_search_whose_study_another_one_holds_after_an_outage_is_told_who(wire, wired, shared):
    trial = begin(wired, scratch())
    wire.open = False
    wire.cut()
    other = Study.open(shared, "lab")
    wire.open = True

    with pytest.raises(StudyError, match=rf"being searched by process {os.getpid()} on"):
        wired.report(trial.number, epoch_report(1, 0.5))
    other.close()


def test_what_the_server_refuses_is_told_at_once_and_not_tried_for_a_minute(database, study):
    trial = begin(study, scratch())
    with psycopg.connect(database, autocommit=True) as owner:
        owner.execute("ALTER TABLE trial_user_attributes RENAME TO gone")

    with pytest.raises(StudyError, match=r"cannot be used: relation \"trial_user.* does not exist"):
        study.report(trial.number, epoch_report(1, 0.5))


def test_tables_of_another_version_of_optuna_are_refused(database, shared, study):
    study.close()
    with psycopg.connect(database, autocommit=True) as owner:
        owner.execute("UPDATE alembic_version SET version_num = 'v9.0.0.a'")

    with pytest.raises(StoreError, match=r"the store .* cannot be read: .*table schema"):
        shared.read("lab")


@pytest.fixture
def with_pgpass(postgresql, tmp_path, monkeypatch):
    """No password in the environment, but one in libpq's own file."""
    monkeypatch.delenv("PGPASSWORD")
    escaped = PASSWORD.replace("\\", "\\\\").replace(":", "\\:")
    file = tmp_path / "pgpass"
    file.write_text(f"127.0.0.1:{postgresql.port}:*:{OWNER}:{escaped}\n")
    file.chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(file))


def test_a_password_in_libpqs_own_file_is_found(database, with_pgpass):
    assert store_at(database).names() == []


def test_a_missing_password_is_told_with_the_ways_to_give_one(database, monkeypatch):
    monkeypatch.delenv("PGPASSWORD")

    with pytest.raises(StoreLostError, match=r"no password supplied; give one by ~/\.pgpass"):
        store_at(database).names()


def test_a_wrong_password_is_told_without_it(database):
    wrong = database.replace(f"{OWNER}@", f"{OWNER}:sesam@")

    with pytest.raises(StoreLostError, match="password authentication failed") as refused:
        store_at(wrong).names()

    assert "sesam" not in str(refused.value)


def test_a_terminal_is_asked_for_the_password_once(shared, study, database, tmp_path):
    environment = {k: v for k, v in os.environ.items() if k != "PGPASSWORD"}
    master, terminal = pty.openpty()
    with subprocess.Popen(
        [*(sys.executable, "-c", "from headhunt.search.cli import main; main()"), "trials", "lab"],
        env={**environment, "HEADHUNT_STORE": database, "HOME": str(tmp_path)},
        stdin=terminal,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # no terminal but this one
    ) as process:
        assert process.stderr
        err = ""
        while not err.endswith(": "):  # what is typed before the question is thrown away
            err += (letter := process.stderr.read(1))
            assert letter, err
        os.write(master, f"{PASSWORD}\n".encode())
        out, rest = process.communicate(timeout=60)
        err += rest
    os.close(terminal)
    os.close(master)

    assert process.returncode == 0, err
    assert out.startswith("trial,")
    assert err.count("Password for") == 1
    assert PASSWORD not in out + err


def test_the_commands_that_read_know_the_store_by_its_address(database, study):
    for number in range(3):
        finish(study, begin(study, scratch(0.1 + number)), 0.2, 0.5 + number / 10)

    def shown(*words):
        result = CliRunner().invoke(app, [*words, "--store", database])
        assert result.exit_code == 0, result.stderr
        return result.stdout

    assert shown("trials", "lab").count("\n") == 4
    assert shown("trials", "lab", "--curves").count("\n") == 7
    assert "0.7" in shown("rank", "lab", "--by", "f1", "--format", "csv")
