import os
import shutil
import stat
from typing import Any

import pandas as pd
import pytest
from optuna.trial import create_trial

from headhunt.analysis import curves, snapshot, trials
from headhunt.search.study import Study
from headhunt.spaces.configs import HeadConfig
from headhunt.spaces.heads import GrnHead
from headhunt.spaces.record import FOOTPRINT_KEY, EpochReport, Outcome, Role, State
from headhunt.stores import SNAPSHOT, store_at

from .recorded import TRANSFORMER, Recorded, control, record

READERS = pytest.mark.parametrize("read", [trials, curves])
ENDED = [
    control(0.7),
    Recorded(f1=(0.6, 0.8, 0.75), encoding_seconds=360.0, device_fraction=0.5),
    Recorded(f1=(0.5,), state=State.PRUNED, reason="below its rung"),
    Recorded(state=State.INFEASIBLE, peak_mib=2000),
    Recorded(f1=(0.9, float("nan")), state=State.FAILED, reason="diverged"),
    Recorded(config=TRANSFORMER, f1=(0.81,)),
]


@pytest.fixture(autouse=True)
def _small_studies_have_one_too(monkeypatch):
    monkeypatch.setattr(snapshot, "LEAST_TRIALS", 1)


@pytest.fixture
def journal(tmp_path):
    return record(tmp_path, ENDED)


def snapshots(folder):
    return sorted(folder.glob(SNAPSHOT.format("*")))


def without_snapshot(read, journal, tmp_path):
    """The frame of a copy of the journal alone."""
    alone = tmp_path / "alone" / "lab"
    shutil.rmtree(alone, ignore_errors=True)
    alone.mkdir(parents=True)
    shutil.copy(journal, alone)
    return read("lab", store=alone.parent)


def is_read_from_snapshot(monkeypatch, read, store):
    """Whether a frame is made without the store's own reading."""
    with monkeypatch.context() as patched:
        patched.setattr("headhunt.stores.folder.FolderStore.read", lambda *_: 1 / 0)
        try:
            read("lab", store=store)
        except ZeroDivisionError:
            return False
    return True


@READERS
def test_the_frame_is_the_same_with_a_snapshot_to_the_last_dtype_and_attribute(
    journal, tmp_path, monkeypatch, read
):
    first = read("lab", store=tmp_path)

    assert is_read_from_snapshot(monkeypatch, read, tmp_path)
    again, alone = read("lab", store=tmp_path), without_snapshot(read, journal, tmp_path)
    for frame in (again, alone):
        pd.testing.assert_frame_equal(frame, first)
        assert frame.dtypes.to_dict() == first.dtypes.to_dict()
        assert frame.attrs == first.attrs
    assert list(again.attrs) == ["columns", "manifest"]


@READERS
def test_several_studies_are_the_same_with_snapshots(journal, tmp_path, read):
    record(tmp_path, [Recorded(config=HeadConfig(backbone="x", head=GrnHead()))], study="two")

    first = read(["lab", "two"], store=tmp_path)
    again = read(["lab", "two"], store=tmp_path)

    pd.testing.assert_frame_equal(again, first)
    assert again.attrs == first.attrs


@READERS
def test_what_is_written_after_the_snapshot_is_seen(journal, tmp_path, read):
    read("lab", store=tmp_path)
    shutil.move(snapshots(journal.parent)[0], tmp_path / "old.parquet")
    journal.unlink()
    journal.parent.rmdir()
    record(tmp_path, [*ENDED, Recorded(f1=(0.99,))])
    shutil.move(tmp_path / "old.parquet", journal.parent / snapshot_name(read))

    assert read("lab", store=tmp_path)["f1"].max() == 0.99


def snapshot_name(read):
    return SNAPSHOT.format(read.__name__)


@READERS
def test_one_byte_of_the_journal_is_enough_though_size_and_time_are_the_same(
    journal, tmp_path, read
):
    read("lab", store=tmp_path)
    before, written = journal.stat(), journal.read_bytes()
    journal.write_bytes(written.replace(b'"f1":0.8,', b'"f1":0.9,').replace(b"0.8,", b"0.9,"))
    os.utime(journal, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert journal.stat().st_size == before.st_size

    pd.testing.assert_frame_equal(
        read("lab", store=tmp_path), without_snapshot(read, journal, tmp_path)
    )


def test_a_study_with_a_running_trial_has_none(tmp_path):
    journal = record(tmp_path, [*ENDED, Recorded(f1=(0.5,), state=State.RUNNING)])

    trials("lab", store=tmp_path)

    assert snapshots(journal.parent) == []


def test_a_study_that_is_searched_is_never_frozen(tmp_path):
    study = Study.create(tmp_path, "lab", {"objective": ["f1"]})
    seen = []
    for number in range(3):
        study.start(TRANSFORMER, create_trial(value=0.0), role=Role.SEARCH, seed=0, footprint=None)
        for epoch in (1, 2):
            study.report(number, epoch_report(epoch, f1=number / 10 + epoch / 100))
            seen.append(trials("lab", store=tmp_path)["f1"].max())
        study.end(number, Outcome(state=State.COMPLETE))
        seen.append(len(curves("lab", store=tmp_path)))
        assert len(snapshots(study.folder)) <= 2

    study.close()
    assert seen == pytest.approx([0.01, 0.02, 2, 0.11, 0.12, 4, 0.21, 0.22, 6])


def epoch_report(epoch, f1):
    same: dict[str, Any] = dict.fromkeys(
        ("accuracy", "precision", "recall", "validation_loss", "train_loss"), f1
    )
    return EpochReport(epoch=epoch, f1=f1, wall_seconds=1.0, cpu_seconds=1.0, **same)


@READERS
def test_a_snapshot_is_its_owners_alone_and_nothing_is_left_beside_it(journal, tmp_path, read):
    before = set(journal.parent.iterdir())

    read("lab", store=tmp_path)

    (made,) = set(journal.parent.iterdir()) - before
    assert made.name == snapshot_name(read)
    assert stat.S_IMODE(made.stat().st_mode) == 0o600


def broken(path, _frame):
    path.write_bytes(path.read_bytes()[:-20])


def empty(path, _frame):
    path.write_bytes(b"")


def of_another_study(path, frame):
    frame.assign(f1=1.0).to_parquet(path)


def with_another_key(path, frame):
    frame.assign(f1=1.0).pipe(marked, "0" * 64).to_parquet(path)


def a_folder(path, _frame):
    path.unlink()
    path.mkdir()


def a_link(path, _frame):
    moved = path.rename(path.with_suffix(".elsewhere"))
    path.symlink_to(moved)


def marked(frame, key):
    frame.attrs["snapshot_of"] = key
    return frame


@READERS
@pytest.mark.parametrize(
    "damage", [broken, empty, of_another_study, with_another_key, a_folder, a_link]
)
def test_a_snapshot_that_is_broken_or_forged_is_ignored(
    journal, tmp_path, monkeypatch, read, damage
):
    first = read("lab", store=tmp_path)
    damage(journal.parent / snapshot_name(read), first.copy())

    assert not is_read_from_snapshot(monkeypatch, read, tmp_path)
    pd.testing.assert_frame_equal(read("lab", store=tmp_path), first)


@READERS
def test_nothing_is_written_through_a_link(journal, tmp_path, monkeypatch, read):
    victim = tmp_path / "victim"
    victim.write_text("theirs")
    (journal.parent / snapshot_name(read)).symlink_to(victim)

    read("lab", store=tmp_path)

    assert victim.read_text() == "theirs"
    assert is_read_from_snapshot(monkeypatch, read, tmp_path)  # the link was replaced


@READERS
def test_a_store_that_cannot_be_written_is_read_without_a_word(
    journal, tmp_path, monkeypatch, read
):
    monkeypatch.setattr("tempfile.mkstemp", refuses)

    assert len(read("lab", store=tmp_path)) >= len(ENDED)
    assert snapshots(journal.parent) == []


def refuses(*_args, **_options):
    raise PermissionError(13, "Permission denied")


def test_a_disk_that_fills_leaves_no_half_of_it(journal, tmp_path, monkeypatch):
    monkeypatch.setattr(pd.DataFrame, "to_parquet", refuses)
    before = set(journal.parent.iterdir())

    trials("lab", store=tmp_path)

    assert set(journal.parent.iterdir()) == before


def test_a_small_study_has_none(journal, tmp_path, monkeypatch):
    monkeypatch.setattr(snapshot, "LEAST_TRIALS", len(ENDED) + 1)

    trials("lab", store=tmp_path)

    assert snapshots(journal.parent) == []


def test_another_version_of_the_code_reads_anew(journal, tmp_path, monkeypatch):
    trials("lab", store=tmp_path)
    monkeypatch.setattr(snapshot, "_code", lambda: "another")

    assert not is_read_from_snapshot(monkeypatch, trials, tmp_path)


def test_what_is_dropped_is_made_anew(journal, tmp_path):
    first = trials("lab", store=tmp_path)
    curves("lab", store=tmp_path)

    store_at(tmp_path).drop_snapshots("lab")

    assert snapshots(journal.parent) == []
    pd.testing.assert_frame_equal(trials("lab", store=tmp_path), first)


@pytest.mark.proof
@READERS
def test_a_study_in_a_database_has_its_snapshot_in_the_work_folder(
    database, tmp_path, monkeypatch, read
):
    store = store_at(database, work=tmp_path / "work")
    study = Study.create(store, "lab", {"objective": ["f1"]})
    for number in range(2):
        study.start(TRANSFORMER, create_trial(value=0.0), role=Role.SEARCH, seed=0, footprint=None)
        study.report(number, epoch_report(1, f1=0.5 + number / 10))
        study.end(number, Outcome(state=State.COMPLETE))
        first = read("lab", store=store)
        with monkeypatch.context() as patched:
            patched.setattr("headhunt.stores.postgresql.PostgresqlStore.read", lambda *_: 1 / 0)
            again = read("lab", store=store)
        pd.testing.assert_frame_equal(again, first)
        assert (again.attrs, len(again)) == (first.attrs, number + 1)
    study.close()
    folder = store.snapshot_folder("lab")
    assert folder is not None
    assert [file.name for file in snapshots(folder)] == [snapshot_name(read)]
    store.drop_snapshots("lab")
    assert snapshots(folder) == []


@pytest.mark.proof
def test_a_machine_without_a_work_folder_keeps_nothing_of_a_database(database, tmp_path):
    Study.create(store_at(database, work=tmp_path / "there"), "lab", {"objective": ["f1"]}).close()

    trials("lab", store=store_at(database, work=tmp_path / "here"))

    assert not (tmp_path / "here").exists()


def test_a_snapshot_holds_what_the_record_holds_and_no_more(journal, tmp_path):
    trials("lab", store=tmp_path)
    (made,) = snapshots(journal.parent)

    assert set(pd.read_parquet(made).columns) == set(trials("lab", store=tmp_path).columns)
    assert FOOTPRINT_KEY not in pd.read_parquet(made).columns
