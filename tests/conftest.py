"""What several folders' tests share: a small corpus, read as any other."""

import csv
import multiprocessing
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from threadpoolctl import threadpool_limits

from headhunt.stores import Store, store_at
from headhunt.trainables.notes.corpus import read_corpus
from headhunt.trainables.notes.synthetic import synthetic_notes

from .stores.server import PASSWORD, Server, binaries

# Two processes test side by side on two cores: one thread each, and no deadline for an example.
torch.set_num_threads(1)
LIMITS = threadpool_limits(1)
settings.register_profile("shared cores", deadline=None)
settings.load_profile("shared cores")

LONGEST = (
    *("test_kills.py", "test_kills_in_a_database.py", "test_cut_off_nodes.py"),
    *("test_canary.py", "test_footprint_proof.py"),
)


def pytest_collection_modifyitems(items):
    """The longest files first, so that no process is left alone with one of them at the end."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.fixture(scope="session")
def small_corpus(tmp_path_factory):
    """60 synthetic notes of two classes, split by patient."""
    path = tmp_path_factory.mktemp("corpus") / "notes.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["text", "label", "patient_id"])
        rows.writerows((n.text, n.label, n.patient_id) for n in synthetic_notes(60))
    return read_corpus(path)


@pytest.fixture
def spawn(request, monkeypatch):
    """Real processes that begin from nothing, and find the tests' own functions by import."""
    monkeypatch.syspath_prepend(request.config.rootpath)
    return multiprocessing.get_context("spawn")


@pytest.fixture
def forkserver(request, monkeypatch):
    """Real processes, forked from one that has imported what a search needs.

    That one finds the module by the working folder, which is the repository's.
    """
    monkeypatch.syspath_prepend(request.config.rootpath)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.search.killed"])
    return context


@pytest.fixture(scope="session")
def postgresql():
    """A PostgreSQL server, for the whole run."""
    if binaries() is None:
        pytest.skip("no PostgreSQL server is installed: apt-get install postgresql")
    # Not below pytest's own folder, which is for its user alone: the server may run as another.
    with tempfile.TemporaryDirectory(prefix="headhunt-postgresql-") as folder:
        Path(folder).chmod(0o755)
        server = Server.start_new(Path(folder) / "cluster")
        yield server
        server.stop("immediate")


@pytest.fixture
def database(postgresql, monkeypatch):
    """The address of a new database; the environment has its password."""
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    address = postgresql.new_database()
    yield address
    postgresql.drop_database(address)


@pytest.fixture(params=["folder", pytest.param("postgresql", marks=pytest.mark.proof)])
def store(request, tmp_path) -> Store:
    """Each kind of store, empty."""
    if request.param == "folder":
        return store_at(tmp_path / "store")
    return store_at(request.getfixturevalue("database"), work=tmp_path / "work")
