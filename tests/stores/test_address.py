import os
import pickle
import socket
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from headhunt.analysis import trials
from headhunt.search.cli import app
from headhunt.stores import StoreError, StoreLostError, secrets_hidden, store_at
from headhunt.stores.address import parameters_of, shown

SECRET = "sesam/@"
ENCODED = "sesam%2F%40"
COMMANDS = (
    ("search", "notes.csv", "--study", "lab"),
    ("demo",),
    ("studies",),
    ("status", "lab"),
    ("trials", "lab"),
    ("rank", "lab"),
    ("simulate", "lab"),
)
WITHOUT_THE_DRIVER = """
import sys
sys.modules["psycopg"] = None
from headhunt.search.cli import main
sys.argv = ["headhunt", *sys.argv[1:]]
main()
"""


@pytest.fixture
def nobody():
    """The address of a port at which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"postgresql://me@127.0.0.1:{taken.getsockname()[1]}/lab"


def invoke(*words, **environment):
    return CliRunner().invoke(app, list(words), env=environment)


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("postgresql://me@host:5433/lab", {"user": "me", "host": "host", "port": "5433"}),
        ("postgres://me@host/lab", {"user": "me", "host": "host"}),
        ("postgresql:///lab?host=/run/pg", {"host": "/run/pg"}),
        ("postgresql://m%40e@[::1]:5433/lab", {"user": "m@e", "host": "::1", "port": "5433"}),
        ("postgresql://one:1,two:2/lab", {"host": "one,two", "port": "1,2"}),
        (
            "postgresql://me@host/lab?sslmode=verify-full&sslrootcert=/etc/lab%20ca.pem",
            {"user": "me", "host": "host", "sslmode": "verify-full"}
            | {"sslrootcert": "/etc/lab ca.pem"},
        ),
    ],
)
def test_an_address_is_read_as_libpq_does_and_shown_so_that_it_can_be_given_again(address, parts):
    read = parameters_of(address)

    assert read == {"dbname": "lab", **parts}
    assert parameters_of(shown(read)) == read


@pytest.mark.parametrize(
    "address",
    [
        f"postgresql://me:{ENCODED}@host/lab",
        f"postgresql://me@host/lab?password={ENCODED}",
        f"postgresql://me@host/lab?sslmode=require&sslpassword={ENCODED}",
    ],
)
def test_a_password_in_an_address_is_taken_and_shown_to_nobody(address):
    store = store_at(address)

    assert store.has_secret
    for said in (str(store), repr(store)):
        assert "sesam" not in said
    with pytest.raises(TypeError, match="not sent to another process"):
        pickle.dumps(store)


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://me:se/sam@host/lab",  # the / ends what libpq takes for the host
        "postgresql://me:12/sesam@host/lab",  # a host `me` and a port 12
        "postgresql://me:1@sesam@host/lab",
        "postgresql://me:ses%am@host/lab",
        "postgresql://me@host/lab?secret=sesam",
        "postgresql://me:sesam@[host/lab",
    ],
)
def test_an_address_that_cannot_be_read_is_refused_without_a_word_of_it(address):
    with pytest.raises(StoreError, match="address cannot be read: write postgresql://") as refused:
        store_at(address)

    assert "sesam" not in str(refused.value)
    assert refused.value.__context__ is None


def test_an_address_of_another_kind_is_no_folder():
    with pytest.raises(StoreError, match=r"a folder or postgresql://.*; got mysql://\.\.\."):
        store_at("mysql://me:sesam@host/lab")


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[0])
def test_a_password_on_the_command_line_is_refused_by_every_command(tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)

    result = invoke(*words, "--store", f"postgresql://me:{ENCODED}@host/lab")

    assert (result.exit_code, result.stdout) == (2, "")
    [line] = result.stderr.splitlines()
    assert line.startswith("error: --store has a password in it")
    assert "~/.pgpass" in line
    assert "sesam" not in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", COMMANDS[1:], ids=lambda words: words[0])
def test_a_server_that_is_not_there_is_told_by_every_command(tmp_path, monkeypatch, nobody, words):
    monkeypatch.chdir(tmp_path)
    secret = nobody.replace("me@", f"me:{ENCODED}@")

    result = invoke(*words, HEADHUNT_STORE=secret)

    assert (result.exit_code, result.stdout) == (2, "")
    line = result.stderr.splitlines()[-1]
    assert line.startswith(f"error: the store {nobody} cannot be reached: connection failed")
    assert "refused" in line
    assert list(tmp_path.iterdir()) == []


def test_a_search_tells_a_server_that_is_not_there_with_all_else_that_is_wrong(
    tmp_path, monkeypatch, nobody
):
    monkeypatch.chdir(tmp_path)

    result = invoke("search", "no.csv", "--study", "lab", "--max-epochs", "0", "--store", nobody)

    assert result.exit_code == 2
    errors = result.stderr.splitlines()
    assert any(f"the store {nobody} cannot be reached" in line for line in errors)
    assert any("no.csv" in line for line in errors)
    assert any("--max-epochs" in line for line in errors)


def test_a_notebook_is_told_of_a_server_that_is_not_there(nobody):
    with pytest.raises(StoreLostError, match=r"the store .* cannot be reached"):
        trials("lab", store=nobody)


def test_what_is_not_installed_is_named_with_the_extra_that_brings_it(tmp_path):
    ran = subprocess.run(
        [sys.executable, "-c", WITHOUT_THE_DRIVER, "rank", "lab", "--store", "postgresql://h/lab"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )

    assert ran.returncode == 2
    assert ran.stderr == (
        "error: a store at a postgresql:// address needs the package psycopg: pip install "
        "'headhunt[postgresql]'\n"
    )


def test_new_processes_inherit_no_password(monkeypatch):
    monkeypatch.setenv("PGPASSWORD", SECRET)
    monkeypatch.setenv("HEADHUNT_STORE", f"postgresql://me:{ENCODED}@host/lab")

    with secrets_hidden():
        seen = subprocess.check_output(["env"], text=True)

    assert "sesam" not in seen
    assert os.environ["PGPASSWORD"] == SECRET
