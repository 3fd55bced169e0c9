"""A file that is there as a whole or not at all: written under another name first."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def written_aside(file: Path) -> Iterator[IO[bytes]]:
    """What is written here becomes `file`, readable by its owner alone, when the block ends well.

    Raises:
        OSError: it cannot be written; what was there before still is.
    """
    descriptor, aside = tempfile.mkstemp(prefix=f".{file.name}-", dir=file.parent)  # mode 0600
    try:
        with os.fdopen(descriptor, "wb") as stream:
            yield stream
        Path(aside).replace(file)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise
