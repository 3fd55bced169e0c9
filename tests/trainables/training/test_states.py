"""The store of states: whole or not at all, the latest epoch, and late writers that do no harm."""

import errno
import os
import stat

import pytest
import torch
from safetensors.torch import save_file

from headhunt.trainables.training import states
from headhunt.trainables.training.states import (
    Kind,
    Saved,
    StateFolder,
    file_name,
    storage_problem,
)

TRIAL = 3


@pytest.fixture
def store(tmp_path):
    return StateFolder(tmp_path / "trials")


def saved(epoch):
    weight = torch.full((2, 3), float(epoch))
    return Saved(epoch, {"weight": weight, "step": torch.tensor(epoch)}, {"of": "a"})


def latest(store, kind=Kind.CHECKPOINT):
    found = next(store.find(TRIAL, kind), None)
    return found and (found.epoch, found.tensors["weight"][0, 0].item(), dict(found.metadata))


def files(store):
    folder = store.folder(TRIAL)
    return sorted(p.name for p in folder.iterdir()) if folder.exists() else []


def test_the_latest_epoch_takes_the_place_of_the_earlier_ones(store):
    for epoch in (1, 2, 3):
        store.put(TRIAL, Kind.CHECKPOINT, saved(epoch))
    store.put(TRIAL, Kind.BEST, saved(2))

    assert latest(store) == (3, 3.0, {"of": "a"})
    assert latest(store, Kind.BEST) == (2, 2.0, {"of": "a"})
    assert files(store) == ["best-0002.safetensors", "checkpoint-0003.safetensors"]


@pytest.mark.parametrize("kind", Kind)
def test_a_late_writer_of_an_earlier_epoch_changes_nothing(store, kind):
    store.put(TRIAL, kind, saved(7))

    store.put(TRIAL, kind, saved(3))  # of a search that was killed

    assert latest(store, kind) == (7, 7.0, {"of": "a"})
    store.put(TRIAL, kind, saved(8))
    assert files(store) == [file_name(kind, 8)]


def test_tensors_on_a_graph_or_not_contiguous_are_kept(store):
    transposed = torch.arange(6.0).view(2, 3).T
    parameter = torch.nn.Parameter(torch.ones(2))
    half = torch.ones(3, dtype=torch.bfloat16)

    store.put(TRIAL, Kind.BEST, Saved(1, {"t": transposed, "p": parameter, "h": half}))

    (found,) = store.find(TRIAL, Kind.BEST)
    assert torch.equal(found.tensors["t"], transposed)
    assert torch.equal(found.tensors["p"], torch.ones(2))
    assert torch.equal(found.tensors["h"], half)


@pytest.mark.parametrize("kept", [0, 7, 8, 120, -1])
def test_a_torn_file_is_passed_over(store, kept):
    store.put(TRIAL, Kind.CHECKPOINT, saved(1))
    store.put(TRIAL, Kind.CHECKPOINT, saved(2))
    whole = (store.folder(TRIAL) / file_name(Kind.CHECKPOINT, 2)).read_bytes()
    (store.folder(TRIAL) / file_name(Kind.CHECKPOINT, 3)).write_bytes(whole[:kept])

    assert latest(store) == (2, 2.0, {"of": "a"})


@pytest.mark.parametrize("place", [-1, -20, 200])
def test_a_file_of_the_right_length_with_other_contents_is_none(store, place):
    store.put(TRIAL, Kind.CHECKPOINT, saved(1))
    file = store.folder(TRIAL) / file_name(Kind.CHECKPOINT, 1)
    contents = bytearray(file.read_bytes())
    contents[place] ^= 1
    file.write_bytes(contents)

    assert latest(store) is None


def test_a_file_that_something_else_wrote_is_none(store):
    store.folder(TRIAL).mkdir(parents=True)
    save_file({"weight": torch.ones(2, 3)}, store.folder(TRIAL) / file_name(Kind.BEST, 1))

    assert latest(store, Kind.BEST) is None


def test_a_write_that_fails_leaves_what_was_there_and_nothing_else(store, monkeypatch):
    store.put(TRIAL, Kind.CHECKPOINT, saved(1))

    def fail_half_way(tensors, path, metadata):
        path.write_bytes(b"half of it")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(states, "save_file", fail_half_way)
    with pytest.raises(OSError, match="No space left"):
        store.put(TRIAL, Kind.CHECKPOINT, saved(2))

    assert latest(store) == (1, 1.0, {"of": "a"})
    assert files(store) == ["checkpoint-0001.safetensors"]


def test_a_place_that_cannot_be_written_is_told_as_the_systems_error(tmp_path):
    (tmp_path / "trials").write_text("a file where a folder should be")

    with pytest.raises(OSError, match="trials"):
        StateFolder(tmp_path / "trials").put(TRIAL, Kind.BEST, saved(1))


def test_only_the_owner_may_read_a_state(store):
    before = os.umask(0)
    try:
        store.put(TRIAL, Kind.BEST, saved(1))
    finally:
        os.umask(before)

    folder = store.folder(TRIAL)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()] == [0o600]


def test_one_kind_is_removed_without_the_other_and_the_folder_with_the_last(store):
    store.put(TRIAL, Kind.CHECKPOINT, saved(1))
    store.put(TRIAL, Kind.BEST, saved(1))

    store.remove(TRIAL, Kind.CHECKPOINT)
    assert files(store) == ["best-0001.safetensors"]

    store.remove(TRIAL, Kind.BEST)
    assert not store.folder(TRIAL).exists()
    store.remove(TRIAL, Kind.BEST)  # no error


def test_what_a_killed_writer_left_goes_with_its_trial(store):
    folder = store.folder(TRIAL)
    folder.mkdir(parents=True)
    (folder / ".checkpoint-0001.safetensors.4711").touch()
    (folder / ".tmpA1b2C3").touch()  # as safetensors leaves it

    store.remove(TRIAL, Kind.CHECKPOINT)

    assert not folder.exists()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EIO])
def test_a_disks_problem_is_told_with_its_place(number):
    error = OSError(number, os.strerror(number), "/lab/store/x")

    told = storage_problem(error)

    assert told == f"/lab/store/x cannot be written or read: {os.strerror(number)}"


@pytest.mark.parametrize(
    "error", [ValueError("no"), OSError("no number"), OSError(errno.EINVAL, "it is the trial's")]
)
def test_other_errors_are_no_disks_problem(error):
    assert storage_problem(error) == ""
