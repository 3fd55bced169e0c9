"""Run a plan's trials with Ray Tune, on this machine or on a cluster.

Tune is the engine and never the truth: its searcher asks the plan, its scheduler tells the plan,
and its own files are thrown away. Every run of a search is a new Tune run over the same study.
"""

import json
import logging
import os
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

# Before Ray is imported: its own loggers, snapshots and signal handling cost time and hide ours.
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(10**6)  # we say how many, by the slots
os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"
os.environ["TUNE_GLOBAL_CHECKPOINT_S"] = str(10**9)
os.environ["TUNE_WARN_THRESHOLD_S"] = "5"
os.environ["RAY_AIR_NEW_OUTPUT"] = "0"
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # confidential data: nobody is called
os.environ.setdefault("RAY_DEDUP_LOGS", "0")

import ray
from ray import tune
from ray.exceptions import GetTimeoutError, RayError, RayTaskError
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher
from ray.tune.utils.object_cache import _ObjectCache
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ...spaces.configs import BaselineConfig
from ...spaces.record import State
from ...trainables.assignment import Assignment, Materials
from ...trainables.card.devices import CudaLooks, Looks, Survey
from ...trainables.notes.corpus import Corpus
from ...trainables.steps import Step
from ...trainables.trainable import (
    ASSIGNMENTS,
    ENVIRONMENT,
    HELD,
    STEPS,
    WARNING,
    HeadhuntTrainable,
    steps_from_json,
)
from ..groups import Groups
from ..layout import Layout, Node, NodeSlots
from ..plan import Plan, Turn
from ..slots import Held, Slots

KNOCK_SECONDS = 10.0
NODES_SECONDS = 3.0  # between two looks at which nodes there are
SURVEY_SECONDS = 120.0  # a cold machine imports PyTorch twice for it
LOOK_SECONDS = 5.0  # after which a node that does not answer has not
RENEW_SECONDS = 30.0  # between two lookouts of a node whose devices fail
BUNDLE, NODE = "bundle", "node"  # keys of Tune's config
NODE_LABEL = "ray.io/node-id"


class EngineError(RuntimeError):
    """Ray could not be started or reached."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What this machine has to start Ray with."""

    cpus: int
    gpus: int


def look_around() -> Machine:
    """The CPUs and GPUs of this machine, without starting anything."""
    import torch

    return Machine(_cpus(), torch.cuda.device_count() if torch.cuda.is_available() else 0)


def _cpus() -> int:
    """CPUs that this process may use; macOS does not tell, and has all of them."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def engine(*, cpus: int, gpus: int, address: str | None, shared_bytes: int = 0) -> Iterator[None]:
    """Ray for as long as the block runs: started here, or joined at `address`.

    `shared_bytes` is the size of the notes, which workers get through Ray's memory: it is made
    large enough that they are never spilled to a disk.

    Raises:
        EngineError: it could not be started or reached.
    """
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
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


class _Lookout:
    """Looks at the devices of the node that it sits on."""

    def __init__(self, looks: Callable[[str], Looks]) -> None:
        self._looks = looks(ray.get_runtime_context().get_node_id())

    def survey(self) -> Survey:
        """What the node has."""
        return self._looks.survey()

    def free_bytes(self) -> tuple[int, ...]:
        """Free on each device now."""
        return self._looks.free_bytes()


class Nodes:
    """The nodes of the running engine, and a lookout on each that has GPUs.

    Lookouts come up in the background; a node without GPUs needs none. One that is dead, or whose
    CUDA has failed for good, is replaced.
    """

    def __init__(self, looks: Callable[[str], Looks] = lambda _: CudaLooks()) -> None:
        self._looks = looks
        self._lookouts: dict[str, Any] = {}
        self._begun_at: dict[str, float] = {}  # of each lookout
        self._surveys: dict[str, Any] = {}  # futures
        self._late: dict[str, tuple[Any, float]] = {}  # looks that have not come back, since when
        self._alive: dict[str, dict[str, Any]] = {}
        self._without: dict[str, str] = {}  # nodes that are left out, and why
        self._warnings: list[str] = []
        self.refresh()

    def refresh(self) -> set[str]:
        """See which nodes there are, and return those that are gone."""
        alive = {node["NodeID"]: node for node in ray.nodes() if node["Alive"]}
        lost = self._alive.keys() - alive.keys()
        for node in lost:
            for known in (self._lookouts, self._surveys, self._late, self._without):
                known.pop(node, None)
        for node in alive.keys() - self._alive.keys():
            if alive[node]["Resources"].get("GPU"):
                self._watch(node)
                self._surveys[node] = self._lookouts[node].survey.remote()
        self._alive = alive
        return lost

    def wait(self) -> list[Node]:
        """All nodes, when each has been surveyed; one that does not answer is left out till then.

        Raises:
            EngineError: there are nodes with GPUs, and none of them could be surveyed.
        """
        futures = list(self._surveys.values())
        if futures:
            ray.wait(futures, num_returns=len(futures), timeout=SURVEY_SECONDS)
        known = self.known()
        for node in self._surveys.keys() - {node.id for node in known}:
            self._leave_out(node, f"it has not answered in {SURVEY_SECONDS:.0f} s")
        if futures and self._surveys.keys() <= self._without.keys():
            raise EngineError("; ".join(self._without.values()))
        return known

    def known(self) -> list[Node]:
        """The nodes that are surveyed, now."""
        found = []
        for node in self._alive:
            if not self._is_surveyed(node):
                continue
            try:
                found.append(self._node(node))
                self._without.pop(node, None)
            except RayTaskError as error:  # PyTorch's words about a device: no note came near it
                self._leave_out(node, str(error.cause).partition("\n")[0])
            except RayError as error:
                self._leave_out(node, type(error).__name__)
        return found

    def take_warnings(self) -> list[str]:
        """What the user was not told yet."""
        taken, self._warnings = self._warnings, []
        return taken

    def free_bytes(self, node: str) -> tuple[int, ...] | None:
        """Free on each device of a node; None if it does not answer now."""
        if node not in self._lookouts:
            return None
        if node in self._late:  # to ask again before it is back would only take time
            look, since = self._late[node]
            if not _is_ready(look):
                if time.monotonic() - since > SURVEY_SECONDS:
                    self._replace(node)
                return None
            del self._late[node]
        look = self._lookouts[node].free_bytes.remote()
        try:
            return ray.get(look, timeout=LOOK_SECONDS)
        except GetTimeoutError:
            self._late[node] = look, time.monotonic()
        except RayError:
            if time.monotonic() - self._begun_at[node] > RENEW_SECONDS:
                self._replace(node)
        return None

    def close(self) -> None:
        """Send the lookouts home."""
        for lookout in self._lookouts.values():
            ray.kill(lookout)
        self._lookouts.clear()

    def _watch(self, node: str) -> None:
        """Begin a lookout there."""
        actor: Any = ray.remote(num_cpus=0, num_gpus=0)(_Lookout)
        self._begun_at[node] = time.monotonic()
        self._lookouts[node] = actor.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
            # It holds no GPU, and must see those of the node all the same.
            runtime_env={"env_vars": {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}},
        ).remote(self._looks)

    def _replace(self, node: str) -> None:
        ray.kill(self._lookouts[node])
        self._late.pop(node, None)
        self._watch(node)

    def _leave_out(self, node: str, why: str) -> None:
        """Say so, once."""
        if node not in self._without:
            host = self._alive[node]["NodeManagerHostname"]
            self._without[node] = f"the GPUs of {host} could not be looked at: {why}"
            self._warnings.append(f"{self._without[node]}; the search goes on without {host}")

    def _is_surveyed(self, node: str) -> bool:
        return node not in self._surveys or _is_ready(self._surveys[node])

    def _node(self, node: str) -> Node:
        found = self._alive[node]
        resources = found["Resources"]
        survey = Survey()
        if node in self._surveys:
            found_there: Any = ray.get(self._surveys[node])
            # Ray was told how many; what it was told of and CUDA does not see, nobody can use.
            devices = found_there.devices[: int(resources["GPU"])]
            survey = replace(found_there, devices=devices)
        here = node == ray.get_runtime_context().get_node_id()
        return Node(
            id=node,
            host=found["NodeManagerHostname"],
            cpus=resources.get("CPU", 0.0),
            survey=survey,
            driver_bytes=_driver_bytes(survey) if here and survey.devices else 0,
        )


def _is_ready(future: Any) -> bool:
    ready, _ = ray.wait([future], timeout=0)
    return bool(ready)


def _driver_bytes(survey: Survey) -> int:
    """What this process holds of the first device, which it encodes on where it does so itself."""
    import torch

    if not torch.cuda.is_initialized():
        return 0
    return survey.context_bytes + torch.cuda.memory_reserved(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """What a running plan tells, between two decisions."""

    on_tick: Callable[[], None] = lambda: None  # ten times a second; may raise to end the search
    on_wait: Callable[[str], None] = lambda _: None  # for what memory; "": no longer
    on_layout: Callable[[Layout], None] = lambda _: None  # a node has joined or gone
    on_warning: Callable[[str], None] = lambda _: None  # of a node that cannot be used


def run_plan(
    plan: Plan,
    corpus: Corpus,
    materials: Materials,
    *,
    layout: Layout,
    nodes: Nodes | None = None,
    limit: int | None = None,
    together: int = 1,
    lay_out: Callable[[list[Node]], Layout] | None = None,
    hooks: Hooks | None = None,
) -> None:
    """Run the plan's trials in the slots of the layout until it is over.

    `lay_out` makes the layout of nodes that join later, under `limit` slots over all; without it
    they are not used. A slot takes at most `together` trials that can be trained in one pass. When
    a hook ends the search by raising, running trials stay so in the study, and the next run
    continues them.

    Raises:
        KeyboardInterrupt: Ctrl-C, at a moment at which nothing is half decided.
    """
    nodes, hooks = nodes or Nodes(), hooks or Hooks()
    slots = Slots(layout, limit=limit, look=nodes.free_bytes, clock=time.monotonic)
    interrupted = _Interrupt()
    groups = Groups(plan, together, lambda: slots.most)
    bridge = _Bridge(plan, groups, slots, hooks.on_warning)
    tick = _Tick(bridge, nodes, lay_out, hooks, interrupted)
    trainable = tune.with_resources(
        tune.with_parameters(HeadhuntTrainable, corpus=corpus, materials=materials), _bundle
    )
    scratch = Path(tempfile.mkdtemp(prefix="headhunt-tune-"))
    tuner = tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=_PlanSearcher(bridge, tick),
            scheduler=_PlanScheduler(bridge),
            num_samples=-1,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            storage_path=str(scratch),
            name="run",
            verbose=0,
            callbacks=[tick],
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            failure_config=tune.FailureConfig(max_failures=0),
        ),
    )
    try:
        with interrupted:
            tuner.fit()
    finally:
        nodes.close()
        shutil.rmtree(scratch, ignore_errors=True)
    if bridge.error is not None:
        raise bridge.error


def _config(group: Sequence[Assignment], part: NodeSlots) -> dict[str, Any]:
    """What Tune carries of a group of trials: all of it text."""
    bundle = {"CPU": part.cpus}
    if part.gpu_fraction and not isinstance(group[0].config, BaselineConfig):
        bundle["GPU"] = part.gpu_fraction
    return {
        ASSIGNMENTS: json.dumps([one.to_json() for one in group]),
        BUNDLE: json.dumps(bundle),
        NODE: part.node.id,
        ENVIRONMENT: json.dumps(dict(part.environment)),
    }


def _bundle(config: Mapping[str, Any]) -> tune.PlacementGroupFactory:
    """The trial's share, on its node: equal for all trials that a warm worker may run in turn."""
    return tune.PlacementGroupFactory(
        [json.loads(config[BUNDLE])], bundle_label_selector=[{NODE_LABEL: config[NODE]}]
    )


class _WarmWorkers(_ObjectCache):
    """Keeps each worker whose trial has ended for the next one on its node.

    Tune's own cache keeps none while a trial with another share is starting anywhere: with a share
    a node, one cold start would make the next, and so on. A worker leaves for a trial that wants
    another share of the same node.
    """

    def cache_object(self, key: Any, obj: Any) -> bool:
        """Keep the worker, unless its node is wanted for something else."""
        if self._is_crowded(key):
            return False
        self._cached_objects[key].append(obj)
        self._num_cached_objects += 1
        return True

    def flush_cached_objects(self, force_all: bool = False) -> Generator[Any, None, None]:
        """The workers that leave."""
        for key, workers in self._cached_objects.items():
            while workers and (force_all or self._is_crowded(key)):
                self._num_cached_objects -= 1
                yield workers.pop(0)

    def _is_crowded(self, key: Any) -> bool:
        wanted: list[Any] = [share for share, count in self._max_num_objects.items() if count > 0]
        return any(o != key and o._bound.kwargs == key._bound.kwargs for o in wanted)


class _StaysHere:
    """Tune pickles its searcher, scheduler and callbacks to be restored; these never are."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (object, ())

    def __deepcopy__(self, memo: dict[int, Any]) -> "_StaysHere":
        return self


class _Bridge(_StaysHere):
    """Between Tune's trials and the plan's; Tune swallows errors, so they are kept.

    One of Tune's is a slot's work: a group of the plan's, most often of one.
    """

    def __init__(
        self, plan: Plan, groups: Groups, slots: Slots, on_warning: Callable[[str], None]
    ) -> None:
        self.plan, self.groups, self.slots = plan, groups, slots
        self.on_warning = on_warning
        self.controller: Any = None  # Tune's, once it has a trial
        self.error: BaseException | None = None
        self.running: dict[str, set[int]] = {}  # Tune's trial id -> the plan's numbers
        self.last_words: dict[str, str] = {}  # of processes that said why they end

    def fail(self, error: BaseException) -> None:
        self.error = self.error or error

    def died(self, trial_id: str, reason: str) -> None:
        """A process is gone, and with it the present run of its trials."""
        try:
            for number in sorted(self.running.pop(trial_id, ())):
                self.groups.died(number, reason)
        except Exception as failure:
            self.fail(failure)

    def tell(self, trial_id: str, number: int, step: Step) -> bool:
        """Tell the plan of a step; whether the trial goes on."""
        if step.report is None and step.outcome.state is State.RUNNING:
            self.last_words[trial_id] = step.outcome.reason
        return self.plan.hear(number, step)


class _PlanSearcher(_StaysHere, Searcher):
    """Asks the plan for the next trials, once there is a place for them."""

    def __init__(self, bridge: _Bridge, tick: "_Tick") -> None:
        super().__init__()
        self._bridge, self._tick = bridge, tick

    def suggest(self, trial_id: str) -> Any:
        """The next assignments as Tune's config."""
        bridge = self._bridge
        if bridge.error is not None:
            return Searcher.FINISHED
        idle = not bridge.running
        if idle:  # Tune asks on and on, and nothing else of its loop runs
            self._tick.tick()
        try:
            part = bridge.slots.find()
            if part is None:
                return Searcher.FINISHED if idle and bridge.groups.is_over() else None
            turn = bridge.groups.next()
        except Exception as error:
            bridge.fail(error)
            return Searcher.FINISHED
        if isinstance(turn, Turn):  # a running one may have to be repeated
            return Searcher.FINISHED if turn is Turn.OVER and idle else None
        bridge.running[trial_id] = {assignment.number for assignment in turn}
        bridge.slots.take(trial_id, part.node.id)
        return _config(turn, part)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """A trial has left its slot; if its process died, only this tells."""
        del result
        self._bridge.slots.give_back(trial_id)
        said = self._bridge.last_words.pop(trial_id, "")
        if error:
            killed = "it was killed, or the machine ran out of memory"
            self._bridge.died(trial_id, said or killed)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the study is the truth."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: every run is a new one."""


class _PlanScheduler(_StaysHere, FIFOScheduler):
    """Tells the plan each epoch, and stops the trials that it does not let go on."""

    def __init__(self, bridge: _Bridge) -> None:
        super().__init__()
        self._bridge = bridge

    def on_trial_add(self, tune_controller: Any, trial: TuneTrial) -> None:
        """Before the first trial: take hold of Tune's workers."""
        super().on_trial_add(tune_controller, trial)
        if self._bridge.controller is None:
            self._bridge.controller = tune_controller
            tune_controller._tune_controller._actor_cache = _WarmWorkers()

    def choose_trial_to_run(self, tune_controller: Any) -> TuneTrial | None:
        """None in particular: Tune starts what waits.

        It would give the oldest one, whose worker is starting, a warm worker and stop the other:
        with short trials the cold slots would never come up.
        """
        del tune_controller

    def on_trial_result(self, tune_controller: Any, trial: TuneTrial, result: dict) -> str:
        """Hand an epoch to the plan."""
        del tune_controller
        bridge = self._bridge
        if bridge.error is not None:
            return TrialScheduler.STOP
        if held := result.get(HELD):
            bridge.slots.told(trial.trial_id, Held(**json.loads(held)))
        if warning := result.get(WARNING):
            bridge.on_warning(f"{warning}; no more of this shape are trained together")
            bridge.groups.came_apart(min(bridge.running[trial.trial_id]))
        try:
            return self._tell(trial, steps_from_json(result[STEPS]))
        except Exception as error:
            bridge.fail(error)
            return TrialScheduler.STOP

    def _tell(self, trial: TuneTrial, steps: Mapping[int, Step]) -> str:
        """Tell the plan what each trial of the group did."""
        bridge = self._bridge
        running = bridge.running[trial.trial_id]
        for number, step in steps.items():  # all are recorded before any is judged
            if step.report and len(steps) > 1:
                bridge.plan.report(number, step.report)
        stopped = {n for n, step in steps.items() if not bridge.tell(trial.trial_id, n, step)}
        running -= stopped
        if not running:
            del bridge.running[trial.trial_id]
            return TrialScheduler.STOP
        pruned = [n for n in stopped if steps[n].outcome.state is State.RUNNING]
        if pruned:  # before the worker's next step: an actor does its tasks in their order
            controller = bridge.controller._tune_controller
            controller._schedule_trial_task(trial, "leave_out", args=(pruned,))
        return TrialScheduler.CONTINUE


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

    def __init__(
        self,
        bridge: _Bridge,
        nodes: Nodes,
        lay_out: Callable[[list[Node]], Layout] | None,
        hooks: Hooks,
        interrupt: _Interrupt,
    ) -> None:
        self._bridge, self._nodes, self._lay_out = bridge, nodes, lay_out
        self._hooks, self._interrupt = hooks, interrupt
        self._looked_at, self._said = time.monotonic(), ""

    def on_step_begin(self, iteration: int, trials: list[TuneTrial], **info: Any) -> None:
        """Draw, or end the search."""
        del iteration, info
        self.tick(trials)

    def tick(self, trials: list[TuneTrial] | None = None) -> None:
        """The same, where nothing runs."""
        if self._interrupt.asked:
            raise KeyboardInterrupt
        waits_for = self._bridge.slots.waits_for
        # How much is missing changes all the time: told is where, and that it is over.
        if bool(waits_for) != bool(self._said):
            self._hooks.on_wait(waits_for)
        self._said = waits_for
        if time.monotonic() - self._looked_at >= NODES_SECONDS:
            self._look_at_nodes(trials or [])
            self._looked_at = time.monotonic()
        self._hooks.on_tick()

    def _look_at_nodes(self, trials: list[TuneTrial]) -> None:
        slots, changed = self._bridge.slots, False
        for node in self._nodes.refresh():
            slots.lose(node)
            changed = True
            for trial in trials:  # one that waits for the node would wait for ever
                if trial.status == TuneTrial.PENDING and slots.node_of(trial.trial_id) == node:
                    self._bridge.died(trial.trial_id, "its node is gone")
                    self._bridge.controller.stop_trial(trial)
        new = [node for node in self._nodes.known() if not slots.has(node.id)]
        if new and self._lay_out:
            for part in self._lay_out(new).nodes:
                slots.add(part)
                changed = True
        for warning in self._nodes.take_warnings():
            self._hooks.on_warning(warning)
        if changed:
            self._hooks.on_layout(slots.layout)
