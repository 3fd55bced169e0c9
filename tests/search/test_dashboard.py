import json
import os
import signal
import subprocess
import sys
import urllib.request
from wsgiref.util import setup_testing_defaults

import pytest
from typer.testing import CliRunner

from headhunt.search import dashboard
from headhunt.search.cli.dashboard import app
from headhunt.search.dashboard import Shown, serve
from headhunt.spaces.record import State
from headhunt.stores import store_at

from ..analysis.recorded import Recorded, control, record

RECORDED = [
    control(0.8),
    Recorded(f1=(0.83, 0.86), epoch_seconds=7200.0),
    Recorded(f1=(0.5,), state=State.PRUNED, reason="below its rung"),
    Recorded(state=State.INFEASIBLE, reason="needs 252 MiB more", peak_mib=2000),
    Recorded(f1=(0.9, float("nan")), state=State.FAILED, reason="diverged"),
    Recorded(f1=(0.4,), state=State.RUNNING),
]
DETAIL = "/api/studies/0"


@pytest.fixture
def store(tmp_path):
    record(tmp_path, RECORDED, manifest={"objective": ["f1"]})
    return store_at(tmp_path)


def ask(shown, path=DETAIL, method="GET", host="127.0.0.1:8080"):
    """The status of the answer, and what it says."""
    environ = {}
    setup_testing_defaults(environ)
    environ |= {"PATH_INFO": path, "REQUEST_METHOD": method, "HTTP_HOST": host}
    answered = []
    body = b"".join(shown(environ, lambda status, *_: answered.append(status)))
    return int(answered[0].split()[0]), body


def detail(shown):
    status, body = ask(shown)
    assert status == 200
    return json.loads(body)


def attributes(trial):
    return {entry["key"]: entry["value"] for entry in trial["user_attrs"]}


def test_each_trial_stands_there_with_its_number_and_its_true_state(store):
    trials = detail(Shown(store, "lab"))["trials"]

    assert [trial["number"] for trial in trials] == list(range(len(RECORDED)))
    assert [attributes(trial)["state"] for trial in trials] == [t.state for t in RECORDED]
    assert [trial["state"] for trial in trials] == [
        *("Complete", "Complete", "Pruned", "Pruned", "Fail", "Running")
    ]


def test_a_trial_has_its_curve_its_reason_its_costs_and_what_it_is_over(store):
    trials = detail(Shown(store, "lab"))["trials"]

    assert [value["value"] for value in trials[1]["intermediate_values"]] == [0.83, 0.86]
    assert trials[1]["values"] == [0.86]
    told = attributes(trials[1])
    assert (told["model"], told["f1"], told["card_hours"]) == ("adapter", "0.86", "4.0")
    assert attributes(trials[2])["reason"] == "below its rung"
    assert trials[3]["constraints"] == [252]
    assert all("f1" not in attributes(trials[number]) for number in (3, 4))


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_what_would_change_the_study_is_refused_and_the_journal_stays_as_it_is(store, method):
    shown, journal = Shown(store, "lab"), store.folder / "lab" / "study.journal"
    before = journal.read_bytes()

    for path in (DETAIL, "/api/studies", "/api/trials/0/tell", "/api/studies/0/note"):
        assert ask(shown, path, method)[0] == 405

    assert journal.read_bytes() == before
    assert len(detail(shown)["trials"]) == len(RECORDED)


@pytest.mark.parametrize("host", ["evil.example:8080", "evil.example", "", "127.0.0.1.evil:80"])
def test_a_page_from_elsewhere_that_calls_itself_by_another_name_sees_nothing(store, host):
    status, body = ask(Shown(store, "lab"), host=host)

    assert status == 403
    assert b"adapter" not in body


def test_it_follows_a_study_that_changes(store, tmp_path, monkeypatch):
    monkeypatch.setattr(dashboard, "LOOK_SECONDS", 0.0)
    shown = Shown(store, "lab")
    assert len(detail(shown)["trials"]) == len(RECORDED)

    other = record(tmp_path / "other", [*RECORDED, control(0.1)], manifest={"objective": ["f1"]})
    other.replace(tmp_path / "lab" / other.name)

    assert len(detail(shown)["trials"]) == len(RECORDED) + 1


def test_it_shows_what_it_knew_while_the_store_does_not_answer(store, monkeypatch):
    monkeypatch.setattr(dashboard, "LOOK_SECONDS", 0.0)
    shown = Shown(store, "lab")
    detail(shown)

    (store.folder / "lab" / "study.journal").write_bytes(b"broken\nbroken\n")

    assert len(detail(shown)["trials"]) == len(RECORDED)


def test_it_listens_on_this_machine_alone(store):
    with serve(Shown(store, "lab"), 0) as server:
        assert server.server_address[0] == "127.0.0.1"
        assert server.server_port > 0


@pytest.mark.parametrize(
    ("words", "message"),
    [(["nowhere"], "it has: lab"), (["lab", "--port", "taken"], "name another by --port")],
)
def test_what_cannot_be_shown_ends_with_2_and_one_message(store, words, message):
    with serve(Shown(store, "lab"), 0) as other:
        words = [word.replace("taken", str(other.server_port)) for word in words]
        result = CliRunner().invoke(app, [*words, "--store", str(store)])

    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_missing_extra_is_one_message_with_the_command_that_installs_it(store, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna_dashboard", None)

    result = CliRunner().invoke(app, ["lab", "--store", str(store)])

    assert result.exit_code == 2
    assert "pip install 'headhunt[dashboard]'" in result.stderr


@pytest.mark.proof
def test_the_command_prints_its_address_answers_there_and_ends_with_ctrl_c(store):
    command = [sys.executable, "-c", "from headhunt.search.cli import main; main()"]
    words = ["dashboard", "lab", "--port", "0", "--store", str(store)]
    with subprocess.Popen(
        [*command, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ,
    ) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().split()[0]
            root = address.removesuffix("/dashboard/studies/0")
            with urllib.request.urlopen(f"{root}{DETAIL}", timeout=60) as answer:
                trials = json.load(answer)["trials"]
            with urllib.request.urlopen(address, timeout=60) as answer:
                assert b"<title>" in answer.read()
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()

    assert [trial["number"] for trial in trials] == list(range(len(RECORDED)))
    assert address.startswith("http://127.0.0.1:")
    assert (process.returncode, errors) == (0, "")
