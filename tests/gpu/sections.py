"""What every section of the report is made of: promises, a table, and the time that is left."""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Promise:
    """Something that the report shows to hold, or not to."""

    text: str
    held: bool | None  # None: nothing was measured that would tell
    found: str  # the figures behind it

    def line(self) -> str:
        """As an item of a list."""
        word = {True: "holds", False: "DOES NOT HOLD", None: "NOT SHOWN"}[self.held]
        return f"- **{word}**: {self.text}. {self.found}"


class Section(Protocol):
    """What a section found."""

    def lines(self) -> Iterator[str]:
        """As Markdown, without its title and its promises."""
        ...

    def promises(self) -> Sequence[Promise]:
        """What it shows; may be empty."""
        ...


class Deadline:
    """Seconds that may still be used. What is not begun in time is left out, and told as such."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds; negative when they are over."""
        return self._end - time.monotonic()

    def at_most(self, seconds: float) -> "Deadline":
        """One of its own for a part of the work."""
        return Deadline(min(seconds, self.left))


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    """Markdown, row by row.

    >>> list(table(["a", "b"], [[1, "x"]]))
    ['| a | b |', '|---|---|', '| 1 | x |']
    """
    yield f"| {' | '.join(header)} |"
    yield "|" + "---|" * len(header)
    for row in rows:
        yield f"| {' | '.join(str(cell) for cell in row)} |"


def left_out(done: int, of: int) -> Iterator[str]:
    """A line where the time ended a list early."""
    if done < of:
        yield ""
        yield f"Time was over after {done} of {of}: the others are left out."
