"""Files made from notes once and used by all trials: written aside, renamed whole, one writer each.

All of them are confidential: token states and vocabularies tell of the notes. They live in one
folder that only its owner may read, under names that are hashes.
"""

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

CACHE_FOLDER = ".confidential"
DONE = "meta.json"  # written last; a folder without it is not read


def cache_dir(store: Path) -> Path:
    """The folder of confidential files in `store`, made for its owner alone."""
    folder = store / CACHE_FOLDER
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.chmod(0o700)  # a copied store may have lost it
    return folder


def cache_key(**parts: str | int | float | list[str]) -> str:
    """A file name for what `parts` describe; none of them can be read from it."""
    named = json.dumps(parts, sort_keys=True).encode()
    return hashlib.sha256(named).hexdigest()[:24]


def make_once(
    cache: Path, name: str, fill: Callable[[Path], dict[str, object]]
) -> tuple[Path, bool]:
    """The folder `name` in the cache, filled by `fill` unless it is there already.

    A second process that wants the same folder waits for the first. `fill` receives an empty folder
    and returns what `meta.json` shall say; a folder whose `fill` did not return is never read.

    Returns:
        the folder, and whether it was made just now.
    """
    folder = cache / name
    if (folder / DONE).exists():
        return folder, False
    with FileLock(cache / f"{name}.lock"):
        if (folder / DONE).exists():
            return folder, False
        for left in cache.glob(f".{name}.*"):  # of a process that was killed
            shutil.rmtree(left, ignore_errors=True)
        aside = cache / f".{name}.{os.getpid()}.{uuid.uuid4().hex[:8]}"
        aside.mkdir(mode=0o700)
        try:
            meta = fill(aside)
            (aside / DONE).write_text(json.dumps(meta))
            shutil.rmtree(folder, ignore_errors=True)  # it lost its meta, or it were read
            aside.rename(folder)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
    return folder, True


def read_meta(folder: Path) -> dict[str, object]:
    """What the maker of a cached folder left about it."""
    return json.loads((folder / DONE).read_text())
