"""Files made from notes once and used by all trials: written aside, renamed whole, one writer each.

All of them are confidential: token states and vocabularies tell of the notes. They live in one
folder that only its owner may read, under names that are hashes. What is found damaged, by a power
cut or by somebody's hand, is made anew.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ...spaces.links import refuse_link
from ..files import OWN_FILE, close_to_others, own_folder

CACHE_FOLDER = ".confidential"
MADE_OF = "made_of.json"  # written first: hashes and numbers, by which `forget` knows whose it is
DONE = "meta.json"  # written last; a folder without it is not read

KeyPart = str | int | float | list[str]


def cache_dir(store: Path) -> Path:
    """The folder of confidential files in `store`, made for its owner alone.

    Raises:
        OSError: it is a symbolic link, or cannot be made.
    """
    return own_folder(cache_path(store))


def cache_path(store: Path) -> Path:
    """Where the folder of confidential files is, or will be."""
    return store / CACHE_FOLDER


def cache_key(**parts: KeyPart) -> str:
    """A file name for what `parts` describe; none of them can be read from it."""
    named = json.dumps(parts, sort_keys=True).encode()
    return hashlib.sha256(named).hexdigest()[:24]


def make_once(
    cache: Path,
    name: str,
    fill: Callable[[Path], dict[str, object]],
    *,
    made_of: Mapping[str, KeyPart] | None = None,
    resumable: bool = False,
    is_sound: Callable[[Path], bool] = lambda _: True,
) -> tuple[Path, bool]:
    """The folder `name` in the cache, filled by `fill` unless it is there already.

    A second process that wants the same folder waits for the first. `fill` receives an empty folder
    and returns what `meta.json` shall say; a folder whose `fill` did not return is never read.

    Args:
        cache: the store's confidential folder.
        name: of the folder in it.
        fill: makes what is in it.
        made_of: what it is made of, for `entries_in`.
        resumable: `fill` receives what an earlier one left, and must know how far that one came.
        is_sound: whether what is there can be read; where it cannot, it is made anew.

    Returns:
        the folder, and whether it was made just now.
    """
    folder = cache / name
    if _is_made(folder, is_sound):
        return folder, False
    own_folder(cache)
    with FileLock(_lock_of(cache, name), mode=OWN_FILE):
        if _is_made(folder, is_sound):
            return folder, False
        aside = cache / f".{name}.part"
        refuse_link(aside)
        if not resumable:  # of a process that was killed
            shutil.rmtree(aside, ignore_errors=True)
        own_folder(aside)
        try:
            (aside / MADE_OF).write_text(json.dumps(dict(made_of or {})))
            meta = fill(aside)
            (aside / DONE).write_text(json.dumps(meta))
            close_to_others(aside)
            _remove(folder)  # it lost its meta, or is damaged
            aside.rename(folder)
        except BaseException:
            if not resumable:
                shutil.rmtree(aside, ignore_errors=True)
            raise
    return folder, True


def find_made(
    cache: Path, name: str, is_sound: Callable[[Path], bool] = lambda _: True
) -> Path | None:
    """The folder `name` in the cache, where `make_once` has made it and it can be read."""
    folder = cache / name
    return folder if _is_made(folder, is_sound) else None


def read_meta(folder: Path) -> dict[str, object]:
    """What the maker of a cached folder left about it."""
    return json.loads((folder / DONE).read_text())


def _is_made(folder: Path, is_sound: Callable[[Path], bool]) -> bool:
    try:
        return not folder.is_symlink() and isinstance(read_meta(folder), dict) and is_sound(folder)
    except (OSError, ValueError):  # it is not there, or its meta is no JSON
        return False


def _lock_of(cache: Path, name: str) -> Path:
    return cache / f"{name}.lock"


@dataclass(frozen=True, slots=True)
class Entry:
    """A folder of the cache, whole or begun."""

    folder: Path
    name: str
    made_of: Mapping[str, Any]  # empty: made by a version that did not tell

    def remove(self) -> bool:
        """Remove it; False where a process is making it now."""
        lock = FileLock(_lock_of(self.folder.parent, self.name), mode=OWN_FILE)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return False
        try:
            _remove(self.folder)
            Path(lock.lock_file).unlink(missing_ok=True)
        finally:
            lock.release()
        return True


def entries_in(cache: Path) -> Iterator[Entry]:
    """What is in the cache, with what was begun and never ended."""
    for folder in sorted(cache.iterdir()):
        if folder.is_symlink() or folder.is_dir():
            name = folder.name.removeprefix(".").removesuffix(".part")
            yield Entry(folder, name, _made_of(folder))


def _made_of(folder: Path) -> dict[str, Any]:
    try:
        told = json.loads((folder / MADE_OF).read_text())
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


def _remove(folder: Path) -> None:
    """Remove a folder, or a link in its place; one that is half removed is never read."""
    if folder.is_symlink():
        folder.unlink()
        return
    (folder / DONE).unlink(missing_ok=True)
    if folder.is_dir():
        shutil.rmtree(folder)
