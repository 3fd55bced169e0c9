"""The command line, in a process that ends itself, without a word, at the moment that it is told.

Its process is forked from one that has imported this module, and with it all that a search needs:
one that is killed thirty times would import it thirty times.
"""

import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import psycopg
from optuna.storages import JournalStorage, RDBStorage

from headhunt.search import encoding, run
from headhunt.search.cli import main
from headhunt.search.plan import Plan
from headhunt.search.study import Study
from headhunt.stores.journal import JournalFile


@dataclass
class Death:
    """When it comes."""

    moment: str
    count: float  # of its coming; of "in time", seconds after the plan is there
    seen: int = 0

    def at(self, moment: str) -> None:
        """Die at the moment that is meant, when it has come so often."""
        if self.comes(moment):
            die()

    def comes(self, moment: str) -> bool:
        """Whether it does now."""
        self.seen += moment == self.moment
        return moment == self.moment and self.seen >= self.count

    def around(self, owner: Any, name: str, *, before: str = "", after: str = "") -> None:
        """Before and after a function are moments."""
        original = getattr(owner, name)

        def wrapped(*words: Any, **named: Any) -> Any:
            self.at(before)
            result = original(*words, **named)
            self.at(after)
            return result

        setattr(owner, name, wrapped)


def die() -> None:
    """As if the power had gone."""
    os.kill(os.getpid(), signal.SIGKILL)


def search(
    words: Sequence[str],
    death: Death,
    given: Path,
    errors: Path,
    folder: Path,
    environment: Mapping[str, str],
) -> None:
    """Run a command in this process, in its own session.

    Args:
        words: of the command line, without the program's name.
        death: when it comes.
        given: file where to note what is given to workers: a trial's number and known epochs.
        errors: file for what it says on standard error; it is there.
        folder: where it runs.
        environment: of it, whole.
    """
    os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for place, stream in ((os.devnull, 1), (errors, 2)):
        os.dup2(os.open(place, os.O_WRONLY), stream)
    _prepare(death, given)
    sys.argv = ["headhunt", *words]
    main()


def _prepare(death: Death, given: Path) -> None:
    """Make moments of what a search does."""
    append, commit = JournalFile.append_logs, psycopg.Connection.commit
    assign, plan, encode = Plan._assignment, run._plan, encoding.encode_features

    def half(self: Any, logs: list[dict[str, Any]]) -> None:
        """Half a line reaches the disk."""
        if death.comes("in a write"):
            line = json.dumps(logs[0]).encode()
            self._file.write(line[: len(line) // 2])
            die()
        append(self, logs)

    def unheard(self: Any) -> None:
        """The server has heard all of a transaction but its end."""
        death.at("in a write")
        commit(self)

    def noted(self: Any, trial: Any) -> Any:
        assignment = assign(self, trial)
        with given.open("a") as file:
            file.write(f"{assignment.number} {assignment.known_epochs}\n")
        return assignment

    def planned(*words: Any) -> Plan:
        if death.moment == "in time":
            threading.Timer(death.count, die).start()
        return plan(*words)

    def telling(*words: Any, progress: Callable[[int, int], None], **named: Any) -> Any:
        def told(done: int, total: int) -> None:
            progress(done, total)
            death.at("during encoding")

        return encode(*words, progress=told, **named)

    JournalFile.append_logs = half
    psycopg.Connection.commit = unheard
    Plan._assignment = noted
    run._plan = planned
    encoding.encode_features = cast("Any", telling)
    death.around(Study, "report", after="after an epoch")
    death.around(Study, "end", before="before an end", after="after an end")
    death.around(Study, "start", after="after a start")
    death.around(run, "encode_backbones", before="before encoding", after="after encoding")
    death.around(encoding.Job, "encode", before="before a backbone")
    for storage in (JournalStorage, RDBStorage):
        death.around(storage, "set_trial_state_values", before="in an end")
