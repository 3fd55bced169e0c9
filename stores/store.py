"""What a place of studies can do, wherever it is, and how it says that it cannot.

A study that is held is written by this process alone, until it is closed or the process dies.
Reading needs no hold, and changes nothing.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial, TrialState

from ..spaces.record import MANIFEST_KEY, UNREADABLE

SNAPSHOT = "snapshot-{}.parquet"  # a study's frames, kept by whoever reads them
LONGEST_NAME = 100  # bytes; file systems take 255
CONFIRMATION = "/confirm"  # ends the name of the study that confirms the one before it
T = TypeVar("T")


class StoreError(Exception):
    """The store cannot do what was asked of it; the message says what to do."""


class StudyError(StoreError, ValueError):
    """The study cannot be created, opened or continued."""


class StudyNotFoundError(StoreError, LookupError):
    """The store has no study of this name."""


class StudyUnreadableError(StoreError, ValueError):
    """What the store has of the study is broken, or was written by another version."""


class StoreLostError(StoreError, OSError):
    """The store does not answer, or cannot be written any more."""


@dataclass(frozen=True, slots=True)
class StoredStudy:
    """What the store has of a study, at one moment."""

    name: str
    manifest: dict[str, Any]  # what was asked; empty where the writer had not come to it
    trials: tuple[FrozenTrial, ...]  # by number; those that only wait to be asked are left out
    place: str  # what `reading` names where it is broken

    @classmethod
    def of(cls, name: str, storage: BaseStorage, study: FrozenStudy, place: str) -> "StoredStudy":
        """From Optuna's storage, whatever it calls the study there."""
        trials = storage.get_all_trials(study._study_id, deepcopy=False)
        asked = (trial for trial in trials if trial.state is not TrialState.WAITING)
        return cls(name, dict(study.user_attrs.get(MANIFEST_KEY) or {}), tuple(asked), place)


@contextmanager
def reading(*places: str) -> Iterator[None]:
    """What comes of a broken study, or of one that something else has written, as one error.

    Raises:
        StudyUnreadableError: in the place of it.
    """
    try:
        yield
    except StoreError:
        raise
    except UNREADABLE as error:
        raise StudyUnreadableError(
            f"{' or '.join(places)} cannot be read: it is broken, or no search has written it "
            f"({type(error).__name__}); restore it from a copy"
        ) from error


class Held(ABC):
    """A study that this process holds: Optuna's storage of it, and its folder on this machine."""

    def __init__(
        self, storage: BaseStorage, study_id: int, work: Path, folder: Path, place: str
    ) -> None:
        self.storage, self.study_id = storage, study_id
        self.place = place  # what `reading` names where it is broken
        self.work = work  # of the store: in it lies what is confidential
        self.folder = folder  # in `work`: checkpoints and weights
        self.on_outage: Callable[[str], None] = lambda _: None  # is told of one that may end

    def read(self, name: str) -> StoredStudy:
        """What the store has of it.

        Raises:
            StudyUnreadableError: what is there is broken.
            StoreLostError: the store does not answer.
        """
        with reading(self.place):
            studies = self.storage.get_all_studies()
            ours = next(study for study in studies if study._study_id == self.study_id)
            return StoredStudy.of(name, self.storage, ours, self.place)

    @abstractmethod
    def write(self, change: Callable[[], T], *, found: Callable[[], T | None]) -> T:
        """Make a change by the storage's methods, whole or not at all.

        Args:
            change: is called again where an outage has undone it.
            found: what `change` would return if it stands in the store by now, None if not: asked
                before a second try, as an outage may have swallowed the answer alone.

        Raises:
            StoreLostError: the store does not answer, or cannot be written.
            StudyError: the study is no longer ours.
        """

    @abstractmethod
    def sync(self) -> None:
        """Have what was written survive a power cut too, where it would not yet.

        Raises:
            OSError: the disk cannot be told.
        """

    @abstractmethod
    def close(self) -> None:
        """Let others hold the study; what was written stays whatever happens."""


class Store(ABC):
    """A place of studies."""

    work: Path  # local folder of all that must not leave this machine, or is large
    has_secret = False  # whether its address came with a password

    @abstractmethod
    def __str__(self) -> str:
        """As it is named to it again, by --store; without a password."""

    def unlock(self, ask: Callable[[str], str]) -> None:
        """Ask the user for a password where one is wanted and none is known."""
        del ask

    @abstractmethod
    def place_of(self, name: str) -> str:
        """What holds the study, as a message calls it."""

    @abstractmethod
    def names(self) -> list[str]:
        """The studies, in the order of the alphabet, each before what confirms it.

        Raises:
            StoreLostError: the store does not answer.
        """

    @abstractmethod
    def exists(self, name: str) -> bool:
        """Whether there is a study of this name.

        Raises:
            StudyError: it is no name.
            StoreLostError: the store does not answer.
        """

    @abstractmethod
    def holder(self, name: str) -> str:
        """Who holds the study; "" where nobody does."""

    @abstractmethod
    def create(
        self, name: str, directions: Sequence[StudyDirection], manifest: Mapping[str, Any]
    ) -> Held:
        """Make a new study and hold it.

        Raises:
            StudyError: the name is taken, is no name, or the store cannot be written.
            StoreLostError: the store does not answer.
        """

    @abstractmethod
    def open(self, name: str) -> Held:
        """Hold a study that exists.

        Raises:
            StudyNotFoundError: there is none of this name.
            StudyError: another process holds it.
            StudyUnreadableError: what is there is broken.
            StoreLostError: the store does not answer.
        """

    @abstractmethod
    def read(self, name: str) -> StoredStudy:
        """The study as it is now; somebody may be searching it.

        Raises:
            StudyNotFoundError: no such study; the message names the store and the studies in it.
            StudyUnreadableError: what is there is broken, or of another version.
            StoreLostError: the store does not answer.
        """

    @abstractmethod
    def state_of(self, name: str) -> str:
        """What changes whenever anything that is stored of the study does; "" without a study.

        Raises:
            StoreLostError: the store does not answer.
        """

    @abstractmethod
    def snapshot_folder(self, name: str) -> Path | None:
        """Local folder of the study's snapshots; None where this machine keeps nothing of it."""

    def drop_snapshots(self, name: str) -> None:
        """Remove the study's snapshots from this machine.

        Raises:
            OSError: one cannot be removed.
        """
        folder = self.snapshot_folder(name)
        for file in folder.glob(SNAPSHOT.format("*")) if folder else ():
            file.unlink(missing_ok=True)

    def refuse_taken(self, name: str) -> None:
        """Refuse a name for a new study.

        Raises:
            StudyError: the name is taken, or is no name.
        """
        if self.exists(name):
            raise StudyError(
                f"the study {name!r} exists in {self}: continue it with --resume, or choose "
                "another --study name"
            )

    def not_found(self, name: str) -> StudyNotFoundError:
        """That there is no such study, and which there are."""
        names = self.names()
        has = f"it has: {', '.join(names)}" if names else "it has no study yet"
        return StudyNotFoundError(f"no study {name!r} in the store {self}; {has}")


def being_searched(name: str, holder: str) -> StudyError:
    """That another process holds the study."""
    return StudyError(
        f"the study {name!r} is being searched by {holder}: wait for it, or end it and use --resume"
    )


def check_name(name: str) -> str:
    """The name, if it is one.

    Raises:
        StudyError: it is none.
    """
    searched = confirmed_by(name) or name
    bad = (
        not searched.isprintable()
        or searched != searched.strip()
        or any(c in searched for c in "/\\")
    )
    if (
        bad
        or not searched
        or searched.startswith((".", "-"))
        or len(name.encode(errors="replace")) > LONGEST_NAME
    ):
        raise StudyError(
            "a study's name becomes a folder: no slashes, nothing that cannot be printed, no white "
            "space around it, not beginning with '.' or '-', and at most "
            f"{LONGEST_NAME} bytes; got {name!r}"
        )
    return name


def confirmation_of(name: str) -> str:
    """The name of the study that confirms this one.

    >>> confirmation_of("heart"), confirmed_by("heart/confirm"), confirmed_by("heart")
    ('heart/confirm', 'heart', '')
    """
    return f"{name}{CONFIRMATION}"


def confirmed_by(name: str) -> str:
    """The name of the study that this one confirms; "" where it confirms none."""
    return name.removesuffix(CONFIRMATION) if name.endswith(CONFIRMATION) else ""


def in_order(names: Iterable[str]) -> list[str]:
    """By the alphabet, each before what confirms it."""
    return sorted(names, key=lambda name: name.split("/"))
