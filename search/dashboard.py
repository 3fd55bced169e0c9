"""Optuna's dashboard on a copy of a study: to look at, on this machine alone.

What is shown is a copy in memory, made anew when the study has changed, and every request that
would change it is refused: nothing that is clicked can reach the study. Each trial carries its true
state, reason and costs as attributes, since Optuna has no word for infeasible.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from socketserver import ThreadingMixIn
from threading import Lock
from time import monotonic
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from ..spaces.record import UNSCORED
from ..stores import Store, StoreError, reading
from .study import OBJECTIVES, Trial, read_trial

HOST = "127.0.0.1"
NAMES = (HOST, "localhost")  # a page from elsewhere that points its own name here is none of them
LOOK_SECONDS = 5.0  # between two looks at whether the study has changed
_READS = ("GET", "HEAD")

App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class DashboardError(Exception):
    """It cannot be shown; the message says what to do."""


@dataclass(slots=True)
class Shown:
    """The dashboard's pages of one study, as it is now."""

    store: Store
    name: str
    _app: App | None = None
    _state: str = ""
    _looked: float = 0.0
    _lock: Lock = field(default_factory=Lock)

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        """Answer a request, if it only looks, and was sent to this machine by its own name."""
        if environ["REQUEST_METHOD"] not in _READS:
            return _refused(start, "405 Method Not Allowed", "headhunt shows a study and keeps it")
        host = environ.get("HTTP_HOST", "").rpartition(":")[0] or environ.get("HTTP_HOST", "")
        if host not in NAMES:
            return _refused(start, "403 Forbidden", "headhunt shows a study on this machine alone")
        with self._lock:
            app = self.look()
        return app(environ, start)

    def look(self) -> App:
        """The pages of the study; of its last known state where the store does not answer now.

        Raises:
            DashboardError: optuna-dashboard is not installed.
            StoreError: there is no such study, it is broken, or the store does not answer.
        """
        try:
            if self._app is None or monotonic() - self._looked >= LOOK_SECONDS:
                self._renew()
        except StoreError:
            if self._app is None:
                raise
        self._looked = monotonic()
        assert self._app is not None
        return self._app

    def _renew(self) -> None:
        state = self.store.state_of(self.name)
        if self._app is None or state != self._state:
            self._app, self._state = _pages(copied(self.store, self.name)), state


def copied(store: Store, name: str) -> InMemoryStorage:
    """The study in memory, its trials by the same numbers.

    Raises:
        StoreError: there is no such study, or it is broken.
    """
    stored = store.read(name)
    with reading(stored.place):
        directions = [OBJECTIVES[objective] for objective in stored.manifest["objective"]]
        storage = InMemoryStorage()
        study = storage.create_new_study(directions, name)
        for trial in stored.trials:
            storage.create_new_trial(study, _template(trial, single=len(directions) == 1))
    return storage


def _template(stored: FrozenTrial, *, single: bool) -> FrozenTrial:
    """As Optuna knows the trial, with all its epochs, and attributes that people read."""
    trial = read_trial(stored)
    curve = {report.epoch: report.f1 for report in trial.reports} if single else {}
    copy = create_trial(
        state=stored.state,
        values=stored.values if stored.state is TrialState.COMPLETE else None,
        params=stored.params,
        distributions=stored.distributions,
        user_attrs=_told(trial),
        system_attrs=_constraint(trial),
        intermediate_values=curve,
    )
    copy.datetime_start, copy.datetime_complete = stored.datetime_start, stored.datetime_complete
    return copy


def _told(trial: Trial) -> dict[str, Any]:
    config, outcome = trial.config, trial.outcome
    told: Mapping[str, Any] = {
        "state": trial.state.value,
        "reason": outcome.reason if outcome else "",
        "role": trial.role.value,
        "family": config.family,
        "model": config.model,
        "f1": trial.best.f1 if trial.best and trial.state not in UNSCORED else None,
        "epochs": len(trial.reports),
        "card_hours": trial.card_hours if trial.footprint else None,
        "peak_mib": trial.footprint.peak_bytes / 2**20 if trial.footprint else None,
    }
    return {name: value for name, value in told.items() if value not in (None, "")}


def _constraint(trial: Trial) -> dict[str, Any]:
    """Where the dashboard looks for what makes a trial infeasible: MiB over the card's limit."""
    if trial.outcome and trial.outcome.excess_bytes is not None:
        return {"constraints": [trial.outcome.excess_bytes / 2**20]}
    if trial.footprint:
        return {"constraints": [trial.footprint.excess_bytes / 2**20]}
    return {}


def _pages(storage: InMemoryStorage) -> App:
    try:
        from optuna_dashboard import wsgi
    except ImportError as error:
        raise DashboardError(
            f"the dashboard needs the package {error.name}: pip install 'headhunt[dashboard]'"
        ) from error
    return wsgi(storage)


def _refused(start: Callable[..., Any], status: str, why: str) -> Iterable[bytes]:
    body = f"{why}\n".encode()
    start(status, [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


class _Server(ThreadingMixIn, WSGIServer):
    """Pages are large and a browser asks for several at once."""

    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: a line a request tells nobody anything."""


def serve(shown: Shown, port: int) -> WSGIServer:
    """A server for this machine alone, not yet running; port 0 is any that is free.

    Raises:
        DashboardError: the port is taken, or optuna-dashboard is not installed.
        StoreError: there is no such study, it is broken, or the store does not answer.
    """
    shown.look()
    try:
        return make_server(HOST, port, shown, server_class=_Server, handler_class=_Quiet)
    except OSError as error:
        raise DashboardError(
            f"port {port} of {HOST} cannot be listened at ({error.strerror}): name another by "
            "--port, or 0 for one that is free"
        ) from error
