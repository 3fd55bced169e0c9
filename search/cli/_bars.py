"""How far something is, on standard error: a bar in a terminal, lines elsewhere."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

LINE_EVERY = 20  # percent between two lines


class Bars:
    """Tells of several things by their names."""

    def __init__(self, console: Console, bars: Progress) -> None:
        self._console, self._bars = console, bars
        self._tasks: dict[str, TaskID] = {}
        self._said: dict[str, int] = {}

    def say(self, line: str) -> None:
        """One line that stays."""
        self._console.print(Text(line), soft_wrap=True)

    def show(self, what: str, done: int, total: int, unit: str) -> None:
        """How much of it is done."""
        if self._console.is_terminal:
            task = self._tasks.get(what)
            if task is None:
                task = self._tasks[what] = self._bars.add_task(f"{what}, {unit}", total=total)
            self._bars.update(task, completed=done)
            return
        percent = 100 * done // max(1, total)
        if percent // LINE_EVERY > self._said.get(what, -1):
            self._said[what] = percent // LINE_EVERY
            self.say(f"{what}: {percent} % of {total:,} {unit}")


@contextmanager
def shown_bars() -> Iterator[Bars]:
    """They are gone at the end; what was said stays."""
    console = Console(stderr=True, highlight=False)
    bars = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    with bars:
        yield Bars(console, bars)
