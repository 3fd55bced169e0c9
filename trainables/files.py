"""Files that tell of notes: their owner's alone, and never reached through a symbolic link.

The modes do not depend on the umask. What a store holds may have come from elsewhere with it, so a
link in it is data: nothing is written or removed where it points.
"""

from collections.abc import Iterator
from pathlib import Path

from ..spaces.links import refuse_link

OWN_FOLDER, OWN_FILE = 0o700, 0o600


def own_folder(folder: Path) -> Path:
    """The folder, open to its owner alone; made where it is not there.

    Raises:
        OSError: it is a symbolic link, or cannot be made.
    """
    refuse_link(folder)
    folder.mkdir(parents=True, exist_ok=True, mode=OWN_FOLDER)
    folder.chmod(OWN_FOLDER)  # the umask does not matter, and a copied store may have lost it
    return folder


def own_file(file: Path) -> Path:
    """The empty file, made for its owner alone: what then fills it keeps the mode."""
    file.unlink(missing_ok=True)
    file.touch(mode=OWN_FILE, exist_ok=False)
    return file


def close_to_others(folder: Path) -> None:
    """Take all that is in the folder from everybody but its owner."""
    for path in _inside(folder):
        path.chmod(OWN_FOLDER if path.is_dir() else OWN_FILE)


def bytes_in(folder: Path) -> int:
    """Bytes of the files in the folder; links are not followed."""
    return sum(path.lstat().st_size for path in _inside(folder) if not path.is_dir())


def files_in(folder: Path) -> int:
    """How many files are in the folder."""
    return sum(not path.is_dir() for path in _inside(folder))


def _inside(folder: Path) -> Iterator[Path]:
    """Everything in the folder but links, which are left as they are and never followed."""
    return (path for path in folder.rglob("*") if not path.is_symlink())
