"""Nothing in a store leads out of it: a name is one folder, and a link is not written through."""

import errno
import shutil

import pytest
import torch
from typer.testing import CliRunner

from headhunt.analysis import StudyNotFoundError, trials
from headhunt.search.cli import app
from headhunt.search.study import Study
from headhunt.spaces.record import JOURNAL_NAME
from headhunt.stores import StoreError
from headhunt.trainables.notes.cache import CACHE_FOLDER, DONE, cache_dir, make_once
from headhunt.trainables.training.states import Kind, Saved, StateFolder, file_name

from ..analysis.recorded import Recorded, record
from ..search.toys import MANIFEST, write_notes


@pytest.fixture
def outside(tmp_path):
    """A folder that is none of the store's; nothing in it may change."""
    folder = tmp_path / "outside"
    folder.mkdir(mode=0o755)
    kept = {
        "rows.npy": "rows",
        DONE: "{}",
        file_name(Kind.BEST, 1): "weights",
        "torn": "no line end",
    }
    for name, text in kept.items():
        (folder / name).write_text(text)
    yield folder
    assert {file.name: file.read_text() for file in folder.iterdir()} == kept
    assert folder.stat().st_mode & 0o777 == 0o755


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEADHUNT_STORE", "store")
    write_notes(tmp_path / "notes.csv", 60)
    folder = tmp_path / "store"
    folder.mkdir()
    return folder


def fill(folder) -> dict[str, object]:
    (folder / "rows.npy").write_text("made")
    return {}


def test_a_link_in_the_place_of_the_confidential_folder_is_refused(store, outside):
    (store / CACHE_FOLDER).symlink_to(outside)

    with pytest.raises(OSError, match="it is a symbolic link") as refused:
        cache_dir(store)

    assert refused.value.errno == errno.ELOOP


def test_a_link_in_the_place_of_a_cached_folder_is_replaced_and_not_followed(store, outside):
    cache = cache_dir(store)
    (cache / "wanted").symlink_to(outside)

    folder, made = make_once(cache, "wanted", fill)

    assert made
    assert not folder.is_symlink()
    assert (folder / "rows.npy").read_text() == "made"


@pytest.mark.parametrize("resumable", [False, True])
def test_a_link_in_the_place_of_a_folder_that_is_being_made_is_refused(store, outside, resumable):
    cache = cache_dir(store)
    (cache / ".wanted.part").symlink_to(outside)

    with pytest.raises(OSError, match="it is a symbolic link"):
        make_once(cache, "wanted", fill, resumable=resumable)


def test_weights_are_not_written_through_a_link(store, outside):
    (store / "00001").symlink_to(outside)

    with pytest.raises(OSError, match="it is a symbolic link"):
        StateFolder(store).put(1, Kind.BEST, Saved(2, {"weight": torch.zeros(1)}))
    StateFolder(store).remove(1, Kind.BEST)


@pytest.mark.parametrize(
    ("place", "target"),
    [("", ""), (JOURNAL_NAME, "torn"), ("lock.holder", "torn"), ("trials", ""), ("trials/1", "")],
)
def test_a_study_with_a_link_in_it_is_refused_and_told_of(store, outside, place, target):
    Study.create(store, "lab", MANIFEST).close()
    planted = store / "lab" / place
    if planted.is_dir():
        planted.rename(store / "moved")
    planted.parent.mkdir(exist_ok=True)
    planted.unlink(missing_ok=True)
    planted.symlink_to(outside / target)

    wrong = r"symbolic link|no study|exists in"
    with pytest.raises(StoreError, match=wrong):
        Study.open(store, "lab")
    with pytest.raises(StoreError, match=wrong):
        Study.create(store, "lab", MANIFEST)
    result = CliRunner().invoke(app, ["search", "notes.csv", "--study", "lab", "--resume"])
    assert result.exit_code == 2
    assert "Traceback" not in result.output


@pytest.mark.parametrize("name", ["..", ".", "../lab", "/lab", "", ".confidential"])
@pytest.mark.parametrize(
    "command", ["status", "trials", "rank", "compare", "dashboard", "simulate", "forget"]
)
def test_a_name_that_leads_out_of_the_store_is_no_study(store, name, command):
    record(store.parent, [Recorded()], study="lab")  # what "../lab" would find
    shutil.copy(store.parent / "lab" / JOURNAL_NAME, store.parent)  # and ".."
    shutil.copy(store.parent / "lab" / JOURNAL_NAME, store)  # and "."

    result = CliRunner().invoke(app, [command, name])

    assert result.exit_code == 2
    assert "error: " in result.stderr


def test_the_dataframe_of_a_name_that_leads_out_of_the_store_is_none(store):
    record(store.parent, [Recorded()], study="lab")
    shutil.copy(store.parent / "lab" / JOURNAL_NAME, store.parent)

    for name in ("..", "../lab", "."):
        with pytest.raises(StudyNotFoundError):
            trials(name, store=store)
