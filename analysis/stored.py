"""A study as it lies on disk: its manifest and its trials, read and never written.

The writer may be alive, or may have been killed in the middle of a line: Optuna's reader stops at a
torn last line, and a line that is broken anywhere else is an error that names the journal.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from ..spaces.record import JOURNAL_NAME, MANIFEST_KEY, UNREADABLE

STORE_VARIABLE = "HEADHUNT_STORE"
DEFAULT_STORE = "headhunt-studies"


class StudyNotFoundError(LookupError):
    """The store has no study of this name."""


class StudyUnreadableError(ValueError):
    """The study's journal is no Optuna journal, or is broken before its last line."""


@dataclass(frozen=True, slots=True)
class StoredStudy:
    """What one journal holds."""

    name: str
    manifest: dict[str, Any]  # what was asked; empty where the writer had not come to it
    trials: tuple[FrozenTrial, ...]  # by number; those that only wait to be asked are left out
    journal: Path


def store_folder(store: str | Path | None = None) -> Path:
    """The folder of the studies: as given, or HEADHUNT_STORE, or `headhunt-studies`."""
    return Path(store or os.environ.get(STORE_VARIABLE) or DEFAULT_STORE)


def study_names(store: str | Path | None = None) -> list[str]:
    """The studies in the store, by name."""
    return sorted(journal.parent.name for journal in store_folder(store).glob(f"*/{JOURNAL_NAME}"))


def read_study(study: str, store: str | Path | None = None) -> StoredStudy:
    """The study as its journal has it now.

    Raises:
        StudyNotFoundError: no such study; the message names the store and the studies in it.
        StudyUnreadableError: the journal is broken before its last line.
    """
    journal = store_folder(store) / study / JOURNAL_NAME
    # A name with a separator, ".." or none would be no folder of the store; Optuna creates a
    # journal that is missing.
    is_name = Path(study).name == study and study and not study.startswith(".")
    if not is_name or not _is_file(journal):
        raise StudyNotFoundError(_not_found(study, store))
    with reading(journal):
        storage = JournalStorage(JournalFileBackend(str(journal)))
        stored = storage.get_all_studies()
        if not stored:  # the writer was killed before its first line was whole
            return StoredStudy(study, {}, (), journal)
        # A folder may have been renamed, but it holds one study.
        found = next((s for s in stored if s.study_name == study), stored[0])
        trials = storage.get_all_trials(found._study_id, deepcopy=False)
        manifest = dict(found.user_attrs.get(MANIFEST_KEY) or {})
    asked = (trial for trial in trials if trial.state is not TrialState.WAITING)
    return StoredStudy(study, manifest, tuple(asked), journal)


@contextmanager
def reading(*journals: Path) -> Iterator[None]:
    """What comes of a broken journal, or of one that something else has written, as one error.

    Raises:
        StudyUnreadableError: in the place of it.
    """
    try:
        yield
    except StudyUnreadableError:
        raise
    except UNREADABLE as error:
        named = " or ".join(map(str, journals))
        raise StudyUnreadableError(
            f"the journal {named} cannot be read: a line before its last one is broken, or it is "
            f"no journal of a search ({type(error).__name__}); restore the file from a copy"
        ) from error


def _is_file(journal: Path) -> bool:
    try:
        return journal.is_file()
    except OSError:  # the name is too long for a folder
        return False


def _not_found(study: str, store: str | Path | None) -> str:
    folder = store_folder(store)
    if not folder.is_dir():
        return (
            f"no study {study!r}: the store {folder} does not exist; "
            f"name another by --store or {STORE_VARIABLE}"
        )
    names = study_names(store)
    has = f"it has: {', '.join(names)}" if names else "it has no study yet"
    return f"no study {study!r} in the store {folder}; {has}"
