"""Studies in this process's memory: what a simulation writes, and what a sampler looks at."""

import os
from collections.abc import Callable, Sequence
from copy import copy
from pathlib import Path
from typing import Any, TypeVar, cast

from optuna.storages import InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from .store import Held

T = TypeVar("T")


class SharingStorage(InMemoryStorage):
    """Optuna's, that copies of a new trial what can change, and shares the values themselves.

    Optuna copies all of it deeply, distributions too: a fifth of a simulation with TPE.
    """

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """Add a trial like this one."""
        shared = None if template_trial is None else cast("FrozenTrial", _Shared(template_trial))
        return super().create_new_trial(study_id, shared)


class _Shared:
    """A trial whose deep copy shares its values: dictionaries are its own."""

    def __init__(self, trial: FrozenTrial) -> None:
        self._trial = trial

    def __deepcopy__(self, memo: dict[int, Any]) -> FrozenTrial:
        made = copy(self._trial)
        made.params, made.distributions = dict(made.params), dict(made.distributions)
        made.user_attrs, made.system_attrs = dict(made.user_attrs), dict(made.system_attrs)
        made.intermediate_values = dict(made.intermediate_values)
        return made


class HeldInMemory(Held):
    """A study that is gone with its process, and has no folder: nobody reads it again."""

    def __init__(self, name: str, directions: Sequence[StudyDirection]) -> None:
        storage = SharingStorage()
        study = storage.create_new_study(directions, name)
        nowhere = Path(os.devnull)  # no file can lie in it, and none be removed
        super().__init__(storage, study, nowhere, nowhere / name, repr(name))

    def write(self, change: Callable[[], T], *, found: Callable[[], T | None]) -> T:
        """There are no outages."""
        del found
        return change()

    def sync(self) -> None:
        """There is nothing that could survive."""

    def close(self) -> None:
        """Nobody else could hold it."""
