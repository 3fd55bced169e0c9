"""What a study keeps that tells of its notes, and how it is removed; its record stays.

Encoded notes are shared by all studies of the same texts, so those that another study needs are
left for it. Everything may be interrupted and repeated: what is half removed is never read.

Studies of several stores may lie in one work folder, a database's beside a local folder's. None of
them can be asked for the others, so each leaves word in its own folder of what it needs.
"""

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..spaces.record import UNREADABLE
from ..stores import CONFIRMATION, reading
from ..trainables.files import bytes_in, files_in
from ..trainables.notes.cache import CACHE_FOLDER, Entry, entries_in
from ..trainables.notes.corpus import Corpus
from ..trainables.training.states import Kind, state_store
from .manifest import TEXTS, tell_texts
from .study import FORGOTTEN, TRIALS_FOLDER, Study

NOT_OF_NOTES = "backbone-"  # copies of an encoder in another format
NEEDS = "needs.json"  # in a study's folder: the part of its manifest that `_needs` reads, and NOTES
NOTES = "notes"  # where the file of notes was on this machine


@dataclass(frozen=True, slots=True)
class Leftovers:
    """The confidential files of a study."""

    encoded: tuple[Entry, ...]  # of its notes, and needed by no other study
    shared: int  # folders of encoded notes that stay, because another study needs them
    unknown: int  # that stay, because they do not say whose they are
    trials: tuple[Path, ...]  # folders of its checkpoints and weights
    files: int  # of the trials
    bytes: int  # that their removal frees here
    elsewhere: str = ""  # folder or URL that has its checkpoints and weights instead

    @property
    def any(self) -> bool:
        """Whether there is something to remove."""
        return bool(self.encoded or self.trials or self.elsewhere)


def tell_needs(study: Study, corpus: Corpus, notes: Path) -> None:
    """Leave word of the encoded notes that the study needs, before any are made.

    And of the file of notes: it goes no further than this machine, where `notes_of` finds it. The
    hash of the texts goes into the study's record as well, where an earlier version left it out.

    Raises:
        OSError: its folder cannot be written.
        StoreError: its record cannot be.
    """
    tell_texts(study, corpus)
    manifest = study.manifest
    told = ("max_tokens", "min_document_frequency")
    needs = {
        "corpus": {"digest": manifest["corpus"]["digest"]},
        TEXTS: manifest[TEXTS],
        "precision": manifest["precision"],
        "settings": {key: manifest["settings"][key] for key in told if key in manifest["settings"]},
        "backbones": manifest["backbones"],
        NOTES: str(notes.resolve()),
    }
    aside = study.folder / f".{NEEDS}"
    aside.write_text(json.dumps(needs), encoding="utf-8")
    aside.replace(study.folder / NEEDS)


def notes_of(work: Path, digest: str) -> Path | None:
    """The file that a search on this machine read a corpus from; None where none is known."""
    found = []
    for file in _needs_in(work):
        with suppress(OSError, *UNREADABLE):  # of another study: nothing is lost by it
            told = json.loads(file.read_text(encoding="utf-8"))
            if told["corpus"]["digest"] == digest and NOTES in told:
                found.append(Path(told[NOTES]))
    return next((notes for notes in found if notes.is_file()), found[0] if found else None)


def _needs_in(work: Path) -> list[Path]:
    """In the folders of studies and of what confirms them."""
    return sorted([*work.glob(f"*/{NEEDS}"), *work.glob(f"*{CONFIRMATION}/{NEEDS}")])


def _told_needs(work: Path, besides: Sequence[Study]) -> Iterator[Mapping[str, Any]]:
    """What the other studies of the work folder need, whatever their stores."""
    own = {study.folder.resolve() for study in besides}
    for file in _needs_in(work):
        if file.parent.resolve() not in own:
            with reading(f"the file {file}"):
                yield json.loads(file.read_text(encoding="utf-8"))


def find_leftovers(
    study: Study, others: Iterable[Mapping[str, Any]], confirmation: Study | None = None
) -> Leftovers:
    """What could be removed on this machine.

    Args:
        study: open, so that nobody searches it.
        others: manifests of all other studies of its store.
        confirmation: what confirms it, open too; it goes with it.

    Raises:
        StudyUnreadableError: it is not known what another study needs.
    """
    users = [manifest for manifest in others if manifest and not manifest.get(FORGOTTEN)]
    ours = [study, confirmation] if confirmation else [study]
    users += _told_needs(study.work, ours)
    own = {
        "corpus": {study.manifest["corpus"]["digest"]},
        TEXTS: {each.manifest.get(TEXTS) for each in ours},
    }
    encoded, shared, unknown = [], 0, 0
    cache = study.work / CACHE_FOLDER
    for entry in entries_in(cache) if cache.is_dir() and not cache.is_symlink() else ():
        if entry.name.startswith(NOT_OF_NOTES):
            continue
        notes = {key: entry.made_of[key] for key in own if key in entry.made_of}
        if not notes and users:
            unknown += 1
        elif any(digest not in own[key] for key, digest in notes.items()):
            continue
        elif any(_needs(manifest, entry.made_of) for manifest in users):
            shared += 1
        else:
            encoded.append(entry)
    places = (each.folder / TRIALS_FOLDER for each in ours)
    trials = tuple(place for place in places if place.is_dir())
    return Leftovers(
        encoded=tuple(encoded),
        shared=shared,
        unknown=unknown,
        trials=trials,
        files=sum(map(files_in, trials)),
        bytes=sum(map(bytes_in, (*(entry.folder for entry in encoded), *trials))),
        elsewhere=study.manifest["settings"].get("checkpoints", ""),
    )


def _needs(manifest: Mapping[str, Any], made_of: Mapping[str, Any]) -> bool:
    """Whether a study may read what was made so.

    A shorter limit than the study's may be that of the backbone, so it is kept for it. Features
    and token ids of a whole corpus are of an earlier version, which told no hash of the texts.
    """
    if TEXTS in manifest and "backbone" in made_of and TEXTS not in made_of:
        return False
    settings = manifest["settings"]
    wanted = {
        "corpus": manifest["corpus"]["digest"],
        TEXTS: manifest.get(TEXTS),
        "precision": manifest["precision"],
        "min_document_frequency": settings.get("min_document_frequency", 1),
    }
    return (
        all(made_of.get(key, value) == value for key, value in wanted.items())
        and made_of.get("max_tokens", 0) <= settings["max_tokens"]
        and ("backbone" not in made_of or made_of["backbone"] in manifest["backbones"].values())
    )


def forget(study: Study, leftovers: Leftovers, confirmation: Study | None = None) -> int:
    """Remove them, once the study knows of it; how many are left, since they are being written.

    Raises:
        OSError: something could not be removed.
    """
    for each in [study, confirmation] if confirmation else [study]:
        if not each.forgotten_at:
            each.set_forgotten(datetime.now(UTC).isoformat(timespec="seconds"))
        (each.folder / NEEDS).unlink(missing_ok=True)
        if leftovers.elsewhere:
            states = state_store(leftovers.elsewhere, each.own_name)
            for trial in each.trials:
                for kind in Kind:
                    states.remove(trial.number, kind)
    for folder in leftovers.trials:
        shutil.rmtree(folder)
    return sum(not entry.remove() for entry in leftovers.encoded)
