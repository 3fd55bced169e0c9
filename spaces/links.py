"""Symbolic links in what may have come from elsewhere: nothing is written through one."""

import errno
from pathlib import Path


def refuse_link(path: Path) -> None:
    """Refuse to write through a symbolic link.

    Raises:
        OSError: it is one.
    """
    if path.is_symlink():
        raise OSError(
            errno.ELOOP,
            "it is a symbolic link, and nothing in a store is written through one: remove it",
            str(path),
        )


def refuse_links_in(folder: Path) -> None:
    """The same of a study's folder, what is in it, and what is in the folders in it.

    Raises:
        OSError: one of them is a symbolic link.
    """
    for path in (folder, *folder.glob("*"), *folder.glob("*/*")):
        refuse_link(path)
