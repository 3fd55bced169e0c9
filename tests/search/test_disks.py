"""A search on a disk that is full, fails or may not be written: told where, and continued later.

The disk is a small file system of its own in memory, which only root may make.
"""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from headhunt.search.study import Study
from headhunt.spaces.record import State
from headhunt.stores import store_at

from ..trainables.backbone_dirs import make_backbone
from .toys import HEADHUNT, MIXED_SPACE, learned, write_notes

TRIALS, EPOCHS = 8, 3


class Disk:
    """A file system of a size that can change."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self._mount("-t", "tmpfs", "-o", "size=64m", "tmpfs")

    def change(self, options: str) -> None:
        """Mount it anew with these options."""
        self._mount("-o", f"remount,{options}")

    def fill(self) -> Path:
        """With a file, to the last byte."""
        file = self.folder / "filler"
        with file.open("wb", buffering=0) as filler:
            try:
                while True:
                    filler.write(bytes(4096))
            except OSError:
                return file

    def free(self) -> None:
        """Let go of it."""
        subprocess.run(["umount", str(self.folder)], check=True)

    def _mount(self, *options: str) -> None:
        done = subprocess.run(["mount", *options, str(self.folder)], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")


@pytest.fixture
def disk(tmp_path) -> Iterator[Disk]:
    made = Disk(tmp_path / "disk")
    yield made
    made.free()


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lab")
    write_notes(folder / "notes.csv", 160)
    (folder / "mine.py").write_text(MIXED_SPACE)
    make_backbone(folder / "encoder")
    return folder


@pytest.fixture(scope="module")
def whole(lab):
    """The trials of a search that nothing disturbed."""
    assert search(lab, lab / "store") == (0, "")
    return trials(lab / "store")


def words(lab: Path, store: Path) -> list[str]:
    asked = [*HEADHUNT, "search"]
    asked += [str(lab / "notes.csv"), "--study", "lab", "--store", str(store)]
    if store_at(store).exists("lab"):
        return [*asked, "--resume"]
    asked += ["--space", f"{lab}/mine.py:mixed", "--backbone", str(lab / "encoder")]
    asked += ["--trials", str(TRIALS), "--max-epochs", str(EPOCHS), "--max-tokens", "32"]
    return [*asked, "--no-rungs", "--sampler", "random", "--card", "none", "--slots", "2"]


def search(lab: Path, store: Path, at: tuple[str, Disk] | None = None) -> tuple[int, str]:
    """The status and the error of a search; the disk is filled when a line begins so."""
    with subprocess.Popen(
        words(lab, store),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "COLUMNS": "300"},
    ) as process:
        said = []
        assert process.stderr
        for line in process.stderr:
            said.append(line)
            if at and line.startswith(at[0]):
                at[1].fill()
                at = None
        status = process.wait(240)
    assert "Traceback" not in "".join(said), "".join(said)
    return status, "".join(line for line in said if line.startswith("error"))


def trials(store: Path):
    study = Study.open(store, "lab")
    study.close()
    return study.trials


@pytest.mark.proof
@pytest.mark.parametrize("moment", ["encoding with", "trial 2 "])
def test_a_disk_that_fills_up_ends_the_search_with_a_word_and_it_goes_on_when_there_is_room(
    lab, whole, disk, moment
):
    store = disk.folder / "store"

    status, error = search(lab, store, at=(moment, disk))

    assert status == 1
    assert error.count("\n") == 1
    assert str(store) in error
    assert "No space left on device" in error
    assert "--resume" in error
    assert not any(t.state is State.FAILED for t in trials(store))

    (disk.folder / "filler").unlink()
    assert search(lab, store) == (0, "")
    assert [learned(t) for t in trials(store)] == [learned(t) for t in whole]


@pytest.mark.proof
@pytest.mark.parametrize("kib", [64, 400])
def test_a_disk_that_is_too_small_never_leaves_a_half_that_is_read_as_whole(lab, whole, disk, kib):
    store = disk.folder / "store"
    disk.change(f"size={kib}k")

    status, error = search(lab, store)

    assert status in (1, 2)
    assert "No space left on device" in error
    assert str(store) in error
    disk.change("size=64m")
    assert search(lab, store) == (0, "")
    assert [learned(t) for t in trials(store)] == [learned(t) for t in whole]


@pytest.mark.proof
def test_a_read_only_store_is_told_and_used_when_it_may_be_written(lab, whole, disk):
    store = disk.folder / "store"
    disk.change("ro")

    status, error = search(lab, store)

    assert status == 2
    assert error.count("\n") == 1
    assert "Read-only file system" in error
    assert str(store) in error
    disk.change("rw")
    assert search(lab, store) == (0, "")
    disk.change("ro")
    status, error = search(lab, store)  # continued
    assert status == 2
    assert "Read-only file system" in error
    disk.change("rw")
    assert [learned(t) for t in trials(store)] == [learned(t) for t in whole]
