"""Files made from notes once and used by all trials: written aside, renamed whole, one writer each.

All of them are confidential: token states and vocabularies tell of the notes. They live in one
folder that only its owner may read, under names that are hashes.
"""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

CACHE_FOLDER = ".confidential"
DONE = "meta.json"  # written last; a folder without it is not read


def cache_dir(store: Path) -> Path:
    """The folder of confidential files in `store`, made for its owner alone."""
    folder = cache_path(store)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.chmod(0o700)  # a copied store may have lost it
    return folder


def cache_path(store: Path) -> Path:
    """Where the folder of confidential files is, or will be."""
    return store / CACHE_FOLDER


def cache_key(**parts: str | int | float | list[str]) -> str:
    """A file name for what `parts` describe; none of them can be read from it."""
    named = json.dumps(parts, sort_keys=True).encode()
    return hashlib.sha256(named).hexdigest()[:24]


def make_once(
    cache: Path, name: str, fill: Callable[[Path], dict[str, object]], *, resumable: bool = False
) -> tuple[Path, bool]:
    """The folder `name` in the cache, filled by `fill` unless it is there already.

    A second process that wants the same folder waits for the first. `fill` receives an empty folder
    and returns what `meta.json` shall say; a folder whose `fill` did not return is never read. If
    resumable, `fill` receives what an earlier one left, and must know how far that one came.

    Returns:
        the folder, and whether it was made just now.
    """
    folder = cache / name
    if (folder / DONE).exists():
        return folder, False
    cache.mkdir(parents=True, exist_ok=True, mode=0o700)
    with FileLock(cache / f"{name}.lock"):
        if (folder / DONE).exists():
            return folder, False
        aside = cache / f".{name}.part"
        if not resumable:  # of a process that was killed
            shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(mode=0o700, exist_ok=resumable)
        try:
            meta = fill(aside)
            (aside / DONE).write_text(json.dumps(meta))
            shutil.rmtree(folder, ignore_errors=True)  # it lost its meta, or it were read
            aside.rename(folder)
        except BaseException:
            if not resumable:
                shutil.rmtree(aside, ignore_errors=True)
            raise
    return folder, True


def find_made(cache: Path, name: str) -> Path | None:
    """The folder `name` in the cache, where `make_once` has made it."""
    folder = cache / name
    return folder if (folder / DONE).exists() else None


def read_meta(folder: Path) -> dict[str, object]:
    """What the maker of a cached folder left about it."""
    return json.loads((folder / DONE).read_text())
