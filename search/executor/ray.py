"""Run a plan's trials with Ray Tune, on this machine or on a cluster.

Tune is the engine and never the truth: its searcher asks the plan, its scheduler tells the plan,
and its own files are thrown away. Every run of a search is a new Tune run over the same study.
"""

import logging
import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Before Ray is imported: its own loggers, snapshots and signal handling cost time and hide ours.
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"
os.environ["TUNE_GLOBAL_CHECKPOINT_S"] = str(10**9)
os.environ["TUNE_WARN_THRESHOLD_S"] = "5"
os.environ["RAY_AIR_NEW_OUTPUT"] = "0"
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # confidential data: nobody is called
os.environ.setdefault("RAY_DEDUP_LOGS", "0")

import ray
from ray import tune
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from ...spaces.configs import BaselineConfig
from ...spaces.record import State
from ...trainables.assignment import Assignment, Materials
from ...trainables.notes.corpus import Corpus
from ...trainables.trainable import ASSIGNMENT, STEP, HeadhuntTrainable, step_from_json
from ..plan import Plan, Turn

KNOCK_SECONDS = 10.0


class EngineError(RuntimeError):
    """Ray could not be started or reached."""


@dataclass(frozen=True, slots=True)
class Resources:
    """What one trial holds."""

    cpus: float = 1.0
    gpu_fraction: float = 0.0  # of one device; baselines hold none


@dataclass(frozen=True, slots=True)
class Machine:
    """What Ray found."""

    cpus: int
    gpus: float
    gpu_bytes: tuple[int, ...]  # memory of this machine's devices


def look_around() -> Machine:
    """The CPUs and GPUs of this machine, without starting anything."""
    import torch

    devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
    memory = tuple(torch.cuda.get_device_properties(i).total_memory for i in range(devices))
    return Machine(_cpus(), devices, memory)


def _cpus() -> int:
    """CPUs that this process may use; macOS does not tell, and has all of them."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def engine(*, cpus: int, gpus: float, address: str | None, shared_bytes: int = 0) -> Iterator[None]:
    """Ray for as long as the block runs: started here, or joined at `address`.

    `shared_bytes` is the size of the notes, which workers get through Ray's memory: it is made
    large enough that they are never spilled to a disk.

    Raises:
        EngineError: it could not be started or reached.
    """
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address:
        options["address"] = address
    else:
        options |= {
            "address": "local",  # never a cluster that happens to run here
            "num_cpus": cpus,
            "num_gpus": gpus,
            "include_dashboard": False,
            # Features are mapped files, not objects; only the notes pass through here.
            "object_store_memory": max(256 * 1024**2, 4 * shared_bytes),
        }
    # A worker's traceback could quote a note, and what happened is told by the study.
    logging.getLogger("ray").setLevel(logging.CRITICAL)
    try:
        if address:
            _knock(address)
        ray.init(**options)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        where = f"reached at {address!r}" if address else "started"
        raise EngineError(f"Ray could not be {where}: {error}") from error
    try:
        yield
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Fail at once where nobody listens: Ray itself tries for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=KNOCK_SECONDS).close()


def run_plan(
    plan: Plan,
    corpus: Corpus,
    materials: Materials,
    *,
    slots: int,
    resources: Resources,
    on_tick: Callable[[], None] = lambda: None,
) -> None:
    """Run the plan's trials, `slots` at a time, until it is over.

    `on_tick` is called about ten times a second, between decisions: it may draw, and it may raise
    to end the search; running trials then stay so in the study, and the next run continues them.

    Raises:
        KeyboardInterrupt: Ctrl-C, at a moment at which nothing is half decided.
    """
    bridge = _Bridge(plan)
    trainable = tune.with_resources(
        tune.with_parameters(HeadhuntTrainable, corpus=corpus, materials=materials),
        lambda config: _bundle(Assignment.from_json(config[ASSIGNMENT]), resources),
    )
    scratch = Path(tempfile.mkdtemp(prefix="headhunt-tune-"))
    interrupted = _Interrupt()
    tuner = tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=_PlanSearcher(bridge),
            scheduler=_PlanScheduler(bridge),
            num_samples=-1,
            max_concurrent_trials=slots,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            storage_path=str(scratch),
            name="run",
            verbose=0,
            callbacks=[_Tick(on_tick, interrupted)],
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            failure_config=tune.FailureConfig(max_failures=0),
        ),
    )
    try:
        with interrupted:
            tuner.fit()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    if bridge.error is not None:
        raise bridge.error


def _bundle(assignment: Assignment, resources: Resources) -> tune.PlacementGroupFactory:
    bundle: dict[str, float] = {"CPU": resources.cpus}
    if resources.gpu_fraction and not isinstance(assignment.config, BaselineConfig):
        bundle["GPU"] = resources.gpu_fraction
    return tune.PlacementGroupFactory([bundle])


class _StaysHere:
    """Tune pickles its searcher, scheduler and callbacks to be restored; these never are."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (object, ())

    def __deepcopy__(self, memo: dict[int, Any]) -> "_StaysHere":
        return self


class _Bridge(_StaysHere):
    """Between Tune's trial ids and the plan's numbers; Tune swallows errors, so they are kept."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.error: BaseException | None = None
        self.numbers: dict[str, int] = {}  # Tune's trial id -> the plan's number
        self.ended: set[str] = set()

    def fail(self, error: BaseException) -> None:
        self.error = self.error or error


class _PlanSearcher(_StaysHere, Searcher):
    """Asks the plan for the next trial."""

    def __init__(self, bridge: _Bridge) -> None:
        super().__init__()
        self._bridge = bridge

    def suggest(self, trial_id: str) -> Any:
        """The next assignment as Tune's config."""
        bridge = self._bridge
        if bridge.error is not None:
            return Searcher.FINISHED
        try:
            turn = bridge.plan.next()
        except Exception as error:
            bridge.fail(error)
            return Searcher.FINISHED
        if isinstance(turn, Turn):
            running = len(bridge.numbers) - len(bridge.ended)
            finished = turn is Turn.OVER and not running  # a running one may have to be repeated
            return Searcher.FINISHED if finished else None
        bridge.numbers[trial_id] = turn.number
        return {ASSIGNMENT: turn.to_json()}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """A trial's process died; everything else the scheduler has told."""
        del result
        bridge = self._bridge
        if error and trial_id not in bridge.ended:
            bridge.ended.add(trial_id)
            try:
                bridge.plan.died(
                    bridge.numbers[trial_id], "it was killed, or the machine ran out of memory"
                )
            except Exception as failure:
                bridge.fail(failure)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the study is the truth."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: every run is a new one."""


class _PlanScheduler(_StaysHere, FIFOScheduler):
    """Tells the plan each epoch, and stops the trials that it does not let go on."""

    def __init__(self, bridge: _Bridge) -> None:
        super().__init__()
        self._bridge = bridge

    def on_trial_result(self, tune_controller: Any, trial: TuneTrial, result: dict) -> str:
        """Hand an epoch to the plan."""
        del tune_controller
        bridge = self._bridge
        if bridge.error is not None:
            return TrialScheduler.STOP
        try:
            return self._tell(trial, step_from_json(result[STEP]))
        except Exception as error:
            bridge.fail(error)
            return TrialScheduler.STOP

    def _tell(self, trial: TuneTrial, step: Any) -> str:
        bridge = self._bridge
        number = bridge.numbers[trial.trial_id]
        goes_on = step.report is None or bridge.plan.report(number, step.report)
        if step.outcome.state is not State.RUNNING:
            bridge.ended.add(trial.trial_id)
            bridge.plan.end(number, step.outcome)
            return TrialScheduler.STOP
        if goes_on:
            return TrialScheduler.CONTINUE
        bridge.ended.add(trial.trial_id)
        bridge.plan.prune(number, step.outcome)
        return TrialScheduler.STOP


class _Interrupt:
    """Remembers Ctrl-C until nothing is half decided."""

    def __init__(self) -> None:
        self.asked = False
        self._before: Any = None

    def __enter__(self) -> "_Interrupt":
        self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._before)

    def _note(self, number: int, frame: Any) -> None:
        del number, frame
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True


class _Tick(_StaysHere, tune.Callback):
    """Between two decisions of Tune's loop."""

    def __init__(self, on_tick: Callable[[], None], interrupt: _Interrupt) -> None:
        self._on_tick, self._interrupt = on_tick, interrupt

    def on_step_begin(self, iteration: int, trials: list[TuneTrial], **info: Any) -> None:
        """Draw, or end the search."""
        del iteration, trials, info
        if self._interrupt.asked:
            raise KeyboardInterrupt
        self._on_tick()
