"""A local folder of studies: each an Optuna study in a journal file, in a folder of its name.

A reader may meet a writer that is alive, or one that was killed in the middle of a line: Optuna's
reader stops at a torn last line, and a line that is broken anywhere else is an error that names the
journal.
"""

from collections.abc import Callable, Mapping, Sequence
from hashlib import file_digest
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock, Timeout
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import StudyDirection

from ..spaces.links import refuse_link, refuse_links_in
from ..spaces.record import JOURNAL_NAME, MANIFEST_KEY
from .journal import JournalFile
from .lock import hold, holder, holder_name
from .store import (
    CONFIRMATION,
    Held,
    Store,
    StoredStudy,
    StudyError,
    StudyNotFoundError,
    being_searched,
    check_name,
    confirmed_by,
    in_order,
    reading,
)

T = TypeVar("T")


class FolderStore(Store):
    """A folder with a folder a study."""

    def __init__(self, folder: Path, *, work: Path | None = None) -> None:
        self.folder, self.work = folder, work or folder

    def __str__(self) -> str:
        return str(self.folder)

    def place_of(self, name: str) -> str:
        """By its journal."""
        return f"the journal {self.folder / name / JOURNAL_NAME}"

    def names(self) -> list[str]:
        """Those whose making was not cut short."""
        places = (f"*/{JOURNAL_NAME}", f"*{CONFIRMATION}/{JOURNAL_NAME}")
        journals = (journal for place in places for journal in self.folder.glob(place))
        folders = (j.parent.relative_to(self.folder) for j in journals if _is_whole(j))
        return in_order(folder.as_posix() for folder in folders)

    def exists(self, name: str) -> bool:
        """Whether its first two lines are there: they make it and say what it is."""
        return _is_whole(self._journal(name))

    def holder(self, name: str) -> str:
        """By its own word."""
        return holder(self._journal(name).parent)

    def create(
        self, name: str, directions: Sequence[StudyDirection], manifest: Mapping[str, Any]
    ) -> "HeldJournal":
        """Make its folder and the first two lines of its journal."""
        self.refuse_taken(name)
        lock = self._hold(name)
        try:
            self.refuse_taken(name)  # made since, by a process that is gone
            # What a process left that was killed before its manifest was whole is no study.
            self._journal(name).unlink(missing_ok=True)
            held = self._held(name, lock)
        except BaseException:
            lock.release()
            raise
        held.study_id = held.storage.create_new_study(directions, name)
        held.storage.set_study_user_attr(held.study_id, MANIFEST_KEY, dict(manifest))
        held.journal.sync()
        return held

    def open(self, name: str) -> "HeldJournal":
        """Hold its journal for writing."""
        if not self.exists(name):
            raise self.not_found(name)
        lock = self._hold(name)
        try:
            with reading(self.place_of(name)):
                held = self._held(name, lock)
                held.study_id = held.storage.get_study_id_from_name(name)
        except BaseException:
            lock.release()
            raise
        return held

    def read(self, name: str) -> StoredStudy:
        """Its journal up to the last whole line."""
        journal, place = self.folder / name / JOURNAL_NAME, self.place_of(name)
        # A name with a separator, ".." or none would be no folder of the store; Optuna creates a
        # journal that is missing.
        searched = confirmed_by(name) or name
        is_name = Path(searched).name == searched and searched and not name.startswith(".")
        if not is_name or not _is_file(journal):
            raise self.not_found(name)
        with reading(place):
            storage = JournalStorage(JournalFileBackend(str(journal)))
            studies = storage.get_all_studies()
            if not studies:  # the writer was killed before its first line was whole
                return StoredStudy(name, {}, (), place)
            # A folder may have been renamed, but it holds one study.
            found = next((study for study in studies if study.study_name == name), studies[0])
            return StoredStudy.of(name, storage, found, place)

    def state_of(self, name: str) -> str:
        """By its whole journal: 40 MB, 5,000 trials, are hashed in 30 ms."""
        try:
            with self._journal(name).open("rb") as file:
                return file_digest(file, "sha256").hexdigest()
        except (OSError, StudyError):  # `read` says what is wrong
            return ""

    def snapshot_folder(self, name: str) -> Path:
        """Beside its journal."""
        return self._journal(name).parent

    def not_found(self, name: str) -> StudyNotFoundError:
        """The same, of a folder that may not be there either."""
        if self.folder.is_dir():
            return super().not_found(name)
        return StudyNotFoundError(
            f"no study {name!r}: the store {self} does not exist; name another by --store or "
            "HEADHUNT_STORE"
        )

    def _journal(self, name: str) -> Path:
        return self.folder / check_name(name) / JOURNAL_NAME

    def _hold(self, name: str) -> FileLock:
        folder = self._journal(name).parent
        try:
            for place in dict.fromkeys((folder, self.work / name)):
                if confirmed_by(name):
                    refuse_link(place.parent)
                refuse_links_in(place)
            return hold(folder)
        except Timeout as error:
            raise being_searched(name, holder_name(folder)) from error
        except OSError as error:
            raise StudyError(f"the store {self} cannot be written: {error}") from error

    def _held(self, name: str, lock: FileLock) -> "HeldJournal":
        try:
            return HeldJournal(self._journal(name), lock, self.work, name, self.place_of(name))
        except OSError as error:
            raise StudyError(f"the study {name!r} cannot be written: {error}") from error


class HeldJournal(Held):
    """A journal that this process alone writes."""

    storage: JournalStorage

    def __init__(self, journal: Path, lock: FileLock, work: Path, name: str, place: str) -> None:
        if confirmed_by(name):  # it has the class of each test note
            journal.touch(mode=0o600)
            journal.chmod(0o600)
        self.journal, folder = JournalFile(journal), work / name
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        super().__init__(JournalStorage(self.journal), -1, work, folder, place)
        self._lock = lock

    def write(self, change: Callable[[], T], *, found: Callable[[], T | None]) -> T:
        """Each of its lines is whole or not there; there are no outages."""
        del found
        return change()

    def sync(self) -> None:
        """Tell the disk."""
        self.journal.sync()

    def close(self) -> None:
        """Tell the disk, and let others hold the study."""
        self.journal.close()
        self._lock.release()


def _is_whole(journal: Path) -> bool:
    try:
        with journal.open("rb") as file:
            return sum(line.endswith(b"\n") for line in islice(file, 2)) == 2
    except OSError:
        return False


def _is_file(journal: Path) -> bool:
    try:
        return journal.is_file()
    except OSError:  # the name is too long for a folder
        return False
