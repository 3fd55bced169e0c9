"""The study's journal file: Optuna's line format, written so that a kill loses nothing.

One process writes (the study's lock sees to that). Each append is one `write` to the page cache,
which survives the death of the process at once; the disk is told once a second, so that a power
cut costs a second at most. A line that a kill tore is cut off when the file is opened for writing.
"""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from optuna.storages.journal import BaseJournalBackend

SYNC_SECONDS = 1.0


class JournalFile(BaseJournalBackend):
    """A journal backend for one writer; Optuna's own file backend reads the same file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("a+b", buffering=0)
        _cut_torn_line(self._file)
        self._offsets = [0]  # where each line that was read begins, and where the next one will
        self._synced = time.monotonic()

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """Entries from this number on."""
        start = min(log_number_from, len(self._offsets) - 1)
        with self._path.open("rb") as file:
            file.seek(self._offsets[start])
            for number, line in enumerate(file, start=start):
                if not line.endswith(b"\n"):
                    break
                if number + 1 == len(self._offsets):
                    self._offsets.append(self._offsets[number] + len(line))
                if number >= log_number_from:
                    yield json.loads(line)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append entries, whole or not at all.

        Raises:
            OSError: the disk is full or the file cannot be written; what was begun is taken back.
        """
        lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs).encode()
        end = self._file.seek(0, os.SEEK_END)
        try:
            written = 0
            while written < len(lines):
                written += self._file.write(lines[written:])
        except OSError:
            self._file.truncate(end)
            raise
        if time.monotonic() - self._synced >= SYNC_SECONDS:
            self.sync()

    def sync(self) -> None:
        """Tell the disk."""
        os.fsync(self._file.fileno())
        self._synced = time.monotonic()

    def close(self) -> None:
        """Tell the disk a last time."""
        if not self._file.closed:
            self.sync()
            self._file.close()


def _cut_torn_line(file: Any) -> None:
    """Cut off what follows the last line end."""
    end = file.seek(0, os.SEEK_END)
    position, tail = end, b""
    while position > 0 and b"\n" not in tail:
        step = min(65536, position)
        position -= step
        file.seek(position)
        tail = file.read(step) + tail
    whole = position + tail.rfind(b"\n") + 1 if b"\n" in tail else 0
    if whole < end:
        file.truncate(whole)
