"""Real searches over a real PostgreSQL server: killed, continued elsewhere, and left without it."""

import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import pandas as pd
import psycopg
import pytest

from headhunt.analysis import trials
from headhunt.stores import store_at

from ..stores.server import PASSWORD
from .test_ray import MEASURED, MINE, processes_under
from .toys import HEADHUNT, write_notes

pytestmark = pytest.mark.proof

CANARIES = (b"Xq7#canary", b"Xq7%23canary")


@pytest.fixture
def lab(tmp_path):
    write_notes(tmp_path / "notes.csv", 120)
    (tmp_path / "mine.py").write_text(MINE)
    return tmp_path


@pytest.fixture
def search(lab, database):
    """Starts `headhunt search` on a machine, which is a work folder; ends it after the test."""
    started = []

    def search(machine, *options):
        words = [
            *("search", str(lab / "notes.csv"), "--study", "lab", "--store", database),
            *("--work", str(lab / machine), *options),
        ]
        process = subprocess.Popen(
            [*HEADHUNT, *words],
            stdout=(lab / f"{machine}.out").open("a"),
            stderr=subprocess.PIPE,
            text=True,
            cwd=lab,
            env={**os.environ, "TMPDIR": str(lab), "RAY_TMPDIR": "/tmp"},
            start_new_session=True,
        )
        started.append(process)
        return process

    yield search
    for process in started:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def begun(lab, trials):
    return (
        *("--space", f"{lab}/mine.py:small", "--max-epochs", "2", "--max-tokens", "32"),
        *("--card", "none", "--no-rungs", "--trials", str(trials)),
    )


def lines_until(process, beginning):
    """What it says up to the line that begins so."""
    said = []
    for line in process.stderr:
        said.append(line)
        if line.startswith(beginning):
            return said
    raise AssertionError("".join(said))


def kill(process):
    process.send_signal(signal.SIGKILL)  # the driver alone: its Ray must notice by itself
    process.wait()


def where_the_password_is(pid):
    """Of the process and those below it: whose command line or environment has it."""
    found = []
    for below in processes_under(pid) | {pid: "the search"}:
        for file in ("cmdline", "environ"):
            with suppress(OSError):
                content = Path(f"/proc/{below}/{file}").read_bytes()
                if any(canary in content for canary in CANARIES):
                    found.append((below, file))
    return found


def test_a_killed_search_goes_on_on_another_machine_and_the_password_is_nowhere(
    lab, search, database
):
    first = search("one", *begun(lab, 24))
    lines_until(first, "trial 3 ")
    first.send_signal(signal.SIGSTOP)  # or it were over before the second one has begun

    second = search("two", "--resume")
    said = second.stderr.read()
    assert second.wait() == 2
    assert f"being searched by process {first.pid} on" in said
    status = subprocess.run(
        [*HEADHUNT, "status", "lab", "--store", database],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert f"it is being searched by process {first.pid} on" in status.stdout
    assert any("HeadhuntTrain" in line for line in processes_under(first.pid).values())
    assert where_the_password_is(first.pid) == [(first.pid, "environ")]  # as it was started
    kill(first)
    before = trials("lab", store=database)

    third = search("two", "--resume")
    lines_until(third, "trial ")
    kill(third)
    fourth = search("one", "--resume", "--trials", "28")
    said = fourth.stderr.read()

    assert fourth.wait() == 0, said
    after = trials("lab", store=database)
    assert list(after["trial"]) == list(range(28))
    assert after["config_hash"].nunique() == 28
    assert set(after["state"]) == {"complete"}
    assert after["epochs"].iloc[2:].eq(2).all()
    ended = before[before["state"] != "running"]
    assert len(ended) >= 3
    same = ["config_hash", "state", "epochs", "ended_at", *MEASURED]
    pd.testing.assert_frame_equal(ended[same], after.loc[ended.index, same], check_exact=True)
    for words in (("rank", "lab"), ("studies",), ("simulate", "lab", "--sampler", "recorded")):
        ran = subprocess.run(
            [*HEADHUNT, *words, "--store", database], capture_output=True, text=True, check=False
        )
        assert ran.returncode == 0, ran.stderr
        assert PASSWORD not in ran.stdout + ran.stderr
    assert PASSWORD not in said
    assert files_with_the_password(lab) == []
    assert rows_with_the_password(database) == []


def files_with_the_password(lab):
    """Among all that the searches wrote, Ray's logs too."""
    everything = [*lab.rglob("*"), *Path("/tmp/ray/session_latest/").rglob("*")]
    return [
        file
        for file in everything
        if file.is_file() and any(canary in file.read_bytes() for canary in CANARIES)
    ]


def rows_with_the_password(database):
    """Of every table."""
    with psycopg.connect(database) as connection:
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        rows = [
            str(row).encode()
            for (table,) in tables.fetchall()
            for row in connection.execute(f"SELECT * FROM {table}".encode())
        ]
    assert len(rows) > 50
    return [row for row in rows if any(canary in row for canary in CANARIES)]


def test_a_trial_whose_checkpoint_is_on_another_machine_ends_with_the_same_numbers(
    lab, search, database
):
    alone = search("alone", *begun(lab, 4), "--slots", "1")
    assert alone.wait() == 0, alone.stderr.read()
    expected = trials("lab", store=database)
    with psycopg.connect(database) as owner:
        # Trial 3 as a kill after its first epoch would have left it; its checkpoint is elsewhere.
        owner.execute(
            "UPDATE trials SET state = 'RUNNING', datetime_complete = NULL WHERE number = 3"
        )
        of_it = "trial_id = (SELECT trial_id FROM trials WHERE number = 3)"
        for table in ("trial_values", "trial_intermediate_values"):
            owner.execute(f"DELETE FROM {table} WHERE {of_it}".encode())
        owner.execute(
            f"DELETE FROM trial_user_attributes WHERE {of_it} AND key IN ('epoch:2', 'outcome')"
            .encode()
        )  # fmt: skip

    elsewhere = search("elsewhere", "--resume", "--slots", "1")

    assert elsewhere.wait() == 0, elsewhere.stderr.read()
    found = trials("lab", store=database)
    same = ["config_hash", "state", "epochs", "seed", *MEASURED]
    pd.testing.assert_frame_equal(found[same], expected[same], check_exact=True)


def test_a_search_whose_server_goes_away_ends_with_1_and_goes_on_when_it_is_back(
    lab, search, database, postgresql
):
    process = search("one", *begun(lab, 12))
    said = lines_until(process, "trial 2 ")
    process.send_signal(signal.SIGSTOP)  # it must not come to its end before the server does
    postgresql.stop("immediate")
    process.send_signal(signal.SIGCONT)

    said += process.stderr.readlines()
    postgresql.start()

    assert process.wait() == 1
    assert "Traceback" not in "".join(said)
    assert said[-1].startswith(f"error: the store {database} has not answered for 60 s (")
    assert (
        f"continue with `headhunt search {lab}/notes.csv --study lab --store {database}" in said[-1]
    )
    assert sum(line.startswith("warning: the store") for line in said) == 1
    again = search("one", "--resume")
    assert again.wait() == 0, again.stderr.read()
    assert list(trials("lab", store=database)["state"]) == ["complete"] * 12
    assert store_at(database).holder("lab") == ""
