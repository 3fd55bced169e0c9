"""Optuna's relational storage, with moments in UTC.

Optuna writes the local time of whoever writes, without a zone: on another machine that would be
another moment. Here the tables hold UTC, and what is read is local time, as from a journal.
"""

from collections.abc import Callable, Container, Sequence
from copy import copy
from datetime import UTC, datetime

from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import text

_ENDED = text("UPDATE trials SET datetime_complete = :moment WHERE trial_id = :trial")


class UtcStorage(RDBStorage):
    """What headhunt calls of a storage, and no more."""

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """The same; it takes the template's moments for local time."""
        if template_trial is not None:
            template_trial = _moved(template_trial, _to_utc)
        return super().create_new_trial(study_id, template_trial)

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        """The same."""
        done = super().set_trial_state_values(trial_id, state, values)
        if done and state.is_finished():
            with self.scoped_session() as session:
                session.execute(
                    _ENDED, {"moment": _to_utc(datetime.now().astimezone()), "trial": trial_id}
                )
                session.commit()
        return done

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        """The same."""
        trials = super().get_all_trials(study_id, deepcopy, states)
        return [_moved(trial, _to_local) for trial in trials]

    def dispose(self) -> None:
        """Close its connections."""
        self.remove_session()
        self.engine.dispose()


def _moved(trial: FrozenTrial, move: Callable[[datetime], datetime]) -> FrozenTrial:
    moved = copy(trial)
    moved.datetime_start = trial.datetime_start and move(trial.datetime_start)
    moved.datetime_complete = trial.datetime_complete and move(trial.datetime_complete)
    return moved


def _to_utc(local: datetime) -> datetime:
    return local.astimezone(UTC).replace(tzinfo=None)


def _to_local(utc: datetime) -> datetime:
    return utc.replace(tzinfo=UTC).astimezone().replace(tzinfo=None)
