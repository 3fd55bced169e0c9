"""Ray's token: made, kept to its owner, and asked of every cluster that is joined."""

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from headhunt.search.executor.access import (
    MODE,
    TOKEN,
    TOKEN_PATH,
    AccessError,
    require_token,
    token_file,
)

JOIN = """
import os, sys
from headhunt.search.executor.access import MODE, TOKEN
os.environ[MODE] = sys.argv[1]
from ray.cluster_utils import Cluster
if sys.argv[3] == "with a token":
    os.environ[TOKEN] = "a" * 64
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "num_gpus": 0})
os.environ.pop(MODE)
from headhunt.search.executor.engine import EngineError, engine
try:
    with engine(cpus=1, gpus=0, address=cluster.address, allow_open=sys.argv[2] == "allow"):
        print("joined")
except EngineError as error:
    print("refused:", error)
finally:
    os.environ[MODE] = sys.argv[1]
    cluster.shutdown()
"""


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A user without a token."""
    for name in (MODE, TOKEN, TOKEN_PATH):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def mode_of(file: Path) -> int:
    return stat.S_IMODE(file.stat().st_mode)


def test_a_token_is_made_for_its_owner_alone_and_kept(home):
    require_token(joins=False, allow_open=False)
    made = token_file().read_text()
    require_token(joins=False, allow_open=False)

    assert token_file() == home / ".ray" / "auth_token"
    assert len(made) == 64
    assert token_file().read_text() == made
    assert mode_of(token_file()) == 0o600


def test_a_token_that_others_may_read_is_closed_to_them(home, monkeypatch):
    file = home / "token"
    file.write_text("a" * 64)
    file.chmod(0o644)  # as Ray leaves it

    monkeypatch.setenv(TOKEN_PATH, str(file))
    require_token(joins=True, allow_open=False)

    assert mode_of(file) == 0o600
    assert not (home / ".ray").exists()


def test_a_cluster_whose_token_is_not_here_is_not_joined(home):
    with pytest.raises(AccessError, match=r"token is not here: copy .*auth_token from its head"):
        require_token(joins=True, allow_open=False)
    require_token(joins=True, allow_open=True)


@pytest.mark.parametrize("joins", [False, True])
def test_authentication_that_is_switched_off_is_refused_unless_said(home, monkeypatch, joins):
    monkeypatch.setenv(MODE, "disabled")

    with pytest.raises(AccessError, match="RAY_AUTH_MODE=disabled leaves Ray open to everybody"):
        require_token(joins=joins, allow_open=False)
    require_token(joins=joins, allow_open=True)


@pytest.mark.proof  # each starts a cluster
@pytest.mark.parametrize(
    ("mode", "asked", "said"),
    [
        (["token", "refuse", "with a token"], "joined", ""),
        (["disabled", "refuse", "with a token"], "refused", "can run anything on its nodes"),
        (["disabled", "allow", "with a token"], "joined", ""),
        (["disabled", "refuse", "without"], "refused", "the cluster's token is not here"),
        (["disabled", "allow", "without"], "joined", ""),
    ],
)
def test_only_a_cluster_that_asks_for_its_token_is_joined(home, mode, asked, said):
    done = subprocess.run(
        [sys.executable, "-c", JOIN, *mode],
        capture_output=True,
        text=True,
        timeout=180,
        cwd=Path(__file__).parents[2],
        check=False,
    )

    last = done.stdout.strip().rpartition("\n")[2]
    assert last.startswith(asked), done.stdout + done.stderr
    assert said in last
